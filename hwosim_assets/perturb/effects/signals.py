"""Injected signals: what a model is to find, with the photon noise that belongs to it.

Holds: the effects of family G that follow the light of a whole frame or a spectrum (transit, eclipse, flare,
spectral line) and the stuck value, and :func:`add_light`. Light that is added has its Poisson noise, light
that is taken away leaves the noise of what remains. Keep out what stands at a place (``sources``) and damage.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from hwosim_assets.perturb import compiled
from hwosim_assets.perturb.effect import Effect, NotApplicableError
from hwosim_assets.perturb.effects.axes import (
    days_since,
    exposure_days,
    exposure_shares,
    noise_level,
    share_note,
    wavelengths,
)
from hwosim_assets.perturb.effects.calibration import lose_light
from hwosim_assets.perturb.effects.frames import FrameCache
from hwosim_assets.perturb.effects.moments import Instant, Lasting
from hwosim_assets.perturb.effects.shapes import box, flare_curve, gaussian, limb_darkened, trapezoid
from hwosim_assets.perturb.parameters import Parameter, rounded
from hwosim_assets.perturb.registry import register
from hwosim_assets.perturb.rng import poisson
from hwosim_assets.perturb.spec import EffectSpec
from hwosim_assets.perturb.times import segment_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from hwosim_assets.perturb.block import Block
    from hwosim_assets.perturb.budget import Budget
    from hwosim_assets.perturb.effect import Task
    from hwosim_assets.perturb.measurements import Measurement
    from hwosim_assets.perturb.rng import Stream

    Floats = NDArray[np.float64]

__all__ = ["Eclipse", "Flare", "SpectralLine", "StuckValue", "Transit", "add_light"]

_LIGHT = ("SCI", "ERR", "VAR_POISSON", "VAR_FLAT")
_ADDED = ("SCI", "ERR", "VAR_POISSON")
_PROPOSAL = "levels are a proposal"


def add_light(block: Block, stream: Stream, index: NDArray[np.intp], amount: Floats, honest: float) -> None:
    """Add a mean signal with its Poisson noise to pixels of a block.

    Parameters
    ----------
    block : Block
        Changed in place; its electrons per unit are known.
    stream : Stream
        Random bits.
    index : int array
        Positions in the block, ascending, each once.
    amount : float64 array
        Mean signal at each, science units (of a ramp, in one group), not negative.
    honest : float
        Share of it that uncertainties say: ``task.err_honest``.
    """
    k = float(block.budget.k or 1.0)
    first = 1 if block.measurement.ramp else 0
    accounts = block.accounts("poisson", honest) if compiled.on() and not first and amount.dtype == np.float64 else ()
    if accounts:
        from hwosim_assets.perturb.compiled import scattered

        counts = poisson(stream.bits_at(block.plane(0), index + block.start), amount * k)
        scattered.add_light(block.sci[0], index, counts, amount, k, accounts)
        return
    for group in range(first, block.groups):
        counts = poisson(stream.bits_at(block.plane(group), index + block.start), amount * k)
        light = (counts / k).astype(block.sci.dtype, copy=False)
        for row in block.sci[group:]:
            row[index] += light
    if not block.measurement.ramp:
        block.add_variance("poisson", (amount / k).astype(block.sci.dtype, copy=False), honest, index)


def _parameter(name: str, doc: str, kind: type[Parameter] = Parameter, **more: Any) -> Parameter:
    return kind(name, doc, **{"source": "a proposal", **more})


_MID = _parameter("mid", "mid time as a share of the exposure (0 start, 1 end)", default=0.5)
_DURATION = _parameter("duration", "duration as a share of the exposure", default=0.4, low=1e-6, high=10.0)
#: What places a dip in absolute time, the same in all exposures of a star.
_ABSOLUTE = (
    _parameter(
        "mid_mjd",
        "mid time (MJD or ISO, UTC) in place of `mid`; 0: `mid` counts",
        Instant,
        unit="d",
        default=0.0,
        high=1e6,
    ),
    _parameter(
        "period", "time from one `mid_mjd` to the next; 0: there is one", Lasting, unit="d", default=0.0, high=1e6
    ),
    _parameter(
        "length", "duration in place of `duration`; 0: `duration` counts", Lasting, unit="h", default=0.0, high=1e6
    ),
)


class _Dip(Effect):
    """Light that is missing for a while, in products with several frames in time."""

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self._kept: dict[int, Floats] = {}

    def curve(self, phase: Floats) -> Floats:
        """Return the missing share of the light at times in durations from the middle."""
        raise NotImplementedError

    def prepare(self, measurement: Measurement, budget: Budget) -> dict[str, Any]:
        """Find what each frame loses; refuse what has no course in time."""
        product = self.task.product
        if measurement.resampled or not self.task.number("mid_mjd"):
            _require_time(measurement, self.task)
        if measurement.ramp and measurement.groups < 2:
            raise NotApplicableError("a ramp of one group has a bias that cannot be told from light")
        times = exposure_shares(product, measurement)
        missing = self.curve(self._phase(measurement, times))
        self._kept[id(measurement)] = 1.0 - missing
        found = np.flatnonzero(missing)
        return {
            "frames": [int(found[0]), int(found[-1]) + 1] if found.size else [],
            "frame_times": [rounded(float(time)) for time in times[found[[0, -1]]]] if found.size else [],
            "largest": rounded(float(missing.max(initial=0.0))),
            "noise_from": budget.read_method,
            **share_note(product, measurement),
        }

    def _phase(self, measurement: Measurement, shares: Floats) -> Floats:
        """Return the times of the frames from the middle of the dip, in its durations."""
        mid_mjd, length = self.task.number("mid_mjd"), self.task.number("length") / 24.0
        if not mid_mjd and not length:
            return (shares - self.task.number("mid")) / self.task.number("duration")
        product = self.task.product
        length = length or self.task.number("duration") * exposure_days(product, measurement)
        since = days_since(product, measurement, mid_mjd, self.task.number("mid"))
        period = self.task.number("period")
        if period:
            since = since - period * np.floor(since / period + 0.5)
        return np.asarray(since / length)

    def on_chunk(self, block: Block) -> None:
        """Take the share of this frame away."""
        q = float(self._kept[id(block.measurement)][block.frame])
        if q < 1.0:
            lose_light(block, self.task.stream(block.measurement.key), q, self.task.err_honest)


def _require_time(measurement: Measurement, task: Task) -> None:
    here = segment_of(task.product, measurement)
    one_of_many = here.each == 1 and here.total > 1
    alone = measurement.frames < 2 and not one_of_many and len(task.product.measurements) < 3
    if measurement.resampled or alone:
        raise NotApplicableError("the product has one moment in time; it needs integrations")


@register(
    EffectSpec(
        name="transit",
        title="Transit",
        code="G1",
        steady="it has a course in time of its own",
        stage="signal",
        kind="signal",
        model="S -> (1 - depth f(t)) S with the noise of a true loss; f a box, a trapezoid, or a small disc over a "
        "star with quadratic limb darkening",
        planes=_LIGHT,
        parameters=(
            _parameter(
                "depth",
                "share of the light that is missing: (Rp/Rs)^2 for the limb-darkened shape",
                severities=(1e-4, 1e-3, 5e-3, 0.02, 0.1),
                high=0.9,
                source="Earth 84 ppm, Jupiter 1 % of the Sun; " + _PROPOSAL,
            ),
            _parameter("shape", "course in time", default="trapezoid", choices=("box", "trapezoid", "limb_darkened")),
            _MID,
            _DURATION,
            *_ABSOLUTE,
            _parameter("ingress", "ingress as a share of the duration (trapezoid)", default=0.1, low=0.001, high=0.5),
            _parameter("impact", "impact parameter in stellar radii (limb-darkened)", default=0.0, high=0.95),
            _parameter("u1", "linear limb-darkening coefficient", default=0.3),
            _parameter("u2", "quadratic limb-darkening coefficient", default=0.2),
        ),
        source="the true-loss rule; quadratic limb darkening as in Mandel & Agol (2002)",
        test="depth and mid time of the light curve",
        err=True,
        needs=(("period", "mid_mjd"),),
        apart=((("mid_mjd",), ("mid",)), (("length",), ("duration",))),
    )
)
class Transit(_Dip):
    """A planet before its star. The whole frame is taken to be the star's light."""

    def curve(self, phase: Floats) -> Floats:
        """Return depth times the chosen shape."""
        depth, shape = self.task.number("depth"), self.task.word("shape")
        if shape == "box":
            return depth * box(phase)
        if shape == "trapezoid":
            return depth * trapezoid(phase, self.task.number("ingress"))
        numbers = [self.task.number(name) for name in ("impact", "u1", "u2")]
        return limb_darkened(phase, depth, *numbers)


