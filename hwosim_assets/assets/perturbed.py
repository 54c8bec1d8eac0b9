"""One asset per scenario, and its truth: the program's products made imperfect in a known way.

Holds: the factory of the groups ``perturbed`` and ``truth``, fed by the scenario files. Keep out
the effects (``hwosim_assets.perturb``) and overrides for one run (the streaming location's job).
"""

from collections.abc import Iterator
from dataclasses import replace

import dagster as dg

from hwosim_assets import metadata
from hwosim_assets.assets.catalog import PRODUCTS_KEY
from hwosim_assets.lake.rejections import QUARANTINE, rejection_rows
from hwosim_assets.lake.tables import content_sha256
from hwosim_assets.partitions import jwst_program
from hwosim_assets.perturb.scenario import Scenario
from hwosim_assets.resources import LakeResource
from hwosim_assets.settings import Settings

__all__ = ["perturbed_asset", "perturbed_key", "truth_key"]


def perturbed_key(scenario: str) -> dg.AssetKey:
    """Return the key of a scenario's perturbed products."""
    return dg.AssetKey(["perturbed", scenario])


def truth_key(scenario: str) -> dg.AssetKey:
    """Return the key of a scenario's truth."""
    return dg.AssetKey(["truth", scenario])


def perturbed_asset(scenario: Scenario) -> dg.AssetsDefinition:
    """Return the assets ``perturbed/<scenario>`` and ``truth/<scenario>``.

    Their code version is the hash of the scenario's effects, so that editing one scenario makes
    its own assets stale and no other.
    """
    version = scenario.effects_sha256[:16]

    @dg.multi_asset(
        name=f"perturb_{scenario.name}",
        pool="lake",
        specs=[
            dg.AssetSpec(
                perturbed_key(scenario.name),
                group_name="perturbed",
                deps=[PRODUCTS_KEY],
                partitions_def=jwst_program,
                kinds={"fits", "iceberg"},
                code_version=version,
                description=f"{scenario.description}\n\nThe validated products of the program under the scenario "
                f"`{scenario.name}`. The files lie in the lake under `delivered/`, named by content, their rows in "
                "the Iceberg table `perturbed`. Passed means: every product is there, same seed, same bytes.",
            ),
            dg.AssetSpec(
                truth_key(scenario.name),
                group_name="truth",
                deps=[PRODUCTS_KEY],
                partitions_def=jwst_program,
                kinds={"iceberg"},
                code_version=version,
                description=f"What `{scenario.name}` did to each product: every effect with its resolved numbers, keys "
                "and masks, enough to replay the same bytes. Lies in the Iceberg table `truth`. Passed means: every "
                "perturbed product has its record, which the checks of the perturbed products look at.",
            ),
        ],
    )
    def perturb(context: dg.AssetExecutionContext, lake: LakeResource) -> Iterator[dg.MaterializeResult]:
        from hwosim_assets.perturb.dataset import PERTURBED, TRUTH, perturb_program

        program = context.partition_key
        tables = lake.tables()
        result = perturb_program(program, scenario, lake.lake(), tables, workers=Settings().perturb_workers)
        stage = f"perturbed/{scenario.name}"
        refused = [replace(rejection, stage=stage) for rejection in result.rejections]
        tables.replace(QUARANTINE, {"program": program, "stage": stage}, rejection_rows(program, refused))
        yield dg.MaterializeResult(
            asset_key=perturbed_key(scenario.name),
            data_version=dg.DataVersion(content_sha256(PERTURBED, result.rows)),
            metadata={
                **metadata.before_after(result.picture()),
                **metadata.table_rows(result.rows, spec=PERTURBED),
                "files made": result.made,
                "files kept": result.kept,
                "scenario": dg.MetadataValue.json(scenario.content.model_dump(mode="json")),
                **metadata.rejections(result.rejections),
            },
        )
        yield dg.MaterializeResult(
            asset_key=truth_key(scenario.name),
            data_version=dg.DataVersion(content_sha256(TRUTH, result.truth)),
            metadata=metadata.table_rows(result.truth, spec=TRUTH),
        )

    return perturb
