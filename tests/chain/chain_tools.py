"""What the tests of the chain share: an installation of its own, and a proxy that spoils an archive's answers."""

from __future__ import annotations

import contextlib
import io
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import dagster as dg
import httpx
import pytest

from hwosim_assets import runner
from hwosim_assets.cli import main
from hwosim_assets.lake.store import Lake
from hwosim_assets.lake.tables import Tables
from hwosim_assets.outcome import outcome_rows
from hwosim_assets.partitions import register_programs
from hwosim_assets.quality.history import CHECK_RESULTS
from hwosim_assets.settings import Settings
from hwosim_streaming import broker
from hwosim_streaming.clients import client_config, end_offsets, low_offsets, read_between
from hwosim_streaming.topics import existing_topics

#: Programs of the generated archive: a star field, and imaging with spectra.
FIELD, SPECTRUM = "97001", "97003"
#: Scenarios of these tests beside those that ship.
SCENARIOS = {"HWOSIM_SCENARIO_PATH": str(Path(__file__).parent / "scenarios")}
ROUGH = "rough"
DATA_VERSION = "dagster/data_version"


@contextmanager
def environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Set variables for a while, none of ours from outside among them, and put everything back."""
    before = dict(os.environ)
    for name in before:
        if name.startswith(("HWOSIM_", "AWS_", "DAGSTER_")):
            del os.environ[name]
    os.environ.update(variables)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@cache
def locations() -> tuple[dg.Definitions, ...]:
    """Build the code locations once: they say nothing of where anything lies."""
    with environment(SCENARIOS):
        return tuple(runner.code_locations())


@dataclass
class Said:
    """What a command said."""

    status: int
    out: str
    err: str

    @property
    def text(self) -> str:
        return self.out + self.err


@dataclass
class Installation:
    """A state folder with its own Dagster instance, lake, tables and embedded broker."""

    home: Path
    archive_url: str
    variables: dict[str, str] = field(default_factory=dict)
    run_ids: dict[str, list[str]] = field(default_factory=dict)

    @contextmanager
    def here(self, **more: str) -> Iterator[Settings]:
        """Make this the installation of the process."""
        ours = {"DAGSTER_HOME": str(self.home), "HWOSIM_ARCHIVE_URL": self.archive_url, "HWOSIM_TOPIC_PARTITIONS": "1"}
        with environment({**SCENARIOS, **ours, **self.variables, **more}):
            yield Settings()

    def run(self, program: str, scenarios: Sequence[str] = (), stage: str | None = None, **more: str) -> runner.Outcome:
        """Take a program through the graph, in this process."""
        with self.here(**more), runner.instance_at(self.home) as instance:
            register_programs(instance, [program])
            return runner.materialize_program(instance, locations(), program, scenarios=scenarios, stage=stage)

    def command(self, *arguments: str, **more: str) -> Said:
        """Run ``hwosim`` here. What it starts as processes of its own runs in this one, which takes seconds less."""
        out, err = io.StringIO(), io.StringIO()
        status = 0
        with self.here(**more), pytest.MonkeyPatch.context() as patch:
            patch.setattr(runner, "materialize_programs", _in_this_process)
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                try:
                    main(list(arguments))
                except SystemExit as leaving:
                    status = int(leaving.code or 0)
        return Said(status, out.getvalue(), err.getvalue())

    def tables(self) -> Tables:
        with self.here() as settings:
            return Tables.from_settings(settings)

    def lake(self) -> Lake:
        with self.here() as settings:
            return Lake.from_settings(settings)

    def outcome(self, program: str, scenario: str) -> dict[str, Any]:
        """Return the row of the demo's table."""
        with self.here(), runner.instance_at(self.home) as instance:
            (row,) = outcome_rows(instance, [program], [scenario])
        return row

    def materialized(self, program: str) -> dict[str, dg.AssetMaterialization]:
        """Return the newest materialization of every asset that has one for a program."""
        found = {}
        with self.here(), runner.instance_at(self.home) as instance:
            for key in instance.all_asset_keys():
                records = instance.fetch_materializations(
                    dg.AssetRecordsFilter(key, asset_partitions=[program]), limit=1
                ).records
                if records and records[0].asset_materialization is not None:
                    found[key.to_user_string()] = records[0].asset_materialization
        return found

    def versions(self, program: str) -> dict[str, str]:
        """Return the newest data version of every asset of a program."""
        return {name: (event.tags or {})[DATA_VERSION] for name, event in self.materialized(program).items()}

    def ends(self) -> dict[tuple[str, int], int]:
        """Return the offset after the last message of every partition of every topic, control included."""
        with self.here() as settings:
            config = client_config(settings, broker.bootstrap_servers(settings, start=False))
            topics = existing_topics(config, settings.topic_prefix)
            return end_offsets(config, topics.places(*topics.names))

    def messages(self, family: str) -> list[Any]:
        """Return every message of a topic, read with a plain consumer."""
        with self.here() as settings:
            config = client_config(settings, broker.bootstrap_servers(settings, start=False))
            topics = existing_topics(config, settings.topic_prefix)
            return list(read_between(config, low_offsets(config, topics.places(family)), None))

    def snapshots(self) -> dict[str, int | None]:
        """Return the present snapshot of every Iceberg table but the one that keeps what each run checked."""
        with self.here() as settings:
            catalog = Tables.from_settings(settings)._open()
            names = [name for name in catalog.list_tables("hwosim") if name[-1] != CHECK_RESULTS.name]
            tables = {name[-1]: catalog.load_table(name).current_snapshot() for name in names}
        return {name: snapshot.snapshot_id if snapshot else None for name, snapshot in tables.items()}

    def objects(self) -> set[str]:
        """Return the keys of the lake's objects, but for those of the table that keeps what each run checked."""
        return {each.key for each in self.lake().list() if f"/{CHECK_RESULTS.name}/" not in each.key}

    def close(self) -> None:
        broker.stop(self.home)


