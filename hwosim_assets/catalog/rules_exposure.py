"""The rules on the exposure: are position, units and versions there, and possible.

Holds: the rules on what headers say about the exposure. Keep out identity, structure and time
(``rules_time``).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

from hwosim_assets.catalog.finding import Finding, Subject, found
from hwosim_assets.catalog.rules_structure import main_hdus
from hwosim_assets.fits.blocks import card_value
from hwosim_assets.fits.sky import region_centre, region_radius, separation

if TYPE_CHECKING:
    from astropy.io.fits import Header

__all__ = ["exposure"]

#: RA_REF may stand apart from the footprint by the offset of an aperture, at most (deg).
_POINTING = 1.0
_POSITIONS = (("TARG_RA", "TARG_DEC"), ("RA_REF", "DEC_REF"))
#: Modes whose SCI is an image of the sky with a plain WCS; a slit's WCS is that of its aperture.
_IMAGING = frozenset({
    "NRC_IMAGE", "NRC_TSIMAGE", "NRC_CORON", "NIS_IMAGE", "NIS_AMI", "MIR_IMAGE", "MIR_LYOT", "MIR_4QPM", "FGS_IMAGE",
})  # fmt: skip
#: How far the linear WCS may miss the footprint, in radii of the footprint: distortion is some percent.
_WCS_TOLERANCE = 1 / 3
#: Type of the numbers of a plane by its EXTNAME, where the kind does not say otherwise.
_TYPES = {
    **dict.fromkeys(("SCI", "ERR", "VAR_POISSON", "VAR_RNOISE", "VAR_FLAT", "WHT", "AREA"), ("float32",)),
    "DQ": ("uint32",), "PIXELDQ": ("uint32",), "GROUPDQ": ("uint8",), "CON": ("int32", "uint32"),
}  # fmt: skip
_KIND_TYPES = {("uncal", "SCI"): ("uint16",), ("segm", "SCI"): ("uint32",)}
_COLUMN_UNITS = {"WAVELENGTH": ("um", "micron", "micrometer"), "FLUX": ("jy", "mjy", "dn/s")}
_SPECTRA = frozenset({"EXTRACT1D", "COMBINE1D"})


def exposure(subject: Subject) -> Iterator[Finding]:
    """Yield what is wrong with the exposure's facts."""
    yield from _coordinates(subject)
    yield from _footprint(subject)
    yield from _unit(subject)
    yield from _number_types(subject)
    yield from _versions(subject)


def _coordinates(subject: Subject) -> Iterator[Finding]:
    facts = subject.facts
    for ra_name, dec_name in _POSITIONS:
        ra, dec = facts.keywords.get(ra_name), facts.keywords.get(dec_name)
        if not isinstance(ra, float) or not isinstance(dec, float):
            continue
        if not (math.isfinite(ra) and math.isfinite(dec) and -360 <= ra <= 360 and -90 <= dec <= 90):
            yield found("coordinates", f"{ra_name}, {dec_name} = {ra}, {dec} is no position on the sky")
    region = str(facts.keywords.get("S_REGION", ""))
    if region and not facts.s_region:
        radius = region_radius(region)
        wide = "cannot be read" if radius is None else f"spans {2 * radius:.0f} degrees"
        yield found("footprint", f"S_REGION {wide}: the footprint is left out")
    if facts.s_ra is None:
        yield found("no_position", "no position: neither S_REGION, WCS nor target coordinates")


def _footprint(subject: Subject) -> Iterator[Finding]:
    """Compare the footprint with the pointing and with the image's world coordinates."""
    region = subject.facts.s_region
    centre, radius = region_centre(region), region_radius(region)
    if centre is None or not radius:
        return
    ra, dec = subject.facts.keywords.get("RA_REF"), subject.facts.keywords.get("DEC_REF")
    if isinstance(ra, float) and isinstance(dec, float) and abs(dec) <= 90:
        apart = separation(*centre, ra, dec)
        if apart > _POINTING + radius:
            yield found("pointing", f"RA_REF, DEC_REF lie {apart:.2f} deg from the centre of S_REGION")
    expected = _from_reference(subject)
    if expected is None:
        return
    reference, offset, half_diagonal = expected
    apart = separation(*centre, *reference)
    if abs(apart - offset) > _WCS_TOLERANCE * radius:
        yield found(
            "footprint_wcs",
            f"the image's centre lies {offset * 3600:.1f} arcsec from CRVAL, that of S_REGION {apart * 3600:.1f}",
        )
    elif not 1 - _WCS_TOLERANCE <= half_diagonal / radius <= 1 + _WCS_TOLERANCE:
        said = f"{2 * half_diagonal * 3600:.1f} arcsec from corner to corner, S_REGION {2 * radius * 3600:.1f}"
        yield found("footprint_wcs", f"the image spans {said}")


