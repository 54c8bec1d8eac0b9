"""The rules on time: is the exposure where its dates say, and does its arithmetic add up.

Holds: the rules on times and exposure times, after JDox, "JWST NIRCam, NIRISS, NIRSpec and MIRI exposure
times": a group is NFRAMES frames and GROUPGAP dropped ones, an integration NGROUPS groups, an exposure
NINTS integrations. Keep out whether SCI has so many groups (``rules_structure``).
"""

from __future__ import annotations

import time
from collections.abc import Iterator

from hwosim_assets.catalog.finding import Finding, Subject, found
from hwosim_assets.fits.describe import iso_mjd

__all__ = ["times"]

#: Launch, 2021-12-25T12:20 UTC, as MJD.
LAUNCH = 59573.514
_UNIX_EPOCH = 40587.0
_SECONDS_PER_DAY = 86400.0
#: Keywords are rounded to 1 ms, frame times to 10 us: a percent is far above rounding.
_TOLERANCE = 0.01
#: Dates and MJDs are written by different systems; DATE-OBS is a day.
_DAYS = 1.1


def times(subject: Subject) -> Iterator[Finding]:
    """Yield what is wrong with the exposure's times."""
    yield from _span(subject)
    yield from _dates(subject)
    yield from _groups(subject)
    yield from _exposure(subject)


def _span(subject: Subject) -> Iterator[Finding]:
    start, end, middle = subject.facts.t_min, subject.facts.t_max, subject.facts.keywords.get("EXPMID")
    if start is None:
        yield found("no_start", "no start time: EXPSTART, MJD-BEG, DATE-BEG and DATE-OBS are missing")
        return
    if end is None:
        yield found("no_end", "no end time: EXPEND, MJD-END and DATE-END are missing")
    elif end < start:
        yield found("times", f"the exposure ends (MJD {end:.5f}) before it starts (MJD {start:.5f})")
    elif isinstance(middle, float) and not start <= middle <= end:
        yield found("mid_time", f"EXPMID (MJD {middle:.5f}) lies outside of MJD {start:.5f} to {end:.5f}")
    if start < LAUNCH:
        yield found("before_launch", f"starts before JWST's launch (MJD {start:.2f}): simulated or ground data")
    if start > time.time() / _SECONDS_PER_DAY + _UNIX_EPOCH + 1:
        yield found("future", f"starts in the future (MJD {start:.2f})")


def _dates(subject: Subject) -> Iterator[Finding]:
    start = subject.facts.keywords.get("EXPSTART")
    if not isinstance(start, float) or not start > 0:
        return
    for keyword in ("DATE-BEG", "DATE-OBS"):
        date = iso_mjd(subject.facts.keywords.get(keyword))
        if date is not None and abs(start - date) > _DAYS:
            said = subject.facts.keywords[keyword]
            yield found(
                "dates", f"{keyword} is {said}, EXPSTART (MJD {start:.2f}) lies {abs(start - date):.0f} days off"
            )


def _numbers(subject: Subject, *names: str) -> list[float]:
    """Return keywords as numbers; none where one is missing or negative."""
    values = [subject.facts.keywords.get(name) for name in names]
    good = [float(value) for value in values if isinstance(value, int | float) and value >= 0]
    return good if len(good) == len(names) else []


def _off(value: float, low: float, high: float | None = None) -> bool:
    """Say whether a value lies outside of a range, rounding aside."""
    return not low * (1 - _TOLERANCE) <= value <= (low if high is None else high) * (1 + _TOLERANCE)


def _groups(subject: Subject) -> Iterator[Finding]:
    if not (said := _numbers(subject, "TFRAME", "TGROUP", "NFRAMES", "GROUPGAP")):
        return
    frame, group, frames, gap = said
    if frame and _off(group, frame * (frames + gap)):
        yield found("group_time", f"TGROUP is {group:g} s, {frames:g} + {gap:g} frames of {frame:g} s take others")
    elif more := _numbers(subject, "EFFINTTM", "NGROUPS"):
        integration, groups = more
        shortest = max(groups - 1, 0) * group + min(frames, 1) * frame
        if group and groups and _off(integration, min(shortest, groups * group - frame), groups * group):
            yield found(
                "integration_time", f"EFFINTTM is {integration:g} s, {groups:g} groups of {group:g} s take others"
            )


def _exposure(subject: Subject) -> Iterator[Finding]:
    """Look at single exposures; what is combined sums times, or keeps those of its first input."""
    if subject.facts.calib_level == 3 or not (said := _numbers(subject, "NINTS", "EFFINTTM", "EFFEXPTM", "TFRAME")):
        return
    integrations, integration, exposed, frame = said
    # MIRI counts the frames between integrations as exposed: no time passes unexposed there
    if integration and integrations and _off(exposed, integrations * integration, integrations * (integration + frame)):
        total = f"{integrations:g} integrations of {integration:g} s"
        yield found("exposure_time", f"EFFEXPTM is {exposed:g} s, {total} take others")
        return
    start, end = subject.facts.t_min, subject.facts.t_max
    if not (lasted := _numbers(subject, "DURATION")) or start is None or end is None or end < start:
        return
    span = (end - start) * _SECONDS_PER_DAY
    if lasted[0] < exposed * (1 - _TOLERANCE):
        yield found("duration", f"DURATION is {lasted[0]:g} s, EFFEXPTM {exposed:g} s")
    elif span < exposed * (1 - _TOLERANCE) - 1:
        yield found("duration", f"EFFEXPTM is {exposed:g} s, and {span:.1f} s lie between start and end")
