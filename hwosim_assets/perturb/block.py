"""The pixels that are worked on at once, with their uncertainties and flags kept together.

Holds: :class:`Block`, a run of consecutive pixels of one frame (all groups of a ramp), loaded from
a file, changed in place by effects and stored again, by JWST's error rules. Keep out which effects
there are and in which order they come (``perturb.run``).

A block keeps two accounts of the variance: the true one, which every effect changes and later
effects build on, and the stated one, which ERR and VAR planes will say, and which an effect whose
``err`` is ``stale`` leaves alone. They are one while no effect is stale.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from hwosim_assets.fits.dq import DQ
from hwosim_assets.perturb.rng import CHUNK

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from hwosim_assets.perturb.budget import Budget
    from hwosim_assets.perturb.measurements import Measurement
    from hwosim_assets.perturb.planes import Plane

__all__ = ["Block", "load", "store"]

#: Which plane claims which part of the variance.
CLAIMS = {"poisson": "VAR_POISSON", "read": "VAR_RNOISE"}
_LOST = int(DQ.DROPOUT | DQ.DO_NOT_USE)


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
        Science values; integers are worked on as float32.
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
    lost : dict
        For each use of an effect, list of (group, flat pixel positions in the frame) that it lost.
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
    lost: dict[tuple[str, str], list[tuple[int, NDArray[np.int64]]]] = field(default_factory=dict)

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

    def add_variance(self, kind: str, amount: NDArray[Any] | float, honest: bool) -> None:
        """Add to the ``poisson`` or ``read`` variance, and to what the planes claim when honest."""
        plane = self.claimed.get(CLAIMS[kind])
        if honest:
            self._claim(amount)
            if plane is not None and plane is not self.true[kind]:
                plane += amount
            if self.stated is not self.true:
                self.stated[kind] += amount
        self.true[kind] += amount

    def scale_variance(self, kind: str, factor: float, honest: bool) -> None:
        """Multiply the ``poisson`` or ``read`` variance, and what the planes claim when honest."""
        plane = self.claimed.get(CLAIMS[kind])
        if honest:
            self._claim(self.stated[kind] * (factor - 1.0))
            if plane is not None and plane is not self.true[kind]:
                plane *= factor
            if self.stated is not self.true:
                self.stated[kind] *= factor
        self.true[kind] *= factor

    def scale_flat_variance(self, factor: float, honest: bool) -> None:
        """Multiply VAR_FLAT, where there is one and it may say so."""
        plane = self.claimed.get("VAR_FLAT")
        if honest and plane is not None:
            if self.claimed_change is not None:
                self.claimed_change += np.nan_to_num(plane) * (factor - 1.0)
            plane *= factor
            self.dirty.add("variance")

    def _claim(self, amount: NDArray[Any] | float) -> None:
        self.dirty.add("variance")
        if self.claimed_change is not None:
            self.claimed_change += amount

    def lose(self, effect: tuple[str, str], group: int, index: NDArray[np.intp], honest: bool) -> None:
        """Mark pixels as never arrived.

        Flagged, they are NaN in SCI, ERR, VAR and the background of a spectrum, 0 in weights, and
        DROPOUT and DO_NOT_USE in DQ. Silent, only SCI is NaN. Integers become 0.

        Parameters
        ----------
        effect : tuple of str
            Effect and label that lose them.
        group : int
            Group of a ramp, else 0.
        index : int array
            Positions in the block.
        honest : bool
            Whether flags and uncertainties say so.
        """
        if self.inert is not None:
            index = index[~self.inert[index]]
        if not index.size:
            return
        self.lost.setdefault(effect, []).append((group, index.astype(np.int64) + self.start))
        self.sci[group, index] = 0 if self.integer else np.nan
        self.dirty.add("lost")
        if not honest:
            return
        self.dirty.add("flags")
        floating = [self.err, *self.claimed.values(), *self.blanked]
        for plane in floating:
            if plane is not None and plane.dtype.kind == "f" and not self.integer:
                plane[group, index] = np.nan
        for plane in self.zeroed:
            plane[group, index] = 0
        if self.dq is not None:
            self.dq[group, index] |= np.asarray(_LOST).astype(self.dq.dtype)

    def chunks(self) -> Iterator[Block]:
        """Yield the chunks of this block as blocks whose arrays are views of this one's."""
        for start in range(0, self.size, CHUNK):
            yield self._part(slice(start, start + CHUNK))

    def _part(self, part: slice) -> Block:
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
            self.lost,
        )


def _view(plane: Plane, content: Any, measurement: Measurement) -> NDArray[Any]:
    """Return the stored elements as (frames, groups, pixels)."""
    return plane.raw(content).reshape(measurement.frames, measurement.groups, measurement.pixels)


def load(content: Any, measurement: Measurement, budget: Budget, frame: int, part: slice, *, apart: bool) -> Block:
    """Load a run of pixels.

    Parameters
    ----------
    content : buffer
        The plain FITS bytes.
    measurement, budget : Measurement, Budget
        What is measured, and its noise.
    frame : int
        Which frame.
    part : slice
        Which of its pixels.
    apart : bool
        Whether true and claimed variance may part (some effect is stale).
    """

    def read(plane: Plane) -> NDArray[Any]:
        return plane.decode(_view(plane, content, measurement)[frame, :, part])

    sci = read(measurement.sci)
    if sci.dtype.kind != "f":
        sci = sci.astype(np.float32 if sci.dtype.itemsize <= 2 else np.float64)
    err = None if measurement.err is None else read(measurement.err).astype(sci.dtype, copy=False)
    claimed = {name: read(plane).astype(sci.dtype, copy=False) for name, plane in measurement.variances.items()}
    dq = None if measurement.dq is None else read(measurement.dq)
    zeroed = [read(plane) for plane in measurement.weights]
    true = _true_variance(sci, err, claimed, budget, apart)
    summed = budget.sums and all(np.isfinite(plane.sum()) for plane in claimed.values())
    return Block(
        measurement=measurement,
        budget=budget,
        frame=frame,
        start=part.start,
        sci=sci,
        err=err,
        true=true,
        stated={kind: plane.copy() for kind, plane in true.items()} if apart else true,
        claimed=claimed,
        claimed_change=None if err is None or summed else np.zeros_like(sci),
        dq=dq,
        zeroed=zeroed,
        blanked=[read(plane) for plane in measurement.blanked],
        inert=_inert(dq, zeroed),
    )


