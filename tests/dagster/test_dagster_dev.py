"""What `hwosim dev` does beside Dagster: runs that were lost, news of publications, signals, ports."""

from __future__ import annotations

import io
import os
import shutil
import signal
import socket
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from dagster._core.utils import make_new_run_id

from hwosim_assets.archive.folder import Folder
from hwosim_assets.errors import BackendAbsentError, BadInputError
from hwosim_assets.lake.store import Lake
from hwosim_assets.lake.tables import Tables
from hwosim_assets.settings import Settings
from hwosim_streaming import news
from hwosim_streaming.dagster_services import LAUNCHED_TAG, settle_lost_runs
from hwosim_streaming.dev import _alone, _refuse_taken, endings_as_interrupt
from hwosim_streaming.publication import PUBLICATIONS


@pytest.fixture
def instance(state: Path) -> Iterator[dg.DagsterInstance]:
    with dg.instance_for_test() as made:
        yield made


def test_only_runs_that_code_servers_had_are_settled_as_lost(instance: dg.DagsterInstance) -> None:
    """A command in another terminal executes its runs itself, and what did not start yet is started by Dagster."""

    def add(status: dg.DagsterRunStatus, tags: dict[str, str]) -> str:
        run = dg.DagsterRun(job_name="job", run_id=make_new_run_id(), status=status, tags=tags)
        instance.add_run(run)
        return run.run_id

    launched = {LAUNCHED_TAG: "{}"}
    lost = {add(status, launched) for status in (dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.STARTING)}
    kept = [
        add(dg.DagsterRunStatus.STARTED, {}),
        add(dg.DagsterRunStatus.NOT_STARTED, {}),
        add(dg.DagsterRunStatus.SUCCESS, launched),
    ]
    before = [instance.get_run_by_id(run).status for run in kept]
    assert set(settle_lost_runs(instance)) == lost
    assert {instance.get_run_by_id(run).status for run in lost} == {dg.DagsterRunStatus.CANCELED}
    assert [instance.get_run_by_id(run).status for run in kept] == before
    assert settle_lost_runs(instance) == []


@pytest.fixture(scope="module")
def sample_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from hwosim_assets.archive.sample import write_sample

    root = tmp_path_factory.mktemp("sample")
    write_sample(root, programs=1)
    return min(root.rglob("*_00001_*_cal.fits"))


def _publish(lake: Lake, tables: Tables, plan: str, names: list[str], *, verified: bool = True) -> None:
    """Record a publication as `publish_program` does."""
    buffer = io.BytesIO()
    pq.write_table(pa.table({"product_name": names}), buffer)
    lake.write_new(f"plans/{plan}.parquet", buffer.getvalue())
    row: dict[str, Any] = {field.name: "" for field in PUBLICATIONS.schema if pa.types.is_string(field.type)}
    row |= {field.name: 0 for field in PUBLICATIONS.schema if pa.types.is_integer(field.type)}
    row |= {"seconds": 1.0, "planned_seconds": 1.0, "verified": verified, "published": 7, "discrepancies": 2}
    row |= {"program": "97001", "scenario": "clean", "plan_sha256": plan, "plan_key": f"plans/{plan}.parquet"}
    row["published_at"] = datetime.now(UTC)
    scope = {"program": "97001", "scenario": "clean"}
    others = tables.scan(PUBLICATIONS, scope).to_pylist()
    tables.replace(PUBLICATIONS, scope, pa.Table.from_pylist([*others, row], schema=PUBLICATIONS.schema))


def test_news_tell_each_publication_once_and_how_long_a_new_file_took(
    state: Path, tmp_path: Path, sample_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(news, "SETTLED_SECONDS", 0.0)
    settings = Settings()
    lake, tables = Lake.from_settings(settings), Tables.from_settings(settings)
    archive = tmp_path / "archive"
    archive.mkdir()
    shutil.copy(sample_file, archive / sample_file.name)
    _publish(lake, tables, "before", [sample_file.name])
    told = news.News(lake, tables, Folder(archive, rescan_seconds=0))
    assert list(told.lines()) == [], "what was there before us is no news"
    late = sample_file.name.replace("_00001_", "_00009_")
    shutil.copy(sample_file, archive / late)
    _publish(lake, tables, "one", [sample_file.name])
    (line,) = told.lines()
    assert line == "published 97001 clean: 7 messages, all verified", "the new file is not among them"
    _publish(lake, tables, "two", [sample_file.name, late], verified=False)
    (line,) = told.lines()
    assert line == f"published 97001 clean: 7 messages, 2 NOT reconciled; new: {late} after 0 s"
    _publish(lake, tables, "three", [sample_file.name, late])
    (line,) = told.lines()
    assert "new:" not in line, "it was told of before"
    (archive / "torn.fits").write_bytes(b"")
    assert [line.split(":")[0] for line in told.lines()] == ["left out  torn.fits"]
    assert list(told.lines()) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_first_signal_ends_a_session_and_the_next_do_not_disturb_it(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with endings_as_interrupt():
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), number)
        os.kill(os.getpid(), number)
    assert signal.getsignal(number) == before


def test_a_taken_port_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(BackendAbsentError, match=f"port {port} .* --port"):
            _refuse_taken(port)
    _refuse_taken(port)


def test_one_session_on_a_state_folder_at_a_time(tmp_path: Path) -> None:
    with _alone(tmp_path), pytest.raises(BadInputError, match="another `hwosim dev`"), _alone(tmp_path):
        pass
    with _alone(tmp_path):
        pass
