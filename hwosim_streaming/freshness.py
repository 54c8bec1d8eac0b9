"""How fresh the platform is: when the archive was last asked, and which changes wait to be published, since when.

Holds: :func:`freshness`, out of Dagster's storage. Dagster's own freshness policies look at an asset as a whole, so
that one program that is made would keep all others fresh; here every program is looked at. Keep out the limits and
the alerts (``operations``) and what each program lacks (``hwosim_assets.backlog``).
"""

from __future__ import annotations

import time
from collections.abc import Collection
from typing import TYPE_CHECKING, Any

import dagster as dg
from dagster import DagsterEventType

if TYPE_CHECKING:
    from hwosim_assets.backlog import Standing

__all__ = ["ASKS", "freshness"]

#: The sensor whose ticks ask the archive for what changed.
ASKS = "refresh_changed_sensor"
#: Stage that says what the archive has.
_TOLD = "mast/"
#: Stage that only tells of the others: what is published does not wait for it.
_TELLS = "report/"


def freshness(instance: dg.DagsterInstance, where: Standing) -> dict[str, Any]:
    """Return how old the last look at the archive is, and what has not come through since.

    Parameters
    ----------
    instance : dagster.DagsterInstance
        Whose ticks and materializations are looked at.
    where : Standing
        Where the assets stand.

    Returns
    -------
    dict
        ``archive asked, s ago`` (None where the sensor never came through) and ``waiting``: program, the assets up to
        its streams that are not made of what the archive last said, and for how long (s), the longest first. A program
        that failed is no matter of time and left out, as is one of which the archive has said nothing yet.
    """
    late: dict[str, list[str]] = {}
    failed = {program for found in where.states.values() for program, state in found.items() if state == "failed"}
    for name in (name for name in where.assets if not name.startswith(_TELLS)):
        for program in where.states[name].keys() - failed:
            late.setdefault(program, []).append(name)
    said = _last_said(instance, [name for name in where.assets if name.startswith(_TOLD)], late)
    now = time.time()
    waiting = [
        {"program": one, "for, s": now - said[one], "assets": names} for one, names in late.items() if one in said
    ]
    return {"archive asked, s ago": _asked(instance), "waiting": sorted(waiting, key=lambda row: -float(row["for, s"]))}


def _last_said(instance: dg.DagsterInstance, assets: Collection[str], programs: Collection[str]) -> dict[str, float]:
    """Return when the archive last said something new of each program (s since 1970)."""
    found: dict[str, float] = {}
    for name in assets if programs else ():
        key = dg.AssetKey(name.split("/"))
        latest = instance.get_latest_storage_id_by_partition(key, DagsterEventType.ASSET_MATERIALIZATION, set(programs))
        if latest:
            wanted = dg.AssetRecordsFilter(key, storage_ids=list(latest.values()))
            for record in instance.fetch_materializations(wanted, limit=len(latest)).records:
                program = str(record.partition_key)
                found[program] = max(found.get(program, 0.0), record.timestamp)
    return found


def _asked(instance: dg.DagsterInstance) -> float | None:
    """Return how long ago a tick that asks the archive last came through (s)."""
    from dagster._core.scheduler.instigation import TickStatus

    through = [TickStatus.SUCCESS, TickStatus.SKIPPED]
    ticks = [
        tick
        for state in instance.all_instigator_state()
        if state.instigator_name == ASKS
        for tick in instance.get_ticks(state.instigator_origin_id, state.selector_id, statuses=through, limit=1)
    ]
    return time.time() - max(tick.timestamp for tick in ticks) if ticks else None
