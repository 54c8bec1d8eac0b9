"""Perturbing one product: a plan applied to its bytes, and the truth of what that did.

Holds: :func:`perturb_product` (plan and product to product and truth) and :func:`apply`, the one
call for a notebook. Blocks of pixels are independent of each other, so threads and their order
change nothing. Keep out the effects, and reading or storing many products (``perturb.dataset``).
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import groupby
from typing import Any

import numpy as np

from hwosim_assets.perturb import compiled
from hwosim_assets.perturb.block import Block, Event, Mark
from hwosim_assets.perturb.budget import Budget, infer_budget
from hwosim_assets.perturb.effect import Earlier, Effect, NotApplicableError, Task
from hwosim_assets.perturb.fitsfile import FitsFile, packed
from hwosim_assets.perturb.measurements import Measurement
from hwosim_assets.perturb.plan import Plan, make_plan
from hwosim_assets.perturb.planes import Plane
from hwosim_assets.perturb.product import Product
from hwosim_assets.perturb.registry import effect_class
from hwosim_assets.perturb.rng import CHUNK
from hwosim_assets.perturb.scenario import Scenario, load_scenario
from hwosim_assets.perturb.side import Findings, Side, find_events, find_runs
from hwosim_assets.perturb.spans import condensed
from hwosim_assets.perturb.stamp import stamp
from hwosim_assets.perturb.transfer import Views, load, store
from hwosim_assets.perturb.truth import Truth, make_truth
from hwosim_assets.perturb.unsaid import Unsaid

__all__ = ["apply", "perturb_product"]

#: Bytes of the arrays that freed memory is kept for: those of a frame of 2048 x 2048 and smaller. glibc raises what
#: it keeps to the largest array that was freed, up to 32 MiB; before that, every array of a chunk comes from the system
#: anew and is faulted in page by page, which takes longer than the arithmetic.
_KEPT = 20 << 20
np.empty(_KEPT, np.uint8)

#: Pixels of a band of rows, for effects that look at neighbours: rows within their reach are worked on twice, so that
#: few rows cost time, and many memory. The numbers do not depend on it, but for the last bits of ERR where an effect of
#: few pixels is used beside such a one: ERR is made anew from the variances of each band in which any of them lies.
BAND = 262144

#: What a block tells the truth: its frame, marks and events.
Told = tuple[int, list[Mark], list[Event]]
#: A part of a measurement: frame, the pixels that are stored, and those that are worked on for it.
Part = tuple[int, slice, slice]


def apply(
    product: Product,
    scenario: Scenario | str,
    *,
    severity: float | str | None = None,
    seed: int | None = None,
    threads: int = 1,
    earlier: Sequence[Earlier] = (),
) -> tuple[Product, Truth]:
    """Perturb a product under a scenario.

    Parameters
    ----------
    product : Product
        The input; it is not changed.
    scenario : Scenario or str
        A scenario, the name of a shipped one, or the path of a YAML file.
    severity : float or str, optional
        Instead of the scenario's: 0 to 5, or ``none``, ``low``, ``medium``, ``high``.
    seed : int, optional
        Instead of the scenario's.
    threads : int
        Threads to use; the result does not depend on it.
    earlier : sequence of Earlier
        Earlier exposures of the same detector, the latest first, for effects that remember them.

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
    return perturb_product(product, make_plan(chosen, product.name, time), threads=threads, earlier=earlier)


def perturb_product(
    product: Product, plan: Plan, *, threads: int = 1, earlier: Sequence[Earlier] = ()
) -> tuple[Product, Truth]:
    """Apply a plan to a product.

    Raises
    ------
    BadInputError
        When the file is no FITS file, or holds nothing that can be perturbed.
    """
    if not plan.effects:
        return product, make_truth(product, product, plan, [], {}, Side.of(Findings([], [])))
    remembered = remembered_by(plan, earlier)
    effects = [effect_class(step.effect)(Task(step, product, plan.seed, plan.uid, remembered)) for step in plan.effects]
    file = FitsFile(product.payload, product.scan)
    steps, budgets, side = work_on(file, product, effects, threads)
    harmful = [pair for pair in zip(effects, steps, strict=True) if type(pair[0]).on_bytes is not Effect.on_bytes]
    del effects  # and what they keep
    if len(product.payload) > _KEPT:
        _give_back()
    stamp(file, plan, steps)
    content = file.assemble()
    whole = product if content == product.payload else Product(product.name, packed(content, product.content))
    out = _damaged(whole, harmful)
    return out, make_truth(product, out, plan, steps, budgets, side, remembered, None if out is whole else whole)


