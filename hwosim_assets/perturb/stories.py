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

#: The profiles by the word that a scenario file names them with.
STORIES: dict[str, Story] = {
    "jwst": Story("JWST as measured in flight; the tables of the effects", assumption=False, tables={}),
    "hwo-coronagraph": Story(
        "HWO coronagraph, visible imager: raw contrast 1e-10, 1-sigma precision 3e-12",
        assumption=True,
        tables={
            ("companion", "contrast"): ((1e-10, 3e-10, 1e-9, 1e-8, 1e-7), _DESIGN),
            ("throughput", "loss"): ((0.005, 0.02, 0.1, 0.3, 0.9), _DESIGN),
        },
    ),
    "hwo-hri": Story(
        "HWO High Resolution Imager, ultraviolet and visible",
        assumption=True,
        tables={("throughput", "loss"): ((0.005, 0.02, 0.1, 0.3, 0.9), _DESIGN)},
    ),
}


def told(story: str, effect: str, parameter: Parameter) -> Parameter:
    """Return a parameter with the severity table of a profile."""
    found = STORIES[story].tables.get((effect, parameter.name))
    return parameter if found is None else replace(parameter, severities=found[0], source=found[1])
