"""When each message is due, in nanoseconds after the start of the run.

Holds: :func:`due_times` for the modes of a scenario's ``schedule`` section. Pure: the same messages
and seed give the same times. Keep out waiting for them (``publisher``) and the faults (``faults``).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from hwosim_assets.perturb.transport import Schedule
from hwosim_streaming.faults import draw

__all__ = ["due_times"]

SECOND = 1_000_000_000
DAY_SECONDS = 86400.0


def due_times(schedule: Schedule, seed: int, exposed: Sequence[float | None]) -> list[int]:
    """Return when each message is due.

    Parameters
    ----------
    schedule : Schedule
        Mode and numbers.
    seed : int
        Root seed of the scenario (Poisson).
    exposed : sequence of float or None
        Exposure time of each message, MJD UTC, not decreasing; unknown ones last.

    Returns
    -------
    list of int
        Nanoseconds after the start, not decreasing; the first at 0.
    """
    if schedule.mode == "poisson":
        return _poisson(schedule, seed, len(exposed))
    if schedule.mode == "as_exposed":
        return _as_exposed(schedule, exposed)
    return [round(number * SECOND / schedule.rate_per_s) for number in range(len(exposed))]


def _poisson(schedule: Schedule, seed: int, count: int) -> list[int]:
    """Return arrivals with exponential gaps of mean 1/rate; each gap hangs on its number alone."""
    due, times = 0, []
    for number in range(count):
        if number:
            due += round(-math.log1p(-draw(seed, "poisson", str(number))[0]) * SECOND / schedule.rate_per_s)
        times.append(due)
    return times


def _as_exposed(schedule: Schedule, exposed: Sequence[float | None]) -> list[int]:
    """Return the gaps between exposures, scaled and capped; within one exposure the link's rate holds.

    An exposure whose messages need longer than the gap to the next makes that one wait.
    """
    step = round(SECOND / schedule.rate_per_s)
    longest = round(schedule.max_gap_s * SECOND)
    times: list[int] = []
    opened, previous = 0, exposed[0] if exposed else None
    for time in exposed:
        if time is not None and previous is not None and time > previous:
            opened += min(round((time - previous) * DAY_SECONDS / schedule.time_scale * SECOND), longest)
        previous = time if time is not None else previous
        times.append(max(opened, times[-1] + step) if times else 0)
    return times
