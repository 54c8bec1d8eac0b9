"""Scoring models: what was injected, what a model answered, and how much of it holds as the data get worse.

Holds: the answers of models (``answers``), what there is to find in a scenario and in a truth (``task``, ``injected``),
matching (``matching``), metrics (``metrics``), reference detectors (``detectors``) and the run over products and
severities (``score``). Keep out how products are perturbed (``hwosim_assets.perturb``) and how a table of scores looks
(``hwosim_assets.commands.evaluate``).

Public names are loaded on first use, so that importing this package stays light.
"""

from __future__ import annotations

import importlib
from typing import Any

__all__ = ["evaluate", "fragile", "load_model", "reference"]

_HOMES = {
    "evaluate": "hwosim_assets.evaluate.score",
    "fragile": "hwosim_assets.evaluate.detectors",
    "load_model": "hwosim_assets.evaluate.answers",
    "reference": "hwosim_assets.evaluate.detectors",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
