"""Runs that have a name.

Holds: the job that takes one program through this location, and the job behind Dagster's launchpad
in which a user sets severity, seed, rate and time scale. Keep out what a single asset needs.

See https://docs.dagster.io/guides/build/jobs
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import dagster as dg
from pydantic import Field

from hwosim_assets.errors import BadInputError, HwosimError
from hwosim_assets.partitions import jwst_program
from hwosim_assets.perturb.scenario import Scenario
from hwosim_assets.resources import LakeResource
from hwosim_assets.settings import Settings

__all__ = ["program_job", "try_scenario_job"]

program_job = dg.define_asset_job(
    "program_job",
    selection=dg.AssetSelection.all(),
    description="Publish one JWST program under every scenario, prove what arrived, write the report.",
)


#: The tag in which Dagster keeps what an event's content is.
DATA_VERSION_TAG = "dagster/data_version"


class Overrides(dg.Config):
    """What a run may set; what is left out stays as the scenario file says."""

    scenario: str = Field(default="nominal_l2", description="The scenario to start from.")
    severity: float | None = Field(
        default=None, ge=0, le=5, description="Severity of every effect: 0 identity, 5 failure."
    )
    seed: int | None = Field(default=None, ge=0, description="Root seed of every random stream.")
    rate_per_s: float | None = Field(default=None, gt=0, description="Messages per second.")
    time_scale: float | None = Field(
        default=None, ge=1e-3, le=1e5, description="Seconds of exposure per second of stream."
    )

    def applied(self, scenarios: Mapping[str, Scenario]) -> Scenario:
        """Return the scenario under its derived identity.

        Raises
        ------
        BadInputError
            When there is no such scenario, or nothing differs from it.
        """
        if self.scenario not in scenarios:
            raise BadInputError(self.scenario, "no such scenario", f"choose one of {', '.join(sorted(scenarios))}")
        scenario = scenarios[self.scenario].with_overrides(
            severity=self.severity, seed=self.seed, rate_per_s=self.rate_per_s, time_scale=self.time_scale
        )
        if scenario.id == scenario.name:
            raise BadInputError(
                self.scenario, "nothing differs from the scenario file", "materialize its assets instead"
            )
        return scenario


#: What the launchpad shows once a program is chosen: every number that can be set, null meaning as the file says.
IN_THE_LAUNCHPAD = {"scenario": "nominal_l2", "severity": 3.0, "seed": None, "rate_per_s": None, "time_scale": None}


def try_scenario_job(scenarios: Mapping[str, Scenario]) -> dg.JobDefinition:
    """Return the job that perturbs and publishes one program with a run's own numbers.

    What differs from the scenario file gets a derived identity, ``<scenario>--<hash>``: its rows,
    files, messages and materializations stand under that name, and the named scenario's stay.
    """

    @dg.op
    def try_scenario(context: dg.OpExecutionContext, config: Overrides, lake: LakeResource) -> None:
        """Perturb, publish and verify one program under a scenario with overrides."""
        scenario, settings = config.applied(scenarios), Settings()
        context.log_event(_perturbed(context.partition_key, scenario, lake, settings))
        materialization, row = _published(context.partition_key, scenario, lake, settings)
        context.log_event(materialization)
        # A named scenario has asset checks for this; a run with overrides has only itself to fail.
        if not row["verified"]:
            raise HwosimError(
                f"stream {scenario.id} of program {context.partition_key}",
                f"did not arrive as planned ({row['discrepancies']} discrepancies)",
                "see examples_json in its metadata, then run again",
            )

    @dg.job(
        partitions_def=jwst_program,
        config={"ops": {"try_scenario": {"config": IN_THE_LAUNCHPAD}}},
        description="Perturb, publish and verify one program with your own severity, seed, rate and time scale: pick a "
        "partition, edit the configuration in the launchpad, launch. The named scenario is never overwritten.",
    )
    def try_scenario_job() -> None:
        try_scenario()

    return try_scenario_job


def _perturbed(program: str, scenario: Scenario, lake: LakeResource, settings: Settings) -> dg.AssetMaterialization:
    """Perturb a program and quarantine what was refused."""
    from hwosim_assets import metadata
    from hwosim_assets.lake.rejections import QUARANTINE, rejection_rows
    from hwosim_assets.lake.tables import content_sha256
    from hwosim_assets.perturb.dataset import PERTURBED, perturb_program

    perturbed = perturb_program(program, scenario, lake.lake(), lake.tables(), workers=settings.perturb_workers)
    stage = f"perturbed/{scenario.id}"
    refused = [replace(rejection, stage=stage) for rejection in perturbed.rejections]
    lake.tables().replace(QUARANTINE, {"program": program, "stage": stage}, rejection_rows(program, refused))
    return dg.AssetMaterialization(
        ["perturbed", scenario.id],
        partition=program,
        tags={DATA_VERSION_TAG: content_sha256(PERTURBED, perturbed.rows)},
        metadata={
            **metadata.before_after(perturbed.picture()),
            **metadata.table_rows(perturbed.rows, spec=PERTURBED),
            "dagster/column_schema": metadata.column_schema(PERTURBED),  # such an asset is defined nowhere
            "scenario": dg.MetadataValue.json(scenario.content.model_dump(mode="json")),
            **metadata.rejections(perturbed.rejections),
        },
    )


def _published(
    program: str, scenario: Scenario, lake: LakeResource, settings: Settings
) -> tuple[dg.AssetMaterialization, dict[str, Any]]:
    """Publish a program; return what became of it, and its row of the table ``publications``."""
    from hwosim_assets import metadata
    from hwosim_streaming.publication import publish_program

    published = publish_program(program, scenario, lake.lake(), lake.tables(), settings)
    materialization = dg.AssetMaterialization(
        ["stream", scenario.id],
        partition=program,
        tags={DATA_VERSION_TAG: published.row["plan_sha256"]},
        metadata=metadata.publication(published.row, already=published.already),
    )
    return materialization, published.row
