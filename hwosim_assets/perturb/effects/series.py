"""Random series in time that can be entered anywhere: pink noise and a drift that forgets.

Holds: :func:`octaves` (power as 1/f), :func:`octaves_at` and :func:`relaxing` (Ornstein and Uhlenbeck). They are made
of table look-ups, +, -, x, / and roots only, and the value at a time does not depend on which others are asked for. An
FFT would not be the same on every version of numpy, a recursion could not be entered in the middle. Keep out what
they are added to; that stands in ``correlated`` and ``bias``.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from hwosim_assets.perturb import compiled
from hwosim_assets.perturb.exact import exp

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from hwosim_assets.perturb.rng import Stream

    Floats = NDArray[np.float64]

__all__ = ["layers_for", "octave_weights", "octaves", "octaves_at", "relaxing", "relaxing_parts"]

#: Words of a stream for one series: one set for each octave, and the last for where their cells begin.
SUBS = 64
_OFFSETS = SUBS - 1
#: Correlation times after which a relaxing series has forgotten: exp(-40) is below the rounding of a double.
_MEMORY = 40
#: Halvings between two anchors of a relaxing series; what is nearer than 1/4096 correlation time shares a value.
_HALVINGS = 12
#: Weights that are too small to show.
_LEAST = 1e-4
#: Numbers between two places that are drawn for nothing rather than begin anew, which costs as much.
_GAP = 2000


def layers_for(length: int) -> int:
    """Return how many octaves there are from one step up to a length in steps."""
    return max(int(length) - 1, 0).bit_length() + 1


def octave_weights(layers: int, index: float = 1.0, whole: int | None = None) -> Floats:
    """Return the standard deviation of each octave, of cells of 1, 2, 4, ... steps.

    An octave held constant over cells of T steps has the spectrum w^2 T sinc^2(f T); with w^2 as T^(index - 1) the sum
    over all octaves follows f^-index, with ripples of less than 1 dB.

    Parameters
    ----------
    layers : int
        Number of octaves.
    index : float
        Of the spectrum: power as f^-index.
    whole : int, optional
        The variance of so many first octaves together is 1; by default of all.

    Returns
    -------
    float64 array, (layers,)
    """
    factor = float(exp(np.array([(index - 1.0) * 0.6931471805599453 / 2.0]))[0])
    raw = [1.0]
    for _ in range(layers - 1):
        raw.append(raw[-1] * factor)
    total = math.sqrt(math.fsum(value * value for value in raw[: layers if whole is None else whole]))
    return np.array([value / total for value in raw])


def octaves(
    stream: Stream, plane: int, start: int, count: int, weights: Floats, series: int = 0
) -> NDArray[np.float32]:
    """Return consecutive values of a pink series.

    Each octave holds a normal deviate over cells twice as long as the one before, which begin at a place that is
    drawn, so that the series is stationary.

    Parameters
    ----------
    stream : Stream
        Its random numbers.
    plane : int
        Address: series of other planes are independent.
    start, count : int
        First step and how many.
    weights : float64 array
        See :func:`octave_weights`.
    series : int
        Which of several independent series of a plane.

    Returns
    -------
    float32 array, (count,)
    """
    shifts = stream.bits(plane, 0, weights.size, series * SUBS + _OFFSETS) >> np.uint32(31)
    firsts, lasts = [start], [start + count - 1]
    for shift in shifts[1:]:
        firsts.append((firsts[-1] + int(shift)) >> 1)
        lasts.append((lasts[-1] + int(shift)) >> 1)
    sizes = [last - first + 1 for first, last in zip(firsts, lasts, strict=True)]
    begins = [(first + int(shift)) & 1 for first, shift in zip(firsts, [*shifts[1:], 0], strict=True)]
    if compiled.on():
        return _octaves_by_loop(stream, plane, np.array([firsts, sizes, begins]).T, weights, series)
    out = np.zeros(0, np.float32)
    for layer in range(weights.size - 1, -1, -1):
        values = stream.normal(plane, firsts[layer], sizes[layer], series * SUBS + layer)
        values *= np.float32(weights[layer])
        if out.size:
            values += np.repeat(out, 2)[begins[layer] : begins[layer] + sizes[layer]]
        out = values
    return out


def _octaves_by_loop(
    stream: Stream, plane: int, cells: NDArray[np.int64], weights: Floats, series: int
) -> NDArray[np.float32]:
    """Return the values of a series from the first cell of each octave, how many, and where those above begin."""
    from hwosim_assets.perturb.compiled import draws

    sub = series * SUBS
    addresses, drawn = stream.addresses(plane, sub, weights.size), stream.normals(plane, 0, sub)
    singles = weights.astype(np.float32)
    made: NDArray[np.float32] = draws.octaves(np.ascontiguousarray(cells), singles, addresses, drawn)
    return made


def octaves_at(stream: Stream, plane: int, steps: NDArray[np.int64], weights: Floats) -> Floats:
    """Return the values of a pink series at scattered steps; the same as :func:`octaves` would give there."""
    shifts = stream.bits(plane, 0, weights.size, _OFFSETS) >> np.uint32(31)
    total, cells = np.zeros(steps.size), steps
    for layer in range(weights.size):
        if layer:
            cells = (cells + int(shifts[layer])) >> 1
        total += weights[layer] * _drawn(stream, plane, cells, layer)
    return total


def relaxing(stream: Stream, plane: int, times: Floats) -> Floats:
    """Return a series of variance 1 whose values t apart correlate by exp(-t): that of Ornstein and Uhlenbeck.

    At whole times it is the sum of the deviates before, each forgotten by exp(-age); in between, intervals are halved
    and the middle is drawn given its two ends, which is exact.

    Parameters
    ----------
    stream : Stream
        Its random numbers.
    plane : int
        Address: series of other planes are independent.
    times : float64 array
        From 0 to 2^40, in correlation times.

    Returns
    -------
    float64 array
    """
    whole = np.floor(times)
    node, low, width = whole.astype(np.int64), whole, 1.0
    left, right = _anchors(stream, plane, node), _anchors(stream, plane, node + 1)
    for level in range(1, _HALVINGS + 1):
        width /= 2.0
        decay = float(exp(np.array([-width]))[0])
        square = decay * decay
        spread = math.sqrt((1.0 - square) / (1.0 + square))
        middle = (left + right) * (decay / (1.0 + square)) + spread * _drawn(stream, plane, node, level)
        later = times >= low + width
        left, right = np.where(later, middle, left), np.where(later, right, middle)
        low, node = np.where(later, low + width, low), 2 * node + later
    return left


def relaxing_parts(time: float) -> list[tuple[int, int, float]]:
    """Return the deviates of which a series of :func:`relaxing` is the sum at a time, as (place, level, weight).

    So that many series, one for each node of a field, are summed field by field. What weighs less than 1e-4 is left
    out: together less than 1e-6 of the variance.

    Parameters
    ----------
    time : float
        From 0 to 2^40, in correlation times.
    """
    node, low, width = math.floor(time), float(math.floor(time)), 1.0
    left, right = _anchor_parts(node), _anchor_parts(node + 1)
    for level in range(1, _HALVINGS + 1):
        width /= 2.0
        decay = float(exp(np.array([-width]))[0])
        square = decay * decay
        share = decay / (1.0 + square)
        middle = {key: share * (left.get(key, 0.0) + right.get(key, 0.0)) for key in dict.fromkeys([*left, *right])}
        middle[node, level] = math.sqrt((1.0 - square) / (1.0 + square))
        later = time >= low + width
        left, right = (middle, right) if later else (left, middle)
        low, node = low + width * later, 2 * node + later
    return [(place, level, weight) for (place, level), weight in left.items() if weight >= _LEAST]


def _anchor_parts(node: int) -> dict[tuple[int, int], float]:
    """Return the weights of the deviates that a relaxing series is made of at a whole time."""
    decay = float(exp(np.array([-1.0]))[0])
    weights, weight = {}, math.sqrt(1.0 - decay * decay)
    for age in range(_MEMORY + 1):
        weights[node + _MEMORY - age, 0] = weight
        weight *= decay
    return weights


def _anchors(stream: Stream, plane: int, nodes: NDArray[np.int64]) -> Floats:
    """Return a relaxing series at whole times."""
    decay = float(exp(np.array([-1.0]))[0])
    kick = math.sqrt(1.0 - decay * decay)
    total = np.zeros(nodes.size)
    for age in range(_MEMORY, -1, -1):
        total = total * decay + kick * _drawn(stream, plane, nodes + _MEMORY - age, 0)
    return total


def _drawn(stream: Stream, plane: int, places: NDArray[np.int64], sub: int) -> Floats:
    """Return the normal deviates of scattered places, each drawn once."""
    found, back = np.unique(places, return_inverse=True)
    breaks = np.flatnonzero(np.diff(found) > _GAP) + 1
    pieces = [
        stream.normal(plane, int(run[0]), int(run[-1] - run[0]) + 1, sub)[run - run[0]].astype(np.float64)
        for run in np.split(found, breaks)
        if run.size
    ]
    return np.concatenate([np.empty(0), *pieces])[back]
