"""The rules on HDUs: are those there that the product type promises, in shapes that agree.

Holds: the rules on the skeleton; headers are enough for them. Keep out pixel values (``rules_planes``).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator

from hwosim_assets.catalog.finding import Finding, Subject, found
from hwosim_assets.fits.hdus import HduFacts
from hwosim_assets.fits.product_types import ProductType

__all__ = ["main_hdus", "structure"]

#: Planes that must have SCI's shape; the variances did not always.
_PLANES = ("ERR", "DQ", "GROUPDQ", "WHT")
_VARIANCES = ("VAR_POISSON", "VAR_RNOISE", "VAR_FLAT")
#: Kinds whose image is the detector's subarray, pixel for pixel.
_DETECTOR_KINDS = frozenset({"uncal", "ramp", "rate", "rateints"})
#: Guide-star exposures have tables of their own in place of GROUP and INT_TIMES (stdatamodels: guider_raw.schema).
_GUIDE_STAR = frozenset({"FGS_ID-IMAGE", "FGS_ID-STACK", "FGS_ACQ1", "FGS_ACQ2", "FGS_TRACK", "FGS_FINEGUIDE"})
_SPECTRUM_COLUMNS = ("WAVELENGTH", "FLUX")
_TABLES = frozenset({"EXTRACT1D", "COMBINE1D"})


def main_hdus(subject: Subject) -> list[HduFacts]:
    """Return the HDUs that hold the measurement (SCI of every slit, EXTRACT1D of every spectrum)."""
    return [item for item in subject.facts.hdus if subject.kind and item.extname == subject.kind.main]


def structure(subject: Subject) -> Iterator[Finding]:
    """Yield what is wrong with a file's HDUs."""
    kind = subject.kind
    if kind is None:
        return
    present = {item.extname for item in subject.facts.hdus}
    missing = [name for name in kind.hdus if name not in present]
    if missing:
        yield found("required_hdus", _missing(subject, kind, missing))
        return
    usual = () if subject.facts.exp_type in _GUIDE_STAR else kind.usual_hdus
    unusual = [name for name in usual if name not in present]
    if unusual:
        yield found("usual_hdus", f"lacks {', '.join(unusual)}, which current builds write")
    repeated = [
        f"{name},{version}"
        for (name, version), count in Counter((item.extname, item.extver) for item in subject.facts.hdus).items()
        if count > 1 and name
    ]
    if repeated:
        yield found("repeated_hdus", f"holds more than one HDU {', '.join(repeated[:5])}")
    if subject.facts.hdus[0].kind != "empty":
        yield found("primary_data", f"the primary HDU holds data ({subject.facts.hdus[0].kind})")
    yield from _main(subject, kind)


def _missing(subject: Subject, kind: ProductType, missing: list[str]) -> str:
    """Say which promised HDUs are absent, and how the kind was told where the name is not JWST's."""
    said = f"lacks {', '.join(missing)}: every {kind.suffix} product holds {', '.join(kind.hdus)}"
    if subject.facts.name is None:
        said += f" (its name or DATAMODL {subject.facts.keywords.get('DATAMODL')} makes it one)"
    if kind.main in missing:
        pixels = subject.facts.hdus[0].kind == "image"
        said += "; its pixels lie in the primary HDU, where JWST keeps none" if pixels else "; it has no pixels at all"
    return said


def _main(subject: Subject, kind: ProductType) -> Iterator[Finding]:
    """Yield what is wrong with the HDUs that hold the measurement."""
    mains = main_hdus(subject)
    if all(item.kind == "empty" or 0 in item.shape for item in mains):
        what = "rows" if kind.main in _TABLES else "pixels"
        yield found("pixels_missing", f"{kind.main} holds no {what}")
        return
    stripped = _stripped(subject, mains[0])
    companions = defaultdict(list)
    for item in subject.facts.hdus:
        companions[item.extver].append(item)
    if stripped:
        yield found("pixels_missing", stripped)
        return
    for item in mains:
        guider = str(subject.facts.keywords.get("DATAMODL", "")).startswith("Guider")
        if item.kind == "image" and kind.ndim and len(item.shape) not in kind.ndim and not guider:
            axes = " or ".join(str(number) for number in kind.ndim)
            yield found("axes", f"{kind.main} has {len(item.shape)} axes, a {kind.suffix} product has {axes}")
            return
        yield from _shapes(item, companions[item.extver])
        yield from _promised_shape(subject, item)
    if kind.main in _TABLES:
        yield from _spectrum(mains)


