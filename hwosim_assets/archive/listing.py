"""What a program's observations hold, asked in bounded batches, and only where something changed.

Holds: the ``product_lists`` table, :class:`Notes` and :func:`program_products`. Each observation's list
is kept with the state it was asked at, so that the next look asks only for observations that changed,
and a look that was killed goes on after its last batch. Keep out the requests (``client``) and which
row of a file counts (``products``).
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from hwosim_assets.archive.products import is_fits_science, unique_products
from hwosim_assets.archive.schema import ARCHIVE_PRODUCTS
from hwosim_assets.fits.names import program_key
from hwosim_assets.lake.spec import TableSpec

if TYPE_CHECKING:
    from hwosim_assets.archive.client import ArchiveClient
    from hwosim_assets.lake.tables import Tables

__all__ = ["PRODUCT_LISTS", "Listed", "Notes", "program_products"]

#: Notes of a look that was killed longer ago are not gone on with, in seconds.
NOTES_LIFE = 24 * 3600
Rows = list[dict[str, Any]]

PRODUCT_LISTS = TableSpec(
    name="product_lists",
    schema=pa.schema(
        [
            pa.field("program", pa.string(), nullable=False),
            pa.field("obsid", pa.string(), nullable=False),
            pa.field("obs_id", pa.string()),
            pa.field("state", pa.string(), nullable=False),
            pa.field("listed", pa.int64(), nullable=False),
            pa.field("data_uris", pa.string(), nullable=False),
        ]
    ),
    scope=("program",),
    key=("obsid",),
    doc="One row for each observation whose product list was asked for: at which state, and the files in it (JSON).",
)


@dataclass(frozen=True)
class _List:
    """The product list of one observation: how many rows it had, and those of FITS science products."""

    listed: int
    rows: Rows


@dataclass
class Listed:
    """A program's products.

    Attributes
    ----------
    rows : list of dict
        One per file, see :func:`~hwosim_assets.archive.products.unique_products`.
    lists : pyarrow.Table
        Rows of :data:`PRODUCT_LISTS`.
    asked, kept : int
        Observations whose list was asked for now, and those that did not change since the last look.
    listed : int
        Rows that the archive sent for all of them; those of other kinds and repeated ones included.
    without : list of str
        ``obs_id`` of observations for which the archive listed nothing, asked twice.
    contradicting : list of str
        ``dataURI`` of files listed with several sizes.
    """

    rows: Rows
    lists: pa.Table
    asked: int = 0
    kept: int = 0
    listed: int = 0
    without: list[str] = field(default_factory=list)
    contradicting: list[str] = field(default_factory=list)


class Notes:
    """Lists that a look has brought so far, on disk, for the case that it is killed.

    Parameters
    ----------
    path : pathlib.Path
        The file; it is made when needed.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self, states: Mapping[str, str]) -> dict[str, _List]:
        """Return the lists that were asked for at the states that the observations have now."""
        found: dict[str, _List] = {}
        try:
            if time.time() - self.path.stat().st_mtime > NOTES_LIFE:
                return found
            lines = self.path.read_text().splitlines()
        except FileNotFoundError:
            return found
        for line in lines:
            try:
                note = json.loads(line)
            except ValueError:
                continue  # the line that was being written when the look was killed
            if states.get(note["obsid"]) == note["state"]:
                found[note["obsid"]] = _List(note["listed"], note["rows"])
        return found

    def add(self, lists: Mapping[str, _List], states: Mapping[str, str]) -> None:
        """Remember the lists of one batch."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        notes = (
            json.dumps({"obsid": obsid, "state": states[obsid], "listed": one.listed, "rows": one.rows})
            for obsid, one in lists.items()
        )
        with self.path.open("a") as file:
            file.write("\n" + "\n".join(notes))  # the new line ends what a kill left unfinished

    def forget(self) -> None:
        """Remove them: what they say lies in the tables."""
        self.path.unlink(missing_ok=True)


def program_products(
    client: ArchiveClient,
    program: str,
    observations: Sequence[Mapping[str, Any]],
    tables: Tables,
    notes: Notes,
    *,
    anew: bool = False,
    on_batch: Callable[[int, int], None] | None = None,
) -> Listed:
    """Return the FITS science products of a program's observations.

    Parameters
    ----------
    client : ArchiveClient
        The archive.
    program : str
        Five digits.
    observations : sequence of mapping
        Its observations as listed now, CAOM columns.
    tables : Tables
        Where the lists of the last look lie.
    notes : Notes
        Where this look is remembered; the caller forgets them once the tables hold the result.
    anew : bool
        Ask for every observation, whatever is known.
    on_batch : callable or None
        Called with (observations asked, observations to ask) after each batch.

    Returns
    -------
    Listed
        What the archive lists, and how it was found.

    Raises
    ------
    ArchiveError
        When the archive fails; the batches that came are noted.
    """
    names = {str(row["obsid"]): str(row.get("obs_id") or "") for row in observations if row.get("obsid")}
    versions = {} if anew or not names else client.file_set_versions(program)
    states, traceable = {}, set()
    for row in observations:
        if row.get("obsid"):
            obsid = str(row["obsid"])
            own = {name: versions[name] for name in _prefixes(names[obsid]) if name in versions}
            states[obsid] = _digest([sorted((key, str(value)) for key, value in row.items()), sorted(own.items())])
            traceable |= {obsid} if own else set()
    before = _known(tables, program_key(program), {obsid: states[obsid] for obsid in traceable})
    known = notes.read(states)  # of this look, if it was killed: as good as asked now
    wanted = sorted(set(names) - set(known) - set(before))
    for start in range(0, len(wanted), client.PRODUCT_BATCH):
        batch = wanted[start : start + client.PRODUCT_BATCH]
        came = _asked(client, batch)
        notes.add(came, states)
        known |= came
        if on_batch is not None:
            on_batch(start + len(batch), len(wanted))
    kept = _up_to_date({one: before[one] for one in before.keys() - known.keys()}, known)
    told = {obsid: states[obsid] if obsid in traceable else "" for obsid in names}
    listed = _merged(program_key(program), kept | known, names, told)
    listed.asked, listed.kept = len(wanted), len(kept)
    return listed


def _asked(client: ArchiveClient, batch: Sequence[str]) -> dict[str, _List]:
    """Ask for the lists of a batch; observations that were left out are asked for once more, by themselves."""
    came = client.product_lists(batch)
    if missing := [obsid for obsid in batch if not came.get(obsid)]:
        came |= client.product_lists(missing)
    return {
        obsid: _List(len(rows), [row for row in rows if is_fits_science(row)])
        for obsid, rows in ((obsid, came.get(obsid, [])) for obsid in batch)
    }


def _known(tables: Tables, program: str, states: Mapping[str, str]) -> dict[str, _List]:
    """Return the lists of the last look at observations that have the same state now."""
    lists = tables.scan(PRODUCT_LISTS, {"program": program}).to_pylist()
    if not lists:
        return {}
    stored = {row["dataURI"]: row for row in tables.scan(ARCHIVE_PRODUCTS, {"program": program}).to_pylist()}
    found = {}
    for one in lists:
        uris = json.loads(one["data_uris"])
        if states.get(one["obsid"]) == one["state"] and all(uri in stored for uri in uris):
            # rows of one file under several parents differ in the parent only
            own = [stored[uri] | {"parent_obsid": one["obsid"]} for uri in uris]
            found[one["obsid"]] = _List(one["listed"], own)
    return found


def _up_to_date(kept: Mapping[str, _List], fresh: Mapping[str, _List]) -> dict[str, _List]:
    """Give kept rows the size that a fresh row of the same file, under another parent, has."""
    sizes = {row["dataURI"]: row.get("size") for one in fresh.values() for row in one.rows}
    return {
        obsid: _List(one.listed, [row | {"size": sizes.get(row["dataURI"], row["size"])} for row in one.rows])
        for obsid, one in kept.items()
    }


def _merged(program: str, known: Mapping[str, _List], names: Mapping[str, str], states: Mapping[str, str]) -> Listed:
    of_ours = {obsid: known[obsid] for obsid in sorted(names)}
    rows, contradicting = unique_products(row for one in of_ours.values() for row in one.rows)
    lists = [
        {
            "program": program,
            "obsid": obsid,
            "obs_id": names[obsid],
            "state": states[obsid],
            "listed": one.listed,
            "data_uris": json.dumps(sorted({str(row["dataURI"]) for row in one.rows})),
        }
        for obsid, one in of_ours.items()
    ]
    return Listed(
        rows,
        pa.Table.from_pylist(lists, schema=PRODUCT_LISTS.schema),
        listed=sum(one.listed for one in of_ours.values()),
        without=sorted(names[obsid] or obsid for obsid, one in of_ours.items() if not one.listed),
        contradicting=contradicting,
    )


def _prefixes(obs_id: str) -> Iterable[str]:
    """Return the names that the file set of an observation may have: its own, or that of the exposure it is part of."""
    parts = obs_id.split("_")
    return ("_".join(parts[:length]) for length in range(len(parts), 0, -1))


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()
