"""One raw file read, described and judged.

Holds: :func:`extract`, :class:`Extract`. Nothing is written here. Keep out programs and tables
(``build``).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from hwosim_assets.catalog.cards import HEADER_CARDS, card_rows
from hwosim_assets.catalog.finding import Finding, found
from hwosim_assets.catalog.products import product_row
from hwosim_assets.catalog.validate import validate
from hwosim_assets.fits.blocks import UnreadableFitsError, scan
from hwosim_assets.fits.cards import cards_of_scan
from hwosim_assets.fits.describe import describe_scan
from hwosim_assets.fits.names import NO_PROGRAM

__all__ = ["Extract", "extract"]


@dataclass(frozen=True)
class Extract:
    """What one file gave.

    Attributes
    ----------
    cards : pyarrow.Table
        Rows of the header-cards table; none when the file is not FITS.
    product : dict or None
        Row of the products table; ``None`` when the file was rejected.
    findings : list of Finding
        Rejections and warnings.
    """

    cards: pa.Table
    product: dict[str, Any] | None
    findings: list[Finding]


def extract(raw: dict[str, Any], path: Path) -> Extract:
    """Read, describe and judge one file.

    Parameters
    ----------
    raw : dict
        Its row of the raw-files table.
    path : pathlib.Path
        Its bytes.

    Returns
    -------
    Extract
        For any file; what cannot be read is a rejection.
    """
    name = raw["product_name"]
    with path.open("rb") as stored:
        digest = hashlib.file_digest(stored, "sha256").hexdigest()
    if digest != raw["sha256"]:
        reason = f"the bytes in the lake have SHA-256 {digest}, at ingest they had {raw['sha256']}"
        return Extract(HEADER_CARDS.schema.empty_table(), None, [found("checksum", reason)])
    try:
        skeleton = scan(path, name)
    except UnreadableFitsError as error:
        return Extract(HEADER_CARDS.schema.empty_table(), None, [_unreadable(error)])
    cards = card_rows(raw["program"], name, digest, cards_of_scan(skeleton))
    facts = describe_scan(skeleton, name)
    findings = []
    if facts.program not in (raw["program"], NO_PROGRAM):
        reason = f"belongs to program {facts.program}, the archive lists it under {raw['program']}"
        findings.append(found("program", reason))
    try:
        findings += validate(skeleton, facts, path)
    except UnreadableFitsError as error:
        findings.append(_unreadable(error))
    if any(item.severity == "reject" for item in findings):
        return Extract(cards, None, findings)
    return Extract(cards, product_row(raw, facts, findings), findings)


def _unreadable(error: UnreadableFitsError) -> Finding:
    return found("fits_structure", error.reason)
