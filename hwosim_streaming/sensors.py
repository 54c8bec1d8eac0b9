"""What starts by itself in this location: what was newly materialized is published.

Holds: the publishing sensor. It reads materializations past its cursor (``@asset_sensor`` would hand
over only the latest of several partitions, dagster issue 32853) and requests one run for each plan
that was not published yet.

See https://docs.dagster.io/guides/automate/sensors
"""

import hashlib
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

import dagster as dg

from hwosim_assets.assets.perturbed import perturbed_key
from hwosim_assets.perturb.scenario import Scenario
from hwosim_assets.sensors import run_request, standings
from hwosim_streaming.assets import stream_key

if TYPE_CHECKING:  # dagster names this type nowhere else
    from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

__all__ = ["publish_sensor"]

#: A tick has 60 s before Dagster gives it up; each materialization costs one read.
EVENTS_PER_TICK = 200
DATA_VERSION_TAG = "dagster/data_version"


def _plan_key(scenario: Scenario, program: str, data_version: str) -> str:
    """Return what identifies a plan: a plan is a pure function of the manifest and the scenario."""
    parts = (scenario.name, scenario.sha256, program, data_version)
    return f"{scenario.name}:{program}:{hashlib.sha256('|'.join(parts).encode()).hexdigest()[:16]}"


def publish_sensor(scenarios: Sequence[Scenario], job: "UnresolvedAssetJobDefinition") -> dg.SensorDefinition:
    """Return the sensor that publishes what was newly materialized, and nothing twice.

    A publication that failed is requested again under a new attempt; one that succeeded for the same
    plan is not requested again.
    """

    @dg.sensor(
        job=job,
        minimum_interval_seconds=5,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Publishes each newly materialized perturbed dataset of the automated scenarios.",
    )
    def publish_new_sensor(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        state = json.loads(context.cursor or "{}")
        cursors: dict[str, int] = state.get("cursors", {})
        wanted: dict[str, tuple[str, str]] = {key: (name, program) for key, name, program in state.get("wanted", [])}
        for scenario in scenarios:
            news = context.instance.fetch_materializations(
                dg.AssetRecordsFilter(perturbed_key(scenario.name), after_storage_id=cursors.get(scenario.name, 0)),
                limit=EVENTS_PER_TICK,
                ascending=True,
            )
            for record in news.records:
                cursors[scenario.name] = record.storage_id
                event = record.asset_materialization
                if event is not None and event.partition and event.tags:
                    key = _plan_key(scenario, event.partition, event.tags[DATA_VERSION_TAG])
                    wanted[key] = (scenario.name, event.partition)
        found = standings(context.instance, list(wanted))
        requests = [
            run_request(key, standing.attempt, wanted[key][1], asset_selection=[stream_key(wanted[key][0])])
            for key, standing in found.items()
            if standing.attempt is not None
        ]
        # What is settled is forgotten, so that the cursor stays small; what is under way may still fail.
        waiting = [[key, *wanted[key]] for key, standing in found.items() if not standing.is_settled]
        return dg.SensorResult(run_requests=requests, cursor=json.dumps({"cursors": cursors, "wanted": waiting}))

    return publish_new_sensor
