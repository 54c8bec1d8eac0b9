"""The effects, one module per family; importing a module registers its effects.

Holds: the way to list them from a notebook, ``effects.registered()``. Keep out the register itself
(``perturb.registry``).
"""

from __future__ import annotations

from hwosim_assets.perturb.registry import effect_specs
from hwosim_assets.perturb.spec import EffectSpec

__all__ = ["registered"]


def registered() -> list[EffectSpec]:
    """Return what each effect is: model, parameters with units, bounds, severities and sources.

    Examples
    --------
    >>> from hwosim_assets.perturb import effects
    >>> [spec.name for spec in effects.registered()][:2]
    ['companion', 'eclipse']
    """
    return effect_specs()
