"""The rules on the exposure: are times, coordinates, units and versions there, and possible.

Holds: the rules on what headers say about the exposure. Keep out identity and structure.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator

from hwosim_assets.catalog.finding import Finding, Subject
from hwosim_assets.fits.sky import region_radius

__all__ = ["exposure"]

#: Launch, 2021-12-25T12:20 UTC, as MJD.
LAUNCH = 59573.514
_UNIX_EPOCH = 40587.0
_POSITIONS = (("TARG_RA", "TARG_DEC"), ("RA_REF", "DEC_REF"), ("CRVAL1", "CRVAL2"))


def exposure(subject: Subject) -> Iterator[Finding]:
    """Yield what is wrong with the exposure's facts."""
    yield from _times(subject)
    yield from _coordinates(subject)
    yield from _unit(subject)
    yield from _versions(subject)


def _times(subject: Subject) -> Iterator[Finding]:
    start, end = subject.facts.t_min, subject.facts.t_max
    if start is None:
        yield Finding("times", "warn", "no start time: EXPSTART, MJD-BEG, DATE-BEG and DATE-OBS are missing")
        return
    if end is not None and end < start:
        yield Finding("times", "reject", f"the exposure ends (MJD {end:.5f}) before it starts (MJD {start:.5f})")
    if end is None:
        yield Finding("times", "warn", "no end time: EXPEND, MJD-END and DATE-END are missing")
    if start < LAUNCH:
        yield Finding("times", "warn", f"starts before JWST's launch (MJD {start:.2f}): simulated or ground data")
    if start > time.time() / 86400 + _UNIX_EPOCH + 1:
        yield Finding("times", "warn", f"starts in the future (MJD {start:.2f})")


def _coordinates(subject: Subject) -> Iterator[Finding]:
    facts = subject.facts
    for ra_name, dec_name in _POSITIONS:
        ra, dec = facts.keywords.get(ra_name), facts.keywords.get(dec_name)
        if not isinstance(ra, float) or not isinstance(dec, float) or ra_name == "CRVAL1":
            continue
        if not (math.isfinite(ra) and math.isfinite(dec) and -360 <= ra <= 360 and -90 <= dec <= 90):
            yield Finding("coordinates", "reject", f"{ra_name}, {dec_name} = {ra}, {dec} is no position on the sky")
    region = str(facts.keywords.get("S_REGION", ""))
    if region and not facts.s_region:
        radius = region_radius(region)
        wide = "cannot be read" if radius is None else f"spans {2 * radius:.0f} degrees"
        yield Finding("coordinates", "warn", f"S_REGION {wide}: the footprint is left out")
    if facts.s_ra is None:
        yield Finding("coordinates", "warn", "no position: neither S_REGION, WCS nor target coordinates")


def _unit(subject: Subject) -> Iterator[Finding]:
    kind, unit = subject.kind, subject.facts.bunit
    if kind is None or not kind.units:
        return
    if not unit:
        yield Finding("units", "warn", f"BUNIT is missing; {kind.suffix} products are in {' or '.join(kind.units[:2])}")
    elif unit.replace(" ", "").lower() not in {known.lower() for known in kind.units}:
        yield Finding("units", "warn", f"BUNIT {unit!r} is unusual for a {kind.suffix} product")


def _versions(subject: Subject) -> Iterator[Finding]:
    facts = subject.facts
    if facts.product_type != "uncal":
        missing = [name for name in ("CAL_VER", "CRDS_CTX") if not facts.keywords.get(name)]
        if missing:
            yield Finding("versions", "warn", f"{', '.join(missing)} missing: the calibration cannot be traced")
    if facts.keywords.get("DATAPROB") is True:
        yield Finding("telemetry", "warn", "DATAPROB is set: the science telemetry indicated a problem")
    if facts.keywords.get("ENG_QUAL") == "SUSPECT":
        yield Finding("engineering", "warn", "ENG_QUAL is SUSPECT")