@register(
    EffectSpec(
        name="eclipse",
        title="Secondary eclipse",
        code="G2",
        steady="it has a course in time of its own",
        stage="signal",
        kind="signal",
        model="S -> (1 - depth f(t)) S with the noise of a true loss; f a trapezoid with a flat bottom",
        planes=_LIGHT,
        parameters=(
            _parameter(
                "depth",
                "share of the light that the planet gave",
                severities=(3e-5, 1e-4, 5e-4, 2e-3, 1e-2),
                high=0.9,
                source="hot Jupiters: 0.1 to 0.5 % in the infrared; " + _PROPOSAL,
            ),
            _MID,
            _DURATION,
            *_ABSOLUTE,
            _parameter("ingress", "ingress as a share of the duration", default=0.1, low=0.001, high=0.5),
        ),
        source="the true-loss rule",
        test="depth and mid time of the light curve",
        err=True,
        needs=(("period", "mid_mjd"),),
        apart=((("mid_mjd",), ("mid",)), (("length",), ("duration",))),
    )
)
class Eclipse(_Dip):
    """A planet behind its star: a flat bottom, no limb darkening."""

    def curve(self, phase: Floats) -> Floats:
        """Return depth times a trapezoid."""
        return self.task.number("depth") * trapezoid(phase, self.task.number("ingress"))


