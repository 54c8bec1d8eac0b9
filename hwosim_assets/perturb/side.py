"""The side file of a truth: which pixels were lost or flagged, and what happened where.

Holds: :class:`Findings`, gathered while a product is perturbed, and :class:`Side`, what the truth keeps of them: counts
and a Parquet table, one row for each run of pixels and for each event. Keep out the record of numbers and hashes
(``perturb.truth``).
"""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from hwosim_assets.perturb.spans import Spans

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

    from hwosim_assets.perturb.block import Event, Mark
    from hwosim_assets.perturb.measurements import Measurement
    from hwosim_assets.perturb.planes import Plane
    from hwosim_assets.perturb.unsaid import Unsaid

#: Columns of words, of which there are few.
_WORDS = ("kind", "effect", "label", "plane")
#: Rows that are written at once: a table is copied on its way into the file, which is when most memory is in use.
_GROUP = 4096

__all__ = ["Events", "Findings", "Runs", "Side", "find_events", "find_runs", "side_table"]


class Runs(NamedTuple):
    """Runs of consecutive pixels that one use of an effect lost or flagged in one frame.

    Attributes
    ----------
    kind : {"lost", "flagged", "unflagged"}
        Made invalid; flagged; or what flags should say and do not.
    effect, label : str
        Which use of which effect.
    plane, hdu : str, int
        Science plane and its HDU.
    frame, group : int
        Integration or wavelength, and group of a ramp.
    bits : int
        Data-quality bits.
    starts, lengths : integer array
        First flat place in the frame and number of pixels of each run.
    """

    kind: str
    effect: str
    label: str
    plane: str
    hdu: int
    frame: int
    group: int
    bits: int
    starts: NDArray[Any]
    lengths: NDArray[Any]


class Events(NamedTuple):
    """Events of one use of an effect in one frame: columns of one length."""

    effect: str
    label: str
    plane: str
    hdu: int
    frame: int
    columns: dict[str, NDArray[Any]]


@dataclass
class Findings:
    """What the blocks of one product told the truth."""

    runs: list[Runs]
    events: list[Events]
    unsaid: dict[Plane, Unsaid] = field(default_factory=dict)

    def pixels(self, kind: str) -> Counter[tuple[str, str]]:
        """Return how many pixels each use of an effect lost, flagged or left unflagged."""
        count: Counter[tuple[str, str]] = Counter()
        for run in self.runs:
            if run.kind == kind:
                count[run.effect, run.label] += int(run.lengths.sum())
        return count

    def happened(self) -> Counter[tuple[str, str]]:
        """Return how many events each use of an effect recorded."""
        count: Counter[tuple[str, str]] = Counter()
        for event in self.events:
            count[event.effect, event.label] += int(next(iter(event.columns.values())).size)
        return count


class Side(NamedTuple):
    """What a truth keeps of findings.

    Attributes
    ----------
    content : bytes or None
        The Parquet table, where there are any.
    counts : dict
        For each thing that is counted, how often it happened to each use of an effect.
    unsaid : dict
        Variance that planes do not state, by the science planes of which there is such.
    """

    content: bytes | None
    counts: dict[str, Counter[tuple[str, str]]]
    unsaid: dict[Plane, Unsaid]

    @classmethod
    def of(cls, findings: Findings) -> Side:
        """Return what is kept of findings."""
        counts = {f"pixels_{kind}": findings.pixels(kind) for kind in ("lost", "flagged", "unflagged")}
        return cls(_side_file(findings), {**counts, "events_recorded": findings.happened()}, findings.unsaid)


def find_runs(item: Measurement, frames: Iterable[tuple[int, Sequence[Mark]]]) -> list[Runs]:
    """Return the marks of a measurement's blocks as runs, the same however the frames were cut into blocks."""
    pieces: dict[tuple[str, str, str, int, int, int], list[NDArray[np.int64] | range | Spans]] = {}
    for frame, marks in frames:
        for mark in marks:
            key = (mark.effect, mark.label, mark.kind, frame, mark.group, mark.bits)
            pieces.setdefault(key, []).append(mark.places)
    found = []
    for (effect, label, kind, frame, group, bits), parts in sorted(pieces.items(), key=lambda entry: entry[0]):
        sci, (starts, stops) = item.sci, _joined(parts)
        stops -= starts
        found.append(Runs(kind, effect, label, sci.name, sci.hdu, frame, group, bits, starts, stops))
    return found


def _joined(parts: list[NDArray[np.int64] | range | Spans]) -> Spans:
    """Return the runs that places of several blocks make up."""
    single = [part for part in parts if isinstance(part, np.ndarray)]
    if len(single) == len(parts):
        return Spans.of(np.concatenate(single))
    return Spans.union([part if isinstance(part, Spans) else Spans.of(part) for part in parts])


