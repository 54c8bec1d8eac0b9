"""The table catalog in PostgreSQL, by the same variable a user sets."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from threading import Barrier
from typing import Any

import pyarrow as pa
import pytest
from click.testing import CliRunner

from hwosim_assets.archive.client import ArchiveClient
from hwosim_assets.archive.sample import write_sample
from hwosim_assets.archive.server import LocalArchive
from hwosim_assets.catalog.build import catalog_program
from hwosim_assets.catalog.products import PRODUCTS
from hwosim_assets.commands.search import search
from hwosim_assets.errors import BackendAbsentError
from hwosim_assets.lake.ingest import RAW_FILES, ingest_program
from hwosim_assets.lake.rejections import QUARANTINE, Rejection, rejection_rows
from hwosim_assets.lake.store import Lake
from hwosim_assets.lake.tables import Tables
from hwosim_assets.settings import Settings

HERE = Path(__file__).parent
if str(HERE) not in sys.path:
    sys.path.insert(0, str(HERE))

import servers  # noqa: E402 - beside this file, which is no package

pytestmark = pytest.mark.integration

NUMBER = count()


@pytest.fixture(scope="module")
def server() -> Iterator[servers.Postgres]:
    with servers.postgres() as running:
        yield running


@pytest.fixture
def catalog_uri(server: servers.Postgres, state: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the URI of an empty database, which is also the configured one."""
    uri = server.uri(server.create(f"catalog{next(NUMBER)}"))
    monkeypatch.setenv("HWOSIM_CATALOG_URI", uri)
    return uri


@pytest.fixture
def tables(catalog_uri: str) -> Tables:
    return Tables.from_settings(Settings())


def refused(program: str, number: int, reason: str = "reason") -> pa.Table:
    return rejection_rows(program, [Rejection(f"f{each}.fits", "raw", "rule", reason) for each in range(number)])


def scope(program: str = "00001") -> dict[str, str]:
    return {"program": program, "stage": "raw"}


def test_rows_come_back_and_the_same_content_writes_nothing(tables: Tables) -> None:
    assert tables.scan(QUARANTINE).num_rows == 0
    tables.check()
    assert tables.replace(QUARANTINE, scope(), refused("00001", 3)).changed
    assert not tables.replace(QUARANTINE, scope(), refused("00001", 3)).changed
    assert tables.replace(QUARANTINE, scope("00002"), refused("00002", 1)).changed
    assert tables.replace(QUARANTINE, scope(), refused("00001", 2)).changed
    fresh = Tables.from_settings(Settings())  # nothing of it is in this process only
    assert fresh.scan(QUARANTINE).column("program").to_pylist() == ["00001", "00001", "00002"]
    assert fresh.scan(QUARANTINE, {"program": "00002"}, ["product_name"]).to_pydict() == {"product_name": ["f0.fits"]}


WRITER = """
import sys
from hwosim_assets.lake.rejections import QUARANTINE, Rejection, rejection_rows
from hwosim_assets.lake.tables import Tables
from hwosim_assets.settings import Settings
import pyiceberg.catalog.sql, pyiceberg.io.pyarrow, psycopg2

programs, name = sys.argv[1].split(","), sys.argv[2]
tables = Tables.from_settings(Settings())
print("ready", flush=True)
sys.stdin.readline()
tables.scan(QUARANTINE)
for number in (1, 4):
    for program in programs:
        rows = rejection_rows(program, [Rejection(f"f{each}.fits", "raw", "rule", name) for each in range(number)])
        tables.replace(QUARANTINE, {"program": program, "stage": "raw"}, rows)
"""


def write_at_once(programs: list[list[str]]) -> None:
    """Let one process for each list write its programs twice, all into a catalog that none of them has seen."""
    pipes: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, ",".join(part), f"writer {number}"], text=True, **pipes)
        for number, part in enumerate(programs)
    ]
    for writer in writers:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "ready\n"
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write("go\n")
        writer.stdin.flush()
    for writer in writers:
        _, errors = writer.communicate(timeout=120)
        assert writer.returncode == 0, errors[-3000:]


