"""Frames left out because the publisher cannot keep up, and the truth that tells them.

Holds: :class:`Skipping`, which decides and remembers, and :class:`Truths`, truth messages that know what was
left out. Keep out waiting and sending (``publisher``) and what the transport does as planned (``faults``).

Only frames are left out: products and truths always go. Once one send of a message was left out, its later copies
are too, so that what lies on a topic is always the first sends of a message. After a death nothing has to be
written down: a partition is filled in the order of the plan, so what is missing before what lies there was left out,
and a truth that lies there says it of all messages of its product. What is missing behind all that lies there may also
have been lost by the broker, and is sent.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence, Set
from functools import cached_property
from typing import Any, Protocol

from hwosim_assets.perturb.schedule import Schedule
from hwosim_streaming.clients import Place
from hwosim_streaming.compose import Composed, truth_messages
from hwosim_streaming.plan import StreamPlan
from hwosim_streaming.topics import Topics

__all__ = ["Send", "Skipping", "Truths"]


class Send(Protocol):
    """What is looked at of a send."""

    @property
    def message_id(self) -> str:
        """Id within the run; copies carry the same."""

    @property
    def family(self) -> str:
        """Its topic's."""

    @property
    def place(self) -> Place:
        """Where it goes."""


class Skipping:
    """Which sends are left out.

    Parameters
    ----------
    schedule : Schedule
        Its overload policy.

    Attributes
    ----------
    may_skip : bool
        Whether the policy is to leave out what is late.
    left_out : dict of int to str
        Number and message id of what was left out.
    """

    def __init__(self, schedule: Schedule) -> None:
        self.may_skip = schedule.overload == "skip"
        self._late_ns = schedule.skip_late_s * 1e9
        self.left_out: dict[int, str] = {}
        self._messages: set[str] = set()
        self._told: frozenset[str] = frozenset()

    def leaves_out(self, number: int, send: Send, late_ns: int) -> bool:
        """Return whether a send that is late by so much is left out, and remember it."""
        if not self.may_skip or send.family != "frame" or send.message_id in self._told:
            return False
        if late_ns <= self._late_ns and send.message_id not in self._messages:
            return False
        self._leave_out(number, send.message_id)
        return True

    def _leave_out(self, number: int, message_id: str) -> None:
        self.left_out[number] = message_id
        self._messages.add(message_id)

    def recall(
        self, sends: Sequence[Send], lies: Set[int], told: Mapping[str, int], shortened: Set[Place] = frozenset()
    ) -> None:
        """Find what earlier attempts at the run left out.

        Parameters
        ----------
        sends : sequence
            Every send in order.
        lies : set of int
            Numbers of those that lie on the topics.
        told : mapping of str to int
            How many sends of a message were left out, of those that a truth on the topics is about: nothing more of
            these is left out.
        shortened : set of (topic, partition)
            Whose heads the broker dropped: what is missing there need not have been left out.
        """
        self._told = frozenset(told)
        last = {sends[number].place: number for number in sorted(lies)}
        planned, turn = Counter(send.message_id for send in sends), Counter[str]()
        for number, send in enumerate(sends):
            turn[send.message_id] += 1
            if number in lies or send.family != "frame":
                continue
            if send.message_id in told:
                late = turn[send.message_id] > planned[send.message_id] - told[send.message_id]
            else:
                late = send.place not in shortened and number < last.get(send.place, -1)
            if late:
                self._leave_out(number, send.message_id)


class Truths:
    """The truth messages of a run: as planned, or, once data are out, with what was left out of them.

    Parameters
    ----------
    plan, truth
        See :func:`hwosim_streaming.compose.truth_messages`.
    skipping : Skipping
        Looked at when the first of them is due.
    topics : Topics
        Where they go.
    """

    def __init__(
        self, plan: StreamPlan, truth: Sequence[Mapping[str, Any]], skipping: Skipping, topics: Topics
    ) -> None:
        self._plan, self._truth, self._skipping, self._topics = plan, truth, skipping, topics
        self.planned = list(truth_messages(plan, truth, topics))

    @cached_property
    def _told(self) -> list[Composed]:
        left_out = Counter(self._skipping.left_out.values())
        return list(truth_messages(self._plan, self._truth, self._topics, left_out)) if left_out else self.planned

    def compose(self, number: int) -> Composed:
        """Return a truth message; not to be asked before all data went out."""
        return self._told[number]
