"""Scores by severity: what was counted at each, and the figures that follow from all.

Holds: :class:`Cell` (one severity, one who answers) and :class:`Curve` (one scenario and kind, the model beside the
reference). Keep out the asking (``score``) and the formulas (``metrics``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from hwosim_assets.evaluate.answers import KINDS
from hwosim_assets.evaluate.injected import Injected, Struck
from hwosim_assets.evaluate.matching import match, match_pixels
from hwosim_assets.evaluate.metrics import (
    Counts,
    area_under_severity,
    corruption_error,
    half_score_severity,
    mean_under_corruption,
    relative_corruption_error,
    wilson,
)

if TYPE_CHECKING:
    from hwosim_assets.evaluate.answers import Answer, Found
    from hwosim_assets.evaluate.task import Task

__all__ = ["Cell", "Curve"]


@dataclass
class Cell:
    """What was counted at one severity.

    Attributes
    ----------
    counts : Counts
        Of things, or of pixels that cosmic rays hit.
    false_alarms : int
        Things or pixels found in the same damaged products with nothing injected.
    asked, answered : int
        Products given and answered: each once with what is to be found and once without.
    quiet : int
        Of those answered, the ones without.
    offsets : list of tuple of float
        Found minus injected place of each pair.
    strengths : list of float
        Found over injected strength of each pair that has one.
    """

    counts: Counts = field(default_factory=Counts)
    false_alarms: int = 0
    asked: int = 0
    answered: int = 0
    quiet: int = 0
    offsets: list[tuple[float, ...]] = field(default_factory=list)
    strengths: list[float] = field(default_factory=list)

    def count(
        self, kind: str, there: list[Injected] | dict[int, Struck], answer: Answer, quiet: Answer, known: Answer
    ) -> None:
        """Count the answers to one product.

        Parameters
        ----------
        kind : str
            What is looked for.
        there : list of Injected, or dict of int to Struck
            What there is to be found. Without an answer all of it is missed.
        answer, quiet : Answer
            To the product, and to the same with nothing injected.
        known : Answer
            What stood there before.
        """
        self.asked += 2
        self.answered += (not answer.failure) + (not quiet.failure)
        self.quiet += not quiet.failure
        if isinstance(there, dict):
            self._count_pixels(there, answer, quiet, known)
            return
        radius = max(thing.radius for thing in there)
        for hdu in dict.fromkeys([thing.hdu for thing in there] + _hdus(answer, kind)):
            here = [thing for thing in there if thing.hdu == hdu]
            self._count_things(here, _of(answer, kind, hdu), _of(known, kind, hdu), radius)
        for hdu in _hdus(quiet, kind):
            places = [found.place for found in _of(quiet, kind, hdu)]
            before = [found.place for found in _of(known, kind, hdu)]
            self.false_alarms += len(match([], [], places, before, radius).wrong)

    def _count_things(self, here: list[Injected], found: list[Found], known: list[Found], radius: float) -> None:
        matched = match(
            [thing.place for thing in here],
            [thing.radius for thing in here],
            [item.place for item in found],
            [item.place for item in known],
            radius,
        )
        self.counts += matched.counts
        for one, other in matched.pairs:
            true, said = here[one], found[other]
            self.offsets.append(tuple(a - b for a, b in zip(said.place, true.place, strict=True)))
            if np.isfinite(said.strength):
                self.strengths.append(said.strength / true.strength)

    def _count_pixels(self, there: dict[int, Struck], answer: Answer, quiet: Answer, known: Answer) -> None:
        for hdu, truth in there.items():
            nothing = np.zeros(truth.hit.shape, bool)
            before = known.masks.get(hdu, nothing)
            if before.shape != truth.hit.shape:  # integrations were lost, so that it is not known which these are
                before = nothing
            self.counts += match_pixels(truth.hit, truth.doubtful | before, answer.masks.get(hdu, nothing))
            self.false_alarms += int((quiet.masks.get(hdu, nothing) & ~before).sum())

    def record(self, kind: str) -> dict[str, Any]:
        """Return the counts and what follows from them; 95 % intervals."""
        counts = self.counts
        return {
            "asked": self.asked,
            "answered": self.answered,
            "found": counts.found,
            "missed": counts.missed,
            "wrong": counts.wrong,
            "blended": counts.blended,
            "recall": counts.recall,
            "recall_interval": wilson(counts.found, counts.found + counts.missed),
            "precision": counts.precision,
            "precision_interval": wilson(counts.found, counts.found + counts.wrong),
            "f1": counts.f1,
            "false_alarms_per_product": self.false_alarms / self.quiet if self.quiet else float("nan"),
            **self._biases(kind),
        }

    def _biases(self, kind: str) -> dict[str, float]:
        """Return the median of what found places and strengths are off by."""
        told, biases = KINDS[kind], dict[str, float]()
        if self.offsets:
            middle = np.median(np.array(self.offsets), axis=0).tolist()
            for name, unit, value in zip(told.place, told.units, middle, strict=True):
                biases[f"{name}_bias_{unit}"] = value
        if self.strengths:
            biases[f"{told.strength}_bias"] = float(np.median(self.strengths)) - 1.0
        return biases


def _hdus(answer: Answer, kind: str) -> list[int]:
    return list(dict.fromkeys(found.hdu for found in answer.found if found.kind == kind))


def _of(answer: Answer, kind: str, hdu: int) -> list[Found]:
    return [found for found in answer.found if found.kind == kind and found.hdu == hdu]


class Curve:
    """The scores of the model and of the reference at each severity, for one scenario and kind of thing.

    Parameters
    ----------
    task : Task
        What the scenario asks.
    kind : str
        What is looked for.
    grid : sequence of float
        Severities, ascending, from 0.

    Attributes
    ----------
    cells : (dict, dict)
        Of the model and of the reference, by severity.
    """

    def __init__(self, task: Task, kind: str, grid: Sequence[float]) -> None:
        self.scenario, self.kind, self.severities = task.scenario.name, kind, tuple(grid)
        self._task = task
        self.cells: tuple[dict[float, Cell], dict[float, Cell]] = (
            {severity: Cell() for severity in grid},
            {severity: Cell() for severity in grid},
        )

    @property
    def scored(self) -> bool:
        """Whether there was anything to find."""
        return any(cell.asked for cell in self.cells[0].values())

    def scores(self, who: int = 0) -> list[float]:
        """Return F1 at each severity, of the model (0) or the reference (1)."""
        return [cell.counts.f1 for cell in self.cells[who].values()]

    @property
    def availability(self) -> float:
        """Share of the products that the model answered."""
        cells = self.cells[0].values()
        return sum(cell.answered for cell in cells) / max(sum(cell.asked for cell in cells), 1)

    @property
    def corruption_error(self) -> float:
        """CE against the reference."""
        return corruption_error(self.severities, self.scores(), self.scores(1))

    def figures(self) -> dict[str, Any]:
        """Return what the whole curve comes to."""
        scores, half = self.scores(), half_score_severity(self.severities, self.scores())
        mean = mean_under_corruption(self.severities, scores)
        return {
            "mPC": mean,
            "rPC": mean / scores[0] if scores[0] > 0 else float("nan"),
            "AUSPC": area_under_severity(self.severities, scores),
            "S50": half,
            "S50_above": max(self.severities) if half == np.inf else float("nan"),
            "S50_physical": self._task.physical(half) if np.isfinite(half) else "",
            "CE": self.corruption_error,
            "relative_CE": relative_corruption_error(self.severities, scores, self.scores(1)),
            "availability": self.availability,
        }

    def record(self) -> dict[str, Any]:
        """Return all of it as plain values."""
        rows = [
            {"severity": severity, "model": own.record(self.kind), "reference": other.record(self.kind)}
            for severity, own, other in zip(
                self.severities, self.cells[0].values(), self.cells[1].values(), strict=True
            )
        ]
        return {"scenario": self.scenario, "kind": self.kind, **self.figures(), "severities": rows}
