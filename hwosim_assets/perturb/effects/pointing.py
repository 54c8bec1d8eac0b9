"""Where the telescope points while it looks: jitter, drift and smear, and mirrors that tilt.

Holds: the effects D1 to D3. Keep out slow changes of the mirror's shape (``wavefront``), and light that does not come
from the scene (``scene``).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from hwosim_assets.fits.dq import DQ
from hwosim_assets.perturb.convolve import rows_reached
from hwosim_assets.perturb.effect import Effect, NotApplicableError
from hwosim_assets.perturb.effects.axes import share_note
from hwosim_assets.perturb.effects.kernels import gaussian_taps, keeping, require_image, shift_kernel, spread
from hwosim_assets.perturb.effects.moments import Instant
from hwosim_assets.perturb.effects.references import card_number, has_gwcs, scale, set_card
from hwosim_assets.perturb.facts import find_facts
from hwosim_assets.perturb.parameters import Parameter, rounded
from hwosim_assets.perturb.registry import register
from hwosim_assets.perturb.spec import EffectSpec
from hwosim_assets.perturb.times import exposure_span, frame_times, segment_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from hwosim_assets.perturb.block import Block
    from hwosim_assets.perturb.budget import Budget
    from hwosim_assets.perturb.effect import Task
    from hwosim_assets.perturb.fitsfile import FitsFile
    from hwosim_assets.perturb.measurements import Measurement
    from hwosim_assets.perturb.product import Product

__all__ = ["Jitter", "PointingDrift", "TiltEvent", "pixel_scale", "step_response"]

#: Jitter from which on the fine guidance is lost: stpsf's coarse pointing has 67 mas.
_COARSE_MAS = 60.0
#: Widest blur in pixels; beyond it nothing is left of a scene.
_WIDEST = 64.0
_HEADER = Parameter(
    "header",
    "whether keywords tell of it (honest) or stay (stale)",
    default="honest",
    choices=("honest", "stale"),
    source="the honesty switches, for headers",
)


def pixel_scale(product: Product, measurement: Measurement) -> tuple[float, str]:
    """Return (milliarcseconds per pixel, where that was found).

    Raises
    ------
    NotApplicableError
        When nothing tells it.
    """
    facts = find_facts(product, measurement)
    if facts.pixel_mas is None:
        raise NotApplicableError("its pixel scale is not known: no PIXAR_A2 and no published one")
    return facts.pixel_mas, facts.methods["pixel_mas"]


@register(
    EffectSpec(
        name="jitter",
        title="Jitter of the line of sight",
        code="D1",
        stage="optics",
        model="S -> K*S with a discrete Gaussian K of the standard deviation sigma / pixel scale along both axes",
        planes=("SCI", "ERR", "VAR_POISSON", "header"),
        parameters=(
            Parameter(
                "sigma",
                "jitter per axis",
                unit="mas",
                high=5000.0,
                severities=(1.0, 3.0, 7.0, 20.0, 67.0),
                source="severity table 2026.1; JWST 0.8 mas in flight, 6 to 7 before it, 67 coarse (stpsf)",
            ),
            _HEADER,
        ),
        source="stpsf's Gaussian jitter; the convolution rule; PCS_MODE is COARSE from 60 mas on",
        test="growth of the second moment is sigma^2; flux is kept",
        err=True,
    )
)
class Jitter(Effect):
    """A scene that shook faster than the exposure."""

    per_frame = True

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self._scales: dict[int, float] = {}

    def prepare(self, measurement: Measurement, budget: Budget) -> dict[str, Any]:
        """Find the pixel scale."""
        require_image(measurement)
        mas, method = pixel_scale(self.task.product, measurement)
        widest = max(self.task.numbers("sigma", measurement)) / mas
        if widest > _WIDEST:
            raise NotApplicableError(f"a blur of {widest:.0f} pixels leaves nothing of the scene (most: {_WIDEST:.0f})")
        self._scales[id(measurement)] = mas
        return {"pixel_mas": mas, "pixel_mas_from": method, "widest_px": rounded(widest)}

    def reach(self, measurement: Measurement) -> int:
        """Return the rows of the widest kernel."""
        widest = max(self.task.numbers("sigma", measurement)) / self._scales[id(measurement)]
        return len(gaussian_taps(widest)) // 2

    def on_frame(self, block: Block) -> None:
        """Blur."""
        sigma = self.task.number("sigma", block) / self._scales[id(block.measurement)]
        if sigma > 0:
            taps = gaussian_taps(sigma)
            spread(block, (taps, taps), self.task.stream(block.measurement.key), self.task.err_honest)

    def on_file(self, file: FitsFile) -> list[dict[str, Any]]:
        """Say that the guidance was coarse, where it was and the keyword is there."""
        card = file.hdus[0].find("PCS_MODE")
        largest = max((max(self.task.numbers("sigma", item)) for item in self._measured()), default=0.0)
        if self.task.word("header") == "stale" or largest < _COARSE_MAS or card is None:
            return []
        file.hdus[0].replace_value("PCS_MODE", "'COARSE'")
        return [{"hdu": 0, "keyword": "PCS_MODE", "before": card.decode("latin-1").rstrip(), "value": "COARSE"}]

    def _measured(self) -> list[Measurement]:
        return [item for item in self.task.product.measurements if id(item) in self._scales]


@register(
    EffectSpec(
        name="pointing_drift",
        title="Pointing drift and smear",
        code="D2",
        stage="optics",
        model="the scene moves over the detector: whole pixels are moved, the rest by Lagrange interpolation of five "
        "pixels; a smear is the mean of such shifts along the way; an honest header has CRPIX moved too (a gwcs in the "
        "ASDF extension stays, and the record says so)",
        planes=("SCI", "ERR", "VAR_POISSON", "DQ", "header"),
        parameters=(
            Parameter(
                "shift",
                "displacement of the scene, in the direction of the angle",
                unit="mas",
                high=1e5,
                severities=(1.0, 10.0, 30.0, 100.0, 400.0),
                source="JWST absolute pointing 0.10 arcsec, 1 sigma (JDox); levels are a proposal",
            ),
            Parameter(
                "angle",
                "direction, counted from +x to +y; -1 draws one for the scenario",
                default=-1.0,
                low=-1.0,
                high=360.0,
                source="a proposal",
            ),
            Parameter("smear", "way within a frame, relative to the shift", default=0.0, source="a proposal"),
            _HEADER,
        ),
        source="JDox pointing performance; the convolution rule; a ``when`` gives the path from frame to frame",
        test="shift of the centroid; residual of CRPIX where the header is stale",
        err=True,
        dq=True,
    )
)
class PointingDrift(Effect):
    """A scene that stands elsewhere.

    Bad pixels stay where they are. What comes from beyond the frame or from behind a bad pixel by whole pixels is not
    known, and such pixels are lost.
    """

    per_frame = True

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self._scales: dict[int, float] = {}

    def prepare(self, measurement: Measurement, budget: Budget) -> dict[str, Any]:
        """Find the pixel scale and the direction."""
        require_image(measurement)
        mas, method = pixel_scale(self.task.product, measurement)
        widest = max(self.task.numbers("shift", measurement)) / mas
        if widest > min(measurement.frame) / 2:
            raise NotApplicableError(f"a shift of {widest:.0f} pixels leaves less than half of the frame")
        self._scales[id(measurement)] = mas
        dy, dx = self._direction()
        return {"pixel_mas": mas, "pixel_mas_from": method, "widest_px": rounded(widest), "dy": dy, "dx": dx}

    def _direction(self) -> tuple[float, float]:
        """Return a unit vector (y, x), the same for all products of a scenario."""
        degrees = self.task.number("angle")
        if degrees < 0:
            degrees = 360.0 * float(self.task.stream_of("", "direction").uniform(0, 0, 1)[0])
        return rounded(math.sin(math.radians(degrees))), rounded(math.cos(math.radians(degrees)))

    def _way(self, length: float) -> tuple[int, int, NDArray[np.float64]]:
        """Return (whole pixels along y and x, kernel of the rest) of a shift in pixels."""
        dy, dx = (length * part for part in self._direction())
        down, across = math.floor(dy + 0.5), math.floor(dx + 0.5)
        smear = self.task.number("smear")
        return down, across, shift_kernel(dy - down, dx - across, smear * dy, smear * dx)

    def reach(self, measurement: Measurement) -> int:
        """Return the rows of the longest shift and its kernel."""
        lengths = {length / self._scales[id(measurement)] for length in self.task.numbers("shift", measurement)}
        ways = [self._way(length) for length in lengths if length]
        return max((abs(down) + rows_reached(kernel) for down, _, kernel in ways), default=0)

    def on_frame(self, block: Block) -> None:
        """Move the scene."""
        length = self.task.number("shift", block) / self._scales[id(block.measurement)]
        if length == 0:
            return
        down, across, kernel = self._way(length)
        if down or across:
            self._move(block, down, across)
        spread(block, kernel, self.task.stream(block.measurement.key), self.task.err_honest)

    def _move(self, block: Block, down: int, across: int) -> None:
        """Move by whole pixels; lose what is not known."""
        columns = block.measurement.frame[1]
        rows = block.size // columns
        to = tuple(slice(max(step, 0), n + min(step, 0)) for step, n in ((down, rows), (across, columns)))
        source = tuple(slice(max(-step, 0), n + min(-step, 0)) for step, n in ((down, rows), (across, columns)))
        base = block.sci[0].copy() if block.measurement.ramp else np.zeros_like(block.sci[0])
        came, lacking = (np.zeros((block.groups, rows, columns), bool) for _ in range(2))
        with keeping(block, base):
            for group in range(block.groups):
                light = (block.sci[group] - base).reshape(rows, columns)
                here = np.isfinite(light)
                known = here if block.inert is None else here & ~block.inert.reshape(rows, columns)
                moved = np.full_like(light, np.nan)
                moved[to] = np.where(known, light, np.nan)[source]
                block.sci[group] = np.where(here, moved, light).reshape(-1) + base
                came[group], lacking[group] = here & np.isfinite(moved), here & ~np.isfinite(moved)

        def change_of(variance: NDArray[Any]) -> NDArray[Any]:
            shot = variance.reshape(came.shape)
            later = np.zeros_like(shot)
            later[:, *to] = shot[:, *source]
            return np.asarray(np.where(came, later - shot, shot.dtype.type(0)).reshape(variance.shape))

        honest = self.task.err_honest  # lost pixels have a variance to give until they are lost
        block.change_variance("poisson", [change_of(plane) for plane in block.variances("poisson", honest)], honest)
        for group in range(block.groups):
            block.lose(self.use, group, lacking[group].reshape(-1), self.task.dq_honest, bits=int(DQ.DO_NOT_USE))

    def on_file(self, file: FitsFile) -> list[dict[str, Any]]:
        """Move the reference pixel by the shift at the time of the product; say whether a gwcs remains where it was."""
        shift = self.task.number("shift")
        if self.task.word("header") == "stale" or shift == 0:
            return []
        remains = has_gwcs(file)
        events: list[dict[str, Any]] = []
        for item in self.task.product.measurements:
            mas = self._scales.get(id(item))
            if mas is None:
                continue
            cards = []
            for axis, part in zip((2, 1), self._direction(), strict=True):
                keyword = f"CRPIX{axis}"
                before = card_number(file.hdus[item.sci.hdu].find(keyword) or b"")
                if before is not None:
                    value = rounded(before + part * shift / mas)
                    cards.append(set_card(file, item.sci.hdu, keyword, value) | {"gwcs_remains": remains})
            # Slits have a gwcs and no such cards.
            events += cards or [{"hdu": item.sci.hdu, "gwcs_remains": True}] * remains
        return events


def step_response(share: float) -> float:
    """Return what an unweighted line through a ramp sees of a change of the rate after a share of it.

    A step of charge at the share u changes the slope by 6 u (1-u); a lasting change of the rate is the sum of such
    steps from u on: 1 - 3 u^2 + 2 u^3.
    """
    u = min(max(share, 0.0), 1.0)
    return 1.0 - u * u * (3.0 - 2.0 * u)


@register(
    EffectSpec(
        name="tilt_event",
        title="Tilt event of a mirror segment",
        code="D3",
        stage="throughput",
        model="S -> (1 -+ step) S from the onset on; in the integration in which it comes, at a share u of it, the "
        "step is seen by 1 - 3u^2 + 2u^3",
        planes=("SCI", "ERR", "VAR_POISSON", "VAR_RNOISE", "VAR_FLAT"),
        parameters=(
            Parameter(
                "step",
                "change of the flux",
                unit="ppm",
                severities=(30.0, 100.0, 300.0, 1000.0, 5000.0),
                high=5e5,
                source="severity table 2026.1; 10 to 1000 ppm commonly quoted (not checked)",
            ),
            Parameter("onset", "when, as a share of the exposure", default=0.5, source="a proposal"),
            Instant(
                "onset_mjd",
                "when (MJD or ISO, UTC), in place of `onset`; 0: `onset` counts",
                unit="d",
                default=0.0,
                high=1e6,
                source="a proposal",
            ),
            Parameter(
                "sign",
                "whether flux is lost from the aperture or comes into it",
                default="drop",
                choices=("drop", "rise"),
                source="a proposal",
            ),
        ),
        source="tilt events of JWST take less than 1.4 s (Schlawin et al. 2023); the rule of a calibration factor",
        test="the changepoint is at the onset, with sign and size of the step",
        err=True,
        apart=((("onset_mjd",), ("onset",)),),
    )
)
class TiltEvent(Effect):
    """Flux that steps. All of a frame is taken to be the star's light; the wings of the PSF are not changed."""

    per_frame = True

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self._seen: dict[int, list[float]] = {}

    def prepare(self, measurement: Measurement, budget: Budget) -> dict[str, Any]:
        """Find which share of the step each frame sees."""
        times, span = frame_times(self.task.product, measurement), exposure_span(self.task.product, measurement)
        if measurement.resampled:
            raise NotApplicableError("it is combined from exposures and has no one moment in time")
        if times is None or span is None:
            raise NotApplicableError("the file does not tell when it was exposed")
        if measurement.ramp and measurement.groups < 2:
            raise NotApplicableError("a ramp of one group has a bias that cannot be told from light")
        onset = self.task.number("onset_mjd")
        note = {} if onset else share_note(self.task.product, measurement)
        onset = onset or span.at(self.task.number("onset"))
        many = segment_of(self.task.product, measurement).each > 1
        shares = [
            (onset - start) / (stop - start) if stop > start else float(start < onset)
            for start, stop in zip(times.start.tolist(), times.end.tolist(), strict=True)
        ]
        if not measurement.ramp:
            # The mean of several integrations sees a change by the share of them that comes after it.
            shares = [min(max(1.0 - u, 0.0), 1.0) if many else step_response(u) for u in shares]
        self._seen[id(measurement)] = [rounded(share) for share in shares]
        return {"onset_mjd": onset, "times_from": times.method, **note}

    def on_chunk(self, block: Block) -> None:
        """Scale by the share of the step that this frame sees."""
        seen = self._seen[id(block.measurement)][block.frame]
        step = self.task.number("step", block) * 1e-6 * (1.0 if self.task.word("sign") == "rise" else -1.0)
        if block.measurement.ramp:
            _bend(block, seen, step)
        elif seen > 0:
            scale(block, 1.0 + step * seen, self.task.err_honest)


def _bend(block: Block, share: float, step: float) -> None:
    """Let a ramp go on with another slope after a share of its integration."""
    steps = block.groups - 1
    place = min(max(share, 0.0), 1.0) * steps
    whole = min(int(place), steps - 1)
    base: NDArray[Any] = block.sci[whole] + (block.sci[whole + 1] - block.sci[whole]) * (place - whole)
    with keeping(block, base):
        for group in range(whole + 1, block.groups):
            block.sci[group] += (block.sci[group] - base) * step
