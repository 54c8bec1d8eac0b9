"""Perturbed products against their inputs, pixel by pixel: does the truth account for what differs.

Holds: :func:`compared`, which takes a few products of a program and says what the truth does not account for,
which planes no longer agree, and what misses the plan. Keep out how a truth is made and checked
(``perturb.truth``, ``perturb.proof``) and what follows from it (``quality.suites``).
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from hwosim_assets.fits.dq import DQ

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from hwosim_assets.lake.store import Lake
    from hwosim_assets.perturb.measurements import Measurement
    from hwosim_assets.perturb.product import Product
    from hwosim_assets.perturb.truth import Truth

    Values = NDArray[np.float64]

__all__ = ["MOST_BYTES", "MOST_PRODUCTS", "Comparison", "compared"]

#: What one evaluation compares at most: products, and bytes of their outputs.
MOST_PRODUCTS = 8
MOST_BYTES = 512 * 2**20
#: Standard errors within which a loss or a throughput is the plan's.
_SIGMAS = 5.0
#: Effects that add independent noise or an even light, or scale the light: with these alone a slope can be read off.
_LINEAR = frozenset({"throughput", "background", "read_noise", "gaussian_noise", "missing_values", "packet_loss"})
#: Share of pixels whose variances may come apart from ERR squared, beyond those of the input.
_SUM_SHARE, _SUM_TOLERANCE = 0.01, 0.01
_FEWEST_PIXELS = 1000
#: Of frames of one value each, what is left beside their means is rounding, squared.
_FLAT = 1e-24


@dataclass(frozen=True)
class Comparison:
    """What a product's comparison found; ``None`` where all is as it should be.

    Attributes
    ----------
    unaccounted : str or None
        Differences that the truth does not account for.
    inconsistent : str or None
        Planes that no longer agree though uncertainties and flags are honest.
    off_plan : str or None
        A loss or throughput that is not the plan's.
    """

    unaccounted: str | None
    inconsistent: str | None
    off_plan: str | None


def compared(
    rows: Sequence[Mapping[str, Any]],
    truths: Sequence[Mapping[str, Any] | None],
    catalog: Sequence[Mapping[str, Any]],
    lake: Lake,
) -> dict[str, Comparison]:
    """Compare stored outputs with their inputs.

    Parameters
    ----------
    rows : sequence of mapping
        Rows of the table ``perturbed`` of one program and scenario.
    truths : sequence of mapping or None
        For each, its row of the table ``truth``.
    catalog : sequence of mapping
        The program's rows of the table ``products``.
    lake : Lake
        Where both lie.

    Returns
    -------
    dict of str to Comparison
        By product name, for at most :data:`MOST_PRODUCTS` products of at most :data:`MOST_BYTES` together, chosen by
        the hash of their output; those whose files are not stored or no longer there are left out.
    """
    inputs = {row["sha256"]: row for row in catalog}
    pairs = [
        (row, truth)
        for row, truth in zip(rows, truths, strict=True)
        if truth is not None and row["key"] is not None and row["in_sha256"] in inputs
    ]
    found: dict[str, Comparison] = {}
    left = MOST_BYTES
    for row, truth in sorted(pairs, key=lambda pair: str(pair[0]["out_sha256"])):
        stored = [lake.head(key) for key in (row["key"], inputs[row["in_sha256"]]["key"])]
        if len(found) >= MOST_PRODUCTS or None in stored or (found and row["size_bytes"] > left):
            continue
        left -= row["size_bytes"]
        found[row["product_name"]] = _comparison(row, truth, inputs, lake)
    return found


def _comparison(
    row: Mapping[str, Any], truth_row: Mapping[str, Any], inputs: Mapping[str, Mapping[str, Any]], lake: Lake
) -> Comparison:
    from hwosim_assets.errors import HwosimError
    from hwosim_assets.perturb.effect import Earlier
    from hwosim_assets.perturb.product import Product
    from hwosim_assets.perturb.proof import diff
    from hwosim_assets.perturb.truth import Truth

    name = row["product_name"]
    truth = Truth(json.loads(truth_row["record_json"]))
    before, after = (Product(name, lake.read(key)) for key in (inputs[row["in_sha256"]]["key"], row["key"]))
    known = [(item, inputs.get(item["sha256"])) for item in truth.record.get("earlier", [])]
    earlier = [
        Earlier(Product(item["product"], lake.read(there["key"])), float(item["end_mjd"]))
        for item, there in known
        if there is not None
    ]
    try:
        verdict = diff(before, after, truth, earlier=earlier)
        unaccounted = None if verdict.accounted else "; ".join(verdict.findings)
    except HwosimError as error:  # the record does not belong to these bytes, or cannot be replayed
        unaccounted = str(error)
    if truth.record.get("damaged") or unaccounted:
        return Comparison(unaccounted, None, None)
    return Comparison(None, _inconsistent(before, after, truth), _off_plan(before, after, truth))


def _pairs(before: Product, after: Product) -> list[tuple[Measurement, Measurement]]:
    """Return the measurements that input and output share, shape for shape."""
    both = zip(before.measurements, after.measurements, strict=False)
    return [(old, new) for old, new in both if old.sci.shape == new.sci.shape]


def _read(plane: Any, product: Product) -> Values:
    values: Values = plane.decode(plane.raw(product.payload)).astype(np.float64)
    return values


def _inconsistent(before: Product, after: Product, truth: Truth) -> str | None:
    """Compare variances with errors, and blank pixels with flags, where every effect is honest about both."""
    effects = truth.record["effects"]
    honest_errors = all(item.get("err", "consistent") == "consistent" for item in effects)
    honest_flags = all(item.get("dq", "flagged") == "flagged" and item.get("dq_share", 1) == 1 for item in effects)
    for old, new in _pairs(before, after):
        if honest_errors and not new.ramp:
            grown = _not_summed(new, after) - _not_summed(old, before)
            if grown > _SUM_SHARE:
                return f"{new.sci.name}: the variances left ERR squared in {grown:.1%} of the pixels"
        if honest_flags and new.dq is not None and new.dq.shape == new.sci.shape:
            bare = _unflagged(new, after) - (_unflagged(old, before) if old.dq is not None else 0)
            if bare > 0:
                return f"{new.sci.name}: {bare} lost pixels are not flagged"
    return None


def _not_summed(item: Measurement, product: Product) -> float:
    """Return the share of pixels whose variances do not sum to ERR squared within a percent."""
    if item.err is None or len(item.variances) < 2:
        return 0.0
    squared = np.square(_read(item.err, product))
    total = np.sum([np.nan_to_num(_read(plane, product)) for plane in item.variances.values()], axis=0)
    good = np.isfinite(squared) & np.isfinite(total) & (squared > 0) & (total > 0)
    off = np.abs(total[good] - squared[good]) > _SUM_TOLERANCE * squared[good]
    return float(off.mean()) if off.size else 0.0


def _unflagged(item: Measurement, product: Product) -> int:
    values = _read(item.sci, product)
    flags = item.dq.decode(item.dq.raw(product.payload)).astype(np.int64) if item.dq is not None else np.zeros(1, int)
    return int((~np.isfinite(values) & (flags & int(DQ.DO_NOT_USE) == 0)).sum())


def _off_plan(before: Product, after: Product, truth: Truth) -> str | None:
    effects = truth.record["effects"]
    lost = [item for item in effects if item["effect"] == "missing_values" and not item["full"]]
    pixels = sum(item.sci.size for item in before.measurements)
    for item in lost:
        applied = any("not_applicable" not in note for note in item["measurements"])
        planned, blind = float(item["parameters"]["fraction"]), item["parameters"]["mechanism"] == "mcar"
        width = _SIGMAS * math.sqrt(max(pixels * planned * (1 - planned), 1.0))
        if (
            applied
            and blind
            and len(lost) == 1
            and not pixels * planned - width <= item["pixels_lost"] <= pixels * planned + width
        ):
            return f"{item['pixels_lost']} of {pixels} pixels were lost, the plan says a share of {planned:g}"
    if any(item["effect"] not in _LINEAR for item in effects):
        return None
    for old, new in _pairs(before, after):
        said = _slope(old, new, before, after, effects)
        if said:
            return said
    return None


def _slope(
    old: Measurement, new: Measurement, before: Product, after: Product, effects: Sequence[Mapping[str, Any]]
) -> str | None:
    """Fit the output against the input: the slope is the throughput, whatever independent noise was added.

    Each frame has a mean of its own, since light that is added may be another in each. Where a throughput is not the
    same for all pixels no slope tells it.
    """
    notes = [note for item in effects for note in item["measurements"] if note["hdu"] == old.sci.hdu]
    notes = [note for note in notes if note["name"] == old.sci.name]
    if old.ramp or any("signal_scales" in note for note in notes):
        return None
    due = math.prod(note.get("signal_scale", 1.0) for note in notes)
    x, y = (_read(item.sci, product).reshape(old.frames, -1) for item, product in ((old, before), (new, after)))
    good = np.isfinite(x) & np.isfinite(y)
    count = np.maximum(good.sum(axis=1, keepdims=True), 1)
    x, y = (np.where(good, values, 0.0) for values in (x, y))
    centred, y = (np.where(good, v - v.sum(axis=1, keepdims=True) / count, 0.0) for v in (x, y))
    spread = float((centred * centred).sum())
    if int(good.sum()) < _FEWEST_PIXELS or not spread > _FLAT * float((x * x).sum()):
        return None
    slope = float((centred * y).sum()) / spread
    left = y - slope * centred
    # the photon noise grows with the signal: each pixel's own residual weighs by its lever (White 1980)
    width = _SIGMAS * math.sqrt(float((centred * centred * left * left).sum())) / spread
    if abs(slope - due) > width + 1e-3:
        return f"{old.sci.name}: throughput is {slope:.4f}, the plan says {due:.4f}"
    return None
