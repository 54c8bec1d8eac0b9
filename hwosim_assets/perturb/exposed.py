"""When each integration and group of a product was exposed, for a stream that follows the exposure.

Holds: :func:`exposed_times`. In order of trust: the file's own GROUP table, its table of integration times, the
readout pattern counted from EXPSTART. Keep out the times that effects use (``perturb.times``: middles, and
planes of cubes too) and when a message is due (``hwosim_streaming.schedule``).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from hwosim_assets.perturb.measurements import find_measurements
from hwosim_assets.perturb.times import segment_of, segment_start

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from hwosim_assets.perturb.planes import Plane
    from hwosim_assets.perturb.product import Product

    Floats = NDArray[np.float64]

__all__ = ["ExposedTimes", "delivered_times", "exposed_times"]

DAY_SECONDS = 86400.0


@dataclass(frozen=True)
class ExposedTimes:
    """When a product's frames were complete.

    Attributes
    ----------
    by : str
        ``GROUP``, ``INT_TIMES``, ``EXPSTART`` (the readout pattern counted from the start) or
        ``EXPSTART..EXPEND`` (divided evenly, where the pattern does not end at EXPEND or is not known).
    ends : float64 array, (integrations, groups)
        End of each group, MJD UTC; one column, the end of the integration, where groups are combined.
    """

    by: str
    ends: Floats

    def json(self) -> str:
        """Return it as it stands in the table ``perturbed``."""
        return json.dumps({"by": self.by, "mjd": self.ends.tolist()}, separators=(",", ":"))


@dataclass(frozen=True)
class _Pattern:
    """How the detector was read, in frames of ``frame`` days."""

    first: float  # integrations of the exposure before this file's
    start: float  # EXPSTART, MJD
    frame: float
    groups: int
    dropped_before: float
    averaged: float
    group: float
    between: float  # frames after the last group until the next integration begins

    @property
    def spacing(self) -> float:
        """Frames from the start of an integration to the next."""
        return self.dropped_before + (self.groups - 1) * self.group + self.averaged + self.between

    def group_ends(self, starts: Floats, groups: int) -> Floats:
        """Return the end of each of the last groups of integrations that start at these times."""
        number = np.arange(self.groups - groups, self.groups, dtype=np.float64)
        return starts[:, None] + (self.dropped_before + number * self.group + self.averaged)[None, :] * self.frame


def exposed_times(product: Product, product_type: str) -> ExposedTimes | None:
    """Return when the integrations and groups of a product were exposed.

    Parameters
    ----------
    product : Product
        The file as the archive gave it.
    product_type : str
        JWST product type; ``…ints`` tells integrations from wavelengths in a cube.

    Returns
    -------
    ExposedTimes or None
        ``None`` for a product without integrations, or where the file tells no times.
    """
    shape = _shape(product, product_type)
    if shape is None:
        return None
    pattern = _pattern(product, shape[1])
    return _by_group(product, shape) or _by_integration(product, shape, pattern) or _by_start(product, shape, pattern)


def delivered_times(before: Product, after: Product, product_type: str) -> ExposedTimes | None:
    """Return the times of a perturbed product: the true ones, where it lost no integrations or groups.

    Parameters
    ----------
    before, after : Product
        As the archive gave it, and as it is delivered. Where frames are missing in the latter, what its own
        tables say of the rest counts.
    product_type : str
        See :func:`exposed_times`.
    """
    whole = _shape(before, product_type) == _shape(after, product_type)
    return exposed_times(before if whole else after, product_type)


def _shape(product: Product, product_type: str) -> tuple[int, int] | None:
    """Return how many integrations and groups the science array has; one group where they are combined."""
    sci = _sci(product)
    if sci is None or not sci.size:
        return None
    if len(sci.shape) == 4:
        return sci.shape[0], sci.shape[1]
    return (sci.shape[0], 1) if len(sci.shape) == 3 and product_type.endswith("ints") else None


def _sci(product: Product) -> Plane | None:
    return next((plane for plane in product.planes if plane.extname == "SCI" and not plane.column), None)


def _pattern(product: Product, groups: int) -> _Pattern | None:
    start, frame = product.number("EXPSTART"), product.number("TFRAME")
    if start is None or frame is None or not frame > 0:
        return None

    def count(keyword: str, otherwise: float) -> float:
        value = product.number(keyword)
        return value if value is not None and value >= 0 else otherwise

    averaged = max(1.0, count("NFRAMES", 1.0))
    return _Pattern(
        first=max(0.0, count("INTSTART", 1.0) - 1.0),
        start=start,
        frame=frame / DAY_SECONDS,
        groups=groups if groups > 1 else product.count("NGROUPS") or 1,
        dropped_before=count("DRPFRMS1", 0.0),
        averaged=averaged,
        group=averaged + count("GROUPGAP", 0.0),
        between=count("DRPFRMS3", 0.0) + count("NRESETS", 0.0),
    )


def _by_group(product: Product, shape: tuple[int, int]) -> ExposedTimes | None:
    """Return the times of the GROUP table, where it has one for each group and they increase."""
    from hwosim_assets.fits.describe import iso_mjd
    from hwosim_assets.fits.opening import open_fits

    if not any(plane.extname == "GROUP" and plane.column == "group_number" for plane in product.planes):
        return None
    ends: dict[tuple[int, int], float | None] = {}
    with open_fits(bytes(product.payload), product.name) as hdus:
        table = hdus["GROUP"].data
        if not {"integration_number", "group_number", "group_end_time"} <= {name.lower() for name in table.names}:
            return None
        names = ("integration_number", "group_number", "group_end_time")
        for integration, group, end in zip(*(table[name] for name in names), strict=True):
            ends[int(integration), int(group)] = iso_mjd(str(end).strip())
    numbers = sorted({integration for integration, _group in ends})
    first = segment_start(product, len(numbers), shape[0])
    numbers = numbers[first : first + shape[0]]
    groups = max((group for _integration, group in ends), default=0)
    wanted = [(number, group) for number in numbers for group in range(1, groups + 1)]
    told = [ends.get(place) for place in wanted]
    if len(numbers) != shape[0] or not told or None in told or (shape[1] > 1 and groups != shape[1]):
        return None
    times = np.array(told, dtype=np.float64).reshape(shape[0], groups)
    return _if_increasing("GROUP", times if shape[1] > 1 else times[:, -1:])


def _by_integration(product: Product, shape: tuple[int, int], pattern: _Pattern | None) -> ExposedTimes | None:
    """Return the times of INT_TIMES, the groups counted from the start of each integration."""
    start, end = (_column(product, f"int_{which}_MJD_UTC", shape[0]) for which in ("start", "end"))
    if start is None or end is None:
        return None
    if shape[1] == 1:
        return _if_increasing("INT_TIMES", end[:, None])
    if pattern is None:
        return None
    return _if_increasing("INT_TIMES", np.minimum(pattern.group_ends(start, shape[1]), end[:, None]))


def _column(product: Product, name: str, integrations: int) -> Floats | None:
    """Return a column of INT_TIMES that has a number for each integration; of a longer one, this segment's rows."""
    for plane in product.planes:
        if plane.extname == "INT_TIMES" and plane.column == name and plane.dtype.startswith("float"):
            values = plane.read(product.payload).astype(np.float64).reshape(-1)
            first = segment_start(product, values.size, integrations)
            values = values[first : first + integrations]
            return values if values.size == integrations and np.isfinite(values).all() else None
    return None


