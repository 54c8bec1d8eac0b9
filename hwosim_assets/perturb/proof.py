"""What a truth is good for: the same bytes again, and the proof that it accounts for every difference.

Holds: :func:`replay` and :func:`diff`. Keep out what a truth says and how it is made (``perturb.truth``).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hwosim_assets.errors import BadInputError, HwosimError
from hwosim_assets.perturb.changes import compare
from hwosim_assets.perturb.effect import Earlier
from hwosim_assets.perturb.rng import RNG
from hwosim_assets.perturb.run import perturb_product
from hwosim_assets.perturb.truth import ENGINE, Truth

if TYPE_CHECKING:
    from hwosim_assets.perturb.product import Product

__all__ = ["Verdict", "diff", "replay"]


def replay(truth: Truth, product: Product, *, threads: int = 1, earlier: Sequence[Earlier] = ()) -> Product:
    """Return the perturbed product again, from its input and its truth alone.

    Effects that remember earlier exposures need those too, which the record names.

    Raises
    ------
    BadInputError
        When the input is not the one of the record, or another version made it.
    HwosimError
        When the bytes come out different, which is a bug.
    """
    record = truth.record
    if product.sha256 != record.get("in_sha256"):
        raise BadInputError(product.name, "is not the input of this truth record", "use the file it was made from")
    if (record.get("engine"), record.get("rng")) != (ENGINE, RNG):
        made = f"engine {record.get('engine')}, {record.get('rng')}"
        raise BadInputError("truth record", f"was made by {made}, this is {ENGINE}, {RNG}", "use that version")
    given = {item.product.sha256: item for item in earlier}
    wanted = record.get("earlier", [])
    for item in wanted:
        if item["sha256"] not in given:
            raise BadInputError(item["product"], "is remembered by an effect and was not given", "give it as `earlier`")
    remembered = [Earlier(given[item["sha256"]].product, item["end_mjd"]) for item in wanted]
    out, _ = perturb_product(product, truth.plan, threads=threads, earlier=remembered)
    if out.sha256 != record["out_sha256"]:
        raise HwosimError(product.name, "the replay gives other bytes than the record says", "report it as a bug")
    return out


@dataclass(frozen=True)
class Verdict:
    """Whether a truth accounts for every difference between two files, and what it does not account for."""

    accounted: bool
    findings: tuple[str, ...]


def diff(before: Product, after: Product, truth: Truth, *, earlier: Sequence[Earlier] = ()) -> Verdict:
    """Check that a truth accounts for every difference between an input and an output.

    A file that was damaged on purpose is compared byte by byte with the damage done again. Otherwise
    the arrays and cards that differ must be those the record lists, element by element, and the
    differing values must be those that the record's plan gives when it is applied again.
    """
    record = truth.record
    if before.sha256 != record.get("in_sha256"):
        return Verdict(False, (f"{before.name} is not the input of this record",))
    if record.get("damaged"):
        same = replay(truth, before, earlier=earlier).content == after.content
        return Verdict(same, () if same else ("the damaged file is not the one that the plan gives",))
    found = json.loads(json.dumps(compare(before, after).record()))
    findings: list[str] = []
    said = record["changes"]
    for part in ("planes", "other"):
        findings += [f"not in the record: {_words(item)}" for item in found[part] if item not in said[part]]
        findings += [f"recorded but not found: {_words(item)}" for item in said[part] if item not in found[part]]
    findings += _unexplained_cards(found["headers"], said["headers"])
    if after.sha256 != record["out_sha256"] and not findings:
        findings += _unexplained_values(truth, before, after, earlier)
    return Verdict(not findings, tuple(findings))


def _words(item: Any) -> str:
    """Say what one entry of the changes tells: of an array, or a text already."""
    return (
        item if isinstance(item, str) else f"{item['elements']} elements of {item['name']} (HDU {item['hdu']}) differ"
    )


def _unexplained_cards(found: list[dict[str, Any]], said: list[dict[str, Any]]) -> list[str]:
    """Say which cards were changed and not recorded, or recorded and not changed."""
    findings = []
    for words, ours, theirs in (("not in the record", found, said), ("recorded but not found", said, found)):
        known = {(item["hdu"], way, card) for item in theirs for way in ("removed", "added") for card in item[way]}
        for item in ours:
            for way in ("removed", "added"):
                cards = [card for card in item[way] if (item["hdu"], way, card) not in known]
                if cards:
                    number = "1 card" if len(cards) == 1 else f"{len(cards)} cards"
                    shown = "; ".join(cards[:3]) + ("; ..." if len(cards) > 3 else "")
                    findings.append(f"{words}: header of HDU {item['hdu']}: {number} {way}: {shown}")
    if found != said and not findings:
        findings.append("cards of headers stand in another order, or another number of times, than recorded")
    return findings


def _unexplained_values(truth: Truth, before: Product, after: Product, earlier: Sequence[Earlier]) -> list[str]:
    """Say which values are not those that the plan gives."""
    made = compare(replay(truth, before, earlier=earlier), after)
    values = [f"{plane.elements} elements of {plane.name} have other values than recorded" for plane in made.planes]
    return values or ["the file differs from the recorded output outside arrays and cards"]
