"""Bad pixels: hot, warm, dead, slow to answer, unconnected.

Holds: the fixed map of a detector (:func:`bad_pixels`) and the effect C1. Keep out pixels that are lost on the
way (``telemetry``) and noise that comes and goes (``noise``).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from hwosim_assets.fits.dq import DQ
from hwosim_assets.perturb import compiled
from hwosim_assets.perturb.effect import Effect, NotApplicableError
from hwosim_assets.perturb.effects.axes import (
    address_width,
    detector_bits_at,
    detector_corner,
    detector_stream,
    frame_words_below,
    on_detector,
)
from hwosim_assets.perturb.effects.signals import add_light
from hwosim_assets.perturb.effects.state import WELL, integrations
from hwosim_assets.perturb.exact import log, power
from hwosim_assets.perturb.facts import find_facts
from hwosim_assets.perturb.parameters import Parameter, rounded
from hwosim_assets.perturb.registry import register
from hwosim_assets.perturb.spec import EffectSpec

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from hwosim_assets.perturb.block import Block
    from hwosim_assets.perturb.budget import Budget
    from hwosim_assets.perturb.effect import Task
    from hwosim_assets.perturb.measurements import Measurement
    from hwosim_assets.perturb.rng import Stream

    Floats = NDArray[np.float64]
    Integers = NDArray[np.int64]

__all__ = ["BadPixels", "HotPixels", "bad_pixels"]

#: Pixels of a cell's side: inside a cell bad pixels are equally dense.
_CELL = 32
#: Pixels that are looked at together for the map.
_PART = 1 << 22
#: What RC and open pixels still show of their signal.
_RC_SHARE, _OPEN_SHARE = 0.5, 0.1
_DAYS_PER_YEAR = 365.25
#: Shares of the words of bad pixels that are dead, RC and open; the rest is warm or hot.
_KINDS = ("dead", "rc", "open")


class BadPixels(NamedTuple):
    """The bad pixels of a frame.

    Attributes
    ----------
    hot : int64 array
        Flat places of warm and hot pixels, ascending.
    rate : float64 array
        Their dark current, electrons per second.
    dead, rc, open : int64 array
        Flat places of the others, ascending.
    """

    hot: Integers
    rate: Floats
    dead: Integers
    rc: Integers
    open: Integers


def bad_pixels(task: Task, measurement: Measurement, detector: str, part: range, fraction: float) -> BadPixels:
    """Return the bad pixels of a part of a frame.

    Each detector pixel has one word for whether it is bad, one for how; it is bad when the first lies below the
    fraction times the density of its cell, so that a map grows with the fraction and never loses a pixel.

    Parameters
    ----------
    task : Task
        Of the effect: its parameters and seed.
    measurement : Measurement
        Whose frame.
    detector : str
        Whose pixels.
    part : range
        Flat places of the frame that are looked at.
    fraction : float
        Share of warm and hot pixels; the others come on top.
    """
    shares = [task.number(name) for name in _KINDS]
    total = fraction * (1.0 + sum(shares))
    columns, (x0, y0) = measurement.frame[1], detector_corner(task.product)
    top, below = ((part.start // columns + y0) // _CELL, (part[-1] // columns + y0) // _CELL + 1)
    density = _density(task, detector, range(top, below), (x0 + columns - 1) // _CELL + 1)
    # A word above the limit of the densest cell is bad nowhere; only the few others have their coordinates reckoned.
    most = math.ceil(min(total * float(density.max()), 1.0) * 4294967296.0)
    stream = detector_stream(task, detector, "map")
    near, words = frame_words_below(stream, task.product, measurement, part.start, len(part), most)
    y, x = np.divmod(near + part.start, columns)
    y, x = y + y0, x + x0
    limit = np.minimum(total * density[y // _CELL - top, x // _CELL], 1.0) * 4294967296.0
    is_bad = words < limit
    bad, x, y = near[is_bad] + part.start, x[is_bad], y[is_bad]
    width = address_width(x0 + columns)
    words = detector_bits_at(detector_stream(task, detector, "kind"), x, y, width)
    how = words / 4294967296.0 * (1.0 + sum(shares))
    edges = np.cumsum(shares)
    kind = np.searchsorted(edges, how, side="right")
    hot = kind == len(_KINDS)
    bits = detector_bits_at(detector_stream(task, detector, "rate"), x[hot], y[hot], width)
    rate = task.number("warm_rate") * power(
        (bits.astype(np.float64) + 0.5) / 4294967296.0, rounded(-1.0 / task.number("index"))
    )
    return BadPixels(bad[hot], rate, *(bad[kind == place] for place in range(len(_KINDS))))


def _density(task: Task, detector: str, rows: range, columns: int) -> Floats:
    """Return how dense bad pixels are in each cell of some rows, relative to the mean: exponential where clustered."""
    share = task.number("clustering")
    if share == 0:
        return np.ones((len(rows), columns))
    stream = detector_stream(task, detector, "cells")
    table = np.stack([stream.bits(line, 0, columns) for line in rows])
    return np.asarray(1.0 - share + share * -log((table.astype(np.float64) + 0.5) / 4294967296.0))


def _number(name: str, doc: str, **more: Any) -> Parameter:
    return Parameter(name, doc, **{"source": "a proposal", **more})


@register(
    EffectSpec(
        name="hot_pixels",
        title="Hot, warm, dead, RC and open pixels",
        code="C1",
        steady="its map belongs to the detector",
        stage="particles",
        model="a fixed map for each detector that grows with severity and time; warm and hot pixels have a dark "
        "current of Pareto distribution and its Poisson noise, dead ones are lost, RC ones show half of their signal, "
        "open ones a tenth, the rest of it in the four neighbours",
        planes=("SCI", "ERR", "VAR_POISSON", "VAR_RNOISE", "DQ"),
        parameters=(
            _number(
                "fraction",
                "share of the pixels that is warm or hot, at the epoch",
                severities=(0.001, 0.005, 0.02, 0.05, 0.15),
                high=0.5,
                source="severity table 2026.1; 0.5 to 2 % at start, at most 5 % hot at end of life (NIRCam, 2010)",
            ),
            _number("growth", "growth of the fraction in a year, relative to it", default=0.1, high=10.0),
            _number("epoch", "when the fraction holds, MJD", default=59772.0, high=1e5, source="first science of JWST"),
            _number("clustering", "standard deviation of the density of 32 x 32 cells, relative to it", default=0.5),
            _number("warm_rate", "least dark current of a warm pixel", unit="e-/s", default=0.1, low=1e-4, high=1e4),
            _number("hot_rate", "dark current from which on a pixel is hot", unit="e-/s", default=1.0, high=1e5),
            _number("index", "index a of the Pareto distribution, P(> d) = d^-a", default=1.0, low=0.2, high=10.0),
            _number("dead", "dead pixels for each warm or hot one", default=0.05),
            _number("rc", "RC pixels for each warm or hot one", default=0.03),
            _number("open", "open pixels for each warm or hot one", default=0.02),
        ),
        source="bad-pixel types of the JWST mask reference file; mean signal with its Poisson noise",
        test="binomial fraction; the same map in all frames of a detector, nested in severity and time; Pareto index",
        err=True,
        dq=True,
    )
)
class HotPixels(Effect):
    """Bad pixels of a detector; a subarray sees its part of the same map."""

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self._maps: dict[int, tuple[BadPixels, Floats, Integers]] = {}

    def prepare(self, measurement: Measurement, budget: Budget) -> dict[str, Any]:
        """Find the map and what its pixels show."""
        product = self.task.product
        detector = on_detector(product, measurement)
        if budget.k is None:
            raise NotApplicableError("electrons per science unit are not known")
        facts = find_facts(product, measurement)
        seconds = facts.group_s if measurement.ramp else facts.frame_s
        if seconds is None:
            raise NotApplicableError("the header tells no exposure time, which a dark current needs")
        time = product.stream_time
        years = 0.0 if time is None else (time - self.task.number("epoch")) / _DAYS_PER_YEAR
        fraction = rounded(self.task.number("fraction") * max(1.0 + self.task.number("growth") * years, 0.0))
        found = self._map(measurement, detector, fraction)
        electrons = found.rate * seconds
        np.minimum(electrons, WELL * integrations(product, measurement), out=electrons)
        electrons /= budget.k
        self._maps[id(measurement)] = found, electrons, _neighbours(found.open, measurement.frame)
        warm = int(np.count_nonzero(found.rate < self.task.number("hot_rate")))
        counts = {name: int(getattr(found, name).size) for name in _KINDS}
        return {
            "detector": detector,
            "fraction": fraction,
            "years": rounded(years),
            "seconds": seconds,
            "warm": warm,
            "hot": int(found.hot.size) - warm,
            **counts,
        }

    def _map(self, measurement: Measurement, detector: str, fraction: float) -> BadPixels:
        """Return the bad pixels of a frame, found a part after the other: on the way each has several numbers."""
        length = max(_PART // measurement.frame[1], 1) * measurement.frame[1]
        parts = (
            range(start, min(start + length, measurement.pixels)) for start in range(0, measurement.pixels, length)
        )
        found = [bad_pixels(self.task, measurement, detector, part, fraction) for part in parts]
        return found[0] if len(found) == 1 else BadPixels(*map(np.concatenate, zip(*found, strict=True)))

    def reach(self, measurement: Measurement) -> int:
        """Look at the neighbours of open pixels."""
        return 1

    def on_frame(self, block: Block) -> None:
        """Add dark current, weaken and lose pixels; flags tell which."""
        found, added, beside = self._maps[id(block.measurement)]
        rate, added = (values[block.here(found.hot)] for values in (found.rate, added))
        bright, dead, rc, unconnected, beside = (
            places[block.here(places)] - block.start for places in (found.hot, found.dead, found.rc, found.open, beside)
        )
        stream, honest = self.task.stream(block.measurement.key), self.task.err_honest
        self._share_of_open(block, unconnected)
        _weaken(block, rc, _RC_SHARE, honest, stream)
        _weaken(block, unconnected, _OPEN_SHARE, honest, stream)
        kept = np.ones(bright.size, bool) if block.inert is None else ~block.inert[bright]
        add_light(block, stream, bright[kept], added[kept], honest)
        hot = rate >= self.task.number("hot_rate")
        for group in range(block.groups):
            for places, bits in (
                (bright[hot], DQ.HOT),
                (bright[~hot], DQ.WARM),
                (rc, DQ.RC),
                (unconnected, DQ.OPEN),
                (beside, DQ.ADJ_OPEN),
            ):
                block.flag(self.use, group, places, bits, self.task.dq_honest)
            block.lose(self.use, group, dead, self.task.dq_honest, bits=int(DQ.DEAD | DQ.DO_NOT_USE))

    def _share_of_open(self, block: Block, places: Integers) -> None:
        """Give a quarter of what an open pixel does not show to each neighbour."""
        columns, honest = block.measurement.frame[1], self.task.err_honest
        part = (1.0 - _OPEN_SHARE) / 4.0
        accounts = block.accounts("poisson", honest) if compiled.on() and not block.measurement.ramp else ()
        if accounts:
            from hwosim_assets.perturb.compiled import scattered

            kind = block.sci.dtype.type
            scattered.give_neighbours(block.sci[0], places, columns, (kind(part), kind(part * part)), accounts)
            return
        beside = _beside(places, (block.size // columns, columns))
        first = block.sci[0, places] if block.measurement.ramp else 0.0
        for group in range(1 if block.measurement.ramp else 0, block.groups):
            light = _finite(block.sci[group, places] - first) * part
            # An open pixel that was lost earlier has no variance to give.
            shot = _finite(block.true["poisson"][group, places]) * (part * part)
            for inside, target in beside:
                # Each pixel has one neighbour in one direction, so no target comes twice.
                block.sci[group, target] += light[inside]
                if not block.measurement.ramp:
                    block.add_variance("poisson", shot[inside], honest, target)


def _finite(values: NDArray[Any]) -> NDArray[Any]:
    """Return values with 0 for those that are no number or infinite."""
    return np.where(np.isfinite(values), values, 0.0)


def _beside(places: Integers, frame: tuple[int, ...]) -> list[tuple[NDArray[np.bool_], Integers]]:
    """Return (which have one, its place) for the neighbour above, to the left, to the right and below."""
    rows, columns = frame
    y, x = np.divmod(places, columns)
    sides = ((y > 0, -columns), (x > 0, -1), (x < columns - 1, 1), (y < rows - 1, columns))
    return [(inside, places[inside] + away) for inside, away in sides]


def _neighbours(places: Integers, frame: tuple[int, ...]) -> Integers:
    """Return the flat places next to others, each once."""
    return np.unique(np.concatenate([target for _, target in _beside(places, frame)]))


def _weaken(block: Block, places: Integers, share: float, honest: float, stream: Stream) -> None:
    """Let pixels show a share of their charge: their photon noise shrinks with it, their read noise does not."""
    top_up = (1.0 - share * share) ** 0.5
    accounts = block.accounts("poisson", honest) if compiled.on() and not block.measurement.ramp else ()
    if accounts:
        from hwosim_assets.perturb.compiled import scattered

        noise = stream.normal_at(block.plane(0), places + block.start, 1)
        shares = tuple(block.sci.dtype.type(number) for number in (share, top_up, share * share))
        scattered.weaken(block.sci[0], block.true["read"][0], places, noise, shares, accounts)
        return
    first = block.sci[0, places].copy() if block.measurement.ramp else 0.0
    for group in range(1 if block.measurement.ramp else 0, block.groups):
        read = np.sqrt(block.true["read"][group, places])
        noise = stream.normal_at(block.plane(group), places + block.start, 1)
        block.sci[group, places] = first + share * (block.sci[group, places] - first) + top_up * read * noise
    if not block.measurement.ramp:
        block.scale_variance("poisson", share * share, honest, places)
