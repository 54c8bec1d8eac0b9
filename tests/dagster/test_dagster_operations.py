"""Operations: what is counted, which alert fires at which limit, and the page of it."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import httpx
import pyarrow as pa
import pytest

from hwosim_assets.lake.ingest import RAW_FILES
from hwosim_assets.lake.tables import Tables
from hwosim_assets.partitions import jwst_program, register_programs
from hwosim_assets.settings import Settings
from hwosim_streaming.operations import LIMITS, alerts, operations
from hwosim_streaming.report_server import ReportServer

NAMES = (["mast", "products"], ["catalog", "products"], ["perturbed", "clean"])
GOOD, BAD, NEW = "00001", "00002", "00003"
REASON = "<b>no space</b>"
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def _definitions() -> dg.Definitions:
    def asset(path: list[str], *deps: list[str]) -> dg.AssetsDefinition:
        @dg.asset(key=path, deps=list(deps), partitions_def=jwst_program)
        def made(context: dg.AssetExecutionContext) -> "dg.MaterializeResult[None]":
            if context.partition_key == BAD and path == NAMES[1]:
                raise OSError(REASON)
            time.sleep(0.05)
            return dg.MaterializeResult(data_version=dg.DataVersion("a"))

        return made

    assets = [asset(NAMES[0]), asset(NAMES[1], NAMES[0]), asset(NAMES[2], NAMES[1])]
    return dg.Definitions(assets, executor=dg.in_process_executor)


@pytest.fixture
def found(state: Path) -> Iterator[dict[str, Any]]:
    """Return what is said of three programs: one that is done, one that failed, one that is new."""
    tables, definitions = Tables.from_settings(Settings()), _definitions()
    row = dict.fromkeys(RAW_FILES.schema.names, "x") | {"program": GOOD, "size_bytes": 1234, "ingested_at": NOW}
    rows = pa.Table.from_pylist([row], schema=RAW_FILES.schema)
    tables.replace(RAW_FILES, {"program": GOOD}, rows)
    with dg.instance_for_test(temp_dir=str(state)) as instance:
        register_programs(instance, [GOOD, BAD, NEW])
        job = definitions.resolve_implicit_global_asset_job_def()
        for program in (GOOD, BAD):
            job.execute_in_process(instance=instance, partition_key=program, raise_on_error=False)
        yield operations(instance, [definitions], ["clean"], tables)


def _firing(found: dict[str, Any]) -> set[str]:
    return {alert["name"] for alert in found["alerts"] if alert["firing"]}


def test_what_is_left_failed_and_held_is_counted(found: dict[str, Any]) -> None:
    states = {"failed": 0, "under way": 0, "missing": 0, "stale": 0}
    assert found["backlog"] == [
        {"asset": "mast/products", "done": 2, **states, "missing": 1},
        {"asset": "catalog/products", "done": 1, **states, "missing": 1, "failed": 1},
        {"asset": "perturbed/clean", "done": 1, **states, "missing": 1, "failed": 1},
    ]
    (failure,) = found["failures"]
    assert failure["program"] == BAD
    assert failure["reasons"] == (f"catalog__products: OSError: {REASON}",)
    assert (found["runs"]["succeeded in a day"], found["runs"]["failed in a day"]) == (1, 1)
    held = {row["table"]: (row["rows"], row["bytes"]) for row in found["volume"]}
    assert held["raw_files"] == (1, 1234)
    assert held["publications"] == (0, 0)
    latency = {row["stage"]: row for row in found["latency"]}
    assert set(latency) == {"catalog", "perturbed"}
    assert 0 < latency["catalog"]["p50"] < latency["perturbed"]["p50"] <= latency["perturbed"]["longest"]
    # no daemon beats in a test: that is said too
    assert _firing(found) == {"programs that failed", "daemons without a heartbeat"}


def test_an_alert_fires_above_its_limit_and_not_at_it() -> None:
    at = {name: limit for name, (limit, _) in LIMITS.items()}
    assert not [alert for alert in alerts(at) if alert.firing]
    for name, limit in at.items():
        first, *others = alerts(at | {name: limit + 0.01})
        assert (first.name, first.firing) == (name, True)
        assert not [alert for alert in others if alert.firing]


def test_the_page_says_it_and_escapes_what_steps_said(found: dict[str, Any]) -> None:
    settings = Settings(report_url="http://127.0.0.1:0")

    def nothing(_stop: object) -> Iterator[Any]:
        yield from ()

    with (
        ReportServer.from_settings(settings, nothing, lambda: found) as server,
        httpx.Client(base_url=server.url, trust_env=False) as client,
    ):
        page = client.get("/operations")
        assert page.status_code == 200
        assert "&lt;b&gt;no space&lt;/b&gt;" in page.text
        assert REASON not in page.text
        assert "2 alerts" in page.text
        assert client.get("/operations.json").json()["backlog"] == found["backlog"]
        assert 'href="/operations"' in client.get("/").text
    with ReportServer.from_settings(settings, nothing) as server:
        assert httpx.get(f"{server.url}/operations", trust_env=False).status_code == 404
