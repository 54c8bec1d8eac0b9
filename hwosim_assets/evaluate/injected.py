"""What was injected into a product, as its truth says: places, times and strengths; and what cosmic rays hit.

Holds: :func:`injected` and :func:`struck`. Keep out which effects are to be found (``task``), and matching.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from hwosim_assets.evaluate.task import RAYS, SIGNALS
from hwosim_assets.perturb.times import exposure_span, frame_times

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from hwosim_assets.perturb.measurements import Measurement
    from hwosim_assets.perturb.product import Product
    from hwosim_assets.perturb.truth import Truth

    Mask = NDArray[np.bool_]

__all__ = ["FRAMES", "Injected", "Struck", "injected", "is_series", "struck"]

#: A source counts as found within its full width at half maximum, and within so many pixels where it is sharper.
_NEAREST_PX = 2.0
#: A pixel that cosmic rays changed by so many of its ERR was hit; one that they changed by less counts neither way.
_HIT = 3.0
#: Integrations from which one that was hit can be told from the others.
FRAMES = 5


@dataclass(frozen=True)
class Injected:
    """One thing that was injected.

    Attributes
    ----------
    kind : str
        ``source``, ``dip`` or ``flare``.
    hdu : int
        Of a source; -1 for what belongs to the whole file.
    place : tuple of float
        Pixels (y, x) of the undamaged frame, or MJD (UTC).
    radius : float
        How near an answer must be, in the same unit.
    strength : float
        Flux in the unit of SCI, depth or amplitude.
    """

    kind: str
    hdu: int
    place: tuple[float, ...]
    radius: float
    strength: float


def injected(truth: Truth, product: Product) -> list[Injected]:
    """Return what a truth says was injected.

    Parameters
    ----------
    truth : Truth
        Of the product.
    product : Product
        As it was before.

    Returns
    -------
    list of Injected
        Without signals that had no meaning for the product, fell outside of it, or whose time it does not tell.
    """
    found: list[Injected] = []
    for step in truth.record["effects"]:
        kind = SIGNALS.get(step["effect"])
        notes = [note for note in step["measurements"] if "not_applicable" not in note]
        if kind == "source":
            radius = max(float(step["parameters"]["fwhm"]), _NEAREST_PX)
            found += [
                Injected(kind, note["hdu"], (note["y"], note["x"]), radius, note["flux"])
                for note in notes
                if max(note.get("weights", (1.0,))) > 0
            ]
        elif kind is not None and notes:
            happened = _in_time(kind, step, notes, product)
            found += [] if happened is None else [happened]
    return found


def _in_time(kind: str, step: dict[str, Any], notes: list[dict[str, Any]], product: Product) -> Injected | None:
    """Return a dip or a flare, one for the file; ``None`` where none of its frames shows it."""
    items = {(item.sci.name, item.sci.hdu): item for item in product.measurements}
    # An exponential decay ends nowhere: a flare whose peak lies further off than one decay time is another segment's.
    least = step["parameters"]["amplitude"] / math.e if kind == "flare" else 0.0
    seen = [note for note in notes if note["largest"] > least]
    if not seen:
        return None
    item = items[seen[0]["name"], seen[0]["hdu"]]
    times, span, numbers = frame_times(product, item), exposure_span(product, item), step["parameters"]
    if times is None or span is None:
        return None
    shortest = float(np.median(times.end - times.start))
    if kind == "flare":
        middle, wide = span.at(numbers["peak"]), numbers["decay"] * span.length
    else:
        wide = (numbers["length"] / 24.0 or numbers["duration"] * span.length) / 2
        middle = _middle(numbers, span.at(numbers["mid"]), float(times.mid[seen[0]["frames"][0]]))
    return Injected(kind, -1, (middle,), max(wide, shortest), max(note["largest"] for note in seen))


def _middle(numbers: dict[str, Any], by_share: float, near: float) -> float:
    """Return the mid time of a dip (MJD UTC): of those of its period, the one next to a frame that shows it."""
    if not numbers["mid_mjd"]:
        return by_share
    period = numbers["period"]
    turns = round((near - numbers["mid_mjd"]) / period) if period else 0
    return float(numbers["mid_mjd"] + turns * period)


@dataclass(frozen=True)
class Struck:
    """Pixels of one measurement that cosmic rays hit.

    Attributes
    ----------
    hit : bool array
        Those that were changed by more than three of their ERR.
    doubtful : bool array
        Those that were changed by less, or hold no number.
    """

    hit: Mask
    doubtful: Mask


def struck(truth: Truth, out: Product, twin: Product) -> dict[int, Struck]:
    """Return which pixels cosmic rays hit, by HDU.

    A hit that the ramp fit found was cut out and is none: it changed the noise of its pixel and not the signal.

    Parameters
    ----------
    truth : Truth
        Of ``out``.
    out, twin : Product
        The product as delivered, and the same with all damage but these rays.

    Returns
    -------
    dict of int to Struck
        Of the slopes with an ERR and five integrations or more, where the rays had a meaning.
    """
    notes = [note for step in truth.record["effects"] if step["effect"] == RAYS for note in step["measurements"]]
    applied = {note["hdu"] for note in notes if "not_applicable" not in note}
    found = {}
    for item, other in zip(out.measurements, twin.measurements, strict=True):
        if item.sci.hdu in applied and other.err is not None and is_series(item):
            before, after = (part.sci.read(source.payload) for part, source in ((other, twin), (item, out)))
            change = np.abs(after.astype(np.float64) - before)
            hit = change > _HIT * other.err.read(twin.payload)
            found[item.sci.hdu] = Struck(hit, ~np.isfinite(change) | ((change > 0) & ~hit))
    return found


def is_series(item: Measurement) -> bool:
    """Whether a measurement has integrations enough to compare."""
    return len(item.frame) == 2 and item.frames >= FRAMES and not (item.ramp or item.resampled)
