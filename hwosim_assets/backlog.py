"""What is left to do, per program and per asset: what was never made, what failed and why, what is out of date.

Holds: :func:`standing`, which asks Dagster's storage a fixed number of questions for each asset, however many
programs there are, and :func:`left`, its answer by program. Keep out who shows it (``hwosim programs left``,
``hwosim_assets.operations``) and what is requested because of it (``automation``, ``sensors``).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import dagster as dg
from dagster import DagsterEventType

from hwosim_assets import automation
from hwosim_assets.partitions import registered_programs
from hwosim_assets.runner import Outcome, note_failures
from hwosim_assets.sensors import UNFINISHED

__all__ = ["Left", "Standing", "left", "standing"]

#: States of an asset of a program, the most urgent first.
STATES = ("failed", "under way", "missing", "stale")
#: Groups of which there is an asset for each scenario.
_BY_SCENARIO = ("perturbed", "truth", "stream")


@dataclass(frozen=True)
class Standing:
    """Where the assets stand.

    Attributes
    ----------
    programs : tuple of str
        All that are registered.
    assets : tuple of str
        Names of the assets that every program is to have, in the order in which they are made.
    states : dict of str to dict of str to str
        By asset and program, one of :data:`STATES`; what is made and current is left out.
    runs : dict of str to tuple of str
        The runs that failed, by program.
    """

    programs: tuple[str, ...]
    assets: tuple[str, ...]
    states: dict[str, dict[str, str]]
    runs: dict[str, tuple[str, ...]]


@dataclass(frozen=True)
class Left:
    """What is left of a program.

    Attributes
    ----------
    program : str
        Five digits.
    state : str
        The most urgent of its assets' states.
    assets : dict of str to list of str
        Assets by state.
    reasons : tuple of str
        Why its last runs failed: the checks that stopped them, and what steps said.
    run_ids : tuple of str
        These runs.
    """

    program: str
    state: str
    assets: dict[str, list[str]]
    reasons: tuple[str, ...] = ()
    run_ids: tuple[str, ...] = field(default=())


def standing(instance: dg.DagsterInstance, locations: Sequence[dg.Definitions], scenarios: Collection[str]) -> Standing:
    """Return where every asset of every program stands.

    Parameters
    ----------
    instance : dagster.DagsterInstance
        Where materializations are recorded.
    locations : sequence of dagster.Definitions
        The code locations in the order of the chain.
    scenarios : collection of str
        The automated ones; of the others nothing is expected.
    """
    wanted = [key for definitions in locations for key in _wanted(definitions, scenarios)]
    programs = registered_programs(instance)
    under_way = {run.run_id for run in instance.get_runs(dg.RunsFilter(statuses=UNFINISHED))}
    states: dict[str, dict[str, str]] = {}
    runs: dict[str, set[str]] = {}
    for key in wanted:
        made = instance.get_latest_storage_id_by_partition(key, DagsterEventType.ASSET_MATERIALIZATION)
        # what a run was to make and did not: the same question that the UI asks for its red bars
        tried = instance.event_log_storage.get_latest_asset_partition_materialization_attempts_without_materializations(
            key
        )
        found = {program: "missing" for program in programs if program not in made}
        for program, (run_id, _) in tried.items():
            found[program] = "under way" if run_id in under_way else "failed"
            if run_id not in under_way:
                runs.setdefault(program, set()).add(run_id)
        states[key.to_user_string()] = found
    for program, late in automation.outdated(instance, _graph(locations, scenarios), programs).items():
        for item in late:
            states.get(item.key.to_user_string(), {}).setdefault(program, "stale")
    names = tuple(key.to_user_string() for key in wanted)
    return Standing(tuple(programs), names, states, {name: tuple(sorted(ids)) for name, ids in runs.items()})


def left(instance: dg.DagsterInstance, where: Standing) -> list[Left]:
    """Return what is left of each program that is not all made and current, the most urgent first.

    Parameters
    ----------
    instance : dagster.DagsterInstance
        Where runs are recorded: asked for the reasons of those that failed.
    where : Standing
        See :func:`standing`.
    """
    found = []
    for program in where.programs:
        by_state: dict[str, list[str]] = {}
        for name in where.assets:
            state = where.states[name].get(program)
            if state is not None:
                by_state.setdefault(state, []).append(name)
        if by_state:
            state = min(by_state, key=STATES.index)
            runs = where.runs.get(program, ())
            found.append(Left(program, state, by_state, _reasons(instance, runs), runs))
    return sorted(found, key=lambda item: (STATES.index(item.state), item.program))


def _reasons(instance: dg.DagsterInstance, run_ids: Sequence[str]) -> tuple[str, ...]:
    """Return why runs failed, in one line each."""
    outcome = Outcome("")
    kinds = {DagsterEventType.ASSET_CHECK_EVALUATION, DagsterEventType.STEP_FAILURE}
    for run_id in run_ids:
        records = instance.get_records_for_run(run_id, of_type=kinds).records
        events = [record.event_log_entry.get_dagster_event() for record in records]
        before = len(outcome.stopped_by) + len(outcome.failures)
        note_failures(outcome, events)
        if len(outcome.stopped_by) + len(outcome.failures) == before:
            run = instance.get_run_by_id(run_id)
            outcome.failures.append(f"run {run_id} {run.status.value.lower() if run else 'is gone'} outside its steps")
    return tuple(dict.fromkeys((*(f"check {name}" for name in outcome.stopped_by), *outcome.failures)))


def _wanted(definitions: dg.Definitions, scenarios: Collection[str]) -> list[dg.AssetKey]:
    """Return the assets of a location that every program is to have, in the order in which they are made."""
    graph = definitions.resolve_asset_graph()
    return [
        key
        for level in graph.toposorted_asset_keys_by_level
        for key in sorted(level)
        if key in graph.materializable_asset_keys and (key.path[0] not in _BY_SCENARIO or key.path[1] in scenarios)
    ]


def _graph(locations: Sequence[dg.Definitions], scenarios: Collection[str]) -> automation.Graph:
    """Return what is made from what, over all locations."""
    upstream: dict[dg.AssetKey, tuple[dg.AssetKey, ...]] = {}
    for definitions in locations:
        graph = definitions.resolve_asset_graph()
        for key in _wanted(definitions, scenarios):
            above = sorted(graph.get(key).parent_keys)
            upstream[key] = tuple(
                each for each in above if each.path[0] not in _BY_SCENARIO or each.path[1] in scenarios
            )
    return automation.Graph(upstream, {})
