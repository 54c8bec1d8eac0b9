"""Dagster's storage in PostgreSQL as docker/ configures it: few connections, and none that is dead."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import dagster as dg
import psycopg2
import pytest
import servers
from dagster_postgres import DagsterPostgresStorage
from deployment import CHECKOUT

from hwosim_assets.pooled_storage import KEPT

pytestmark = pytest.mark.integration

#: The connections of Dagster's database but the one that asks.
KEPT_NOW = "from pg_stat_activity where datname = 'dagster' and pid != pg_backend_pid()"


@pytest.fixture
def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Return a PostgreSQL of its own; DAGSTER_HOME has the shipped settings, which name it by the environment."""
    with servers.postgres() as server:
        shutil.copyfile(CHECKOUT / "docker" / "dagster.yaml", tmp_path / "dagster.yaml")
        told = {"HOST": "127.0.0.1", "PORT": str(server.port), "USER": "hwosim", "PASSWORD": server.password}
        for name, value in (told | {"DB": server.create("dagster")}).items():
            monkeypatch.setenv(f"POSTGRES_{name}", value)
        monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
        yield server.uri("dagster").replace("+psycopg2", "")


def _ask(database: str, query: str) -> list[tuple[int]]:
    with psycopg2.connect(database) as connection, connection.cursor() as cursor:
        cursor.execute(query)
        return cursor.fetchall()


def _sessions(database: str) -> int:
    """Return how many connections there were, so far."""
    return _ask(database, "select sessions from pg_stat_database where datname = 'dagster'")[0][0]


@dg.asset
def made() -> dg.MaterializeResult[None]:
    """Return nothing."""
    return dg.MaterializeResult(metadata={"rows": 1})


def test_a_run_opens_few_connections_where_dagsters_own_storage_opens_one_for_each_statement(database: str) -> None:
    with dg.DagsterInstance.get() as instance:
        assert dg.materialize([made], instance=instance).success
        before = _sessions(database)
        assert dg.materialize([made], instance=instance).success
        pooled = _sessions(database) - before
        storage = DagsterPostgresStorage(database.replace("postgresql:", "postgresql+psycopg2:"))
        before = _sessions(database)
        assert storage.run_storage.get_runs_count() == 2
        assert storage.event_log_storage.get_latest_materialization_events([made.key])[made.key] is not None
        own = _sessions(database) - before
    assert pooled <= KEPT, "one of them is the one that asks"
    assert own > KEPT, "or the pool has nothing to save any more"


def test_a_connection_that_the_server_closed_is_replaced(database: str) -> None:
    with dg.DagsterInstance.get() as instance:
        assert dg.materialize([made], instance=instance).success
        assert _ask(database, f"select pg_terminate_backend(pid) {KEPT_NOW}"), "the pool kept one"
        assert dg.materialize([made], instance=instance).success
        assert instance.get_runs_count() == 2


def test_the_instances_of_a_process_share_what_is_kept(database: str) -> None:
    with ExitStack() as held:  # all at once: a pool of its own would go with its instance
        for _ in range(5):
            assert held.enter_context(dg.DagsterInstance.get()).get_runs_count() == 0
        kept = _ask(database, f"select pid {KEPT_NOW}")
    assert 0 < len(kept) <= KEPT
