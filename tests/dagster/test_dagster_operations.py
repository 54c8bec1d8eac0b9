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
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteInstigatorOrigin, RemoteRepositoryOrigin
from dagster._core.scheduler.instigation import (
    InstigatorState,
    InstigatorStatus,
    SensorInstigatorData,
    TickData,
    TickStatus,
)
from dagster_shared.error import SerializableErrorInfo

from hwosim_assets import backlog
from hwosim_assets.definitions import build_defs
from hwosim_assets.lake.ingest import RAW_FILES
from hwosim_assets.lake.tables import Tables
from hwosim_assets.partitions import jwst_program, register_programs
from hwosim_assets.settings import Settings
from hwosim_streaming.freshness import ASKS, freshness
from hwosim_streaming.operations import LIMITS, _unproved, alerts, operations
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
    # no daemon beats in a test, and no sensor asks: that is said too
    asked = "seconds since the archive was last asked"
    assert _firing(found) == {"programs that failed", "daemons without a heartbeat", asked}
    assert {alert["value"] for alert in found["alerts"] if alert["name"] == asked} == {None}


def _tick(instance: dg.DagsterInstance, name: str, status: TickStatus, seconds_ago: float) -> None:
    """Record a tick of a sensor as the daemon does."""
    origin = RemoteInstigatorOrigin(RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("here"), "all"), name)
    state = InstigatorState(origin, InstigatorType.SENSOR, InstigatorStatus.RUNNING, SensorInstigatorData())
    if name not in {one.instigator_name for one in instance.all_instigator_state()}:
        instance.add_instigator_state(state)
    when = time.time() - seconds_ago
    of = state.instigator_origin_id, name, InstigatorType.SENSOR
    more: dict[TickStatus, dict[str, Any]] = {
        TickStatus.SUCCESS: {"run_ids": ["a"]},
        TickStatus.FAILURE: {"error": SerializableErrorInfo("no answer", [], "OSError")},
    }
    instance.create_tick(TickData(*of, status, when, selector_id=state.selector_id, **more.get(status, {})))


def test_the_age_of_the_last_look_at_the_archive_is_that_of_the_tick_that_came_through(state: Path) -> None:
    where = backlog.Standing((), (), {}, {})
    with dg.instance_for_test(temp_dir=str(state)) as instance:
        _tick(instance, "discover_programs_sensor", TickStatus.SUCCESS, 10)
        assert freshness(instance, where)["archive asked, s ago"] is None, "that one asks for programs only"
        _tick(instance, ASKS, TickStatus.SUCCESS, 7000)
        _tick(instance, ASKS, TickStatus.SKIPPED, 5000)
        _tick(instance, ASKS, TickStatus.FAILURE, 20)
        asked = freshness(instance, where)["archive asked, s ago"]
        assert asked == pytest.approx(5000, abs=60)
        assert ASKS in {sensor.name for sensor in build_defs().sensors or []}, "the sensor that asks has this name"


def test_a_change_waits_from_when_the_archive_told_it_until_all_is_made_of_it(state: Path) -> None:
    names = ("mast/products", "catalog/products", "perturbed/clean")
    waits = {"catalog/products": {GOOD: "missing", BAD: "failed"}, "perturbed/clean": {GOOD: "missing", NEW: "missing"}}
    where = backlog.Standing((GOOD, BAD, NEW), names, {"mast/products": {NEW: "missing"}, **waits}, {})
    with dg.instance_for_test(temp_dir=str(state)) as instance:
        register_programs(instance, [GOOD, BAD, NEW])
        for program in (GOOD, BAD, GOOD):
            instance.report_runless_asset_event(dg.AssetMaterialization(["mast", "products"], partition=program))
        since = time.time()
        time.sleep(0.2)
        (waiting,) = freshness(instance, where)["waiting"]
        assert (waiting["program"], waiting["assets"]) == (GOOD, ["catalog/products", "perturbed/clean"])
        assert 0.2 <= waiting["for, s"] <= time.time() - since + 5
        done = backlog.Standing((GOOD, BAD, NEW), names, {name: {} for name in names}, {})
        assert freshness(instance, done)["waiting"] == []


def test_an_alert_fires_above_its_limit_and_not_at_it() -> None:
    at = {name: limit for name, (limit, _) in LIMITS.items()}
    assert not [alert for alert in alerts(at) if alert.firing]
    for name, limit in at.items():
        first, *others = alerts(at | {name: limit + 0.01})
        assert (first.name, first.firing) == (name, True)
        assert not [alert for alert in others if alert.firing]


def test_the_publication_of_what_an_asset_stands_for_is_alarming_and_no_other(state: Path) -> None:
    said = (
        ("01093", "a", 1, False),  # made good by a later one
        ("01093", "b", 2, True),
        ("02282", "a", 1, True),
        ("02282", "b", 2, False),  # stands, for nothing is known of the asset
        ("03333", "a", 1, True),  # the products went back to what they were, and what was proved of them stands
        ("03333", "b", 2, False),
        ("04444", "a", 1, False),  # the same, and it was not proved
        ("04444", "b", 2, True),
        ("05555", "a", 1, True),
        ("05555", "b", 4e9, False),  # from the command line, after the asset
    )
    rows = [
        {"program": program, "scenario": "clean", "plan_sha256": plan, "published_at": at, "verified": verified}
        for program, plan, at, verified in (
            (one, plan, datetime.fromtimestamp(at, UTC), v) for one, plan, at, v in said
        )
    ]
    with dg.instance_for_test(temp_dir=str(state)) as instance:
        for program in ("03333", "04444", "05555"):
            for plan in ("b", "a"):
                version = {"dagster/data_version": plan}
                event = dg.AssetMaterialization(["stream", "clean"], partition=program, tags=version)
                instance.report_runless_asset_event(event)
        assert _unproved(rows, instance) == 3


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
        assert "3 alerts" in page.text
        assert "never" in page.text
        assert client.get("/operations.json").json()["backlog"] == found["backlog"]
        assert 'href="/operations"' in client.get("/").text
    with ReportServer.from_settings(settings, nothing) as server:
        assert httpx.get(f"{server.url}/operations", trust_env=False).status_code == 404