def find_events(item: Measurement, frames: Iterable[tuple[int, Sequence[Event]]]) -> list[Events]:
    """Return the events of a measurement's blocks, by frame, the same however the frames were cut into blocks."""
    found: list[tuple[int, list[Event]]] = []
    shared: dict[tuple[str, str, int], list[Event]] = {}  # what each band tells of its own stands where the first does
    for frame, events in frames:
        for event in events:
            parts = [] if event.order is None else shared.setdefault((event.effect, event.label, frame), [])
            if not parts:
                found.append((frame, parts))
            parts.append(event)
    told = [(frame, *parts[0][:2], _in_order(parts)) for frame, parts in found]
    return [
        Events(effect, label, item.sci.name, item.sci.hdu, frame, columns)
        for frame, effect, label, columns in told
        if next(iter(columns.values())).size
    ]


def _in_order(parts: list[Event]) -> dict[str, NDArray[Any]]:
    """Return the columns of what the bands of a frame told of one use of an effect."""
    if parts[0].order is None:
        return parts[0].columns
    order = np.argsort(np.concatenate([part.order for part in parts if part.order is not None]))
    return {name: np.concatenate([part.columns[name] for part in parts])[order] for name in parts[0].columns}


def _side_file(findings: Findings) -> bytes | None:
    """Return the Parquet table of the findings, or ``None`` when there are none."""
    found: list[Runs | Events] = [*findings.runs, *findings.events]
    if not found:
        return None
    import pyarrow.parquet as pq

    schema = _table([_cut(one, 0, 1) for one in found]).schema
    buffer = io.BytesIO()
    # Numbers that differ from row to row would only fill a dictionary.
    with pq.ParquetWriter(buffer, schema, compression="zstd", use_dictionary=[*_WORDS]) as writer:
        for group in _groups(found):
            writer.write_table(_table(group, schema))
    return buffer.getvalue()


def _size(found: Runs | Events) -> int:
    """Return the number of rows."""
    return int((found.starts if isinstance(found, Runs) else next(iter(found.columns.values()))).size)


def _cut(found: Runs | Events, start: int, stop: int) -> Runs | Events:
    """Return some of the rows."""
    if isinstance(found, Runs):
        return found._replace(starts=found.starts[start:stop], lengths=found.lengths[start:stop])
    return found._replace(columns={name: column[start:stop] for name, column in found.columns.items()})


def _groups(found: list[Runs | Events]) -> Iterator[list[Runs | Events]]:
    """Yield the findings in groups of rows that are written together."""
    group: list[Runs | Events] = []
    room = _GROUP
    for one in found:
        start, size = 0, _size(one)
        while start < size:
            stop = min(start + room, size)
            group.append(_cut(one, start, stop))
            room -= stop - start
            start = stop
            if not room:
                yield group
                group, room = [], _GROUP
    if group:
        yield group


def _table(found: list[Runs | Events], schema: pa.Schema | None = None) -> pa.Table:
    """Return findings as a table, with all columns of a schema where one is given."""
    import pyarrow as pa

    tables = [] if schema is None else [schema.empty_table()]
    runs = [one for one in found if isinstance(one, Runs)]
    tables += [_runs_table(runs)] if runs else []
    tables += [_event_table(one) for one in found if isinstance(one, Events)]
    return pa.concat_tables(tables, promote_options="permissive").unify_dictionaries().combine_chunks()


def _words(words: list[str], counts: list[int]) -> Any:
    import pyarrow as pa

    coded = pa.array(words, pa.string()).dictionary_encode()
    return pa.DictionaryArray.from_arrays(
        pa.array(np.repeat(coded.indices.to_numpy(), counts), pa.int32()), coded.dictionary
    )


def _runs_table(runs: list[Runs]) -> pa.Table:
    import pyarrow as pa

    counts = [run.starts.size for run in runs]
    columns: dict[str, Any] = {name: _words([getattr(run, name) for run in runs], counts) for name in _WORDS}
    for name in ("hdu", "frame", "group", "bits"):
        columns[name] = np.repeat(np.array([getattr(run, name) for run in runs], np.int64), counts)
    columns["start"] = np.concatenate([run.starts for run in runs], dtype=np.int64)
    columns["length"] = np.concatenate([run.lengths for run in runs], dtype=np.int64)
    return pa.table(columns)


def _event_table(events: Events) -> pa.Table:
    import pyarrow as pa

    count = [next(iter(events.columns.values())).size]
    words = ("event", events.effect, events.label, events.plane)
    columns: dict[str, Any] = {name: _words([word], count) for name, word in zip(_WORDS, words, strict=True)}
    columns["hdu"] = np.full(count, events.hdu, np.int64)
    columns["frame"] = np.full(count, events.frame, np.int64)
    return pa.table({**columns, **events.columns})


def side_table(content: bytes) -> pa.Table:
    """Return the table of a side file."""
    import pyarrow.parquet as pq

    return pq.read_table(io.BytesIO(content))
