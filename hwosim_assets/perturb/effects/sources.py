"""Injected sources: points of light in an image, still, moving or beside a star.

Holds: the effects of family G that stand at a place (point source, moving object, companion), with the Poisson
noise of their light. Keep out where that place is (``places``), and signals of a whole frame or spectrum (``signals``).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from hwosim_assets.fits.dq import DQ
from hwosim_assets.perturb.effect import Effect, NotApplicableError
from hwosim_assets.perturb.effects.axes import exposure_shares, noise_level, share_note
from hwosim_assets.perturb.effects.moments import moment
from hwosim_assets.perturb.effects.places import (
    ANGLE,
    AT,
    PLACES,
    RADIUS,
    Asked,
    Moment,
    Place,
    Separation,
    angle_of,
    asked_place,
    direction,
    find_place,
    given,
)
from hwosim_assets.perturb.effects.pointing import pixel_scale
from hwosim_assets.perturb.effects.shapes import stamp
from hwosim_assets.perturb.effects.signals import add_light
from hwosim_assets.perturb.effects.sky import offset, sky_of, target_of
from hwosim_assets.perturb.parameters import Parameter, rounded
from hwosim_assets.perturb.quantities import parse_number
from hwosim_assets.perturb.registry import register
from hwosim_assets.perturb.spec import EffectSpec
from hwosim_assets.perturb.times import frame_times, segment_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from hwosim_assets.perturb.block import Block
    from hwosim_assets.perturb.budget import Budget
    from hwosim_assets.perturb.effect import Task
    from hwosim_assets.perturb.effects.sky import Sky
    from hwosim_assets.perturb.measurements import Measurement
    from hwosim_assets.perturb.planes import Plane
    from hwosim_assets.perturb.times import FrameTimes

    Floats = NDArray[np.float64]
    #: Flat places in a frame, ascending, and the mean signal there.
    Stamp = tuple[NDArray[np.int64], Floats]
    #: Where each frame's light begins and ends: y and x of the begin, y and x of the end (pixels, arrays of frames).
    Way = tuple[Floats, Floats, Floats, Floats]

__all__ = ["Companion", "MovingObject", "PointSource"]

_ADDED = ("SCI", "ERR", "VAR_POISSON")
_PROPOSAL = "levels are a proposal"
_NO_ANGLE = "its header has no celestial WCS, so that a position angle has no meaning"


def _parameter(name: str, doc: str, **more: Any) -> Parameter:
    return Parameter(name, doc, **{"source": "a proposal", **more})


class _Placed(Effect):
    """Light at places in an image: a list of stamps for each frame, found before anything changes."""

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self._stamps: dict[int, list[Stamp]] = {}

    def prepare(self, measurement: Measurement, budget: Budget) -> dict[str, Any]:
        """Find where the light falls and how much."""
        if budget.k is None:
            raise NotApplicableError("electrons per science unit are not known")
        if measurement.sci.column or len(measurement.frame) < 2 or min(measurement.frame) < 8:
            raise NotApplicableError("it needs an image of at least 8 x 8 pixels")
        stamps, found = self.scene(measurement, budget)
        if not any(places.size for places, _ in stamps):
            raise NotApplicableError(_outside(**found))
        if not all(math.isfinite(value) for value in found.values() if isinstance(value, float)):
            raise NotApplicableError("its way leads where its projection shows nothing")
        self._stamps[id(measurement)] = stamps
        return found

    def scene(self, measurement: Measurement, budget: Budget) -> tuple[list[Stamp], dict[str, Any]]:
        """Return the light in each frame, and numbers for the record."""
        raise NotImplementedError

    def on_chunk(self, block: Block) -> None:
        """Add the light that falls into this chunk."""
        places, amount = self._stamps[id(block.measurement)][block.frame]
        low, high = np.searchsorted(places, [block.start, block.start + block.size])
        if high > low:
            stream = self.task.stream(block.measurement.key)
            add_light(block, stream, places[low:high] - block.start, amount[low:high], self.task.err_honest)


def _outside(y: float, x: float, ra: float | None = None, dec: float | None = None, **_: Any) -> str:
    """Say where a place is that no light of it falls into the frame."""
    pixel = f"at x = {x:.1f}, y = {y:.1f}" if math.isfinite(x + y) else "where its projection shows nothing"
    return f"it lies outside the frame, {pixel}" + (f" (ra {ra:.7f}, dec {dec:.7f})" if ra is not None else "")


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
        steady="its course in time within an exposure is `light`",
        stage="signal",
        kind="signal",
        model="S += Poisson(k F(t) PSF) / k, PSF a Gaussian integrated over pixels; F steady, from an onset on, or "
        "triangular with a period",
        planes=_ADDED,
        parameters=(
            _BRIGHT,
            _PSF,
            *AT,
            RADIUS,
            _parameter("light", "course in time", default="steady", choices=("steady", "transient", "variable")),
            _parameter("onset", "onset of a transient as a share of the exposure", default=0.5),
            _parameter("period", "period of a variable as a share of the exposure", default=0.5, low=1e-3, high=1e3),
        ),
        source="mean signal with its Poisson noise; the PSF is a Gaussian, not the telescope's",
        test="flux, centroid and width of the difference; frames before the onset do not change",
        err=True,
        together=PLACES,
        apart=(PLACES,),
    )
)
class PointSource(_Placed):
    """A star at one place on the sky. Across products, a ``when`` of the scenario gives the course in time."""

    def scene(self, measurement: Measurement, budget: Budget) -> tuple[list[Stamp], dict[str, Any]]:
        """Return one stamp, weighted frame by frame."""
        place, _, _ = find_place(self.task, measurement)
        flux = _flux(self.task, measurement, budget)
        places, shape = _light(measurement.frame, place.y, place.x, self.task.number("fwhm"))
        weights = self._weights(exposure_shares(self.task.product, measurement))
        found = {**place.record(), "flux": flux, "weights": [rounded(float(w)) for w in weights[:64]]}
        if self.task.word("light") != "steady":
            found |= share_note(self.task.product, measurement)
        return [(places, shape * flux * weight) for weight in weights], found

    def _weights(self, times: Floats) -> Floats:
        light = self.task.word("light")
        if light == "steady":
            return np.ones(times.shape)
        if light == "transient":
            return (times >= self.task.number("onset")).astype(np.float64)
        turns = times / self.task.number("period")
        return np.abs(2.0 * (turns - np.floor(turns)) - 1.0)


def _light(frame: tuple[int, ...], y: float, x: float, fwhm: float) -> Stamp:
    """Return the light of a source in a frame: nothing where the sky shows its place nowhere."""
    if not (math.isfinite(y) and math.isfinite(x)):
        return np.zeros(0, np.int64), np.zeros(0)
    return stamp(frame, y, x, fwhm)


def _flux(task: Task, measurement: Measurement, budget: Budget) -> float:
    """Return the total flux that gives the wanted brightest pixel."""
    places, shape = stamp((9, 9), 4.0, 4.0, task.number("fwhm"))
    return rounded(task.number("peak") * noise_level(task.product, measurement, budget) / float(shape[places == 40][0]))


@register(
    EffectSpec(
        name="moving_object",
        title="Moving object",
        code="G5",
        steady="its brightness is one for the exposure",
        stage="signal",
        kind="signal",
        model="a point source on a great circle: at its place at the epoch, and rate times the time since then further "
        "along the position angle; within a frame its light is spread along its way. With `path`, and where the header "
        "tells no sky, target or time: a straight line of so many pixels, in the middle of the exposure at its place",
        planes=_ADDED,
        parameters=(
            _BRIGHT,
            _PSF,
            *AT,
            RADIUS,
            _parameter(
                "rate",
                "motion on the sky",
                unit="arcsec/h",
                default=1.0,
                high=1000.0,
                source="derived: the Kuiper belt (40 au) at JWST's elongations, 0.6 to 2; asteroids reach 30 mas/s",
            ),
            ANGLE,
            Moment(
                "epoch",
                "when it is at its place (MJD or ISO, UTC); by default when the visit began (VSTSTART, or EXPSTART)",
                "d",
                0.0,
                1e6,
                "visit",
                source="a proposal",
            ),
            Asked(
                "path",
                "length of the way during the exposure in place of rate and epoch; 20 px where the sky is not known",
                "px",
                0.0,
                1e4,
                "by rate",
                source="a proposal",
            ),
        ),
        source="mean signal with its Poisson noise; asteroids cross JWST fields at up to 30 mas/s",
        test="centroids of the frames lie on the recorded line; flux is kept",
        err=True,
        together=PLACES,
        apart=(PLACES, (("path",), ("rate", "epoch"))),
    )
)
class MovingObject(_Placed):
    """An asteroid: in one image a trail, in integrations a source that moves, in the next exposure further on."""

    def scene(self, measurement: Measurement, budget: Budget) -> tuple[list[Stamp], dict[str, Any]]:
        """Return stamps along the way."""
        flux, fwhm = _flux(self.task, measurement, budget), self.task.number("fwhm")
        way, found = self._way(measurement)
        if any((np.abs(edge) > _LONGEST).any() for edge in way):
            raise NotApplicableError(f"its way is longer than {_LONGEST:g} pixels")
        legs = list(zip(*(edge.tolist() for edge in way), strict=True))
        # The planes of a cube share one.
        trails = {leg: _trail(measurement.frame, leg, flux, fwhm) for leg in dict.fromkeys(legs)}
        return [trails[leg] for leg in legs], {**found, "flux": flux}

    def _way(self, measurement: Measurement) -> tuple[Way, dict[str, Any]]:
        place, sky, stream = find_place(self.task, measurement)
        times = frame_times(self.task.product, measurement)
        path = given(self.task, "path")
        known = place.by == "wcs" or given(self.task, "x") is not None
        if path is None and sky is not None and known and times is not None:
            return self._on_sky(place, sky, angle_of(self.task, stream), times)
        if given(self.task, "position_angle") is not None and sky is None:
            raise NotApplicableError(_NO_ANGLE)
        dy, dx = direction(stream) if sky is None else _towards(sky, place, angle_of(self.task, stream))
        length = _PATH if path is None else self.task.number("path")
        shares = exposure_shares(self.task.product, measurement)
        here = segment_of(self.task.product, measurement)
        span = 1.0 if measurement.resampled else here.each / here.total
        begin, end = (shares - span / 2 - 0.5) * length, (shares + span / 2 - 0.5) * length
        found = {**place.record(), "dy": rounded(dy * length), "dx": rounded(dx * length)}
        found |= share_note(self.task.product, measurement)
        return (place.y + dy * begin, place.x + dx * begin, place.y + dy * end, place.x + dx * end), found

    def _on_sky(self, place: Place, sky: Sky, angle: float, times: FrameTimes) -> tuple[Way, dict[str, Any]]:
        epoch, rate = self._epoch(float(times.start[0])), self.task.number("rate")
        middle = np.array([(times.start[0] + times.end[-1]) / 2])
        edges = []
        for moments in (times.start, times.end, middle):
            sky_place = offset(place.ra or 0.0, place.dec or 0.0, angle, (moments - epoch) * (24 * 1000.0 * rate))
            edges.append((sky_place, sky.pixels(*sky_place)))
        (_, (y0, x0)), (_, (y1, x1)), ((ra, dec), (y, x)) = edges
        now = Place(float(y[0]), float(x[0]), place.by, float(ra[0]), float(dec[0]))
        way = {"dy": rounded(float(y1[-1] - y0[0])), "dx": rounded(float(x1[-1] - x0[0]))}
        return (y0, x0, y1, x1), {**now.record(), **way, "rate": rate, "position_angle": angle, "epoch": epoch}

    def _epoch(self, start: float) -> float:
        """Return when it stands at its place, MJD UTC."""
        asked, product = given(self.task, "epoch"), self.task.product
        if asked is not None:
            return asked
        try:
            return moment(product.keyword("VSTSTART"))
        except ValueError:
            begin = product.number("EXPSTART")
            return start if begin is None else begin


#: The way in pixels where the sky is not known.
_PATH = 20.0
#: No sky is so wide: a degree is a million pixels of 3.6 mas.
_LONGEST = 1e9


def _trail(frame: tuple[int, ...], leg: tuple[float, ...], flux: float, fwhm: float) -> Stamp:
    """Return the light of a source that moves evenly from (y, x) to (y, x) during a frame."""
    y0, x0, y1, x1 = leg
    parts: list[Stamp] = [(np.zeros(0, np.int64), np.zeros(0))]
    if all(math.isfinite(place) for place in leg):
        # Half a pixel a step; a little less, so that the last bit of a length does not make one more.
        steps = max(1, math.ceil(2 * math.hypot(y1 - y0, x1 - x0) - 1e-6))
        wide = 4 * fwhm + 1
        ways = (_between(y0, y1, -wide, frame[0] + wide), _between(x0, x1, -wide, frame[1] + wide))
        first = max(0, math.floor(steps * max(begin for begin, _ in ways)) - 2)
        last = min(steps, math.ceil(steps * min(end for _, end in ways)) + 2)
        shares = (np.arange(first, max(first, last)) + 0.5) / steps
        y, x = y0 + shares * (y1 - y0), x0 + shares * (x1 - x0)
        near = (y > -wide) & (y < frame[0] + wide) & (x > -wide) & (x < frame[1] + wide)
        for there_y, there_x in zip(y[near].tolist(), x[near].tolist(), strict=True):
            places, shape = stamp(frame, there_y, there_x, fwhm)
            parts.append((places, shape * (flux / steps)))
    places, back = np.unique(np.concatenate([part for part, _ in parts]), return_inverse=True)
    # One after the other, so that sums are the same everywhere.
    total = np.zeros(places.size)
    np.add.at(total, back, np.concatenate([light for _, light in parts]))
    return places, total


def _between(begin: float, end: float, low: float, high: float) -> tuple[float, float]:
    """Return from which share of a way to which it lies between two bounds, as far as 0 to 1."""
    if begin == end:
        return 0.0, 1.0
    first, last = sorted(((low - begin) / (end - begin), (high - begin) / (end - begin)))
    return min(max(first, 0.0), 1.0), min(max(last, 0.0), 1.0)


def _towards(sky: Sky, place: Place, angle: float) -> tuple[float, float]:
    """Return the unit vector (y, x) in pixels of a position angle at a place."""
    y, x = sky.pixels(*offset(place.ra or 0.0, place.dec or 0.0, angle, np.array([-_SHORT_MAS, _SHORT_MAS])))
    dy, dx = float(y[1] - y[0]), float(x[1] - x[0])
    length = math.hypot(dy, dx)
    if not 0 < length < math.inf:
        raise NotApplicableError("its header's WCS tells no direction in pixels")
    return rounded(dy / length), rounded(dx / length)


#: Over so much to both sides a position angle is a direction in pixels: distortions do not show, roundings neither.
_SHORT_MAS = 1000.0


@register(
    EffectSpec(
        name="companion",
        title="Companion",
        code="G6",
        steady="its brightness is one for the exposure",
        stage="signal",
        kind="signal",
        model="a point source of contrast c times the star's light, at a separation and position angle from the star. "
        "The star stands at the target's coordinates, or is the brightest pixel; its light is that of the brightest "
        "pixel within 2 arcsec of the target, or of all, in a cube at each wavelength",
        planes=_ADDED,
        parameters=(
            _parameter(
                "contrast",
                "flux relative to the star",
                severities=(1e-6, 1e-5, 1e-4, 1e-3, 1e-2),
                high=1.0,
                source="JWST coronagraphy reaches 1e-5 beyond 1 arcsec; " + _PROPOSAL,
            ),
            Separation(
                "separation",
                "distance from the star, px, or mas or arcsec",
                "px",
                0.0,
                1e4,
                "500 mas",
                source="a proposal",
            ),
            ANGLE,
            _parameter(
                "star",
                "where the star is: at the header's TARG_RA and TARG_DEC, or at the brightest pixel; the latter also "
                "where the header tells no sky or no target",
                default="target",
                choices=("target", "brightest"),
            ),
            *AT,
            _PSF,
        ),
        source="mean signal with its Poisson noise; a star masked by a coronagraph shows less light than it has",
        test="flux relative to the star and distance from it",
        err=True,
        together=PLACES,
        apart=(PLACES, (("ra", "dec", "x", "y"), ("separation", "position_angle"))),
    )
)
class Companion(_Placed):
    """A planet next to the target or to the brightest star of the image."""

    def scene(self, measurement: Measurement, budget: Budget) -> tuple[list[Stamp], dict[str, Any]]:
        """Return one stamp in all frames."""
        if measurement.ramp:
            raise NotApplicableError("in a raw ramp the star's light cannot be told from bias")
        sky, target = sky_of(self.task.product, measurement), target_of(self.task.product)
        # The planes of a cube are wavelengths, and the light of a star is another in each.
        planes = range(measurement.frames if measurement.resampled else 1)
        image = self._image(measurement, 0)
        for plane in planes[1:]:
            image = image + self._image(measurement, plane).astype(np.float64)
        by_target = sky is not None and target is not None and self.task.word("star") == "target"
        if sky is not None and target is not None and by_target:
            star = Place(*sky.pixel(target.ra, target.dec), "wcs", target.ra, target.dec)
            light = _brightest(image, star, _CATALOGUE_MAS / sky.pixel_mas)
        else:
            light = _brightest(image)
            star = Place(*light, "pixels", *(sky.world(*light) if sky else ()))
        place = asked_place(self.task, sky) or self._beside(star, sky, image.shape, measurement)
        _, core = stamp((9, 9), 4.0, 4.0, self.task.number("fwhm"))
        peaks = [float(self._image(measurement, plane)[light]) for plane in planes]
        star_fluxes = np.array([rounded(max(peak, 0.0) / float(core.max())) for peak in peaks])
        if not star_fluxes.any():
            raise NotApplicableError("where the star should be there is no light above zero")
        star_flux = rounded(float(np.median(star_fluxes[star_fluxes > 0])))
        fluxes = [rounded(flux * self.task.number("contrast")) for flux in star_fluxes.tolist()]
        spots, profile = _light(measurement.frame, place.y, place.x, self.task.number("fwhm"))
        found = {**place.record(), "star_y": star.y, "star_x": star.x, "star_flux": star_flux}
        found["flux"] = rounded(star_flux * self.task.number("contrast"))
        found["star_from"] = "target" if by_target else "brightest pixel"
        if len(fluxes) > 1:
            return [(spots, profile * flux) for flux in fluxes], {**found, "fluxes": fluxes}
        return [(spots, profile * fluxes[0])] * measurement.frames, found

    def _image(self, measurement: Measurement, frame: int) -> NDArray[Any]:
        """Return a frame, without what is not to be used."""
        product, shape = self.task.product, (measurement.frames, measurement.groups, *measurement.frame)

        def stored_of(plane: Plane) -> NDArray[Any]:
            return np.asarray(plane.raw(product.payload).reshape(shape)[frame, 0])

        sci, dq = measurement.sci, measurement.dq
        stored = stored_of(sci)
        flags = None if dq is None or dq.size != sci.size else stored_of(dq)
        image = np.empty(stored.shape, sci.decode(stored[:1]).dtype)
        for start in range(0, len(stored), _ROWS):
            rows = slice(start, start + _ROWS)
            image[rows] = np.nan_to_num(sci.decode(stored[rows]), nan=0.0, posinf=0.0, neginf=0.0)
            if dq is not None and flags is not None:
                image[rows][(dq.decode(flags[rows]) & DQ.DO_NOT_USE) != 0] = 0
            product.release()
        return image

    def _beside(self, star: Place, sky: Sky | None, shape: tuple[int, ...], measurement: Measurement) -> Place:
        """Return the place at the separation and the position angle, or at a random angle of the frame."""
        asked, target = self.task.word("separation"), target_of(self.task.product)
        mas = parse_number(asked, "mas") if isinstance(asked, str) else None
        stream = self.task.stream("place") if target is None else self.task.stream_of(target.owner, "place")
        if sky is not None and star.ra is not None and star.dec is not None:
            angle = angle_of(self.task, stream)
            if mas is None:
                away = self.task.number("separation")
                dy, dx = _towards(sky, star, angle)
                y, x = rounded(star.y + away * dy), rounded(star.x + away * dx)
                return Place(y, x, "wcs", *sky.world(y, x))
            ra, dec = (float(part[0]) for part in offset(star.ra, star.dec, angle, mas))
            return Place(*sky.pixel(ra, dec), "wcs", ra, dec)
        if given(self.task, "position_angle") is not None:
            raise NotApplicableError(_NO_ANGLE)
        away = self.task.number("separation") if mas is None else mas / pixel_scale(self.task.product, measurement)[0]
        dy, dx = direction(self.task.stream("place"))
        for side in (away, -away):
            y, x = rounded(star.y + side * dy), rounded(star.x + side * dx)
            if 0 <= y < shape[0] and 0 <= x < shape[1]:
                return Place(y, x, "pixels")
        raise NotApplicableError("at this separation it lies outside the image")


#: Coordinates of a target are off its image by as much: 1.6 arcsec for AB Dor (program 1093), which moves.
_CATALOGUE_MAS = 2000.0
#: Rows of an image that are looked at together.
_ROWS = 256


def _brightest(image: NDArray[Any], near: Place | None = None, radius: float = 0.0) -> tuple[int, int]:
    """Return the brightest pixel (y, x), of all or of those around a place.

    Raises
    ------
    NotApplicableError
        When there is none around it.
    """
    low, high = [0, 0], list(image.shape)
    if near is not None:
        for axis, place in enumerate((near.y, near.x)):
            if not -radius <= place < image.shape[axis] + radius:
                raise NotApplicableError("the target lies outside the frame")
            low[axis] = min(max(math.floor(place - radius), 0), image.shape[axis] - 1)
            high[axis] = max(min(math.ceil(place + radius) + 1, image.shape[axis]), low[axis] + 1)
    part = image[low[0] : high[0], low[1] : high[1]]
    row, column = np.unravel_index(int(part.argmax()), part.shape)
    return int(row) + low[0], int(column) + low[1]
