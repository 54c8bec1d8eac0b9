"""What is not there, does not answer or is full: exit status 1, one line that names it, and a rerun that completes."""

from __future__ import annotations

import hashlib
import os
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa
import pytest
from chain_tools import ROUGH, SPECTRUM, Installation, Proxy, Said, locations

from hwosim_assets import runner
from hwosim_assets.archive import transport
from hwosim_assets.archive.schema import ARCHIVE_PRODUCTS, OBSERVATIONS
from hwosim_assets.archive.server import LocalArchive
from hwosim_assets.lake.ingest import RAW_FILES
from hwosim_assets.perturb.dataset import PERTURBED, TRUTH
from hwosim_streaming.publication import PUBLICATIONS

PROGRAM = {"program": SPECTRUM}
NOBODY = "127.0.0.1:1"


@pytest.fixture(scope="module")
def small(chosen: Callable[..., Path]) -> Path:
    return chosen("*_nrs1_x1d.fits", "*_nrs1_cal.fits")


@pytest.fixture(scope="module")
def between(small: Path) -> Iterator[Proxy]:
    with LocalArchive(small) as archive:
        proxy = Proxy(archive.url)
        yield proxy
        proxy.close()


@pytest.fixture
def quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Try as often as ever, without the seconds between."""
    monkeypatch.setattr(dg.RetryPolicy, "calculate_delay", lambda _policy, _attempt: 0.01)
    monkeypatch.setattr(transport, "PAUSES", (0.01, 0.01))


def reasons(said: Said) -> list[str]:
    """Return the lines that say why a command failed, after the marks of every failure."""
    assert said.status == 1, said
    assert "Traceback" not in said.text
    assert said.err.splitlines()[-1].startswith(f"hwosim: program {SPECTRUM}: did not go all the way; ")
    lines = [line for line in said.out.splitlines() if line.strip()]
    assert all(line.startswith(f"{SPECTRUM}: failed: ") for line in lines), said
    return lines


def test_an_unknown_program_is_said_in_one_line(
    between: Proxy, installed: Callable[..., Installation], tmp_path: Path
) -> None:
    """The command as it is, in a process of its own."""
    installation = installed(between.url)
    with installation.here():
        command = [str(Path(sys.executable).with_name("hwosim")), "run", "--program", "55555"]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path, timeout=120)
    assert done.returncode == 1
    assert "Traceback" not in done.stdout + done.stderr
    (line,) = done.stdout.splitlines()
    assert "program 55555: " in line
    assert f"{between.url} has no observation of it; " in line
    assert "hwosim search --source archive" in line
    assert done.stderr.splitlines()[-1].startswith("hwosim: program 55555: did not go all the way; ")
    assert installation.tables().scan(OBSERVATIONS, {"program": "55555"}).num_rows == 0


def test_an_unknown_program_is_not_asked_for_again(between: Proxy, installed: Callable[..., Installation]) -> None:
    installation = installed(between.url)
    outcome = installation.run("55555", stage="mast")
    with installation.here(), runner.instance_at(installation.home) as instance:
        again = instance.get_records_for_run(outcome.run_ids[0], of_type=dg.DagsterEventType.STEP_UP_FOR_RETRY).records
    assert len(outcome.failures) == 1
    assert again == []


TROUBLES = {
    "answers 500": ("500", "server error, status 500", "try again later"),
    "hangs": ("hang", "time-out, no answer within 0.5 s", "HWOSIM_ARCHIVE_TIMEOUT_SECONDS"),
}


@pytest.mark.usefixtures("quick_retries")
@pytest.mark.parametrize("trouble", TROUBLES)
def test_an_archive_in_trouble_is_said_and_a_rerun_completes(
    between: Proxy, installed: Callable[..., Installation], trouble: str
) -> None:
    kind, reason, mend = TROUBLES[trouble]
    installation = installed(between.url, HWOSIM_ARCHIVE_TIMEOUT_SECONDS="0.5")
    between.trouble = kind
    began = time.monotonic()
    try:
        said = installation.command("run", "--program", SPECTRUM, "--stage", "mast")
    finally:
        between.trouble = ""
    assert time.monotonic() - began < 25
    (line,) = reasons(said)
    assert between.url in line
    assert reason in line
    assert mend in line
    assert installation.tables().scan(OBSERVATIONS, PROGRAM).num_rows == 0
    with installation.here(HWOSIM_ARCHIVE_TIMEOUT_SECONDS="30"):
        again = installation.command("run", "--program", SPECTRUM, "--stage", "mast")
    assert again.status == 0, again
    assert installation.tables().scan(ARCHIVE_PRODUCTS, PROGRAM).num_rows == 2


@pytest.mark.usefixtures("quick_retries")
def test_an_archive_that_is_not_there_is_said(installed: Callable[..., Installation]) -> None:
    installation = installed(f"http://{NOBODY}")
    (line,) = reasons(installation.command("run", "--program", SPECTRUM, "--stage", "mast"))
    assert f"http://{NOBODY}" in line
    assert "unreachable" in line
    assert "HWOSIM_ARCHIVE_URL" in line


@pytest.mark.usefixtures("quick_retries")
def test_an_archive_that_stops_giving_files_is_said_and_a_rerun_completes(
    between: Proxy, installed: Callable[..., Installation]
) -> None:
    installation = installed(between.url)
    between.trouble, between.troubled = "500", "/Download/"
    try:
        said = installation.command("run", "--program", SPECTRUM, "--stage", "raw")
    finally:
        between.trouble = between.troubled = ""
    (line,) = reasons(said)
    assert f"program {SPECTRUM}: the archive gave 0 of 2 files asked for" in line
    assert "status 500" in line
    assert installation.tables().scan(RAW_FILES, PROGRAM).num_rows == 0
    assert list(installation.lake().list("raw")) == []
    assert installation.command("run", "--program", SPECTRUM, "--stage", "raw").status == 0
    assert installation.tables().scan(RAW_FILES, PROGRAM).num_rows == 2


def test_a_broker_that_is_not_there_is_said_and_a_rerun_publishes(taken: Installation, proxy: Proxy) -> None:
    before = taken.versions(SPECTRUM)
    run = ("run", "--program", SPECTRUM, "--scenario", "clean", "--stage", "stream")
    (line,) = reasons(taken.command(*run, HWOSIM_KAFKA_BOOTSTRAP_SERVERS=NOBODY))
    assert f"Kafka broker {NOBODY}: does not answer" in line
    assert "HWOSIM_KAFKA_BOOTSTRAP_SERVERS" in line
    assert taken.versions(SPECTRUM) == before
    proxy.downloads.clear()
    # On topics of its own, so that there is something to publish; what lies before the broker is done.
    with taken.here(HWOSIM_TOPIC_PREFIX="mended."), runner.instance_at(taken.home) as instance:
        outcome = runner.materialize_program(instance, locations()[1:], SPECTRUM, scenarios=["clean"], stage="stream")
    assert outcome.succeeded, outcome
    assert proxy.downloads == []
    (row,) = taken.tables().scan(PUBLICATIONS, PROGRAM).to_pylist()
    assert (row["topic"], row["verified"]) == ("mended.hwosim.frames.v1", True)
    assert taken.materialized(SPECTRUM)["stream/clean"].metadata["published now"].value is True


@contextmanager
def disk(folder: Path, size: int) -> Iterator[None]:
    """Mount a disk of so many bytes, or skip."""
    folder.mkdir()
    if os.geteuid() != 0:
        pytest.skip("a small disk cannot be mounted: this user is not root")
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "hwosim-test", folder], check=False)
    if mounted.returncode:
        pytest.skip("a small disk cannot be mounted here")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def assert_whole(installation: Installation, small: Path) -> None:
    """Check that every file that can be seen in the lake is whole."""
    hashes = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in small.glob("*.fits")}
    lake, tables = installation.lake(), installation.tables()
    for stored in lake.list("raw"):
        assert hashlib.sha256(lake.read(stored.key)).hexdigest() == hashes[stored.key.rpartition("/")[2]]
    for stored in lake.list("delivered"):
        assert hashlib.sha256(lake.read(stored.key)).hexdigest() == stored.key.split("/")[2]
    for spec in (RAW_FILES, PERTURBED):
        for row in tables.scan(spec, PROGRAM).to_pylist():
            found = lake.head(row["key"])
            assert found is not None
            assert found.size == row["size_bytes"]


@pytest.mark.usefixtures("quick_retries")
@pytest.mark.parametrize(("size", "stage"), [(250_000, "raw"), (1_100_000, "perturbed")])
def test_a_full_disk_is_said_and_a_rerun_completes(
    between: Proxy, small: Path, installed: Callable[..., Installation], tmp_path: Path, size: int, stage: str
) -> None:
    folder = tmp_path / "disk"
    with disk(folder, size):
        installation = installed(between.url, HWOSIM_LAKE_URI=(folder / "lake").as_uri())
        run = ("run", "--program", SPECTRUM, "--scenario", ROUGH, "--stage", stage)
        (line,) = reasons(installation.command(*run))
        assert f"lake {(folder / 'lake').as_uri()}" in line
        assert "no space is left" in line
        assert "free space on that disk" in line
        assert_whole(installation, small)
        for part in installation.home.rglob("*.part"):
            assert part.stat().st_mode & stat.S_IWUSR, "the rerun may have to write into it, and not as root"
        subprocess.run(["mount", "-o", f"remount,size={100_000_000}", folder], check=True)
        again = installation.command(*run)
        assert again.status == 0, again
        assert_whole(installation, small)
        row = installation.outcome(SPECTRUM, ROUGH)
        assert (row["ingested"], row["quarantined"]) == (2, 0)
        assert row["perturbed"] == (2 if stage == "perturbed" else 0)


def test_a_full_state_folder_is_said_and_a_rerun_completes(
    between: Proxy, installed: Callable[..., Installation], tmp_path: Path
) -> None:
    folder = tmp_path / "disk"
    with disk(folder, 500_000):
        installation = replace(installed(between.url), home=folder / "home")
        said = installation.command("run", "--program", SPECTRUM, "--stage", "mast")
        assert said.status == 1
        assert said.err.splitlines()[-1] == (
            f"hwosim: state folder {folder / 'home'}: no space is left; free space on that disk, then run again"
        )
        assert "Traceback" not in said.text
        subprocess.run(["mount", "-o", f"remount,size={100_000_000}", folder], check=True)
        again = installation.command("run", "--program", SPECTRUM, "--stage", "mast")
        assert again.status == 0, again
        assert installation.tables().scan(ARCHIVE_PRODUCTS, PROGRAM).num_rows == 2


def spoil_hash(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{**rows[0], "out_sha256": "0" * 64}, *rows[1:]]


@pytest.mark.parametrize("spoil", [lambda rows: rows[1:], spoil_hash], ids=["missing", "of other bytes"])
def test_nothing_is_published_whose_truth_is_not_known(
    taken: Installation, spoil: Callable[[list[dict[str, Any]]], list[dict[str, Any]]]
) -> None:
    """As after a process that was killed between the two tables' commits."""
    scope = {**PROGRAM, "scenario": "clean"}
    tables, ends = taken.tables(), taken.ends()
    rows = tables.scan(TRUTH, scope)
    tables.replace(TRUTH, scope, pa.Table.from_pylist(spoil(rows.to_pylist()), schema=TRUTH.schema))
    try:
        said = taken.command("stream", "publish", "--program", SPECTRUM, "--scenario", "clean")
    finally:
        tables.replace(TRUTH, scope, rows)
    assert said.status == 1
    name = rows["product_name"][0].as_py()
    assert f"hwosim: {name}: has no truth record of these bytes under clean; " in said.err
    assert taken.ends() == ends