def test_writers_that_come_at_once_lose_nothing(catalog_uri: str) -> None:
    programs = [[f"0{writer}{number:03d}" for number in range(3)] for writer in range(4)]
    write_at_once(programs)
    found = Tables.from_settings(Settings()).scan(QUARANTINE).column("program").to_pylist()
    every = sorted(program for part in programs for program in part)
    assert found == [program for program in every for _ in range(4)]


def test_many_that_open_an_empty_catalog_at_once_all_find_it(server: servers.Postgres, state: Path) -> None:
    for _ in range(5):
        uri, ready = server.uri(server.create(f"catalog{next(NUMBER)}")), Barrier(8)

        def look(uri: str = uri, ready: Barrier = ready) -> int:
            tables = Tables(uri, (state / "tables").as_uri())
            ready.wait()
            return tables.scan(QUARANTINE).num_rows

        with ThreadPoolExecutor(8) as pool:
            assert [each.result() for each in [pool.submit(look) for _ in range(8)]] == [0] * 8


def test_writers_of_one_scope_leave_the_rows_of_one(catalog_uri: str) -> None:
    write_at_once([["00001"], ["00001"], ["00001"]])
    found = Tables.from_settings(Settings()).scan(QUARANTINE)
    assert found.num_rows == 4
    assert len(set(found.column("reason").to_pylist())) == 1


@pytest.mark.parametrize("fault", ["password", "database", "server"])
def test_a_catalog_that_refuses_is_said_in_one_line(
    fault: str, server: servers.Postgres, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = "not-the-password"
    (free,) = servers.free_ports(1)
    uri, reason = {
        "password": (server.uri(password=secret), 'password authentication failed for user "hwosim"'),
        "database": (server.uri("nowhere"), 'database "nowhere" does not exist'),
        "server": (server.uri(password=secret).replace(str(server.port), str(free)), "Connection refused"),
    }[fault]
    monkeypatch.setenv("HWOSIM_CATALOG_URI", uri)
    with pytest.raises(BackendAbsentError) as caught:
        Tables.from_settings(Settings()).scan(QUARANTINE)
    assert reason in str(caught.value)
    command = [sys.executable, "-m", "hwosim_assets", "search", "--program", "1"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    said = done.stdout + done.stderr
    assert done.returncode != 0
    assert reason in said
    assert len(said.strip().splitlines()) == 1, said
    for hidden in (secret, server.password):
        assert hidden not in str(caught.value) + said


def test_a_connection_that_the_server_closed_is_opened_anew(tables: Tables, catalog_uri: str) -> None:
    import psycopg2

    tables.replace(QUARANTINE, scope(), refused("00001", 1))
    connection = psycopg2.connect(catalog_uri.replace("+psycopg2", ""))
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()")
    connection.close()
    assert tables.scan(QUARANTINE).num_rows == 1
    assert tables.replace(QUARANTINE, scope(), refused("00001", 2)).changed


def test_the_chain_runs_to_the_catalog(tables: Tables, state: Path) -> None:
    settings = Settings()
    lake = Lake.from_settings(settings)
    written = write_sample(state / "archive", programs=1)
    with LocalArchive(state / "archive") as served, ArchiveClient(served.url) as client:
        (program,) = client.programs()
        products = client.products(client.observations(program=program))
        raw = ingest_program(program, products, client, lake, tables, home=state)
        again = ingest_program(program, products, client, lake, tables, home=state)
    assert (raw.moved_files, again.moved_files) == (len(written.files), 0)
    made = catalog_program(program, raw.rows, lake, tables)
    assert made.rejections == []
    assert tables.scan(RAW_FILES, {"program": program}).num_rows == len(written.files)
    assert tables.scan(PRODUCTS, {"program": program}).num_rows == len(written.files)
    done = CliRunner().invoke(search, ["--program", program, "--json"], catch_exceptions=False)
    assert done.exit_code == 0
    assert done.stdout.count('"product_name"') == len(written.files)
    assert not (state / "catalog.db").exists()
