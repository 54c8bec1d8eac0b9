"""Light on the detector that is not the scene's: stray light, reflections, trails, speckles.

Holds: the effects D5 to D8 that have a shape (a uniform background is in ``optics``). All is added with its photon
noise. Keep out blur and shifts of the scene; those are ``optics`` and ``pointing``.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from hwosim_assets.perturb.effect import Effect, NotApplicableError
from hwosim_assets.perturb.effects.axes import cosine_of_turns, detector_stream, noise_level, on_detector
from hwosim_assets.perturb.effects.series import relaxing_parts
from hwosim_assets.perturb.effects.signals import add_light
from hwosim_assets.perturb.exact import exp
from hwosim_assets.perturb.parameters import Parameter, rounded
from hwosim_assets.perturb.registry import register
from hwosim_assets.perturb.spec import EffectSpec
from hwosim_assets.perturb.times import frame_times

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from hwosim_assets.perturb.block import Block
    from hwosim_assets.perturb.budget import Budget
    from hwosim_assets.perturb.effect import Task
    from hwosim_assets.perturb.measurements import Measurement
    from hwosim_assets.perturb.planes import Plane
    from hwosim_assets.perturb.rng import Stream

    Floats = NDArray[np.float64]

__all__ = ["Ghosts", "SpeckleDrift", "StrayLight", "Trails"]

_ADDED = ("SCI", "ERR", "VAR_POISSON")
_PROPOSAL = "a proposal"
#: Candidates for trails in one frame, of which those that came in time appear.
_TRAILS = 64
_FWHM = math.sqrt(8 * math.log(2))


def _places(block: Block) -> tuple[Floats, Floats]:
    """Return the (y, x) of the pixels of a block."""
    y, x = np.divmod(np.arange(block.start, block.start + block.size), block.measurement.frame[1])
    return y.astype(np.float64), x.astype(np.float64)


def _require(measurement: Measurement, budget: Budget) -> None:
    if measurement.sci.column or len(measurement.frame) < 2:
        raise NotApplicableError("a spectrum in a table has no image")
    if budget.k is None:
        raise NotApplicableError("electrons per science unit are not known")


def _drawn(stream: Stream, sub: int, plane: int = 0) -> float:
    """Return one number between 0 and 1."""
    return rounded(float(stream.uniform(plane, 0, 1, sub)[0]))


def _add(block: Block, stream: Stream, amount: Floats, honest: float) -> None:
    index = np.flatnonzero(amount > 0)
    if index.size:
        add_light(block, stream, index, amount[index], honest)


@register(
    EffectSpec(
        name="stray_light",
        title="Stray light: a gradient and a glint",
        code="D6",
        stage="optics",
        model="S += Poisson(s k) / k, s = (factor - 1) B ((1 - glint) (1 + slope u + curve (u^2 - <u^2>)) + glint G), "
        "B the product's background, u from -1 to 1 across the frame, G a Gaussian of mean 1",
        planes=_ADDED,
        parameters=(
            Parameter(
                "factor",
                "mean background relative to the product's own",
                low=1.0,
                high=1000.0,
                severities=(1.1, 1.5, 2.0, 5.0, 20.0),
                identity=1.0,
                source="severity table 2026.1; levels are a proposal",
            ),
            Parameter("slope", "relative change from centre to brightest corner", default=0.5, source=_PROPOSAL),
            Parameter("curve", "relative curvature", default=0.2, source=_PROPOSAL),
            Parameter("glint", "share of it that is in the glint", default=0.1, source="GalSim: stray fraction 0.1"),
            Parameter("size", "standard deviation of the glint, share of the shorter side", default=0.1, low=0.005,
                      source=_PROPOSAL),
        ),
        source="stray light of zodiacal and off-axis sources in GalSim, romanisim and Mirage; direction and glint are "
        "drawn for each product",
        test="fitted gradient; VAR_POISSON grows by s/k",
        err=True,
    )
)  # fmt: skip
class StrayLight(Effect):
    """Background that is not flat."""

    per_frame = True

    def prepare(self, measurement: Measurement, budget: Budget) -> dict[str, Any]:
        """Find level, direction and the place of the glint."""
        _require(measurement, budget)
        if budget.background is None:
            raise NotApplicableError("its background is not positive, so there is no level to take a multiple of")
        angle, y, x = self._layout(measurement)
        added = rounded((self.task.number("factor") - 1.0) * budget.background)
        return {"added_mean": added, "angle_turns": angle, "glint_y": y, "glint_x": x,
                "level_from": budget.background_method}  # fmt: skip

    def _layout(self, measurement: Measurement) -> tuple[float, float, float]:
        stream, (rows, columns) = self.task.stream(measurement.key), measurement.frame
        angle, down, across = (_drawn(stream, sub) for sub in (11, 12, 13))
        return angle, rounded(down * (rows - 1)), rounded(across * (columns - 1))

    def on_chunk(self, block: Block) -> None:
        """Add the gradient and the glint."""
        level = (self.task.number("factor", block) - 1.0) * float(block.budget.background or 0.0)
        if level == 0:
            return
        angle, glint_y, glint_x = self._layout(block.measurement)
        rows, columns = block.measurement.frame
        cos, sin = (float(value) for value in cosine_of_turns(np.array([angle, angle - 0.25])))
        norm = abs(cos) + abs(sin)
        y, x = _places(block)
        u = ((2 * x - columns + 1) / columns * cos + (2 * y - rows + 1) / rows * sin) / norm
        shape = 1.0 + self.task.number("slope") * u
        shape += self.task.number("curve") * (u * u - (cos * cos + sin * sin) / (3.0 * norm * norm))
        sigma = self.task.number("size") * min(rows, columns)
        distance = ((y - glint_y) ** 2 + (x - glint_x) ** 2) / (sigma * sigma)
        spot = exp(-0.5 * distance) * (rows * columns / (2 * math.pi * sigma * sigma))
        share = self.task.number("glint")
        amount = level * ((1.0 - share) * np.maximum(shape, 0.0) + share * spot)
        _add(block, self.task.stream(block.measurement.key), amount, self.task.err_honest)


@register(
    EffectSpec(
        name="ghosts",
        title="Ghosts: reflections of bright sources",
        code="D7",
        stage="optics",
        model="S += Poisson(k g R) / k with R the light above the background, turned by half a turn about a point "
        "near the middle that is fixed for each detector",
        planes=_ADDED,
        parameters=(
            Parameter(
                "strength",
                "reflected share g",
                severities=(1e-4, 1e-3, 3e-3, 1e-2, 5e-2),
                source="1e-4 to 1e-2 commonly quoted (not checked); levels are a proposal",
            ),
            Parameter("offset", "largest distance of the point from the middle, share of the frame", default=0.02,
                      high=0.5, source=_PROPOSAL),
        ),
        source="optical ghosts as Mirage has them: a scaled copy, reflected about a point",
        test="regression of the difference on the template gives the strength",
        err=True,
    )
)  # fmt: skip
class Ghosts(Effect):
    """A faint turned copy of the scene.

    The light of a row falls on the row opposite, as far away as can be, and earlier effects have changed that light, so
    that in a large frame they are done there once more.
    """

    per_frame = True

    def prepare(self, measurement: Measurement, budget: Budget) -> dict[str, Any]:
        """Find the point of reflection."""
        _require(measurement, budget)
        if measurement.ramp and measurement.groups < 2:
            raise NotApplicableError("a ramp of one group has a bias that cannot be told from light")
        detector = on_detector(self.task.product, measurement)
        y, x = self._twice_point(measurement)
        return {"detector": detector, "point_y": y / 2, "point_x": x / 2}

    def _twice_point(self, measurement: Measurement) -> tuple[int, int]:
        """Return the sum of a pixel's place and its image's."""
        stream = detector_stream(self.task, on_detector(self.task.product, measurement), "ghost")
        down, across = (
            round(2 * self.task.number("offset") * length * (2 * _drawn(stream, sub) - 1))
            for sub, length in enumerate(measurement.frame)
        )
        return measurement.frame[0] - 1 + down, measurement.frame[1] - 1 + across

    def reach(self, measurement: Measurement) -> int:
        """Look at no neighbours, but at the rows opposite."""
        return 0

    def on_frame(self, block: Block) -> None:
        """Add the reflected light of the frame."""
        strength = self.task.number("strength", block)
        if strength == 0:
            return
        columns = block.measurement.frame[1]
        first = block.start // columns
        image = np.zeros((block.size // columns, columns))
        down, across = self._twice_point(block.measurement)
        to_y, from_y = _turned(down, block.measurement.frame[0], slice(first, first + image.shape[0]))
        to_x, from_x = _turned(across, columns, slice(0, columns))
        if to_y.start < to_y.stop:
            light = _light(block.rows(from_y)).reshape(-1, columns)
            image[to_y.start - first : to_y.stop - first, to_x] = light[::-1, from_x][:, ::-1]
        _add(block, self.task.stream(block.measurement.key), image.reshape(-1) * strength, self.task.err_honest)
        if self.task.err_honest and not block.measurement.ramp:
            block.dirty.add("variance")  # also of a band that no light falls on, as of the frame


def _light(block: Block) -> Floats:
    """Return the light above the background at each pixel; of a ramp, in one group."""
    ramp = block.measurement.ramp
    light = (block.sci[-1] - block.sci[0]) / (block.groups - 1) if ramp else block.sci[0]
    light = np.maximum(np.nan_to_num(light, nan=0.0, posinf=0.0) - (block.budget.background or 0.0), 0.0)
    if block.inert is not None:
        light[block.inert] = 0.0
    return np.asarray(light)


def _turned(total: int, length: int, part: slice) -> tuple[slice, slice]:
    """Return (places of a part that have an image, where it comes from): i and total - i, both on the frame."""
    low, high = max(part.start, total - length + 1), min(part.stop, total + 1)
    return slice(low, high), slice(total - high + 1, total - low + 1)


@register(
    EffectSpec(
        name="trails",
        title="Trails of satellites and asteroids",
        code="D8",
        stage="optics",
        model="straight lines across the frame, Poisson(rate) of them, Gaussian across; S += Poisson(s k) / k",
        planes=_ADDED,
        parameters=(
            Parameter(
                "rate",
                "mean number of trails in a frame",
                severities=(0.01, 0.05, 0.2, 1.0, 5.0),
                high=30.0,
                source="no published table; levels are a proposal",
            ),
            Parameter("peak", "brightness of a trail along its middle, in units of the noise of a typical pixel",
                      default=10.0, high=1e6, source=_PROPOSAL),
            Parameter("fwhm", "width of a trail", unit="px", default=2.5, low=0.5, high=100.0, source=_PROPOSAL),
        ),
        source="the Trail type of lsst/source_injection: a line convolved with the PSF",
        test="the Hough peak has angle and distance of the record; number of trails against the rate",
        err=True,
    )
)  # fmt: skip
class Trails(Effect):
    """Things that cross the field; a trail that is there at a rate is there at any higher."""

    per_frame = True

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self._peaks: dict[Plane, float] = {}

    def prepare(self, measurement: Measurement, budget: Budget) -> dict[str, Any]:
        """Find the brightness; refuse what is combined from exposures."""
        _require(measurement, budget)
        if measurement.resampled:
            raise NotApplicableError("combined images have trails of single exposures rejected")
        if measurement.ramp:
            raise NotApplicableError("a trail lies in single reads of a ramp; use it on calibrated frames")
        level = noise_level(self.task.product, measurement, budget)
        self._peaks[measurement.sci] = rounded(level * self.task.number("peak"))
        return {"peak": self._peaks[measurement.sci]}

    def on_chunk(self, block: Block) -> None:
        """Add the trails of the frame."""
        stream = self.task.stream(f"{block.measurement.key} trails")
        arrivals = np.cumsum(stream.exponential(block.frame, 0, _TRAILS))
        number = int(np.count_nonzero(arrivals < self.task.number("rate", block)))
        if not number:
            return
        turns, offsets = (stream.uniform(block.frame, 0, number, sub) for sub in (1, 2))
        turns = turns / 2
        rows, columns = block.measurement.frame
        distance = (offsets - 0.5) * min(rows, columns)
        cos, sin = cosine_of_turns(turns), cosine_of_turns(turns - 0.25)
        y, x = _places(block)
        scale = _FWHM / self.task.number("fwhm")
        amount = np.zeros(block.size)
        for line in range(number):
            away = (x - (columns - 1) / 2) * cos[line] + (y - (rows - 1) / 2) * sin[line] - distance[line]
            near = np.flatnonzero(np.abs(away) * scale < 5.0)
            across = away[near] * scale
            amount[near] += exp(-0.5 * across * across) * self._peaks[block.measurement.sci]
        _add(block, self.task.stream(block.measurement.key), amount, self.task.err_honest)
        if block.start == 0:
            block.record(self.use, turns=turns, distance=distance)


@register(
    EffectSpec(
        name="speckle_drift",
        title="Drifting speckles of a coronagraph",
        code="D5",
        stage="optics",
        model="S += Poisson(k I) / k, I = |a + E|^2, E complex Gaussian, correlated over a speckle, and in time as "
        "exp(-t/tau) (Ornstein and Uhlenbeck); a^2 the coherent share: a modified Rician intensity of mean contrast "
        "star sigma",
        planes=_ADDED,
        parameters=(
            Parameter(
                "contrast",
                "mean speckle intensity relative to the star's peak",
                severities=(3e-12, 1e-11, 1e-10, 1e-9, 1e-8),
                source="HWO: raw contrast 1e-10, precision 3e-12 (arXiv:2510.02547); other levels are a proposal",
            ),
            Parameter("star", "the star's peak without coronagraph, in units of the noise of a typical pixel",
                      default=1e10, low=1.0, high=1e15, source="an assumption: 1e-10 is the noise"),
            Parameter("coherent", "share of the mean that does not drift", default=0.5, high=0.99, source=_PROPOSAL),
            Parameter("size", "size of a speckle (lambda/D)", unit="px", default=4.0, low=1.0, high=100.0,
                      source="an assumption"),
            Parameter("tau", "time over which speckles change", unit="s", default=3600.0, low=1.0, high=1e8,
                      source="an assumption"),
        ),
        source="modified Rician statistics of speckles; contrasts of arXiv:2510.02547",
        test="KS of the intensity against the modified Rician; mean; correlation from frame to frame",
        err=True,
    )
)  # fmt: skip
class SpeckleDrift(Effect):
    """A speckle field of a detector that changes with absolute time, so that any frame can be made alone."""

    per_frame = True

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self._levels: dict[Plane, float] = {}

    def prepare(self, measurement: Measurement, budget: Budget) -> dict[str, Any]:
        """Find the intensity."""
        _require(measurement, budget)
        detector = on_detector(self.task.product, measurement)
        if frame_times(self.task.product, measurement) is None:
            raise NotApplicableError("the time of the exposure is not known")
        self._levels[measurement.sci] = noise_level(self.task.product, measurement, budget)
        return {"detector": detector, "mean": self._mean(measurement, self.task.number("contrast"))}

    def _mean(self, measurement: Measurement, contrast: float) -> float:
        """Return the mean intensity, science units; of a ramp, in one group."""
        return rounded(self._levels[measurement.sci] * contrast * self.task.number("star") / measurement.groups)

    def on_chunk(self, block: Block) -> None:
        """Add the intensity of the field at the time of the frame."""
        times = frame_times(self.task.product, block.measurement)
        if times is None:
            raise NotApplicableError("the time of the exposure is not known")
        mean = self._mean(block.measurement, self.task.number("contrast", block))
        if mean == 0:
            return
        parts = relaxing_parts(float(times.mid[block.frame]) * 86400.0 / self.task.number("tau"))
        stream = detector_stream(self.task, on_detector(self.task.product, block.measurement), "speckles")
        share = self.task.number("coherent")
        width = math.sqrt(mean * (1.0 - share) / 2.0)
        intensity = np.zeros(block.size)
        for part, coherent in ((0, math.sqrt(mean * share)), (1, 0.0)):
            field = coherent + width * self._field(block, stream, parts, part)
            intensity += field * field
        _add(block, self.task.stream(block.measurement.key), intensity, self.task.err_honest)

    def _field(self, block: Block, stream: Stream, parts: list[tuple[int, int, float]], part: int) -> Floats:
        """Return normal deviates of unit variance at the block's pixels: nodes a speckle apart, and between them."""
        size = self.task.number("size")
        columns = int(block.measurement.frame[1] / size) + 2
        y, x = (place / size for place in _places(block))
        top, left = np.floor(y).astype(np.int64), np.floor(x).astype(np.int64)
        first, last = int(top[0]), int(top[-1]) + 2
        nodes = np.zeros((last - first) * columns)
        for place, level, weight in parts:
            nodes += weight * stream.normal(place, first * columns, nodes.size, 2 * level + part).astype(np.float64)
        down, across = y - top, x - left
        top -= first
        total, square = np.zeros(block.size), np.zeros(block.size)
        for dy, one in ((0, 1.0 - down), (1, down)):
            for dx, other in ((0, 1.0 - across), (1, across)):
                near = one * other
                total += near * nodes[(top + dy) * columns + left + dx]
                square += near * near
        return np.asarray(total / np.sqrt(square))
