"""Kernels of blur and shift, and their use on images and on ramps.

Holds: pure functions from a width or a shift to the weights of a convolution, made of basic arithmetic, which is the
same on every processor, and :func:`spread`, the convolution rule for both. Keep out which effect blurs and why.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from hwosim_assets.perturb.convolve import convolve_signal
from hwosim_assets.perturb.effect import NotApplicableError
from hwosim_assets.perturb.parameters import rounded

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from hwosim_assets.perturb.block import Block
    from hwosim_assets.perturb.measurements import Measurement
    from hwosim_assets.perturb.rng import Stream

    Floats = NDArray[np.float64]

__all__ = ["gaussian_taps", "keeping", "require_image", "shift_kernel", "shift_spectrum", "shift_taps", "spread"]

#: Weights below this are left out: single precision does not see them.
_LEAST = 1e-9
#: Standard deviations at which a blur ends (1e-8 of it lies beyond).
_REACH = 5.7


@lru_cache(maxsize=64)
def gaussian_taps(sigma: float) -> tuple[float, ...]:
    """Return the discrete Gaussian: weights of sum 1 and of variance sigma^2, however small sigma is.

    These are exp(-t) I_n(t) with t = sigma^2 (Lindeberg 1990): a sampled or pixel-integrated Gaussian has another
    variance where sigma is below a pixel, as jitter is. The Bessel functions come from their backward recurrence.

    Parameters
    ----------
    sigma : float
        Standard deviation, pixels.

    Returns
    -------
    tuple of float
        Of odd length, the middle at shift 0.
    """
    t = sigma * sigma
    if t <= 0:
        return (1.0,)
    reach = 2 + math.ceil(_REACH * sigma)
    start = 2 * reach + 20 + math.ceil(4 * sigma)
    above, here, half = 0.0, 1e-300, [0.0] * (start + 1)
    for order in range(start, 0, -1):
        above, here = here, above + (2.0 * order / t) * here
        half[order - 1] = here
        if here > 1e250:
            above, here = above * 1e-250, here * 1e-250
            half = [value * 1e-250 for value in half]
    total = half[0] + 2.0 * math.fsum(half[1:])
    side = [rounded(value / total) for value in half[1 : reach + 1]]
    while side and side[-1] < _LEAST:
        side.pop()
    return *reversed(side), rounded(1.0 - 2.0 * math.fsum(side)), *side


def shift_taps(shift: float) -> dict[int, float]:
    """Return weights that move a signal by a shift: Lagrange interpolation through five pixels.

    Their sum is 1 and their first four moments are those of the shift, so a centroid moves exactly and no width grows.

    Parameters
    ----------
    shift : float
        Pixels, towards larger coordinates.

    Returns
    -------
    dict of int to float
        Weight of the pixel that is moved by so many pixels.
    """
    whole = math.floor(shift + 0.5)
    part = shift - whole
    nodes = range(-2, 3)
    found = {}
    for node in nodes:
        weight = 1.0
        for other in nodes:
            if other != node:
                weight *= (part - other) / (node - other)
        if weight:
            found[whole + node] = rounded(weight)
    return found


def shift_kernel(dy: float, dx: float, smear_y: float = 0.0, smear_x: float = 0.0) -> Floats:
    """Return the kernel of a shift with a linear smear about it, of odd sides.

    Parameters
    ----------
    dy, dx : float
        Mean shift, pixels.
    smear_y, smear_x : float
        Way during the exposure, pixels.
    """
    steps = max(1, math.ceil(4 * math.sqrt(smear_y * smear_y + smear_x * smear_x)))
    ways = [(step + 0.5) / steps - 0.5 for step in range(steps)]
    parts = [(shift_taps(dy + way * smear_y), shift_taps(dx + way * smear_x)) for way in ways]
    reach = max(abs(place) for pair in parts for taps in pair for place in taps)
    kernel = np.zeros((2 * reach + 1, 2 * reach + 1))
    for down, across in parts:
        for y, one in down.items():
            for x, other in across.items():
                kernel[y + reach, x + reach] += one * other / steps
    return kernel


@contextmanager
def keeping(block: Block, base: NDArray[np.floating[Any]]) -> Iterator[None]:
    """Leave pixels of a ramp as they are whose base is no number, for what came since is not known.

    Parameters
    ----------
    block : Block
        Of a ramp; its pixels are put back afterwards.
    base : floating array, (pixels,)
        What light is counted from: the first group.
    """
    places = np.flatnonzero(~np.isfinite(base))
    kept = block.sci[:, places]
    yield
    block.sci[:, places] = kept


def spread(
    block: Block,
    kernel: Floats | tuple[Sequence[float], Sequence[float]],
    stream: Stream,
    honest: float,
) -> None:
    """Convolve the signal of a whole frame; in a ramp, what came since its first group, for its bias is not light."""
    if not block.measurement.ramp:
        convolve_signal(block, kernel, stream, honest)
        return
    base = block.sci[0].copy()
    with keeping(block, base):
        block.sci -= base
        convolve_signal(block, kernel, stream, honest)
        block.sci += base


def shift_spectrum(block: Block, shift: float, stream: Stream, honest: float) -> NDArray[np.bool_]:
    """Move the fluxes of a frame of one axis by the convolution rule, and return what came from beyond its ends.

    Parameters
    ----------
    block : Block
        A whole frame with one axis.
    shift : float
        Pixels, towards larger coordinates.
    stream : Stream
        Of the noise that keeps the read noise as large as it was.
    honest : float
        ``task.err_honest``.
    """
    values = block.sci[0].astype(np.float64)
    valid = np.isfinite(values) if block.inert is None else np.isfinite(values) & ~block.inert
    taps = shift_taps(shift)
    squared = {by: one * one for by, one in taps.items()}
    moved, weight = _shifted(np.where(valid, values, 0.0), taps), _shifted(valid, taps)
    squares = _shifted(valid, squared)
    known = valid & (weight > 0.5)
    whole = np.where(known, weight, 1.0)
    lacking = np.maximum(1.0 - squares / (whole * whole), 0.0) * block.true["read"][0]
    fresh = moved / whole + np.sqrt(lacking) * stream.normal(block.plane(0), block.start, block.size)
    block.sci[0] = np.where(known, fresh, values)

    def change_of(variance: NDArray[Any]) -> NDArray[Any]:
        shot = variance[0].astype(np.float64)
        after = _shifted(np.where(valid, shot, 0.0), squared)
        return np.where(known, after / (whole * whole) - shot, 0.0).astype(variance.dtype)[None, :]

    block.change_variance("poisson", [change_of(plane) for plane in block.variances("poisson", honest)], honest)
    return np.asarray(valid & ~known)


def _shifted(values: NDArray[Any], taps: dict[int, float]) -> NDArray[np.float64]:
    """Return values moved by each tap's way and weighed; beyond the ends there is nothing."""
    moved = np.zeros(values.size)
    for by, one in taps.items():
        if abs(by) < values.size:
            to = slice(max(by, 0), values.size + min(by, 0))
            moved[to] += one * values[max(-by, 0) : values.size + min(-by, 0)]
    return moved


def require_image(measurement: Measurement) -> None:
    """Refuse what has no image.

    Raises
    ------
    NotApplicableError
        For spectra in tables, and images too small for it.
    """
    if measurement.sci.column or len(measurement.frame) < 2:
        raise NotApplicableError("a spectrum in a table has no image")
    if min(measurement.frame) < 3:
        raise NotApplicableError("its image is less than three pixels wide")
    if measurement.ramp and measurement.groups < 2:
        raise NotApplicableError("a ramp of one group has a bias that cannot be told from light")
