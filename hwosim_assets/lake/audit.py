"""The audit at rest: whether every object that a row names still holds the bytes it was stored with.

Holds: :class:`Kept` (what a row promises), :func:`audit`, which reads every object and compares, and
:func:`refetch`, which brings an object that rotted once more from the archive. Keep out which tables
promise objects, and how findings are shown (``hwosim lake verify``).
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hwosim_assets.errors import HwosimError
from hwosim_assets.lake.store import NotStoredError
from hwosim_assets.lake.transfer import Meter, PartFile, RefusedError, Wanted, receive

if TYPE_CHECKING:
    from hwosim_assets.lake.store import Lake
    from hwosim_assets.lake.transfer import ByteSource

__all__ = ["Finding", "Kept", "audit", "refetch"]

#: Objects read at once; more keep a spinning disk seeking, and one core hashes 1.5 GB/s.
THREADS = 4
#: Bytes of an object in memory at once, for each thread.
PIECE = 8 * 1024 * 1024


@dataclass(frozen=True)
class Kept:
    """An object that a row of a table promises.

    Attributes
    ----------
    table, program, name : str
        Where the promise stands, and the product's file name.
    key : str
        Of the object.
    sha256 : str
        Of its content, hex.
    data_uri : str or None
        Where the archive has it; ``None`` for what was made here.
    """

    table: str
    program: str
    name: str
    key: str
    sha256: str
    data_uri: str | None


@dataclass(frozen=True)
class Finding:
    """What became of an object.

    Attributes
    ----------
    kept : Kept
        The promise.
    state : str
        ``sound``, ``rotted`` (other bytes) or ``missing``.
    size : int
        Bytes that were read.
    """

    kept: Kept
    state: str
    size: int


def audit(promises: Iterable[Kept], lake: Lake, *, on_object: Callable[[Finding], None] | None = None) -> list[Finding]:
    """Read every promised object and compare its content hash.

    Parameters
    ----------
    promises : iterable of Kept
        What should be there; an object that several rows promise is read once.
    lake : Lake
        Where it should be.
    on_object : callable, optional
        Called with each finding.

    Returns
    -------
    list of Finding
        One for each object, in the order of the promises.

    Raises
    ------
    BackendAbsentError
        If the store itself fails.
    """
    unique = list({(kept.key, kept.sha256): kept for kept in promises}.values())
    findings = []
    with ThreadPoolExecutor(THREADS) as pool:
        for finding in pool.map(lambda kept: _look(kept, lake), unique):
            findings.append(finding)
            if on_object is not None:
                on_object(finding)
    return findings


def _look(kept: Kept, lake: Lake) -> Finding:
    digest, size = hashlib.sha256(), 0
    try:
        for piece in _pieces(lake, kept.key):
            digest.update(piece)
            size += len(piece)
    except NotStoredError:
        return Finding(kept, "missing", 0)
    return Finding(kept, "sound" if digest.hexdigest() == kept.sha256 else "rotted", size)


def _pieces(lake: Lake, key: str) -> Iterator[bytes]:
    stored = lake.head(key)
    if stored is None:
        raise NotStoredError(lake.uri_of(key), "is not in the lake", "ingest the program again")
    for start in range(0, stored.size, PIECE):
        yield lake.read_range(key, start, min(PIECE, stored.size - start))


def refetch(kept: Kept, source: ByteSource, lake: Lake, folder: Path) -> None:
    """Bring an object from the archive once more and put it where it was.

    The object that is there is removed only when the same bytes as before have come whole.

    Parameters
    ----------
    kept : Kept
        A promise with an archive URI.
    source : ByteSource
        The archive.
    lake : Lake
        Where the object goes.
    folder : pathlib.Path
        For the part file.

    Raises
    ------
    HwosimError
        If the archive does not give it, or gives another version than the one that was stored.
    """
    if kept.data_uri is None:
        raise HwosimError(kept.name, "was made here and is in no archive", f"materialize program {kept.program} again")
    part = PartFile(folder, f"again {kept.data_uri}")
    try:
        received = receive(source, Wanted(kept.data_uri, None), part, Meter(), threading.Event())
    except RefusedError as refused:
        mend = refused.mend or "see that the archive runs"
        raise HwosimError(
            kept.name, f"could not be fetched again ({refused.rule}: {refused.reason})", mend
        ) from refused
    if received.sha256 != kept.sha256:
        part.discard()
        reason = "the archive has another version of it now; the stored one is lost"
        raise HwosimError(kept.name, reason, f"ingest it: hwosim run --program {kept.program}")
    lake.delete(kept.key)
    lake.take_in(kept.key, part.content)
    lake.settle()  # its row is committed
    part.discard()
