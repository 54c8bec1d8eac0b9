"""Perturbing one product: a plan applied to its bytes, and the truth of what that did.

Holds: :func:`perturb_product` (plan and product to product and truth) and :func:`apply`, the one
call for a notebook. Blocks of pixels are independent of each other, so threads and their order
change nothing. Keep out the effects, and reading or storing many products (``perturb.dataset``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np

from hwosim_assets.perturb.block import Block, load, store
from hwosim_assets.perturb.budget import Budget, infer_budget
from hwosim_assets.perturb.effect import Effect, NotApplicableError, Task
from hwosim_assets.perturb.fitsfile import FitsFile, packed
from hwosim_assets.perturb.measurements import Measurement
from hwosim_assets.perturb.plan import Plan, make_plan
from hwosim_assets.perturb.product import Product
from hwosim_assets.perturb.registry import effect_class
from hwosim_assets.perturb.rng import CHUNK
from hwosim_assets.perturb.scenario import Scenario, load_scenario
from hwosim_assets.perturb.truth import Runs, Truth, make_truth

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from hwosim_assets.perturb.planes import Plane

__all__ = ["apply", "perturb_product"]

Lost = dict[tuple[str, str], list[tuple[int, "NDArray[np.int64]"]]]


def apply(
    product: Product,
    scenario: Scenario | str,
    *,
    severity: float | None = None,
    seed: int | None = None,
    threads: int = 1,
) -> tuple[Product, Truth]:
    """Perturb a product under a scenario.

    Parameters
    ----------
    product : Product
        The input; it is not changed.
    scenario : Scenario or str
        A scenario, the name of a shipped one, or the path of a YAML file.
    severity, seed : float, int, optional
        Instead of the scenario's.
    threads : int
        Threads to use; the result does not depend on it.

    Returns
    -------
    Product
        Under the same name. At severity 0 it has the input's bytes.
    Truth
        What was done.

    Raises
    ------
    BadInputError
        When the scenario is not known, or the file holds nothing that can be perturbed.

    Examples
    --------
    >>> out, truth = apply(Product.open("x_cal.fits"), "nominal_l2", severity=3, seed=7)  # doctest: +SKIP
    """
    chosen = load_scenario(scenario) if isinstance(scenario, str) else scenario
    chosen = chosen.with_overrides(severity=severity, seed=seed)
    time = product.stream_time if chosen.effects else None
    return perturb_product(product, make_plan(chosen, product.name, time), threads=threads)


def perturb_product(product: Product, plan: Plan, *, threads: int = 1) -> tuple[Product, Truth]:
    """Apply a plan to a product.

    Raises
    ------
    BadInputError
        When the file is no FITS file, or holds nothing that can be perturbed.
    """
    if not plan.effects:
        return product, make_truth(product, product, plan, [], {}, [])
    budgets = {item.sci: infer_budget(product, item) for item in product.measurements}
    content, steps, runs = _perturbed(product, plan, budgets, threads)
    same = content == product.payload
    out = product if same else Product(product.name, packed(content, product.content))
    return out, make_truth(product, out, plan, steps, budgets, runs)


def _perturbed(
    product: Product, plan: Plan, budgets: dict[Plane, Budget], threads: int
) -> tuple[bytes, list[dict[str, Any]], list[Runs]]:
    """Return (plain bytes of the output, what each effect found and did, lost pixels)."""
    effects = [effect_class(step.effect)(Task(step, product, plan.seed, plan.uid)) for step in plan.effects]
    notes: list[list[dict[str, Any]]] = [[] for _ in effects]
    runs: list[Runs] = []
    file = FitsFile(product.payload, product.scan)
    for item in product.measurements:
        active = [effect for effect, note in zip(effects, notes, strict=True) if _prepared(effect, item, budgets, note)]
        pixel_effects = [effect for effect in active if _touches_pixels(effect)]
        if pixel_effects:
            runs += _perturb_measurement(file, item, budgets[item.sci], pixel_effects, threads)
            for plane in item.planes():
                file.hdus[plane.hdu].touched = True
    events = [effect.on_file(file) for effect in effects]
    steps = [{"measurements": note, "events": event} for note, event in zip(notes, events, strict=True)]
    return file.assemble(), steps, runs


def _prepared(effect: Effect, item: Measurement, budgets: dict[Plane, Budget], notes: list[dict[str, Any]]) -> bool:
    """Prepare an effect for a measurement; note what it found, or why it has no meaning here."""
    note: dict[str, Any] = {"name": item.sci.name, "hdu": item.sci.hdu}
    if item.resampled:
        # Its own noise is shared between neighbours; what is added is drawn for each pixel by itself.
        note["resampled"] = True
    try:
        note |= effect.prepare(item, budgets[item.sci])
    except NotApplicableError as reason:
        notes.append({**note, "not_applicable": str(reason)})
        return False
    notes.append({**note, "key": effect.task.stream(item.key).key})
    return True


def _touches_pixels(effect: Effect) -> bool:
    return type(effect).on_chunk is not Effect.on_chunk or type(effect).on_frame is not Effect.on_frame


def _needs_frames(effect: Effect) -> bool:
    return type(effect).on_frame is not Effect.on_frame


def _perturb_measurement(
    file: FitsFile, item: Measurement, budget: Budget, effects: list[Effect], threads: int
) -> list[Runs]:
    """Run all pixel effects over a measurement, in one pass."""
    apart = any(not effect.task.err_honest for effect in effects)
    whole = any(_needs_frames(effect) for effect in effects)
    length = item.pixels if whole else CHUNK
    content, original = file.data, file.content
    parts = [
        (frame, slice(start, min(start + length, item.pixels)))
        for frame in range(item.frames)
        for start in range(0, item.pixels, length)
    ]

    def work(place: tuple[int, slice]) -> tuple[int, Lost]:
        frame, part = place
        block = load(content, item, budget, frame, part, apart=apart)
        with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
            _run_effects(block, effects)
            store(block, content, original)
        return frame, block.lost

    return _runs(item, _mapped(work, parts, threads))


def _run_effects(block: Block, effects: list[Effect]) -> None:
    """Run effects in order; those that work on chunks are fused, those that need neighbours see the whole frame."""
    for frames, together in groupby(effects, key=_needs_frames):
        steps = list(together)
        if frames:
            for effect in steps:
                effect.on_frame(block)
            continue
        for chunk in block.chunks() if block.size > CHUNK else (block,):
            for effect in steps:
                effect.on_chunk(chunk)


def _mapped(
    work: Callable[[tuple[int, slice]], tuple[int, Lost]], parts: list[tuple[int, slice]], threads: int
) -> Iterable[tuple[int, Lost]]:
    if threads <= 1 or len(parts) == 1:
        return [work(part) for part in parts]
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(work, parts))


def _runs(item: Measurement, results: Iterable[tuple[int, Lost]]) -> list[Runs]:
    """Return the lost pixels as runs of consecutive places."""
    runs = []
    for frame, lost in results:
        for (effect, label), pieces in lost.items():
            for group, places in pieces:
                breaks = np.flatnonzero(np.diff(places) != 1) + 1
                first = np.concatenate([[0], breaks])
                lengths = np.diff(np.concatenate([first, [places.size]]))
                runs.append(Runs(effect, label, item.sci.name, item.sci.hdu, frame, group, places[first], lengths))
    return runs