def _from_reference(subject: Subject) -> tuple[tuple[float, float], float, float] | None:
    """Return CRVAL, how far the image's centre lies from it, and half its diagonal, all deg, by the linear WCS.

    Distances and not positions are compared, so that no projection is needed; fields are arcminutes wide.
    """
    mains = main_hdus(subject)
    if not mains or mains[0].kind != "image" or subject.facts.exp_type not in _IMAGING:
        return None
    header = subject.scan.blocks[mains[0].index].header
    types = [str(card_value(header, f"CTYPE{axis}") or "") for axis in (1, 2)]
    if not (types[0].startswith("RA--") and types[1].startswith("DEC-")):
        return None
    names = ("CRVAL1", "CRVAL2", "CRPIX1", "CRPIX2")
    numbers = [card_value(header, name) for name in names]
    matrix = [[_scale(header, row, column) for column in (1, 2)] for row in (1, 2)]
    if not all(isinstance(value, int | float) and math.isfinite(value) for value in (*numbers, *matrix[0], *matrix[1])):
        return None
    height, width = mains[0].shape[-2:]
    x, y = (width + 1) / 2 - float(numbers[2]), (height + 1) / 2 - float(numbers[3])
    offset = math.hypot(*(row[0] * x + row[1] * y for row in matrix))
    diagonals = [math.hypot(*(row[0] * width + sign * row[1] * height for row in matrix)) for sign in (1, -1)]
    return (float(numbers[0]), float(numbers[1])), offset, max(diagonals) / 2


def _scale(header: Header, row: int, column: int) -> float:
    """Return an element of the linear transformation, deg per pixel: CD, or PC times CDELT; nan without."""
    direct = card_value(header, f"CD{row}_{column}")
    step, turned = card_value(header, f"CDELT{row}"), card_value(header, f"PC{row}_{column}")
    turned = float(row == column) if turned is None else turned
    product = step * turned if isinstance(step, int | float) and isinstance(turned, int | float) else math.nan
    return float(direct) if isinstance(direct, int | float) else product


def _unit(subject: Subject) -> Iterator[Finding]:
    kind, unit = subject.kind, subject.facts.bunit
    if kind is None:
        return
    if kind.units and not unit:
        yield found("units", f"BUNIT is missing; {kind.suffix} products are in {' or '.join(kind.units[:2])}")
    elif kind.units and unit.replace(" ", "").lower() not in {known.lower() for known in kind.units}:
        yield found("units", f"BUNIT {unit!r} is unusual for a {kind.suffix} product")
    if kind.main not in _SPECTRA:
        return
    for item in main_hdus(subject):
        for column in item.columns:
            known = _COLUMN_UNITS.get(column.name.upper())
            if known and column.unit.lower() not in known:
                said = f"{item.extname},{item.extver}: {column.name} is in {column.unit!r}, and not in {known[0]}"
                yield found("column_units", said)
                return


def _number_types(subject: Subject) -> Iterator[Finding]:
    odd = {}
    for item in subject.facts.hdus:
        due = _KIND_TYPES.get((subject.facts.product_type, item.extname), _TYPES.get(item.extname))
        if item.kind == "image" and due and item.dtype not in due:
            odd[item.extname] = f"{item.extname} is {item.dtype} and not {due[0]}"
    if odd:
        yield found("number_types", "; ".join(odd.values()))


def _versions(subject: Subject) -> Iterator[Finding]:
    facts = subject.facts
    if facts.product_type != "uncal":
        missing = [name for name in ("CAL_VER", "CRDS_CTX") if not facts.keywords.get(name)]
        if missing:
            yield found("versions", f"{', '.join(missing)} missing: the calibration cannot be traced")
    primary = subject.scan.blocks[0].header
    steps = [name for name in primary if name.startswith("S_") and card_value(primary, name) == "FAILED"]
    if steps:
        yield found("failed_steps", f"{', '.join(steps)}: the step failed")
    if facts.keywords.get("DATAPROB") is True:
        yield found("telemetry", "DATAPROB is set: the science telemetry indicated a problem")
    if facts.keywords.get("ENG_QUAL") == "SUSPECT":
        yield found("engineering", "ENG_QUAL is SUSPECT")
