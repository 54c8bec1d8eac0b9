"""From exposures to files with their truth: one recipe per kind of observation.

Holds: which steps an observation goes through and what its truth says. Keep out the choice of
exposures (:mod:`.programs`) and file layouts (:mod:`.products`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import cube, products
from .calibration import Calibrated, calibrate, combine, photmjsr, pixel_solid_angle
from .dispersed import Spectrum, Trace
from .draws import Floats
from .exposure import Exposure
from .optics import Source, field_image, scatter_sources
from .products import Product
from .ramps import FLAT_ERROR, Pattern, Slopes, average, expose, fit, fixed_pattern
from .transit import Transit

__all__ = [
    "Made", "bright_object", "cube_observation", "fixed_slit", "images", "sky_rate", "slitless", "time_series_images",
]  # fmt: skip

Reads = NDArray[np.uint16]

#: Stars in a field, small and full frame.
_STARS, _STARS_FULL = 12, 300


@dataclass(frozen=True)
class Made:
    """A product and what is known of its scene."""

    product: Product
    truth: dict[str, Any]


def _known(exposure: Exposure, **more: Any) -> dict[str, Any]:
    """Return what the truth says of every exposure."""
    detector = exposure.detector
    return {
        "exposure": exposure.stem,
        "instrument": detector.instrument,
        "detector": detector.name,
        "optics": exposure.optics.name,
        "start_mjd_utc": exposure.start,
        "end_mjd_utc": exposure.end,
        "noise": {
            "gain_electrons_per_dn": detector.gain,
            "read_noise_electrons": detector.read_noise,
            "dark_electrons_per_s": detector.dark,
            "bias_dn": detector.bias,
            "flat_error": FLAT_ERROR,
        },
        "background_mjy_per_sr": exposure.optics.background,
        **more,
    }


def sky_rate(exposure: Exposure) -> float:
    """Return the background of an image, electrons per second and pixel."""
    return float(f"{exposure.optics.background / photmjsr(exposure) * exposure.detector.gain:.10g}")


def _star_truth(exposure: Exposure, stars: Sequence[Source]) -> list[dict[str, Any]]:
    rows = []
    for star in stars:
        x, y = exposure.wcs.pixel(star.ra, star.dec)
        place = {"x": round(x, 6), "y": round(y, 6)}
        rows.append({**asdict(star), **place, "flux_in_band_jy": star.flux_at(exposure.optics.pivot)})
    return rows


def _measure(seed: int, exposure: Exposure, rate: Callable[[int], Floats]) -> tuple[Reads, Pattern, Slopes]:
    pattern = fixed_pattern(seed, exposure)
    reads = expose(seed, exposure, pattern, rate)
    return reads, pattern, fit(exposure, pattern, reads)


def _always(scene: Floats) -> Callable[[int], Floats]:
    """Return a scene that does not change from integration to integration."""
    return lambda _: scene


def _image_product(kind: str, exposure: Exposure, reads: Reads, slopes: Slopes, planes: Calibrated) -> Product:
    if kind == "uncal":
        return products.uncal(exposure, reads)
    if kind == "rate":
        return products.rate(exposure, slopes)
    if kind == "cal":
        return products.cal(exposure, planes)
    return products.i2d(exposure, combine([exposure], [planes]), exposure.stem)


def images(
    seed: int,
    exposures: list[Exposure],
    wanted: Sequence[str],
    *,
    beside: Sequence[Exposure] = (),
    combined: bool = False,
) -> Iterator[Made]:
    """Image a star field.

    Parameters
    ----------
    seed : int
        Root seed.
    exposures : list of Exposure
        The dithers of one detector and band.
    wanted : sequence of str
        Of ``uncal``, ``rate``, ``cal`` and ``i2d`` (one exposure, resampled).
    beside : sequence of Exposure
        Exposures of the same field in other bands.
    combined : bool
        Put the dithers together into a stage-3 image.
    """
    count = _STARS_FULL if exposures[0].readout.subarray == "FULL" else _STARS
    stars = scatter_sources(seed, [*exposures, *beside], count)
    calibrated: list[Calibrated] = []
    for exposure in exposures:
        scene = field_image(exposure, stars) + sky_rate(exposure)
        reads, pattern, slopes = _measure(seed, exposure, _always(scene))
        slopes = average(slopes)
        planes = calibrate(slopes, pattern, photmjsr(exposure))
        calibrated.append(planes)
        truth = _known(exposure, photmjsr=photmjsr(exposure), sources=_star_truth(exposure, stars))
        for kind in wanted:
            yield Made(_image_product(kind, exposure, reads, slopes, planes), truth)
    if combined:
        first = exposures[0].together_with(exposures[1:])
        mosaic = combine(exposures, calibrated)
        truth = _known(first, photmjsr=photmjsr(first), inputs=[exposure.stem for exposure in exposures])
        yield Made(products.i2d(first, mosaic, first.combined_stem), truth)


def _transit_of(exposure: Exposure, hours_late: float) -> Transit:
    """Return a warm giant's transit near the middle of the exposure."""
    return Transit(
        mid_time=round(exposure.mid + hours_late / 24.0, 8),
        period=3.2,
        radius_ratio=0.11,
        axis_ratio=9.0,
        inclination=88.6,
    )


def _middles(exposure: Exposure) -> list[float]:
    """Return the middle of each integration, MJD UTC."""
    step, half = exposure.cadence / 86400.0, exposure.integration_time / 172800.0
    return [exposure.start + number * step + half for number in range(exposure.nints)]


