"""Injected sources: points of light in an image, still, moving or beside a star.

Holds: the effects of family G that stand at a place (point source, moving object, companion), with the Poisson
noise of their light. Keep out signals of a whole frame or spectrum (``signals``).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from hwosim_assets.perturb.effect import Effect, NotApplicableError
from hwosim_assets.perturb.effects.axes import exposure_shares, noise_level
from hwosim_assets.perturb.effects.shapes import stamp
from hwosim_assets.perturb.effects.signals import add_light
from hwosim_assets.perturb.parameters import Parameter, rounded
from hwosim_assets.perturb.registry import register
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

__all__ = ["Companion", "MovingObject", "PointSource"]

_ADDED = ("SCI", "ERR", "VAR_POISSON")
_PROPOSAL = "levels are a proposal"


def _parameter(name: str, doc: str, **more: Any) -> Parameter:
    return Parameter(name, doc, **{"source": "a proposal", **more})


def place_of(stream: Stream, frame: tuple[int, ...]) -> tuple[float, float]:
    """Return a place (y, x) in pixels in the middle 80 % of a frame, drawn uniformly."""
    words = stream.bits(0, 0, 2)
    y, x = ((0.1 + 0.8 * int(word) / 2**32) * (length - 1) for word, length in zip(words, frame, strict=True))
    return rounded(y), rounded(x)


class _Placed(Effect):
    """Light at places in an image: a list of stamps for each frame, found before anything changes."""

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self._stamps: dict[int, list[tuple[NDArray[np.int64], Floats]]] = {}

    def prepare(self, measurement: Measurement, budget: Budget) -> dict[str, Any]:
        """Find where the light falls and how much."""
        if budget.k is None:
            raise NotApplicableError("electrons per science unit are not known")
        if measurement.sci.column or len(measurement.frame) < 2 or min(measurement.frame) < 8:
            raise NotApplicableError("it needs an image of at least 8 x 8 pixels")
        stamps, found = self.scene(measurement, budget)
        self._stamps[id(measurement)] = stamps
        return found

    def scene(
        self, measurement: Measurement, budget: Budget
    ) -> tuple[list[tuple[NDArray[np.int64], Floats]], dict[str, Any]]:
        """Return (for each frame, flat places and mean signal there), and numbers for the record."""
        raise NotImplementedError

    def on_chunk(self, block: Block) -> None:
        """Add the light that falls into this chunk."""
        places, amount = self._stamps[id(block.measurement)][block.frame]
        low, high = np.searchsorted(places, [block.start, block.start + block.size])
        if high > low:
            stream = self.task.stream(block.measurement.key)
            add_light(block, stream, places[low:high] - block.start, amount[low:high], self.task.err_honest)


_PSF = _parameter("fwhm", "full width at half maximum of the Gaussian PSF", unit="px", default=2.0, low=0.3, high=100.0)
_BRIGHT = _parameter(
    "peak",
    "mean signal of the brightest pixel of a centred source, in units of the noise of a typical pixel",
    severities=(1.0, 3.0, 5.0, 10.0, 50.0),
    high=1e6,
    source="detection at 3 to 5 sigma; " + _PROPOSAL,
)


@register(
    EffectSpec(
        name="point_source",
        title="Point source, transient or variable",
        code="G4",
        stage="signal",
        kind="signal",
        model="S += Poisson(k F(t) PSF) / k, PSF a Gaussian integrated over pixels; F steady, from an onset on, or "
        "triangular with a period",
        planes=_ADDED,
        parameters=(
            _BRIGHT,
            _PSF,
            _parameter("light", "course in time", default="steady", choices=("steady", "transient", "variable")),
            _parameter("onset", "onset of a transient as a share of the exposure", default=0.5),
            _parameter("period", "period of a variable as a share of the exposure", default=0.5, low=1e-3, high=1e3),
        ),
        source="mean signal with its Poisson noise; the PSF is a Gaussian, not the telescope's",
        test="flux, centroid and width of the difference; frames before the onset do not change",
        err=True,
    )
)
class PointSource(_Placed):
    """A star at a random place. Across products, a ``when`` of the scenario gives the course in time."""

    def scene(
        self, measurement: Measurement, budget: Budget
    ) -> tuple[list[tuple[NDArray[np.int64], Floats]], dict[str, Any]]:
        """Return one stamp, weighted frame by frame."""
        y, x = place_of(self.task.stream("place"), measurement.frame)
        flux = _flux(self.task, measurement, budget)
        places, shape = stamp(measurement.frame, y, x, self.task.number("fwhm"))
        weights = self._weights(exposure_shares(self.task.product, measurement))
        found = {"y": y, "x": x, "flux": flux, "weights": [rounded(float(w)) for w in weights[:64]]}
        return [(places, shape * flux * weight) for weight in weights], found

    def _weights(self, times: Floats) -> Floats:
        light = self.task.word("light")
        if light == "steady":
            return np.ones(times.shape)
        if light == "transient":
            return (times >= self.task.number("onset")).astype(np.float64)
        turns = times / self.task.number("period")
        return np.abs(2.0 * (turns - np.floor(turns)) - 1.0)


def _flux(task: Task, measurement: Measurement, budget: Budget) -> float:
    """Return the total flux that gives the wanted brightest pixel."""
    places, shape = stamp((9, 9), 4.0, 4.0, task.number("fwhm"))
    return rounded(task.number("peak") * noise_level(task.product, measurement, budget) / float(shape[places == 40][0]))


@register(
    EffectSpec(
        name="moving_object",
        title="Moving object",
        code="G5",
        stage="signal",
        kind="signal",
        model="a point source that crosses a part of the frame in a straight line; within a frame its light is "
        "spread along its way",
        planes=_ADDED,
        parameters=(
            _BRIGHT,
            _PSF,
            _parameter("path", "length of the way during the exposure", unit="px", default=20.0, low=0.0, high=1e4),
        ),
        source="mean signal with its Poisson noise; asteroids cross JWST fields at up to 30 mas/s",
        test="centroids of the frames lie on the recorded line; flux is kept",
        err=True,
    )
)
class MovingObject(_Placed):
    """An asteroid: in one image a trail, in integrations a source that moves."""

    def scene(
        self, measurement: Measurement, budget: Budget
    ) -> tuple[list[tuple[NDArray[np.int64], Floats]], dict[str, Any]]:
        """Return stamps along the way."""
        stream, length = self.task.stream("place"), self.task.number("path")
        y, x = place_of(stream, measurement.frame)
        dy, dx = direction(stream)
        flux = _flux(self.task, measurement, budget)
        times = exposure_shares(self.task.product, measurement)
        here = segment_of(self.task.product, measurement)
        span = 1.0 if measurement.resampled else here.each / here.total
        steps = max(1, math.ceil(2 * length * span))
        frames = []
        for time in times:
            total: dict[int, float] = {}
            for step in range(steps):
                way = (time + span * ((step + 0.5) / steps - 0.5) - 0.5) * length
                places, shape = stamp(measurement.frame, y + dy * way, x + dx * way, self.task.number("fwhm"))
                for place, value in zip(places.tolist(), (shape * (flux / steps)).tolist(), strict=True):
                    total[place] = total.get(place, 0.0) + value
            keys = sorted(total)
            frames.append((np.array(keys, np.int64), np.array([total[key] for key in keys])))
        return frames, {"y": y, "x": x, "dy": dy * length, "dx": dx * length, "flux": flux}


def direction(stream: Stream) -> tuple[float, float]:
    """Return a random unit vector (y, x)."""
    angle = 2 * math.pi * int(stream.bits(1, 0, 1)[0]) / 2**32
    return rounded(math.sin(angle)), rounded(math.cos(angle))


@register(
    EffectSpec(
        name="companion",
        title="Companion",
        code="G6",
        stage="signal",
        kind="signal",
        model="a point source of contrast c times the brightest pixel's star at a separation, at a random angle",
        planes=_ADDED,
        parameters=(
            _parameter(
                "contrast",
                "flux relative to the star",
                severities=(1e-6, 1e-5, 1e-4, 1e-3, 1e-2),
                high=1.0,
                source="JWST coronagraphy reaches 1e-5 beyond 1 arcsec; " + _PROPOSAL,
            ),
            _parameter("separation", "distance from the star", unit="px", default=10.0, low=0.0, high=1e4),
            _PSF,
        ),
        source="mean signal with its Poisson noise; a star masked by a coronagraph shows less light than it has",
        test="flux relative to the star and distance from it",
        err=True,
    )
)
class Companion(_Placed):
    """A planet next to the brightest star of the image."""

    def scene(
        self, measurement: Measurement, budget: Budget
    ) -> tuple[list[tuple[NDArray[np.int64], Floats]], dict[str, Any]]:
        """Return one stamp in all frames."""
        shape = (measurement.frames, measurement.groups, *measurement.frame)
        if measurement.ramp:
            raise NotApplicableError("in a raw ramp the star's light cannot be told from bias")
        raw = measurement.sci.raw(self.task.product.payload).reshape(shape)[0, 0]
        image = np.nan_to_num(measurement.sci.decode(raw).astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)
        star_y, star_x = (int(place) for place in np.unravel_index(int(image.argmax()), image.shape))
        dy, dx = direction(self.task.stream("place"))
        y, x = (rounded(a + b * self.task.number("separation")) for a, b in ((star_y, dy), (star_x, dx)))
        if not (0 <= y < image.shape[0] and 0 <= x < image.shape[1]):
            y, x = 2 * star_y - y, 2 * star_x - x
        if not (0 <= y < image.shape[0] and 0 <= x < image.shape[1]):
            raise NotApplicableError("at this separation it lies outside the image")
        places, core = stamp((9, 9), 4.0, 4.0, self.task.number("fwhm"))
        star = rounded(max(float(image[star_y, star_x]), 0.0) / float(core[places == 40][0]))
        flux = rounded(star * self.task.number("contrast"))
        spots, profile = stamp(measurement.frame, y, x, self.task.number("fwhm"))
        found = {"y": y, "x": x, "star_y": star_y, "star_x": star_x, "star_flux": star, "flux": flux}
        return [(spots, profile * flux)] * measurement.frames, found
