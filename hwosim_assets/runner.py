"""Materializing from the shell what the UI would: the same jobs, the same instance, in this process.

Holds: the state folder as a Dagster instance, the code locations found through the entry-point
group ``hwosim.locations``, and one program's run through them. Keep out what is printed
(``hwosim_assets.commands``) and what an asset does (``hwosim_assets.assets``).
"""

import logging
import os
import shutil
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from pathlib import Path

import dagster as dg
from dagster import DagsterEventType

from hwosim_assets.errors import BadInputError
from hwosim_assets.perturb.scenario import find_scenarios
from hwosim_assets.settings import Settings

__all__ = ["STAGES", "Outcome", "check_scenarios", "code_locations", "instance_at", "materialize_program"]

#: Stages in the order of the graph: each is a group of assets (the first part of their keys).
STAGES = ("mast", "raw", "catalog", "perturbed", "stream", "report")

#: Dagster writes a line for every step to standard error; a person at a terminal gets a bar instead.
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


@dataclass
class Outcome:
    """What became of one program.

    Attributes
    ----------
    program : str
        Five digits.
    stopped_by : list of str
        The blocking checks that failed: the program's data do not let it go on, which is an answer and not an error.
    failures : list of str
        One line for each step that could not do its work: its name and the innermost reason.
    run_ids : list of str
        The runs, one per code location, as the UI knows them.
    """

    program: str
    stopped_by: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    run_ids: list[str] = field(default_factory=list)

    @property
    def succeeded(self) -> bool:
        """Whether the program went all the way."""
        return not self.failures and not self.stopped_by


@contextmanager
def instance_at(home: Path) -> Iterator[dg.DagsterInstance]:
    """Open the Dagster instance of a state folder; a new folder gets the settings that ship.

    Parameters
    ----------
    home : pathlib.Path
        The state folder; it becomes ``DAGSTER_HOME`` of this process, so that children find it.
    """
    home.mkdir(parents=True, exist_ok=True)
    if not (home / "dagster.yaml").exists():
        shutil.copyfile(_shipped_settings(), home / "dagster.yaml")
    os.environ["DAGSTER_HOME"] = str(home)
    logging.getLogger("dagster").setLevel(logging.CRITICAL)
    with dg.DagsterInstance.get() as instance:
        yield instance


def check_scenarios(settings: Settings, names: Sequence[str]) -> None:
    """Refuse names that are no scenario, before any work.

    Raises
    ------
    BadInputError
        Naming the scenario, and why its file is left out where there is one.
    """
    known = find_scenarios(settings.scenario_folders())
    broken = {item.name: item.reason for item in known.broken}
    for name in names:
        if name not in known.found:
            reason = broken.get(name, "no such scenario")
            raise BadInputError(f"scenario {name}", reason, f"choose one of {', '.join(sorted(known.found))}")


def _shipped_settings() -> Path:
    """Return ``dagster.yaml``: at the top of a checkout, inside the package of an installation."""
    package = Path(__file__).parent
    for candidate in (package.parent / "dagster.yaml", package / "dagster.yaml"):
        if candidate.is_file():
            return candidate
    raise BadInputError("dagster.yaml", "it is neither in the checkout nor in the package", "install HWOsim again")


def code_locations() -> list[dg.Definitions]:
    """Build every code location, in the order of their names; building takes seconds, so build once."""
    points = sorted(entry_points(group="hwosim.locations"), key=lambda point: point.name)
    return [point.load()() for point in points]


def _wanted(definitions: dg.Definitions, scenarios: Sequence[str] | None, stage: str | None) -> list[dg.AssetKey]:
    """Return the assets of a location that a run covers: its stages up to ``stage``, its scenarios."""
    last = STAGES.index(stage) if stage else len(STAGES) - 1
    keys = []
    for key in definitions.resolve_asset_graph().materializable_asset_keys:
        group = "perturbed" if key.path[0] == "truth" else key.path[0]
        if STAGES.index(group) > last:
            continue
        if group in ("perturbed", "stream") and scenarios is not None and key.path[1] not in scenarios:
            continue
        keys.append(key)
    return sorted(keys)


def _note_failures(outcome: Outcome, events: Sequence[dg.DagsterEvent]) -> None:
    """Write into the outcome what stopped a run: failed blocking checks apart from failed steps."""
    for event in events:
        if event.event_type == DagsterEventType.ASSET_CHECK_EVALUATION:
            check = event.asset_check_evaluation_data
            if not check.passed and check.blocking and check.severity == dg.AssetCheckSeverity.ERROR:
                outcome.stopped_by.append(f"{check.asset_key.to_user_string()} {check.check_name}")
        elif event.event_type == DagsterEventType.STEP_FAILURE:
            error = event.step_failure_data.error
            if error is None or error.cls_name == "DagsterAssetCheckFailedError":
                continue
            while error.cause is not None:
                error = error.cause
            outcome.failures.append(f"{event.step_key}: {' '.join(error.message.split())}")


def materialize_program(
    instance: dg.DagsterInstance,
    locations: Sequence[dg.Definitions],
    program: str,
    *,
    scenarios: Sequence[str] | None = None,
    stage: str | None = None,
    on_progress: Callable[[str], None] = lambda _step: None,
) -> Outcome:
    """Run one program through the graph, in this process.

    Parameters
    ----------
    instance : dagster.DagsterInstance
        Where runs, checks and materializations are recorded.
    locations : sequence of dagster.Definitions
        The code locations in the order of the chain (:func:`code_locations`).
    program : str
        A registered partition key.
    scenarios : sequence of str, optional
        Only these scenarios; all by default.
    stage : str, optional
        Stop after this stage, one of :data:`STAGES`.
    on_progress : callable
        Called with the name of a step now and then, from this thread.

    Returns
    -------
    Outcome
    """
    outcome = Outcome(program)
    for definitions in locations:
        wanted = _wanted(definitions, scenarios, stage)
        if wanted and outcome.succeeded:
            result = _execute(instance, definitions.resolve_job_def("program_job"), program, wanted, on_progress)
            outcome.run_ids.append(result.run_id)
            _note_failures(outcome, result.all_events)
            if not result.success and outcome.succeeded:
                outcome.failures.append(f"{result.run_id}: the run failed outside its steps")
    return outcome


def _execute(
    instance: dg.DagsterInstance,
    job: dg.JobDefinition,
    program: str,
    wanted: Sequence[dg.AssetKey],
    on_progress: Callable[[str], None],
) -> dg.ExecuteInProcessResult:
    """Execute a job in a thread while this one reports the step that started last."""
    run_id = str(uuid.uuid4())
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(
            job.execute_in_process,
            run_config=QUIET,
            instance=instance,
            partition_key=program,
            raise_on_error=False,
            asset_selection=wanted,
            run_id=run_id,
        )
        while not wait([running], timeout=0.5).done:
            started = instance.get_records_for_run(
                run_id, of_type=DagsterEventType.STEP_START, limit=1, ascending=False
            )
            for record in started.records:
                on_progress(record.event_log_entry.step_key or "")
        return running.result()
