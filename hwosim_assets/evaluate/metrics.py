"""From counts to figures: precision and recall, and what becomes of a score as severity rises.

Holds: :class:`Counts` and functions of scores by severity, after ImageNet-C (Hendrycks & Dietterich 2019: CE, mCE,
relative CE) and Michaelis et al. 2019 (mPC, rPC). An undefined figure is NaN. Keep out where counts come from
(``matching``).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

__all__ = [
    "Counts",
    "area_under_severity",
    "corruption_error",
    "half_score_severity",
    "mean_defined",
    "mean_under_corruption",
    "relative_corruption_error",
    "wilson",
]

#: The severities that a scale has.
WORST = 5.0


@dataclass(frozen=True)
class Counts:
    """How often a model was right and wrong.

    Attributes
    ----------
    found, missed : int
        Of the injected ones.
    wrong : int
        Found where nothing was.
    blended : int
        Injected where something stood already; they count in no figure.
    """

    found: int = 0
    missed: int = 0
    wrong: int = 0
    blended: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(
            self.found + other.found,
            self.missed + other.missed,
            self.wrong + other.wrong,
            self.blended + other.blended,
        )

    @property
    def recall(self) -> float:
        """Share of the injected that was found; NaN where nothing was injected."""
        return _share(self.found, self.found + self.missed)

    @property
    def precision(self) -> float:
        """Share of the found that was injected; NaN where nothing was found."""
        return _share(self.found, self.found + self.wrong)

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall; 0 where nothing was found, NaN where nothing was injected."""
        if not self.found + self.missed:
            return math.nan
        return 2 * self.found / (2 * self.found + self.missed + self.wrong)


def _share(part: int, whole: int) -> float:
    return part / whole if whole else math.nan


def wilson(part: int, whole: int) -> tuple[float, float]:
    """Return the 95 % Wilson interval of a share (``astropy.stats.binom_conf_interval``); NaN where there is none."""
    if not whole:
        return math.nan, math.nan
    from astropy.stats import binom_conf_interval

    low, high = binom_conf_interval(part, whole, confidence_level=0.95, interval="wilson")
    return float(low), float(high)


def mean_defined(values: Sequence[float]) -> float:
    """Return the mean of those that are defined, NaN where none is."""
    defined = [value for value in values if not math.isnan(value)]
    return math.fsum(defined) / len(defined) if defined else math.nan


def mean_under_corruption(severities: Sequence[float], scores: Sequence[float]) -> float:
    """Return mPC: the mean score over severities above 0. Over the score at 0 it is rPC."""
    return mean_defined([score for severity, score in zip(severities, scores, strict=True) if severity > 0])


def area_under_severity(severities: Sequence[float], scores: Sequence[float]) -> float:
    """Return AUSPC: the mean of the score over severities 0 to 5 (trapezia), divided by the score at 0.

    Parameters
    ----------
    severities : sequence of float
        Ascending.
    scores : sequence of float
        At each.

    Returns
    -------
    float
        NaN where the severities do not reach from 0 to 5, a score is not defined, or that at 0 is 0.
    """
    if not severities or severities[0] != 0 or severities[-1] != WORST or not scores[0] > 0:
        return math.nan
    return float(np.trapezoid(scores, severities)) / WORST / scores[0]


def half_score_severity(severities: Sequence[float], scores: Sequence[float]) -> float:
    """Return S50: the severity where the score first falls to half of that at 0, interpolated.

    Returns
    -------
    float
        Infinite where it never does; NaN where a score is not defined, or that at 0 is missing or 0.
    """
    if not severities or severities[0] != 0 or not scores[0] > 0 or any(math.isnan(score) for score in scores):
        return math.nan
    half = scores[0] / 2
    for place in range(1, len(scores)):
        if scores[place] <= half:
            before, after = scores[place - 1], scores[place]
            share = (before - half) / (before - after)
            return severities[place - 1] + share * (severities[place] - severities[place - 1])
    return math.inf


def corruption_error(severities: Sequence[float], scores: Sequence[float], reference: Sequence[float]) -> float:
    """Return CE: the sum of the errors 1 - score over severities above 0, divided by that of the reference.

    The mean of it over kinds of damage is mCE. Severities at which either score is not defined are left out.

    Returns
    -------
    float
        NaN where the reference makes no error.
    """
    return _ratio(severities, [1 - score for score in scores], [1 - score for score in reference])


def relative_corruption_error(
    severities: Sequence[float], scores: Sequence[float], reference: Sequence[float]
) -> float:
    """Return the relative CE: the same of what errors grow by, from severity 0 on.

    Returns
    -------
    float
        NaN where the reference does not get worse.
    """
    return _ratio(severities, [scores[0] - score for score in scores], [reference[0] - score for score in reference])


def _ratio(severities: Sequence[float], errors: Sequence[float], reference: Sequence[float]) -> float:
    rows = [
        (error, other)
        for severity, error, other in zip(severities, errors, reference, strict=True)
        if severity > 0 and not math.isnan(error) and not math.isnan(other)
    ]
    below = math.fsum(other for _, other in rows)
    return math.fsum(error for error, _ in rows) / below if below > 0 else math.nan
