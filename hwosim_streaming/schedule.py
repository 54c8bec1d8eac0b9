"""When each message is due, in nanoseconds after the start of the run.

Holds: :func:`timeline` for the modes of a scenario's ``schedule`` section. Pure: the same messages
and seed give the same times; each random number hangs on a message's number alone. Keep out waiting for the times
(``publisher``), the faults (``faults``) and the ground contacts (``downlink``).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from statistics import NormalDist

from hwosim_assets.perturb.schedule import Schedule
from hwosim_streaming.downlink import received_mjd
from hwosim_streaming.faults import draw

__all__ = ["Message", "Timeline", "timeline"]

SECOND = 1_000_000_000
DAY_SECONDS = 86400.0


@dataclass(frozen=True)
class Message:
    """What a schedule knows of a message.

    Attributes
    ----------
    exposed : float or None
        Exposure time, MJD UTC.
    size : int
        Bytes of its arrays; 0 where it carries none.
    """

    exposed: float | None
    size: int


@dataclass(frozen=True)
class Timeline:
    """When messages are due.

    Attributes
    ----------
    due_ns : list of int
        Nanoseconds after the start, not decreasing.
    received : list of float or None
        When each reaches the ground, MJD UTC; ``None`` where no exposure time is known.
    """

    due_ns: list[int]
    received: list[float | None]


def timeline(schedule: Schedule, seed: int, messages: Sequence[Message]) -> Timeline:
    """Return when each message is due and when it reaches the ground.

    Parameters
    ----------
    schedule : Schedule
        Mode and numbers.
    seed : int
        Root seed of the scenario.
    messages : sequence of Message
        Exposure times not decreasing; unknown ones last.
    """
    if not messages:
        return Timeline([], [])
    exposed = [message.exposed for message in messages]
    if schedule.mode == "downlink":
        received = received_mjd(schedule.contacts, seed, exposed, [message.size for message in messages])
        return Timeline(_jittered(schedule, seed, _following(schedule, received)), received)
    due = _jittered(schedule, seed, _MODES[schedule.mode](schedule, seed, messages))
    start = exposed[0]
    if schedule.mode == "as_exposed":
        return Timeline(due, list(exposed))
    return Timeline(due, [None if start is None else start + at / SECOND / DAY_SECONDS for at in due])


def _jittered(schedule: Schedule, seed: int, due: list[int]) -> list[int]:
    """Move each moment by a normal deviate, and put them in order again."""
    if not schedule.jitter_s:
        return due
    normal = NormalDist()
    moved = []
    for number, at in enumerate(due):
        uniform = min(max(draw(seed, "jitter", str(number))[0], 1e-12), 1 - 1e-12)
        moved.append(max(0, at + round(round(normal.inv_cdf(uniform), 9) * schedule.jitter_s * SECOND)))
    return sorted(moved)


def _constant(schedule: Schedule, _seed: int, messages: Sequence[Message]) -> list[int]:
    return [round(number * SECOND / schedule.rate_per_s) for number in range(len(messages))]


def _bandwidth(schedule: Schedule, _seed: int, messages: Sequence[Message]) -> list[int]:
    """Return when the bytes before each message have gone through the link."""
    before = accumulate((message.size for message in messages[:-1]), initial=0)
    return [round(size / (schedule.megabytes_per_s * 1e6) * SECOND) for size in before]


def _exponential(seed: int, name: str, number: int) -> float:
    return -math.log1p(-draw(seed, name, str(number))[0])


def _poisson(schedule: Schedule, seed: int, messages: Sequence[Message]) -> list[int]:
    """Return arrivals with exponential gaps of mean 1/rate; each gap hangs on its number alone."""
    gaps = (
        round(_exponential(seed, "poisson", number) * SECOND / schedule.rate_per_s)
        for number in range(1, len(messages))
    )
    return list(accumulate(gaps, initial=0))


def _bursts(schedule: Schedule, seed: int, messages: Sequence[Message]) -> list[int]:
    """Return bursts of geometric size, each at one moment, with exponential gaps: the mean rate holds."""
    times, due, burst = list[int](), 0, 0
    while len(times) < len(messages):
        if times:
            due += round(
                _exponential(seed, "burst/gap", burst) * schedule.burst_messages / schedule.rate_per_s * SECOND
            )
        times += [due] * (1 + int(_exponential(seed, "burst/size", burst) * (schedule.burst_messages - 0.5)))
        burst += 1
    return times[: len(messages)]


def _visits(schedule: Schedule, _seed: int, messages: Sequence[Message]) -> list[int]:
    """Return each visit's messages dealt to its bursts, evenly spread over its first seconds."""
    step = schedule.visit_spread_s / schedule.visit_bursts

    def at(number: int) -> float:
        visit, within = divmod(number, schedule.visit_messages)
        return visit * schedule.visit_s + within * schedule.visit_bursts // schedule.visit_messages * step

    return [round(at(number) * SECOND) for number in range(len(messages))]


def _as_exposed(schedule: Schedule, _seed: int, messages: Sequence[Message]) -> list[int]:
    return _following(schedule, [message.exposed for message in messages])


def _trace(schedule: Schedule, _seed: int, messages: Sequence[Message]) -> list[int]:
    """Return the moments of a trace from 0; after its end it begins again, a mean gap later."""
    moments = [moment - schedule.trace_s[0] for moment in schedule.trace_s]
    length = moments[-1] * len(moments) / max(1, len(moments) - 1)

    def at(number: int) -> float:
        turn, place = divmod(number, len(moments))
        return turn * length + moments[place]

    return [round(at(number) * SECOND) for number in range(len(messages))]


def _following(schedule: Schedule, clock: Sequence[float | None]) -> list[int]:
    """Return the gaps of a clock (MJD), scaled and capped; messages of one moment follow at the link's rate.

    A moment whose messages need longer than the gap to the next makes that one wait.
    """
    step = round(SECOND / schedule.rate_per_s)
    return list(_spaced(_gaps(schedule, clock), step))


def _gaps(schedule: Schedule, clock: Sequence[float | None]) -> Iterator[int]:
    longest = round(schedule.max_gap_s * SECOND)
    opened, previous = 0, clock[0]
    for time in clock:
        if time is not None and previous is not None and time > previous:
            opened += min(round((time - previous) * DAY_SECONDS / schedule.time_scale * SECOND), longest)
        previous = time if time is not None else previous
        yield opened


def _spaced(opened: Iterator[int], step: int) -> Iterator[int]:
    last: int | None = None
    for at in opened:
        last = at if last is None else max(at, last + step)
        yield last


_MODES: dict[str, Callable[[Schedule, int, Sequence[Message]], list[int]]] = {
    "constant": _constant,
    "bandwidth": _bandwidth,
    "poisson": _poisson,
    "bursts": _bursts,
    "visits": _visits,
    "as_exposed": _as_exposed,
    "trace": _trace,
}
