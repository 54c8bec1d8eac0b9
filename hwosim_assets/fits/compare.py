"""What differs between two FITS files: cards with both values, pixels and columns as statistics.

Holds: :func:`compare_files`. Keep out which files are compared and where the answer goes (``catalog.changes``).

astropy's ``FITSDiff`` holds whole arrays and a list of every differing pixel, and its ``HeaderDiff`` stops at the
first card that cannot be parsed; so cards come from ``fits.cards``, and pixels in pieces through astropy's
sections and slices. HDUs are paired by EXTNAME and EXTVER, since a new pipeline may write one more of them.
"""

from __future__ import annotations

import math
import tempfile
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hwosim_assets.fits.blocks import Scan, byte_stream, scan
from hwosim_assets.fits.cards import cards_of_scan
from hwosim_assets.fits.hdus import hdu_facts
from hwosim_assets.fits.opening import astropy_errors, open_fits

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from hwosim_assets.fits.cards import HeaderCard

__all__ = ["MOST_CARDS", "compare_files"]

#: Elements of an image, and bytes of table rows, compared at once.
PIECE = 2**20
#: Differing cards of one file that are listed; the others are counted.
MOST_CARDS = 2000
#: Planes of one file that are listed, those that changed most first.
MOST_PLANES = 500
_LONGEST_VALUE = 500
#: These follow from everything else.
_SUMS = frozenset({"CHECKSUM", "DATASUM"})


def compare_files(before: Path, after: Path, name: str) -> dict[str, Any]:
    """Return what differs between two versions of a file.

    Memory does not grow with the size of the files; gzip files are unpacked into temporary files.

    Parameters
    ----------
    before, after : pathlib.Path
        The versions.
    name : str
        What to call them in errors.

    Returns
    -------
    dict
        For JSON. ``hdus_added``, ``hdus_removed``: lists of ``EXTNAME,EXTVER``. ``cards``: a list of
        ``hdu``, ``keyword``, ``change`` (``added``, ``removed``, ``changed``), ``before``, ``after`` and, where
        these differ, ``comment_before`` and ``comment_after``; ``cards_left_out``: how many more.
        ``planes``: a list of ``plane`` (``SCI,1``, ``EXTRACT1D,1/FLUX``), ``elements``, ``changed``,
        ``share`` (changed / elements), ``min``, ``max``, ``rms`` (of after minus before, over elements finite in
        both, ``None`` without any or where values are no numbers), ``became_nan``, ``were_nan``; only planes
        that changed. ``planes_same``, ``planes_left_out``: how many did not, how many more did.
        ``not_compared``: a list of ``plane`` and ``reason``.

    Raises
    ------
    UnreadableFitsError
        When either is not a whole FITS file.
    """
    with ExitStack() as stack:
        sides = [_Side(stack.enter_context(_plain(path, name)), name) for path in (before, after)]
        first, second = sides
        shared = [label for label in first.labels if label in second.places]
        cards = list(_cards(first, second))
        planes: list[dict[str, Any]] = []
        refused: list[dict[str, str]] = []
        for side in sides:
            # pages of a mapped file count as memory of the process: images are read piece by piece instead
            side.images = stack.enter_context(open_fits(side.path, name, memmap=False))
            side.tables = stack.enter_context(open_fits(side.path, name, memmap=True))
        same = 0
        for label in shared:
            for plane, found in _planes(first, second, label):
                if isinstance(found, str):
                    refused.append({"plane": plane, "reason": found})
                elif found.changed:
                    planes.append(found.said(plane))
                else:
                    same += 1
    planes.sort(key=lambda plane: -plane["share"])
    return {
        "hdus_added": [label for label in second.labels if label not in first.places],
        "hdus_removed": [label for label in first.labels if label not in second.places],
        "cards": cards[:MOST_CARDS],
        "cards_left_out": max(0, len(cards) - MOST_CARDS),
        "planes": planes[:MOST_PLANES],
        "planes_same": same,
        "planes_left_out": max(0, len(planes) - MOST_PLANES),
        "not_compared": refused[:MOST_PLANES],
    }


class _Side:
    """One of the two files: its HDUs by label."""

    def __init__(self, opened: tuple[Path, Scan], name: str) -> None:
        self.path, self.scan = opened
        self.name = name
        self.facts = [hdu_facts(block) for block in self.scan.blocks]
        seen: Counter[str] = Counter()
        self.labels = []
        for fact in self.facts:
            label = f"{fact.extname or 'HDU'},{fact.extver}"
            seen[label] += 1
            self.labels.append(label if seen[label] == 1 else f"{label}#{seen[label]}")
        self.places = {label: place for place, label in enumerate(self.labels)}
        self.images: Any = None
        self.tables: Any = None


