"""Materializing from the shell what the UI would: the same jobs, the same instance.

Holds: the state folder as a Dagster instance, the code locations found through the entry-point
group ``hwosim.locations``, and one program's run through them. Keep out what is printed
(``hwosim_assets.commands``) and what an asset does (``hwosim_assets.assets``).
"""

import errno
import logging
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, wait
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg
from dagster import DagsterEventType

from hwosim_assets.environment import refuse_another
from hwosim_assets.errors import BadInputError, HwosimError
from hwosim_assets.perturb.scenario import find_scenarios
from hwosim_assets.settings import Settings

if TYPE_CHECKING:  # dagster names this type nowhere else
    from dagster_shared.error import SerializableErrorInfo

__all__ = [
    "STAGES",
    "Outcome",
    "check_scenarios",
    "code_locations",
    "instance_at",
    "materialize_program",
    "materialize_programs",
    "note_failures",
]

#: Stages in the order of the graph: each is a group of assets (the first part of their keys).
STAGES = ("mast", "raw", "catalog", "perturbed", "stream", "report")

#: Dagster writes a line for every step to standard error; a person at a terminal gets a bar instead.
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}

#: Reason and mend of a full disk.
NO_SPACE = ("no space is left", "free space on that disk, then run again")
#: A database page and its journal take some kilobytes; below this a disk counts as full (bytes).
LEAST_SPACE = 64 * 1024
#: What Dagster wraps around an asset's exception.
AROUND = {"DagsterExecutionStepExecutionError", "RetryRequestedFromPolicy", "Failure"}


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
        One line for each step that could not do its work: its name, and what it raised.
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

    Raises
    ------
    HwosimError
        If the folder, or the database that keeps the runs, cannot be used or is full.
    """
    with _storage_errors(home):
        home.mkdir(parents=True, exist_ok=True)
        if not (home / "dagster.yaml").exists():
            shutil.copyfile(_shipped_settings(), home / "dagster.yaml")
        os.environ["DAGSTER_HOME"] = str(home)
        logging.getLogger("dagster").setLevel(logging.CRITICAL)
        with dg.DagsterInstance.get() as instance:
            refuse_another(instance, Settings().environment)
            yield instance


@contextmanager
def _storage_errors(home: Path) -> Iterator[None]:
    """Word failures of Dagster's own storage, wherever in a run they come up."""
    from sqlalchemy.exc import DBAPIError

    try:
        yield
    except DBAPIError as error:
        ours = isinstance(error.orig, sqlite3.Error)
        reason = str(error.orig).strip().partition("\n")[0]
        # SQLite calls a write into a full disk an I/O error where it was not its first.
        if ours and ("disk is full" in reason or ("I/O" in reason and shutil.disk_usage(home).free < LEAST_SPACE)):
            raise HwosimError(f"state folder {home}", *NO_SPACE) from error
        thing = f"state folder {home}" if ours else "Dagster's storage"
        raise HwosimError(thing, reason, "see that it can be reached and written, then run again") from error
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise HwosimError(f"state folder {home}", *NO_SPACE) from error
        raise


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


def _wanted(definitions: dg.Definitions, scenarios: Sequence[str], first: str, stage: str | None) -> list[dg.AssetKey]:
    """Return the assets of a location that a run covers: its stages from ``first`` to ``stage``, its scenarios."""
    last = STAGES.index(stage) if stage else len(STAGES) - 1
    keys = []
    for key in definitions.resolve_asset_graph().materializable_asset_keys:
        group = "perturbed" if key.path[0] == "truth" else key.path[0]
        if not STAGES.index(first) <= STAGES.index(group) <= last:
            continue
        if group in ("perturbed", "stream") and scenarios and key.path[1] not in scenarios:
            continue
        keys.append(key)
    return sorted(keys)


def note_failures(outcome: Outcome, events: Sequence[dg.DagsterEvent]) -> None:
    """Write into the outcome what stopped a run: failed blocking checks apart from failed steps.

    Parameters
    ----------
    outcome : Outcome
        Gets a line for each.
    events : sequence of dagster.DagsterEvent
        Of the run; check evaluations and step failures are looked at.
    """
    for event in events:
        if event.event_type == DagsterEventType.ASSET_CHECK_EVALUATION:
            check = event.asset_check_evaluation_data
            if not check.passed and check.blocking and check.severity == dg.AssetCheckSeverity.ERROR:
                outcome.stopped_by.append(f"{check.asset_key.to_user_string()} {check.check_name}")
        elif event.event_type == DagsterEventType.STEP_FAILURE:
            error = event.step_failure_data.error
            if error is None or error.cls_name == "DagsterAssetCheckFailedError":
                continue
            outcome.failures.append(f"{event.step_key}: {_in_one_line(error)}")


