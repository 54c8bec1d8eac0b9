"""Where a pixel lies: on its detector, in wavelength, in time; and how noisy it is.

Holds: pure look-ups in a product that several families of effects share, and a cosine of basic
arithmetic, which is the same on every processor. Keep out what an effect does with them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from hwosim_assets.perturb.effect import NotApplicableError
from hwosim_assets.perturb.parameters import rounded
from hwosim_assets.perturb.rng import TILE
from hwosim_assets.perturb.times import exposure_span, frame_times, segment_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from hwosim_assets.perturb.budget import Budget
    from hwosim_assets.perturb.effect import Task
    from hwosim_assets.perturb.measurements import Measurement
    from hwosim_assets.perturb.product import Product
    from hwosim_assets.perturb.rng import Stream
    from hwosim_assets.perturb.times import Span

    Floats = NDArray[np.float64]

__all__ = [
    "address_width",
    "cosine_of_turns",
    "days_since",
    "detector_bits_at",
    "detector_corner",
    "detector_shape",
    "detector_stream",
    "detector_xy",
    "exposure_days",
    "exposure_shares",
    "frame_bits",
    "frame_normal",
    "frame_words_below",
    "noise_level",
    "on_detector",
    "share_note",
    "wavelengths",
]

#: Width of the address space of a detector: no JWST detector is wider; wider frames have a wider one.
DETECTOR_WIDTH = 2048
#: Rows and columns of full frames of JWST's detectors.
_MIRI, _NEAR_INFRARED = (1024, 1032), (2048, 2048)
_NO_TIMES = "the file does not tell when it was exposed"
#: Coefficients of the Taylor series of cos(x) in x^2, to x^20: below 1e-14 for |x| <= pi/2.
_COSINE = [1.0]
for _order in range(1, 11):
    _COSINE.append(-_COSINE[-1] / ((2 * _order - 1) * (2 * _order)))


def cosine_of_turns(turns: Floats) -> Floats:
    """Return cos(2 pi turns) with +, - and x only, good to 1e-13; numpy's own differs between processors."""
    part = np.abs(turns - np.floor(turns + 0.5))
    folded = np.where(part > 0.25, 0.5 - part, part)
    square = folded * folded * (4 * np.pi * np.pi)
    total = np.full_like(square, _COSINE[-1])
    for coefficient in reversed(_COSINE[:-1]):
        total = total * square + coefficient
    return np.where(part > 0.25, -total, total)


def on_detector(product: Product, measurement: Measurement) -> str:
    """Return the detector whose pixels these are.

    Raises
    ------
    NotApplicableError
        When they are not the pixels of one known detector.
    """
    if measurement.sci.column or len(measurement.frame) < 2:
        raise NotApplicableError("a spectrum in a table has no detector pixels")
    if measurement.resampled:
        raise NotApplicableError("its pixels are resampled and lie on no detector")
    detector = product.keyword("DETECTOR")
    if not isinstance(detector, str) or not detector.strip() or detector.strip() == "MULTIPLE":
        raise NotApplicableError("the header names no one DETECTOR to which the pattern belongs")
    return detector.strip()


def detector_corner(product: Product) -> tuple[int, int]:
    """Return x and y of a frame's first pixel on the detector, from 0 (SUBSTRT1, SUBSTRT2)."""
    x0, y0 = ((product.count(name) or 1) - 1 for name in ("SUBSTRT1", "SUBSTRT2"))
    return x0, y0


def detector_shape(product: Product, measurement: Measurement, detector: str) -> tuple[int, int]:
    """Return the rows and columns of the detector of a frame: JWST's, or as far as a larger frame reaches."""
    (x0, y0), (rows, columns) = detector_corner(product), measurement.frame
    full = _MIRI if detector.upper().startswith("MIR") else _NEAR_INFRARED
    return max(full[0], y0 + rows), max(full[1], x0 + columns)