@register(
    EffectSpec(
        name="flare",
        title="Stellar flare",
        code="G3",
        steady="it has a course in time of its own",
        stage="signal",
        kind="signal",
        model="S += Poisson(k S A f(t)) / k with f a linear rise and an exponential decay",
        planes=_ADDED,
        parameters=(
            _parameter(
                "amplitude", "peak relative to the quiet light", severities=(1e-3, 5e-3, 0.02, 0.1, 1.0), high=100.0
            ),
            _parameter("peak", "time of the peak as a share of the exposure", default=0.4),
            _parameter("rise", "length of the rise as a share of the exposure", default=0.02, low=1e-6),
            _parameter("decay", "e-folding time of the decay as a share of the exposure", default=0.1, low=1e-6),
        ),
        source="the shape of stellar flares: a fast rise and an exponential decay; mean signal with its Poisson noise",
        test="peak and decay time of the light curve",
        err=True,
    )
)
class Flare(Effect):
    """A star that flares. The whole frame is taken to be the star's light; pixels below zero get none."""

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self._curves: dict[int, Floats] = {}

    def prepare(self, measurement: Measurement, budget: Budget) -> dict[str, Any]:
        """Find the course in time."""
        if budget.k is None:
            raise NotApplicableError("electrons per science unit are not known")
        if measurement.ramp:
            raise NotApplicableError("in a raw ramp the star's light cannot be told from bias")
        _require_time(measurement, self.task)
        times = exposure_shares(self.task.product, measurement)
        numbers = [self.task.number(name) for name in ("peak", "rise", "decay")]
        curve = self.task.number("amplitude") * flare_curve(times, *numbers)
        self._curves[id(measurement)] = curve
        found = {"largest": rounded(float(curve.max())), "frame": int(curve.argmax())}
        return found | share_note(self.task.product, measurement)

    def on_chunk(self, block: Block) -> None:
        """Add light in proportion to what is there."""
        share = float(self._curves[id(block.measurement)][block.frame])
        index = np.flatnonzero(block.sci[0] > 0)
        if share > 0 and index.size:
            stream = self.task.stream(block.measurement.key)
            add_light(block, stream, index, block.sci[0, index].astype(np.float64) * share, self.task.err_honest)


