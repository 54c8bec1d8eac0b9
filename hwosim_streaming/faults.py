"""What the transport does to a message: loss, copies, reordering, delay, damage.

Holds: :func:`fate`, one message's lot, :func:`in_gap` and :func:`clock_skew`, which befall several at once,
:func:`damaged`, what is left of a value, :func:`send_order`, what all of it makes of the stream, and
:func:`overtakings`, what of it can be seen. Random
numbers are a keyed hash of (seed, fault, address of the message): they depend on no other message, on
no order and on no severity, so that a message lost at severity 1 is lost at severity 3 too. Keep out
the probabilities; a scenario's ``transport`` section has them.
"""

from __future__ import annotations

import bisect
import hashlib
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

from hwosim_assets.perturb.transport import ClockSkew, Gap, LateLabel, Transport

__all__ = [
    "COPY_PLACES",
    "Fate",
    "clock_skew",
    "damaged",
    "draw",
    "fate",
    "in_gap",
    "label_delay_ns",
    "overtakings",
    "send_order",
]

#: A copy comes at most so many frames of the same key after the original, as a repetition on the link would.
COPY_PLACES = 8
_STEP = 2.0**-53


#: Sigma of the logarithm of a delay.
DELAY_SIGMA = 1.0
#: Set in the schema number of a message from a sender that is ahead of its readers: no bundled schema has such a
#: number, and no registry has counted so far.
UNKNOWN = 1 << 30
#: Bytes before the Avro body: the zero byte and the schema number.
PREAMBLE = 5


@dataclass(frozen=True)
class Fate:
    """What happens to one message.

    Attributes
    ----------
    copies : int
        How often it is sent: 0 lost, 1 plainly, 2 or 3 with its duplicate, its stale repeat, or both.
    displacement : int
        How many later frames of the same key may overtake it.
    copy_displacement : int
        How many places after the message its duplicate follows.
    stale_displacement : int
        How many places after the message its stale repeat follows; 0 where there is none.
    delay_ns : int
        How much later than planned it is sent.
    damage : str or None
        ``corruption``, ``truncation`` or ``schema_change``.
    """

    copies: int = 1
    displacement: int = 0
    copy_displacement: int = 0
    stale_displacement: int = 0
    delay_ns: int = 0
    damage: str | None = None

    @property
    def shifts(self) -> tuple[int, ...]:
        """Places after its own at which the message and its copies are sent."""
        if not self.copies:
            return ()
        doubled = self.copies - 1 - (self.stale_displacement > 0)
        later = (self.copy_displacement,) * doubled + (self.stale_displacement,) * (self.stale_displacement > 0)
        return (self.displacement, *(self.displacement + shift for shift in later))


PLAIN = Fate()
#: Damages, the first that befalls a message is the one it suffers.
DAMAGES = ("truncation", "schema_change", "corruption")


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

    def happens(name: str) -> float | None:
        """Return a second number for how much, where the fault befalls this message."""
        probability = getattr(transport, name).probability
        hit, how = draw(seed, name, address) if probability else (1.0, 0.0)
        return how if hit < probability else None

    if happens("loss") is not None:
        return Fate(copies=0)
    moved, doubled, stale, late = map(happens, ("reorder", "duplicate", "stale", "delay"))
    return Fate(
        copies=1 + (doubled is not None) + (stale is not None),
        displacement=0 if moved is None else 1 + int(moved * transport.reorder.displacement),
        copy_displacement=0 if doubled is None else 1 + int(doubled * COPY_PLACES),
        stale_displacement=0 if stale is None else COPY_PLACES + 1 + int(stale * transport.stale.displacement),
        delay_ns=0 if late is None else round(transport.delay.median_s * math.exp(DELAY_SIGMA * _normal(late)) * 1e9),
        damage=next((name for name in DAMAGES if happens(name) is not None), None),
    )


def _normal(uniform: float) -> float:
    """Return the normal deviate of a uniform number; the same on every machine to the last bit printed."""
    return round(NormalDist().inv_cdf(min(max(uniform, 1e-12), 1 - 1e-12)), 9)


def in_gap(seed: int, number: int, gap: Gap) -> bool:
    """Return whether the message of this number, counted over all keys, falls into a missed contact."""
    return bool(gap.probability) and draw(seed, "gap", str(number // gap.length))[0] < gap.probability


def clock_skew(seed: int, key: str, skew: ClockSkew) -> float:
    """Return by how many seconds the clock of a key is fast (slow where negative)."""
    hit, how = draw(seed, "clock_skew", key) if skew.probability else (1.0, 0.0)
    return round((2 * how - 1) * skew.skew_s, 6) if hit < skew.probability else 0.0


def label_delay_ns(seed: int, product: str, late: LateLabel) -> int:
    """Return how much later than the data the truth of a product comes (ns)."""
    hit, how = draw(seed, "late_label", product) if late.probability else (1.0, 0.0)
    return round(-math.log1p(-how) * late.mean_s * 1e9) if hit < late.probability else 0


def damaged(value: bytes, damage: str | None, seed: int, message_id: str, bits: int) -> bytes:
    """Return what a damage leaves of a value; the same for every copy of a message.

    Parameters
    ----------
    value : bytes
        The message as composed.
    damage : str or None
        See :class:`Fate`.
    seed : int
        Root seed of the scenario.
    message_id : str
        Of the message.
    bits : int
        How many bits a corruption flips behind the preamble; two flips of one bit undo each other.
    """
    if damage == "truncation":
        return value[: 1 + int(draw(seed, "truncation/at", message_id)[0] * (len(value) - 1))]
    if damage == "schema_change":
        ahead = int.from_bytes(value[1:PREAMBLE], "big") | UNKNOWN
        return value[:1] + ahead.to_bytes(PREAMBLE - 1, "big") + value[PREAMBLE:]
    if damage == "corruption":
        changed = bytearray(value)
        for flip in range(bits):
            place = int(draw(seed, f"corruption/{flip}", message_id)[0] * (len(value) - PREAMBLE) * 8)
            changed[PREAMBLE + place // 8] ^= 1 << place % 8
        return bytes(changed)
    return value


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
        The planned place whose due time it takes, the message, and 0, or 1 and 2 for its copies.
    """
    places: dict[str, list[int]] = defaultdict(list)
    for place, lane in enumerate(lanes):
        places[lane].append(place)
    entries = []
    at: dict[str, int] = defaultdict(int)
    for index, (lane, lot) in enumerate(zip(lanes, fates, strict=True)):
        own, position = places[lane], at[lane]
        at[lane] += 1
        for copy, shift in enumerate(lot.shifts):
            later = min(position + shift, len(own) - 1)
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
