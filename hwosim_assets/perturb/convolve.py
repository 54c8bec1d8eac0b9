"""Convolution of what a detector saw: blur, charge that moves to a neighbour.

Holds: :func:`convolve_signal`, the convolution rule: the signal and its photon noise are spread, the read noise,
which came after, is not. Keep out kernels; they belong to the effects.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from hwosim_assets.perturb.block import Block
    from hwosim_assets.perturb.rng import Stream

__all__ = ["convolve_signal", "rows_reached"]

#: Passes of a convolution, each as (dy, dx, weight).
Steps = list[list[tuple[int, int, float]]]

#: Pixels that are worked on at once, so that they stay in the cache.
_BAND = 32768
#: Squared weights below this change no variance in single precision.
_LEAST = 1e-10


def convolve_signal(
    block: Block,
    kernel: NDArray[np.float64] | tuple[Sequence[float], Sequence[float]],
    stream: Stream,
    honest: float,
    sub: int = 0,
) -> None:
    """Convolve the signal of a whole frame, of each group of a ramp.

    S becomes K*S + sqrt((1 - sum K^2) VAR_RNOISE) z, VAR_POISSON becomes K^2*VAR_POISSON. Invalid pixels
    and those beyond the edge take no part; what is left of the kernel is normalised.

    Parameters
    ----------
    block : Block
        Whole rows of a frame with two axes (of ``on_frame``); rows near its ends are right only where the frame ends.
    kernel : float64 array, or two sequences
        Of odd sides and sum 1; or its factors along y and x.
    stream : Stream
        Of the noise that keeps the read noise as large as it was.
    honest : float
        ``task.err_honest``.
    sub : int
        Which words of the stream.
    """
    steps = _steps(kernel)
    squares = [[(dy, dx, weight * weight) for dy, dx, weight in step if weight * weight > _LEAST] for step in steps]
    reach = sum(max(abs(dy) for dy, _, _ in step) for step in steps)
    columns = block.measurement.frame[1]
    rows = block.size // columns
    height = max(_BAND // columns, 2 * reach, 1)
    for group in range(block.groups):
        window, low = [np.empty((0, columns), block.sci.dtype)] * 3, 0
        for top in range(0, rows, height):
            bottom = min(top + height, rows)
            window = _window(block, group, window, low, max(top - reach, 0), min(bottom + reach, rows))
            low = max(top - reach, 0)
            noise = stream.normal(block.plane(group), block.start + top * columns, (bottom - top) * columns, sub)
            part = block.part(slice(top * columns, bottom * columns))
            _convolve_band(part, group, window, slice(top - low, bottom - low), (steps, squares), noise, honest)


def _window(
    block: Block, group: int, before: list[NDArray[Any]], start: int, low: int, high: int
) -> list[NDArray[Any]]:
    """Return signal, photon variance and validity of some rows, 0 where invalid.

    Those that the window ``before``, from row ``start`` on, has already are taken from it: they may have been changed.
    """
    columns = block.measurement.frame[1]
    fresh = slice((start + before[0].shape[0]) * columns, high * columns)
    values, shot = block.sci[group, fresh].copy(), block.true["poisson"][group, fresh].copy()
    valid = np.isfinite(values)
    if block.inert is not None:
        valid &= ~block.inert[fresh]
    bad = np.flatnonzero(~valid)
    values[bad] = shot[bad] = 0
    new = (values, shot, valid.astype(values.dtype))
    pairs = zip(before, new, strict=True)
    return [np.concatenate([old[low - start :], rows.reshape(-1, columns)]) for old, rows in pairs]


def _convolve_band(
    part: Block,
    group: int,
    window: list[NDArray[Any]],
    inner: slice,
    kernels: tuple[Steps, Steps],
    noise: NDArray[np.float32],
    honest: float,
) -> None:
    """Convolve the rows ``inner`` of a window; ``part`` is what they are of the block."""
    values, shot, valid = window
    steps, squares = kernels
    weight, share, moved, after = (
        _applied(*pair)[inner].reshape(-1)
        for pair in ((valid, steps), (valid, squares), (values, steps), (shot, squares))
    )
    bad = np.flatnonzero(valid[inner].reshape(-1) == 0)
    weight[bad] = 1
    moved /= weight
    weight *= weight
    after /= weight
    share /= weight
    np.subtract(1.0, share, out=share)
    np.maximum(share, 0.0, out=share)
    share *= part.true["read"][group]
    np.sqrt(share, out=share)
    share *= noise
    moved += share
    moved[bad] = part.sci[group, bad]
    part.sci[group] = moved
    change = np.zeros_like(part.sci)
    np.subtract(after, part.true["poisson"][group], out=change[group])
    change[group, bad] = 0
    part.add_variance("poisson", change, honest)


def rows_reached(kernel: NDArray[np.float64] | tuple[Sequence[float], Sequence[float]]) -> int:
    """Return how many rows away a kernel takes its signal from."""
    return sum(max((abs(dy) for dy, _, _ in step), default=0) for step in _steps(kernel))


def _steps(
    kernel: NDArray[np.float64] | tuple[Sequence[float], Sequence[float]],
) -> Steps:
    """Return the passes of a convolution, each as (dy, dx, weight) in a fixed order."""
    if isinstance(kernel, tuple):
        along_y, along_x = kernel
        down = [(place - len(along_y) // 2, 0, float(weight)) for place, weight in enumerate(along_y) if weight]
        across = [(0, place - len(along_x) // 2, float(weight)) for place, weight in enumerate(along_x) if weight]
        return [down, across]
    height, width = kernel.shape
    taps = [
        (y - height // 2, x - width // 2, float(kernel[y, x]))
        for y in range(height)
        for x in range(width)
        if kernel[y, x]
    ]
    return [taps]


def _applied(values: NDArray[Any], steps: Steps) -> NDArray[Any]:
    """Return values spread by the passes; beyond the edge there is nothing."""
    rows, columns = values.shape
    for step in steps:
        centre = sum(weight for dy, dx, weight in step if dy == dx == 0)
        out, one = values * values.dtype.type(centre), np.empty_like(values)
        for dy, dx, weight in step:
            if dy == dx == 0 or abs(dy) >= rows or abs(dx) >= columns:
                continue
            to = (slice(max(dy, 0), rows + min(dy, 0)), slice(max(dx, 0), columns + min(dx, 0)))
            source = (slice(max(-dy, 0), rows + min(-dy, 0)), slice(max(-dx, 0), columns + min(-dx, 0)))
            np.multiply(values[source], values.dtype.type(weight), out=one[to])
            out[to] += one[to]
        values = out
    return values
