"""What follows by itself inside the graph when something upstream changed, and what finds it when it did not.

Holds: the automation condition of the assets that lie below the archive's answer, the sensor that evaluates it,
and the reconciler with its check ``inputs_current``. Keep out what starts a program from outside: the archive's
changes (``sensors``) and publishing (``hwosim_streaming.sensors``).

A condition acts on an edge (an upstream that changed since the last look), and edges get lost: one that lands in
the window of a tick in which the downstream itself completed is never seen again (dagster issue 24650). So the
reconciler compares states: the data version that each asset was made from with the one that its upstream has now.

See https://docs.dagster.io/guides/automate/declarative-automation
"""

import hashlib
import warnings
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import dagster as dg
from dagster import DagsterEventType

from hwosim_assets.partitions import jwst_program, registered_programs
from hwosim_assets.sensors import UNFINISHED, run_request, standings

__all__ = [
    "Graph",
    "Outdated",
    "automated_assets",
    "automation_sensor",
    "graph_of",
    "inputs_current_checks",
    "outdated",
    "reconcile_sensor",
    "reprocess_on_new_data",
]

AC = dg.AutomationCondition

CHECK = "inputs_current"
VERSION_TAG = "dagster/data_version"
INPUT_TAG = "dagster/input_data_version/"
#: A run that a condition requested is retried once by Dagster, from the step that failed.
RETRY_ONCE = {"dagster/max_retries": "1", "dagster/retry_on_asset_or_op_failure": "true"}
#: How often the reconciler looks (s). What it finds was lost by an edge: nobody waits for it by the second.
RECONCILE_SECONDS = 60


def reprocess_on_new_data() -> dg.AutomationCondition[Any]:
    """Return the condition: an upstream has other content, its blocking checks passed, and nothing is under way.

    Plain ``eager()`` would start again on identical bytes and would not care for a failed blocking check. What was
    never made is left to the sensor that takes a program through the whole graph in one run.
    """
    return (
        AC.eager().replace("newly_updated", AC.data_version_changed())
        & ~AC.missing()
        & AC.all_deps_blocking_checks_passed()
    ).with_label("reprocess_on_new_data")


class Graph(NamedTuple):
    """The assets that follow by themselves.

    Attributes
    ----------
    upstream : dict of AssetKey to tuple of AssetKey
        What each is made from; an asset comes after everything that it is made from.
    blocking : dict of AssetKey to tuple of AssetCheckKey
        The blocking checks of each, and of what they are made from.
    """

    upstream: Mapping[dg.AssetKey, tuple[dg.AssetKey, ...]]
    blocking: Mapping[dg.AssetKey, tuple[dg.AssetCheckKey, ...]]


def graph_of(
    assets: Sequence[dg.AssetsDefinition], checks: Sequence[dg.AssetChecksDefinition], scenarios: Collection[str]
) -> Graph:
    """Return the part of the graph that follows by itself, in the order in which it is made.

    Parameters
    ----------
    assets : sequence of dagster.AssetsDefinition
        Of this location.
    checks : sequence of dagster.AssetChecksDefinition
        Of this location.
    scenarios : collection of str
        The automated ones; the perturbed datasets of the others are made when somebody asks for them.
    """
    others = {"perturbed", "truth"}
    specs = {
        spec.key: spec
        for definition in assets
        for spec in definition.specs
        if spec.deps and (spec.key.path[0] not in others or spec.key.path[1] in scenarios)
    }
    upstream: dict[dg.AssetKey, tuple[dg.AssetKey, ...]] = {}

    def add(key: dg.AssetKey) -> None:
        if key in specs and key not in upstream:
            above = tuple(dep.asset_key for dep in specs[key].deps)
            for each in above:
                add(each)
            upstream[key] = above

    for key in specs:
        add(key)
    blocking: dict[dg.AssetKey, list[dg.AssetCheckKey]] = {}
    for spec in (spec for check in checks for spec in check.check_specs if spec.blocking):
        blocking.setdefault(spec.asset_key, []).append(spec.key)
    return Graph(upstream, {key: tuple(found) for key, found in blocking.items()})