@contextmanager
def _plain(path: Path, name: str) -> Iterator[tuple[Path, Scan]]:
    """Give a file without gzip, and its skeleton."""
    found = scan(path, name)
    if not found.compressed:
        yield path, found
        return
    with tempfile.NamedTemporaryFile(prefix="hwosim-", suffix=".fits") as file:
        left = found.end
        with byte_stream(path, name) as (stream, _, _):
            while left and (piece := stream.read(min(left, PIECE))):
                file.write(piece)
                left -= len(piece)
        file.write(b"\0" * left)  # the last padding, which some files lack
        file.flush()
        yield Path(file.name), found


# ---------------------------------------------------------------------- cards


def _cards(first: _Side, second: _Side) -> Iterator[dict[str, Any]]:
    """Yield the cards that differ, HDU by HDU."""
    mine, theirs = _by_label(first), _by_label(second)
    for label in first.labels:
        if label not in theirs:
            continue
        keywords = dict.fromkeys([*mine[label], *theirs[label]])
        for keyword in keywords:
            for change in _card_changes(mine[label].get(keyword, []), theirs[label].get(keyword, [])):
                yield {"hdu": label, "keyword": keyword or "(blank)", **change}


def _by_label(side: _Side) -> dict[str, dict[str, list[HeaderCard]]]:
    """Return the cards of each HDU by keyword; of a tile-compressed image those that it has when unpacked."""
    found: dict[str, dict[str, list[HeaderCard]]] = {label: defaultdict(list) for label in side.labels}
    cards = [card for card in cards_of_scan(side.scan) if card.keyword not in _SUMS]
    unpacked = {card.hdu for card in cards if card.form == "image"}
    for card in cards:
        if card.form == "image" or card.hdu not in unpacked:
            found[side.labels[card.hdu]][card.keyword].append(card)
    return found


def _card_changes(mine: list[HeaderCard], theirs: list[HeaderCard]) -> Iterator[dict[str, Any]]:
    """Yield what became of the cards of one keyword; of a repeated one, which are gone and which are new."""
    if len(mine) == len(theirs) == 1:
        before, after = mine[0], theirs[0]
        if _said(before) != _said(after):
            change = {"change": "changed", "before": _shown(before), "after": _shown(after)}
            if before.comment != after.comment:
                change |= {"comment_before": before.comment, "comment_after": after.comment}
            yield change
        return
    gone, new = Counter(map(_said, mine)), Counter(map(_said, theirs))
    for card in _left(mine, gone - new):
        yield {"change": "removed", "before": _shown(card), "after": None}
    for card in _left(theirs, new - gone):
        yield {"change": "added", "before": None, "after": _shown(card)}


def _said(card: HeaderCard) -> tuple[Any, ...]:
    """Return what a card says, whatever its layout; of a damaged one its image. 1, 1.0 and T are not the same."""
    return (card.raw,) if card.damaged else (type(card.value), card.value, card.comment)


def _left(cards: list[HeaderCard], wanted: Counter[tuple[Any, ...]]) -> Iterator[HeaderCard]:
    for card in cards:
        if wanted[_said(card)] > 0:
            wanted[_said(card)] -= 1
            yield card


def _shown(card: HeaderCard) -> Any:
    value = card.raw.decode("latin-1").rstrip() if card.damaged else card.value
    return value[:_LONGEST_VALUE] if isinstance(value, str) else value


# --------------------------------------------------------------------- pixels


