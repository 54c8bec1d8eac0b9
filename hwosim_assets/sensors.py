"""What starts by itself in this location: programs are discovered, changed programs are refreshed.

Holds: the two sensors that ask the archive, and one that keeps a watched place catalogued. The first
registers partitions and requests nothing; the second compares the archive's fingerprint of each
registered program with the one it last requested a run for, and asks again for files that did not come
though nothing changed; the third is there where a place is
watched. Keep out publishing (``hwosim_streaming.sensors``).

See https://docs.dagster.io/guides/automate/sensors
"""

import json
import time
from collections.abc import Sequence
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

import dagster as dg

from hwosim_assets.partitions import jwst_program, registered_programs
from hwosim_assets.resources import ArchiveResource, LakeResource
from hwosim_assets.settings import Settings

if TYPE_CHECKING:  # dagster names this type nowhere else
    from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

__all__ = ["default_sensors", "run_request", "standings"]

#: Objects that one look at a watched place reads at most: Dagster ends a tick after a minute.
WATCH_LIMIT = 500
#: A bucket that tells a queue of its objects is listed this often all the same, for events that were missed.
RECONCILE_SECONDS = 3600
#: Dagster looks at sensors every 5 s; an archive on this machine answers in milliseconds.
INTERVAL_SECONDS = 5
#: MAST is everybody's: its data change a few times a day, and each registered program costs it one question.
REMOTE_INTERVAL_SECONDS = 900
#: Files that did not come are asked for at the next look, then after twice the time, and so on up to this.
LONGEST_INTERVAL_SECONDS = 24 * 3600
#: A run that failed is tried again with a new run key (Dagster itself never repeats one), this often in all.
ATTEMPTS = 3
#: Tag under which a run remembers what it was requested for.
REQUEST_TAG = "hwosim/request"

UNFINISHED = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


class Standing(NamedTuple):
    """Where a request stands.

    Attributes
    ----------
    attempt : int or None
        The attempt to request now: 1 if nothing ran for it yet, 2 or 3 if the last attempt failed, None otherwise.
    is_settled : bool
        Whether nothing more will be requested: a run succeeded, or :data:`ATTEMPTS` of them failed.
    """

    attempt: int | None
    is_settled: bool


class Seen(NamedTuple):
    """What the sensor remembers of a program.

    Attributes
    ----------
    changes : int
        Counts the changes: it tells a program that went back to an earlier state from one that never left it.
    fingerprint : str
        The archive's, at the last change.
    again : int
        How often files that did not come were asked for again since.
    due : float
        When that may happen next, seconds since 1970.
    """

    changes: int = 0
    fingerprint: str = ""
    again: int = 0
    due: float = 0.0

    def request(self, program: str) -> str:
        """Return what a run is requested for."""
        return f"{program}:{self.changes}:{self.fingerprint}" + (f":{self.again}" if self.again else "")

    def asked_again(self, now: float, interval: int) -> "Seen":
        """Return what is remembered once the files are asked for again; each time it takes twice as long."""
        wait = min(interval * 2 ** min(self.again, 32), LONGEST_INTERVAL_SECONDS)
        return self._replace(again=self.again + 1, due=now + wait)


def standings(instance: dg.DagsterInstance, requests: Sequence[str]) -> dict[str, Standing]:
    """Return where each request stands, by the runs that carry it in their tags (one query for all).

    Parameters
    ----------
    instance : dagster.DagsterInstance
        Where the runs are recorded.
    requests : sequence of str
        What runs are for: a program and its fingerprint, a plan's hash.

    Returns
    -------
    dict of str to Standing
    """
    runs: dict[str, list[dg.DagsterRunStatus]] = {request: [] for request in requests}
    if requests:
        for run in instance.get_runs(dg.RunsFilter(tags={REQUEST_TAG: list(requests)})):
            runs[run.tags[REQUEST_TAG]].append(run.status)
    found = {}
    for request, statuses in runs.items():
        under_way = any(status in UNFINISHED for status in statuses)
        settled = dg.DagsterRunStatus.SUCCESS in statuses or (len(statuses) >= ATTEMPTS and not under_way)
        found[request] = Standing(None if settled or under_way else len(statuses) + 1, settled)
    return found


def run_request(request: str, attempt: int, program: str, **more: Any) -> dg.RunRequest:
    """Return the run request of an attempt; its key says the attempt, since Dagster never repeats a run key."""
    return dg.RunRequest(run_key=f"{request}:{attempt}", partition_key=program, tags={REQUEST_TAG: request}, **more)


