"""One exposure: what was commanded, and the names, times and pointing that follow from it.

Holds: :class:`Exposure` and :class:`Target`. Keep out pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from .clock import DAY, Orbit, orbit
from .setups import Detector, Optics, Readout
from .sky import Wcs

__all__ = ["Exposure", "Target"]


@dataclass(frozen=True)
class Target:
    """What an observation points at; position in deg ICRS."""

    name: str
    ra: float
    dec: float
    number: int = 1


@dataclass(frozen=True)
class Exposure:
    """An exposure of one detector.

    Attributes
    ----------
    activity : str
        Two base-36 digits.
    segment : int
        Number of the segment, 0 for an exposure that is not cut into segments.
    dropped : int
        Frames dropped between integrations (``DRPFRMS3``). The time series of the sample are taken
        in snapshots, so that a whole transit fits a few integrations.
    dither : tuple of int
        Where the target falls, in pixels from the reference pixel.
    start : float
        MJD UTC.
    roll : float
        Position angle of V3 at the aperture, deg.
    combined, combined_end : int, float
        How many exposures a combined product holds, this one the first, and when the last one ended.
    """

    program: str
    observation: int
    group: str
    sequence: str
    activity: str
    number: int
    segment: int
    detector: Detector
    optics: Optics
    readout: Readout
    exp_type: str
    template: str
    target: Target
    roll: float
    start: float
    visit_start: float
    nints: int
    ngroups: int
    dropped: int = 0
    dither: tuple[int, int] = (0, 0)
    dither_point: tuple[int, int] = (1, 1)
    time_series: bool = False
    channel: str = ""
    band: str = ""
    calibration: str = "1.20.2"
    combined: int = 1
    combined_end: float | None = None

    @property
    def visit(self) -> str:
        """VISIT_ID: program, observation, visit."""
        return f"{self.program}{self.observation:03d}001"

    @property
    def stem(self) -> str:
        """The file name up to the product type."""
        segment = f"-seg{self.segment:03d}" if self.segment else ""
        activity = f"{self.group}{self.sequence}{self.activity}"
        return f"jw{self.visit}_{activity}_{self.number:05d}{segment}_{self.detector.name.lower()}"

    @property
    def combined_stem(self) -> str:
        """The name of a stage-3 product of this target, up to the product type."""
        elements = f"ch{self.channel}-{self.band.lower()}" if self.channel else self.optics.name
        subarray = "" if self.readout.subarray == "FULL" else f"-{self.readout.subarray.lower()}"
        instrument = self.detector.instrument.lower()
        return f"jw{self.program}-o{self.observation:03d}_t{self.target.number:03d}_{instrument}_{elements}{subarray}"

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.readout.size[1], self.readout.size[0]

    @property
    def group_time(self) -> float:
        """Seconds from group to group; a group is one frame."""
        return self.readout.frame_time

    @property
    def integration_time(self) -> float:
        """Effective seconds of one integration (``EFFINTTM``)."""
        return self.ngroups * self.group_time

    @property
    def cadence(self) -> float:
        """Seconds from the start of an integration to the next: its frames, one reset, the dropped ones."""
        return (self.ngroups + 1 + self.dropped) * self.readout.frame_time

    @property
    def duration(self) -> float:
        """Seconds from the start of the first to the end of the last integration."""
        return (self.nints - 1) * self.cadence + self.integration_time

    @property
    def exposure_time(self) -> float:
        """Effective seconds of all integrations (``EFFEXPTM``)."""
        return self.combined * self.nints * self.integration_time

    @property
    def end(self) -> float:
        """MJD UTC."""
        return self.start + self.duration / DAY if self.combined_end is None else self.combined_end

    @property
    def mid(self) -> float:
        """MJD UTC."""
        return self.start + 0.5 * (self.end - self.start)

    def together_with(self, others: Sequence[Exposure]) -> Exposure:
        """Return what a combined product says of its exposures: this one's facts, times from first to last."""
        return replace(self, combined=1 + len(others), combined_end=max(other.end for other in [self, *others]))

    @cached_property
    def orbit(self) -> Orbit:
        """The telescope's place at mid-exposure."""
        return orbit(self.mid)

    @cached_property
    def delay(self) -> float:
        """Barycentric TDB minus UTC at mid-exposure, s."""
        return self.orbit.delay(self.target.ra, self.target.dec)

    @cached_property
    def wcs(self) -> Wcs:
        """The WCS of the detector pixels, the reference pixel in the middle of the subarray."""
        width, height = self.readout.size
        detector = self.detector
        straight = Wcs(
            crpix=((width + 1) // 2 + 0.5, (height + 1) // 2 + 0.5),
            crval=(self.target.ra, self.target.dec),
            scale=round(detector.scale / 3600.0, 15),
            angle=self.roll - detector.parity * detector.yang,
            parity=detector.parity,
        )
        return straight.moved(*self.dither) if any(self.dither) else straight