def _by_start(product: Product, shape: tuple[int, int], pattern: _Pattern | None) -> ExposedTimes | None:
    """Return the readout pattern counted from EXPSTART; divided evenly up to EXPEND where that is elsewhere.

    Of a segment, the part that its integrations are of the exposure.
    """
    start, end = product.number("EXPSTART"), product.number("EXPEND")
    if pattern is not None:
        starts = (
            pattern.start + (pattern.first + np.arange(shape[0], dtype=np.float64)) * pattern.spacing * pattern.frame
        )
        ends = pattern.group_ends(starts, shape[1])
        whole = product.number("NINTS") in (None, float(shape[0]))
        if not whole or end is None or abs(ends[-1, -1] - end) <= pattern.frame:
            return _if_increasing("EXPSTART", ends)
    if start is None or end is None or not end > start:
        return None
    here = segment_of(product, next(item for item in find_measurements(product.planes) if item.sci == _sci(product)))
    places = np.arange(1, shape[0] * shape[1] + 1, dtype=np.float64).reshape(shape) * here.each
    places += here.first * shape[1]
    return _if_increasing("EXPSTART..EXPEND", start + (end - start) * places / (here.total * shape[1]))


def _if_increasing(by: str, ends: Floats) -> ExposedTimes | None:
    """Return times that a clock can have; tables of real files are empty, repeat a time or hold zeros."""
    flat = ends.reshape(-1)
    increases = bool(np.isfinite(flat).all() and (flat > 0).all() and (np.diff(flat) > 0).all())
    return ExposedTimes(by, ends) if increases else None
