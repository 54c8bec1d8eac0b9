"""A bucket or folder kept catalogued: listing, events of a queue, back-fill.

Holds: :class:`Watcher`. An event only says where to look: what is true is asked of the store, so that
events may come twice, late, in any order or never. Keep out the rows of an object
(``catalog.sources``), the queue (``catalog.queue``) and who starts this (a sensor, ``hwosim lake``).
"""

from __future__ import annotations

import fcntl
import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from hwosim_assets.catalog.products import EXTRACTOR_VERSION
from hwosim_assets.catalog.sources import SOURCE_CARDS, SOURCE_OBJECTS, ObjectRead, read_object, tombstone
from hwosim_assets.errors import BackendAbsentError, BadInputError, HwosimError

if TYPE_CHECKING:
    from hwosim_assets.catalog.queue import Message, Queue
    from hwosim_assets.lake.store import Lake, Stored
    from hwosim_assets.lake.tables import Tables

__all__ = ["Outcome", "Watcher"]

#: Endings of what is looked at: FITS by any of its usual names, plain or packed.
LOOKED_AT = re.compile(r"(?i)\.(fits?|fts|oifits|pha\d?|pi|rmf|arf|rsp|lc|evt|img|std)(\.gz|\.fz)?$")
#: Objects whose rows are committed together; what a kill can cost.
BATCH = 200
#: Objects read at once: a store answers slowly, headers are short.
THREADS = 4


@dataclass
class Outcome:
    """What a pass did.

    Attributes
    ----------
    catalogued, rejected, deleted, kept : int
        Objects read and found FITS or not, gone, and unchanged.
    messages : int
        Messages of the queue that were dealt with.
    requests, fetched_bytes : int
        What reading cost on S3.
    later : list of str
        Objects and messages that could not be dealt with, and why.
    complete : bool
        Whether nothing was left for the next pass.
    """

    catalogued: int = 0
    rejected: int = 0
    deleted: int = 0
    kept: int = 0
    messages: int = 0
    requests: int = 0
    fetched_bytes: int = 0
    later: list[str] = field(default_factory=list)
    complete: bool = True


