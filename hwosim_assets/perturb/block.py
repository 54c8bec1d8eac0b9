"""The pixels that are worked on at once, with their uncertainties and flags kept together.

Holds: :class:`Block`, a run of consecutive pixels of one frame (all groups of a ramp) that effects
change in place by JWST's error rules. Keep out how it comes from a file and goes back
(``perturb.transfer``), and which effects there are in which order (``perturb.run``).

A block keeps two accounts of the variance: the true one, which every effect changes and later
effects build on, and the stated one, which ERR and VAR planes will say, and which an effect whose
``err`` is ``stale`` leaves alone. They are one while no effect is stale. What an effect does to the
one it does to the other: planes change by a share of how the variance that they state would, and none
falls below 0 by it.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from hwosim_assets.fits.dq import DQ
from hwosim_assets.perturb.rng import CHUNK, threshold

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from hwosim_assets.perturb.budget import Budget
    from hwosim_assets.perturb.measurements import Measurement
    from hwosim_assets.perturb.rng import Stream
    from hwosim_assets.perturb.spans import Spans

__all__ = ["CLAIMS", "Block", "Event", "Mark"]

#: Which plane claims which part of the variance.
CLAIMS = {"poisson": "VAR_POISSON", "read": "VAR_RNOISE"}
_LOST = int(DQ.DROPOUT | DQ.DO_NOT_USE)


#: Positions of blocks up to this size are kept: of chunks and bands, 8 MB each, and not of whole frames.
_KEPT_POSITIONS = 1 << 20


def _positions(size: int) -> NDArray[np.intp]:
    """Return the positions in a block."""
    return _kept_positions(size) if size <= _KEPT_POSITIONS else np.arange(size)


@lru_cache(maxsize=4)
def _kept_positions(size: int) -> NDArray[np.intp]:
    """Return the positions in a block, made once for all that are of this size."""
    positions = np.arange(size)
    positions.flags.writeable = False
    return positions


def _parts(planes: list[NDArray[Any]], index: NDArray[np.intp] | None) -> list[NDArray[Any]]:
    """Return planes whole, or for single pixels row by row: numpy finds places of one axis in a third of the time."""
    return planes if index is None else [row for plane in planes for row in plane]


def _stated(before: Any, after: Any, honest: float) -> Any:
    """Return what is said of a variance that was stated, and should be another: by a share of the change.

    A share above 1 exaggerates. Of a variance that shrinks it exaggerates by how much the variance would have to grow
    to be again what it was, for more than all of it cannot go: ``before / said - 1`` is the share of
    ``before / after - 1``.
    """
    change = (after - before) * honest
    if honest <= 1.0:
        return before + change
    shrinks = after < before
    shrunk = before * (after / np.where(shrinks, after - change, 1.0))
    said = np.where(shrinks, shrunk, before + change)
    return said if said.ndim else float(said)


class Mark(NamedTuple):
    """Pixels that one use of an effect lost or flagged.

    Attributes
    ----------
    effect, label : str
        Which use of which effect.
    kind : {"lost", "flagged", "unflagged"}
        Made invalid; flagged; or what flags should say and do not.
    bits : int
        Flags that say so.
    group : int
        Group of a ramp, else 0.
    places : int64 array, range or Spans
        Flat positions in the frame; a range where they are all of a run of pixels, and runs, once a block is done,
        where they are many.
    """

    effect: str
    label: str
    kind: str
    bits: int
    group: int
    places: NDArray[np.int64] | range | Spans


class Event(NamedTuple):
    """Things that happened in one frame, as columns of one length: numbers, one for each thing.

    Attributes
    ----------
    effect, label : str
        Which use of which effect.
    columns : dict
        What is told of each thing; where each band tells of its own, ``pixel`` is the flat place in the frame.
    order : int64 array or None
        Where each band tells of its own, which place each thing has among those of the frame.
    """

    effect: str
    label: str
    columns: dict[str, NDArray[Any]]
    order: NDArray[np.int64] | None = None

    def within(self, kept: slice) -> Event:
        """Return what is told of the pixels that are stored; of its margins a band tells with their own band."""
        if self.order is None:
            return self
        pixel = self.columns["pixel"]
        inside = (pixel >= kept.start) & (pixel < kept.stop)
        columns = {name: column[inside] for name, column in self.columns.items()}
        return self._replace(columns=columns, order=self.order[inside])


@dataclass
class Block:
    """A run of pixels of one frame.

    All arrays have the shape (groups, pixels); groups is 1 except for ramps. Effects change them in
    place only.

    Attributes
    ----------
    measurement : Measurement
        What is measured.
    budget : Budget
        Its noise budget.
    frame, start : int
        Frame (integration, wavelength) and flat position of the first pixel in it.
    sci : floating array
        Science values; integers are worked on as float32, those of more than 16 bits as float64, and all as float64
        where the budget is ``double``.
    err : floating array or None
        ERR as loaded.
    true : dict
        ``poisson`` and ``read`` variance as they really are, without invalid numbers.
    stated : dict
        The same as ERR states them; the arrays of ``true`` while no effect is stale.
    claimed : dict
        VAR planes as they will be stored.
    claimed_change : floating array or None
        Change of the total variance that ERR must claim where it is not the sum of VAR planes: in the
        whole product, or in pixels of this block.
    dq : integer array or None
        Flags.
    zeroed, blanked : list of arrays
        Weights, and further floating planes.
    inert : bool array or None
        Pixels that hold no data and stay as they are.
    dirty : set of str
        What effects changed besides SCI, shared with the chunks: ``variance``, ``flags``, ``invalid``.
    marks, events : list of Mark, list of Event
        What the truth is told, shared with the chunks.
    lots : dict of (str, str) to Stream
        For the uses of effects that flag only a share of their pixels, what decides which.
    elsewhere : callable or None
        Of a band of a frame, what :meth:`rows` asks for others.
    """

    measurement: Measurement
    budget: Budget
    frame: int
    start: int
    sci: NDArray[Any]
    err: NDArray[Any] | None
    true: dict[str, NDArray[Any]]
    stated: dict[str, NDArray[Any]]
    claimed: dict[str, NDArray[Any]]
    claimed_change: NDArray[Any] | None
    dq: NDArray[Any] | None
    zeroed: list[NDArray[Any]]
    blanked: list[NDArray[Any]]
    inert: NDArray[np.bool_] | None
    dirty: set[str] = field(default_factory=set)
    marks: list[Mark] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    lots: Mapping[tuple[str, str], Stream] = field(default_factory=dict)
    elsewhere: Callable[[slice], Block] | None = None

    @property
    def groups(self) -> int:
        """Number of groups (1 except for ramps)."""
        return int(self.sci.shape[0])

    @property
    def size(self) -> int:
        """Number of pixels."""
        return int(self.sci.shape[1])

    @property
    def integer(self) -> bool:
        """Whether science values are stored as integers, which know no NaN."""
        return not self.measurement.sci.dtype.startswith("float")

    def plane(self, group: int) -> int:
        """Return the address of a group of this frame for random streams."""
        return self.frame * self.groups + group

    def add_variance(
        self, kind: str, amount: NDArray[Any] | float, honest: float, index: NDArray[np.intp] | None = None
    ) -> None:
        """Add to the ``poisson`` or ``read`` variance, and to what the planes claim.

        Parameters
        ----------
        kind : {"poisson", "read"}
            Which.
        amount : float or array
            What is added, in squared science units, not negative: :meth:`change_variance` makes it less.
        honest : float
            Share of it that ERR and VAR say: ``task.err_honest``.
        index : int array, optional
            Only at these positions in the block, each once; ``amount`` is of their number.
        """
        where = ... if index is None else index
        if honest:
            self.dirty.add("variance")
            said = amount * honest if honest != 1.0 else amount
            claims = self._apart(kind) if self.claimed_change is None else [self.claimed_change, *self._apart(kind)]
            for part in _parts(claims, index):
                part[where] += said
        for part in _parts([self.true[kind]], index):
            part[where] += amount

    def change_variance(self, kind: str, changes: list[NDArray[Any]], honest: float) -> None:
        """Change the ``poisson`` or ``read`` variance by what depends on it, such as a move or a blur.

        Parameters
        ----------
        kind : {"poisson", "read"}
            Which.
        changes : list of floating arrays, (groups, pixels)
            What comes to each of :meth:`variances`; less than 0 where it shrinks, and no more than there is.
        honest : float
            Share of it that ERR and VAR say: ``task.err_honest``.
        """
        change, *stated = changes
        self.add_variance(kind, change, 0.0 if stated else honest)
        for said in stated:
            self._say(kind, said, honest)

    def variances(self, kind: str, honest: float) -> list[NDArray[Any]]:
        """Return the true variance, and the stated one where it is another and a change of it is told."""
        return [self.true[kind], *([self.stated[kind]] if self._states_apart(honest) else [])]

    def as_stated(self, kind: str, honest: float) -> Block | None:
        """Return a copy that has the stated variance of a kind for the true one and states nothing; see :meth:`state`.

        For what moves or spreads variance with the signal. ``None`` where nothing is said, or both are one.
        """
        if not self._states_apart(honest):
            return None
        variance = {**self.true, kind: self.stated[kind].copy()}
        return replace(
            self, sci=self.sci.copy(), true=variance, stated=variance, claimed={}, claimed_change=None, dirty=set()
        )

    def _states_apart(self, honest: float) -> bool:
        """Whether a change is told, and of another variance than the true one."""
        return bool(honest) and self.stated is not self.true and (bool(self.claimed) or self.err is not None)

    def state(self, kind: str, became: Block, honest: float) -> None:
        """State a share of what became of the stated variance in the copy that has it for the true one."""
        self._say(kind, became.true[kind] - self.stated[kind], honest)

    def _say(self, kind: str, change: NDArray[Any], honest: float) -> None:
        """Add a share of a change of the stated variance to what states or claims it."""
        before = self.stated[kind]
        said = change if honest == 1.0 else _stated(before, before + change, honest) - before
        self.dirty.add("variance")
        for plane in self._apart(kind) if self.claimed_change is None else [self.claimed_change, *self._apart(kind)]:
            plane += said

    def scale_variance(
        self, kind: str, factor: NDArray[Any] | float, honest: float, index: NDArray[np.intp] | None = None
    ) -> None:
        """Multiply the ``poisson`` or ``read`` variance, and what the planes claim; see :meth:`add_variance`."""
        where = ... if index is None else index
        if honest:
            self.dirty.add("variance")
            said = _stated(1.0, factor, honest) if honest != 1.0 else factor
            if self.claimed_change is not None:
                both = (_parts([plane], index) for plane in (self.claimed_change, self.stated[kind]))
                for change, stated in zip(*both, strict=True):
                    change[where] += stated[where] * (said - 1.0)
            for part in _parts(self._apart(kind), index):
                part[where] *= said
        for part in _parts([self.true[kind]], index):
            part[where] *= factor

    def _apart(self, kind: str) -> list[NDArray[Any]]:
        """Return the planes that state or claim a variance and are not those of the true one."""
        planes = (self.claimed.get(CLAIMS[kind]), self.stated[kind])
        return [plane for plane in planes if plane is not None and plane is not self.true[kind]]

    def accounts(self, kind: str, honest: float) -> tuple[NDArray[Any], ...]:
        """Return the rows of pixels that keep a variance, the true one first, for a loop that changes all alike.

        Parameters
        ----------
        kind : {"poisson", "read"}
            Which variance.
        honest : float
            Share of the change that ERR and VAR say: ``task.err_honest``.

        Returns
        -------
        tuple of floating arrays, (pixels,)
            Empty where they do not change alike: :meth:`add_variance` and :meth:`scale_variance` do it then. Otherwise
            the caller changes all of them.
        """
        if self.groups > 1 or honest not in (0.0, 1.0) or (honest and self.claimed_change is not None):
            return ()
        planes = [self.true[kind]]
        if honest:
            self.dirty.add("variance")
            said = [self.claimed.get(CLAIMS[kind]), self.stated[kind]]
            planes += [plane for plane in said if plane is not None and plane is not self.true[kind]]
        return tuple(plane[0] for plane in planes)

    def flat_accounts(self, honest: float) -> tuple[NDArray[Any], ...]:
        """Return the row that keeps VAR_FLAT, where there is one and it changes; see :meth:`accounts`."""
        plane = self.claimed.get("VAR_FLAT")
        return (plane[0],) if honest and plane is not None else ()

    def scale_flat_variance(self, factor: NDArray[Any] | float, honest: float) -> None:
        """Multiply VAR_FLAT, where there is one and it may say so."""
        plane = self.claimed.get("VAR_FLAT")
        if honest and plane is not None:
            said = _stated(1.0, factor, honest) if honest != 1.0 else factor
            if self.claimed_change is not None:
                self.claimed_change += np.where(np.isfinite(plane), plane, plane.dtype.type(0)) * (said - 1.0)
            plane *= said
            self.dirty.add("variance")

    def flag(
        self,
        effect: tuple[str, str],
        group: int,
        index: NDArray[Any] | slice,
        bits: int,
        honest: float,
    ) -> None:
        """Set flags of pixels, which stay valid.

        Parameters
        ----------
        effect : tuple of str
            Effect and label: ``self.use``.
        group : int
            Group of a ramp, else 0.
        index : int array, bool array or slice
            Positions in the block.
        bits : int
            Of :class:`~hwosim_assets.fits.dq.DQ`; those that a plane of 8 bits cannot hold are recorded only.
        honest : float
            Share of the pixels that are flagged: ``task.dq_honest``. The others are recorded only.
        """
        places = self._chosen(index)
        said, unsaid = self._shared(effect, group, places, honest)
        for kind, part in (("flagged", said), ("unflagged", unsaid)):
            if part.size:
                self.marks.append(Mark(*effect, kind, int(bits), group, self._in_frame(part)))
        if said.size and self.dq is not None:
            self.dirty.add("flags")
            self._set_bits(group, said, bits)

    def lose(
        self,
        effect: tuple[str, str],
        group: int,
        index: NDArray[Any] | slice,
        honest: float,
        bits: int = _LOST,
    ) -> None:
        """Make pixels invalid.

        Flagged, they are NaN in SCI, ERR, VAR and the background of a spectrum, 0 in weights, and have the
        bits set in DQ. Silent, only SCI is NaN. Integers become 0.

        Parameters
        ----------
        effect : tuple of str
            Effect and label that lose them: ``self.use``.
        group : int
            Group of a ramp, else 0.
        index : int array, bool array or slice
            Positions in the block.
        honest : float
            Share of the pixels of which flags and uncertainties say so: ``task.dq_honest``.
        bits : int
            By default, that they never arrived: DROPOUT and DO_NOT_USE.
        """
        places = self._chosen(index)
        if not places.size:
            return
        self.marks.append(Mark(*effect, "lost", int(bits), group, self._in_frame(places)))
        self.sci[group][places] = 0 if self.integer else np.nan
        said, _ = self._shared(effect, group, places, honest)
        if not said.size:
            return
        self.dirty.add("invalid")
        floating = [] if self.integer else [self.err, *self.claimed.values(), *self.blanked]
        for plane in floating:
            if plane is not None and plane.dtype.kind == "f":
                plane[group][said] = np.nan
        for plane in self.zeroed:
            plane[group][said] = 0
        self._set_bits(group, said, bits)

    def record(
        self, effect: tuple[str, str], *, order: NDArray[np.int64] | None = None, **columns: NDArray[Any]
    ) -> None:
        """Tell the truth what happened in this frame, as numeric columns of one length, one row for each thing.

        What belongs to the frame is told in the block that starts at pixel 0. What only a band can know of its pixels
        is told in each, with the place that each thing has among the frame's, and ``pixel`` in the frame as a column.
        """
        if len({column.size for column in columns.values()}) != 1:
            raise ValueError("columns of events are of one length")
        if order is not None or next(iter(columns.values())).size:
            self.events.append(Event(*effect, columns, order))

    def rows(self, rows: slice) -> Block:
        """Return any rows of the frame as effects before the present one left them, to be read: for ``on_frame`` alone.

        Of a band they are loaded and worked on once more, also those that it has: at its ends these lack neighbours.
        """
        if self.elsewhere is not None:
            return self.elsewhere(rows)
        columns = self.measurement.frame[-1]
        return self.part(slice(rows.start * columns, rows.stop * columns))

    def here(self, places: NDArray[np.int64]) -> slice:
        """Return which of ascending flat places of the frame lie in this block."""
        low, high = places.searchsorted(self._edges).tolist()
        return slice(low, high)

    @cached_property
    def _edges(self) -> NDArray[np.int64]:
        """Flat places of the frame where this block begins and ends."""
        return np.array([self.start, self.start + self.size])

    def _chosen(self, index: NDArray[Any] | slice) -> NDArray[np.intp]:
        """Return the positions among ``index`` that hold data."""
        if isinstance(index, slice):
            every = _positions(self.size)
            index = every if index == slice(None) else every[index]
        elif index.dtype == bool:
            index = np.flatnonzero(index)
        return index if self.inert is None else index[~self.inert[index]]

    def _shared(
        self, effect: tuple[str, str], group: int, places: NDArray[np.intp], honest: float
    ) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Return (positions that are flagged, the others); each pixel's lot is its own."""
        nothing = places[:0]
        if honest in (0.0, 1.0):
            return (places, nothing) if honest else (nothing, places)
        words = self.lots[effect].bits(self.plane(group), self.start, self.size)[places]
        drawn = words < np.uint64(threshold(honest))
        return places[drawn], places[~drawn]

    def _set_bits(self, group: int, places: NDArray[np.intp], bits: int) -> None:
        if self.dq is not None:
            held = int(bits) & ((1 << 8 * self.dq.dtype.itemsize) - 1)
            row = self.dq[group]
            row[... if self._everywhere(places) else places] |= np.asarray(held).astype(row.dtype)

    def _in_frame(self, places: NDArray[np.intp]) -> NDArray[np.int64] | range:
        """Return positions in the block as positions in the frame."""
        if self._everywhere(places):
            return range(self.start, self.start + self.size)
        return np.add(places, self.start, dtype=np.int64)

    def _everywhere(self, places: NDArray[np.intp]) -> bool:
        """Return whether these are all pixels in order, which are named and kept at a fraction of the cost."""
        if places.size != self.size:
            return False
        every = _positions(self.size)
        return places is every or np.array_equal(places, every)

    def chunks(self) -> Iterator[Block]:
        """Yield the chunks of this block as blocks whose arrays are views of this one's."""
        for start, stop in itertools.pairwise([0, *self._cuts(), self.size]):
            yield self.part(slice(start, stop))

    def _cuts(self) -> Iterator[int]:
        """Yield where chunks of this block part: where those of the frame do, unless little were cut off.

        A small chunk costs as many calls as a large one.
        """
        for cut in range(-self.start % CHUNK, self.size, CHUNK):
            if cut >= CHUNK // 2 and self.size - cut >= CHUNK // 2:
                yield cut

    def part(self, part: slice) -> Block:
        """Return a run of the pixels as a block whose arrays are views of this one's."""

        def cut(plane: NDArray[Any] | None) -> Any:
            return None if plane is None else plane[:, part]

        true = {kind: cut(plane) for kind, plane in self.true.items()}
        shared = {CLAIMS[kind]: true[kind] for kind in CLAIMS if self.claimed.get(CLAIMS[kind]) is self.true[kind]}
        return Block(
            self.measurement,
            self.budget,
            self.frame,
            self.start + int(part.start),
            cut(self.sci),
            cut(self.err),
            true,
            true if self.stated is self.true else {kind: cut(plane) for kind, plane in self.stated.items()},
            {name: shared.get(name, cut(plane)) for name, plane in self.claimed.items()},
            cut(self.claimed_change),
            cut(self.dq),
            [cut(plane) for plane in self.zeroed],
            [cut(plane) for plane in self.blanked],
            None if self.inert is None else self.inert[part],
            self.dirty,
            self.marks,
            self.events,
            self.lots,
        )
