"""What is left of a backfill: what failed and why, what was never made, what is out of date; nothing else."""

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from hwosim_assets import backlog
from hwosim_assets.partitions import jwst_program, register_programs

RAW, PRODUCTS = dg.AssetKey(["raw", "fits_files"]), dg.AssetKey(["catalog", "products"])
CLEAN, OTHER, STREAM = (dg.AssetKey(path) for path in (["perturbed", "clean"], ["perturbed", "x"], ["stream", "clean"]))
GOOD, JUDGED, BROKEN, NEW = "00001", "00002", "00003", "00004"


class World:
    """Two locations of the shape of ours."""

    def __init__(self, instance: dg.DagsterInstance) -> None:
        self.instance, self.content = instance, "a"

        def asset(key: dg.AssetKey, *deps: dg.AssetKey) -> dg.AssetsDefinition:
            @dg.asset(key=key, deps=list(deps), partitions_def=jwst_program)
            def made(context: dg.AssetExecutionContext) -> "dg.MaterializeResult[None]":
                if key == STREAM and context.partition_key == BROKEN:
                    raise OSError("the broker is away")
                return dg.MaterializeResult(data_version=dg.DataVersion(self.content))

            return made

        @dg.asset_check(asset=PRODUCTS, blocking=True, partitions_def=jwst_program)
        def usable(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
            return dg.AssetCheckResult(passed=context.partition_key != JUDGED)

        self.locations = [
            dg.Definitions(
                [asset(RAW), asset(PRODUCTS, RAW), asset(CLEAN, PRODUCTS), asset(OTHER, PRODUCTS)],
                asset_checks=[usable],
                executor=dg.in_process_executor,
            ),
            dg.Definitions([asset(STREAM, CLEAN)], executor=dg.in_process_executor),
        ]

    def run(self, program: str, *keys: dg.AssetKey) -> bool:
        """Make these assets of a program, in a run for each location, as far as it goes."""
        for definitions, wanted in zip(self.locations, ([key for key in keys if key != STREAM], [STREAM]), strict=True):
            if not set(wanted) <= set(keys) or not wanted:
                continue
            job = definitions.resolve_implicit_global_asset_job_def()
            done = job.execute_in_process(
                instance=self.instance, partition_key=program, asset_selection=wanted, raise_on_error=False
            )
            if not done.success:
                return False
        return True

    def left(self) -> dict[str, backlog.Left]:
        where = backlog.standing(self.instance, self.locations, ["clean"])
        return {one.program: one for one in backlog.left(self.instance, where)}


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with dg.instance_for_test(temp_dir=str(tmp_path)) as instance:
        register_programs(instance, [GOOD, JUDGED, BROKEN, NEW])
        yield World(instance)


def test_each_program_is_where_it_stands_and_says_why(world: World) -> None:
    chain = (RAW, PRODUCTS, CLEAN, STREAM)
    assert world.run(GOOD, *chain)
    assert not world.run(JUDGED, *chain)
    assert not world.run(BROKEN, *chain)
    found = world.left()
    assert list(found) == [JUDGED, BROKEN, NEW], "what is done is not listed, what failed comes first"
    assert found[JUDGED].assets == {"failed": ["perturbed/clean"], "missing": ["stream/clean"]}
    assert found[JUDGED].reasons == ("check catalog/products usable",)
    assert found[BROKEN].assets == {"failed": ["stream/clean"]}
    assert found[BROKEN].reasons == ("stream__clean: OSError: the broker is away",)
    assert len(found[BROKEN].run_ids) == 1
    assert found[NEW].assets == {"missing": ["raw/fits_files", "catalog/products", "perturbed/clean", "stream/clean"]}
    assert (found[NEW].state, found[NEW].reasons) == ("missing", ())


def test_what_changed_above_is_stale_until_it_is_made_again(world: World) -> None:
    assert world.run(GOOD, RAW, PRODUCTS, CLEAN, STREAM)
    world.content = "b"
    assert world.run(GOOD, RAW)
    assert world.left()[GOOD].assets == {"stale": ["catalog/products", "perturbed/clean", "stream/clean"]}
    assert world.run(GOOD, PRODUCTS, CLEAN, STREAM)
    assert GOOD not in world.left()


def test_what_failed_and_is_under_way_again_is_under_way(world: World) -> None:
    assert not world.run(JUDGED, RAW, PRODUCTS, CLEAN)
    job = world.locations[0].resolve_implicit_global_asset_job_def()
    assert world.left()[JUDGED].state == "failed"
    world.instance.create_run_for_job(
        job.get_subset(asset_selection={CLEAN}),
        tags={"dagster/partition": JUDGED},
        status=dg.DagsterRunStatus.STARTED,
        asset_selection=frozenset([CLEAN]),
    )
    assert world.left()[JUDGED].assets["under way"] == ["perturbed/clean"]
