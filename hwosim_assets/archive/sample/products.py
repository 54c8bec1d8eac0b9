"""JWST's file layouts: which extensions a product has, in which order, with which headers.

Holds: one function per product type, from planes to FITS extensions. Keep out the physics and the
writing to disk. Layouts: JWST pipeline documentation, "science products", and the stdatamodels
schemas.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from . import clock, headers
from .calibration import Calibrated, Mosaic, area_map
from .dispersed import Spectrum, Trace
from .exposure import Exposure
from .headers import Card
from .ramps import Slopes

if TYPE_CHECKING:
    from astropy.io import fits

__all__ = [
    "Product", "cal", "calints", "i2d", "image_hdu", "rate", "rateints", "s2d", "slit_cal", "slit_calints", "table_hdu",
    "uncal", "x1d", "x1dints", "x1dints_by_extension",
]  # fmt: skip


@dataclass(frozen=True)
class Product:
    """One file to be: its name, its kind, its exposure and its extensions (without the primary one)."""

    file_name: str
    product_type: str
    model: str
    exposure: Exposure
    extensions: tuple[Any, ...]

    def hdus(self) -> fits.HDUList:
        """Return the file: the primary header and the extensions."""
        from astropy.io import fits

        cards = headers.primary_cards(self.exposure, self.product_type, self.file_name, self.model)
        return fits.HDUList([fits.PrimaryHDU(header=fits.Header(cards)), *self.extensions])


def image_hdu(name: str, data: NDArray[Any], cards: list[Card] | None = None, version: int = 1) -> fits.ImageHDU:
    """Return an image extension; floating-point planes become single precision."""
    from astropy.io import fits

    pixels = data.astype(np.float32) if data.dtype.kind == "f" else data
    return fits.ImageHDU(pixels, header=fits.Header(cards or []), name=name, ver=version)


def table_hdu(
    name: str,
    columns: list[tuple[str, str, str, NDArray[Any]]],
    cards: list[Card] | None = None,
    version: int = 1,
) -> fits.BinTableHDU:
    """Return a table extension of columns (name, FITS format, unit, values)."""
    from astropy.io import fits

    made = [
        fits.Column(
            name=title, format=form, unit=unit or None, array=values, bzero=2**31 if values.dtype == np.uint32 else None
        )
        for title, form, unit, values in columns
    ]
    return fits.BinTableHDU.from_columns(made, header=fits.Header(cards or []), name=name, ver=version)


def _record_hdu(name: str, rows: NDArray[Any]) -> fits.BinTableHDU:
    from astropy.io import fits

    return fits.BinTableHDU(rows, name=name, ver=1)


def _int_times(exposure: Exposure) -> fits.BinTableHDU:
    rows = clock.integration_rows(
        exposure.start, exposure.integration_time, exposure.cadence, exposure.nints, exposure.delay
    )
    return _record_hdu("INT_TIMES", rows)


def _unit_card(unit: str) -> list[Card]:
    return [("BUNIT", unit, "Unit of the pixels")]


def uncal(exposure: Exposure, reads: NDArray[np.uint16]) -> Product:
    """Return the reads: SCI, GROUP, INT_TIMES."""
    delays = exposure.delay, exposure.orbit.solar_delay(exposure.target.ra, exposure.target.dec)
    groups = clock.group_rows(exposure.start, exposure.group_time, exposure.cadence, reads.shape, delays)
    extensions = (
        image_hdu("SCI", reads, headers.science_cards(exposure, "DN")),
        _record_hdu("GROUP", groups),
        _int_times(exposure),
    )
    return Product(f"{exposure.stem}_uncal.fits", "uncal", "Level1bModel", exposure, extensions)


def _slope_planes(exposure: Exposure, slopes: Slopes) -> list[Any]:
    unit = "DN/s"
    return [
        image_hdu("SCI", slopes.sci, headers.science_cards(exposure, unit)),
        image_hdu("ERR", np.sqrt(slopes.var_poisson + slopes.var_rnoise), _unit_card(unit)),
        image_hdu("DQ", slopes.dq),
        image_hdu("VAR_POISSON", slopes.var_poisson),
        image_hdu("VAR_RNOISE", slopes.var_rnoise),
    ]


def rate(exposure: Exposure, slopes: Slopes) -> Product:
    """Return the count rate averaged over the integrations."""
    return Product(f"{exposure.stem}_rate.fits", "rate", "ImageModel", exposure, tuple(_slope_planes(exposure, slopes)))


def rateints(exposure: Exposure, slopes: Slopes) -> Product:
    """Return the count rate of every integration, with INT_TIMES."""
    planes = _slope_planes(exposure, slopes)
    extensions = (*planes[:3], _int_times(exposure), *planes[3:])
    return Product(f"{exposure.stem}_rateints.fits", "rateints", "CubeModel", exposure, extensions)


def _variances(planes: Calibrated, version: int = 1) -> list[Any]:
    return [
        image_hdu("VAR_POISSON", planes.var_poisson, version=version),
        image_hdu("VAR_RNOISE", planes.var_rnoise, version=version),
        image_hdu("VAR_FLAT", planes.var_flat, version=version),
    ]


def cal(exposure: Exposure, planes: Calibrated) -> Product:
    """Return a calibrated image: SCI, ERR, DQ, AREA and three variances."""
    extensions = (
        image_hdu("SCI", planes.sci, headers.science_cards(exposure, "MJy/sr")),
        image_hdu("ERR", planes.err, _unit_card("MJy/sr")),
        image_hdu("DQ", planes.dq),
        image_hdu("AREA", area_map(exposure.shape)),
        *_variances(planes),
    )
    return Product(f"{exposure.stem}_cal.fits", "cal", "ImageModel", exposure, extensions)


def calints(exposure: Exposure, planes: Calibrated) -> Product:
    """Return the calibrated images of every integration, with INT_TIMES."""
    extensions = (
        image_hdu("SCI", planes.sci, headers.science_cards(exposure, "MJy/sr")),
        image_hdu("ERR", planes.err, _unit_card("MJy/sr")),
        image_hdu("DQ", planes.dq),
        _int_times(exposure),
        image_hdu("AREA", area_map(exposure.shape)),
        *_variances(planes),
    )
    return Product(f"{exposure.stem}_calints.fits", "calints", "CubeModel", exposure, extensions)


def i2d(exposure: Exposure, mosaic: Mosaic, stem: str) -> Product:
    """Return a resampled image: SCI, ERR, CON, WHT and variances, no DQ."""
    rows, columns = mosaic.weight.shape
    cards = headers.science_cards(exposure, "MJy/sr", wcs=mosaic.wcs, size=(columns, rows))
    extensions = (
        image_hdu("SCI", mosaic.planes.sci, cards),
        image_hdu("ERR", mosaic.planes.err, _unit_card("MJy/sr")),
        image_hdu("CON", mosaic.context),
        image_hdu("WHT", mosaic.weight),
        *_variances(mosaic.planes),
    )
    return Product(f"{stem}_i2d.fits", "i2d", "ImageModel", exposure, extensions)


def _spectral_science(trace: Trace, shape: tuple[int, ...]) -> list[Card]:
    start = (trace.first + 1, 1) if trace.axis == 1 else (1, trace.first + 1)
    limits = float(trace.wavelength.min()), float(trace.wavelength.max())
    return headers.spectral_cards(trace.exposure, "MJy", start, (shape[-1], shape[-2]), trace.axis, limits)


def slit_cal(trace: Trace, planes: Calibrated) -> Product:
    """Return a fixed-slit spectrum on the detector's pixels, MJy."""
    extensions = (
        image_hdu("SCI", planes.sci, _spectral_science(trace, planes.sci.shape)),
        image_hdu("DQ", planes.dq),
        image_hdu("ERR", planes.err, _unit_card("MJy")),
        image_hdu("WAVELENGTH", trace.wavelength_map()),
        *_variances(planes),
    )
    return Product(f"{trace.exposure.stem}_cal.fits", "cal", "MultiSlitModel", trace.exposure, extensions)