def detector_xy(product: Product, measurement: Measurement, start: int, count: int) -> tuple[Any, Any]:
    """Return the x and y of consecutive pixels of a frame, from 0, on the detector (SUBSTRT1, SUBSTRT2).

    Cut-out slits carry their own corner in XSTART and YSTART, which this does not read: their patterns are
    fixed to the slit.
    """
    x0, y0 = detector_corner(product)
    width = measurement.frame[1]
    first, skip = divmod(start, width)
    rows = -(-(skip + count) // width)
    part = slice(skip, skip + count)
    x, y = np.arange(width) + x0, np.arange(first, first + rows) + y0
    return np.tile(x, rows)[part], np.repeat(y, width)[part]


def detector_stream(task: Task, detector: str, name: str) -> Stream:
    """Return a stream that belongs to a detector and not to a product: the same pattern in all its frames."""
    return task.stream_of(f"detector {detector}", name)


def frame_bits(
    stream: Stream, product: Product, measurement: Measurement, start: int, count: int
) -> NDArray[np.uint32]:
    """Return the fixed random words of a detector for consecutive pixels of a frame; a subarray sees its part."""
    pieces = [stream.bits(0, *run) for run in _frame_runs(product, measurement, start, count)]
    return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)


def frame_words_below(
    stream: Stream, product: Product, measurement: Measurement, start: int, count: int, limit: int
) -> tuple[NDArray[np.int64], NDArray[np.uint32]]:
    """Return which of consecutive pixels of a frame have fixed random words of their detector below a limit, and these.

    The words are those of ``Stream.below``, others than those of :func:`frame_bits`. A subarray sees its part of the
    detector. Places are counted from ``start``.
    """
    found, done = [], 0
    for first, here in _frame_runs(product, measurement, start, count):
        places, words = stream.below(limit, 0, first, here)
        found.append((places + done, words))
        done += here
    return np.concatenate([places for places, _ in found]), np.concatenate([words for _, words in found])


def frame_normal(
    stream: Stream, product: Product, measurement: Measurement, start: int, count: int
) -> NDArray[np.float32]:
    """Return the fixed normal deviates of the detector pixels of consecutive pixels of a frame, row by row."""
    pieces = [stream.normal(0, *run) for run in _frame_runs(product, measurement, start, count)]
    return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)


def _frame_runs(product: Product, measurement: Measurement, start: int, count: int) -> Iterator[tuple[int, int]]:
    """Yield the runs of detector addresses of consecutive pixels of a frame, as (first, count)."""
    columns, (x0, y0) = measurement.frame[1], detector_corner(product)
    width = address_width(x0 + columns)
    row, column = divmod(start, columns)
    while count > 0:
        here = count if columns == width else min(count, columns - column)
        yield (y0 + row) * width + x0 + column, here
        row, column, count = row + 1, 0, count - here


def detector_bits_at(
    stream: Stream, x: NDArray[np.int64], y: NDArray[np.int64], width: int, sub: int = 0
) -> NDArray[np.uint32]:
    """Return fixed random words of single detector pixels, in ascending order; others than those of :func:`frame_bits`.

    ``width`` is that of the address space: :func:`address_width` of all pixels of the frame.
    """
    return stream.bits_at(0, y * width + x, sub)


