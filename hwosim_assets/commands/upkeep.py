"""``hwosim lake compact``, ``expire``, ``reconcile`` and ``moved``: upkeep of tables and objects."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import click

from hwosim_assets.console import json_option, print_json, print_table, progress, say
from hwosim_assets.errors import BadInputError, HwosimError

if TYPE_CHECKING:
    from hwosim_assets.lake.store import Lake, Stored
    from hwosim_assets.lake.tables import Tables

__all__ = ["compact", "expire", "moved", "reconcile"]

#: An object younger than this may belong to a run whose rows are not committed yet.
_YOUNG = timedelta(hours=24)
#: Folders of the lake whose objects belong to rows.
_OWNED = ("raw", "delivered")


@click.command(epilog="Example:  hwosim lake compact header_cards products")
@click.argument("names", metavar="[TABLE]...", nargs=-1)
@json_option
def compact(names: tuple[str, ...], as_json: bool) -> None:
    """Merge the small files of tables, all by default; others may write meanwhile."""
    tables = _tables()
    rows = []
    with progress() as bars:
        for name in _chosen(tables, names):
            task = bars.add_task(name, total=None)
            done = tables.compact(name, on_group=lambda at, of, task=task: bars.update(task, completed=at, total=of))  # type: ignore[misc]
            rows.append({"table": name, "files before": done.files_before, "files after": done.files_after})
    _tell(rows, as_json)


@click.command(epilog="Example:  hwosim lake expire --keep 5 --older-than 7")
@click.argument("names", metavar="[TABLE]...", nargs=-1)
@click.option("--keep", type=click.IntRange(min=1), default=10, show_default=True, help="Snapshots that stay.")
@click.option("--older-than", type=click.FloatRange(min=0), default=7.0, show_default=True, help="Days.")
@json_option
def expire(names: tuple[str, ...], keep: int, older_than: float, as_json: bool) -> None:
    """Give up old snapshots of tables, all by default, and remove the files that nothing refers to."""
    tables = _tables()
    rows = []
    for name in _chosen(tables, names):
        done = tables.expire(name, keep, timedelta(days=older_than))
        rows.append({"table": name, "snapshots": done.snapshots, "files": done.files})
    _tell(rows, as_json)


@click.command(epilog="Example:  hwosim lake reconcile --remove")
@click.option("--remove", is_flag=True, help="Remove them.")
@json_option
def reconcile(remove: bool, as_json: bool) -> None:
    """List objects that no row names and that are older than a day: what killed runs left.

    Every version of a product is named by the table raw_versions, and stays.
    """
    from hwosim_assets.lake.store import Lake
    from hwosim_assets.settings import Settings

    lake, tables = Lake.from_settings(Settings()), _tables()
    found = _unnamed(lake, tables)
    if remove:
        for stored in found:
            lake.delete(stored.key)
    rows = [{"object": one.key, "bytes": one.size, "stored": one.modified.isoformat(" ", "seconds")} for one in found]
    _tell(rows, as_json)
    say(f"{len(rows)} objects {'removed' if remove else 'that no row names'}")


@click.command(epilog="Example:  hwosim lake moved --mend")
@click.option("--mend", is_flag=True, help="Write the locations of moved tables anew.")
@json_option
def moved(mend: bool, as_json: bool) -> None:
    """Say where the tables are: Iceberg keeps absolute locations, so that a lake that was moved looks lost."""
    from hwosim_assets.lake.moved import mend as mend_table
    from hwosim_assets.lake.moved import whereabouts

    tables = _tables()
    places = whereabouts(tables)
    rows: dict[str, int] = {}
    if mend:
        for name in [name for name, place in places.items() if place == "moved"]:
            mend_table(tables, name)
        places = whereabouts(tables)
        rows = _mended_uris(tables, {name for name, place in places.items() if place == "here"})
    told = [{"table": name, "is": place} for name, place in places.items()]
    _tell([one | ({"rows_mended": rows.get(one["table"], 0)} if mend else {}) for one in told], as_json)
    lost = [name for name, place in places.items() if place == "lost"]
    if lost:
        raise HwosimError(f"table {', '.join(lost)}", "is lost", "restore the lake's folder tables/ from a copy")
    if "moved" in places.values():
        raise HwosimError("the lake", "was moved", "hwosim lake moved --mend")


def _mended_uris(tables: Tables, here: set[str]) -> dict[str, int]:
    """Let the rows of tables say where their objects are now; return how many changed, by table."""
    from hwosim_assets.catalog.products import PRODUCTS
    from hwosim_assets.lake.ingest import RAW_FILES
    from hwosim_assets.lake.moved import mend_uris
    from hwosim_assets.lake.store import Lake
    from hwosim_assets.lake.versions import RAW_VERSIONS
    from hwosim_assets.perturb.dataset import PERTURBED
    from hwosim_assets.settings import Settings

    lake = Lake.from_settings(Settings())
    specs = (RAW_FILES, RAW_VERSIONS, PRODUCTS, PERTURBED)
    return {spec.name: mend_uris(tables, lake, spec) for spec in specs if spec.name in here}


def _unnamed(lake: Lake, tables: Tables) -> list[Stored]:
    """Return old objects of the folders that rows own, and that no row names.

    The rows are read after the objects: one that a run takes up meanwhile is named by then.
    """
    from hwosim_assets.lake.ingest import RAW_FILES
    from hwosim_assets.lake.versions import RAW_VERSIONS
    from hwosim_assets.perturb.dataset import PERTURBED
    from hwosim_assets.promotion import Side, kept_objects
    from hwosim_assets.settings import Settings

    before = datetime.now(UTC) - _YOUNG
    old = [stored for folder in _OWNED for stored in lake.list(folder) if stored.modified < before]
    specs = (RAW_FILES, RAW_VERSIONS, PERTURBED)
    named = {key for spec in specs for key in tables.scan(spec, columns=["key"]).column("key").to_pylist()}
    named |= kept_objects(Side(Settings().environment, lake, tables))
    return [stored for stored in old if stored.key not in named]


def _tables() -> Tables:
    from hwosim_assets.lake.tables import Tables
    from hwosim_assets.settings import Settings

    return Tables.from_settings(Settings())


def _chosen(tables: Tables, names: tuple[str, ...]) -> list[str]:
    known = tables.names()
    for name in names:
        if name not in known:
            there = ", ".join(known) or "there is none yet"
            raise BadInputError(f"table {name}", "is not in this lake", f"choose one of: {there}")
    return list(names) or known


def _tell(rows: list[dict[str, object]], as_json: bool) -> None:
    if as_json:
        print_json(rows)
    elif rows:
        print_table("", list(rows[0]), ([*row.values()] for row in rows))