def _inert(dq: NDArray[Any] | None, weights: list[NDArray[Any]]) -> NDArray[np.bool_] | None:
    """Return the pixels that hold no data: weight 0 or NON_SCIENCE; ``None`` when there are none."""
    empty = [weight[0] == 0 for weight in weights]
    if dq is not None and dq.dtype.itemsize > 1 and dq.shape[0] == 1:
        empty.append((dq[0] & np.asarray(int(DQ.NON_SCIENCE)).astype(dq.dtype)) != 0)
    if not empty:
        return None
    together = np.logical_or.reduce(empty)
    return together if together.any() else None


def _true_variance(
    sci: NDArray[Any], err: NDArray[Any] | None, claimed: dict[str, NDArray[Any]], budget: Budget, apart: bool
) -> dict[str, NDArray[Any]]:
    """Return the poisson and read variance: the VAR planes themselves where they are valid numbers, else inferred."""
    read = claimed.get("VAR_RNOISE") if budget.read_method == "VAR_RNOISE" else None
    poisson = claimed.get("VAR_POISSON")
    if read is not None and poisson is not None:
        return {"poisson": _clean(poisson, apart), "read": _clean(read, apart)}
    shot = np.zeros_like(sci)
    if budget.k is not None and budget.read_method != "scatter":
        np.fmax(sci, 0.0, out=shot)
        shot /= budget.k
    if budget.read_sigma is not None:
        return {"poisson": shot, "read": np.full_like(sci, budget.read_sigma * budget.read_sigma)}
    if budget.read_method == "ERR" and err is not None:
        total = _clean(err * err, True)
        shot = np.fmin(shot, total)
        return {"poisson": shot, "read": total - shot}
    rest = np.zeros_like(sci) if read is None else _clean(read, apart)
    return {"poisson": shot if poisson is None else _clean(poisson, apart), "read": rest}


def _clean(variance: NDArray[Any], apart: bool) -> NDArray[Any]:
    """Return a variance without NaN, infinities and negative numbers; the same array when it has none.

    Its sum tells whether there are any; the sum itself is not used.
    """
    if not np.isfinite(variance.sum()) or variance.min(initial=0.0) < 0:
        return np.where(np.isfinite(variance) & (variance > 0), variance, np.zeros((), variance.dtype))
    return variance.copy() if apart else variance


def store(block: Block, content: Any, original: Any) -> None:
    """Write a block back.

    Parameters
    ----------
    block : Block
        With everything that effects did.
    content : writable buffer
        The bytes of the output file.
    original : buffer
        The bytes of the input file, for pixels that hold no data.
    """
    measurement = block.measurement
    if "variance" in block.dirty and block.err is not None:
        _update_err(block)
    part = slice(block.start, block.start + block.size)

    def write(plane: Plane, values: NDArray[Any]) -> None:
        target = _view(plane, content, measurement)[block.frame, :, part]
        stored = plane.encode(_as_stored(values, plane))
        if block.inert is not None:
            stored[:, block.inert] = _view(plane, original, measurement)[block.frame, :, part][:, block.inert]
        target[...] = stored

    write(measurement.sci, block.sci)
    if block.dirty & {"variance", "flags"}:
        if measurement.err is not None and block.err is not None:
            write(measurement.err, block.err)
        for name, plane in measurement.variances.items():
            write(plane, block.claimed[name])
    if "flags" in block.dirty:
        if measurement.dq is not None and block.dq is not None:
            write(measurement.dq, block.dq)
        for plane, values in zip(measurement.weights + measurement.blanked, block.zeroed + block.blanked, strict=True):
            write(plane, values)


def _update_err(block: Block) -> None:
    """Set ERR to the root of the claimed variance; where VAR planes do not tell it, of its own and what came to it."""
    if block.err is None:
        return
    if block.claimed_change is not None:
        square = block.err * block.err
        square += block.claimed_change
        np.maximum(square, 0.0, out=square)
        np.sqrt(square, out=block.err, where=square >= 0)
    if block.budget.sums:
        total = block.claimed["VAR_POISSON"] + block.claimed["VAR_RNOISE"]
        if "VAR_FLAT" in block.claimed:
            total += block.claimed["VAR_FLAT"]
        np.sqrt(total, out=block.err, where=np.isfinite(total) & (total >= 0))


def _as_stored(values: NDArray[Any], plane: Plane) -> NDArray[Any]:
    """Return values in a plane's native type; integers are rounded and clipped."""
    native = np.dtype(plane.dtype)
    if native.kind == "f" or values.dtype.kind != "f":
        return values
    limits = np.iinfo(native)
    whole = np.rint(np.nan_to_num(values, nan=0.0))
    return np.asarray(np.clip(whole, limits.min, limits.max).astype(native))
