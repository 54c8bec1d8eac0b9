"""Upkeep of a table: old snapshots expire, files that no snapshot refers to are removed.

Holds: :func:`tend`, called after commits, and :func:`sweep`. PyIceberg's expiry takes snapshots out
of the metadata only, so that the files have to be swept here. Keep out compaction.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from hwosim_assets.lake.place import Place
from hwosim_assets.lake.store import Lake

if TYPE_CHECKING:
    from pyiceberg.manifest import ManifestFile
    from pyiceberg.table import Table

__all__ = ["sweep", "tend"]

#: Snapshots that are kept; each commit adds one or two, and a commit's cost grows with their number.
KEEP_SNAPSHOTS = 10
#: A file younger than this may belong to a commit under way, or to a reader's plan.
GRACE = timedelta(hours=1)
#: Table property: when it was last swept (seconds since 1970).
SWEPT = "hwosim.swept-at"


def tend(table: Table) -> None:
    """Expire snapshots when twice as many as are kept have gathered, and sweep at most once an hour.

    A commit that another writer overtakes is given up: the other one tends the table.
    """
    from pyiceberg.exceptions import CommitFailedException

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
    except CommitFailedException:
        return
    if due:
        sweep(table)


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
        locations |= {entry.data_file.file_path for entry in manifest.fetch_manifest_entry(table.io)}
    return locations
