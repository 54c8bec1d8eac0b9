"""Whose instrument severities are told of: other severity tables for other telescopes.

Holds: the profiles ``jwst``, ``hwo-coronagraph`` and ``hwo-hri`` of scenario files, and where their tables differ from
those of the effects. JWST's are the effects' own, with their sources. The Habitable Worlds Observatory does not exist:
its tables are ASSUMPTIONS, scaled from published design studies. Keep out what the parameters mean
(``perturb.parameters``).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from hwosim_assets.perturb.parameters import Parameter

__all__ = ["STORIES", "Story", "StoryName", "told"]

StoryName = Literal["jwst", "hwo-coronagraph", "hwo-hri"]


@dataclass(frozen=True)
class Story:
    """The severity tables of one instrument.

    Attributes
    ----------
    title : str
        Which instrument, for people.
    assumption : bool
        Whether its numbers are assumptions.
    tables : dict
        (effect, parameter) -> (values at severity 1 to 5, source).
    """

    title: str
    assumption: bool
    tables: dict[tuple[str, str], tuple[tuple[float, ...], str]]


_DESIGN = "assumption, scaled from the HWO Sci-Eng-Interface (2025) and arXiv:2510.02547"
_LOSS = ((0.005, 0.02, 0.1, 0.3, 0.9), _DESIGN)
#: Radiation at the second Lagrange point is what JWST meets there.
_FOUND = ((0.002, 0.01, 0.05, 0.2, 1.0), "assumption: more reads of a faster detector find more of the hits")

#: The profiles by the word that a scenario file names them with.
STORIES: dict[str, Story] = {
    "jwst": Story("JWST as measured in flight; the tables of the effects", assumption=False, tables={}),
    "hwo-coronagraph": Story(
        "HWO coronagraph, visible imager: raw contrast 1e-10, 1-sigma precision 3e-12",
        assumption=True,
        tables={
            ("companion", "contrast"): ((1e-10, 3e-10, 1e-9, 1e-8, 1e-7), _DESIGN),
            ("throughput", "loss"): _LOSS,
            ("cosmic_rays", "residual"): _FOUND,
            ("jitter", "sigma"): (
                (0.1, 0.3, 0.5, 1.0, 5.0),
                "assumption: sub-mas; Roman's coronagraph keeps below 0.4 mas behind its low-order wavefront sensor",
            ),
            ("wavefront_drift", "sigma"): (
                (0.001, 0.01, 0.1, 0.3, 3.0),
                "assumption: picometres between corrections; fore-optics 300 pm rms (Sci-Eng-Interface)",
            ),
            ("pointing_drift", "shift"): ((0.1, 0.3, 1.0, 5.0, 50.0), _DESIGN),
            ("emccd_noise", "cic"): (
                (0.002, 0.0088, 0.01, 0.03, 0.1),
                "assumption: 0.0088 to 0.01 e- per pixel and frame is Roman's (corgisim)",
            ),
            ("dark_current", "factor"): ((1.2, 1.5, 2.0, 5.0, 30.0), "assumption: relative to the product's own"),
            ("flat_drift", "rms"): ((0.0005, 0.001, 0.003, 0.01, 0.05), "assumption"),
        },
    ),
    "hwo-hri": Story(
        "HWO High Resolution Imager, ultraviolet and visible: 7.16 mas pixels, wavefront 35 nm",
        assumption=True,
        tables={
            ("throughput", "loss"): _LOSS,
            ("cosmic_rays", "residual"): _FOUND,
            ("jitter", "sigma"): (
                (0.3, 0.8, 1.5, 3.0, 15.0),
                "assumption: from a twentieth of the 7.16 mas pixel to two of them",
            ),
            ("wavefront_drift", "sigma"): (
                (1.0, 3.0, 10.0, 35.0, 100.0),
                "assumption: 35 nm rms is the whole error of the imager (HWO Sci-Eng-Interface, 2025)",
            ),
            ("pointing_drift", "shift"): ((0.3, 1.0, 5.0, 20.0, 100.0), _DESIGN),
            ("read_noise", "factor"): ((1.1, 1.5, 2.0, 5.0, 20.0), "assumption: 0.2 e- leaves room for more"),
            ("flat_drift", "rms"): ((0.001, 0.003, 0.005, 0.02, 0.1), "assumption"),
        },
    ),
}


def told(story: str, effect: str, parameter: Parameter) -> Parameter:
    """Return a parameter with the severity table of a profile."""
    found = STORIES[story].tables.get((effect, parameter.name))
    return parameter if found is None else replace(parameter, severities=found[0], source=found[1])
