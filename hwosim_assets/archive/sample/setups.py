"""Detectors, optical elements and read-outs of the five instruments.

Holds: the numbers an exposure is simulated with. Sources: pyNRC, JexoSim and the JWST user
documentation for gain, read noise and dark current (they disagree by 10-40 %); frame times follow
from the clocking (10 µs a pixel, 12 pixels of overhead a row) and equal the published ones;
telescope coordinates of the apertures are those of the instrument handbooks to about an arcsecond;
corners of subarrays are representative. Throughputs are round numbers. Keep out what is observed
with them; that is :mod:`.programs`.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["COLLECTING_AREA", "DETECTORS", "OPTICS", "PLANCK", "READOUTS", "Detector", "Optics", "Readout"]

#: Unobscured collecting area of the telescope, m².
COLLECTING_AREA = 25.4
#: Planck's constant, J s (CODATA).
PLANCK = 6.62607015e-34

_H2RG_BORDER = (4, 4, 4, 4)
_MIRI_BORDER = (4, 4, 0, 0)


@dataclass(frozen=True)
class Detector:
    """One detector.

    Attributes
    ----------
    gain : float
        Electrons per DN.
    read_noise : float
        Electrons, standard deviation of one read.
    dark : float
        Electrons per second and pixel.
    bias : float
        Level of a reset pixel, DN.
    well : float
        Electrons at full well.
    scale : float
        Arcseconds per pixel.
    v2, v3 : float
        Telescope coordinates of the aperture's reference point, arcsec.
    yang : float
        Angle from V3 to the detector's y axis, deg (``V3I_YANG``).
    border : tuple of int
        Reference pixels at the left, right, bottom and top of the full array.
    """

    instrument: str
    name: str
    fast: int
    slow: int
    gain: float
    read_noise: float
    dark: float
    bias: float
    well: float
    scale: float
    v2: float
    v3: float
    yang: float
    sca: int
    size: tuple[int, int] = (2048, 2048)
    border: tuple[int, int, int, int] = _H2RG_BORDER
    module: str = ""
    channel: str = ""
    parity: int = -1


@dataclass(frozen=True)
class Optics:
    """The elements in the beam and what they let through.

    Attributes
    ----------
    filter, pupil, grating, slit : str
        Header values; empty where the instrument has none.
    pivot, width : float
        Wavelength and width of the band, µm; of a disperser, the middle and the extent of its range.
    throughput : float
        Electrons per photon, telescope, instrument and detector together.
    background : float
        Sky and telescope, MJy/sr.
    """

    filter: str
    pupil: str
    grating: str
    pivot: float
    width: float
    throughput: float
    background: float
    slit: str = ""

    @property
    def rate_per_jansky(self) -> float:
        """Electrons per second that a source of 1 Jy gives over the whole band."""
        return 1e-26 * COLLECTING_AREA * self.throughput * (self.width / self.pivot) / PLANCK

    @property
    def name(self) -> str:
        """The elements as in the name of a combined product: ``clear-f200w``, ``clear-prism-s1600a1``."""
        elements = sorted(element.lower() for element in (self.filter, self.pupil, self.grating) if element)
        return "-".join([*elements, *([self.slit.lower()] if self.slit else [])])


@dataclass(frozen=True)
class Readout:
    """A read-out: the part of the array and the pattern. Every frame is a group."""

    subarray: str
    start: tuple[int, int]
    size: tuple[int, int]
    frame_time: float
    pattern: str
    outputs: int
    aperture: str


DETECTORS = {
    "NRCB1": Detector(
        instrument="NIRCAM", name="NRCB1", fast=1, slow=-2, gain=2.05, read_noise=11.5, dark=0.002, bias=9800.0,
        well=105000.0, scale=0.0311, v2=-120.7, v3=-457.8, yang=-0.4, sca=486, module="B", channel="SHORT",
    ),
    "NRCBLONG": Detector(
        instrument="NIRCAM", name="NRCBLONG", fast=1, slow=-2, gain=1.90, read_noise=10.0, dark=0.034, bias=10400.0,
        well=83000.0, scale=0.0630, v2=-89.4, v3=-491.4, yang=0.13, sca=490, module="B", channel="LONG",
    ),
    "NIS": Detector(
        instrument="NIRISS", name="NIS", fast=-2, slow=-1, gain=1.60, read_noise=11.55, dark=0.0387, bias=11900.0,
        well=72000.0, scale=0.0656, v2=-296.1, v3=-762.7, yang=0.56, sca=496,
    ),
    "NRS1": Detector(
        instrument="NIRSPEC", name="NRS1", fast=2, slow=1, gain=1.00, read_noise=9.8, dark=0.0064, bias=6500.0,
        well=50000.0, scale=0.1050, v2=321.3, v3=-473.9, yang=138.85, sca=491,
    ),
    "MIRIMAGE": Detector(
        instrument="MIRI", name="MIRIMAGE", fast=1, slow=2, gain=4.00, read_noise=24.0, dark=0.2, bias=7200.0,
        well=210000.0, scale=0.1100, v2=-401.0, v3=-329.0, yang=4.83, sca=493, size=(1032, 1024), border=_MIRI_BORDER,
    ),
    "MIRIFUSHORT": Detector(
        instrument="MIRI", name="MIRIFUSHORT", fast=1, slow=2, gain=4.00, read_noise=24.0, dark=0.2, bias=7200.0,
        well=210000.0, scale=0.1300, v2=-503.1, v3=-318.8, yang=8.2, sca=495, size=(1032, 1024), border=_MIRI_BORDER,
    ),
    "GUIDER1": Detector(
        instrument="FGS", name="GUIDER1", fast=-2, slow=-1, gain=1.90, read_noise=12.0, dark=0.03, bias=12600.0,
        well=80000.0, scale=0.0694, v2=207.2, v3=-697.5, yang=-1.25, sca=497,
    ),
}  # fmt: skip

OPTICS = {
    "F200W": Optics("F200W", "CLEAR", "", 1.99, 0.46, 0.45, 0.30),
    "F210M": Optics("F210M", "CLEAR", "", 2.09, 0.21, 0.42, 0.30),
    "F444W": Optics("F444W", "CLEAR", "", 4.40, 1.02, 0.46, 0.55),
    "F480M": Optics("F480M", "CLEARP", "", 4.82, 0.30, 0.40, 0.80),
    "GUIDER": Optics("", "", "", 2.50, 4.00, 0.50, 0.25),
    "F1130W": Optics("F1130W", "", "", 11.31, 0.73, 0.28, 45.0),
    "MRS": Optics("", "", "", 5.30, 0.84, 0.15, 20.0),
    "P750L": Optics("P750L", "", "", 8.50, 7.00, 0.25, 12.0),
    "PRISM": Optics("CLEAR", "", "PRISM", 2.95, 4.70, 0.35, 0.20, slit="S1600A1"),
}

READOUTS = {
    ("NRCB1", "small"): Readout("SUB64P", (1, 1985), (64, 64), 0.05016, "RAPID", 1, "NRCB1_SUB64P"),
    ("NRCB1", "full"): Readout("FULL", (1, 1), (2048, 2048), 10.73677, "RAPID", 4, "NRCB1_FULL"),
    ("NRCBLONG", "small"): Readout("SUB64P", (1, 1985), (64, 64), 0.05016, "RAPID", 1, "NRCB5_SUB64P"),
    ("NRCBLONG", "full"): Readout("FULL", (1, 1), (2048, 2048), 10.73677, "RAPID", 4, "NRCB5_FULL"),
    ("NIS", "small"): Readout("SUB80", (1045, 1), (80, 80), 0.07544, "NISRAPID", 1, "NIS_SUB80"),
    ("NIS", "full"): Readout("FULL", (1, 1), (2048, 2048), 10.73677, "NISRAPID", 4, "NIS_CEN"),
    ("NRS1", "small"): Readout("SUB512S", (1, 1007), (512, 16), 0.14364, "NRSRAPID", 1, "NRS_S1600A1_SLIT"),
    ("NRS1", "full"): Readout("SUB512", (1, 999), (512, 32), 0.22572, "NRSRAPID", 1, "NRS_S1600A1_SLIT"),
    ("MIRIMAGE", "small"): Readout("SUB128", (1, 891), (136, 128), 0.11904, "FASTR1", 4, "MIRIM_SUB128"),
    ("MIRIMAGE", "full"): Readout("FULL", (1, 1), (1032, 1024), 2.77504, "FASTR1", 4, "MIRIM_FULL"),
    ("GUIDER1", "small"): Readout("SUB128CNTR", (961, 961), (128, 128), 0.18200, "FGSRAPID", 1, "FGS1_SUB128CNTR"),
    ("GUIDER1", "full"): Readout("FULL", (1, 1), (2048, 2048), 10.73677, "FGSRAPID", 4, "FGS1_FULL"),
    ("slitless", "small"): Readout("SLITLESSPRISM", (1, 529), (72, 416), 0.15904, "FASTR1", 4, "MIRIM_SLITLESSPRISM"),
    ("MIRIFUSHORT", "small"): Readout("FULL", (1, 1), (1032, 1024), 2.77504, "FASTR1", 4, "MIRIFU_CHANNEL1A"),
}
READOUTS["slitless", "full"] = READOUTS["slitless", "small"]
READOUTS["MIRIFUSHORT", "full"] = READOUTS["MIRIFUSHORT", "small"]