def address_width(columns: int) -> int:
    """Return the width of the address space of a detector of so many columns."""
    return max(DETECTOR_WIDTH, -(-columns // DETECTOR_WIDTH) * DETECTOR_WIDTH)


def wavelengths(product: Product, measurement: Measurement) -> Floats:
    """Return the wavelength of each pixel, um or as the product has it.

    Returns
    -------
    float64 array, (frames, pixels) or (frames, 1)
        From the wavelength column of a table, the WAVELENGTH plane of an image, or the third axis of a cube.

    Raises
    ------
    NotApplicableError
        When the product tells none.
    """
    hdu = measurement.sci.hdu
    for plane in product.planes_by_hdu[hdu] if measurement.sci.column else product.planes:
        if plane.shape != measurement.sci.shape:
            continue
        in_table = plane.hdu == hdu and plane.column.upper() in ("WAVELENGTH", "WAVE")
        image = plane.extname.upper() == "WAVELENGTH" and plane.extver == measurement.sci.extver and not plane.column
        if in_table or image:
            values = plane.read(product.payload).astype(np.float64)
            return values.reshape(measurement.frames, measurement.pixels)
    first, step, pixel = (product.number(name) for name in ("CRVAL3", "CDELT3", "CRPIX3"))
    if measurement.resampled and len(measurement.sci.shape) == 3 and first and step and pixel is not None:
        return np.asarray(first + (np.arange(measurement.frames) + 1.0 - pixel) * step, np.float64)[:, None]
    raise NotApplicableError("the product tells no wavelengths: no column, no WAVELENGTH plane, no third axis")


def exposure_shares(product: Product, measurement: Measurement) -> Floats:
    """Return the mid time of each frame as a share of the exposure (0 start, 1 end); its MJD is in ``perturb.times``.

    Of the whole exposure, also in a file of one of its segments. From the file's table of times where there is one,
    else evenly. Frames of a cube are wavelengths and share one time; so is the one frame of an image; a spectrum in an
    HDU of its own has the time of its place among those of its kind.

    Returns
    -------
    float64 array, (frames,)
    """
    if measurement.resampled:
        return np.full(measurement.frames, 0.5)
    times, span = frame_times(product, measurement), exposure_span(product, measurement)
    here = segment_of(product, measurement)
    if times is None or span is None or times.method == "EXPSTART..EXPEND":
        return np.asarray((here.first + np.arange(measurement.frames) + here.each / 2.0) / here.total)
    return np.asarray((times.mid - span.begin) / (span.end - span.begin))


def exposure_days(product: Product, measurement: Measurement) -> float:
    """Return how long the exposure took from its begin to its end, in days.

    Raises
    ------
    NotApplicableError
        When the file does not tell.
    """
    return _span(product, measurement).length


def days_since(product: Product, measurement: Measurement, mjd: float, share: float) -> Floats:
    """Return how long after a moment the middle of each frame was, in days.

    Parameters
    ----------
    product : Product
        The file.
    measurement : Measurement
        Of it.
    mjd : float
        The moment, MJD UTC; where it is 0, ``share`` counts.
    share : float
        The moment as a share of the exposure.

    Returns
    -------
    float64 array, (frames,)

    Raises
    ------
    NotApplicableError
        When the file tells no times.
    """
    times = frame_times(product, measurement)
    if times is None:
        raise NotApplicableError(_NO_TIMES)
    return np.asarray(times.mid - (mjd or _span(product, measurement).at(share)))


def _span(product: Product, measurement: Measurement) -> Span:
    span = exposure_span(product, measurement)
    if span is None:
        raise NotApplicableError(_NO_TIMES)
    return span


def share_note(product: Product, measurement: Measurement) -> dict[str, Any]:
    """Return what the truth says where a share of the exposure can only be one of the file; else nothing."""
    span = exposure_span(product, measurement)
    lacks = segment_of(product, measurement).lacks if span is None else span.lacks
    return {"shares_of": "file", "for": lacks} if lacks and not measurement.resampled else {}


def typical_err(product: Product, measurement: Measurement) -> float | None:
    """Return the median of ERR where it is a positive number, in science units; ``None`` where it is nowhere."""
    if measurement.err is None:
        return None
    flat = measurement.err.raw(product.payload).reshape(-1)
    sample = measurement.err.decode(flat[:: max(1, flat.size // TILE)]).astype(np.float64)
    sample = sample[np.isfinite(sample) & (sample > 0)]
    return rounded(float(np.median(sample))) if sample.size else None


def noise_level(product: Product, measurement: Measurement, budget: Budget) -> float:
    """Return the noise of a typical pixel in science units: the median of ERR, else the read noise.

    Raises
    ------
    NotApplicableError
        When neither is known.
    """
    level = typical_err(product, measurement)
    if level is not None:
        return level
    if budget.read_sigma:
        return rounded(budget.read_sigma)
    raise NotApplicableError("its noise is not known: no positive ERR and no read noise")
