"""The register of effects.

Holds: registration and look-up with a suggestion for a misspelt name. Light: the effects themselves are
imported on first look-up and need numpy only. Keep out what is known of an effect (``perturb.spec``)
and how effects are run (``perturb.run``).
"""

from __future__ import annotations

import difflib
import importlib
from collections import Counter
from collections.abc import Callable, Iterable
from functools import cache
from typing import TYPE_CHECKING, TypeVar

from hwosim_assets.errors import BadInputError
from hwosim_assets.perturb.spec import STAGES, EffectSpec

if TYPE_CHECKING:
    from hwosim_assets.perturb.effect import Effect

__all__ = ["check_uses", "effect_class", "effect_specs", "register", "spec_of", "suggestion"]

#: The modules whose import registers the effects.
_MODULES = (
    *("noise", "optics", "calibration", "telemetry", "headers"),
    *("references", "signals", "sources", "losses", "clock", "schema", "damage"),
    *("persistence", "scene", "wisps"),
    *("pixels", "state", "migration", "pointing", "wavefront", "particles", "snowballs", "bit_flips"),
    *("electrons", "reading"),
    *("correlated", "bias"),
)


_REGISTRY: dict[str, type[Effect]] = {}
E = TypeVar("E", bound="type[Effect]")


def register(spec: EffectSpec) -> Callable[[E], E]:
    """Register an effect class under its specification (a class decorator)."""
    if spec.stage not in STAGES:
        raise ValueError(f"{spec.name}: {spec.stage!r} is not a stage")
    if spec.name in _REGISTRY:
        raise ValueError(f"{spec.name}: registered twice")

    def add(effect: E) -> E:
        effect.spec = spec
        _REGISTRY[spec.name] = effect
        return effect

    return add


@cache  # effects ask for their specification at each time of an exposure
def _registry() -> dict[str, type[Effect]]:
    for module in _MODULES:
        importlib.import_module(f"hwosim_assets.perturb.effects.{module}")
    return _REGISTRY


def effect_specs() -> list[EffectSpec]:
    """Return every registered effect, in stage order and then by name."""
    specs = [effect.spec for effect in _registry().values()]
    return sorted(specs, key=lambda spec: (STAGES.index(spec.stage), spec.name))


def effect_class(name: str) -> type[Effect]:
    """Return the class of an effect.

    Raises
    ------
    BadInputError
        When no effect has that name; the message suggests the nearest.
    """
    registry = _registry()
    if name not in registry:
        mend = suggestion(name, registry) or "see `hwosim effects`"
        raise BadInputError(f"effect {name!r}", "is not known", mend)
    return registry[name]


def spec_of(name: str) -> EffectSpec:
    """Return the specification of an effect; raises as :func:`effect_class`."""
    return effect_class(name).spec


def check_uses(names: Iterable[str]) -> None:
    """Check the effects of a scenario or a plan.

    Raises
    ------
    ValueError
        When one that can be used once stands there more often.
    """
    for name, uses in Counter(names).items():
        spec = spec_of(name)
        if spec.once and uses > 1:
            graded = next(parameter.name for parameter in spec.parameters if parameter.severities)
            mend = f"leave one use of it, with a larger `{graded}`"
            raise ValueError(f"{name} stands {uses} times and can be used only once; {mend}")


def suggestion(name: str, known: Iterable[str]) -> str:
    """Return ``did you mean X?`` for the nearest known word, or an empty text."""
    near = difflib.get_close_matches(str(name), list(known), n=1)
    return f"did you mean {near[0]}?" if near else ""
