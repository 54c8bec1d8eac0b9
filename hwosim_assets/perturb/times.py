"""When each frame of a measurement was exposed.

Holds: :func:`frame_times`, from the file's own table of integration times where it has one, else from the
start and the end of the exposure; and which rows of that table are the file's (:func:`segment_start`). Keep out the
time of the whole product (``Product.stream_time``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from hwosim_assets.perturb.measurements import Measurement
    from hwosim_assets.perturb.product import Product

    Floats = NDArray[np.float64]

__all__ = ["FrameTimes", "frame_times", "segment_start"]

#: Names of the columns (start, mid, end; MJD UTC) in INT_TIMES and in newer tables of time-series spectra.
_COLUMNS = (("int_start_MJD_UTC", "int_mid_MJD_UTC", "int_end_MJD_UTC"), ("MJD-BEG", "MJD-AVG", "MJD-END"))


@dataclass(frozen=True)
class FrameTimes:
    """Times of the frames of a measurement.

    Attributes
    ----------
    start, mid, end : float64 array, (frames,)
        MJD UTC.
    method : str
        ``INT_TIMES``, ``MJD columns`` or ``EXPSTART..EXPEND`` (divided evenly).
    """

    start: Floats
    mid: Floats
    end: Floats
    method: str


def frame_times(product: Product, measurement: Measurement) -> FrameTimes | None:
    """Return the times of the frames of a measurement, or ``None`` where the file does not tell.

    Integrations have times of their own; the planes of a cube share the exposure's. A spectrum that stands
    alone in its HDU has the time of its place among those of its kind.
    """
    known = product.frame_times
    if measurement.sci not in known:
        known[measurement.sci] = _found(product, measurement)
    return known[measurement.sci]


def _found(product: Product, measurement: Measurement) -> FrameTimes | None:
    frames, first, of = measurement.frames, 0, measurement.frames
    if measurement.sci.column and frames == 1:
        alike = [item.sci for item in product.measurements if item.sci.column == measurement.sci.column]
        if _is_time_series(product) and len(alike) > 1:
            first, of = alike.index(measurement.sci), len(alike)
    if not measurement.resampled:
        for names, method in zip(_COLUMNS, ("INT_TIMES", "MJD columns"), strict=True):
            table = [_column(product, measurement, name, of) for name in names]
            if all(column is not None for column in table):
                start, mid, end = (column[first : first + frames] for column in table if column is not None)
                return FrameTimes(start, mid, end, method)
    begin, end_time = product.number("EXPSTART"), product.number("EXPEND")
    if begin is None or end_time is None or not end_time > begin:
        middle = product.stream_time
        if middle is None:
            return None
        begin = end_time = middle
    if measurement.resampled:
        edges = (np.full(frames, begin), np.full(frames, end_time))
    else:
        step = (end_time - begin) / of
        places = first + np.arange(frames, dtype=np.float64)
        edges = (begin + places * step, begin + (places + 1.0) * step)
    return FrameTimes(edges[0], edges[0] + (edges[1] - edges[0]) / 2.0, edges[1], "EXPSTART..EXPEND")


def _is_time_series(product: Product) -> bool:
    return product.name.lower().split(".")[0].endswith("x1dints")


def _column(product: Product, measurement: Measurement, name: str, frames: int) -> Floats | None:
    """Return a column of times that has a finite row for each frame; of a longer one, this segment's rows."""
    for plane in product.planes:
        if plane.column != name or not plane.dtype.startswith("float"):
            continue
        if plane.extname != "INT_TIMES" and plane.hdu != measurement.sci.hdu:
            continue
        values = plane.read(product.payload).astype(np.float64).reshape(-1)
        first = segment_start(product, values.size, frames) if plane.extname == "INT_TIMES" else 0
        values = values[first : first + frames]
        if values.size == frames and frames and np.isfinite(values).all() and (values > 0).all():
            return values
    return None


def segment_start(product: Product, rows: int, frames: int) -> int:
    """Return the row of INT_TIMES of a file's first integration.

    A table may have a row for each integration of the exposure, which INTSTART counts from 1, of a file that holds a
    segment of it.
    """
    return 0 if rows == frames else (product.count("INTSTART") or 1) - 1
