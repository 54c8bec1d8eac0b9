"""The proof: every send of a plan against every record on the topics.

Holds: :func:`reconcile`, which compares what should have arrived with what did, message by message, by
id, checksum, sequence number, partition and order, and names each discrepancy. Pure: it knows lists,
not Kafka. Keep out reading the topics (``arrivals``) and writing down the outcome (``publication``).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from hwosim_streaming.arrivals import Arrival
from hwosim_streaming.clients import Place

__all__ = ["Discrepancy", "Expected", "Verification", "reconcile"]

Kind = Literal[
    "missing", "extra", "lost_but_there", "unplanned", "altered", "header", "sequence", "misplaced", "out_of_order"
]


@dataclass(slots=True)
class Expected:
    """One send as it should lie on a topic; not frozen, which would make it four times as slow to make.

    Attributes
    ----------
    message_id, family : str
        Which message.
    place : (str, int)
        Topic and partition.
    sequence : int
        Within key and topic.
    crc, stated_crc : int
        CRC-32 of the value, and the one that its headers state; the plan damages some values on the way.
    """

    message_id: str
    family: str
    place: Place
    sequence: int
    crc: int
    stated_crc: int


@dataclass(frozen=True)
class Discrepancy:
    """One thing that is not as planned.

    Attributes
    ----------
    kind : str
        ``missing``, ``extra`` (once too often), ``lost_but_there`` (planned to be lost), ``unplanned``,
        ``altered`` (other bytes), ``header`` (its own checksum is wrong), ``sequence``, ``misplaced``
        (another partition) or ``out_of_order``.
    message_id : str
        Which message.
    detail : str
        What was found instead.
    """

    kind: Kind
    message_id: str
    detail: str


@dataclass(frozen=True)
class Verification:
    """The outcome of a proof.

    Attributes
    ----------
    planned, lost, duplicated : int
        Of the plan's messages (frames and products).
    consumed : int
        Records of these found.
    truths_planned, truths_consumed : int
        Truth messages.
    size : int
        Bytes of all values found.
    discrepancies : tuple of Discrepancy
        Empty where everything is as planned.
    found : dict of int to Arrival
        For each expected send, by its number, the record that is it.
    """

    planned: int
    lost: int
    duplicated: int
    consumed: int
    truths_planned: int
    truths_consumed: int
    size: int
    discrepancies: tuple[Discrepancy, ...]
    found: dict[int, Arrival] = field(repr=False)

    @property
    def verified(self) -> bool:
        """Whether planned - lost + duplicated = consumed, each message reconciled."""
        adds_up = self.planned - self.lost + self.duplicated == self.consumed
        return adds_up and self.truths_planned == self.truths_consumed and not self.discrepancies


def reconcile(
    expected: Sequence[Expected], lost: frozenset[str], arrived: Iterable[Arrival], truth_topic: str
) -> Verification:
    """Compare what should have arrived with what did.

    Parameters
    ----------
    expected : sequence of Expected
        Every send in order.
    lost : frozenset of str
        Ids of the messages that the plan loses.
    arrived : iterable of Arrival
        Every record of the run, in order within each partition.
    truth_topic : str
        Name of the truth topic; its messages are counted apart.
    """
    wanted: dict[str, list[int]] = defaultdict(list)
    for number, send in enumerate(expected):
        wanted[send.message_id].append(number)
    seen: Counter[str] = Counter()
    orders: dict[Place, list[int]] = defaultdict(list)
    problems: list[Discrepancy] = []
    found: dict[int, Arrival] = {}
    consumed = truths = size = 0
    for record in arrived:
        is_truth = record.place[0] == truth_topic
        truths, consumed, size = truths + is_truth, consumed + (not is_truth), size + record.size
        turn = seen[record.message_id]
        seen[record.message_id] += 1
        if turn < len(wanted[record.message_id]):
            number = wanted[record.message_id][turn]
            found[number] = record
            orders[record.place].append(number)
            problems += _differences(expected[number], record)
        else:
            problems.append(_surplus(record, record.message_id in lost, bool(wanted[record.message_id])))
    problems += [
        Discrepancy("missing", send.message_id, f"not in {send.place[0]} [{send.place[1]}]")
        for number, send in enumerate(expected)
        if number not in found
    ]
    for order in orders.values():
        problems += _inversions(order, expected)
    data = [send for send in expected if send.family != "truth"]
    distinct = len({send.message_id for send in data})
    return Verification(
        planned=distinct + len(lost),
        lost=len(lost),
        duplicated=len(data) - distinct,
        consumed=consumed,
        truths_planned=len(expected) - len(data),
        truths_consumed=truths,
        size=size,
        discrepancies=tuple(problems),
        found=found,
    )


def _surplus(record: Arrival, is_lost: bool, is_known: bool) -> Discrepancy:
    where = f"at {record.place[0]} [{record.place[1]}] offset {record.offset}"
    if is_lost:
        return Discrepancy("lost_but_there", record.message_id, where)
    return Discrepancy("extra" if is_known else "unplanned", record.message_id, where)


def _differences(send: Expected, record: Arrival) -> list[Discrepancy]:
    where = f"at {record.place[0]} [{record.place[1]}] offset {record.offset}"
    problems = []
    if record.crc != send.crc:
        problems.append(Discrepancy("altered", send.message_id, f"CRC {record.crc:08x} and not {send.crc:08x} {where}"))
    # Damage that was planned leaves the checksum of the whole value in the headers.
    due_crc = record.crc if send.stated_crc == send.crc else send.stated_crc
    if record.stated_crc != f"{due_crc:08x}":
        problems.append(Discrepancy("header", send.message_id, f"states CRC {record.stated_crc!r} {where}"))
    if record.sequence != str(send.sequence):
        problems.append(
            Discrepancy("sequence", send.message_id, f"{record.sequence!r} and not {send.sequence} {where}")
        )
    if record.place != send.place:
        problems.append(
            Discrepancy("misplaced", send.message_id, f"{where} and not in {send.place[0]} [{send.place[1]}]")
        )
    return problems


def _inversions(order: Sequence[int], expected: Sequence[Expected]) -> list[Discrepancy]:
    """Name each record that comes after one that was to follow it, in one partition."""
    problems, highest = [], -1
    for number in order:
        if number < highest:
            problems.append(Discrepancy("out_of_order", expected[number].message_id, f"came after send {highest}"))
        highest = max(highest, number)
    return problems
