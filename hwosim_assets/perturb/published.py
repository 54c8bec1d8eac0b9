"""Published detector numbers, for products that do not say them.

Holds: gain, read noise and their sources by instrument. They disagree between sources by 10 to 40 %,
so a product's own variance planes always come first (``perturb.budget``). Keep out numbers of
effects; those stand with the effect.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Detector", "detector_of"]


@dataclass(frozen=True)
class Detector:
    """One kind of detector.

    Attributes
    ----------
    gain : float
        Electrons per DN.
    read_noise : float
        Of one read, electrons.
    pixel_mas : float
        Side of a pixel on the sky, milliarcseconds (JDox, instrument pages).
    pitch_um : float
        Side of a pixel on the detector, micrometres: 18 (HAWAII-2RG), 25 (MIRI's Si:As).
    dark : float
        Usual dark current, electrons per second and pixel (pyNRC, JexoSim; MIRI: JDox).
    source : str
        Where gain and read noise come from.
    """

    gain: float
    read_noise: float
    pixel_mas: float
    pitch_um: float
    dark: float
    source: str


_PYNRC = "pyNRC (flight gains of PID 1538: 2.00-2.25 short, 1.88-1.90 long; read noise 11.5 and 10.0 e-)"
_DETECTORS = {
    "NIRCAM SHORT": Detector(2.1, 11.5, 31.0, 18.0, 0.002, _PYNRC),
    "NIRCAM LONG": Detector(1.89, 10.0, 63.0, 18.0, 0.034, _PYNRC),
    "NIRISS": Detector(1.6, 11.55, 65.6, 18.0, 0.0387, "read noise: JexoSim; gain: commonly quoted, not checked"),
    "NIRSPEC": Detector(1.0, 9.8, 100.0, 18.0, 0.0064, "JDox: gain near unity in full frame; 9.8 e- traditional"),
    "MIRI": Detector(4.0, 24.0, 110.0, 25.0, 0.2, "JDox: gain about 4 e-/DN, read noise about 6 DN"),
}


def detector_of(instrument: str, channel: str, detector: str) -> Detector | None:
    """Return the published numbers for INSTRUME, CHANNEL and DETECTOR; ``None`` where there are none (FGS)."""
    instrument = instrument.strip().upper()
    if instrument == "NIRCAM":
        long = channel.strip().upper() == "LONG" or detector.strip().upper().endswith("LONG")
        instrument = "NIRCAM LONG" if long else "NIRCAM SHORT"
    return _DETECTORS.get(instrument)