def slit_calints(trace: Trace, planes: Calibrated) -> Product:
    """Return the spectra of a time series on the detector's pixels, MJy, with INT_TIMES."""
    extensions = (
        image_hdu("SCI", planes.sci, _spectral_science(trace, planes.sci.shape)),
        image_hdu("ERR", planes.err, _unit_card("MJy")),
        image_hdu("DQ", planes.dq),
        image_hdu("WAVELENGTH", trace.wavelength_map()),
        *_variances(planes),
        _int_times(trace.exposure),
    )
    return Product(f"{trace.exposure.stem}_calints.fits", "calints", "SlitModel", trace.exposure, extensions)


def s2d(trace: Trace, planes: Calibrated) -> Product:
    """Return a rectified spectrum. The simulated trace is straight, so rectifying leaves the pixels."""
    good = np.isfinite(planes.sci)
    extensions = (
        image_hdu("SCI", planes.sci, _spectral_science(trace, planes.sci.shape)),
        image_hdu("ERR", planes.err, _unit_card("MJy")),
        image_hdu("WAVELENGTH", trace.wavelength_map()),
        image_hdu("WHT", np.where(good, 1.0 / planes.var_rnoise, 0.0)),
        image_hdu("CON", good[None].astype(np.int32)),
        *_variances(planes),
    )
    return Product(f"{trace.exposure.stem}_s2d.fits", "s2d", "MultiSlitModel", trace.exposure, extensions)