def automated_assets(assets: Iterable[dg.AssetsDefinition], graph: Graph) -> list[dg.AssetsDefinition]:
    """Return the assets, those of the graph with their condition."""
    condition = reprocess_on_new_data()
    return [
        dg.map_asset_specs(
            lambda spec: (
                spec.replace_attributes(automation_condition=condition) if spec.key in graph.upstream else spec
            ),
            [definition],
        )[0]
        for definition in assets
    ]


def automation_sensor(graph: Graph) -> dg.AutomationConditionSensorDefinition:
    """Return the sensor that evaluates the conditions."""
    return dg.AutomationConditionSensorDefinition(
        "follow_changes_sensor",
        target=dg.AssetSelection.assets(*graph.upstream),
        default_status=dg.DefaultSensorStatus.RUNNING,
        run_tags=RETRY_ONCE,
        description="Materializes again what was made from content that has changed since, once its blocking checks "
        "passed.",
    )


class Outdated(NamedTuple):
    """An asset of a program that is not made from what its upstream is now.

    Attributes
    ----------
    key : AssetKey
        The asset.
    reason : str
        Which upstream differs, for people.
    state : str
        The versions that differ; the same as long as nothing changes.
    """

    key: dg.AssetKey
    reason: str
    state: str


def outdated(instance: dg.DagsterInstance, graph: Graph, programs: Sequence[str]) -> dict[str, list[Outdated]]:
    """Return what is not made from what its upstream is now, by program, in the order in which it is to be made.

    One query per asset, and two more for each upstream that was materialized after what was made from it. An asset
    that was never made is left out: the sensor that takes a program through the graph answers for it.

    Parameters
    ----------
    instance : dagster.DagsterInstance
        Where materializations are recorded.
    graph : Graph
        What follows by itself.
    programs : sequence of str
        Partitions to look at.
    """
    keys = dict.fromkeys(key for asset, above in graph.upstream.items() for key in (*above, asset))
    latest = {
        key: instance.get_latest_storage_id_by_partition(
            key, DagsterEventType.ASSET_MATERIALIZATION, partitions=set(programs)
        )
        for key in keys
    }
    found: dict[str, list[Outdated]] = {}
    for program in programs:
        late: dict[dg.AssetKey, Outdated] = {}
        for key, above in graph.upstream.items():
            made = latest[key].get(program)
            if made is None:
                continue
            for each in above:
                name = each.to_user_string()
                if each in late:
                    late[key] = Outdated(key, f"{name} is not current itself", late[each].state)
                elif latest[each].get(program, 0) > made:
                    used = _tags(instance, key, program).get(INPUT_TAG + name)
                    now = _tags(instance, each, program).get(VERSION_TAG)
                    if used != now:
                        late[key] = Outdated(key, f"{name} has changed since", f"{name}={now}")
        if late:
            found[program] = list(late.values())
    return found


def _tags(instance: dg.DagsterInstance, key: dg.AssetKey, program: str) -> Mapping[str, str]:
    """Return the tags of the latest materialization: its data version, and those that it was made from."""
    record = instance.get_latest_data_version_record(key, partition_key=program)
    event = record.asset_materialization if record is not None else None
    return (event.tags or {}) if event is not None else {}


def _held_back(instance: dg.DagsterInstance, graph: Graph, late: Mapping[str, list[Outdated]]) -> set[str]:
    """Return the programs where a blocking check of what an outdated asset is made from did not pass."""
    above = {each for found in late.values() for item in found for each in graph.upstream[item.key]}
    checks = [check for key in above for check in graph.blocking.get(key, ())]
    if not checks:
        return set()
    infos = instance.event_log_storage.get_asset_check_partition_info(checks, partition_keys=list(late))
    concerned = {(program, each) for program in late for item in late[program] for each in graph.upstream[item.key]}
    return {
        info.partition_key
        for info in infos
        if info.partition_key is not None
        and (info.partition_key, info.check_key.asset_key) in concerned
        and info.latest_execution_status.value != "SUCCEEDED"
    }


