"""One effect as a scenario asks for it, with every mistake named and the right word suggested.

Holds: :class:`EffectChoice` and the factors of ``err: biased``. Keep out the other sections of a scenario and its
identity (``perturb.scenario``), and what an effect's parameters are (``perturb.spec``).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from hwosim_assets.errors import BadInputError
from hwosim_assets.perturb.parameters import Value, at_severity, parse_severity
from hwosim_assets.perturb.profiles import Constant, Profile
from hwosim_assets.perturb.quantities import parse_number
from hwosim_assets.perturb.registry import spec_of, suggestion
from hwosim_assets.perturb.spec import EffectSpec

__all__ = ["EffectChoice", "bias_at", "nearest"]

_DEFAULT_SHARE = 0.5
#: Switches that are numbers: as text, they may be told in per cent.
_SHARES = ("err_factor", "dq_share")

#: Claimed over true standard deviation at severity 1 to 5 (``err: biased``), severity table 2026.1; a proposal.
ERR_BIAS = (0.95, 0.9, 0.75, 0.5, 0.2)


class EffectChoice(BaseModel):
    """One effect as a scenario asks for it.

    Attributes
    ----------
    effect, label : str
        Name of the effect, and of this use of it; random numbers depend on both.
    severity : float or None
        0 to 5; sets the parameters that have a severity table and are not given.
    parameters : dict
        Parameters given explicitly, in their own units.
    err : {"consistent", "stale", "biased"}
        Whether ERR and VAR say what was added, nothing of it, or ``err_factor`` times its standard deviation.
    err_factor : float or None
        Of ``biased``; by default that of the severity table.
    dq : {"flagged", "silent", "mixed"}
        Whether DQ and the invalid planes say what was lost, or of a share of it; by default as the effect says.
    dq_share : float
        Share of the pixels that are flagged, of ``mixed``.
    when : Profile
        Profile in absolute stream time.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    effect: str
    label: str
    severity: float | None = Field(default=None, ge=0, le=5)
    parameters: dict[str, Value] = Field(default_factory=dict)
    err: Literal["consistent", "stale", "biased"] = "consistent"
    err_factor: float | None = Field(default=None, ge=0, le=100)
    dq: Literal["flagged", "silent", "mixed"] = "flagged"
    dq_share: float = Field(default=0.5, ge=0, le=1)
    when: Profile = Constant()

    @model_validator(mode="before")
    @classmethod
    def _from_file(cls, value: Any) -> Any:
        """Take ``read_noise`` or ``read_noise: {severity: 2, ...}`` as a file has it."""
        name, body = _named(value)
        spec = _known_effect(name)
        out: dict[str, Any] = {"effect": name, "label": name, "dq": spec.usual_dq}
        parameters: dict[str, Value] = {}
        for key, given in body.items():
            parameter = spec.parameter(key)
            if parameter is not None:
                parameters[key] = _checked(name, key, parameter.parse, given)
            elif key == "severity":
                out[key] = _checked(name, key, parse_severity, given)
            elif key in _switches(spec):
                share = key in _SHARES and isinstance(given, str)
                out[key] = _checked(name, key, lambda text: parse_number(text, ""), given) if share else given
            else:
                known = [parameter.name for parameter in spec.parameters] + _switches(spec)
                raise ValueError(f"{name}: unknown key {key!r}; {nearest(str(key), known)}")
        if "severity" not in out and not any(_graded(spec, key) for key in parameters):
            out["severity"] = 1.0
        return {**out, "parameters": parameters}

    @model_validator(mode="after")
    def _numbers_fit(self) -> EffectChoice:
        spec_of(self.effect).check(self.parameters)
        return self

    @model_validator(mode="after")
    def _switches_fit(self) -> EffectChoice:
        if self.err_factor is not None and self.err != "biased":
            raise ValueError(f"{self.effect}: `err_factor` goes with `err: biased`")
        if "dq_share" in self.model_fields_set and self.dq != "mixed" and self.dq_share != _DEFAULT_SHARE:
            raise ValueError(f"{self.effect}: `dq_share` goes with `dq: mixed`")
        return self

    def body(self) -> dict[str, Any]:
        """Return what stands under the effect's name in a scenario file."""
        values = self.model_dump(mode="json", exclude={"effect", "parameters", "dq"}, exclude_defaults=True)
        if self.dq != spec_of(self.effect).usual_dq:
            values["dq"] = self.dq
        return {**values, **self.parameters}

    def graded_by_severity(self) -> bool:
        """Whether the severity sets anything: a parameter that is not given, or the factor of ``err: biased``."""
        graded = [item.name for item in spec_of(self.effect).parameters if item.severities is not None]
        return not set(graded) <= self.parameters.keys() or (self.err == "biased" and self.err_factor is None)

    def claimed_factor(self) -> float:
        """Return claimed over true standard deviation of what the effect adds."""
        if self.err != "biased":
            return float(self.err == "consistent")
        if self.err_factor is not None:
            return self.err_factor
        return bias_at(1.0 if self.severity is None else self.severity)

    def at(self, severity: float) -> EffectChoice:
        """Return this effect at a severity; explicit values of graded parameters give way to it."""
        spec = spec_of(self.effect)
        kept = {name: value for name, value in self.parameters.items() if not _graded(spec, name)}
        return self.model_copy(update={"severity": float(severity), "parameters": kept})


def bias_at(severity: float) -> float:
    """Return the factor of ``err: biased`` at a severity."""
    return at_severity(ERR_BIAS, severity, identity=1.0)


def _graded(spec: EffectSpec, name: str) -> bool:
    parameter = spec.parameter(name)
    return parameter is not None and parameter.severities is not None


def _switches(spec: EffectSpec) -> list[str]:
    return ["severity", "label", "when"] + ["err", "err_factor"] * spec.err + ["dq", "dq_share"] * spec.dq


def _named(value: Any) -> tuple[str, dict[str, Any]]:
    if isinstance(value, str):
        return value, {}
    if isinstance(value, Mapping) and len(value) == 1:
        ((name, body),) = value.items()
        if isinstance(name, str) and (body is None or isinstance(body, Mapping)):
            return name, dict(body or {})
    raise ValueError(f"an effect is a name or `name: {{...}}`, not {value!r}")


def _known_effect(name: str) -> EffectSpec:
    try:
        return spec_of(name)
    except BadInputError as unknown:
        raise ValueError(f"unknown effect {name!r}; {unknown.mend}") from None


def _checked(effect: str, key: str, parse: Any, given: Any) -> Any:
    try:
        return parse(given)
    except ValueError as wrong:
        raise ValueError(f"{effect}.{key} {wrong}") from None


def nearest(word: str, known: Iterable[str]) -> str:
    """Return a suggestion for a word that is not known: the nearest one, else all."""
    names = list(known)
    return suggestion(word, names) or f"known: {', '.join(names)}"
