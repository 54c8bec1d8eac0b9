"""Every rule of every stage as one list: what the pages of the documentation and a reader ask.

Holds: :func:`registry`, over the rules about tables (``quality.suites``) and the rules about single files
(``catalog.file_rules``), which say the same things in their own terms. Keep out the rules themselves.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from hwosim_assets.catalog.file_rules import FILE_RULES
from hwosim_assets.quality.suites import SUITES

__all__ = ["Entry", "registry"]

#: Which stage a suite belongs to.
STAGE_OF: Mapping[str, str] = MappingProxyType(
    {
        "mast_observations": "query",
        "mast_products": "query",
        "raw_fits_files": "raw",
        "header_cards": "catalog",
        "products": "catalog",
        "quarantine": "catalog",
        "perturbed": "perturbed",
        "stream": "stream",
        "report": "report",
    }
)


@dataclass(frozen=True)
class Entry:
    """One rule.

    Attributes
    ----------
    id : str
        ``<suite>.<rule>``, or ``file.<rule>`` for a rule about a single file.
    stage : str
        ``query``, ``raw``, ``catalog``, ``perturbed``, ``stream`` or ``report``.
    severity : str
        Of a rule about tables ``critical`` (what lies downstream stops), ``warning`` or ``info``; of a rule about a
        file ``reject`` (the file goes into quarantine) or ``warn``.
    doc : str
        What should hold, as one sentence.
    source : str
        Who promises it.
    """

    id: str
    stage: str
    severity: str
    doc: str
    source: str


def registry() -> tuple[Entry, ...]:
    """Return every rule: those about tables in the order of the chain, those about files with the catalog."""
    entries: list[Entry] = []
    for suite in SUITES.values():
        stage = STAGE_OF[suite.name]
        entries += [
            Entry(f"{suite.name}.{rule.name}", stage, rule.severity, rule.doc, rule.source) for rule in suite.rules
        ]
        if suite.name == "raw_fits_files":
            entries += [
                Entry(f"file.{rule.name}", "catalog", rule.severity, rule.doc, rule.source)
                for rule in FILE_RULES.values()
            ]
    return tuple(entries)
