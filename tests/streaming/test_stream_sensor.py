"""Real ticks and real runs: a publication that failed is tried again, one that was done is not done twice."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml
from stream_data import PROGRAM
from test_stream_publication import WINDY, Program

from hwosim_assets.partitions import register_programs
from hwosim_assets.perturb.scenario import load_scenario
from hwosim_assets.settings import Settings
from hwosim_streaming import connect
from hwosim_streaming.publication import PUBLICATIONS
from hwosim_streaming.publication import _record as record_publication

SENSOR = "publish_new_sensor"


@pytest.fixture
def instance(stream_settings: Settings) -> Iterator[dg.DagsterInstance]:
    with dg.instance_for_test(set_dagster_home=False) as made:
        register_programs(made, [PROGRAM])
        yield made


class Location:
    """The second code location as the daemon runs it: ticks, and the runs that they ask for."""

    def __init__(self, instance: dg.DagsterInstance) -> None:
        from hwosim_streaming.definitions import build_defs

        self.definitions, self.instance = build_defs(), instance
        self.cursor: str | None = None
        self.sensor = self.definitions.resolve_sensor_def(SENSOR)

    def tick(self) -> list[dg.RunRequest]:
        with dg.build_sensor_context(
            instance=self.instance, cursor=self.cursor, definitions=self.definitions
        ) as context:
            result = self.sensor(context)
        assert isinstance(result, dg.SensorResult)
        self.cursor = result.cursor
        return list(result.run_requests or [])

    def run(self, request: dg.RunRequest) -> dg.ExecuteInProcessResult:
        """Run what was requested, without the report (another stage's)."""
        return self.definitions.resolve_job_def(str(self.sensor.job_name)).execute_in_process(
            instance=self.instance,
            partition_key=request.partition_key,
            asset_selection=list(request.asset_selection or [])[:1],
            tags=request.tags,
            raise_on_error=False,
        )


@pytest.fixture
def program(stream_settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Program:
    (tmp_path / "windy.yaml").write_text(yaml.safe_dump(WINDY))
    monkeypatch.setenv("HWOSIM_SCENARIO_PATH", str(tmp_path))
    monkeypatch.setenv("HWOSIM_AUTOMATED_SCENARIOS", "windy")
    return Program(stream_settings, load_scenario("windy", [tmp_path]))


def materialized(instance: dg.DagsterInstance, version: str) -> None:
    """Say that the perturbed products are there; a materialization without checks is fit."""
    instance.report_runless_asset_event(
        dg.AssetMaterialization(["perturbed", "windy"], partition=PROGRAM, tags={"dagster/data_version": version})
    )


def metadata(result: dg.ExecuteInProcessResult) -> dict[str, Any]:
    (event,) = result.get_asset_materialization_events()
    return {name: each.value for name, each in event.materialization.metadata.items()}


def test_a_publication_that_failed_is_tried_again_and_one_that_was_done_is_a_no_op(
    instance: dg.DagsterInstance, program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    location = Location(instance)
    assert location.tick() == []
    materialized(instance, "v1")
    with monkeypatch.context() as broken:
        broken.setenv("HWOSIM_KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:1")
        (first,) = location.tick()
        assert not location.run(first).success
    assert program.tables.scan(PUBLICATIONS).num_rows == 0
    (second,) = location.tick()
    assert second.run_key != first.run_key
    assert second.tags == first.tags
    done = location.run(second)
    assert done.success
    said = metadata(done)
    assert (said["published now"], said["verified"]) == (True, True)
    assert said["messages per s"] > 0
    assert said["messages per s, planned"] == pytest.approx(1e6, rel=0.2)
    assert 0 <= said["late p50 ms"] <= said["late p99 ms"] <= said["latest ms"]
    assert "![" in said["pace"]
    assert "data:image/png;base64," in said["pace"]
    assert sum(record.data["messages"] for record in said["offsets"].records) == said["published"] + said["truths"]
    with connect("hwosim.frames.v1", group="model", settings=program.settings) as stream:
        assert [number for number, _frame in zip(range(2), stream, strict=False)] == [0, 1]
    lying = program.on_topics()
    assert location.tick() == []
    materialized(instance, "v1")  # the same bytes under the same scenario
    assert location.tick() == []
    again = location.run(second)  # somebody materializes it by hand
    assert again.success
    said = metadata(again)
    assert said["published now"] is False
    assert {record.data["group"] for record in said["readers"].records} == {"model"}
    assert 0 < sum(record.data["behind"] for record in said["readers"].records) <= lying
    assert program.on_topics() == lying
    assert program.tables.scan(PUBLICATIONS).num_rows == 1


def test_a_publication_whose_proof_failed_is_tried_again_under_a_new_attempt(
    instance: dg.DagsterInstance, program: Program, intruder: list[str]
) -> None:
    location = Location(instance)
    materialized(instance, "v1")
    (first,) = location.tick()
    assert not location.run(first).success  # its blocking check: somebody else's record lies in the run
    (row,) = program.tables.scan(PUBLICATIONS).to_pylist()
    assert (row["run_id"], row["verified"], row["attempt"]) == (intruder[0], False, 1)
    (second,) = location.tick()
    assert second.run_key != first.run_key
    done = location.run(second)
    assert done.success
    assert metadata(done)["attempt"] == 2
    (row,) = program.tables.scan(PUBLICATIONS).to_pylist()
    assert (row["run_id"] != intruder[0], row["verified"], row["attempt"]) == (True, True, 2)
    assert location.tick() == []


def test_the_publication_that_stands_is_judged_and_not_a_later_one_of_other_products(
    instance: dg.DagsterInstance, program: Program
) -> None:
    location = Location(instance)
    materialized(instance, "v1")
    (request,) = location.tick()
    assert location.run(request).success
    (row,) = program.tables.scan(PUBLICATIONS).to_pylist()
    later = row["published_at"] + timedelta(hours=1)
    record_publication({**row, "plan_sha256": "b" * 64, "verified": False, "published_at": later}, program.tables)
    again = location.run(request)  # the products are as they were before: what was proved of them lies there
    assert metadata(again)["published now"] is False
    judged = {each.check_name: each.passed for each in again.get_asset_check_evaluations()}
    assert (judged["every_message_reconciled"], again.success) == (True, True)


def test_a_publication_that_always_fails_is_given_up_after_three_attempts(
    instance: dg.DagsterInstance, program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HWOSIM_KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:1")
    monkeypatch.setattr("hwosim_streaming.clients.ANSWER_SECONDS", 0.5)
    location = Location(instance)
    materialized(instance, "v1")
    for _attempt in range(3):
        (request,) = location.tick()
        assert location.tick() == [request]  # what was only requested has not been tried
        assert not location.run(request).success
    assert location.tick() == []