def _busy(instance: dg.DagsterInstance) -> set[str]:
    """Return the programs that a run is under way for."""
    runs = instance.get_runs(dg.RunsFilter(statuses=UNFINISHED))
    return {run.tags["dagster/partition"] for run in runs if "dagster/partition" in run.tags}


def reconcile_sensor(graph: Graph, judged: Sequence[dg.AssetKey]) -> dg.SensorDefinition:
    """Return the sensor that finds what the conditions missed and has it made.

    Where a blocking check holds it back, a run evaluates ``inputs_current`` alone, so that the UI says so. (A sensor
    cannot record that itself: Dagster 1.13 takes one check evaluation without a run per partition, and no second.)

    Parameters
    ----------
    graph : Graph
        What follows by itself.
    judged : sequence of AssetKey
        The assets that carry the check.
    """

    @dg.sensor(
        target=dg.AssetSelection.assets(*graph.upstream),
        minimum_interval_seconds=RECONCILE_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Compares what each asset was made from with what its upstream is now, and requests what an "
        "automation condition missed.",
    )
    def reconcile_inputs_sensor(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        instance = context.instance
        busy = _busy(instance)
        late = outdated(instance, graph, [each for each in registered_programs(instance) if each not in busy])
        held = _held_back(instance, graph, late)
        wanted = {_request(program, found, program in held): program for program, found in late.items()}
        requests = []
        for request, standing in standings(instance, list(wanted)).items():
            program = wanted[request]
            if standing.attempt is None:
                continue
            keys = [item.key for item in late[program]]
            checks = [dg.AssetCheckKey(key, CHECK) for key in keys if key in judged]
            if program not in held:
                requests.append(run_request(request, standing.attempt, program, asset_selection=keys))
            elif checks:
                requests.append(
                    run_request(request, standing.attempt, program, asset_selection=[], asset_check_keys=checks)
                )
        return dg.SensorResult(run_requests=requests)

    return reconcile_inputs_sensor


def _request(program: str, found: Sequence[Outdated], is_held: bool) -> str:
    """Return what a request is for: as long as the same is outdated for the same reason, it is the same."""
    state = hashlib.sha256("|".join(f"{item.key.to_user_string()}:{item.state}" for item in found).encode())
    return f"{'judge' if is_held else 'reconcile'}:{program}:{state.hexdigest()[:16]}"


def inputs_current_checks(graph: Graph, judged: Sequence[dg.AssetKey]) -> list[dg.AssetChecksDefinition]:
    """Return the check ``inputs_current`` of assets: all that lies above is made from what its upstream is now.

    Parameters
    ----------
    graph : Graph
        What follows by itself.
    judged : sequence of AssetKey
        Assets of it.
    """
    return [_inputs_current(graph, key) for key in judged]


def _inputs_current(graph: Graph, key: dg.AssetKey) -> dg.AssetChecksDefinition:
    with warnings.catch_warnings():  # partitioned checks are in preview: pinned, and tested here
        warnings.simplefilter("ignore", dg.PreviewWarning)

        @dg.asset_check(
            asset=key,
            name=CHECK,
            partitions_def=jwst_program,
            description="It, and all that lies above it, is made from what its upstream is now (warning)",
        )
        def inputs_current(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
            found = outdated(context.instance, graph, [context.partition_key])
            reasons = {item.key: item.reason for item in found.get(context.partition_key, ())}
            return dg.AssetCheckResult(
                passed=key not in reasons,
                severity=dg.AssetCheckSeverity.WARN,
                description=reasons.get(key, "made from what its upstream is now"),
                metadata={"outdated": [each.to_user_string() for each in reasons]},
            )

    return inputs_current
