"""How far a run has come, kept on the control topic, so that a publication that died is continued.

Holds: :class:`RunState`, reading and writing it, :func:`already_there` and :func:`skips_told`. Keep out what follows
from them (``continuing``) and sending (``publisher``).

How nothing is published twice: before its first message a run writes where the topics end; about once
a second it writes how many of its sends the broker has confirmed, in order, and the offsets up to
which they lie. A later attempt reads the newest state, reads the topics from these offsets on, and
leaves out what it finds there. Each partition is filled in the order of the plan by an idempotent
producer, so what is missing is exactly the rest, and what a broker lost or dropped for its age
(``continuing``). In transactions (``publisher``) messages and state become
visible together, and what a later attempt looks at cannot change any more, once ``undecided`` has ended what is open.
Without them one gap is left: bytes of a killed publisher that the broker takes in after the next attempt has looked.
Readers close it by leaving out what has the same run id and message id.
"""

from __future__ import annotations

import uuid
import zlib
from collections import Counter
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Literal

from hwosim_streaming.arrivals import arrivals, text_headers
from hwosim_streaming.clients import Place, low_offsets, read_between
from hwosim_streaming.envelope import Header, UnreadableMessageError, decode, encode, headers
from hwosim_streaming.sink import Outgoing
from hwosim_streaming.topics import Topics

__all__ = [
    "DATA_FAMILIES",
    "RunState",
    "already_there",
    "begin",
    "newest_state",
    "skips_told",
    "state_record",
    "still_holds",
]

#: Families whose topics a run fills.
DATA_FAMILIES = ("frame", "product", "truth")


@dataclass(frozen=True)
class RunState:
    """How far a run has come.

    Attributes
    ----------
    run_id, program, plan_sha256 : str
        Which run.
    event : {"started", "checkpoint", "finished"}
        What was written last.
    position, sends : int
        The first so many sends are on the topics for certain, of so many.
    first : dict of (topic, partition) to int
        Offset before which nothing of the run lies.
    next : dict of (topic, partition) to int
        Offset behind the last send that an attempt saw confirmed: a topic that ends before it was made anew.
    """

    run_id: str
    program: str
    plan_sha256: str
    event: Literal["started", "checkpoint", "finished"]
    position: int
    sends: int
    first: dict[Place, int]
    next: dict[Place, int]

    def at(self, position: int, lies: dict[Place, int]) -> RunState:
        """Return the state when so many sends are certain and lie before these offsets."""
        event: Literal["checkpoint", "finished"] = "finished" if position == self.sends else "checkpoint"
        return replace(self, event=event, position=position, next={**self.next, **lies})

    def on(self, ends: dict[Place, int]) -> RunState:
        """Return the state on the partitions that are there now and end here: new ones, and ones that end before it."""
        first = {place: min(self.first.get(place, end), end) for place, end in ends.items()}
        upto = {place: min(self.next.get(place, end), end) for place, end in ends.items()}
        return replace(self, first=first, next=upto)


def begin(ends: dict[Place, int], run_id: str, program: str, plan_sha256: str, sends: int) -> RunState:
    """Return the state of a run that starts now: nothing of it lies before the present ends of the topics."""
    return RunState(run_id, program, plan_sha256, "started", 0, sends, dict(ends), dict(ends))


def newest_state(config: dict[str, Any], topics: Topics, run_id: str) -> RunState | None:
    """Return what the control topic says of a run, or ``None`` if it never started on this broker.

    Raises
    ------
    BackendAbsentError
        If the broker does not answer.
    """
    places = topics.places("control")
    found = None
    for message in read_between(config, low_offsets(config, places), None):
        if message.key() == run_id.encode():
            try:
                found = decode(message.value(), topics.registry)
            except UnreadableMessageError:
                # Not written by us: no state of a run.
                continue
    return _from_record(found.record) if found is not None and found.family == "control" else None


def still_holds(state: RunState, ends: dict[Place, int]) -> bool:
    """Whether the topics can still hold what a state says: a topic that was made anew ends before it."""
    return all(ends.get(place, -1) >= offset for place, offset in state.next.items())


def already_there(
    config: dict[str, Any], run_id: str, starts: dict[Place, int], ends: dict[Place, int]
) -> Counter[str]:
    """Return how often each message of a run lies on the topics.

    To be counted from the run's first message, not from the offsets behind its certain sends: what an attempt before
    the last one left beyond its own last state lies beyond those too, and would be taken for a copy that is planned
    later.
    """
    return Counter(found.message_id for found in arrivals(config, run_id, starts, ends))


def skips_told(
    config: dict[str, Any], topics: Topics, run_id: str, starts: dict[Place, int], ends: dict[Place, int]
) -> dict[str, int]:
    """Return how many sends of a message were left out, of all messages that a truth of the run on the topics is about.

    Raises
    ------
    BackendAbsentError
        If the broker does not answer.
    """
    told: dict[str, int] = {}
    truths = {place: starts[place] for place in topics.places("truth")}
    for message in read_between(config, truths, ends):
        if text_headers(message).get(Header.RUN) != run_id:
            continue
        try:
            record = decode(message.value(), topics.registry).record
        except UnreadableMessageError:
            continue  # not written by us: the proof tells it
        told |= dict.fromkeys(record["message_ids"], 0)
        told |= {each["message_id"]: each["amount"] for each in record["faults"] if each["fault"] == "skip"}
    return told


def state_record(topics: Topics, state: RunState) -> Outgoing:
    """Return the control message of a state."""
    offsets = [
        {"topic": topic, "partition": partition, "first": first, "next": state.next[topic, partition]}
        for (topic, partition), first in sorted(state.first.items())
    ]
    at = datetime.now(UTC).isoformat(timespec="milliseconds")
    record = {
        "run_id": state.run_id,
        "event": state.event,
        "program": state.program,
        "plan_sha256": state.plan_sha256,
        "at": at,
        "position": state.position,
        "sends": state.sends,
        "offsets": offsets,
    }
    value = encode("control", record, topics.numbers["control"])
    said = headers(
        "control",
        message_id=str(uuid.uuid5(uuid.UUID(state.run_id), f"control/{state.event}/{state.position}")),
        run_id=state.run_id,
        program=state.program,
        subject=state.event,
        time=at,
        sequence=state.position,
        crc=zlib.crc32(value),
    )
    encoded = tuple((name, text.encode()) for name, text in said.items())
    return Outgoing(topics.names["control"], 0, state.run_id.encode(), value, encoded, None)


def _from_record(record: dict[str, Any]) -> RunState:
    offsets = record["offsets"]
    return RunState(
        run_id=record["run_id"],
        program=record["program"],
        plan_sha256=record["plan_sha256"],
        event=record["event"],
        position=record["position"],
        sends=record["sends"],
        first={(each["topic"], each["partition"]): each["first"] for each in offsets},
        next={(each["topic"], each["partition"]): each["next"] for each in offsets},
    )