def _in_this_process(
    instance: dg.DagsterInstance,
    home: Path,
    programs: Sequence[str],
    *,
    scenarios: Sequence[str] = (),
    stage: str | None = None,
    on_progress: Callable[[int, str], None],
) -> list[runner.Outcome]:
    return [
        runner.materialize_program(instance, locations(), program, scenarios=scenarios, stage=stage)
        for program in programs
    ]


class Proxy:
    """Passes requests on to an archive, counts what it sends of files, and spoils what it is told to.

    Attributes
    ----------
    url : str
        Where it listens.
    downloads : list of (str, int)
        Name and body bytes of each file that went out.
    contents : dict of str to bytes
        What is sent in place of a file's bytes, under its old digest where ``digested`` names it, else without one.
    trouble : {"", "500", "hang"}
        What befalls every request whose path has ``troubled`` in it.
    """

    def __init__(self, upstream: str) -> None:
        self.downloads: list[tuple[str, int]] = []
        self.contents: dict[str, bytes] = {}
        self.digested: set[str] = set()
        self.trouble = self.troubled = ""
        self.ending = threading.Event()
        self._client = httpx.Client(base_url=upstream, timeout=30, trust_env=False)
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                proxy._answer(self)

            def do_HEAD(self) -> None:
                proxy._answer(self)

            def do_POST(self) -> None:
                proxy._answer(self)

            def log_message(self, *_arguments: object) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def _answer(self, request: BaseHTTPRequestHandler) -> None:
        if self.trouble and self.troubled in request.path:
            if self.trouble == "500":
                request.send_error(500)
            else:
                self.ending.wait()
            return
        question = request.rfile.read(int(request.headers.get("Content-Length") or 0))
        headers = {name: value for name, value in request.headers.items() if name.lower() not in ("host", "connection")}
        said = self._client.request(request.command, request.path, content=question, headers=headers)
        name = unquote(request.path).rpartition("/")[2] if "/Download/file" in request.path else ""
        body, kept = said.content, {"content-type", "etag", "content-range", "repr-digest"}
        length = said.headers.get("content-length", len(body))
        if name in self.contents:
            body = self.contents[name]
            length = len(body)
            kept = {"content-type"} | ({"repr-digest"} if name in self.digested else set())
        request.send_response(said.status_code)
        for header in kept:
            if header in said.headers:
                request.send_header(header, said.headers[header])
        request.send_header("Content-Length", str(length))
        request.end_headers()
        if request.command != "HEAD":
            request.wfile.write(body)
            if name:
                self.downloads.append((name, len(body)))

    def close(self) -> None:
        self.ending.set()
        self._server.shutdown()
        self._server.server_close()
        self._client.close()
