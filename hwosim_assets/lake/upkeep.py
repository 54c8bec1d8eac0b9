"""Upkeep of a table: old snapshots expire, files that no snapshot refers to are removed.

Holds: :func:`tend`, called after commits, :func:`expire` and :func:`sweep`. PyIceberg's expiry takes
snapshots out of the metadata only, so that the files have to be swept here. Keep out how files are
merged (``lake.compact``).
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from hwosim_assets.lake.compact import compact
from hwosim_assets.lake.place import Place
from hwosim_assets.lake.store import Lake
from hwosim_assets.lake.zones import zone_path

if TYPE_CHECKING:
    from pyiceberg.manifest import ManifestFile
    from pyiceberg.table import Table

__all__ = ["Expired", "expire", "sweep", "tend"]

#: Snapshots that are kept; each commit adds one or two, and a commit's cost grows with their number.
KEEP_SNAPSHOTS = 10
#: Small files of one partition from which a commit's upkeep merges them.
SMALL_FILES = 32
#: Data files of a table from which a commit's upkeep merges them before the hour is over, a few per partition being
#: enough: each costs a reader of the whole table some 4 ms.
CROWDED, FEW_FILES = 256, 4
#: A file younger than this may belong to a commit under way, or to a reader's plan.
GRACE = timedelta(hours=1)
#: Table property: when it was last swept (seconds since 1970).
SWEPT = "hwosim.swept-at"


@dataclass(frozen=True)
class Expired:
    """What :func:`expire` did.

    Attributes
    ----------
    snapshots, files : int
        Snapshots taken out of the table, files removed from the store.
    """

    snapshots: int
    files: int


def tend(table: Table) -> None:
    """Expire snapshots when twice as many as are kept have gathered; merge small files and sweep.

    Both hourly at most, but files that crowd a table are merged at once. A commit that another writer overtakes is
    given up: the other one tends the table.
    """
    from pyiceberg.exceptions import CommitFailedException, ValidationException

    snapshots = sorted(table.metadata.snapshots, key=lambda snapshot: snapshot.timestamp_ms)
    if len(snapshots) < 2 * KEEP_SNAPSHOTS:
        return
    old = [snapshot.snapshot_id for snapshot in snapshots[:-KEEP_SNAPSHOTS]]
    due = time.time() - float(table.properties.get(SWEPT, "0")) > GRACE.total_seconds()
    try:
        table.maintenance.expire_snapshots().by_ids(old).commit()
        if due:
            with table.transaction() as transaction:
                transaction.set_properties({SWEPT: str(time.time())})
        if due or _crowded(table):
            compact(table, SMALL_FILES if due else FEW_FILES)
    except (CommitFailedException, ValidationException, FileNotFoundError):
        return
    except ValueError as error:
        if expired_by_another(error):
            return
        raise
    if due:
        sweep(table)


def expired_by_another(error: ValueError) -> bool:
    """Say whether this is PyIceberg's error where another writer expired the same snapshots meanwhile.

    Its expiry states no requirement to the catalog, so that this is no failed commit.
    """
    return "does not exist" in str(error)


def _crowded(table: Table) -> bool:
    """Say whether a table has many data files, as its present snapshot counts them."""
    snapshot = table.metadata.current_snapshot()
    summary = snapshot.summary if snapshot else None
    return summary is not None and int(summary["total-data-files"] or 0) >= CROWDED


def expire(table: Table, keep: int, older_than: timedelta) -> Expired:
    """Take old snapshots out of a table, then remove the files that nothing refers to.

    Parameters
    ----------
    table : pyiceberg.table.Table
        A table as just loaded.
    keep : int
        Snapshots that stay at least, the youngest; the present one always stays.
    older_than : datetime.timedelta
        Age from which a snapshot may go.

    Raises
    ------
    pyiceberg.exceptions.CommitFailedException
        If another writer was faster.
    """
    before = 1000 * (time.time() - older_than.total_seconds())
    snapshots = sorted(table.metadata.snapshots, key=lambda snapshot: snapshot.timestamp_ms)
    old = [one.snapshot_id for one in snapshots[: -max(keep, 1)] if one.timestamp_ms <= before]
    if old:
        table.maintenance.expire_snapshots().by_ids(old).commit()
    return Expired(len(old), sweep(table))


def sweep(table: Table) -> int:
    """Remove the files below a table that nothing refers to and that are older than an hour.

    Parameters
    ----------
    table : pyiceberg.table.Table
        A table as just loaded or committed.

    Returns
    -------
    int
        Number of files removed.
    """
    lake = Lake(Place.of_iceberg(table.location()).uri)
    before = datetime.now(UTC) - GRACE
    # List first: a file that a commit adds from now on is not in the list, whatever refers to it.
    old = [entry.key for entry in lake.list() if entry.modified < before]
    if not old:
        return 0
    # A file that took its writer an hour to commit may be old and in the list, but then it is referred to by now.
    table.refresh()
    wanted = {location.removeprefix(table.location() + "/") for location in _referred(table)}
    gone = [key for key in old if key not in wanted]
    for key in gone:
        lake.delete(key)
    return len(gone)


def _referred(table: Table) -> set[str]:
    """Return the location of every file that the table's metadata or one of its snapshots refers to."""
    locations = {table.metadata_location, *(entry.metadata_file for entry in table.metadata.metadata_log)}
    manifests: dict[str, ManifestFile] = {}
    for snapshot in table.metadata.snapshots:
        locations.add(snapshot.manifest_list)
        manifests |= {manifest.manifest_path: manifest for manifest in snapshot.manifests(table.io)}
    for path, manifest in manifests.items():
        locations.add(path)
        files = {entry.data_file.file_path for entry in manifest.fetch_manifest_entry(table.io)}
        locations |= files | {zone_path(file) for file in files}
    return locations
