"""What the sample's programs observe.

Holds: the three kinds of program and the exposures of each. Their numbers start at 97001: flight
programs have reached neither 90000 nor come near it, so a sample never mixes with real data. Keep out
how an exposure becomes files (:mod:`.recipes`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from . import clock
from .draws import generator
from .exposure import Exposure, Target
from .recipes import Made, bright_object, cube_observation, fixed_slit, images, slitless, time_series_images
from .setups import DETECTORS, OPTICS, READOUTS
from .sky import separation

__all__ = ["FIRST_PROGRAM", "KINDS", "Program", "observe", "program"]

#: Number of the first program.
FIRST_PROGRAM = 97001
#: What programs number 1, 2, 3, 4 (as 1) ... are.
KINDS = ("star field in four instruments", "transiting planet", "imaging and spectra, old time-series layout")
#: Day of the earliest exposure (2024-03-01), days between programs, and after how many they begin again a day later:
#: no exposure of 999 programs is later than July 2026, since an archive has none of tomorrow.
_EPOCH, _BETWEEN, _ROUND = 60370.0, 23.0, 30
#: Where JWST may point: angle from the Sun, deg.
_NEAREST, _FARTHEST = 86.0, 134.0
_HOUR = 1.0 / 24.0


@dataclass(frozen=True)
class Program:
    """A program: number, kind (index into :data:`KINDS`), seed, size, and what it looks at from when."""

    number: str
    kind: int
    seed: int
    size: str
    target: Target
    roll: float
    start: float


def program(index: int, *, seed: int, size: str) -> Program:
    """Return a program of the sample.

    Parameters
    ----------
    index : int
        Counted from 0.
    seed : int
        Root seed; decides the target and everything random.
    size : {"small", "full"}
        Subarrays, or whole detectors where the mode has them.
    """
    number = str(FIRST_PROGRAM + index)
    across, up, turn = generator(seed, "target", number).random(3).tolist()
    ra, dec = round(360.0 * across, 6), round(math.degrees(math.asin(1.9 * up - 0.95)), 6)
    start = _EPOCH + _BETWEEN * (index % _ROUND) + index // _ROUND
    while not _NEAREST < separation(clock.orbit(start).sun, (ra, dec)) < _FARTHEST:
        start += 1.0
    kind = index % len(KINDS)
    name = f"HWOSIM-{('FIELD', 'TRANSIT', 'SPECTRUM')[kind]}-{index + 1}"
    return Program(number, kind, seed, size, Target(name, ra, dec), round(360.0 * turn, 6), start)


def _exposure(of: Program, observation: int, detector: str, optics: str, readout: str = "", **more: Any) -> Exposure:
    visit_start = round(of.start + 8.0 * (observation - 1) * _HOUR, 8)
    commanded: dict[str, Any] = {
        "group": "02", "sequence": "1", "activity": "01", "number": 1, "segment": 0, "nints": 1, "ngroups": 6,
        "start": round(visit_start + 0.7 * _HOUR, 8),
    } | more  # fmt: skip
    return Exposure(
        program=of.number,
        observation=observation,
        detector=DETECTORS[detector],
        optics=OPTICS[optics],
        readout=READOUTS[readout or detector, of.size],
        target=of.target,
        roll=of.roll,
        visit_start=visit_start,
        **commanded,
    )


def _spaced(exposure: Exposure, hours: float) -> Exposure:
    """Return the exposure with frames dropped so that its integrations spread over some hours."""
    frames = hours * 3600.0 / (exposure.nints * exposure.readout.frame_time)
    return replace(exposure, dropped=round(frames) - exposure.ngroups - 1)


def _star_field(of: Program) -> Iterator[Made]:
    dithers = [(0, 0), (3, -2)]
    pointed = [
        (detector, _exposure(
            of, 1, detector, band, number=number, dither=dither, dither_point=(number, len(dithers)),
            start=round(of.start + (0.7 + 0.1 * number) * _HOUR, 8), exp_type="NRC_IMAGE", template="NIRCam Imaging",
        ))
        for detector, band in (("NRCB1", "F200W"), ("NRCBLONG", "F444W"))
        for number, dither in enumerate(dithers, start=1)
    ]  # fmt: skip
    niriss = _exposure(
        of, 2, "NIS", "F480M", group="04", activity="0a", exp_type="NIS_IMAGE", template="NIRISS Imaging"
    )
    guider = _exposure(of, 3, "GUIDER1", "GUIDER", ngroups=4, exp_type="FGS_IMAGE", template="FGS External Calibration")
    short = [exposure for detector, exposure in pointed if detector == "NRCB1"]
    long = [exposure for detector, exposure in pointed if detector == "NRCBLONG"]
    yield from images(of.seed, short, ("uncal", "rate", "cal"), beside=long, combined=True)
    yield from images(of.seed, long, ("cal",), beside=short, combined=True)
    yield from images(of.seed, [niriss], ("rate", "cal", "i2d"))
    yield from images(of.seed, [guider], ("uncal", "rate", "cal"))


def _transiting_planet(of: Program) -> Iterator[Made]:
    spectra = _exposure(
        of, 1, "NRS1", "PRISM", group="04", activity="02", segment=1, nints=12, ngroups=4, time_series=True,
        exp_type="NRS_BRIGHTOBJ", template="NIRSpec Bright Object Time Series",
    )  # fmt: skip
    pictures = _exposure(
        of, 2, "NRCB1", "F210M", group="03", segment=1, nints=20, ngroups=4, time_series=True,
        exp_type="NRC_TSIMAGE", template="NIRCam Time Series",
    )  # fmt: skip
    if of.size == "full":
        pictures = replace(pictures, readout=READOUTS["NRCB1", "small"])
    yield from bright_object(of.seed, _spaced(spectra, 6.0))
    yield from time_series_images(of.seed, _spaced(pictures, 6.0))


def _imaging_and_spectra(of: Program) -> Iterator[Made]:
    image = _exposure(of, 1, "MIRIMAGE", "F1130W", ngroups=5, exp_type="MIR_IMAGE", template="MIRI Imaging")
    slit = _exposure(
        of, 2, "NRS1", "PRISM", group="03", ngroups=8, exp_type="NRS_FIXEDSLIT",
        template="NIRSpec Fixed Slit Spectroscopy",
    )  # fmt: skip
    series = _exposure(
        of, 3, "MIRIMAGE", "P750L", "slitless", group="04", activity="02", segment=1, nints=10, ngroups=5,
        time_series=True, calibration="1.18.1", exp_type="MIR_LRS-SLITLESS",
        template="MIRI Low Resolution Spectroscopy",
    )  # fmt: skip
    cube = _exposure(
        of, 4, "MIRIFUSHORT", "MRS", ngroups=30, channel="1", band="SHORT", exp_type="MIR_MRS",
        template="MIRI Medium Resolution Spectroscopy",
    )  # fmt: skip
    yield from images(of.seed, [image], ("uncal", "rate", "cal", "i2d"))
    yield from fixed_slit(of.seed, slit)
    yield from slitless(of.seed, _spaced(series, 5.0))
    yield from cube_observation(of.seed, cube)


def observe(of: Program) -> Iterator[Made]:
    """Simulate a program: one file after another, each with its truth."""
    yield from (_star_field, _transiting_planet, _imaging_and_spectra)[of.kind](of)
