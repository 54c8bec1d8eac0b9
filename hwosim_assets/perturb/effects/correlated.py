"""Noise that neighbours in readout order share: pink (1/f) noise and alternating column noise.

Holds: the effects A3 and A4, and :class:`Lanes`, which brings series in readout time onto the pixels of a frame. Keep
out the series themselves (``series``), which amplifier reads a pixel (``perturb.readout``), white noise (``noise``)
and what changes from frame to frame only (``bias``).
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, replace
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np

from hwosim_assets.perturb import compiled
from hwosim_assets.perturb.effect import Effect, NotApplicableError
from hwosim_assets.perturb.effects.series import layers_for, octave_weights, octaves
from hwosim_assets.perturb.facts import find_facts
from hwosim_assets.perturb.parameters import Parameter, rounded
from hwosim_assets.perturb.readout import CLOCK_S, ROW_OVERHEAD, Readout, find_readout
from hwosim_assets.perturb.registry import register
from hwosim_assets.perturb.rng import TILE
from hwosim_assets.perturb.spec import EffectSpec

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from hwosim_assets.perturb.block import Block
    from hwosim_assets.perturb.budget import Budget
    from hwosim_assets.perturb.effect import Task
    from hwosim_assets.perturb.measurements import Measurement
    from hwosim_assets.perturb.product import Product

__all__ = ["KNOT", "AlternatingColumnNoise", "Lanes", "PinkNoise", "read_level", "require_readout"]

#: Clocks over which the noise is held: it falls below the white noise of reading at 0.011 cycles per pixel (3 e- pink
#: against 5.2 e- white, NGHXRG), so nothing is seen of what is faster.
KNOT = 8
#: Frames whose series are kept for the chunks that are still to come; as many may be at work in threads.
_KEPT = 8


def require_readout(product: Product, measurement: Measurement) -> Readout:
    """Return the readout of a measurement.

    Raises
    ------
    NotApplicableError
        When its pixels are not those of a detector.
    """
    readout = find_readout(product, measurement)
    if readout is None:
        if measurement.resampled:
            raise NotApplicableError("its pixels are resampled and were not read one after the other")
        raise NotApplicableError("a spectrum has no pixels that were read one after the other")
    return readout


def read_level(product: Product, measurement: Measurement, budget: Budget) -> float:
    """Return the read noise of a typical pixel in science units.

    From the product's one number where it has one, else the median of VAR_RNOISE, else of the part of ERR^2 that is not
    photon noise.

    Raises
    ------
    NotApplicableError
        When none is known.
    """
    if budget.read_sigma:
        return budget.read_sigma

    def sample(name: str) -> NDArray[np.float64]:
        plane = {"SCI": measurement.sci, "ERR": measurement.err}.get(name, measurement.variances.get(name))
        if plane is None:
            return np.empty(0)
        flat = plane.raw(product.payload).reshape(-1)
        return plane.decode(flat[:: max(1, flat.size // TILE)]).astype(np.float64)

    variance = sample("VAR_RNOISE") if budget.read_method == "VAR_RNOISE" else sample("ERR")
    if budget.read_method == "ERR":
        light = np.maximum(np.nan_to_num(sample("SCI"), nan=0.0, posinf=0.0, neginf=0.0), 0.0)
        variance = variance * variance - (light / budget.k if budget.k else 0.0)
    variance = variance[np.isfinite(variance) & (variance > 0)]
    if not variance.size:
        raise NotApplicableError("no read noise is known that it could be measured by")
    return rounded(float(np.sqrt(np.partition(variance, (variance.size - 1) // 2)[(variance.size - 1) // 2])))


@dataclass(frozen=True)
class Lanes:
    """Where the series of some lanes (amplifiers, or every other column of one) lie on a frame.

    Attributes
    ----------
    readout : Readout
        Order of the pixels.
    count : int
        Lanes.
    knots : int
        Values of a series in each line, those of the time between lines included.
    lane : int array
        Which lane reads each place along the fast axis.
    index : int array
        For each place along the fast axis, its row or column in a table of all lanes of a line.
    """

    readout: Readout
    count: int
    knots: int
    lane: NDArray[np.intp]
    index: NDArray[np.intp]

    @classmethod
    def of(cls, readout: Readout, per_output: int = 1) -> Lanes:
        """Return the lanes of a readout: one for each amplifier, or so many that take turns from pixel to pixel."""
        along_x = abs(readout.fast) == 1
        one = replace(readout, rows=1) if along_x else replace(readout, columns=1)
        amplifier, _, place = one.places(0, readout.columns if along_x else readout.rows)
        knots = -(-(readout.width + ROW_OVERHEAD) // KNOT)
        lane = (amplifier * per_output + place % per_output).astype(np.intp)
        return cls(readout, readout.outputs * per_output, knots, lane, lane * knots + (place // KNOT).astype(np.intp))

    @property
    def frame(self) -> int:
        """Knots of a series in one frame."""
        return self.readout.lines * self.knots

    def table(self, series: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return series (lanes, knots of a frame) in the order of the frame, for :meth:`values`."""
        cube = series.reshape(self.count, self.readout.lines, self.knots)
        if abs(self.readout.fast) == 1:
            table = cube.transpose(1, 0, 2).reshape(self.readout.lines, -1)
            return np.ascontiguousarray(table[::-1] if self.readout.slow < 0 else table)
        table = cube.transpose(0, 2, 1).reshape(-1, self.readout.lines)
        return np.ascontiguousarray(table[:, ::-1] if self.readout.slow < 0 else table)

    def values(self, table: NDArray[np.float32], start: int, count: int) -> NDArray[np.float32]:
        """Return what a table says of consecutive flat pixels of the frame."""
        columns = self.readout.columns
        top, bottom = start // columns, -(-(start + count) // columns)
        if abs(self.readout.fast) == 1:
            rows = np.take(table[top:bottom], self.index, axis=1)
        else:
            rows = np.take(table, self.index[top:bottom], axis=0)
        return rows.reshape(-1)[start - top * columns : start - top * columns + count]


