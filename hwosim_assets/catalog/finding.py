"""What validation says about a file, and what it looks at.

Holds: :class:`Finding` and :func:`found`, which makes one; :class:`Subject`. Keep out what the rules are
(``file_rules``) and how they are judged (``rules_*``).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hwosim_assets.catalog.file_rules import FILE_RULES, Verdict
from hwosim_assets.fits.blocks import card_value

if TYPE_CHECKING:
    from hwosim_assets.fits.blocks import Scan
    from hwosim_assets.fits.describe import Description
    from hwosim_assets.fits.product_types import ProductType

__all__ = ["Finding", "Subject", "found"]


@dataclass(frozen=True)
class Finding:
    """One thing that a file does not keep of what JWST promises.

    Attributes
    ----------
    rule : str
        Name of one of :data:`hwosim_assets.catalog.file_rules.FILE_RULES`.
    severity : {"reject", "warn"}
        Whether the file goes to quarantine, or only carries a warning.
    reason : str
        One sentence that a JWST user would agree with.
    """

    rule: str
    severity: Verdict
    reason: str


def found(rule: str, reason: str) -> Finding:
    """Return a finding with the severity of its rule.

    Raises
    ------
    KeyError
        If :data:`FILE_RULES` has no such rule.
    """
    return Finding(rule, FILE_RULES[rule].severity, reason)


@dataclass(frozen=True)
class Subject:
    """A file under validation.

    Attributes
    ----------
    scan : Scan
        Skeleton and headers.
    facts : Description
        What headers and name say.
    kind : ProductType or None
        The promise of its product type; ``None`` when the type is unknown.
    path : pathlib.Path
        The bytes, for rules that read data.
    """

    scan: Scan
    facts: Description
    kind: ProductType | None
    path: Path

    def primary(self, keyword: str) -> Any:
        """Return a value of the primary header, ``None`` when absent or not parsable."""
        return card_value(self.scan.blocks[0].header, keyword)
