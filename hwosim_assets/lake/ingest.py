"""A program's files from the archive into the lake, each once.

Holds: the ``raw_files`` table and :func:`ingest_program`. Keep out how one file's bytes come
(``lake.transfer``), how the archive is asked (``archive``), and what the files contain (``catalog``).

A file becomes visible when its row is committed, after all files of the program have been tried.
Until then a journal beside the part files remembers what lies in the lake already, so that a
killed ingest goes on where it was. Before rows are committed the disk has the files that they name, so that a power
cut leaves no row without its bytes.
"""

from __future__ import annotations

import fcntl
import hashlib
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa

from hwosim_assets.errors import BackendAbsentError, BadInputError
from hwosim_assets.fits.names import program_key, safe_file_name
from hwosim_assets.lake.disk import Boot
from hwosim_assets.lake.journal import Journal
from hwosim_assets.lake.layout import raw_key
from hwosim_assets.lake.rejections import Rejection
from hwosim_assets.lake.spec import TableSpec
from hwosim_assets.lake.store import AlreadyStoredError, Lake
from hwosim_assets.lake.tables import Tables
from hwosim_assets.lake.transfer import (
    ByteSource,
    ByteStream,
    Facts,
    Meter,
    PartFile,
    Received,
    RefusedError,
    Wanted,
    asking,
    local_disk,
    receive,
)

__all__ = ["RAW_FILES", "ByteSource", "ByteStream", "Facts", "IngestResult", "ingest_program"]

#: Files under way at once: an archive answers slowly, the disk is quick.
THREADS = 4
#: After so many files in a row to which the archive did not answer, it counts as down.
PATIENCE = 8

RAW_FILES = TableSpec(
    name="raw_files",
    schema=pa.schema(
        [
            pa.field("program", pa.string(), nullable=False),
            pa.field("product_name", pa.string(), nullable=False),
            pa.field("data_uri", pa.string(), nullable=False),
            pa.field("obs_id", pa.string()),
            pa.field("size_bytes", pa.int64(), nullable=False),
            pa.field("sha256", pa.string(), nullable=False),
            pa.field("key", pa.string(), nullable=False),
            pa.field("uri", pa.string(), nullable=False),
            pa.field("etag", pa.string()),
            pa.field("ingest_id", pa.string(), nullable=False),
            pa.field("ingested_at", pa.timestamp("us", "UTC"), nullable=False),
        ]
    ),
    scope=("program",),
    key=("data_uri",),
    volatile=("ingested_at",),
    doc="One row for each file of the archive that lies in the lake.",
)


@dataclass
class IngestResult:
    """What an ingest did.

    Attributes
    ----------
    rows : pyarrow.Table
        The program's rows of ``raw_files`` as committed.
    moved_files, moved_bytes : int
        Files that are new or changed; bytes that came from the archive, failed files included.
    kept_files : int
        Files that lay in the lake already.
    rejections : list of Rejection
        Files that could not be taken.
    stale : list of Rejection
        Files of which the archive did not give the present version; the earlier one is kept.
    awaited : list of Rejection
        Those of both that may come another time, with nothing new in the archive.
    removed : list of str
        Archive URIs that the archive no longer lists; their rows go, their objects stay.
    """

    rows: pa.Table
    moved_files: int = 0
    moved_bytes: int = 0
    kept_files: int = 0
    rejections: list[Rejection] = field(default_factory=list)
    stale: list[Rejection] = field(default_factory=list)
    awaited: list[Rejection] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Product:
    """One listed file."""

    name: str
    obs_id: str
    wanted: Wanted


@dataclass
class _Outcome:
    """What became of one file: a row, a refusal, or both (an earlier version is kept)."""

    product: _Product
    row: dict[str, Any] | None = None
    refused: RefusedError | None = None
    new: bool = False
    meter: Meter = field(default_factory=Meter)


