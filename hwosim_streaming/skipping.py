"""Frames left out because the publisher cannot keep up, and the truth that tells them.

Holds: :class:`Skipping`, which decides and remembers, and :class:`Truths`, truth messages that know what was
left out. Keep out waiting and sending (``publisher``) and what the transport does as planned (``faults``).

Only frames are left out: products and truths always go. Once one send of a message was left out, its later copies
are too, so that what lies on a topic is always the first sends of a message. After a death nothing has to be
written down: a partition is filled in the order of the plan, so what is missing before what lies there was left out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, Protocol

from hwosim_assets.perturb.schedule import Schedule
from hwosim_streaming.clients import Place
from hwosim_streaming.compose import Composed, truth_messages
from hwosim_streaming.plan import StreamPlan

__all__ = ["Skipping", "Truths"]


class _Send(Protocol):
    """What is looked at of a send."""

    @property
    def message_id(self) -> str: ...

    @property
    def family(self) -> str: ...

    @property
    def place(self) -> Place: ...


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

    def leaves_out(self, number: int, send: _Send, late_ns: int) -> bool:
        """Return whether a send that is late by so much is left out, and remember it."""
        if not self.may_skip or send.family != "frame":
            return False
        if late_ns <= self._late_ns and send.message_id not in self._messages:
            return False
        self._leave_out(number, send.message_id)
        return True

    def _leave_out(self, number: int, message_id: str) -> None:
        self.left_out[number] = message_id
        self._messages.add(message_id)

    def recall(self, sends: Sequence[_Send], there: Mapping[str, int], certain: int) -> None:
        """Find what an earlier attempt at the run left out.

        Parameters
        ----------
        sends : sequence
            Every send in order.
        there : mapping of str to int
            How often each message lies on the topics.
        certain : int
            The first so many sends were on the topics, or left out.
        """
        left, lies = Counter(there), set[int]()
        for number, send in enumerate(sends):
            if left[send.message_id]:
                left[send.message_id] -= 1
                lies.add(number)
        last = {sends[number].place: number for number in sorted(lies)}
        # Truth comes after all data.
        is_told = any(sends[number].family == "truth" for number in lies)
        for number, send in enumerate(sends):
            settled = is_told or number < max(certain, last.get(send.place, -1))
            if settled and number not in lies and send.family == "frame":
                self._leave_out(number, send.message_id)


class Truths:
    """The truth messages of a run: as planned, or, once data are out, with what was left out of them.

    Parameters
    ----------
    plan, truth
        See :func:`hwosim_streaming.compose.truth_messages`.
    skipping : Skipping
        Looked at when the first of them is due.
    numbers : mapping of str to int
        Of the schemas, by family.
    """

    def __init__(
        self, plan: StreamPlan, truth: Sequence[Mapping[str, Any]], skipping: Skipping, numbers: Mapping[str, int]
    ) -> None:
        self._plan, self._truth, self._skipping, self._numbers = plan, truth, skipping, numbers
        self.planned = list(truth_messages(plan, truth, numbers=numbers))

    @cached_property
    def _told(self) -> list[Composed]:
        left_out = Counter(self._skipping.left_out.values())
        return list(truth_messages(self._plan, self._truth, left_out, self._numbers)) if left_out else self.planned

    def compose(self, number: int) -> Composed:
        """Return a truth message; not to be asked before all data went out."""
        return self._told[number]
