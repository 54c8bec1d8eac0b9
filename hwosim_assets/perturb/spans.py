"""Places of a frame as runs of consecutive ones, which dense places are kept as.

Holds: :class:`Spans`. Keep out whose places they are (``perturb.block``) and how a truth tells of them
(``perturb.side``).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Spans", "condensed"]

#: Places of one block that are kept one by one, in 8 bytes each: turning a few into runs costs its calls.
_FEW = 16384


class Spans(NamedTuple):
    """Runs of consecutive places, ascending and apart from each other.

    Attributes
    ----------
    starts, stops : int32 array, int64 where that is not enough
        Which place each begins at, and which it ends before.
    """

    starts: NDArray[Any]
    stops: NDArray[Any]

    @classmethod
    def of(cls, places: NDArray[np.int64] | range) -> Self:
        """Return places, of which there are some, as runs."""
        if isinstance(places, range):
            return cls(np.array([places.start]), np.array([places.stop]))
        if (np.diff(places) <= 0).any():  # mostly they ascend already, and looking costs a hundredth of sorting
            places = np.unique(places)
        kind = np.int32 if places[-1] < np.iinfo(np.int32).max else np.int64
        apart = np.flatnonzero(np.diff(places) != 1)
        ends = np.concatenate([places[apart], places[-1:]])
        return cls(np.concatenate([places[:1], places[apart + 1]]).astype(kind), (ends + 1).astype(kind))

    @classmethod
    def union(cls, parts: Sequence[Spans]) -> Self:
        """Return the places of all parts, each once."""
        starts, stops = (np.concatenate(column) for column in zip(*parts, strict=True))
        if (starts[1:] < starts[:-1]).any():
            order = np.argsort(starts, kind="stable")
            starts, stops = starts[order], stops[order]
        stops = np.maximum.accumulate(stops)
        apart = starts[1:] > stops[:-1]
        if apart.all():
            return cls(starts, stops)
        return cls(starts[np.concatenate([[True], apart])], stops[np.concatenate([apart, [True]])])


def condensed(places: NDArray[np.int64]) -> NDArray[np.int64] | Spans:
    """Return many places as runs, which take less memory where they are dense and never more, and few as they are."""
    return Spans.of(places) if places.size > _FEW else places
