"""The demo as a person starts it, with the lake on S3: it ends well, and its processes contact nobody else."""

from __future__ import annotations

import json
import logging
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from chain_tools import FIELD, Installation, environment

from hwosim_assets.lake.ingest import RAW_FILES

SCENARIO = "nominal_l2"
#: Runs in every Python process that finds it, those that processes start included.
GUARD = """
import json, os, sys

def note(event, arguments):
    if event in ("socket.connect", "socket.sendto"):
        address = arguments[1]
    elif event in ("socket.getaddrinfo", "socket.gethostbyname"):
        address = arguments[:2]
    else:
        return
    told = [os.getpid(), event, os.environ.get("HWOSIM_ARCHIVE_URL", ""), repr(address)]
    file = os.open(os.environ["GUARD_LOG"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(file, (json.dumps(told) + "\\n").encode())
    os.close(file)

sys.addaudithook(note)
"""


@dataclass
class Contact:
    """One attempt to reach somebody."""

    process: int
    event: str
    archive: str
    host: str
    port: int | None


def contacts(log: Path) -> list[Contact]:
    found = []
    for line in log.read_text().splitlines():
        process, event, archive, address = json.loads(line)
        parts = [part.strip(" '\"b") for part in address.strip("()").split(",")]
        port = int(parts[1]) if len(parts) > 1 and parts[1].isdigit() else None
        found.append(Contact(process, event, archive, parts[0], port))
    return found


@pytest.fixture(scope="module")
def store() -> Iterator[str]:
    """Serve S3 on loopback, in memory."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(scope="module")
def guard(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("guard")
    (folder / "sitecustomize.py").write_text(GUARD)
    return {"PYTHONPATH": str(folder), "GUARD_LOG": str(folder / "contacts")}


@dataclass
class Demo:
    """A demo that ended."""

    installation: Installation
    store: str
    said: Any
    contacts: list[Contact]


@pytest.fixture(scope="module")
def demo(
    chosen: Callable[..., Path],
    installed: Callable[..., Installation],
    store: str,
    guard: dict[str, str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Demo:
    keys = {"AWS_ACCESS_KEY_ID": "hwosim", "AWS_SECRET_ACCESS_KEY": "not-a-secret", "AWS_ENDPOINT_URL": store}
    with environment(keys):
        import boto3  # type: ignore[import-untyped]

        boto3.client("s3", region_name="us-east-1").create_bucket(Bucket="chain")
    installation = installed("", HWOSIM_LAKE_URI="s3://chain/lake", **keys)
    # The generated archive of an earlier demo, cut down to a few files.
    archive = installation.home / "sample-archive"
    shutil.copytree(chosen("*_00001_nrcb1_*.fits", "*_nis_i2d.fits"), archive)
    (archive / "truth").mkdir()
    with installation.here(**guard):
        command = [str(Path(sys.executable).with_name("hwosim")), "demo", "--fast", "--json"]
        folder = tmp_path_factory.mktemp("elsewhere")
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder, timeout=240)
    assert done.returncode == 0, done.stderr
    assert list(folder.iterdir()) == []
    return Demo(installation, store, json.loads(done.stdout), contacts(Path(guard["GUARD_LOG"])))


def test_the_demo_ends_well_on_s3(demo: Demo) -> None:
    (row,) = demo.said["outcome"]
    assert demo.said["quarantine"] == []
    assert [row[name] for name in ("listed", "ingested", "validated", "quarantined", "perturbed")] == [4, 4, 4, 0, 4]
    assert (row["program"], row["scenario"], row["verified"]) == (FIELD, SCENARIO, True)
    assert row["published"] == row["consumed"] > 0


def test_everything_lies_in_the_bucket(demo: Demo) -> None:
    with demo.installation.here() as settings:
        lake, rows = (
            demo.installation.lake(),
            demo.installation.tables().scan(RAW_FILES, {"program": FIELD}).to_pylist(),
        )
        assert not (settings.home / "lake").exists()
        folders = {stored.key.partition("/")[0] for stored in lake.list()}
        assert folders == {"raw", "tables", "delivered", "truth", "plans", "receipts", "reports"}
        assert len(rows) == 4
        for row in rows:
            assert row["uri"] == f"s3://chain/lake/{row['key']}"
            stored = lake.head(row["key"])
            assert stored is not None
            assert stored.size == row["size_bytes"]


def test_nobody_else_is_contacted(demo: Demo) -> None:
    state = json.loads((demo.installation.home / "broker" / "broker.json").read_text())
    (archive,) = {contact.archive for contact in demo.contacts} - {""}
    places = {"archive": urlsplit(archive).port, "broker": state["port"], "store": urlsplit(demo.store).port}
    for contact in demo.contacts:
        assert contact.host in ("127.0.0.1", "localhost"), contact
        assert contact.port in places.values(), contact
    reached = {contact.port for contact in demo.contacts}
    assert {places["archive"], places["broker"]} <= reached
    assert len({contact.process for contact in demo.contacts}) >= 2, "the guard stood in the workers, too"


def test_the_guard_sees_who_is_looked_up_and_connected_to(guard: dict[str, str], tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, environment({**guard, "GUARD_LOG": str(tmp_path / "log")}):
        port = server.getsockname()[1]
        reach = f"import socket; socket.create_connection(('127.0.0.1', {port})); socket.getaddrinfo('localhost', 443)"
        subprocess.run([sys.executable, "-c", reach], check=True)
    seen = {(contact.event, contact.host, contact.port) for contact in contacts(tmp_path / "log")}
    assert {("socket.connect", "127.0.0.1", port), ("socket.getaddrinfo", "localhost", 443)} <= seen


def test_a_second_run_on_s3_moves_writes_and_publishes_nothing(demo: Demo) -> None:
    from hwosim_assets.archive.server import LocalArchive

    installation = demo.installation
    before = (installation.versions(FIELD), installation.ends(), installation.snapshots())
    with LocalArchive(installation.home / "sample-archive") as archive:
        outcome = installation.run(FIELD, [SCENARIO], HWOSIM_ARCHIVE_URL=archive.url)
    assert outcome.succeeded, outcome
    assert (installation.versions(FIELD), installation.ends(), installation.snapshots()) == before
    assert installation.materialized(FIELD)["raw/fits_files"].metadata["bytes moved"].value == 0