def _spectrum_columns(spectrum: Spectrum) -> list[tuple[str, str, str, NDArray[Any]]]:
    """Return the eighteen columns of an extracted spectrum."""
    area = spectrum.pixels * spectrum.solid_angle * 1e6
    names = ("POISSON", "RNOISE", "FLAT")
    columns: list[tuple[str, str, str, NDArray[Any]]] = [("WAVELENGTH", "D", "um", spectrum.wavelength)]
    quantities = (
        ("FLUX", "FLUX_ERROR", "FLUX_VAR", "Jy", "Jy^2", spectrum.flux, spectrum.flux_variances),
        (
            "SURF_BRIGHT", "SB_ERROR", "SB_VAR", "MJy/sr", "MJy^2 / sr^2", spectrum.flux / area,
            tuple(part / area**2 for part in spectrum.flux_variances),
        ),
        (
            "BACKGROUND", "BKGD_ERROR", "BKGD_VAR", "MJy/sr", "MJy^2 / sr^2", spectrum.background,
            spectrum.background_variances,
        ),
    )  # fmt: skip
    for value_name, error_name, variance_name, unit, square, value, variances in quantities:
        if value_name == "BACKGROUND":
            columns.append(("DQ", "J", "", spectrum.dq))
        columns.append((value_name, "D", unit, value))
        columns.append((error_name, "D", unit, np.sqrt(variances[0] + variances[1] + variances[2])))
        columns += [(f"{variance_name}_{name}", "D", square, part) for name, part in zip(names, variances, strict=True)]
    columns.append(("NPIXELS", "D", "", np.full(spectrum.wavelength.size, float(spectrum.pixels))))
    return columns


def _extraction_cards(trace: Trace) -> list[Card]:
    low, high = trace.box()
    along, across = ("X", "Y") if trace.axis == 1 else ("Y", "X")
    exposure = trace.exposure
    return [
        ("SLTNAME", exposure.optics.slit or "NONE", "Slit"),
        ("SLITID", 0, "Slit number"),
        ("SOURCEID", 1, "Source"),
        ("SRCNAME", exposure.target.name, "Name of the source"),
        ("SRCTYPE", "POINT", "Source type used"),
        ("SRCRA", exposure.target.ra, "[deg] Right ascension of the source"),
        ("SRCDEC", exposure.target.dec, "[deg] Declination of the source"),
        (f"EXTR{along}STR", 1, "First pixel along the dispersion"),
        (f"EXTR{along}STP", trace.wavelength.size, "Last pixel along the dispersion"),
        (f"EXTR{across}STR", low + 1, "First pixel across the dispersion"),
        (f"EXTR{across}STP", high, "Last pixel across the dispersion"),
        ("SPORDER", 1, "Spectral order"),
        ("DISPAXIS", trace.axis, "Dispersion direction"),
        *headers.region_cards(exposure.wcs, exposure.readout.size),
    ]


