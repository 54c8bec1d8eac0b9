"""The register of effects: what each one is, its parameters, planes, severities and sources.

Holds: :class:`EffectSpec`, the stages in their physical order, registration and look-up with a
suggestion for a misspelt name. Light: the effects themselves are imported on first look-up and need
numpy only. Keep out how effects are run; that is ``perturb.run``.
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeVar

from hwosim_assets.errors import BadInputError
from hwosim_assets.perturb.parameters import Parameter

if TYPE_CHECKING:
    from hwosim_assets.perturb.effect import Effect

__all__ = ["STAGES", "EffectSpec", "effect_class", "effect_specs", "register", "spec_of", "suggestion"]

#: Physical order of the stages; the order of a scenario's list only breaks ties inside a stage.
STAGES = (
    "signal",
    "optics",
    "throughput",
    "particles",
    "ipc",
    "noise",
    "digitization",
    "calibration",
    "loss",
    "header",
    "file",
)

#: The modules whose import registers the effects.
_MODULES = ("noise", "optics", "calibration", "telemetry", "headers")


@dataclass(frozen=True)
class EffectSpec:
    """What an effect is, for the scenario parser, ``hwosim effects`` and the documentation.

    Attributes
    ----------
    name, title, code : str
        Name in scenario files, title, and entry in the project's effect table (``A1``).
    stage : str
        One of :data:`STAGES`.
    kind : {"damage", "signal"}
        Whether it spoils data or injects something to be found.
    model : str
        What is done, as a formula or one sentence.
    planes : tuple of str
        What it touches: ``SCI``, ``ERR``, ``DQ``, ``VAR_POISSON``, ``VAR_RNOISE``, ``header``.
    parameters : tuple of Parameter
        Its parameters; those with a severity table are set by ``severity``.
    err, dq : bool
        Whether the switches ``err: consistent|stale`` and ``dq: flagged|silent`` mean something.
    breaks_format : bool
        Whether the output is no valid FITS file any more (refused under ``valid_only``).
    source, test : str
        Where the model comes from, and its acceptance test.
    """

    name: str
    title: str
    code: str
    stage: str
    model: str
    planes: tuple[str, ...]
    parameters: tuple[Parameter, ...]
    source: str
    test: str
    kind: Literal["damage", "signal"] = "damage"
    err: bool = False
    dq: bool = False
    breaks_format: bool = False

    def parameter(self, name: str) -> Parameter | None:
        """Return the parameter of that name, or ``None``."""
        return next((parameter for parameter in self.parameters if parameter.name == name), None)


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


def suggestion(name: str, known: Iterable[str]) -> str:
    """Return ``did you mean X?`` for the nearest known word, or an empty text."""
    near = difflib.get_close_matches(str(name), list(known), n=1)
    return f"did you mean {near[0]}?" if near else ""
