"""What every effect is."""

from __future__ import annotations

from typing import ClassVar

from hwosim_assets.perturb.registry import EffectSpec

__all__ = ["Effect"]


class Effect:
    """One imperfection."""

    spec: ClassVar[EffectSpec]
