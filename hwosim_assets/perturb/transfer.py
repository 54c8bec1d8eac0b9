"""Blocks of pixels out of a file and back into it.

Holds: :func:`load` and :func:`store`: byte order, unsigned integers, what the true variance is where the
VAR planes do not say it, and how ERR follows from it. Keep out what is done to a block in between
(``perturb.block``).
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from hwosim_assets.fits.dq import DQ
from hwosim_assets.perturb import compiled
from hwosim_assets.perturb.block import CLAIMS, Block
from hwosim_assets.perturb.measurements import VARIANCES

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from hwosim_assets.perturb.budget import Budget
    from hwosim_assets.perturb.measurements import Measurement
    from hwosim_assets.perturb.planes import Plane

__all__ = ["Kept", "Views", "fill", "load", "store"]


class Views:
    """The stored elements of a measurement's planes as arrays of (frames, groups, pixels).

    Parameters
    ----------
    content : buffer
        The plain FITS bytes; writable for :func:`store`.
    measurement : Measurement
        What is measured.
    """

    def __init__(self, content: bytes | bytearray | memoryview, measurement: Measurement) -> None:
        self.shape = measurement.frames, measurement.groups, measurement.pixels
        self._arrays = {plane.offset: plane.raw(content).reshape(self.shape) for plane in measurement.planes()}

    def put(self, plane: Plane, frame: int, part: slice, values: NDArray[Any], kept: Kept | None) -> None:
        """Write values (groups, pixels) of a part of a frame, but for those that are kept."""
        fill(plane, self._arrays[plane.offset][frame, :, part], values, kept)

    def keep(self, plane: Plane, frame: int, part: slice) -> None:
        """Leave a part of a frame as it was."""

    def __getitem__(self, plane: Plane) -> NDArray[Any]:
        """Return the array of a plane."""
        return self._arrays[plane.offset]


class Kept(NamedTuple):
    """Elements that stay as they were: which of the pixels, and all of them (groups, pixels) as they were stored."""

    where: NDArray[np.bool_]
    stored: NDArray[Any]


def fill(plane: Plane, target: NDArray[Any], values: NDArray[Any], kept: Kept | None) -> None:
    """Write values into stored elements of the same shape, but for those that are kept."""
    plane.put(values, target)
    if kept is not None:
        target[:, kept.where] = kept.stored[:, kept.where]


def load(views: Views, measurement: Measurement, budget: Budget, frame: int, part: slice, *, apart: bool) -> Block:
    """Load a run of pixels.

    Parameters
    ----------
    views : Views
        The file.
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
        return _decoded(plane, views[plane][frame, :, part])

    sci = read(measurement.sci)
    if sci.dtype.kind != "f":
        sci = sci.astype(np.float32 if sci.dtype.itemsize <= 2 else np.float64)
    if budget.double:  # all planes of a block are of the type of SCI; they are stored in their own
        sci = sci.astype(np.float64, copy=False)
    err = None if measurement.err is None else read(measurement.err).astype(sci.dtype, copy=False)
    claimed, cleaned = _variances(views, measurement, frame, part, sci.dtype)
    dq = None if measurement.dq is None else read(measurement.dq)
    zeroed = [read(plane) for plane in measurement.weights]
    summed = budget.sums and err is not None and _summed(err, claimed)
    true = _true_variance(sci, err, claimed, cleaned, budget)
    if apart:
        true = {kind: plane.copy() if plane is claimed.get(CLAIMS[kind]) else plane for kind, plane in true.items()}
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


def _decoded(plane: Plane, stored: NDArray[Any]) -> NDArray[Any]:
    """Return stored numbers as native ones, in a new array; see :meth:`Plane.decode`."""
    if not _loop_reads(plane, stored):
        return plane.decode(stored)
    from hwosim_assets.perturb.compiled.transfer import read_words

    out, offset = np.empty(stored.shape, plane.dtype), np.uint32(1 << 31 if plane.dtype == "uint32" else 0)
    read_words(_words(stored), out[0].view(np.uint32), offset)
    return out