def _give_back() -> None:
    """Return the memory of arrays that are gone to the system, before input, output and truth are there at once."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # of glibc
    if trim is not None:
        trim(0)


def remembered_by(plan: Plan, earlier: Sequence[Earlier]) -> tuple[Earlier, ...]:
    """Return those of the earlier exposures that effects of a plan are given: all or none."""
    return tuple(earlier) if any(effect_class(step.effect).remembers for step in plan.effects) else ()


def _damaged(whole: Product, harmful: list[tuple[Effect, dict[str, Any]]]) -> Product:
    """Let effects damage the finished file; the same product when none does."""
    content = whole.content
    for effect, step in harmful:
        content, events = effect.on_bytes(content)
        step["events"] += events
    return whole if content == whole.content else Product(whole.name, content)


def work_on(
    file: FitsFile, product: Product, effects: list[Effect], threads: int
) -> tuple[list[dict[str, Any]], dict[Plane, Budget], Side]:
    """Let effects change a file; return (what each found and did, noise budgets, what is kept of what blocks told)."""
    notes: list[list[dict[str, Any]]] = [[] for _ in effects]
    findings, budgets = Findings([], []), dict[Plane, Budget]()
    for item in product.measurements:
        compiled.want(item.sci.size)
        budgets[item.sci] = infer_budget(product, item)
        product.release()
    for item in product.measurements:
        active = [effect for effect, note in zip(effects, notes, strict=True) if _prepared(effect, item, budgets, note)]
        pixel_effects = [effect for effect in active if _touches_pixels(effect)]
        if pixel_effects:
            if any(effect.task.err_honest != 1.0 for effect in pixel_effects):
                findings.unsaid[item.sci] = Unsaid(item)
            unsaid = findings.unsaid.get(item.sci)
            _find(findings, item, _perturb_measurement(file, item, budgets[item.sci], pixel_effects, unsaid, threads))
            for plane in item.planes():
                file.hdus[plane.hdu].touched = True
    side = Side.of(findings)  # now, while what no band wrote is not yet in memory
    del findings
    happened = [effect.on_file(file) if _has_meaning(note) else [] for effect, note in zip(effects, notes, strict=True)]
    steps = [{"measurements": note, "events": list(events)} for note, events in zip(notes, happened, strict=True)]
    return steps, budgets, side


def _find(findings: Findings, item: Measurement, told: list[Told]) -> None:
    """Take in what the blocks of a measurement told."""
    findings.runs += find_runs(item, ((frame, marks) for frame, marks, _ in told))
    findings.events += find_events(item, ((frame, events) for frame, _, events in told))


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


def _has_meaning(notes: list[dict[str, Any]]) -> bool:
    """Whether an effect may change the file: not where it refused all that the product measures."""
    return any("not_applicable" not in note for note in notes)


def _touches_pixels(effect: Effect) -> bool:
    return type(effect).on_chunk is not Effect.on_chunk or type(effect).on_frame is not Effect.on_frame


def _needs_frames(effect: Effect) -> bool:
    return type(effect).on_frame is not Effect.on_frame


def _perturb_measurement(
    file: FitsFile, item: Measurement, budget: Budget, effects: list[Effect], unsaid: Unsaid | None, threads: int
) -> list[Told]:
    """Run all pixel effects over a measurement, in one pass; keep what ERR does not say where that may be anything."""
    lots = {effect.use: effect.task.stream(f"{item.key} flags") for effect in effects if 0 < effect.task.dq_honest < 1}
    content, original = file.views(item), Views(file.content, item)

    def loaded_from(views: Views, frame: int, part: slice) -> Block:
        block = load(views, item, budget, frame, part, apart=unsaid is not None)
        block.lots = lots
        if block.size < item.pixels:
            block.elsewhere = partial(as_it_was, frame)
        return block

    def as_it_was(frame: int, rows: slice) -> Block:
        return loaded_from(original, frame, slice(rows.start * item.frame[-1], rows.stop * item.frame[-1]))

    def work(place: Part) -> Told:
        frame, kept, loaded = place
        with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
            # A band's margins are other bands' pixels, which may have been stored already.
            block = loaded_from(content if kept == loaded else original, frame, loaded)
            _run_effects(block, effects)
            inner = block if kept == loaded else block.part(slice(kept.start - loaded.start, kept.stop - loaded.start))
            store(inner, content, original)
            if unsaid is not None:
                unsaid.take(inner)
        file.release()
        return frame, _within(block.marks, kept, loaded), [event.within(kept) for event in block.events]

    return _mapped(work, _parts(item, effects), threads)


def _parts(item: Measurement, effects: list[Effect]) -> list[Part]:
    """Cut a measurement into parts: chunks, or bands of rows as far as effects reach, or whole frames."""
    reaches = [effect.reach(item) for effect in effects if _needs_frames(effect)]
    length, margin = max(CHUNK // min(item.groups, 4), 1), 0  # of a ramp, all groups of a pixel come together
    if reaches:
        columns = item.frame[-1]
        whole = None in reaches or len(item.frame) < 2
        margin = 0 if whole else sum(reach or 0 for reach in reaches) * columns
        # A band is higher than its margins, or most of the work would be done twice and more.
        length = item.pixels if whole else max(BAND // columns * columns, 4 * margin, columns)
    return [
        (
            frame,
            slice(start, min(start + length, item.pixels)),
            slice(max(start - margin, 0), min(start + length + margin, item.pixels)),
        )
        for frame in range(item.frames)
        for start in range(0, item.pixels, length)
    ]


def _within(marks: list[Mark], kept: slice, loaded: slice) -> list[Mark]:
    """Return what marks say of the pixels that are stored, of many as runs; of others their own part tells."""
    found = []
    for mark in marks:
        places: Any = mark.places
        if isinstance(places, range):
            places = range(max(places.start, kept.start), min(places.stop, kept.stop))
        elif kept != loaded:
            places = places[(places >= kept.start) & (places < kept.stop)]
        if len(places):
            found.append(mark._replace(places=places if isinstance(places, range) else condensed(places)))
    return found


def _run_effects(block: Block, effects: list[Effect]) -> None:
    """Run effects in order; those that work on chunks are fused, those that need neighbours see the whole frame."""
    chunks: list[Block] = []  # views, which stay right, since effects change arrays in place
    load, done = block.elsewhere, 0
    for frames, together in groupby(effects, key=_needs_frames):
        steps = list(together)
        done += len(steps)
        if frames:
            for place, effect in enumerate(steps, done - len(steps)):
                block.elsewhere = load and partial(_rows, block.measurement, load, effects[:place])
                effect.on_frame(block)
            continue
        # Loops work on pieces of their own, and a call costs them less than leaving the cache: a band is one chunk.
        most = 2 * BAND if compiled.on() else CHUNK
        chunks = chunks or (list(block.chunks()) if block.size > most else [block])
        for chunk in chunks:
            for effect in steps:
                effect.on_chunk(chunk)


def _rows(item: Measurement, load: Callable[[slice], Block], effects: list[Effect], rows: slice) -> Block:
    """Return rows of a frame as effects leave them."""
    columns, margin = item.frame[-1], sum(effect.reach(item) or 0 for effect in effects if _needs_frames(effect))
    low, high = max(rows.start - margin, 0), min(rows.stop + margin, item.frame[0])
    block = load(slice(low, high))
    _run_effects(block, effects)
    return block.part(slice((rows.start - low) * columns, (rows.stop - low) * columns))


def _mapped(work: Callable[[Part], Told], parts: list[Part], threads: int) -> list[Told]:
    if threads <= 1 or len(parts) == 1:
        return [work(part) for part in parts]
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(work, parts))