def _stripped(subject: Subject, main: HduFacts) -> str | None:
    """Say that the pixels were removed: one pixel where the subarray keywords promise many."""
    sizes = [subject.facts.keywords.get(name) for name in ("SUBSIZE2", "SUBSIZE1")]
    if main.kind == "image" and all(length == 1 for length in main.shape):
        promised = " × ".join(str(size) for size in reversed(sizes) if size)
        where = f" where SUBSIZE1/2 promise {promised}" if promised else ""
        return f"{main.extname} holds a single pixel{where}: the pixels were removed"
    return None


def _shapes(main: HduFacts, companions: list[HduFacts]) -> Iterator[Finding]:
    """Compare the planes beside one SCI with it; slits are told apart by EXTVER."""
    if main.kind != "image":
        return
    for item in companions:
        if item.kind != "image":
            continue
        if item.extname in _PLANES and item.shape != main.shape:
            yield found("shapes", f"{item.extname} is {item.shape}, {main.extname} is {main.shape}")
        elif item.extname in _VARIANCES and item.shape != main.shape:
            yield found("variance_shapes", f"{item.extname} is {item.shape}, {main.extname} is {main.shape}")
        elif item.extname == "PIXELDQ" and item.shape != main.shape[-2:]:
            yield found("shapes", f"PIXELDQ is {item.shape}, {main.extname} is {main.shape}")


def _promised_shape(subject: Subject, main: HduFacts) -> Iterator[Finding]:
    """Compare the shape with SUBSIZE, NGROUPS and NINTS."""
    keywords = subject.facts.keywords
    if subject.facts.product_type not in _DETECTOR_KINDS or main.kind != "image":
        return
    promised = (keywords.get("SUBSIZE2"), keywords.get("SUBSIZE1"))
    # the reference pixels that NIRSpec's IRS2 readout interleaves are not in SUBSIZE
    interleaved = "IRS2" in str(keywords.get("READPATT", ""))
    if None not in promised and main.shape[-2:] != promised and not interleaved:
        yield found("subarray", f"SCI is {main.shape[-2:]} pixels, SUBSIZE2/1 promise {promised}")
    if len(main.shape) == 4 and keywords.get("NGROUPS") not in (None, main.shape[1]):
        yield found("groups", f"SCI has {main.shape[1]} groups, NGROUPS is {keywords['NGROUPS']}")
    first, last, total = (keywords.get(name) for name in ("INTSTART", "INTEND", "NINTS"))
    integrations = total
    if isinstance(first, int) and isinstance(last, int) and last >= first:
        integrations = last - first + 1
    if len(main.shape) >= 3 and integrations not in (None, main.shape[0]):
        yield found("integrations", f"SCI has {main.shape[0]} integrations, the header promises {integrations}")
    times = next((item for item in subject.facts.hdus if item.extname == "INT_TIMES"), None)
    if times is not None and len(main.shape) >= 3 and times.shape != main.shape[:1]:
        yield found("integration_times", f"INT_TIMES has {times.shape[0]} rows, SCI has {main.shape[0]} integrations")


def _spectrum(mains: list[HduFacts]) -> Iterator[Finding]:
    """Ask every spectrum for its wavelength and flux columns."""
    for item in mains:
        names = {column.name.upper() for column in item.columns}
        missing = [name for name in _SPECTRUM_COLUMNS if name not in names]
        if missing:
            yield found("columns", f"{item.extname},{item.extver} has no column {', '.join(missing)}")
            return