def _variances(
    views: Views, measurement: Measurement, frame: int, part: slice, dtype: np.dtype[Any]
) -> tuple[dict[str, NDArray[Any]], dict[str, NDArray[Any]]]:
    """Return the VAR planes in the type of science values, and those that a loop has cleaned; see :func:`_clean`."""
    claimed: dict[str, NDArray[Any]] = {}
    cleaned: dict[str, NDArray[Any]] = {}
    single = np.dtype(np.float32)
    for name, plane in measurement.variances.items():
        stored = views[plane][frame, :, part]
        alike = np.dtype(plane.dtype) == dtype == single
        if name in CLAIMS.values() and alike and _loop_reads(plane, stored):
            claimed[name], cleaned[name] = _read_valid(stored)
        else:
            claimed[name] = _decoded(plane, stored).astype(dtype, copy=False)
    return claimed, cleaned


def _loop_reads(plane: Plane, stored: NDArray[Any]) -> bool:
    """Whether a loop reads stored numbers: one row of them, of four bytes each."""
    row = len(stored) == 1 and stored[0].flags.c_contiguous
    return compiled.on() and row and plane.stored.itemsize == 4 and sys.byteorder == "little"


def _words(stored: NDArray[Any]) -> NDArray[np.uint32]:
    """Return a row of stored numbers as words."""
    words: NDArray[np.uint32] = stored[0].view(np.uint32)
    words.flags.writeable = False  # for arrays that may be written to, loops would be compiled once more
    return words


