"""Numbers of the exposure that effects in physical units need: pixel scale, pixel area, times.

Holds: :class:`Facts`, each number with where it was found. Keep out electrons and noise (``perturb.budget``).
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from hwosim_assets.perturb.parameters import rounded
from hwosim_assets.perturb.published import detector_of
from hwosim_assets.perturb.times import segment_of

if TYPE_CHECKING:
    from hwosim_assets.perturb.measurements import Measurement
    from hwosim_assets.perturb.product import Product

__all__ = ["Facts", "find_facts"]

#: No group of a ramp lasts longer than a day.
_LONGEST_GROUP_S = 86400.0
#: Areas of a pixel on the sky that can be (arcsec2): a microarcsecond to an arcminute squared and far beyond.
_AREAS = 1e-12, 1e12


@dataclass(frozen=True)
class Facts:
    """Numbers of an exposure; ``None`` where nothing tells.

    Attributes
    ----------
    pixel_mas : float or None
        Side of a pixel on the sky, milliarcseconds.
    pixel_cm2 : float or None
        Area of a pixel of the detector, cm2.
    frame_s : float or None
        Time over which one frame of the measurement gathered: an integration, those of a segment that a slope is the
        mean of, or the whole exposure.
    group_s : float or None
        Time between groups of a ramp.
    methods : dict
        For each of them the keyword it was read from, ``published``, or ``none``.
    """

    pixel_mas: float | None
    pixel_cm2: float | None
    frame_s: float | None
    group_s: float | None
    methods: dict[str, str]

    def record(self) -> dict[str, Any]:
        """Return it for the truth record."""
        return asdict(self)


def find_facts(product: Product, measurement: Measurement) -> Facts:
    """Return the numbers of an exposure from its keywords, else from published ones.

    A resampled product has the pixels of its own grid; their area on the detector is that of as many detector
    pixels as its scale says, which is not known exactly, so the published pixel area stands for it.
    """
    words = (str(product.keyword(name) or "") for name in ("INSTRUME", "CHANNEL", "DETECTOR"))
    detector = detector_of(*words)
    methods = dict.fromkeys(("pixel_mas", "pixel_cm2", "frame_s", "group_s"), "none")
    area = product.number("PIXAR_A2")
    pixel_mas = None
    if area is not None and _AREAS[0] < area < _AREAS[1]:
        pixel_mas, methods["pixel_mas"] = rounded(1000.0 * math.sqrt(area)), "PIXAR_A2"
    elif detector is not None:
        pixel_mas, methods["pixel_mas"] = detector.pixel_mas, "published"
    pixel_cm2 = None
    if detector is not None:
        pixel_cm2, methods["pixel_cm2"] = rounded((detector.pitch_um * 1e-4) ** 2), "published"
    here = segment_of(product, measurement)
    part = measurement.ramp or (here.each < here.total and not measurement.resampled)
    frame_s, methods["frame_s"] = _first(product, ("EFFINTTM",) if part else ("EFFEXPTM", "XPOSURE", "EFFINTTM"))
    if frame_s is not None and part:
        frame_s = frame_s * here.each
    group_s, methods["group_s"] = _first(product, ("TGROUP",))
    if group_s is not None and group_s > _LONGEST_GROUP_S:
        group_s, methods["group_s"] = None, "none"
    return Facts(pixel_mas, pixel_cm2, frame_s, group_s, methods)


def _first(product: Product, names: tuple[str, ...]) -> tuple[float | None, str]:
    """Return the first of some keywords that is a positive number, and its name."""
    for name in names:
        value = product.number(name)
        if value is not None and value > 0:
            return value, name
    return None, "none"
