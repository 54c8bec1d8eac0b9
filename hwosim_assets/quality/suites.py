"""The rules of every asset, as declarations, by name.

Holds: the registry of suites, one per asset (all scenarios share ``perturbed`` and ``stream``). Add a
rule in the module of its stage beside this one; a rule about the whole program reads a count that
``quality.inputs`` provides. Keep out Great Expectations itself, which takes seconds to import and
is needed only when a suite runs.

A bad file never fails a program: rules about single rows of what the archive says are warnings, and
the stages quarantine such files. Critical are the rules about what this platform guarantees (keys,
hashes, counts that reconcile) and the few about a program as a whole.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from hwosim_assets.quality.rules import Suite
from hwosim_assets.quality.suites_archive import MAST_OBSERVATIONS, MAST_PRODUCTS, RAW_FITS_FILES
from hwosim_assets.quality.suites_catalog import HEADER_CARDS, PRODUCTS, QUARANTINE
from hwosim_assets.quality.suites_delivery import PERTURBED, REPORT, STREAM

__all__ = ["SUITES", "suite_named"]

#: All suites by name.
SUITES: Mapping[str, Suite] = MappingProxyType(
    {
        suite.name: suite
        for suite in (
            MAST_OBSERVATIONS,
            MAST_PRODUCTS,
            RAW_FITS_FILES,
            HEADER_CARDS,
            PRODUCTS,
            QUARANTINE,
            PERTURBED,
            STREAM,
            REPORT,
        )
    }
)


def suite_named(name: str) -> Suite:
    """Return a suite by name.

    Raises
    ------
    KeyError
        If there is none; the message lists those there are.
    """
    if name not in SUITES:
        raise KeyError(f"no quality suite {name!r}; there are {', '.join(sorted(SUITES))}")
    return SUITES[name]
