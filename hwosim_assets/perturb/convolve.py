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

__all__ = ["convolve_signal"]

#: Rows that are worked on at once, so that they stay in the cache.
_BAND = 32


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
        A whole frame (of ``on_frame``) with two axes.
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
    squares = [[(dy, dx, weight * weight) for dy, dx, weight in step] for step in steps]
    reach = sum(max(abs(dy) for dy, _, _ in step) for step in steps)
    rows, columns = block.measurement.frame
    inert = np.zeros((rows, columns), bool) if block.inert is None else block.inert.reshape(rows, columns)
    for group in range(block.groups):
        sci = block.sci[group].reshape(rows, columns)
        shot = block.true["poisson"][group].reshape(rows, columns)
        read = block.true["read"][group].reshape(rows, columns)
        valid = np.isfinite(sci) & ~inert
        before = np.where(valid, sci, np.zeros((), sci.dtype))
        spread = np.where(valid, shot, np.zeros((), shot.dtype))
        change = np.zeros_like(shot)
        for top in range(0, rows, _BAND):
            bottom = min(top + _BAND, rows)
            low, high = max(top - reach, 0), min(bottom + reach, rows)
            inner = slice(top - low, bottom - low)
            weight = _applied(valid[low:high].astype(sci.dtype), steps)[inner]
            here = valid[top:bottom]
            weight = np.where(here, weight, np.ones((), weight.dtype))
            share = _applied(valid[low:high].astype(sci.dtype), squares)[inner] / (weight * weight)
            moved = _applied(before[low:high], steps)[inner] / weight
            noise = stream.normal(block.plane(group), block.start + top * columns, (bottom - top) * columns, sub)
            lacking = np.sqrt(np.maximum(1.0 - share, 0.0) * read[top:bottom]) * noise.reshape(here.shape)
            sci[top:bottom] = np.where(here, moved + lacking, sci[top:bottom])
            after = _applied(spread[low:high], squares)[inner] / (weight * weight)
            change[top:bottom] = np.where(here, after - shot[top:bottom], np.zeros((), shot.dtype))
        _change_poisson(block, group, change.reshape(-1), honest)


def _change_poisson(block: Block, group: int, change: NDArray[Any], honest: float) -> None:
    """Add a change of the photon variance of one group."""
    amount = np.zeros_like(block.true["poisson"])
    amount[group] = change
    block.add_variance("poisson", amount, honest)


def _steps(
    kernel: NDArray[np.float64] | tuple[Sequence[float], Sequence[float]],
) -> list[list[tuple[int, int, float]]]:
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


def _applied(values: NDArray[Any], steps: list[list[tuple[int, int, float]]]) -> NDArray[Any]:
    """Return values spread by the passes; beyond the edge there is nothing."""
    rows, columns = values.shape
    for step in steps:
        out = np.zeros_like(values)
        for dy, dx, weight in step:
            if abs(dy) >= rows or abs(dx) >= columns:
                continue
            to = (slice(max(dy, 0), rows + min(dy, 0)), slice(max(dx, 0), columns + min(dx, 0)))
            source = (slice(max(-dy, 0), rows + min(-dy, 0)), slice(max(-dx, 0), columns + min(-dx, 0)))
            out[to] += values[source] * values.dtype.type(weight)
        values = out
    return values