@dataclass(frozen=True)
class Watcher:
    """One watched place and the tables that say what lies there.

    Attributes
    ----------
    lake : Lake
        The place; only read.
    tables : Tables
        Where rows go.
    home : pathlib.Path
        State folder: one watcher at a time works in it.
    template : str
        What folders mean, see :func:`hwosim_assets.catalog.sources.path_facts`.
    """

    lake: Lake
    tables: Tables
    home: Path
    template: str = ""

    def reconcile(self, *, limit: int | None = None, on_object: Callable[[int], None] | None = None) -> Outcome:
        """List the place and bring the tables up to date; a killed or limited pass goes on where it was.

        Parameters
        ----------
        limit : int, optional
            Most objects to read in this pass.
        on_object : callable, optional
            Called with how many objects were dealt with.

        Raises
        ------
        HwosimError
            When store or tables fail.
        """
        with self._alone():
            known, outcome = self._known(), Outcome()
            listed = {self.lake.place.uri_of(one.key): one for one in self.lake.list() if LOOKED_AT.search(one.key)}
            gone = [uri for uri, row in known.items() if uri not in listed and row["state"] != "deleted"]
            changed = sorted((uri for uri, one in listed.items() if not _same(known.get(uri), one)))
            outcome.kept = len(listed) - len(changed)
            outcome.complete = limit is None or len(changed) <= limit
            changed = changed[:limit]
            for start in range(0, len(changed), BATCH):
                objects = [listed[uri] for uri in changed[start : start + BATCH]]
                self._take(objects, [], known, outcome)
                if on_object:
                    on_object(len(objects))
            self._take([], gone, known, outcome)
            return outcome

    def drain(self, queue: Queue, *, limit: int | None = None) -> Outcome:
        """Bring up to date what the messages of a queue name, then delete them.

        Parameters
        ----------
        queue : Queue
            Where the messages lie.
        limit : int, optional
            Messages after which the rest is left for the next pass; the last batch of the queue goes beyond it.

        Raises
        ------
        HwosimError
            When queue, store or tables fail; the messages then come again.
        """
        from hwosim_assets.catalog.queue import event_keys

        outcome = Outcome()
        with self._alone():
            while (limit is None or outcome.messages < limit) and (messages := queue.receive()):
                keys: set[str] = set()
                understood: list[Message] = []
                for message in messages:
                    try:
                        keys |= set(event_keys(message.body, self.lake.place.bucket))
                        understood.append(message)
                    except BadInputError as error:
                        outcome.later.append(str(error))
                self._look_at(self._own_keys(keys), outcome)
                queue.delete(understood)
                outcome.messages += len(understood)
                if not understood:
                    break  # what nobody understands stays for the queue's own dead letters
        return outcome

    def _own_keys(self, keys: set[str]) -> list[str]:
        """Return keys below the watched prefix, relative to it."""
        prefix = f"{self.lake.place.prefix}/" if self.lake.place.prefix else ""
        own = [key.removeprefix(prefix) for key in sorted(keys) if key.startswith(prefix)]
        return [key for key in own if LOOKED_AT.search(key)]

    def _look_at(self, keys: list[str], outcome: Outcome) -> None:
        """Bring some keys up to date with what the store has now."""
        known = self._known()
        objects, gone = [], []
        for key in keys:
            try:
                stored, uri = self.lake.head(key), self.lake.uri_of(key)
            except BadInputError as error:
                outcome.later.append(str(error))
                continue
            row = known.get(uri)
            if stored is None:
                gone += [uri] if row and row["state"] != "deleted" else []
            elif _same(row, stored):
                outcome.kept += 1
            else:
                objects.append(stored)
        self._take(objects, gone, known, outcome)

    def _take(self, objects: list[Stored], gone: list[str], known: dict[str, dict[str, Any]], outcome: Outcome) -> None:
        """Read objects and write their rows, and the tombstones of others."""
        with ThreadPoolExecutor(THREADS) as pool:
            read = list(pool.map(self._read, objects))
        done = [one for one in read if isinstance(one, ObjectRead)]
        outcome.later += [str(one) for one in read if isinstance(one, HwosimError)]
        new: dict[tuple[str, str], list[ObjectRead]] = defaultdict(list)
        left: dict[tuple[str, str], set[str]] = defaultdict(set)
        for one in done:
            new[one.row["program"], one.row["folder"]].append(one)
            before = known.get(one.row["uri"])
            if before and (before["program"], before["folder"]) != (one.row["program"], one.row["folder"]):
                left[before["program"], before["folder"]].add(one.row["uri"])
            outcome.requests += one.requests
            outcome.fetched_bytes += one.fetched_bytes
        dead: dict[tuple[str, str], set[str]] = defaultdict(set)
        for uri in gone:
            dead[known[uri]["program"], known[uri]["folder"]].add(uri)
        for place in sorted({*new, *left, *dead}):
            self._commit(place, new[place], left[place], dead[place])
        outcome.catalogued += sum(1 for one in done if one.row["state"] == "catalogued")
        outcome.rejected += sum(1 for one in done if one.row["state"] == "rejected")
        outcome.deleted += len(gone)

    def _read(self, stored: Stored) -> ObjectRead | HwosimError:
        """Read one object; one that changed or vanished meanwhile is for the next pass."""
        try:
            return read_object(self.lake, stored, self.template)
        except BackendAbsentError:
            raise
        except HwosimError as error:
            return error

    def _commit(self, place: tuple[str, str], new: list[ObjectRead], left: set[str], dead: set[str]) -> None:
        """Write the rows of one program and folder: cards first, since a row says that its cards are there."""
        scope = {"program": place[0], "folder": place[1]}
        replaced = left | {one.row["uri"] for one in new}
        cards = self.tables.scan(SOURCE_CARDS, scope)
        others = cards.filter(pc.invert(pc.is_in(cards["uri"], pa.array(sorted(replaced), pa.string()))))
        self.tables.replace(SOURCE_CARDS, scope, pa.concat_tables([others, *[one.cards for one in new]]))
        rows = [row for row in self.tables.scan(SOURCE_OBJECTS, scope).to_pylist() if row["uri"] not in replaced]
        rows = [tombstone(row) if row["uri"] in dead else row for row in rows] + [one.row for one in new]
        self.tables.replace(SOURCE_OBJECTS, scope, pa.Table.from_pylist(rows, schema=SOURCE_OBJECTS.schema))

    def _known(self) -> dict[str, dict[str, Any]]:
        """Return what the tables say of this place, by URI."""
        columns = ["program", "folder", "uri", "etag", "extractor_version", "state"]
        rows = self.tables.scan(SOURCE_OBJECTS, columns=columns).to_pylist()
        return {row["uri"]: row for row in rows if row["uri"].startswith(self.lake.uri + "/")}

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Wait until no other watcher of this installation works.

        Raises
        ------
        BackendAbsentError
            If the watched folder is not there: not mounted, say. Its objects would all seem deleted.
        """
        folder = self.lake.place.folder
        if folder is not None and not folder.is_dir():
            raise BackendAbsentError(
                f"watched place {self.lake.uri}", "is not there", "mount it, or mend HWOSIM_WATCH_URI"
            )
        self.home.mkdir(parents=True, exist_ok=True)
        with (self.home / "watch.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def _same(row: dict[str, Any] | None, stored: Stored) -> bool:
    """Say whether a row is that of the object as it is now, by this version of the extractor."""
    if row is None or row["state"] == "deleted":
        return False
    return bool(row["etag"] == stored.etag and row["extractor_version"] == EXTRACTOR_VERSION)
