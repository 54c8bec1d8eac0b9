"""The judgement whether a file is what JWST promises for its product type.

Holds: :func:`validate`, which asks the rules in the order a person would and stops at the first group
that rejects: is it good FITS (``rules_standard``, ``rules_logical``, checksums), whose file is it
(``rules_identity``), is it whole (``rules_structure``), is what it says possible (``rules_time``,
``rules_exposure``), do its data hold (``rules_planes``). Keep out what becomes of a rejected file (``build``)
and the list of all rules (``file_rules``).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from hwosim_assets.catalog.finding import Finding, Subject
from hwosim_assets.catalog.rules_checksum import checksums
from hwosim_assets.catalog.rules_exposure import exposure
from hwosim_assets.catalog.rules_identity import identity
from hwosim_assets.catalog.rules_logical import logical
from hwosim_assets.catalog.rules_planes import planes
from hwosim_assets.catalog.rules_standard import standard
from hwosim_assets.catalog.rules_structure import structure
from hwosim_assets.catalog.rules_time import times
from hwosim_assets.fits.product_types import PRODUCT_TYPES

if TYPE_CHECKING:
    from hwosim_assets.fits.blocks import Scan
    from hwosim_assets.fits.describe import Description

__all__ = ["Finding", "validate"]


def validate(found: Scan, facts: Description, path: Path) -> list[Finding]:
    """Judge one readable file.

    Parameters
    ----------
    found : Scan
        Its skeleton.
    facts : Description
        What its headers and name say.
    path : pathlib.Path
        The file.

    Returns
    -------
    list of Finding
        Empty when everything is as promised. When any severity is ``reject`` the file is no
        product; later groups of rules were not asked then.

    Raises
    ------
    UnreadableFitsError
        When astropy cannot open what the skeleton promised.
    """
    subject = Subject(found, facts, PRODUCT_TYPES.get(facts.product_type), path)
    findings: list[Finding] = []
    for rules in (standard, logical, checksums, identity, structure, times, exposure, planes):
        findings += rules(subject)
        if any(item.severity == "reject" for item in findings):
            break
    return findings