@dataclass
class _Differences:
    """Statistics of an array against another of its shape, gathered piece by piece."""

    elements: int = 0
    changed: int = 0
    became_nan: int = 0
    were_nan: int = 0
    compared: int = 0
    squares: float = 0.0
    least: float = field(default=math.inf)
    greatest: float = field(default=-math.inf)

    def add(self, before: NDArray[Any], after: NDArray[Any]) -> None:
        """Take in two pieces of one shape."""
        self.elements += before.size
        differ = np.asarray(before != after)
        if not (_is_real(before) and _is_real(after)):
            self.changed += int(np.count_nonzero(differ))
            return
        were, are = np.isnan(before), np.isnan(after)
        self.changed += int(np.count_nonzero(differ & ~(were & are)))
        self.were_nan += int(np.count_nonzero(were & ~are))
        self.became_nan += int(np.count_nonzero(are & ~were))
        finite = np.isfinite(before) & np.isfinite(after)
        self.compared += int(np.count_nonzero(finite))
        if finite.any():
            with np.errstate(over="ignore"):
                change = after[finite].astype(np.float64) - before[finite].astype(np.float64)
                self.squares += float(np.square(change).sum())
            self.least = min(self.least, float(change.min()))
            self.greatest = max(self.greatest, float(change.max()))

    def said(self, plane: str) -> dict[str, Any]:
        """Return the statistics for JSON, which has no word for infinity."""
        rms = math.sqrt(self.squares / self.compared) if self.compared else math.inf
        numbers = {"min": self.least, "max": self.greatest, "rms": rms}
        return {
            "plane": plane,
            "elements": self.elements,
            "changed": self.changed,
            "share": self.changed / self.elements,
            **{name: value if math.isfinite(value) else None for name, value in numbers.items()},
            "became_nan": self.became_nan,
            "were_nan": self.were_nan,
        }


def _is_real(array: NDArray[Any]) -> bool:
    return array.dtype.kind in "biuf"


def _planes(first: _Side, second: _Side, label: str) -> Iterator[tuple[str, _Differences | str]]:
    """Yield the arrays of an HDU with their differences, or the reason why they cannot be compared."""
    mine, theirs = first.places[label], second.places[label]
    before, after = first.facts[mine], second.facts[theirs]
    if before.kind == after.kind == "empty":
        return
    if before.kind != after.kind:
        yield label, f"{before.kind} became {after.kind}"
    elif before.shape != after.shape:
        what = "rows" if before.kind == "table" else "pixels"
        yield label, f"{_size(before.shape)} {what} became {_size(after.shape)}"
    else:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                if before.kind == "image":
                    yield from _image(first.images[mine], second.images[theirs], label)
                else:
                    yield from _table(first.tables[mine], second.tables[theirs], label)
        except astropy_errors() as error:
            yield label, f"cannot be read ({' '.join(str(error).split())[:200] or type(error).__name__})"


def _size(shape: tuple[int, ...]) -> str:
    return " x ".join(str(length) for length in shape)


def _image(before: Any, after: Any, label: str) -> Iterator[tuple[str, _Differences]]:
    found = _Differences()
    for index in _pieces(before.shape):
        found.add(np.asarray(before.section[index]), np.asarray(after.section[index]))
    yield label, found


def _pieces(shape: tuple[int, ...]) -> Iterator[tuple[int | slice, ...]]:
    """Yield indices that cut an array into pieces of :data:`PIECE` elements at most."""
    axis = 0
    while axis < len(shape) - 1 and math.prod(shape[axis + 1 :]) > PIECE:
        axis += 1
    step = max(1, PIECE // math.prod(shape[axis + 1 :]))
    for lead in np.ndindex(*shape[:axis]):
        for start in range(0, shape[axis], step):
            yield (*lead, slice(start, min(start + step, shape[axis])))


def _table(before: Any, after: Any, label: str) -> Iterator[tuple[str, _Differences | str]]:
    if not hasattr(before, "columns") or not hasattr(after, "columns"):
        yield label, "is no table that can be compared column by column"
        return
    shared = [name for name in before.columns.names if name in after.columns.names]
    found = {name: _Differences() for name in shared}
    refused: dict[str, str] = {}
    rows = len(before.data)
    step = max(1, PIECE // max(1, before.header["NAXIS1"]))
    for start in range(0, rows, step):
        mine, theirs = before.data[start : start + step], after.data[start : start + step]
        for name in shared:
            one, other = np.asarray(mine.field(name)), np.asarray(theirs.field(name))
            if one.dtype.kind == "O" or other.dtype.kind == "O":  # variable length: one element a row
                one, other = _rows_alike(one, other)
            if one.shape != other.shape:
                refused[name] = f"cells of {_size(one.shape[1:]) or 1} became {_size(other.shape[1:]) or 1}"
            else:
                found[name].add(one, other)
    for name in shared:
        yield f"{label}/{name}", refused.get(name, found[name])


def _rows_alike(one: NDArray[Any], other: NDArray[Any]) -> tuple[NDArray[np.str_], NDArray[np.str_]]:
    """Return two arrays of words that differ in the rows that differ; words, since no number is meant."""
    same = [np.array_equal(mine, theirs) for mine, theirs in zip(one, other, strict=True)]
    return np.full(len(same), "same"), np.where(same, "same", "other")
