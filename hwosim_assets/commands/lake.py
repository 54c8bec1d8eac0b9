"""``hwosim lake``: look after what lies in the lake."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from hwosim_assets.commands.sources import backfill, watch
from hwosim_assets.commands.upkeep import compact, expire, moved, reconcile
from hwosim_assets.commands.versions import changes, versions
from hwosim_assets.console import json_option, print_json, print_table, progress, say
from hwosim_assets.errors import HwosimError

if TYPE_CHECKING:
    from hwosim_assets.lake.audit import Finding, Kept
    from hwosim_assets.lake.store import Lake
    from hwosim_assets.lake.tables import Tables
    from hwosim_assets.settings import Settings

__all__ = ["lake"]


@click.group()
def lake() -> None:
    """Look after what lies in the lake: objects and tables."""


for command in (backfill, watch, compact, expire, moved, reconcile, versions, changes):
    lake.add_command(command)


@lake.command(epilog="Example:  hwosim lake verify --program 1345 --mend")
@click.option("--program", "programs", multiple=True, metavar="P", help="Only this program; may be given again.")
@click.option("--mend", is_flag=True, help="Fetch again what rotted; remove rotted files that a run will make again.")
@json_option
def verify(programs: tuple[str, ...], mend: bool, as_json: bool) -> None:
    """Read every object that a table names and compare its SHA-256 with the row's.

    Ends with status 1 when something is rotted or missing and was not mended.
    """
    from hwosim_assets.fits.names import program_key
    from hwosim_assets.lake.audit import audit
    from hwosim_assets.lake.store import Lake
    from hwosim_assets.lake.tables import Tables
    from hwosim_assets.settings import Settings

    settings = Settings()
    store, tables = Lake.from_settings(settings), Tables.from_settings(settings)
    promises = _promises(tables, [program_key(one) for one in programs])
    with progress() as bars:
        task = bars.add_task("verify", total=len(promises))
        findings = audit(promises, store, on_object=lambda _: bars.advance(task))
    broken = [finding for finding in findings if finding.state != "sound"]
    mended = _mended(broken, settings, store) if mend else {}
    rows = [_row(finding, mended.get(finding.kept.key)) for finding in broken]
    read = sum(finding.size for finding in findings)
    if as_json:
        print_json({"objects": len(findings), "bytes": read, "broken": rows})
    else:
        if rows:
            print_table("", list(rows[0]), ([*row.values()] for row in rows))
        say(f"{len(findings)} objects, {read / 1e6:.1f} MB read: {len(broken)} rotted or missing")
    left = [finding.kept.name for finding in broken if mended.get(finding.kept.key) != _FETCHED]
    if left:
        mend_words = "see the table above" if mend else "fetch it again: hwosim lake verify --mend"
        raise HwosimError(", ".join(left[:5]), "is not what was stored", mend_words)


_FETCHED = "fetched again"


def _promises(tables: Tables, programs: list[str]) -> list[Kept]:
    """Return what the tables promise: archive files in every version, delivered files, pixel lists of the truth."""
    from hwosim_assets.lake.audit import Kept
    from hwosim_assets.lake.ingest import RAW_FILES
    from hwosim_assets.lake.versions import RAW_VERSIONS
    from hwosim_assets.perturb.dataset import PERTURBED, TRUTH

    scopes: list[dict[str, str] | None] = [{"program": program} for program in programs] or [None]
    promises = []
    for scope in scopes:
        for spec in (RAW_VERSIONS, RAW_FILES):  # the later one names what both do
            for row in tables.scan(spec, scope).to_pylist():
                place = (spec.name, row["program"], row["product_name"])
                promises.append(Kept(*place, row["key"], row["sha256"], row["data_uri"]))
        for row in tables.scan(PERTURBED, scope).to_pylist():
            if row["key"] is not None:
                place = ("perturbed", row["program"], row["product_name"])
                promises.append(Kept(*place, row["key"], row["out_sha256"], None))
        for row in tables.scan(TRUTH, scope).to_pylist():
            if row["side_key"] is not None:
                side = json.loads(row["record_json"])["side_sha256"]
                promises.append(Kept("truth", row["program"], row["product_name"], row["side_key"], side, None))
    return promises


def _mended(broken: list[Finding], settings: Settings, store: Lake) -> dict[str, str]:
    """Mend what can be mended; return what was done, by key."""
    from hwosim_assets.archive.client import ArchiveClient
    from hwosim_assets.lake.audit import refetch

    done = {}
    with ArchiveClient.from_settings(settings) as client:
        for finding in broken:
            kept = finding.kept
            if kept.data_uri is None:
                store.delete(kept.key)
                done[kept.key] = f"removed; make it again: hwosim run --program {kept.program}"
                continue
            try:
                refetch(kept, client, store, settings.home / "partial")
                done[kept.key] = _FETCHED
            except HwosimError as error:
                done[kept.key] = str(error)
    return done


def _row(finding: Finding, done: str | None) -> dict[str, str]:
    kept = finding.kept
    row = {"program": kept.program, "file": kept.name, "table": kept.table, "state": finding.state, "object": kept.key}
    return row if done is None else {**row, "mend": done}