@register(
    EffectSpec(
        name="spectral_line",
        title="Spectral line",
        code="G8",
        steady="a line is one for the exposure",
        stage="signal",
        kind="signal",
        model="emission: S += Poisson(k P g(lambda)) / k with P = strength sigma; absorption: S -> (1 - depth g) S "
        "with the noise of a true loss; g a Gaussian",
        planes=_LIGHT,
        parameters=(
            _parameter(
                "strength",
                "peak of an emission line, in units of the noise of a typical pixel",
                severities=(1.0, 3.0, 5.0, 10.0, 50.0),
                high=1e6,
                source="detection at 3 to 5 sigma; " + _PROPOSAL,
            ),
            _parameter("depth", "depth of an absorption line relative to the continuum", default=0.2, high=0.99),
            _parameter("kind", "emission or absorption", default="emission", choices=("emission", "absorption")),
            _parameter("place", "centre as a share of the wavelength range", default=0.5),
            _parameter("fwhm", "full width at half maximum", unit="px", default=6.0, low=0.5, high=1e4),
        ),
        source="mean signal with its Poisson noise; the true-loss rule",
        test="flux and centre of the line",
        err=True,
    )
)
class SpectralLine(Effect):
    """A line in a spectrum or in every pixel of a cube or a spectral image with wavelengths."""

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self._profiles: dict[int, tuple[Floats, float]] = {}

    def prepare(self, measurement: Measurement, budget: Budget) -> dict[str, Any]:
        """Find centre and width in wavelength."""
        emission = self.task.word("kind") == "emission"
        if emission and budget.k is None:
            raise NotApplicableError("electrons per science unit are not known")
        values = wavelengths(self.task.product, measurement)
        known = np.sort(np.unique(values[np.isfinite(values) & (values > 0)]))
        if known.size < 3:
            raise NotApplicableError("fewer than three wavelengths")
        place = self.task.number("place") * (known.size - 1)
        centre = rounded(float(np.interp(place, np.arange(known.size), known)))
        near = min(max(round(place), 1), known.size - 2)
        columns = measurement.frame[1] if len(measurement.frame) > 1 and values.shape[1] > 1 else known.size
        step = float(known[near + 1] - known[near - 1]) / 2 * (known.size / columns)
        width = rounded(step * self.task.number("fwhm"))
        profile = np.nan_to_num(gaussian((values - centre) / width))
        height = self.task.number("strength") * noise_level(self.task.product, measurement, budget) if emission else 0.0
        self._profiles[id(measurement)] = profile, height
        return {"wavelength": centre, "fwhm": width, "peak": rounded(height)}

    def on_chunk(self, block: Block) -> None:
        """Add or take away light at the wavelengths of the line."""
        profile, height = self._profiles[id(block.measurement)]
        row = profile[block.frame]
        part = row[block.start : block.start + block.size] if row.size > 1 else np.full(block.size, row[0])
        stream = self.task.stream(block.measurement.key)
        if not part.any():
            return
        if self.task.word("kind") == "absorption":
            q = (1.0 - self.task.number("depth") * part).astype(block.sci.dtype)
            lose_light(block, stream, q, self.task.err_honest)
            return
        index = np.flatnonzero(part)
        add_light(block, stream, index, part[index] * height, self.task.err_honest)


@register(
    EffectSpec(
        name="stuck_value",
        title="Stuck value",
        code="G9",
        steady="the run is the same in all frames",
        stage="digitization",
        kind="signal",
        model="in each frame a run of consecutive pixels repeats the value of the pixel where it begins",
        planes=("SCI",),
        parameters=(
            _parameter(
                "length", "share of the frame that is stuck", severities=(1e-4, 1e-3, 5e-3, 0.02, 0.1), high=1.0
            ),
        ),
        source="a register that is not read out anew; telemetry anomaly benchmarks call it a stuck value",
        test="the run of equal values has the recorded place and length",
    )
)
class StuckValue(Effect):
    """A value that repeats; the place is the same in all frames, and flags say nothing."""

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self._runs: dict[int, tuple[int, int]] = {}
        self._values = FrameCache(self._value)

    def prepare(self, measurement: Measurement, budget: Budget) -> dict[str, Any]:
        """Choose where it begins: at a valid pixel of the first frame."""
        word = int(self.task.stream(measurement.key).bits(0, 0, 1)[0])
        length = max(2, int(self.task.number("length") * measurement.pixels))
        if measurement.pixels < 4:
            raise NotApplicableError("fewer than four pixels")
        start = (word * measurement.pixels) >> 32
        end = min(start + length, measurement.pixels)
        self._runs[id(measurement)] = start, end
        return {"start": start, "end": end}

    def reach(self, measurement: Measurement) -> int:
        """Look at no neighbours, but where the run begins."""
        return 0

    def on_frame(self, block: Block) -> None:
        """Repeat the first valid value of the run."""
        run = self._run(block)
        if run.size:
            for values, first in zip(run, self._values.of(block), strict=True):
                values[np.isfinite(values)] = first

    def _run(self, block: Block) -> NDArray[Any]:
        """Return the values of a block that belong to the run."""
        start, end = (min(max(place - block.start, 0), block.size) for place in self._runs[id(block.measurement)])
        return block.sci[:, start:end]

    def _value(self, block: Block) -> NDArray[Any]:
        """Return the first valid value of the frame's run in each group; NaN where there is none."""
        columns, (start, end) = block.measurement.frame[-1], self._runs[id(block.measurement)]
        found = np.full(block.groups, np.nan, block.sci.dtype)
        row, last = start // columns, -(-end // columns)
        while row < last and np.isnan(found).any():
            stop = min(2 * row - start // columns + 1, last)  # mostly one row is enough
            run = self._run(block.rows(slice(row, stop)))
            valid = np.isfinite(run)
            there = np.isnan(found) & valid.any(axis=1)
            found[there] = run[there, valid.argmax(axis=1)[there]]
            row = stop
        return found