class _Correlated(Effect):
    """Pink series in readout time, laid over the frame; who comes after says which series."""

    per_frame = True

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self._lanes: dict[int, tuple[Lanes, float]] = {}
        self._tables: OrderedDict[tuple[int, int], list[NDArray[np.float32]]] = OrderedDict()
        self._lock = Lock()

    def _of(self, readout: Readout) -> Lanes:
        raise NotImplementedError

    def _series(self, block: Block, start: int, lanes: Lanes, weights: NDArray[np.float64]) -> NDArray[np.float32]:
        """Return series of variance 1 of all lanes, (lanes, knots of a frame), from a knot of the integration on."""
        raise NotImplementedError

    def prepare(self, measurement: Measurement, budget: Budget) -> dict[str, Any]:
        """Find the order of reading and the noise that the amplitude is relative to."""
        readout = require_readout(self.task.product, measurement)
        level = read_level(self.task.product, measurement, budget)
        lanes = self._of(readout)
        self._lanes[id(measurement)] = lanes, level
        return {
            "sigma": level,
            "noise_from": budget.read_method,
            "octaves": layers_for(lanes.frame),
            **readout.record(),
        }

    def on_chunk(self, block: Block) -> None:
        """Add the noise, and say so."""
        lanes, level = self._lanes[id(block.measurement)]
        sigma = self.task.number("amplitude", block) * level
        accounts = block.accounts("read", self.task.err_honest) if compiled.on() else ()
        if accounts:
            from hwosim_assets.perturb.compiled.effects import add_lanes

            (table,), along_x = self._frame(block, lanes), abs(lanes.readout.fast) == 1
            variance = block.sci.dtype.type(sigma * sigma)
            add_lanes(block.sci[0], block.start, table, lanes.index, along_x, np.float32(sigma), variance, accounts)
            return
        for group, table in enumerate(self._frame(block, lanes)):
            values = lanes.values(table, block.start, block.size)
            values *= np.float32(sigma)
            block.sci[group] += values
        block.add_variance("read", sigma * sigma, self.task.err_honest)

    def _frame(self, block: Block, lanes: Lanes) -> list[NDArray[np.float32]]:
        """Return a table for each group of the block's frame, made once for all of its chunks."""
        key = id(block.measurement), block.frame
        with self._lock:
            if key not in self._tables:
                while len(self._tables) >= _KEPT:
                    self._tables.popitem(last=False)
                self._tables[key] = self._made(block, lanes)
            return self._tables[key]

    def _made(self, block: Block, lanes: Lanes) -> list[NDArray[np.float32]]:
        """Return a table for each group; slow octaves go on from group to group of a ramp.

        Of an integration that is one slope, what is slower than a frame is a constant and no part of it.
        """
        seconds = find_facts(self.task.product, block.measurement).group_s if block.groups > 1 else None
        step = max(lanes.frame, int((seconds or 0.0) / (KNOT * CLOCK_S)))
        whole = layers_for(lanes.frame)
        weights = octave_weights(layers_for(block.groups * step), self._index(), whole)
        return [lanes.table(self._series(block, group * step, lanes, weights)) for group in range(block.groups)]

    def _index(self) -> float:
        return self.task.number("index")