def _interval(settings: Settings) -> int:
    """Return how often the archive is asked, in seconds."""
    host = urlsplit(settings.archive_url).hostname or ""
    try:
        is_here = ip_address(host).is_loopback
    except ValueError:
        is_here = host == "localhost"
    return INTERVAL_SECONDS if is_here else REMOTE_INTERVAL_SECONDS


def default_sensors(refresh_job: "UnresolvedAssetJobDefinition", settings: Settings) -> list[dg.SensorDefinition]:
    """Return the sensors of this location.

    Parameters
    ----------
    refresh_job : UnresolvedAssetJobDefinition
        What a changed program is taken through.
    settings : Settings
        Which archive: one on this machine is asked often, MAST seldom.

    Returns
    -------
    list of dagster.SensorDefinition
    """
    interval = _interval(settings)
    watching = [_watch_objects(settings)] if settings.watch_uri else []
    return [_discover_programs(interval), _refresh_changed(interval, refresh_job), *watching]


def _discover_programs(interval: int) -> dg.SensorDefinition:
    @dg.sensor(
        minimum_interval_seconds=interval,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Registers a partition for each JWST program that the archive lists. Requests no run.",
    )
    def discover_programs_sensor(context: dg.SensorEvaluationContext, archive: ArchiveResource) -> dg.SensorResult:
        from hwosim_assets.archive.errors import ProgramsNotListedError

        try:
            found = archive.client().programs()
        except ProgramsNotListedError as not_listed:
            return dg.SensorResult(skip_reason=str(not_listed))
        new = sorted(set(found) - set(registered_programs(context.instance)))
        return dg.SensorResult(
            dynamic_partitions_requests=[jwst_program.build_add_request(new)] if new else [],
            skip_reason=f"{len(found)} programs in the archive, {len(new)} of them new",
        )

    return discover_programs_sensor


def _refresh_changed(interval: int, refresh_job: "UnresolvedAssetJobDefinition") -> dg.SensorDefinition:
    @dg.sensor(
        job=refresh_job,
        minimum_interval_seconds=interval,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Requests one run for each registered program whose products changed or did not come.",
    )
    def refresh_changed_sensor(
        context: dg.SensorEvaluationContext, archive: ArchiveResource, lake: LakeResource
    ) -> dg.SensorResult:
        from hwosim_assets.lake.awaited import AWAITED

        seen = {program: Seen(*before) for program, before in json.loads(context.cursor or "{}").items()}
        for program, fingerprint in archive.client().programs(of=registered_programs(context.instance)).items():
            before = seen.get(program, Seen())
            seen[program] = before if before.fingerprint == fingerprint else Seen(before.changes + 1, fingerprint)
        awaited = set(lake.tables().scan(AWAITED, columns=["program"])["program"].to_pylist())
        requests = {one.request(program): program for program, one in seen.items()}
        wanted = []
        for request, standing in standings(context.instance, list(requests)).items():
            program, now = requests[request], time.time()
            if standing.attempt is not None:
                wanted.append(run_request(request, standing.attempt, program))
            elif standing.is_settled and program in awaited and now >= seen[program].due:
                seen[program] = seen[program].asked_again(now, interval)
                wanted.append(run_request(seen[program].request(program), 1, program))
        return dg.SensorResult(run_requests=wanted, cursor=json.dumps(seen))

    return refresh_changed_sensor


def _watch_objects(settings: Settings) -> dg.SensorDefinition:
    @dg.sensor(
        minimum_interval_seconds=INTERVAL_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Catalogues what appears, changes or vanishes in HWOSIM_WATCH_URI, where it lies. Requests no run.",
    )
    def watch_objects_sensor(context: dg.SensorEvaluationContext, lake: LakeResource) -> dg.SensorResult:
        from hwosim_assets.catalog.queue import Queue
        from hwosim_assets.catalog.watch import Watcher
        from hwosim_assets.lake.store import Lake

        watcher = Watcher(Lake(settings.watch_uri), lake.tables(), settings.home, settings.watch_template)
        listed = float(context.cursor or 0)
        outcomes = []
        if settings.watch_queue_url:
            outcomes.append(watcher.drain(Queue(settings.watch_queue_url), limit=WATCH_LIMIT))
        if not settings.watch_queue_url or time.time() - listed > RECONCILE_SECONDS:
            outcomes.append(watcher.reconcile(limit=WATCH_LIMIT))
            listed = time.time() if outcomes[-1].complete else 0.0
        for reason in (reason for outcome in outcomes for reason in outcome.later):
            context.log.warning("left for the next look: %s", reason)
        catalogued, deleted = (sum(getattr(one, name) for one in outcomes) for name in ("catalogued", "deleted"))
        return dg.SensorResult(skip_reason=f"{catalogued} objects catalogued, {deleted} gone", cursor=str(listed))

    return watch_objects_sensor
