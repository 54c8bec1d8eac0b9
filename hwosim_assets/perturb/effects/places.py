"""Where an injected source stands: as a scenario says, else drawn by the target, else drawn in this product's pixels.

Holds: the parameters that say so, and :func:`find_place`. Keep out the sky of a header (``sky``), and the light that is
put there (``sources``).
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hwosim_assets.perturb.effect import NotApplicableError
from hwosim_assets.perturb.effects.moments import moment
from hwosim_assets.perturb.effects.sky import offset, sky_of, target_of
from hwosim_assets.perturb.parameters import Parameter, Value, rounded
from hwosim_assets.perturb.quantities import parse_number

if TYPE_CHECKING:
    from hwosim_assets.perturb.effect import Task
    from hwosim_assets.perturb.effects.sky import Sky
    from hwosim_assets.perturb.measurements import Measurement
    from hwosim_assets.perturb.rng import Stream

__all__ = [
    "ANGLE",
    "AT",
    "DRAWN",
    "PLACES",
    "RADIUS",
    "Asked",
    "Moment",
    "Place",
    "Separation",
    "angle_of",
    "asked_place",
    "direction",
    "find_place",
    "given",
]

DRAWN = "drawn"
_PROPOSAL = "a proposal"
#: What a file name has that names of other segments of its exposure have not.
_SEGMENT = re.compile(r"-seg\d{3}(?=_)")


@dataclass(frozen=True)
class Asked(Parameter):
    """A number that need not be given: its default is a word for what is done without it."""

    def parse(self, value: Any) -> Value:
        """Return a number in this parameter's unit, or the word."""
        return str(value) if value == self.default else super().parse(value)


@dataclass(frozen=True)
class Moment(Asked):
    """A time as profiles take it: MJD, or an ISO date (UTC)."""

    def parse(self, value: Any) -> Value:
        """Return an MJD, or the word."""
        return str(value) if value == self.default else super().parse(moment(value))


@dataclass(frozen=True)
class Separation(Parameter):
    """A distance in pixels, or on the sky where its unit says so."""

    def parse(self, value: Any) -> Value:
        """Return a number of pixels, or a text in mas."""
        if not isinstance(value, str) or not value.rstrip().endswith(("mas", "arcsec", "deg")):
            return super().parse(value)
        mas = parse_number(value, "mas")
        if not 0 <= mas <= _FARTHEST_MAS:
            raise ValueError(f"must be between 0 and {_FARTHEST_MAS:g} mas")
        return f"{mas:.12g} mas"


#: No field of view is wider than half a degree.
_FARTHEST_MAS = 1.8e6

#: Where a source stands.
AT = (
    Asked("ra", "right ascension of its place, given with dec", "deg", 0.0, 360.0, DRAWN, source=_PROPOSAL),
    Asked("dec", "declination of its place", "deg", -90.0, 90.0, DRAWN, source=_PROPOSAL),
    Asked("x", "column of its place in each product, from 0, given with y", "px", -1e5, 1e5, DRAWN, source=_PROPOSAL),
    Asked("y", "row of its place", "px", -1e5, 1e5, DRAWN, source=_PROPOSAL),
)
#: The two ways to say it, each of two numbers.
PLACES = ("ra", "dec"), ("x", "y")
RADIUS = Parameter(
    "radius",
    "a place that is drawn lies so near to the target's coordinates",
    "arcsec",
    high=1800.0,
    default=0.8,
    source="the middle 80 % of NIRCam's smallest subarray (64 pixels of 31 mas); " + _PROPOSAL,
)
ANGLE = Asked(
    "position_angle", "position angle, east of north; by default drawn", "deg", -360.0, 360.0, DRAWN, source=_PROPOSAL
)


@dataclass(frozen=True)
class Place:
    """A place in a frame.

    Attributes
    ----------
    y, x : float
        Pixels from 0.
    by : {"wcs", "pixels"}
        Whether it was found by its coordinates on the sky, or is a place in this product alone.
    ra, dec : float or None
        Degrees, where the sky is known.
    """

    y: float
    x: float
    by: str
    ra: float | None = None
    dec: float | None = None

    def record(self) -> dict[str, Any]:
        """Return what the truth says of it."""
        sky = {} if self.ra is None else {"ra": self.ra, "dec": self.dec}
        return {"y": self.y, "x": self.x, "placed_by": self.by, **sky}


def given(task: Task, name: str) -> float | None:
    """Return a parameter that need not be given, or ``None`` where its word stands for it."""
    return None if isinstance(task.word(name), str) else task.number(name)


def angle_of(task: Task, stream: Stream) -> float:
    """Return the position angle (degrees): as asked, else drawn."""
    asked = given(task, "position_angle")
    return rounded(360.0 * float(stream.uniform(1, 0, 1)[0])) if asked is None else asked


def direction(stream: Stream) -> tuple[float, float]:
    """Return a random unit vector (y, x)."""
    angle = 2 * math.pi * int(stream.bits(1, 0, 1)[0]) / 2**32
    return rounded(math.sin(angle)), rounded(math.cos(angle))


def asked_place(task: Task, sky: Sky | None) -> Place | None:
    """Return the place that a scenario names, or ``None``.

    Raises
    ------
    NotApplicableError
        When it names one on the sky and the product has none.
    """
    ra, dec, x, y = (given(task, name) for name in ("ra", "dec", "x", "y"))
    if x is not None and y is not None:
        return Place(y, x, "pixels", *(sky.world(y, x) if sky else ()))
    if ra is None or dec is None:
        return None
    if sky is None:
        raise NotApplicableError("its header has no celestial WCS, so that ra and dec are at no pixel of it")
    return Place(*sky.pixel(ra, dec), "wcs", ra, dec)


def find_place(task: Task, measurement: Measurement) -> tuple[Place, Sky | None, Stream]:
    """Return where a source stands, the sky there, and the random stream that belongs to the place.

    It is where the scenario says; else within ``radius`` of the target, drawn by the target's name, so that all files
    show it at one place on the sky; else, where the header tells no sky or no target, anywhere in the middle 80 % of
    this product's frame, in all segments of an exposure at one place.

    Raises
    ------
    NotApplicableError
        As :func:`asked_place`.
    """
    sky, target = sky_of(task.product, measurement), target_of(task.product)
    stream = task.stream_of(_SEGMENT.sub("", task.uid), "place")
    if sky is not None and target is not None:
        stream = task.stream_of(target.owner, "place")
    place = asked_place(task, sky)
    if place is None and sky is not None and target is not None:
        area, turn = (float(value) for value in stream.uniform(0, 0, 2))
        away = 1000.0 * task.number("radius") * math.sqrt(area)
        ra, dec = (float(part[0]) for part in offset(target.ra, target.dec, rounded(360.0 * turn), rounded(away)))
        place = Place(*sky.pixel(ra, dec), "wcs", ra, dec)
    if place is None:
        words = stream.bits(0, 0, 2)
        y, x = (
            rounded((0.1 + 0.8 * int(word) / 2**32) * (length - 1))
            for word, length in zip(words, measurement.frame, strict=True)
        )
        place = Place(y, x, "pixels", *(sky.world(y, x) if sky else ()))
    return place, sky, stream
