"""What a JWST file name says: program, observation, visit … product type.

Holds: the grammar of archive file names, the five-digit program key, the check that a name from
outside is safe to use as a path part. Keep out what headers say; that is ``describe``.

The grammar is that of the JWST calibration pipeline's documentation ("File naming schemes"),
widened by what real names show: the activity is base 36, segments, association ids on ``crf``
products, source ids of five and nine digits.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from hwosim_assets.errors import BadInputError
from hwosim_assets.fits.product_types import PRODUCT_TYPES

__all__ = ["NO_PROGRAM", "ProductName", "parse_name", "program_in_name", "program_key", "safe_file_name"]

#: Program of the files that name none.
NO_PROGRAM = "00000"

Stage = Literal["exposure", "visit", "guide_star", "stage3"]

#: The end of the text and not ``$``, which a line feed may follow.
_ENDING = r"\.fits(?:\.gz|\.fz)?\Z"
_VISIT = r"^jw(?P<program>\d{5})(?P<observation>\d{3})(?P<visit>\d{3})"
_PATTERNS: tuple[tuple[Stage, re.Pattern[str]], ...] = (
    (
        "exposure",
        re.compile(
            _VISIT + r"_(?P<visit_group>\d{2})(?P<parallel_sequence>\d)(?P<activity>[0-9a-z]{2})"
            r"_(?P<exposure>\d{5})(?:-seg(?P<segment>\d{3}))?"
            r"_(?P<detector>[a-z0-9]+)"
            r"(?:_(?P<ac_id>[aocr]\d{3,4}))?(?:_t(?P<target_id>\d{3}))?(?:_(?P<source_id>[sbv]\d{5,9}))?"
            r"_(?P<product_type>[a-z0-9-]+)" + _ENDING,
            re.ASCII,
        ),
    ),
    (
        "guide_star",
        re.compile(
            _VISIT + r"_gs-(?P<activity>[a-z0-9]+)_(?P<exposure>\d+)(?:_(?P<segment>image|stacked))?"
            r"[_-](?P<product_type>[a-z0-9-]+)" + _ENDING,
            re.ASCII,
        ),
    ),
    ("visit", re.compile(_VISIT + r"_(?P<visit_group>\d{2})_(?P<product_type>msa)" + _ENDING, re.ASCII)),
    (
        "stage3",
        re.compile(
            r"^jw(?P<program>\d{5})-(?P<ac_id>[aocr]\d{3,4})"
            r"_(?:t(?P<target_id>\d{3})|(?P<source_id>[sbv]\d{5,9}))(?:-epoch(?P<epoch>[0-9a-z]+))?"
            r"_(?P<instrument>nircam|nirspec|miri|niriss|fgs)_(?P<optical_elements>[a-z0-9_-]+)"
            r"_(?P<product_type>[a-z0-9-]+)" + _ENDING,
            re.ASCII,
        ),
    ),
)
_LOOSE_PROGRAM = re.compile(r"^jw(\d{5})(?:\d{6}_|-[aocr]\d{3,4}_)", re.ASCII)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\ufeff]")
_INSTRUMENTS = (("nrc", "NIRCAM"), ("nrs", "NIRSPEC"), ("mir", "MIRI"), ("nis", "NIRISS"), ("guider", "FGS"))


@dataclass(frozen=True)
class ProductName:
    """The parts of a JWST archive file name; a part that the name does not have is ``""``.

    Attributes
    ----------
    file_name : str
        The name as given.
    program, observation, visit : str
        Five, three and three digits.
    visit_group, parallel_sequence, activity, exposure, segment : str
        Two digits, one digit, two base-36 characters (``acq1``, ``fg`` … for guide stars), five
        digits, three digits.
    detector : str
        Lower case, for example ``nrca1``.
    ac_id, target_id, source_id : str
        Association candidate (``o005``), target digits (``001``), source (``s00004``).
    instrument : str
        CAOM name, for example ``NIRCAM``; from the detector in exposure names.
    optical_elements : str
        Stage 3 only, for example ``f444w-f470n``.
    product_type : str
        Suffix, for example ``rateints``; an activity behind it (``wfscmb-0c``) is kept in
        ``activity``.
    stage : {"exposure", "visit", "guide_star", "stage3"}
        The scheme that the name follows.
    """

    file_name: str
    program: str
    observation: str
    visit: str
    visit_group: str
    parallel_sequence: str
    activity: str
    exposure: str
    segment: str
    detector: str
    ac_id: str
    target_id: str
    source_id: str
    instrument: str
    optical_elements: str
    product_type: str
    stage: Stage

    @property
    def obs_id(self) -> str:
        """The CAOM ``obs_id``: the file name without ``_<prodType>.fits``."""
        stem = re.sub(_ENDING, "", self.file_name)
        separator = max(stem.rfind("_" + self.product_type), stem.rfind("-" + self.product_type))
        return stem[:separator]

    @property
    def hierarchy(self) -> tuple[str, ...]:
        """Path parts of the mission hierarchy, from the program down to the exposure.

        ``("jw01093", "012", "001", "03102", "00001")`` for an exposure (program, observation,
        visit, visit group with parallel sequence and activity, exposure), ``("jw01492", "L3", "o005")``
        for a stage-3 product, and program, observation, visit for what belongs to a whole visit.
        """
        if self.stage == "stage3":
            return (f"jw{self.program}", "L3", self.ac_id)
        visit = (f"jw{self.program}", self.observation, self.visit)
        if self.stage == "exposure":
            return (*visit, self.visit_group + self.parallel_sequence + self.activity, self.exposure)
        return visit


def program_key(value: str | int) -> str:
    """Return the five-digit key of a JWST program.

    Parameters
    ----------
    value : str or int
        Proposal number, padded or not: ``1093``, ``"1093"``, ``"01093"``.

    Returns
    -------
    str
        Five ASCII digits.

    Raises
    ------
    BadInputError
        When the value is not a number of one to five digits.
    """
    text = "" if isinstance(value, bool) else str(value).strip()
    if not re.fullmatch(r"[0-9]{1,5}", text):
        raise BadInputError(
            f"program {str(value)[:40]!r}", "is not a JWST program number", "give one to five digits, for example 1093"
        )
    return text.zfill(5)


def safe_file_name(name: str) -> str:
    """Return a file name that came from outside, or refuse it.

    Parameters
    ----------
    name : str
        A file name without folders.

    Returns
    -------
    str
        The same name.

    Raises
    ------
    BadInputError
        On path separators, control characters, ``.`` and ``..``, an empty name or more than 255
        bytes: such a name could leave the folder it is joined to.
    """
    reason = ""
    if not name.strip():
        reason = "is empty"
    elif "/" in name or "\\" in name:
        reason = "has a path separator"
    elif name in {".", ".."} or name.startswith("..") or name != name.strip():
        reason = "starts or ends with dots or blanks that a path would change"
    elif _CONTROL.search(name):
        reason = "has control characters"
    else:
        try:
            too_long = len(name.encode("utf-8")) > 255
            reason = "is longer than 255 bytes" if too_long else ""
        except UnicodeEncodeError:
            reason = "is not valid Unicode"
    if reason:
        raise BadInputError(f"file name {name[:60]!a}", reason, "rename the file")
    return name


def parse_name(name: str) -> ProductName | None:
    """Read a JWST archive file name.

    Parameters
    ----------
    name : str
        File name without folders, ending in ``.fits``, ``.fits.gz`` or ``.fits.fz``.

    Returns
    -------
    ProductName or None
        ``None`` when the name follows none of the archive's schemes, or is one with something
        added (``…_s3d_nav.fits``).
    """
    if len(name) > 255:
        return None
    for stage, pattern in _PATTERNS:
        found = pattern.match(name)
        if found and not PRODUCT_TYPES.keys() & set((found.groupdict().get("optical_elements") or "").split("_")):
            return _product_name(name, stage, {key: value or "" for key, value in found.groupdict().items()})
    return None


def program_in_name(name: str) -> str | None:
    """Return the program that a name begins with, archive name or not (``jw01185002001_…_I01226.fits``)."""
    found = _LOOSE_PROGRAM.match(name)
    return found.group(1) if found else None


def _product_name(name: str, stage: Stage, parts: dict[str, str]) -> ProductName:
    """Complete the matched parts: the instrument from the detector, the activity behind a suffix."""
    parts.pop("epoch", None)
    detector = parts.get("detector", "")
    if stage == "visit":
        parts["instrument"] = "NIRSPEC"
    elif stage == "guide_star":
        parts["instrument"] = "FGS"
    elif stage == "exposure":
        parts["instrument"] = next((full for start, full in _INSTRUMENTS if detector.startswith(start)), "")
    else:
        parts["instrument"] = parts["instrument"].upper()
        behind = re.fullmatch(r"(wfscmb)-([0-9a-z]{2})", parts["product_type"])
        if behind:
            parts["product_type"], parts["activity"] = behind.groups()
    fields = dict.fromkeys(ProductName.__dataclass_fields__, "") | parts
    fields |= {"file_name": name, "stage": stage}
    return ProductName(**fields)  # type: ignore[arg-type]
