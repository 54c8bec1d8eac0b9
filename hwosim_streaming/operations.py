"""How the platform runs: what is left, how long the stages take, what failed, how much there is, and what is alarming.

Holds: :func:`operations`, which gathers it out of Dagster's storage and the tables, the limits of the alerts, and the
command ``hwosim operations``. Keep out how the page looks (``operations_page``), what a single program lacks
(``hwosim_assets.backlog``) and whether data are good (``hwosim_assets.quality``).
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click
import dagster as dg
import pyarrow.compute as pc

from hwosim_assets import backlog
from hwosim_assets.checks import DATA_VERSION_TAG
from hwosim_assets.console import json_option, print_json, print_table
from hwosim_assets.lake.spec import TableSpec
from hwosim_streaming.freshness import freshness

if TYPE_CHECKING:
    from hwosim_assets.lake.tables import Tables

__all__ = ["Alert", "alerts", "operations", "operations_command"]

#: Programs, the latest made, over which latencies are taken: a fixed number of rows for each asset.
LATEST = 200
DAY = 86400.0

#: The limits of the alerts; what is above is one. Times in seconds, shares of the registered programs.
LIMITS: Mapping[str, tuple[float, str]] = {
    "programs that failed": (0, "hwosim programs left --state failed; in the UI re-execute the backfill from failure"),
    "share of programs out of date": (0.05, "see that follow_changes_sensor and reconcile_inputs_sensor run"),
    "seconds that the oldest queued run waits": (900, "raise max_concurrent_runs, or look for runs that hang"),
    "seconds from the archive's answer to the topic, p95": (3600, "see which stage takes them, in the table below"),
    "seconds since the archive was last asked": (3600, "see that refresh_changed_sensor runs and the archive answers"),
    "seconds that a change waits to be published, the longest": (7200, "see what it waits for, in the table below"),
    "failed ticks of sensors in a day": (5, "open the sensor in the UI: Deployment, Automation"),
    "daemons without a heartbeat": (0, "start dagster-daemon run"),
    "publications not proved": (0, "hwosim sql 'select * from publications where not verified'"),
}


@dataclass(frozen=True)
class Alert:
    """A number with a limit.

    Attributes
    ----------
    name : str
        One of :data:`LIMITS`.
    value : float or None
        What is; ``None`` of something that never happened, which fires.
    limit : float
        What it may be at most.
    firing : bool
        Whether it is above.
    mend : str
        What to do.
    """

    name: str
    value: float | None
    limit: float
    firing: bool
    mend: str


def alerts(values: Mapping[str, float | None]) -> list[Alert]:
    """Return every alert with its value, those that fire first."""
    found = []
    for name, (limit, mend) in LIMITS.items():
        value = values[name]
        found.append(Alert(name, value, limit, value is None or value > limit, mend))
    return sorted(found, key=lambda alert: not alert.firing)


def operations(
    instance: dg.DagsterInstance, locations: Sequence[dg.Definitions], scenarios: Sequence[str], tables: Tables
) -> dict[str, Any]:
    """Return how the platform runs, as plain values.

    Parameters
    ----------
    instance : dagster.DagsterInstance
        Of this environment.
    locations : sequence of dagster.Definitions
        Both code locations.
    scenarios : sequence of str
        The automated ones.
    tables : Tables
        The lake's.

    Returns
    -------
    dict
        ``as_of``, ``programs`` (count), ``alerts``, ``backlog`` (by asset), ``latency`` (by stage, s), ``failures``
        (failed programs with their reasons), ``freshness``, ``runs``, ``ticks``, ``daemons``, ``volume`` (by table).
    """
    where = backlog.standing(instance, locations, scenarios)
    failed = [one for one in backlog.left(instance, where) if one.state == "failed"]
    stale = {program for found in where.states.values() for program, state in found.items() if state == "stale"}
    latency, runs, ticks, daemons = _latency(instance, where), _runs(instance), _ticks(instance), _daemons(instance)
    volume, fresh = _volume(instance, tables), freshness(instance, where)
    values: dict[str, float | None] = {
        "programs that failed": len(failed),
        "share of programs out of date": len(stale) / max(len(where.programs), 1),
        "seconds that the oldest queued run waits": runs["oldest queued, s"],
        "seconds from the archive's answer to the topic, p95": next(
            (row["p95"] for row in latency if row["stage"] == "stream"), 0.0
        ),
        "seconds since the archive was last asked": fresh["archive asked, s ago"],
        "seconds that a change waits to be published, the longest": max(
            (row["for, s"] for row in fresh["waiting"]), default=0.0
        ),
        "failed ticks of sensors in a day": sum(row["failed in a day"] for row in ticks),
        "daemons without a heartbeat": sum(1 for row in daemons if not row["healthy"]),
        "publications not proved": next((row["not proved"] for row in volume if row["table"] == "publications"), 0),
    }
    return {
        "as_of": datetime.now(UTC).isoformat(" ", "seconds"),
        "programs": len(where.programs),
        "alerts": [asdict(alert) for alert in alerts(values)],
        "backlog": _backlog(where),
        "latency": latency,
        "failures": [{"program": one.program, "runs": one.run_ids, "reasons": one.reasons} for one in failed],
        "freshness": fresh,
        "runs": runs,
        "ticks": ticks,
        "daemons": daemons,
        "volume": volume,
    }


def _backlog(where: backlog.Standing) -> list[dict[str, Any]]:
    rows = []
    for name in where.assets:
        counted = Counter(where.states[name].values())
        rows.append(
            {
                "asset": name,
                "done": len(where.programs) - sum(counted.values()),
                **{state: counted[state] for state in backlog.STATES},
            }
        )
    return rows


def _latency(instance: dg.DagsterInstance, where: backlog.Standing) -> list[dict[str, Any]]:
    """Return how long after the archive's answer each stage was made, over the programs made last."""
    made: dict[str, dict[str, float]] = {}
    for name in where.assets:
        records = instance.fetch_materializations(dg.AssetKey(name.split("/")), limit=LATEST).records
        latest: dict[str, float] = {}
        for record in records:
            if record.partition_key is not None:
                latest.setdefault(record.partition_key, record.timestamp)
        times = made.setdefault(name.split("/")[0], {})
        for program, at in latest.items():
            times[program] = max(times.get(program, 0.0), at)
    began = made.get("mast", {})
    rows = []
    for stage, times in made.items():
        took = sorted(at - began[program] for program, at in times.items() if at >= began.get(program, at + 1))
        if stage != "mast" and took:
            middle, late = took[len(took) // 2], took[min(len(took) - 1, int(0.95 * len(took)))]
            rows.append({"stage": stage, "programs": len(took), "p50": middle, "p95": late, "longest": took[-1]})
    return rows


def _runs(instance: dg.DagsterInstance) -> dict[str, Any]:
    status, since = dg.DagsterRunStatus, datetime.fromtimestamp(time.time() - DAY, UTC)
    oldest = instance.get_run_records(dg.RunsFilter(statuses=[status.QUEUED]), limit=1, ascending=True)
    waits = time.time() - oldest[0].create_timestamp.timestamp() if oldest else 0.0

    def count(*statuses: dg.DagsterRunStatus, after: datetime | None = None) -> int:
        return instance.get_runs_count(dg.RunsFilter(statuses=list(statuses), updated_after=after))

    return {
        "queued": count(status.QUEUED),
        "oldest queued, s": waits,
        "under way": count(status.STARTING, status.STARTED, status.CANCELING),
        "succeeded in a day": count(status.SUCCESS, after=since),
        "failed in a day": count(status.FAILURE, after=since),
    }


def _ticks(instance: dg.DagsterInstance) -> list[dict[str, Any]]:
    from dagster._core.scheduler.instigation import TickStatus

    rows = []
    for state in instance.all_instigator_state():
        failed = instance.get_ticks(
            state.instigator_origin_id, state.selector_id, after=time.time() - DAY, statuses=[TickStatus.FAILURE]
        )
        error = failed[0].error.message.strip().splitlines()[-1][:300] if failed and failed[0].error else ""
        rows.append({"sensor": state.instigator_name, "failed in a day": len(failed), "last": error})
    return sorted(rows, key=lambda row: (-int(row["failed in a day"]), str(row["sensor"])))


def _daemons(instance: dg.DagsterInstance) -> list[dict[str, Any]]:
    now = time.time()
    rows = []
    for name, status in sorted(instance.get_daemon_statuses().items()):
        if status.required:
            beat = status.last_heartbeat
            rows.append(
                {"daemon": name, "healthy": bool(status.healthy), "silent, s": now - beat.timestamp if beat else None}
            )
    return rows


def _volume(instance: dg.DagsterInstance, tables: Tables) -> list[dict[str, Any]]:
    """Return rows and bytes of what the stages hold; a column or two of each table is read."""
    from hwosim_assets.catalog.products import PRODUCTS
    from hwosim_assets.lake.ingest import RAW_FILES
    from hwosim_assets.lake.rejections import QUARANTINE
    from hwosim_assets.perturb.dataset import PERTURBED
    from hwosim_streaming.publication import PUBLICATIONS

    measured: tuple[tuple[TableSpec, str], ...] = (
        (RAW_FILES, "size_bytes"),
        (PRODUCTS, "size_bytes"),
        (QUARANTINE, ""),
        (PERTURBED, "size_bytes"),
        (PUBLICATIONS, "bytes"),
    )
    rows = []
    for spec, column in measured:
        found = tables.scan(spec, columns=["program", *([column] if column else [])])
        held = int(pc.sum(found[column]).as_py() or 0) if column else None
        rows.append({"table": spec.name, "rows": found.num_rows, "bytes": held})
    columns = ["program", "scenario", "plan_sha256", "published_at", "verified", "published"]
    proofs = tables.scan(PUBLICATIONS, columns=columns)
    messages = int(pc.sum(proofs["published"]).as_py() or 0)
    rows[-1] |= {"messages": messages, "not proved": _unproved(proofs.to_pylist(), instance)}
    return rows


def _unproved(publications: Iterable[dict[str, Any]], instance: dg.DagsterInstance) -> int:
    """Count the programs and scenarios whose publication that stands was not proved; nothing mends an earlier plan's.

    It is the latest, or, where products went back to what they were, an earlier one: that of the version that the asset
    has had since. A publication from the command line gives the asset none.
    """
    of: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in sorted(publications, key=lambda row: row["published_at"]):
        of.setdefault((row["program"], row["scenario"]), []).append(row)
    count = 0
    for (program, scenario), rows in of.items():
        standing = rows
        if len({row["verified"] for row in rows}) > 1:  # else it does not matter which
            version = _version_since(rows[-1]["published_at"], instance, program, scenario)
            standing = [row for row in rows if row["plan_sha256"] == version] or rows
        count += not standing[-1]["verified"]
    return count


def _version_since(when: datetime, instance: dg.DagsterInstance, program: str, scenario: str) -> str | None:
    """Return the plan that the asset of a program's publications stands for, if it was materialized since then."""
    wanted = dg.AssetRecordsFilter(dg.AssetKey(["stream", scenario]), asset_partitions=[program])
    for record in instance.fetch_materializations(wanted, limit=1).records:
        event = record.asset_materialization
        if record.timestamp < when.timestamp():
            return None
        return event.tags.get(DATA_VERSION_TAG) if event is not None and event.tags else None
    return None


@click.command("operations", epilog="Example:  hwosim operations --json")
@json_option
def operations_command(as_json: bool) -> None:
    """Say how the platform runs: alerts, what is left, how long stages take, what failed, how much there is.

    The same as a page, while `hwosim dev` or `hwosim reports` runs: /operations of the report server.
    """
    from hwosim_assets.lake.tables import Tables
    from hwosim_assets.runner import code_locations, instance_at
    from hwosim_assets.settings import Settings

    settings = Settings()
    with instance_at(settings.home) as instance:
        found = operations(instance, code_locations(), settings.automated(), Tables.from_settings(settings))
    if as_json:
        print_json(found)
        return
    found["waiting"] = found["freshness"]["waiting"]
    for title in ("alerts", "backlog", "latency", "failures", "waiting", "ticks", "daemons", "volume"):
        if found[title]:
            columns = list(dict.fromkeys(name for row in found[title] for name in row))
            print_table(title, columns, [[_cell(row.get(name)) for name in columns] for row in found[title]])
    print_table("runs", list(found["runs"]), [[_cell(value) for value in found["runs"].values()]])


def _cell(value: object) -> object:
    if isinstance(value, float):
        return f"{value:.3g}"
    return "; ".join(map(str, value)) if isinstance(value, tuple | list) else value
