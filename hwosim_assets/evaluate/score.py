"""A model scored under scenarios: products perturbed at each severity, the model asked, its answers matched.

Holds: :func:`evaluate` and :class:`Evaluation`. Keep out how a single answer is read (``answers``) or matched
(``matching``), the scores themselves (``curves``), and how results look on a terminal.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hwosim_assets.errors import BadInputError, HwosimError
from hwosim_assets.evaluate.answers import Answer, Model, ask
from hwosim_assets.evaluate.curves import Cell, Curve
from hwosim_assets.evaluate.detectors import EVENT, RAY, SOURCE, find_cosmic_rays, find_in_time, find_sources, reference
from hwosim_assets.evaluate.injected import FRAMES, Injected, Struck, injected, struck
from hwosim_assets.evaluate.metrics import mean_defined
from hwosim_assets.evaluate.task import RAYS, SIGNALS, Task
from hwosim_assets.perturb.parameters import parse_severity
from hwosim_assets.perturb.product import Product
from hwosim_assets.perturb.run import apply
from hwosim_assets.perturb.scenario import Scenario
from hwosim_assets.perturb.truth import Truth

__all__ = ["Evaluation", "evaluate"]

#: What stands in a product before anything is injected is looked for at so much of the reference's thresholds.
_DEEPER = 0.6
_FEW = f"no pixel was hit in {FRAMES} or more integrations with an ERR"

Things = dict[str, list[Injected] | dict[int, Struck]]


@dataclass(frozen=True)
class Evaluation:
    """How a model did.

    Attributes
    ----------
    curves : tuple of Curve
        One for each scenario and kind of thing.
    left_out : tuple of (str, str, str)
        Scenario, product and why nothing could be scored in it.
    failures : tuple of (str, str, float, str)
        Scenario, product, severity and what the model did in place of answering; one for each draw.
    """

    curves: tuple[Curve, ...]
    left_out: tuple[tuple[str, str, str], ...]
    failures: tuple[tuple[str, str, float, str], ...]

    @property
    def mean_corruption_error(self) -> float:
        """The mean of the curves' CE: mCE; below 1 is better than the reference, which has 1."""
        return mean_defined([curve.corruption_error for curve in self.curves])

    def record(self) -> dict[str, Any]:
        """Return all of it as plain values; what is not defined is NaN."""
        return {
            "mCE": self.mean_corruption_error,
            "curves": [curve.record() for curve in self.curves],
            "left_out": [dict(zip(("scenario", "product", "reason"), row, strict=True)) for row in self.left_out],
            "failures": [
                dict(zip(("scenario", "product", "severity", "reason"), row, strict=True)) for row in self.failures
            ],
        }


def evaluate(
    model: Model,
    scenarios: Sequence[Scenario],
    products: Sequence[Product | Path],
    *,
    severities: Sequence[float] = (0, 1, 2, 3, 4, 5),
    draws: int = 5,
    on_step: Callable[[], None] = lambda: None,
) -> Evaluation:
    """Score a model, and the reference detectors beside it.

    Parameters
    ----------
    model : callable
        Takes a product and returns mappings; see ``evaluate.answers``.
    scenarios : sequence of Scenario
        What they inject is to be found; their damage is graded. One that injects nothing asks for its cosmic rays.
    products : sequence of Product or Path
        Undamaged products, or their files, of which one is in memory at a time.
    severities : sequence of float
        0 to 5; 0, which scores are compared with, is always among them.
    draws : int
        How often each product is used at each severity, with other places, times and noise.
    on_step : callable
        Called after each product, once for each scenario.

    Returns
    -------
    Evaluation

    Raises
    ------
    BadInputError
        When a scenario has nothing to find, none of the products has a place for it, or a severity is none.
    """
    try:
        grid = sorted({0.0, *(parse_severity(severity) for severity in severities)})
    except ValueError as wrong:
        raise BadInputError("severity", str(wrong), "leave it out") from None
    tasks = [Task.of(scenario) for scenario in scenarios]
    run = _Run(model, grid, draws, on_step)
    for task in tasks:
        run.score(task, products)
    if not run.curves:
        scenario, product, reason = run.left_out[0] if run.left_out else ("", "", "there are no products")
        where = f"{product} under {scenario}: " if product else ""
        raise BadInputError("evaluation", f"nothing could be scored ({where}{reason})", "give products that fit")
    return Evaluation(tuple(run.curves), tuple(run.left_out), tuple(run.failures))