def ingest_program(
    program: str,
    products: list[dict[str, Any]],
    source: ByteSource,
    lake: Lake,
    tables: Tables,
    *,
    home: Path,
    look: str = "",
    on_file: Callable[[str], None] | None = None,
) -> IngestResult:
    """Bring a program's files into the lake and commit their rows.

    A file that lies in the lake already is asked for its size, entity tag and hash only. A file
    that fails is refused with its reason, and the others go on; where the reason may pass, it is
    asked for once more after them.

    Parameters
    ----------
    program : str
        Five digits.
    products : list of dict
        The archive's product rows: ``productFilename``, ``dataURI``, ``size`` (bytes), ``obs_id``.
    source : ByteSource
        The archive.
    lake : Lake
        Where the files go.
    tables : Tables
        Where their rows go.
    home : pathlib.Path
        State folder; part files lie in ``partial`` below it.
    look : str, optional
        Hash of what the archive listed. After a kill, files that were settled in the same look are not
        asked about again.
    on_file : callable, optional
        Called with the file name after each file, whatever became of it; from several threads, one at a time.

    Returns
    -------
    IngestResult
        What was done.

    Raises
    ------
    BackendAbsentError
        If the archive does not answer: not one file could be had, or eight in a row could not.
    HwosimError
        If a disk is full, or lake or tables fail. Nothing is lost: the next ingest goes on.
    """
    folder = home / "partial" / f"jw{program_key(program)}"
    with _alone(folder), closing(Journal(folder / "journal.jsonl", look)) as journal:
        lake.sweep()
        ingest = _Ingest(program, source, lake, folder, journal)
        known = {row["data_uri"]: row for row in tables.scan(RAW_FILES, {"program": program}).to_pylist()}
        listed, refused = _listed(products)
        ingest.recall(known)
        outcomes = refused + ingest.run(listed, on_file)
        result = _result(program, outcomes, known)
        committed = {row["key"] for row in known.values()}
        if result.moved_files or not committed.issuperset(result.rows["key"].to_pylist()):
            lake.settle()  # no row may outlive its bytes
        replaced = tables.replace(RAW_FILES, {"program": program}, result.rows)
        if known or not replaced.changed:  # rows that were there keep their time; of a new program all are as given
            result.rows = tables.scan(RAW_FILES, {"program": program})
        journal.forget()
        ingest.tidy(outcomes)
    return result


