"""A scenario resolved for one product: every number final, before any data are touched.

Holds: :class:`Plan` and :func:`make_plan`, a pure function of scenario, file name and exposure time.
A plan is the whole recipe: the same plan and the same bytes give the same output. Keep out what
depends on the pixels; that is found in ``perturb.run`` and recorded in the truth.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from hwosim_assets.errors import BadInputError, HwosimError
from hwosim_assets.perturb.choice import EffectChoice
from hwosim_assets.perturb.parameters import SCALE
from hwosim_assets.perturb.profiles import Constant
from hwosim_assets.perturb.registry import check_uses, effect_class
from hwosim_assets.perturb.rng import RNG, Stream
from hwosim_assets.perturb.scenario import Scenario
from hwosim_assets.perturb.spec import STAGES, PlannedEffect
from hwosim_assets.perturb.stories import told

__all__ = ["LeftOut", "Plan", "make_plan", "read_plan"]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class LeftOut(_Model):
    """An effect that a plan cannot have, and why."""

    effect: str
    label: str
    reason: str


class Plan(_Model):
    """What will be done to one product.

    Attributes
    ----------
    rng, scale : str
        Versions of the random numbers and of the severity table.
    seed : int
        Root seed.
    uid : str
        Archive file name, which random streams belong to.
    stream_time : float or None
        Mid time of the exposure, MJD UTC; ``None`` also where nothing is done.
    effects : tuple of PlannedEffect
        In the order of the stages; empty for the identity.
    left_out : tuple of LeftOut
        Effects whose profile needs a time that the product does not have.
    """

    rng: str
    scale: str
    seed: int
    uid: str
    stream_time: float | None
    effects: tuple[PlannedEffect, ...]
    left_out: tuple[LeftOut, ...] = ()

    def write(self, path: Path) -> None:
        """Write the plan to a file of JSON that can be edited and applied (:func:`read_plan`).

        Raises
        ------
        HwosimError
            When the file cannot be written.
        """
        try:
            path.write_text(self.model_dump_json(indent=2) + "\n", encoding="utf-8")
        except OSError as error:
            raise HwosimError(str(path), error.strerror or "cannot be written", "check path and free space") from error

    @property
    def sha256(self) -> str:
        """Hash of the plan."""
        text = json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()


def read_plan(path: Path) -> Plan:
    """Return a plan that was saved, and perhaps edited, with every number checked.

    Raises
    ------
    BadInputError
        When the file cannot be read, is no plan, or has an effect or a number that is not possible.
    """
    try:
        plan = Plan.model_validate_json(path.read_bytes())
    except OSError as error:
        raise BadInputError(str(path), error.strerror or "cannot be read", "check the path") from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise BadInputError(str(path), f"is no plan: {where}: {first['msg']}", "use one as saved") from error
    if (plan.rng, plan.scale) != (RNG, SCALE):
        made = f"is of {plan.rng}, scale {plan.scale}; this is {RNG}, {SCALE}"
        raise BadInputError(str(path), made, "make it again")
    for step in plan.effects:
        _check_step(str(path), step)
    try:
        check_uses(step.effect for step in plan.effects)
    except ValueError as wrong:
        raise BadInputError(str(path), *str(wrong).split("; ", 1)) from None
    order = [STAGES.index(step.stage) for step in plan.effects]
    if order != sorted(order):
        raise BadInputError(str(path), "its effects do not stand in the order of their stages", "keep their order")
    return plan


def _check_step(thing: str, step: PlannedEffect) -> None:
    spec = effect_class(step.effect).spec
    if step.stage != spec.stage or set(step.parameters) != {parameter.name for parameter in spec.parameters}:
        raise BadInputError(thing, f"{step.effect} has other parameters or another stage", "see `hwosim effects`")
    for parameter in spec.parameters:
        try:
            parameter.parse(step.parameters[parameter.name])
        except ValueError as wrong:
            raise BadInputError(thing, f"{step.effect}.{parameter.name} {wrong}", "see `hwosim effects`") from None


def make_plan(scenario: Scenario, uid: str, stream_time: float | None) -> Plan:
    """Resolve a scenario for one product.

    Parameters
    ----------
    scenario : Scenario
        What to do.
    uid : str
        Archive file name.
    stream_time : float or None
        Mid time of the exposure (MJD UTC).

    Returns
    -------
    Plan
        Effects at their identity (severity 0) are not in it.
    """
    effects: list[PlannedEffect] = []
    left_out: list[LeftOut] = []
    for choice in scenario.effects:
        if stream_time is None and not isinstance(choice.when, Constant):
            reason = "its profile needs an exposure time, which the product does not have"
            left_out.append(LeftOut(effect=choice.effect, label=choice.label, reason=reason))
            continue
        planned = _planned(choice, 0.0 if stream_time is None else stream_time, scenario)
        if planned is not None:
            effects.append(planned)
    effects.sort(key=lambda planned: STAGES.index(planned.stage))
    return Plan(
        rng=RNG,
        scale=scenario.content.scale,
        seed=scenario.seed,
        uid=uid,
        stream_time=stream_time if effects or left_out else None,
        effects=tuple(effects),
        left_out=tuple(left_out),
    )


def _planned(choice: EffectChoice, time: float, scenario: Scenario) -> PlannedEffect | None:
    """Return an effect with final numbers, or ``None`` when it does nothing."""
    kind = effect_class(choice.effect)
    amplitude = choice.when.amplitude(time, Stream(scenario.seed, choice.effect, choice.label, "", "when"))
    parameters: dict[str, Any] = {}
    full: dict[str, Any] = {}
    acts = False
    for parameter in (told(scenario.content.profile, choice.effect, item) for item in kind.spec.parameters):
        value = choice.parameters.get(parameter.name, parameter.default)
        if parameter.severities is not None:
            if parameter.name not in choice.parameters:
                value = parameter.at(choice.severity or 0.0)
            full[parameter.name] = value
            value = parameter.scaled(float(value or 0.0), amplitude)
            acts = acts or (full[parameter.name] if kind.per_frame else value) != parameter.identity
        parameters[parameter.name] = value
    if not acts:
        return None
    return PlannedEffect(
        effect=choice.effect,
        label=choice.label,
        stage=kind.spec.stage,
        severity=choice.severity,
        amplitude=amplitude,
        parameters=parameters,
        full={} if isinstance(choice.when, Constant) else full,
        when=choice.when,
        err=choice.err,
        err_factor=choice.claimed_factor(),
        dq=choice.dq,
        dq_share=choice.dq_share if choice.dq == "mixed" else float(choice.dq == "flagged"),
    )
