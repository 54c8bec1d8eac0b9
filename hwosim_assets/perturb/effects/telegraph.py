"""The two-state process of telegraph noise, whose state at any moment can be asked for alone.

Holds: which pixels switch (:class:`Map`), in which state they are (:class:`Process`), and what that does to the
variance of a slope. Keep out what it does to a product (``reading``).

A process that enters a state at random with the total rate 1/low + 1/high, and then chooses the upper one with the
probability high / (low + high) whatever it was before, is the Markov process with those mean dwell times. Its renewals
are drawn in cells of absolute time, so that the state is that of the last one: nothing before needs to be followed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from hwosim_assets.perturb.effects.axes import DETECTOR_WIDTH, detector_stream
from hwosim_assets.perturb.exact import exp, log
from hwosim_assets.perturb.parameters import rounded
from hwosim_assets.perturb.rng import poisson

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from hwosim_assets.perturb.effect import Task
    from hwosim_assets.perturb.measurements import Measurement
    from hwosim_assets.perturb.rng import Stream

    Floats = NDArray[np.float64]
    Integers = NDArray[np.int64]

__all__ = ["Map", "Process", "variance_of_slope"]

#: Rows of a detector whose pixels are drawn together.
_BAND = 256
#: Mean number of renewals in a cell of time.
_PER_CELL = 4.0
#: Cells that are followed rather than looked up anew.
_NEAR = 8
#: Pixels whose renewals are sorted together, which takes three times their memory.
_SORTED = 1 << 16
_LN10 = 2.302585092994046


class Map(NamedTuple):
    """The pixels of a frame that switch.

    Attributes
    ----------
    places : int64 array
        Flat places in the frame, band by band; each once.
    amplitude : float64 array
        Relative to the median.
    bands : tuple of (Stream, int, int64 array)
        For each band: random bits of its renewals, how many pixels were drawn, which of them lie in the frame.
    """

    places: Integers
    amplitude: Floats
    bands: tuple[tuple[Stream, int, Integers], ...]

    @classmethod
    def of(cls, task: Task, detector: str, measurement: Measurement, fraction: float) -> Map:
        """Return the pixels among those of a detector; those of a smaller fraction are among those of a larger one."""
        rows, columns = measurement.frame
        x0, y0 = ((task.product.count(name) or 1) - 1 for name in ("SUBSTRT1", "SUBSTRT2"))
        width = max(DETECTOR_WIDTH, -(-(x0 + columns) // DETECTOR_WIDTH) * DETECTOR_WIDTH)
        # So many draws with replacement hit that share of the pixels.
        draws = round(rounded(-float(log(np.array([1.0 - fraction]))[0]) * width * _BAND))
        places, amplitudes, bands = [], [], []
        for band in range(y0 // _BAND, (y0 + rows - 1) // _BAND + 1):
            stream = detector_stream(task, detector, f"pixels {band}")
            x = np.floor(stream.uniform(0, 0, draws, 0) * width).astype(np.int64)
            y = np.floor(stream.uniform(0, 0, draws, 1) * _BAND).astype(np.int64)
            first = np.sort(np.unique(y * width + x, return_index=True)[1])
            y, x = y[first] + band * _BAND - y0, x[first] - x0
            inside = (y >= 0) & (y < rows) & (x >= 0) & (x < columns)
            kept = first[inside]
            places.append(y[inside] * columns + x[inside])
            amplitudes.append(stream.uniform(0, 0, draws, 2)[kept])
            bands.append((detector_stream(task, detector, f"renewals {band}"), draws, kept))
        spread = _LN10 * task.number("decades")
        amplitude = exp(spread * (np.concatenate(amplitudes) - 0.5))
        return cls(np.concatenate(places), amplitude, tuple(bands))


class Process:
    """The states of the pixels of a map.

    Parameters
    ----------
    task : Task
        Of the effect: its dwell times.
    found : Map
        The pixels.
    """

    def __init__(self, task: Task, found: Map) -> None:
        low, high = task.number("low_dwell"), task.number("high_dwell")
        self.upper = rounded(high / (low + high))
        self.rate = rounded(1.0 / low + 1.0 / high)
        self._cell = rounded(_PER_CELL / self.rate)
        self._found = found

    def renewals(self, cell: int) -> tuple[Floats, NDArray[np.bool_]]:
        """Return (moments, ascending, infinite where there are fewer; whether into the upper state) in a cell.

        Both of the shape (most renewals, pixels); moments in seconds.
        """
        plane = cell % (1 << 63)
        counts = poisson(self._words(plane, 0), _PER_CELL)
        most = int(counts.max(initial=0))
        moments = np.full((most, counts.size), np.inf)
        uppers = np.zeros((most, counts.size), bool)
        for number in range(most):
            # One word tells both: the state, and within its share of the words the moment.
            word = (self._words(plane, number + 1) + 0.5) / 4294967296.0
            upper = word < self.upper
            share = np.where(upper, word / self.upper, (word - self.upper) / (1.0 - self.upper))
            moments[number] = np.where(counts > number, (cell + share) * self._cell, np.inf)
            uppers[number] = upper
        for start in range(0, counts.size, _SORTED):
            some = np.s_[:, start : start + _SORTED]
            order = np.argsort(moments[some], axis=0, kind="stable")
            moments[some] = np.take_along_axis(moments[some], order, 0)
            uppers[some] = np.take_along_axis(uppers[some], order, 0)
        return moments, uppers

    def _words(self, plane: int, sub: int) -> NDArray[np.uint32]:
        """Return one random word for each pixel."""
        parts = [stream.bits(plane, 0, draws, sub)[kept] for stream, draws, kept in self._found.bands]
        return np.concatenate([np.empty(0, np.uint32), *parts])

    def _before(self, cell: int) -> NDArray[np.bool_]:
        """Return the states at the begin of a cell: those of the last renewal before it."""
        state = np.zeros(self._found.places.size, bool)
        left = np.arange(state.size)
        while left.size:
            cell -= 1
            moments, uppers = self.renewals(cell)
            last = np.isfinite(moments[:, left]).sum(axis=0) - 1
            some = last >= 0
            state[left[some]] = uppers[last[some], left[some]]
            left = left[~some]
        return state

    def states(self, moments: Floats) -> Iterator[NDArray[np.bool_]]:
        """Yield which pixels are in the upper state at moments (seconds, ascending)."""
        here: int | None = None
        for moment in moments.tolist():
            cell = math.floor(moment / self._cell)
            if here is None or cell > here + _NEAR:
                state, here = self._before(cell), cell
                times, uppers = self.renewals(here)
            while here < cell:
                state = _at(times, uppers, np.inf, state)
                here += 1
                times, uppers = self.renewals(here)
            yield _at(times, uppers, moment, state)


def _at(times: Floats, uppers: NDArray[np.bool_], moment: float, before: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the states at a moment of a cell, from its renewals and the states before them."""
    passed = ((times <= moment) & np.isfinite(times)).sum(axis=0)
    some = np.flatnonzero(passed)
    state = before.copy()
    state[some] = uppers[passed[some] - 1, some]
    return state


def variance_of_slope(process: Process, after: Floats, weights: Floats) -> float:
    """Return the variance of the slope of one integration for an amplitude of 1.

    From the autocovariance of the process, p (1 - p) exp(-rate |t|).

    Parameters
    ----------
    process : Process
        The process.
    after, weights : float64 array, (groups,)
        Moments of the reads, seconds, and the weights of the slope.
    """
    apart = np.abs(after[:, None] - after)
    terms = weights[:, None] * weights * exp(-process.rate * apart)
    return rounded(process.upper * (1.0 - process.upper) * math.fsum(terms.ravel().tolist()))