class _Ingest:
    """One ingest under way."""

    def __init__(self, program: str, source: ByteSource, lake: Lake, folder: Path, journal: Journal) -> None:
        self.program = program
        self.source = source
        self.lake = lake
        self.folder = folder
        self.known: dict[str, dict[str, Any]] = {}
        self._journal = journal
        self._settled: set[str] = set()
        self._stop = threading.Event()  # of the round under way
        self._counting = threading.Lock()
        self._silent = 0
        self._no_parts = False

    def recall(self, committed: dict[str, dict[str, Any]]) -> None:
        """Take the rows whose objects lie in the lake, whole: those of a killed ingest before those committed."""
        noted, settled = self._journal.read()
        with local_disk(self.folder):
            boot = Boot(self.folder)
            if not boot.same:
                self._doubt(noted)
            boot.note()
        sizes = {stored.key: stored.size for stored in self.lake.list(f"raw/jw{self.program}")}
        for data_uri, row in (committed | noted).items():
            size = sizes.get(row["key"])
            if size is None and (stored := self.lake.head(row["key"])):
                size = stored.size
            if size == row["size_bytes"]:
                self.known[data_uri] = row
        self._settled = settled & self.known.keys()

    def _doubt(self, noted: dict[str, dict[str, Any]]) -> None:
        """After a power cut, give up half-received files and objects that are not what was noted of them."""
        for path in self.folder.glob("*.part"):
            path.unlink()
        for row in noted.values() if self.lake.place.folder is not None else ():
            if self.lake.head(row["key"]) is not None and _sha256_of(self.lake, row["key"]) != row["sha256"]:
                self.lake.delete(row["key"])

    def run(self, products: list[_Product], on_file: Callable[[str], None] | None) -> list[_Outcome]:
        """Try every file, then once more those that may come another time; raise when the archive is down."""
        outcomes = [_Outcome(product, self.known.get(product.wanted.data_uri)) for product in products]
        self._round(outcomes, on_file)
        every_failed = all(outcome.refused and outcome.refused.from_archive for outcome in outcomes)
        if self._silent >= PATIENCE or (outcomes and every_failed):
            raise self._down([one for one in outcomes if not (one.refused and one.refused.rule == "stopped")])
        self._round([outcome for outcome in outcomes if outcome.refused and outcome.refused.passing], None)
        return outcomes

    def _round(self, outcomes: list[_Outcome], on_file: Callable[[str], None] | None) -> None:
        """Try these files, a few at once; stop when the archive falls silent or a disk is full."""
        if not outcomes:
            return
        self._stop, self._silent = threading.Event(), 0
        self._no_parts = next(self.folder.glob("*.part"), None) is None  # one look in place of one for each file
        left = iter(outcomes)  # threads may share the iterator of a list
        with ThreadPoolExecutor(THREADS, thread_name_prefix="ingest") as pool:
            try:
                for worker in as_completed([pool.submit(self._work, left, on_file) for _ in range(THREADS)]):
                    worker.result()
            finally:  # after the last file this stops nothing
                self._stop.set()

    def _work(self, left: Iterator[_Outcome], on_file: Callable[[str], None] | None) -> None:
        """Try one file after the other; to hand each to a thread that waits cost small files a tenth of their time."""
        for outcome in left:
            self._one(outcome)
            if on_file is not None and not (outcome.refused and outcome.refused.rule == "stopped"):
                with self._counting:
                    on_file(outcome.product.name)

    def _listen(self, outcome: _Outcome) -> None:
        """Count the files in a row that the archive did not answer; the last one it may keep silent on stops the rest.

        Counted where the files are brought: a reader of their outcomes may be dozens of files behind.
        """
        with self._counting:
            if self._silent < PATIENCE:
                self._silent = self._silent + 1 if outcome.refused and outcome.refused.archive_down else 0
            if self._silent >= PATIENCE:
                self._stop.set()

    def _down(self, outcomes: list[_Outcome]) -> BackendAbsentError:
        refused = next(outcome.refused for outcome in reversed(outcomes) if outcome.refused)
        had = sum(outcome.refused is None for outcome in outcomes)
        reason = f"the archive gave {had} of {len(outcomes)} files asked for; the last one: {refused.reason}"
        return BackendAbsentError(f"program {self.program}", reason, refused.mend or "run again later")

    def _one(self, outcome: _Outcome) -> None:
        """Bring one file, or find that it is here."""
        before = outcome.refused
        if self._stop.is_set():
            outcome.refused = before or RefusedError("stopped", "the ingest was stopped")
            return
        try:
            if outcome.row is None or not self._is_here(outcome.product, outcome.row):
                self._bring(outcome)
            outcome.refused = None
        except RefusedError as refused:
            outcome.refused = before if before and refused.rule == "stopped" else refused
        except BadInputError as error:
            outcome.refused = RefusedError("file_name", f"{error.thing} {error.reason}", error.mend)
        self._listen(outcome)

    def _is_here(self, product: _Product, row: dict[str, Any]) -> bool:
        """Find out whether the archive's present file is the one in the lake; after a kill, once in a look."""
        listed = product.wanted.size
        if product.wanted.data_uri in self._settled and listed in (None, row["size_bytes"]):
            return True
        if not self._unchanged(product, row):
            return False
        self._journal.add(row)
        return True

    def _unchanged(self, product: _Product, row: dict[str, Any]) -> bool:
        """Ask whether the archive's file is the one in the lake: by hash, else by entity tag, else by size."""
        if product.wanted.size is not None and product.wanted.size != row["size_bytes"]:
            return False
        with asking():
            facts = self.source.facts(product.wanted.data_uri)
        if facts.size is not None and facts.size != row["size_bytes"]:
            return False
        if facts.sha256:
            return bool(facts.sha256 == row["sha256"])
        return not (facts.etag and row["etag"]) or bool(facts.etag == row["etag"])

    def _bring(self, outcome: _Outcome) -> None:
        product = outcome.product
        self.lake.uri_of(safe_file_name(product.name))  # a name that cannot be stored is not fetched
        part = PartFile(self.folder, product.wanted.data_uri, absent=self._no_parts)
        received = receive(self.source, product.wanted, part, outcome.meter, self._stop)
        before = outcome.row
        if before is not None and before["sha256"] == received.sha256:
            outcome.row = before | {"etag": received.etag}
        else:
            outcome.row = self._store(product, received, part)
            outcome.new = True
        part.discard()

    def _store(self, product: _Product, received: Received, part: PartFile) -> dict[str, Any]:
        """Move a complete file into the lake, noted in the journal before."""
        ingest_id = received.sha256[:16]  # the same bytes get the same key, whoever ingests them
        key = raw_key(product.name, self.program, ingest_id)
        row = {
            "program": self.program,
            "product_name": product.name,
            "data_uri": product.wanted.data_uri,
            "obs_id": product.obs_id,
            "size_bytes": received.size,
            "sha256": received.sha256,
            "key": key,
            "uri": self.lake.uri_of(key),
            "etag": received.etag,
            "ingest_id": ingest_id,
            "ingested_at": datetime.now(UTC),
        }
        self._journal.add(row)
        content = part.content
        try:
            self.lake.take_in(key, content)
        except AlreadyStoredError:
            if _sha256_of(self.lake, key) != received.sha256:
                self.lake.delete(key)
                self.lake.take_in(key, content)
        return row

    def tidy(self, outcomes: list[_Outcome]) -> None:
        """After the commit, forget every part file that no refused file will continue."""
        going_on = {
            PartFile(self.folder, outcome.product.wanted.data_uri).path.stem
            for outcome in outcomes
            if outcome.refused is not None and outcome.refused.from_archive
        }
        for path in [*self.folder.glob("*.part"), *self.folder.glob("*.json")]:
            if path.stem not in going_on:
                path.unlink(missing_ok=True)