_PLANES = ("SCI", "ERR", "VAR_RNOISE")
_INDEX = Parameter(
    "index",
    "index of the spectrum: power as f^-index",
    default=1.0,
    low=0.5,
    high=1.5,
    source="1/f noise (NGHXRG v2.6)",
)


@register(
    EffectSpec(
        name="pink_noise",
        title="Pink (1/f) noise of the readout",
        code="A3",
        stage="noise",
        model="S += amplitude sigma (sqrt(common) p(t) + sqrt(1 - common) p_a(t)), p and p_a pink series of rms 1 in "
        "the time t at which a pixel is read, p of all amplifiers, p_a of each its own; sigma the read noise of a "
        "typical pixel. The pipeline does not know this noise: `err: stale` is what it does",
        planes=_PLANES,
        parameters=(
            Parameter(
                "amplitude",
                "rms in units of the read noise",
                severities=(0.1, 0.25, 0.5, 1.0, 3.0),
                high=100.0,
                source="severity table 2026.1; NGHXRG has 0.6 (3.2 e- pink, 5.2 e- white)",
            ),
            Parameter(
                "common",
                "share of its variance that all amplifiers have in common",
                default=0.9,
                source="c_pink 3 e-, u_pink 1 e- (NGHXRG v2.6, NIRSpec): 9 / (9 + 1)",
            ),
            _INDEX,
        ),
        source="NGHXRG v2.6; Schlawin et al. (arXiv:2010.03564); octaves of noise in readout order instead of an FFT",
        test="slope of the spectrum of row means -1 +- 0.1; correlation of amplifiers; rms by the structure function",
        err=True,
    )
)
class PinkNoise(_Correlated):
    """Bands along the fast axis."""

    def _of(self, readout: Readout) -> Lanes:
        return Lanes.of(readout)

    def _series(self, block: Block, start: int, lanes: Lanes, weights: NDArray[np.float64]) -> NDArray[np.float32]:
        """Return what the amplifiers have in common, and on top what each has of its own."""
        stream, common = self.task.stream(block.measurement.key), self.task.number("common")
        shared = octaves(stream, block.frame, start, lanes.frame, weights * common**0.5)
        own = weights * (1.0 - common) ** 0.5
        return np.stack(
            [shared + octaves(stream, block.frame, start, lanes.frame, own, 1 + lane) for lane in range(lanes.count)]
        )


@register(
    EffectSpec(
        name="alternating_column_noise",
        title="Alternating column noise",
        code="A4",
        stage="noise",
        model="S += amplitude sigma p(t), p a pink series of rms 1 in readout time, one for the even and one for the "
        "odd columns of each amplifier; sigma the read noise of a typical pixel. The pipeline does not know this "
        "noise: `err: stale` is what it does",
        planes=_PLANES,
        parameters=(
            Parameter(
                "amplitude",
                "rms in units of the read noise",
                severities=(0.02, 0.05, 0.1, 0.3, 2.0),
                high=100.0,
                source="0.1 is NGHXRG's (0.5 e- against 5.2 e- white); others in the steps of pink noise, a proposal",
            ),
            _INDEX,
        ),
        source="NGHXRG v2.6",
        test="power at the highest frequency along a row; rms of the difference of even and odd columns",
        err=True,
    )
)
class AlternatingColumnNoise(_Correlated):
    """Stripes of one column, in bands of rows."""

    def _of(self, readout: Readout) -> Lanes:
        return Lanes.of(readout, per_output=2)

    def _series(self, block: Block, start: int, lanes: Lanes, weights: NDArray[np.float64]) -> NDArray[np.float32]:
        stream = self.task.stream(block.measurement.key)
        return np.stack(
            [octaves(stream, block.frame, start, lanes.frame, weights, lane) for lane in range(lanes.count)]
        )
