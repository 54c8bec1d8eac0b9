"""The perturbation engine: real products made imperfect in known, physical, graded ways.

Public names are loaded on first use, so that importing this package stays light.
"""

from __future__ import annotations

import importlib
from typing import Any

__all__ = ["Product", "Scenario", "apply", "effects", "replay"]

_HOMES = {
    "Product": ("hwosim_assets.perturb.product", "Product"),
    "Scenario": ("hwosim_assets.perturb.scenario", "Scenario"),
    "apply": ("hwosim_assets.perturb.run", "apply"),
    "effects": ("hwosim_assets.perturb.registry", "effect_specs"),
    "replay": ("hwosim_assets.perturb.truth", "replay"),
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, attribute = _HOMES[name]
    return getattr(importlib.import_module(module), attribute)
