"""What the transport does to a message: loss, duplication, reordering.

Holds: :func:`fate`, one message's lot, :func:`send_order`, what that makes of the stream, and
:func:`overtakings`, what of it can be seen. Random
numbers are a keyed hash of (seed, fault, address of the message): they depend on no other message, on
no order and on no severity, so that a message lost at severity 1 is lost at severity 3 too. Keep out
the probabilities; a scenario's ``transport`` section has them.
"""

from __future__ import annotations

import bisect
import hashlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from hwosim_assets.perturb.transport import Transport

__all__ = ["COPY_PLACES", "Fate", "draw", "fate", "overtakings", "send_order"]

#: A copy comes at most so many frames of the same key after the original, as a repetition on the link would.
COPY_PLACES = 8
_STEP = 2.0**-53


@dataclass(frozen=True)
class Fate:
    """What happens to one message.

    Attributes
    ----------
    copies : int
        How often it is sent: 0 lost, 1 plainly, 2 duplicated.
    displacement : int
        How many later frames of the same key may overtake it.
    copy_displacement : int
        How many places after the message its copy follows.
    """

    copies: int = 1
    displacement: int = 0
    copy_displacement: int = 0


PLAIN = Fate()


def draw(seed: int, fault: str, address: str) -> tuple[float, float]:
    """Return two independent uniform numbers in [0, 1) for one fault and one message."""
    digest = hashlib.blake2b(f"{seed}\0{fault}\0{address}".encode(), digest_size=16).digest()
    # 53 bits each, as many as a double has below 1.
    return (int.from_bytes(digest[:8], "big") >> 11) * _STEP, (int.from_bytes(digest[8:], "big") >> 11) * _STEP


def fate(seed: int, address: str, transport: Transport) -> Fate:
    """Return what happens to the message of an address.

    Parameters
    ----------
    seed : int
        Root seed of the scenario.
    address : str
        Names the message in all runs: product, HDU, integration, group, tile.
    transport : Transport
        Probabilities; all zero gives the identity.
    """
    loss, reorder, duplicate = transport.loss.probability, transport.reorder, transport.duplicate.probability
    if loss and draw(seed, "loss", address)[0] < loss:
        return Fate(copies=0)
    moved, how_far = draw(seed, "reorder", address) if reorder.probability else (1.0, 0.0)
    displacement = 1 + int(how_far * reorder.displacement) if moved < reorder.probability else 0
    doubled, how_late = draw(seed, "duplicate", address) if duplicate else (1.0, 0.0)
    if doubled < duplicate:
        return Fate(2, displacement, 1 + int(how_late * COPY_PLACES))
    return Fate(1, displacement) if displacement else PLAIN


def send_order(lanes: Sequence[str], fates: Sequence[Fate]) -> list[tuple[int, int, int]]:
    """Return the sends of a stream in order.

    Parameters
    ----------
    lanes : sequence of str
        For each planned message what it keeps its order in: topic and key.
    fates : sequence of Fate
        What happens to each.

    Returns
    -------
    list of (place, index, copy)
        The planned place whose due time it takes, the message, and 0 or 1 for the copy.
    """
    places: dict[str, list[int]] = defaultdict(list)
    for place, lane in enumerate(lanes):
        places[lane].append(place)
    entries = []
    at: dict[str, int] = defaultdict(int)
    for index, (lane, lot) in enumerate(zip(lanes, fates, strict=True)):
        own, position = places[lane], at[lane]
        at[lane] += 1
        later = position
        for copy in range(lot.copies):
            later = min(later + (lot.copy_displacement if copy else lot.displacement), len(own) - 1)
            # Behind what is planned at that place: a displaced message comes after those it lets pass.
            entries.append((own[later], later > position or copy > 0, index, copy))
    return [(place, index, copy) for place, _behind, index, copy in sorted(entries)]


def overtakings(lanes: Sequence[str], order: Sequence[int]) -> list[int]:
    """Return for each message by how many later ones of its lane it was overtaken.

    Fewer than its displacement where those behind it were lost or displaced too, or there are not so many.

    Parameters
    ----------
    lanes : sequence of str
        As in :func:`send_order`.
    order : sequence of int
        Indices of the messages as they are sent, copies included; only the first sending of each counts.
    """
    found = [0] * len(lanes)
    sent: dict[str, list[int]] = defaultdict(list)
    for index in dict.fromkeys(order):
        before = sent[lanes[index]]
        place = bisect.bisect(before, index)
        found[index] = len(before) - place
        before.insert(place, index)
    return found
