"""Where a run goes on: which of its sends the topics lack, and which of those are due again.

Holds: :func:`where_to_continue`. Keep out the states themselves and reading the topics (``checkpoint``), what is left
out for being late (``skipping``) and sending (``delivery``).

What lies there is counted; a state only says where to look. So what a broker confirmed and lost is due again like what
was never sent. Two things are not. What was left out for being late: a truth that lies there says which, and where
none does, what is missing before a message of its partition, for nothing goes behind what was to follow it. And what
the broker dropped for its age: it drops the heads of partitions, and loses their tails.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from hwosim_streaming.checkpoint import DATA_FAMILIES, RunState, already_there, begin, skips_told
from hwosim_streaming.clients import Place, end_offsets, low_offsets
from hwosim_streaming.plan import StreamPlan
from hwosim_streaming.skipping import Send, Skipping
from hwosim_streaming.topics import Topics

__all__ = ["where_to_continue"]


def where_to_continue(
    config: dict[str, Any],
    topics: Topics,
    plan: StreamPlan,
    state: RunState | None,
    sends: Sequence[Send],
    skipping: Skipping,
) -> tuple[RunState, list[int]]:
    """Find out what of a run is missing on the topics.

    Parameters
    ----------
    config : dict
        See :func:`hwosim_streaming.clients.client_config`.
    topics : Topics
        Where it lies.
    plan : StreamPlan
        What is published.
    state : RunState or None
        The newest of the run, if there is one.
    sends : sequence
        Every send in order.
    skipping : Skipping
        Learns what earlier attempts left out.

    Returns
    -------
    state : RunState
        From where the run goes on.
    todo : list of int
        Numbers of the sends that are due.

    Raises
    ------
    BackendAbsentError
        If the broker does not answer.
    """
    ends = end_offsets(config, topics.places(*DATA_FAMILIES))
    if state is None:
        fresh = begin(ends, plan.run_id, plan.program, plan.plan_sha256, len(sends))
        return fresh, list(range(len(sends)))
    if (state.plan_sha256, state.sends) != (plan.plan_sha256, len(sends)):
        # Truths that were made anew have other parts, so its numbers say nothing; what lies there is the run's.
        state = replace(state, event="started", plan_sha256=plan.plan_sha256, sends=len(sends), position=0)
    state = state.on(ends)
    lows = low_offsets(config, ends)
    starts = {place: max(first, lows[place]) for place, first in state.first.items()}
    there = already_there(config, state.run_id, starts, ends)
    lies = _which_lie(sends, there)
    shortened = {place for place, first in state.first.items() if lows[place] > first}
    if skipping.may_skip:
        told = skips_told(config, topics, state.run_id, starts, ends)
        skipping.recall(sends, lies, told, shortened)
    todo = [number for number in range(len(sends)) if number not in lies and number not in skipping.left_out]
    if shortened:
        gone = _dropped(sends, there, lies, shortened, state.position)
        todo = [number for number in todo if number not in gone]
    if todo and todo[0] < state.position:
        state = state.at(todo[0], {})
    return state, todo


def _which_lie(sends: Sequence[Send], there: Mapping[str, int]) -> set[int]:
    """Return the numbers of the sends that lie on the topics: the first ones of each message, for it goes in order."""
    left, lies = Counter(there), set()
    for number, send in enumerate(sends):
        if left[send.message_id]:
            left[send.message_id] -= 1
            lies.add(number)
    return lies


def _dropped(
    sends: Sequence[Send], there: Mapping[str, int], lies: set[int], shortened: set[Place], certain: int
) -> set[int]:
    """Return what is missing from partitions without their heads and may be of these.

    Not what is behind all that lies there. Where nothing does, what was certain; and what was certain of a message that
    lies there at all, for it cannot be told which of its copies that is.
    """
    last = {sends[number].place: number for number in sorted(lies)}
    return {
        number
        for number, send in enumerate(sends)
        if number not in lies
        and send.place in shortened
        and (number < last.get(send.place, certain) or (number < certain and there[send.message_id] > 0))
    }