def x1d(trace: Trace, spectrum: Spectrum) -> Product:
    """Return an extracted spectrum: one EXTRACT1D, one row per pixel of the dispersion."""
    table = table_hdu("EXTRACT1D", _spectrum_columns(spectrum), _extraction_cards(trace))
    return Product(f"{trace.exposure.stem}_x1d.fits", "x1d", "MultiSpecModel", trace.exposure, (table,))


def x1dints(trace: Trace, spectra: list[Spectrum]) -> Product:
    """Return the spectra of a time series: one EXTRACT1D, one row per integration (pipeline 1.19 on)."""
    exposure = trace.exposure
    times = _int_times(exposure)
    count, length = len(spectra), trace.wavelength.size
    each = [_spectrum_columns(spectrum) for spectrum in spectra]
    vectors = [
        (name, f"{length}{form}", unit, np.stack([columns[index][3] for columns in each]))
        for index, (name, form, unit, _) in enumerate(each[0])
    ]
    stamps = [
        (name, "D", "", np.asarray(times.data[column], dtype=np.float64))
        for name, column in (
            ("MJD-BEG", "int_start_MJD_UTC"), ("MJD-AVG", "int_mid_MJD_UTC"), ("MJD-END", "int_end_MJD_UTC"),
            ("TDB-BEG", "int_start_BJD_TDB"), ("TDB-MID", "int_mid_BJD_TDB"), ("TDB-END", "int_end_BJD_TDB"),
        )
    ]  # fmt: skip
    table = table_hdu(
        "EXTRACT1D",
        [
            ("INT_NUM", "J", "", np.arange(1, count + 1, dtype=np.int32)),
            *vectors,
            ("N_ALONGDISP", "J", "", np.full(count, length, dtype=np.uint32)),
            ("SEGMENT", "J", "", np.full(count, max(1, exposure.segment), dtype=np.int32)),
            *stamps,
        ],
        _extraction_cards(trace),
    )
    return Product(f"{exposure.stem}_x1dints.fits", "x1dints", "TSOMultiSpecModel", exposure, (table, times))


def x1dints_by_extension(trace: Trace, spectra: list[Spectrum]) -> Product:
    """Return the spectra of a time series as before pipeline 1.19: one EXTRACT1D per integration."""
    exposure = trace.exposure
    times = _int_times(exposure)
    tables = []
    for number, (spectrum, row) in enumerate(zip(spectra, times.data, strict=True), start=1):
        cards: list[Card] = [
            *_extraction_cards(trace),
            ("INT_NUM", number, "Integration"),
            ("TIMESYS", "UTC", "Time system of the dates"),
            ("MJD-BEG", float(row["int_start_MJD_UTC"]), "[d] Start of the integration, MJD UTC"),
            ("MJD-AVG", float(row["int_mid_MJD_UTC"]), "[d] Middle of the integration, MJD UTC"),
            ("MJD-END", float(row["int_end_MJD_UTC"]), "[d] End of the integration, MJD UTC"),
            ("TDB-BEG", float(row["int_start_BJD_TDB"]), "[d] Barycentric start, MJD TDB"),
            ("TDB-MID", float(row["int_mid_BJD_TDB"]), "[d] Barycentric middle, MJD TDB"),
            ("TDB-END", float(row["int_end_BJD_TDB"]), "[d] Barycentric end, MJD TDB"),
        ]
        tables.append(table_hdu("EXTRACT1D", _spectrum_columns(spectrum), cards, version=number))
    return Product(f"{exposure.stem}_x1dints.fits", "x1dints", "MultiSpecModel", exposure, (*tables, times))
