"""Dagster's storage in PostgreSQL through connections that stay open.

Holds: the storage that ``docker/dagster.yaml`` and ``docker/aws/dagster.yaml`` name. Dagster's own opens a connection
for each statement outside the web server: a password's proof and a new server process each time. Sampled while 200
programs were backfilled, that was 97 % of the time of the daemon's thread that makes the runs, and 29 % of a run's own
thread. What is stored, and its configuration, are those of dagster-postgres.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any, Self

from dagster_postgres import DagsterPostgresStorage
from dagster_postgres.utils import create_pg_engine, get_token_provider_from_config, pg_url_from_config

if TYPE_CHECKING:
    from dagster._serdes import ConfigurableClassData
    from dagster_postgres.auth import PgTokenProvider
    from sqlalchemy import Engine

#: Connections that a process keeps; threads beyond them open their own for a moment, as all did before. PostgreSQL
#: takes 100 as it is delivered, and a deployment has some ten processes.
KEPT = 2
MOST_BEYOND = 50
#: Seconds after which a connection is made anew, so that a database that moved is followed.
RECYCLE_SECONDS = 1800


class PooledPostgresStorage(DagsterPostgresStorage):
    """Dagster's runs, events and schedules in PostgreSQL, reached through one pool in each process.

    A connection that the server closed meanwhile is noticed when it is taken from the pool, and replaced. Configured
    as ``storage: custom`` with the words of ``DagsterPostgresStorage``. Where an ``auth_provider`` gives each
    connection a password of its own, connections are made as dagster-postgres makes them.

    Parameters
    ----------
    postgres_url : str
        Where the database is, as SQLAlchemy writes it.
    should_autocreate_tables : bool
        Make the tables where there are none.
    inst_data : ConfigurableClassData, optional
        What the configuration said.
    token_provider : PgTokenProvider, optional
        Gives a password to each connection.
    """

    def __init__(
        self,
        postgres_url: str,
        should_autocreate_tables: bool = True,
        inst_data: ConfigurableClassData | None = None,
        token_provider: PgTokenProvider | None = None,
    ) -> None:
        super().__init__(postgres_url, should_autocreate_tables, inst_data, token_provider)
        if token_provider is None:
            for storage in (self._run_storage, self._event_log_storage, self._schedule_storage):
                # What optimize_for_webserver does too, but that would give each instance a pool of its own, could not
                # look whether a connection lives, and limits the time of statements.
                storage._engine = _engine(postgres_url)  # noqa: SLF001

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]) -> Self:
        """Return the storage that a configuration names."""
        return cls(
            pg_url_from_config(config_value),
            config_value.get("should_autocreate_tables", True),
            inst_data,
            get_token_provider_from_config(config_value),
        )


@cache
def _engine(postgres_url: str) -> Engine:
    """Return the engine of this process: a code server makes an instance for each tick, and none is told to let go."""
    return create_pg_engine(
        postgres_url,
        isolation_level="AUTOCOMMIT",
        pool_size=KEPT,
        max_overflow=MOST_BEYOND,
        pool_recycle=RECYCLE_SECONDS,
        pool_pre_ping=True,
    )
