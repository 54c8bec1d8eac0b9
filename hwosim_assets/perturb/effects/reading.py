"""What reading does to a pixel's value: telegraph noise, the decay after a reset, steps of the converter.

Holds: the effects A8, A11 and A12, and :class:`Reads`, the moments at which pixels are read and what an offset of
single reads does to the fitted slope. Keep out electrons that really come (``electrons``), white noise (``noise``)
and noise that pixels share in readout order (``correlated``).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from hwosim_assets.fits.dq import DQ
from hwosim_assets.perturb.effect import Effect, NotApplicableError
from hwosim_assets.perturb.effects.axes import on_detector
from hwosim_assets.perturb.effects.correlated import require_readout
from hwosim_assets.perturb.effects.frames import FrameCache
from hwosim_assets.perturb.effects.state import groups_of, integrations
from hwosim_assets.perturb.effects.telegraph import Map, Process, variance_of_slope
from hwosim_assets.perturb.exact import exp
from hwosim_assets.perturb.parameters import Parameter, rounded
from hwosim_assets.perturb.readout import CLOCK_S, ROW_OVERHEAD
from hwosim_assets.perturb.registry import register
from hwosim_assets.perturb.spec import EffectSpec
from hwosim_assets.perturb.times import frame_times

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from hwosim_assets.perturb.block import Block
    from hwosim_assets.perturb.budget import Budget
    from hwosim_assets.perturb.effect import Task
    from hwosim_assets.perturb.measurements import Measurement
    from hwosim_assets.perturb.product import Product

    Floats = NDArray[np.float64]

__all__ = ["DarkDecay", "Quantization", "Reads", "TelegraphNoise"]

_DAY_S = 86400.0
_PROPOSAL = "a proposal"
#: Reads beyond this have a wrong NGROUPS or NINTS; their covariances alone would take gigabytes.
_MOST_GROUPS, _MOST_READS = 2048, 1 << 23
#: What planes in single precision can hold: a step's square is its variance.
_LARGEST = float(np.finfo(np.float32).max)


def _electrons(budget: Budget) -> float:
    if budget.k is None:
        raise NotApplicableError("electrons per science unit are not known")
    return budget.k


class Reads(NamedTuple):
    """When the pixels of a measurement were read.

    Attributes
    ----------
    starts : float64 array, (frames, integrations)
        Begin of each integration that a frame is made of, seconds (MJD x 86 400).
    after : float64 array, (groups,)
        Seconds from there to each group.
    method : str
        Where the times and the number of groups are from.
    """

    starts: Floats
    after: Floats
    method: str

    @classmethod
    def of(cls, product: Product, measurement: Measurement) -> Reads:
        """Return them from the times of the frames and NINTS, NGROUPS, TGROUP.

        Raises
        ------
        NotApplicableError
            When the file tells no times.
        """
        times = frame_times(product, measurement)
        seconds = None if times is None else (times.end - times.start) * _DAY_S
        if times is None or seconds is None or not seconds.min(initial=1.0) > 0:
            raise NotApplicableError("the file does not tell when its frames were exposed")
        several = int(integrations(product, measurement))
        groups, known = groups_of(product, measurement)
        if groups > _MOST_GROUPS or seconds.size * several * groups > _MOST_READS:
            raise NotApplicableError(f"{groups} groups in {seconds.size * several} integrations are too many reads")
        each = seconds / several
        starts = (times.start * _DAY_S)[:, None] + each[:, None] * np.arange(several)
        step = product.number("TGROUP") or 0.0
        if not 0 < groups * step <= 1.01 * float(each.min()):
            step = float(each.min()) / groups
        return cls(starts, step * np.arange(1.0, groups + 1.0), f"{times.method}, {known}")

    @property
    def weights(self) -> Floats:
        """Electrons of one integration that a slope of equal weights makes of one more electron in each group."""
        groups = self.after.size
        if groups == 1:
            return np.ones(1)
        place = np.arange(groups) - (groups - 1) / 2.0
        return np.asarray(place * (groups / (groups * (groups * groups - 1.0) / 12.0)))


class _Shown(NamedTuple):
    """What the switching pixels of a frame show.

    Attributes
    ----------
    times : list of bool or float64 array, (pixels,)
        For each group, how many amplitudes more; of a slope, in the one.
    variance : float
        Of a slope, in squared amplitudes.
    high : float64 array, (pixels,)
        Share of the reads in the upper state.
    """

    times: list[Any]
    variance: float
    high: Floats


@register(
    EffectSpec(
        name="telegraph_noise",
        title="Random telegraph noise (popcorn pixels)",
        code="A8",
        stage="noise",
        model="some pixels of a detector read A electrons more while they are in their upper state, which they enter "
        "after low_dwell and leave after high_dwell on average (a Markov process in absolute time); slopes get "
        "what a fit of equal weights makes of those reads",
        planes=("SCI", "ERR", "VAR_RNOISE", "DQ"),
        parameters=(
            Parameter(
                "fraction",
                "share of pixels that switch",
                severities=(0.001, 0.002, 0.003, 0.01, 0.03),
                high=0.3,
                source="0.1 to 0.3 %, commonly quoted, not checked; higher levels are a proposal",
            ),
            Parameter(
                "amplitude",
                "median difference between the states",
                unit="e-",
                severities=(10.0, 20.0, 40.0, 100.0, 300.0),
                high=1e5,
                source="10 to 100 e-, commonly quoted, not checked; higher levels are a proposal",
            ),
            Parameter("decades", "width of the distribution of amplitudes, uniform in log A", default=1.0, high=3.0,
                      source="10 to 100 e-"),
            Parameter("low_dwell", "mean time in the lower state", unit="s", default=100.0, low=0.1, high=1e6,
                      source=_PROPOSAL),
            Parameter("high_dwell", "mean time in the upper state", unit="s", default=50.0, low=0.1, high=1e6,
                      source=_PROPOSAL),
        ),
        source="Rauscher et al. (arXiv:0706.2344) for its existence; step response of an unweighted ramp fit (stcal)",
        test="dwell times are exponential; two values in a ramp; variance of slopes; the same pixels and states in "
        "all products of a detector",
        err=True,
        dq=True,
    )
)  # fmt: skip
class TelegraphNoise(Effect):
    """Pixels that jump between two levels."""

    per_frame = True

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self._found: dict[int, tuple[Map, Reads]] = {}
        self._shown = FrameCache(self._show)

    def prepare(self, measurement: Measurement, budget: Budget) -> dict[str, Any]:
        """Find the pixels and the moments at which they are read."""
        detector = on_detector(self.task.product, measurement)
        _electrons(budget)
        reads = Reads.of(self.task.product, measurement)
        fraction = max(self.task.numbers("fraction", measurement))
        found = Map.of(self.task, detector, measurement, fraction)
        self._found[id(measurement)] = found, reads
        return {"detector": detector, "pixels": int(found.places.size), "reads": reads.after.size,
                "integrations": reads.starts.shape[1], "times_from": reads.method}  # fmt: skip

    def reach(self, measurement: Measurement) -> int:
        """Look at no neighbours."""
        return 0

    def on_frame(self, block: Block) -> None:
        """Add what each read shows more."""
        found, _ = self._found[id(block.measurement)]
        unit = self.task.number("amplitude", block) / float(block.budget.k or 1.0)
        if not found.places.size or not unit:
            return
        shown = self._shown.of(block)
        here = np.flatnonzero((found.places >= block.start) & (found.places < block.start + block.size))
        places, amplitude = found.places[here] - block.start, found.amplitude[here] * unit
        for group, times in enumerate(shown.times):
            block.sci[group, places] += (times[here] * amplitude).astype(block.sci.dtype)
            block.flag(self.use, group, places, DQ.TELEGRAPH, self.task.dq_honest)
        if not block.measurement.ramp:
            added = (amplitude * amplitude * shown.variance).astype(block.sci.dtype)
            block.add_variance("read", added, self.task.err_honest, places)
        if block.start == 0:
            self._record(block, found, shown.high)

    def _show(self, block: Block) -> _Shown:
        """Return what the pixels of a frame show."""
        found, reads = self._found[id(block.measurement)]
        process = Process(self.task, found)
        moments = (reads.starts[block.frame][:, None] + reads.after).ravel()
        high = np.zeros(found.places.size)
        if block.measurement.ramp:
            each = list(process.states(moments))
            for upper in each:
                high += upper
            return _Shown(each, 0.0, high / moments.size)
        slope, weights = np.zeros(found.places.size), np.tile(reads.weights, reads.starts.shape[1])
        for number, upper in enumerate(process.states(moments)):
            high += upper
            slope += upper * weights[number]
        variance = variance_of_slope(process, reads.after, reads.weights) * reads.starts.shape[1]
        return _Shown([slope], variance, high / moments.size)

    def _record(self, block: Block, found: Map, share: Floats) -> None:
        """Tell which pixels switched, by how much and for which share of the reads they were high."""
        moved = np.flatnonzero((share > 0) & (share < 1))
        y, x = np.divmod(found.places[moved], block.measurement.frame[1])
        electrons = found.amplitude[moved] * self.task.number("amplitude", block)
        block.record(self.use, y=y, x=x, electrons=electrons, high=share[moved])


@register(
    EffectSpec(
        name="dark_decay",
        title="Decay of the dark signal at the start of an exposure",
        code="A11",
        steady="it has a course in time of its own",
        stage="noise",
        model="reads show A exp(-t / tau) more, t the time since the start of the exposure at which a row is read; "
        "slopes get what a fit of equal weights makes of that",
        planes=("SCI",),
        parameters=(
            Parameter(
                "amplitude",
                "at the start of the exposure",
                unit="e-",
                severities=(0.8, 2.0, 8.0, 25.0, 80.0),
                high=1e5,
                source="0.4 DN for Roman's detectors (romancal), taken as 0.8 e-; higher levels are a proposal",
            ),
            Parameter("tau", "time constant", unit="s", default=23.0, low=0.1, high=1e6, source="23 s (romancal)"),
        ),
        source="romanisim and romancal, dark decay: the same for all pixels of a detector, which are read one by one",
        test="fitted time constant to 5 %; response of the slope",
    )
)  # fmt: skip
class DarkDecay(Effect):
    """A signal that dies away in the first reads."""

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self._found: dict[int, tuple[Floats, Floats, bool]] = {}

    def prepare(self, measurement: Measurement, budget: Budget) -> dict[str, Any]:
        """Find the share of the amplitude in each frame (and group), and how much later each line is read."""
        product, tau = self.task.product, self.task.number("tau")
        k, readout, reads = _electrons(budget), require_readout(product, measurement), Reads.of(product, measurement)
        start = (product.number("EXPSTART") or 0.0) * _DAY_S
        if not 0 < start <= float(reads.starts[0, 0]):
            start = float(reads.starts[0, 0])
        since = reads.starts[:, :, None] + reads.after - start
        left = exp(np.asarray(since / -tau))
        if not measurement.ramp:
            left = np.array([math.fsum((frame * reads.weights).ravel().tolist()) for frame in left])
        shares = left.reshape(measurement.frames, -1) / k
        later = np.arange(readout.lines) * ((readout.width + ROW_OVERHEAD) * CLOCK_S)
        lines = exp(np.asarray((later[::-1] if readout.slow < 0 else later) / -tau, dtype=np.float64))
        self._found[id(measurement)] = shares, lines, abs(readout.fast) == 1
        return {
            "first_read_s": rounded(float(reads.starts[0, 0] + reads.after[0] - start)),
            "first_frame": rounded(float(shares[0, 0]) * self.task.number("amplitude")),
            "times_from": reads.method,
            **readout.record(),
        }

    def on_chunk(self, block: Block) -> None:
        """Add what is left of the decay, row by row."""
        shares, lines, rows = self._found[id(block.measurement)]
        columns = block.measurement.frame[1]
        first, last = block.start // columns, (block.start + block.size - 1) // columns + 1
        whole = np.repeat(lines[first:last], columns) if rows else np.tile(lines, last - first)
        shape = whole[block.start - first * columns :][: block.size].astype(block.sci.dtype)
        amplitude = self.task.number("amplitude")
        for group in range(block.groups):
            block.sci[group] += shape * block.sci.dtype.type(shares[block.frame, group] * amplitude)


@register(
    EffectSpec(
        name="quantization",
        title="Coarse steps of the analogue-to-digital converter",
        code="A12",
        steady="it belongs to the detector",
        stage="digitization",
        model="S -> (max(round((S k + bias) / step), 0) step - bias) / k, S k the electrons of a frame, of a ramp "
        "those of each read, whose bias is in the data",
        planes=("SCI", "ERR", "VAR_RNOISE", "DQ"),
        parameters=(
            Parameter(
                "step",
                "width of one step",
                unit="e-",
                severities=(2.0, 8.0, 32.0, 128.0, 512.0),
                high=1e6,
                source="16 bits for a well of 105 000 e- are 1.6 e-; then two bits less at each level, a proposal",
            ),
            Parameter("bias", "electrons that are added before conversion, so that noise stays above its floor",
                      unit="e-", default=500.0, high=1e6, source="bias of the reference pixels in NGHXRG: 500 e-"),
        ),
        source="round(S k / g) g / k; variance step^2 / 12 of an error that is uniform in a step",
        test="spacing of the distinct values; added variance step^2 / 12",
        err=True,
        dq=True,
    )
)  # fmt: skip
class Quantization(Effect):
    """A converter with fewer bits."""

    def prepare(self, measurement: Measurement, budget: Budget) -> dict[str, Any]:
        """Find the step in science units."""
        if measurement.sci.column:
            raise NotApplicableError("a spectrum in a table has no detector pixels")
        if measurement.resampled:
            raise NotApplicableError("its pixels are resampled and were not converted one by one")
        k, step = _electrons(budget), self.task.number("step")
        if not (step / k < _LARGEST**0.5 and k / step < _LARGEST):
            raise NotApplicableError(f"{k:g} electrons per science unit are not to be believed")
        return {"step": rounded(step / k)}

    def on_chunk(self, block: Block) -> None:
        """Round, and flag what lies on the floor."""
        k, step = float(block.budget.k or 1.0), self.task.number("step")
        bias = 0.0
        if not block.measurement.ramp:
            bias = self.task.number("bias") * integrations(self.task.product, block.measurement) / step
        block.sci *= k / step
        block.sci += bias
        np.rint(block.sci, out=block.sci)
        for group in range(block.groups):
            low = np.flatnonzero(block.sci[group] <= 0.0)
            block.sci[group, low] = 0.0
            block.flag(self.use, group, low, DQ.AD_FLOOR, self.task.dq_honest)
        block.sci -= bias
        block.sci *= step / k
        if not block.measurement.ramp:
            block.add_variance("read", (step / k) ** 2 / 12.0, self.task.err_honest)