def _read_valid(stored: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Read a variance, (1, pixels), and return it as it is and as :func:`_clean` does."""
    from hwosim_assets.perturb.compiled.transfer import read_valid

    variance, valid = np.empty(stored.shape, np.float32), np.empty(stored.shape, np.float32)
    same = read_valid(_words(stored), variance[0].view(np.uint32), valid[0].view(np.uint32))
    return variance, variance if same else valid


def _summed(err: NDArray[Any], claimed: dict[str, NDArray[Any]]) -> bool:
    """Return whether ERR is a number nowhere but where the sum of the VAR planes is one."""
    if compiled.on():
        from hwosim_assets.perturb.compiled.transfer import summed

        return bool(summed(err.reshape(-1), *_terms(claimed)))
    total = _total(claimed)
    lacking = np.isfinite(err)
    lacking &= ~np.isfinite(total)
    return not lacking.any()


def _terms(claimed: dict[str, NDArray[Any]], group: int | slice = slice(None)) -> list[NDArray[Any] | None]:
    """Return the VAR planes of a group, flat; ``None`` for VAR_FLAT where there is none."""
    planes = [claimed.get(name) for name in VARIANCES]
    return [None if plane is None else plane[group].reshape(-1) for plane in planes]


def _total(claimed: dict[str, NDArray[Any]]) -> NDArray[Any]:
    """Return the sum of the VAR planes."""
    total = claimed["VAR_POISSON"] + claimed["VAR_RNOISE"]
    if "VAR_FLAT" in claimed:
        total += claimed["VAR_FLAT"]
    return np.asarray(total)


def _inert(dq: NDArray[Any] | None, weights: list[NDArray[Any]]) -> NDArray[np.bool_] | None:
    """Return the pixels that hold no data: weight 0 or NON_SCIENCE; ``None`` when there are none."""
    empty = [weight[0] == 0 for weight in weights]
    if dq is not None and dq.dtype.itemsize > 1 and dq.shape[0] == 1:
        bit = np.asarray(int(DQ.NON_SCIENCE)).astype(dq.dtype)
        if np.bitwise_or.reduce(dq[0]) & bit:
            empty.append((dq[0] & bit) != 0)
    if not empty:
        return None
    together = np.logical_or.reduce(empty)
    return together if together.any() else None


def _true_variance(
    sci: NDArray[Any],
    err: NDArray[Any] | None,
    claimed: dict[str, NDArray[Any]],
    cleaned: dict[str, NDArray[Any]],
    budget: Budget,
) -> dict[str, NDArray[Any]]:
    """Return the poisson and read variance: the VAR planes themselves where they are valid numbers, else inferred."""

    def valid(name: str) -> NDArray[Any] | None:
        return cleaned[name] if name in cleaned else _clean(claimed[name]) if name in claimed else None

    poisson, read = valid("VAR_POISSON"), valid("VAR_RNOISE") if budget.read_method == "VAR_RNOISE" else None
    if read is not None and poisson is not None:
        return {"poisson": poisson, "read": read}
    shot = np.zeros_like(sci) if poisson is None else poisson
    if poisson is None and budget.k is not None and budget.read_method != "scatter":
        np.fmax(sci, 0.0, out=shot)
        shot /= budget.k
    if budget.read_sigma is not None:
        return {"poisson": shot, "read": np.full_like(sci, budget.read_sigma * budget.read_sigma)}
    if budget.read_method == "ERR" and err is not None:
        total = _clean(err * err)
        if poisson is None:
            shot = np.fmin(shot, total)
        return {"poisson": shot, "read": np.fmax(total - shot, total.dtype.type(0))}
    return {"poisson": shot, "read": np.zeros_like(sci) if read is None else read}


def _clean(variance: NDArray[Any]) -> NDArray[Any]:
    """Return a variance without NaN, infinities and negative numbers; the same array when it has none."""
    low = variance.min(initial=np.inf)
    if low >= 0 and variance.max(initial=0.0) < np.inf:
        return variance
    zero = np.zeros((), variance.dtype)
    clean = np.fmax(variance, zero)
    clean += zero  # of 0 and -0 the greater is either, as numpy's loops are cut
    return clean if clean.max() < np.inf else np.where(np.isinf(clean), zero, clean)


def store(block: Block, views: Views, original: Views) -> None:
    """Write a block back.

    Parameters
    ----------
    block : Block
        With everything that effects did.
    views : Views
        The output file.
    original : Views
        The input file, for pixels that hold no data.
    """
    measurement = block.measurement
    if "variance" in block.dirty and block.err is not None:
        _update_err(block)
    part = slice(block.start, block.start + block.size)

    def write(plane: Plane | None, values: NDArray[Any] | None, changed: bool) -> None:
        if plane is None or values is None:
            return
        if not changed:
            if plane is not measurement.sci:  # the only image of a file may be called an error or a weight
                views.keep(plane, block.frame, part)
            return
        kept = None if block.inert is None else Kept(block.inert, original[plane][block.frame, :, part])
        views.put(plane, block.frame, part, _as_stored(values, plane), kept)

    write(measurement.sci, block.sci, True)
    uncertain = bool(block.dirty & {"variance", "invalid"})
    write(measurement.err, block.err, uncertain)
    for name, plane in measurement.variances.items():
        write(plane, block.claimed[name], uncertain)
    write(measurement.dq, block.dq, bool(block.dirty & {"flags", "invalid"}))
    for plane, values in zip(measurement.weights + measurement.blanked, block.zeroed + block.blanked, strict=True):
        write(plane, values, "invalid" in block.dirty)


def _update_err(block: Block) -> None:
    """Set ERR to the root of the claimed variance; where VAR planes do not tell it, of its own and what came to it."""
    if block.err is None:
        return
    if compiled.on():
        from hwosim_assets.perturb.compiled.transfer import root_of_change, root_of_sum

        for group, err in enumerate(block.err):
            if block.claimed_change is not None:
                root_of_change(err, block.claimed_change[group])
            if block.budget.sums:
                root_of_sum(err, *_terms(block.claimed, group))
        return
    if block.claimed_change is not None:
        square = block.err * block.err
        square += block.claimed_change
        np.maximum(square, 0.0, out=square)
        np.sqrt(square, out=block.err, where=square >= 0)
    if block.budget.sums:
        root = _total(block.claimed)
        np.sqrt(root, out=root)
        lacking = (~(np.isfinite(root) & np.isfinite(block.err))).reshape(-1).nonzero()[0]
        root.reshape(-1)[lacking] = block.err.reshape(-1)[lacking]
        np.copyto(block.err, root)


def _as_stored(values: NDArray[Any], plane: Plane) -> NDArray[Any]:
    """Return values in a plane's native type; integers are rounded and clipped."""
    native = np.dtype(plane.dtype)
    if native.kind == "f" or values.dtype.kind != "f":
        return values
    limits = np.iinfo(native)
    highest = values.dtype.type(limits.max)
    if int(highest) > limits.max:  # 2^63 - 1 is no floating number, and the one above it would come round
        highest = np.nextafter(highest, values.dtype.type(0))
    whole = np.rint(np.nan_to_num(values, nan=0.0))
    return np.asarray(np.clip(whole, limits.min, highest).astype(native))
