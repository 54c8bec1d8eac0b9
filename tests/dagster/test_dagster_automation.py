"""Real ticks: what was made from content that changed is made again, what a check holds back is not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from uuid import uuid4

import dagster as dg
import pytest
from dagster import DagsterEvent, DagsterEventType
from dagster._core.definitions.asset_checks.asset_check_evaluation import (
    AssetCheckEvaluationPlanned,
    AssetCheckEvaluationTargetMaterializationData,
)

from hwosim_assets import automation
from hwosim_assets.partitions import jwst_program

OBSERVATIONS, PRODUCTS = dg.AssetKey(["mast", "observations"]), dg.AssetKey(["mast", "products"])
MADE = dg.AssetKey(["perturbed", "clean"])
TRUTH = dg.AssetKey(["truth", "clean"])
PROGRAM, OTHER = "01345", "02565"


class World:
    """A graph of the shape of ours, whose contents a test sets: answer, products, and a perturbed dataset."""

    def __init__(self, instance: dg.DagsterInstance) -> None:
        self.instance = instance
        self.versions: dict[tuple[dg.AssetKey, str], str] = {}
        self.content = dict.fromkeys((OBSERVATIONS, PRODUCTS, MADE, TRUTH), "a")
        self.passes = True
        assets = [self._asset(OBSERVATIONS), self._asset(PRODUCTS, OBSERVATIONS)]
        assets += [self._asset(MADE, PRODUCTS), self._asset(TRUTH, PRODUCTS)]

        @dg.asset_check(asset=PRODUCTS, blocking=True, partitions_def=jwst_program)
        def usable() -> dg.AssetCheckResult:
            raise AssertionError("a test records verdicts, it judges none")

        self.graph = automation.graph_of(assets, [usable], ["clean"])
        self.sensor = automation.reconcile_sensor(self.graph, [MADE])
        self.defs = dg.Definitions(
            assets=automation.automated_assets(assets, self.graph),
            asset_checks=[usable, *automation.inputs_current_checks(self.graph, [MADE])],
            sensors=[automation.automation_sensor(self.graph), self.sensor],
        )
        self.cursor: object = None

    def _asset(self, key: dg.AssetKey, *deps: dg.AssetKey) -> dg.AssetsDefinition:
        @dg.asset(key=key, deps=list(deps), partitions_def=jwst_program)
        def made() -> None:
            raise AssertionError("a test records materializations, it makes none")

        return made

    def make(self, *keys: dg.AssetKey, program: str = PROGRAM) -> None:
        """Record what a run that makes these assets would: versions, those of what they are made from, checks."""
        for key in keys:
            version = self.content[key]
            self.versions[key, program] = version
            tags = {"dagster/data_version": version}
            for above in self.graph.upstream.get(key, ()):
                tags[f"dagster/input_data_version/{above.to_user_string()}"] = self.versions[above, program]
            self.instance.report_runless_asset_event(dg.AssetMaterialization(key, partition=program, tags=tags))
            if key == PRODUCTS:
                self._judge(key, "usable", self.passes, program)
            if key == MADE:
                self._judge(key, automation.CHECK, True, program)

    def _judge(self, key: dg.AssetKey, check: str, passed: bool, program: str) -> None:
        """Record a check as a run does: planned, then evaluated (without a run, Dagster takes one per partition)."""
        subset = jwst_program.empty_subset().with_partition_keys([program])
        planned = AssetCheckEvaluationPlanned(asset_key=key, check_name=check, partitions_subset=subset)
        target = self.instance.get_latest_data_version_record(key, partition_key=program)
        assert target is not None
        made = AssetCheckEvaluationTargetMaterializationData(
            storage_id=target.storage_id, run_id=target.run_id, timestamp=target.timestamp
        )
        evaluation = dg.AssetCheckEvaluation(key, check, passed, {}, made, partition=program)
        run_id = self.record(dg.DagsterRunStatus.SUCCESS, {})
        for kind, data in (
            (DagsterEventType.ASSET_CHECK_EVALUATION_PLANNED, planned),
            (DagsterEventType.ASSET_CHECK_EVALUATION, evaluation),
        ):
            self.instance.report_dagster_event(DagsterEvent(kind.value, "job", event_specific_data=data), run_id)

    def record(self, status: dg.DagsterRunStatus, tags: Mapping[str, str]) -> str:
        """Record a run that makes nothing."""
        run = dg.DagsterRun(job_name="job", run_id=str(uuid4()), status=status, tags=tags)
        self.instance.add_run(run)
        return run.run_id

    def follow(self) -> set[tuple[str, str]]:
        """Tick the conditions; return (asset, program) of what they request."""
        result = dg.evaluate_automation_conditions(defs=self.defs, instance=self.instance, cursor=self.cursor)  # type: ignore[arg-type]
        self.cursor = result.cursor
        found = set()
        for key in self.graph.upstream:
            subset = result.get_requested_partitions(key)
            found |= {(key.to_user_string(), program) for program in subset if program}
        return found

    def reconcile(self) -> list[tuple[list[str], str]]:
        """Tick the reconciler; return (assets, program) of what it requests."""
        with dg.build_sensor_context(instance=self.instance, definitions=self.defs) as context:
            result = self.sensor(context)
        assert isinstance(result, dg.SensorResult)
        self.requests = list(result.run_requests or [])
        return [
            ([key.to_user_string() for key in request.asset_selection or []], str(request.partition_key))
            for request in self.requests
        ]


@pytest.fixture
def world(state: Path) -> Iterator[World]:
    with dg.instance_for_test() as instance:
        instance.add_dynamic_partitions("jwst_program", [PROGRAM, OTHER])
        world = World(instance)
        for program in (PROGRAM, OTHER):
            world.make(OBSERVATIONS, PRODUCTS, MADE, TRUTH, program=program)
        assert world.follow() == set(), "what is there when the conditions are first looked at is not made again"
        yield world


def test_other_content_is_followed_in_its_program_only(world: World) -> None:
    world.content[OBSERVATIONS] = "b"
    world.make(OBSERVATIONS)
    below = ("mast/products", "perturbed/clean", "truth/clean")
    assert world.follow() == {(name, PROGRAM) for name in below}, "one run, in which a failed check stops what follows"


def test_the_same_content_made_again_is_followed_by_nothing(world: World) -> None:
    world.make(OBSERVATIONS, PRODUCTS)
    assert world.follow() == set()


def test_a_failed_blocking_check_holds_back_its_program_and_lets_it_go_when_it_passes(world: World) -> None:
    world.content[PRODUCTS], world.passes = "b", False
    world.make(PRODUCTS)
    world.make(PRODUCTS, program=OTHER)
    assert world.follow() == set()
    world.passes = True
    world.make(PRODUCTS)
    assert world.follow() == {("perturbed/clean", PROGRAM), ("truth/clean", PROGRAM)}


def test_what_was_never_made_is_left_to_the_run_that_takes_a_program_through(world: World) -> None:
    world.instance.add_dynamic_partitions("jwst_program", ["09999"])
    world.make(OBSERVATIONS, program="09999")
    assert world.follow() == set()
    assert world.reconcile() == []


def test_an_edge_that_the_conditions_lost_is_found_by_comparing_states(world: World) -> None:
    """The upstream changes and the tick that would tell never happens: the conditions start anew afterwards."""
    world.content[PRODUCTS] = "b"
    world.make(PRODUCTS)
    world.cursor = None
    assert world.follow() == set(), "the edge is lost"
    assert world.reconcile() == [(["perturbed/clean", "truth/clean"], PROGRAM)]
    world.make(MADE, TRUTH)
    assert world.reconcile() == []


def test_what_lies_below_something_outdated_is_made_with_it_in_one_run(world: World) -> None:
    world.content[OBSERVATIONS] = "b"
    world.make(OBSERVATIONS)
    assert world.reconcile() == [(["mast/products", "perturbed/clean", "truth/clean"], PROGRAM)]


def test_the_reconciler_waits_for_runs_and_for_blocking_checks(world: World) -> None:
    world.content[PRODUCTS], world.passes = "b", False
    world.make(PRODUCTS)
    assert world.reconcile() == [([], PROGRAM)], "its blocking check did not pass: nothing is made"
    (request,) = world.requests
    assert request.asset_check_keys == [dg.AssetCheckKey(MADE, "inputs_current")], "and the UI is told"
    world.record(dg.DagsterRunStatus.SUCCESS, request.tags)
    assert world.reconcile() == [], "once"
    world.passes = True
    world.make(PRODUCTS)
    under_way = world.record(dg.DagsterRunStatus.STARTED, {"dagster/partition": PROGRAM})
    assert world.reconcile() == [], "a run of the program is under way"
    world.instance.delete_run(under_way)
    assert world.reconcile() == [(["perturbed/clean", "truth/clean"], PROGRAM)]


def test_what_the_reconciler_requested_and_failed_is_tried_again_and_not_for_ever(world: World) -> None:
    world.content[PRODUCTS] = "b"
    world.make(PRODUCTS)
    keys = []
    while world.reconcile():
        keys.append(world.requests[0].run_key)
        world.record(dg.DagsterRunStatus.FAILURE, world.requests[0].tags)
        assert len(keys) < 10
    assert len(keys) == len(set(keys)) == 3


def test_the_shipped_graph_follows_the_automated_scenarios_only(state: Path) -> None:
    from hwosim_assets.definitions import build_defs

    graph = build_defs().resolve_asset_graph()
    following = {key.to_user_string() for key in graph.materializable_asset_keys if graph.get(key).automation_condition}
    scenarios = ("clean", "nominal_l2", "ground_segment_bad_day")
    assert following == {
        *("mast/products", "raw/fits_files", "catalog/header_cards", "catalog/products", "catalog/quarantine"),
        *(f"{group}/{name}" for group in ("perturbed", "truth") for name in scenarios),
    }


def test_what_is_outdated_says_why(world: World) -> None:
    assert automation.outdated(world.instance, world.graph, [PROGRAM, OTHER]) == {}
    world.content[OBSERVATIONS] = "b"
    world.make(OBSERVATIONS)
    found = automation.outdated(world.instance, world.graph, [PROGRAM, OTHER])
    assert {(program, item.key.to_user_string()): item.reason for program in found for item in found[program]} == {
        (PROGRAM, "mast/products"): "mast/observations has changed since",
        (PROGRAM, "perturbed/clean"): "mast/products is not current itself",
        (PROGRAM, "truth/clean"): "mast/products is not current itself",
    }