def time_series_images(seed: int, exposure: Exposure) -> Iterator[Made]:
    """Image a star while its planet transits: uncal, rateints, calints."""
    stars = scatter_sources(seed, [exposure], 3)
    target, others = field_image(exposure, stars[:1]), field_image(exposure, stars[1:]) + sky_rate(exposure)
    planet = _transit_of(exposure, 0.15)
    light = [planet.light(middle, exposure.optics.pivot) for middle in _middles(exposure)]
    reads, pattern, slopes = _measure(seed, exposure, lambda number: others + light[number] * target)
    planes = calibrate(slopes, pattern, photmjsr(exposure))
    truth = _known(
        exposure,
        photmjsr=photmjsr(exposure),
        sources=_star_truth(exposure, stars),
        transit=asdict(planet),
        light_curve={"mjd_utc": _middles(exposure), "relative_flux": light},
    )
    yield Made(products.uncal(exposure, reads), truth)
    yield Made(products.rateints(exposure, slopes), truth)
    yield Made(products.calints(exposure, planes), truth)


def _cut(trace: Trace, slopes: Slopes, pattern: Pattern) -> tuple[Slopes, Pattern]:
    """Return the part of slopes and pattern that the spectrum covers."""
    cut, whole = trace.cut, pattern
    return (
        Slopes(cut(slopes.sci), cut(slopes.var_poisson), cut(slopes.var_rnoise), cut(slopes.dq)),
        Pattern(cut(whole.bias), cut(whole.dark), cut(whole.flat), cut(whole.response), cut(whole.dq)),
    )


def _each(planes: Calibrated) -> Iterator[Calibrated]:
    """Yield the integrations one by one."""
    stacks = (planes.sci, planes.var_poisson, planes.var_rnoise, planes.var_flat, planes.dq)
    for layers in zip(*stacks, strict=True):
        yield Calibrated(*layers)


@dataclass(frozen=True)
class _Series:
    """A dispersed time series through the whole chain."""

    trace: Trace
    reads: Reads
    slopes: Slopes
    planes: Calibrated
    spectra: list[Spectrum]
    truth: dict[str, Any]


def _disperse_transit(seed: int, exposure: Exposure, hours_late: float) -> _Series:
    trace = Trace(exposure)
    star = trace.brightest_that_fits()
    planet = _transit_of(exposure, hours_late)
    flux = star.flux_at(trace.wavelength)
    wavelengths = [float(value) for value in trace.wavelength]
    light = np.array([[planet.light(middle, value) for value in wavelengths] for middle in _middles(exposure)])
    reads, pattern, slopes = _measure(seed, exposure, lambda number: trace.image(flux * light[number]))
    planes = calibrate(*_cut(trace, slopes, pattern), trace.spread(trace.factor))
    truth = _known(
        exposure,
        pixel_solid_angle_sr=pixel_solid_angle(exposure),
        star=asdict(star),
        transit=asdict(planet),
        wavelength_um=wavelengths,
        flux_jy=[float(value) for value in flux],
        radius_ratio=[round(planet.radius(value), 9) for value in wavelengths],
        light_curve={"mjd_utc": _middles(exposure), "relative_flux": [float(row.mean()) for row in light]},
    )
    return _Series(trace, reads, slopes, planes, [trace.extract(layer) for layer in _each(planes)], truth)


def bright_object(seed: int, exposure: Exposure) -> Iterator[Made]:
    """Take spectra through a transit: uncal, rate, rateints, calints, x1dints of today's layout."""
    series = _disperse_transit(seed, exposure, -0.1)
    yield Made(products.uncal(exposure, series.reads), series.truth)
    yield Made(products.rate(exposure, average(series.slopes)), series.truth)
    yield Made(products.rateints(exposure, series.slopes), series.truth)
    yield Made(products.slit_calints(series.trace, series.planes), series.truth)
    yield Made(products.x1dints(series.trace, series.spectra), series.truth)


def slitless(seed: int, exposure: Exposure) -> Iterator[Made]:
    """Take slitless spectra through a transit: x1dints of the layout before pipeline 1.19."""
    series = _disperse_transit(seed, exposure, 0.2)
    yield Made(products.x1dints_by_extension(series.trace, series.spectra), series.truth)


def fixed_slit(seed: int, exposure: Exposure) -> Iterator[Made]:
    """Take one spectrum: rate, cal, s2d, x1d."""
    trace = Trace(exposure)
    star = trace.brightest_that_fits()
    flux = star.flux_at(trace.wavelength)
    scene = trace.image(flux)
    _, pattern, slopes = _measure(seed, exposure, _always(scene))
    slopes = average(slopes)
    planes = calibrate(*_cut(trace, slopes, pattern), trace.spread(trace.factor))
    truth = _known(
        exposure,
        pixel_solid_angle_sr=pixel_solid_angle(exposure),
        star=asdict(star),
        wavelength_um=[float(value) for value in trace.wavelength],
        flux_jy=[float(value) for value in flux],
    )
    yield Made(products.rate(exposure, slopes), truth)
    yield Made(products.slit_cal(trace, planes), truth)
    yield Made(products.s2d(trace, planes), truth)
    yield Made(products.x1d(trace, trace.extract(planes)), truth)


def cube_observation(seed: int, exposure: Exposure) -> Iterator[Made]:
    """Take a spectral cube: s3d."""
    simulated = cube.simulate(seed, exposure)
    yield Made(cube.s3d(exposure, simulated), _known(exposure, scene=cube.SCENE))
