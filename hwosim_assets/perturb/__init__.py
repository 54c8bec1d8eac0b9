"""The perturbation engine: real products made imperfect in known, physical, graded ways.

Public names are loaded on first use, so that importing this package stays light.
"""

from __future__ import annotations

import importlib
from typing import Any

__all__ = ["Product", "Scenario", "apply", "effects", "replay"]

_HOMES = {
    "Product": "hwosim_assets.perturb.product",
    "Scenario": "hwosim_assets.perturb.scenario",
    "apply": "hwosim_assets.perturb.run",
    "replay": "hwosim_assets.perturb.proof",
}


def __getattr__(name: str) -> Any:
    if name == "effects":
        return importlib.import_module("hwosim_assets.perturb.effects")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
