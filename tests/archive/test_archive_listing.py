"""Product lists: bounded batches, each file once, only what changed, a killed look goes on, counts that agree."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from archive_material import bare_server, read_request, recorded_mast, write_product

from hwosim_assets.archive.client import ArchiveClient
from hwosim_assets.archive.errors import ArchiveAnswerError
from hwosim_assets.archive.listing import PRODUCT_LISTS, Listed, Notes, program_products
from hwosim_assets.archive.products import unique_products
from hwosim_assets.archive.schema import ARCHIVE_PRODUCTS, product_rows
from hwosim_assets.errors import BadInputError
from hwosim_assets.lake.tables import Tables

PROGRAM = "01979"
OBSERVED = [f"jw01979002001_02101_0000{number}_nrca1" for number in range(1, 8)]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Write two files of each of seven observations of one program."""
    folder = tmp_path / "archive"
    for name in OBSERVED:
        for kind in ("cal", "rate"):
            write_product(folder, f"{name}_{kind}.fits", PROGRAM=PROGRAM)
    return folder


@pytest.fixture
def tables(state: Path) -> Tables:
    return Tables(f"sqlite:///{state / 'catalog.db'}", (state / "tables").as_uri())


class Looks:
    """Looks at the program as the asset does, remembering what was asked."""

    def __init__(self, client: ArchiveClient, tables: Tables, home: Path) -> None:
        self.client, self.tables, self.notes = client, tables, Notes(home / "lists.jsonl")
        self.asked: list[list[str]] = []
        real = client.product_lists

        def noting(obsids: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
            self.asked.append(list(obsids))
            return real(obsids)

        client.product_lists = noting  # type: ignore[method-assign]
        client.PRODUCT_BATCH = 3

    def look(self, **options: Any) -> Listed:
        self.asked.clear()
        observed = self.client.observations(program=PROGRAM)
        listed = program_products(self.client, PROGRAM, observed, self.tables, self.notes, **options)
        self.tables.replace(ARCHIVE_PRODUCTS, {"program": PROGRAM}, product_rows(PROGRAM, listed.rows))
        self.tables.replace(PRODUCT_LISTS, {"program": PROGRAM}, listed.lists)
        self.notes.forget()
        return listed


@pytest.fixture
def looks(client: ArchiveClient, tables: Tables, state: Path) -> Looks:
    return Looks(client, tables, state)


def test_bounded_batches_bring_what_one_question_brings(looks: Looks) -> None:
    expected = looks.client.products(looks.client.observations(program=PROGRAM))
    listed = looks.look()
    assert [len(batch) for batch in looks.asked] == [3, 3, 1]
    assert listed.rows == expected
    assert (listed.asked, listed.kept, listed.listed, listed.without) == (7, 0, 14, [])


def test_only_what_changed_is_asked_again(looks: Looks, root: Path) -> None:
    looks.look()
    again = looks.look()
    assert (looks.asked, again.asked, again.kept) == ([], 0, 7)
    write_product(root, f"{OBSERVED[2]}_crf.fits", PROGRAM=PROGRAM)
    changed = root / f"{OBSERVED[4]}_cal.fits"
    changed.write_bytes(changed.read_bytes() + bytes(2880))
    (root / f"{OBSERVED[5]}_rate.fits").unlink()
    write_product(root, "jw01979002001_02101_00009_nrca1_cal.fits", PROGRAM=PROGRAM)
    third = looks.look()
    assert (third.asked, third.kept) == (4, 4)
    sizes = {row["productFilename"]: row["size"] for row in third.rows}
    assert sizes[changed.name] == changed.stat().st_size
    assert f"{OBSERVED[5]}_rate.fits" not in sizes
    stored = looks.tables.scan(ARCHIVE_PRODUCTS)
    assert looks.look(anew=True).asked == 8
    assert looks.tables.scan(ARCHIVE_PRODUCTS).equals(stored), "a full look finds nothing else"


def test_a_look_that_failed_goes_on_after_its_last_batch(looks: Looks, monkeypatch: pytest.MonkeyPatch) -> None:
    real = looks.client.product_lists

    def breaking(obsids: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
        if len(looks.asked) == 2:
            raise ArchiveAnswerError("archive", "broke off", "again")
        return real(obsids)

    monkeypatch.setattr(looks.client, "product_lists", breaking)
    with pytest.raises(ArchiveAnswerError):
        looks.look()
    monkeypatch.setattr(looks.client, "product_lists", real)
    listed = looks.look()
    assert [len(batch) for batch in looks.asked] == [1]
    assert len(listed.rows) == 14
    assert not looks.notes.path.exists()


KILLED = """
    import os, signal, sys
    from pathlib import Path
    from hwosim_assets.archive.client import ArchiveClient
    from hwosim_assets.archive.listing import Notes, program_products
    from hwosim_assets.lake.tables import Tables

    url, home = sys.argv[1], Path(sys.argv[2])
    def die(done, of):
        if done == 4:
            os.kill(os.getpid(), signal.SIGKILL)
    with ArchiveClient(url) as client:
        client.PRODUCT_BATCH = 2
        observed = client.observations(program="01979")
        tables = Tables(f"sqlite:///{home / 'catalog.db'}", (home / "tables").as_uri())
        program_products(client, "01979", observed, tables, Notes(home / "lists.jsonl"), on_batch=die)
"""


def test_a_killed_look_goes_on_after_its_last_batch(looks: Looks, state: Path) -> None:
    command = [sys.executable, "-c", textwrap.dedent(KILLED), looks.client.url, str(state)]
    killed = subprocess.run(command, capture_output=True, text=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    with looks.notes.path.open("a") as notes:
        notes.write('\n{"obsid": "torn')
    listed = looks.look()
    assert listed.asked == 3
    assert len(listed.rows) == 14


def test_notes_of_an_observation_that_changed_are_not_used(looks: Looks, root: Path, state: Path) -> None:
    command = [sys.executable, "-c", textwrap.dedent(KILLED), looks.client.url, str(state)]
    subprocess.run(command, capture_output=True, text=True)
    noted = [json.loads(line)["obsid"] for line in looks.notes.path.read_text().splitlines() if line]
    observed = {row["obsid"]: row["obs_id"] for row in looks.client.observations(program=PROGRAM)}
    changed = root / f"{observed[noted[0]]}_cal.fits"
    changed.write_bytes(changed.read_bytes() + bytes(2880))
    listed = looks.look()
    assert listed.asked == 4
    assert next(row["size"] for row in listed.rows if row["productFilename"] == changed.name) == changed.stat().st_size


def test_an_observation_that_was_left_out_is_asked_for_again_and_then_named(
    looks: Looks, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, left_out = looks.client._product_batch, 1

    def leaving_out(obsids: list[str]) -> list[dict[str, Any]]:
        nonlocal left_out
        rows = real(obsids)
        if left_out and first in obsids:
            left_out -= 1
            return [row for row in rows if row["parent_obsid"] != first]
        return rows

    first = min(row["obsid"] for row in looks.client.observations(program=PROGRAM))
    monkeypatch.setattr(looks.client, "_product_batch", leaving_out)
    listed = looks.look()
    assert looks.asked[1] == [first]
    assert (len(listed.rows), listed.without) == (14, [])
    left_out = 2
    listed = looks.look(anew=True)
    assert len(listed.rows) == 12
    (name,) = listed.without
    assert name in OBSERVED


def test_a_file_under_several_parents_and_with_several_sizes() -> None:
    rows: list[dict[str, Any]] = [
        {"dataURI": "mast:a", "obsID": "1", "parent_obsid": parent, "size": size}
        for parent, size in (("9", 10), ("1", 10), ("3", 10))
    ]
    unique, contradicting = unique_products(rows)
    assert [(row["parent_obsid"], row["size"]) for row in unique] == [("1", 10)]
    assert contradicting == []
    unique, contradicting = unique_products([*rows, rows[0] | {"size": 11}])
    assert [(row["parent_obsid"], row["size"]) for row in unique] == [("1", None)]
    assert contradicting == ["mast:a"]


def portal(rows: int, counted: Callable[[], int]) -> Callable[[str, dict[str, Any]], object]:
    def answers(path: str, asked: dict[str, Any]) -> object:
        if path.endswith("columnsconfig"):
            return {name: {"vot.datatype": "char"} for name in ("obs_collection", "proposal_id")}
        paging = {"page": 1, "pageSize": 50, "pagesFiltered": 1, "rows": rows, "rowsFiltered": counted()}
        fields = [{"name": "obsid", "type": "string"}, {"name": "obs_id", "type": "string"}]
        data = [{"obsid": str(number), "obs_id": f"o{number}"} for number in range(rows)]
        return {"status": "COMPLETE", "msg": "", "data": data, "fields": fields, "paging": paging}

    return answers


def test_fewer_rows_than_the_archive_counts_are_asked_for_again_and_then_an_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("hwosim_assets.archive.transport.PAUSES", (0.01, 0.02))
    said = iter([5, 5, 3])
    with recorded_mast(portal(3, lambda: next(said))) as url, ArchiveClient(url, timeout=5) as client:
        assert len(client.observations(program=1)) == 3
    with recorded_mast(portal(3, lambda: 5)) as url, ArchiveClient(url, timeout=5) as client:
        with pytest.raises(ArchiveAnswerError, match="counts 5 rows and sent 3") as caught:
            client.observations(program=1)
        assert caught.value.rule == "incomplete_list"


def test_files_listed_under_what_was_not_asked_for_are_not_believed(client: ArchiveClient) -> None:
    client._product_batch = lambda obsids: [{"parent_obsid": "4711", "productFilename": "x.fits"}]  # type: ignore[method-assign]
    with pytest.raises(ArchiveAnswerError, match="not asked for"):
        client.product_lists(["1"])


def test_the_token_does_not_cross_the_network_in_the_clear() -> None:
    with pytest.raises(BadInputError, match="https://") as refused:
        ArchiveClient("http://archive.example.org", token="s3cr3t-token")
    assert "s3cr3t-token" not in str(refused.value)
    ArchiveClient("https://archive.example.org", token="s3cr3t-token").close()
    ArchiveClient("http://archive.example.org").close()


def test_the_token_is_never_shown(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from hwosim_assets.settings import Settings

    monkeypatch.setenv("MAST_API_TOKEN", "s3cr3t-token")
    sent = []

    def refusing(connection: Any, number: int) -> None:
        sent.append(read_request(connection))
        connection.sendall(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")

    with bare_server(refusing) as (url, _):
        monkeypatch.setenv("HWOSIM_ARCHIVE_URL", url)
        client = ArchiveClient.from_settings(Settings())
        with pytest.raises(Exception, match="MAST_API_TOKEN") as caught, client.open("mast:JWST/product/a.fits"):
            pass
    assert b"s3cr3t-token" in sent[0], "from the environment to the archive"
    for shown in (str(caught.value), repr(caught.value), repr(client), repr(Settings()), repr(client.__dict__)):
        assert "s3cr3t" not in shown
