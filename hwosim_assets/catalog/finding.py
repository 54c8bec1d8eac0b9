"""What validation says about a file, and what it looks at.

Holds: :class:`Finding`, :class:`Subject`. Keep out the rules (``rules_*``).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from hwosim_assets.fits.blocks import card_value

if TYPE_CHECKING:
    from hwosim_assets.fits.blocks import Scan
    from hwosim_assets.fits.describe import Description
    from hwosim_assets.fits.product_types import ProductType

__all__ = ["Finding", "Subject"]


@dataclass(frozen=True)
class Finding:
    """One thing that a file does not keep of what JWST promises.

    Attributes
    ----------
    rule : str
        Short name in snake case.
    severity : {"reject", "warn"}
        Whether the file goes to quarantine, or only carries a warning.
    reason : str
        One sentence that a JWST user would agree with.
    """

    rule: str
    severity: Literal["reject", "warn"]
    reason: str


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