def _in_one_line(error: "SerializableErrorInfo") -> str:
    """Return what an asset raised: not Dagster's word around it, nor the library's under it, which names no mend."""
    while error.cls_name in AROUND and error.cause is not None:
        error = error.cause
    said = " ".join(error.message.split())
    # Ours are worded for people; of others the kind is half of the message.
    return said.partition(": ")[2] if said.startswith(("hwosim_assets.", "hwosim_streaming.")) else said


def materialize_program(
    instance: dg.DagsterInstance,
    locations: Sequence[dg.Definitions],
    program: str,
    *,
    scenarios: Sequence[str] = (),
    first: str = STAGES[0],
    stage: str | None = None,
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
    scenarios : sequence of str
        Only these scenarios; none means all.
    first : str
        Begin with this stage, one of :data:`STAGES`.
    stage : str, optional
        Stop after this stage, one of :data:`STAGES`.

    Returns
    -------
    Outcome
    """
    outcome = Outcome(program)
    for definitions in locations:
        wanted = _wanted(definitions, scenarios, first, stage)
        if not wanted or not outcome.succeeded:
            continue
        result = definitions.resolve_job_def("program_job").execute_in_process(
            run_config=QUIET,
            instance=instance,
            partition_key=program,
            raise_on_error=False,
            asset_selection=wanted,
        )
        outcome.run_ids.append(result.run_id)
        note_failures(outcome, result.all_events)
        if not result.success and outcome.succeeded:
            outcome.failures.append(f"{result.run_id}: the run failed outside its steps")
    return outcome


def materialize_programs(
    instance: dg.DagsterInstance,
    home: Path,
    programs: Sequence[str],
    *,
    scenarios: Sequence[str] = (),
    stage: str | None = None,
    on_progress: Callable[[int, str], None] = lambda _done, _doing: None,
) -> list[Outcome]:
    """Run programs through the graph, as many at a time as there are cores, each in one process.

    Parameters
    ----------
    instance : dagster.DagsterInstance
        The instance of ``home``, asked for what is under way.
    home : pathlib.Path
        The state folder that the processes open.
    programs : sequence of str
        Registered partition keys.
    scenarios, stage
        As for :func:`materialize_program`.
    on_progress : callable
        Called twice a second with the number of programs done and what is under way.

    Returns
    -------
    list of Outcome
        In the order of the programs.
    """
    workers = min(len(programs), os.cpu_count() or 1)
    # A fresh interpreter per worker: this process may have server threads, which a fork would tear.
    with ProcessPoolExecutor(workers, get_context("spawn"), _open_worker, (home,)) as pool:
        running = [pool.submit(_in_worker, program, tuple(scenarios), stage) for program in programs]
        while (state := wait(running, timeout=0.5)).not_done:
            on_progress(len(state.done), _under_way(instance))
        return [future.result() for future in running]


#: What a worker process keeps between programs: its instance and its code locations.
_worker: dict[str, Any] = {}


def _open_worker(home: Path) -> None:
    _worker["instance"] = ExitStack().enter_context(instance_at(home))
    _worker["locations"] = code_locations()


def _in_worker(program: str, scenarios: tuple[str, ...], stage: str | None) -> Outcome:
    return materialize_program(_worker["instance"], _worker["locations"], program, scenarios=scenarios, stage=stage)


def _under_way(instance: dg.DagsterInstance) -> str:
    """Return the programs and steps under way, for example ``01345 catalog, 02565 perturb_clean``."""
    steps = []
    for run in instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED])):
        started = instance.get_records_for_run(
            run.run_id, of_type=DagsterEventType.STEP_START, limit=1, ascending=False
        )
        names = [record.event_log_entry.step_key or "" for record in started.records]
        steps.append(" ".join([run.tags.get("dagster/partition", ""), *names]))
    return ", ".join(sorted(steps))