def _listed(products: list[dict[str, Any]]) -> tuple[list[_Product], list[_Outcome]]:
    """Return each listed file once; two files of one name cannot both be the product of that name."""
    by_uri = {str(row["dataURI"]): row for row in products}
    listed: list[_Product] = []
    refused: list[_Outcome] = []
    names: set[str] = set()
    for data_uri, row in sorted(by_uri.items()):
        size = row.get("size")
        wanted = Wanted(data_uri, int(size) if size is not None and int(size) >= 0 else None)
        product = _Product(str(row["productFilename"]), str(row.get("obs_id") or ""), wanted)
        if product.name in names:
            twice = RefusedError("duplicate_name", "the archive lists another file of the same name")
            refused.append(_Outcome(product, refused=twice))
        else:
            names.add(product.name)
            listed.append(product)
    return listed, refused


def _result(program: str, outcomes: list[_Outcome], known: dict[str, dict[str, Any]]) -> IngestResult:
    rows = [outcome.row for outcome in outcomes if outcome.row is not None]
    result = IngestResult(pa.Table.from_pylist(rows, schema=RAW_FILES.schema))
    for outcome in sorted(outcomes, key=lambda outcome: outcome.product.name):
        result.moved_bytes += outcome.meter.bytes
        if outcome.refused is not None:
            product, refused = outcome.product, outcome.refused
            rejection = Rejection(product.name, "raw", refused.rule, refused.reason, product.wanted.data_uri)
            (result.rejections if outcome.row is None else result.stale).append(rejection)
            if refused.passing:
                result.awaited.append(rejection)
        if outcome.new:
            result.moved_files += 1
        elif outcome.row is not None:
            result.kept_files += 1
    result.removed = sorted(set(known) - {outcome.product.wanted.data_uri for outcome in outcomes})
    return result


def _sha256_of(lake: Lake, key: str) -> str:
    with lake.local_copy(key) as path, path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Wait until no other process ingests the same program, and keep others waiting."""
    with local_disk(folder.parent):
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / "lock").open("w")
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
