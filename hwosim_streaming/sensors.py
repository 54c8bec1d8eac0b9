"""What starts by itself in this location: what was newly materialized, and judged fit, is published.

Holds: the publishing sensor. It reads materializations past its cursor (``@asset_sensor`` would hand
over only the latest of several partitions, dagster issue 32853), waits until the run that made one has
recorded its blocking checks (a check blocks only within its own run, and this location's runs are
others), and requests one run for each plan that was not published yet.

See https://docs.dagster.io/guides/automate/sensors
"""

import hashlib
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import dagster as dg
from dagster import DagsterEventType

from hwosim_assets.assets.perturbed import perturbed_key
from hwosim_assets.perturb.scenario import Scenario
from hwosim_assets.sensors import run_request, standings
from hwosim_streaming.assets import REPORT_KEY, stream_key

if TYPE_CHECKING:  # dagster names this type nowhere else
    from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

__all__ = ["publish_sensor"]

#: Of a scenario. Each costs three reads and a run: a tick over 200 of each of three scenarios took 2.9 s.
EVENTS_PER_TICK = 50
DATA_VERSION_TAG = "dagster/data_version"


class _Made(NamedTuple):
    """A materialization whose checks are awaited."""

    scenario: str
    program: str
    data_version: str
    run_id: str


def _plan_key(scenario: Scenario, program: str, data_version: str) -> str:
    """Return what identifies a plan: a plan is a pure function of the manifest and the scenario."""
    parts = (scenario.name, scenario.sha256, program, data_version)
    return f"{scenario.name}:{program}:{hashlib.sha256('|'.join(parts).encode()).hexdigest()[:16]}"


def _news(instance: dg.DagsterInstance, scenario: str, cursors: dict[str, int]) -> list[_Made]:
    """Return the scenario's materializations past its cursor, and move the cursor."""
    news = instance.fetch_materializations(
        dg.AssetRecordsFilter(perturbed_key(scenario), after_storage_id=cursors.get(scenario, 0)),
        limit=EVENTS_PER_TICK,
        ascending=True,
    )
    made = []
    for record in news.records:
        cursors[scenario] = record.storage_id
        event = record.asset_materialization
        if event is not None and event.partition and event.tags:
            made.append(_Made(scenario, event.partition, event.tags[DATA_VERSION_TAG], record.run_id))
    return made


def _is_fit(instance: dg.DagsterInstance, made: _Made) -> bool | None:
    """Return whether a materialization passed the blocking checks of its run; None while they are awaited.

    One that was made without its checks (somebody chose so in the launchpad) is fit. One whose run
    ended before it was judged is not.
    """
    key = perturbed_key(made.scenario)
    kinds = (DagsterEventType.ASSET_CHECK_EVALUATION_PLANNED, DagsterEventType.ASSET_CHECK_EVALUATION)
    # Before its events: a run that ends between the two looks has then told all, or is looked at again.
    run = instance.get_run_by_id(made.run_id)
    planned, judged = 0, 0
    for record in instance.get_records_for_run(made.run_id, of_type=set(kinds)).records:
        event = record.event_log_entry.get_dagster_event()
        if event.event_type == kinds[0]:
            planned += event.asset_check_planned_data.asset_key == key
            continue
        check = event.asset_check_evaluation_data
        if check.asset_key == key:
            judged += 1
            if check.blocking and not check.passed and check.severity == dg.AssetCheckSeverity.ERROR:
                return False
    if judged >= planned:
        return True
    return None if run is not None and not run.is_finished else False


def publish_sensor(scenarios: Sequence[Scenario], job: "UnresolvedAssetJobDefinition") -> dg.SensorDefinition:
    """Return the sensor that publishes what was newly materialized and is fit, and nothing twice.

    A publication that failed is requested again under a new attempt; one that succeeded for the same
    plan is not requested again. Each publication brings the program's report up to date.
    """
    known = {scenario.name: scenario for scenario in scenarios}

    @dg.sensor(
        job=job,
        minimum_interval_seconds=5,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Publishes each newly materialized perturbed dataset of the automated scenarios whose blocking "
        "checks passed.",
    )
    def publish_new_sensor(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        state = json.loads(context.cursor or "{}")
        cursors: dict[str, int] = state.get("cursors", {})
        wanted: dict[str, tuple[str, str]] = {key: (name, program) for key, name, program in state.get("wanted", [])}
        made = [_Made(*each) for each in state.get("awaited", [])]
        for name in known:
            made += _news(context.instance, name, cursors)
        awaited = []
        for each in made:
            fit = _is_fit(context.instance, each) if each.scenario in known else False
            if fit is None:
                awaited.append(each)
            elif fit:
                key = _plan_key(known[each.scenario], each.program, each.data_version)
                wanted[key] = (each.scenario, each.program)
            else:
                context.log.info(f"not published: {each.scenario} of {each.program}, its blocking checks did not pass")
        found = standings(context.instance, list(wanted))
        requests = [
            run_request(key, standing.attempt, wanted[key][1], asset_selection=[stream_key(wanted[key][0]), REPORT_KEY])
            for key, standing in found.items()
            if standing.attempt is not None
        ]
        # What is settled is forgotten, so that the cursor stays small; what is under way may still fail.
        waiting = [[key, *wanted[key]] for key, standing in found.items() if not standing.is_settled]
        cursor = {"cursors": cursors, "awaited": awaited, "wanted": waiting}
        return dg.SensorResult(run_requests=requests, cursor=json.dumps(cursor))

    return publish_new_sensor