class _Run:
    """One evaluation under way."""

    def __init__(self, model: Model, grid: list[float], draws: int, on_step: Callable[[], None]) -> None:
        self._models: tuple[Model, Model] = (model, reference)
        self._grid, self._draws, self._on_step = grid, draws, on_step
        self.curves: list[Curve] = []
        self.left_out: list[tuple[str, str, str]] = []
        self.failures: list[tuple[str, str, float, str]] = []

    def score(self, task: Task, products: Sequence[Product | Path]) -> None:
        """Add the curves of a scenario."""
        curves = {kind: Curve(task, kind, self._grid) for kind in task.kinds}
        for item in products:
            try:
                reason = self._product(task, Product.open(item) if isinstance(item, Path) else item, curves)
            except HwosimError as error:
                reason = f"{error.reason}; {error.mend}"
            if reason:
                self.left_out.append((task.scenario.name, item.name, reason))
            self._on_step()
        self.curves += [curve for curve in curves.values() if curve.scored]

    def _product(self, task: Task, product: Product, curves: dict[str, Curve]) -> str:
        """Score one product; return why nothing could be scored in it, empty where something was."""
        known, scored, reason = _known(product, task.kinds), False, ""
        for severity in self._grid:
            for draw in range(self._draws):
                out, truth = apply(product, task.at(severity, draw))
                twin, _ = apply(product, task.twin(severity, draw))
                things = _things(task, truth, product, out, twin)
                reason = reason or _why_nothing(task, truth)
                if things:
                    scored = True
                    self._ask(task, severity, product, (out, twin), things, known, curves)
        if scored:
            return ""
        return reason or (_FEW if RAYS in task.kinds else "nothing of it falls into the product")

    def _ask(
        self,
        task: Task,
        severity: float,
        product: Product,
        delivered: tuple[Product, Product],
        things: Things,
        known: Answer,
        curves: dict[str, Curve],
    ) -> None:
        """Ask model and reference for both files, and count."""
        for who, model in enumerate(self._models):
            answer, quiet = (ask(model, item, product) for item in delivered)
            for failed in (answer, quiet):
                if failed.failure and who == 0:
                    self.failures.append((task.scenario.name, product.name, severity, failed.failure))
            for kind, there in things.items():
                cell: Cell = curves[kind].cells[who][severity]
                cell.count(kind, there, answer, quiet, known)


def _things(task: Task, truth: Truth, product: Product, out: Product, twin: Product) -> Things:
    """Return what is to be found, by kind; kinds of which there is nothing are not in it."""
    found: Things = {}
    if RAYS in task.kinds:
        found[RAYS] = struck(truth, out, twin)
    for thing in injected(truth, product) if RAYS not in task.kinds else []:
        listed = found.setdefault(thing.kind, [])
        if isinstance(listed, list):
            listed.append(thing)
    return {kind: there for kind, there in found.items() if there}


def _why_nothing(task: Task, truth: Truth) -> str:
    """Return the first reason why something that is to be found is not in the product; empty where none is given."""
    steps = [step for step in truth.record["effects"] if SIGNALS.get(step["effect"], step["effect"]) in task.kinds]
    notes = [note for step in steps for note in step["measurements"]]
    return next((str(note["not_applicable"]) for note in notes if "not_applicable" in note), "")


def _known(product: Product, kinds: Sequence[str]) -> Answer:
    """Return what stands in a product before anything is injected, as the reference sees it at a lower threshold."""

    def deeper(kept: Product) -> Any:
        if "source" in kinds:
            yield from find_sources(kept, _DEEPER * SOURCE)
        if "dip" in kinds or "flare" in kinds:
            yield from find_in_time(kept, _DEEPER * EVENT)
        if RAYS in kinds:
            yield from find_cosmic_rays(kept, _DEEPER * RAY)

    return ask(deeper, product)
