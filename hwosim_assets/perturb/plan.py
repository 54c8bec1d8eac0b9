"""A scenario resolved for one product: every number final, before any data are touched.

Holds: :class:`Plan`, :func:`make_plan`, a pure function of scenario, file name and exposure time, and
:func:`read_plan`, which checks one that was edited.
A plan is the whole recipe: the same plan and the same bytes give the same output. Keep out what
depends on the pixels; that is found in ``perturb.run`` and recorded in the truth.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hwosim_assets.errors import BadInputError, HwosimError
from hwosim_assets.perturb.choice import EffectChoice, bias_at
from hwosim_assets.perturb.parameters import SCALE, Parameter, Value, rounded
from hwosim_assets.perturb.profiles import Constant
from hwosim_assets.perturb.registry import check_uses, effect_class
from hwosim_assets.perturb.rng import RNG, Stream
from hwosim_assets.perturb.scenario import Scenario
from hwosim_assets.perturb.spec import STAGES, EffectSpec, PlannedEffect
from hwosim_assets.perturb.stamp import Stamped
from hwosim_assets.perturb.stories import STORIES, told

__all__ = ["LeftOut", "Plan", "make_plan", "plan_sha256", "read_plan"]


class LeftOut(BaseModel):
    """An effect that a plan cannot have, and why."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    effect: str
    label: str
    reason: str


class Plan(Stamped):
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
    stamp : {"none", "hash", "full"}
        What the file says of all this; nothing where no effect is.
    """

    rng: str
    scale: str
    seed: int = Field(ge=0, lt=1 << 63)
    uid: str
    stream_time: float | None = Field(allow_inf_nan=False)
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
        return plan_sha256(self.model_dump(mode="json"))


def plan_sha256(content: Any) -> str:
    """Return the hash of a plan as it stands in JSON, of whatever version."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def read_plan(path: Path) -> Plan:
    """Return a plan that was saved, and perhaps edited, with every number checked.

    A number that follows from others must be what they give, so that none is ignored and the truth says what was done:
    ``amplitude`` what ``when`` gives at ``stream_time``, ``parameters`` what ``full`` gives at ``amplitude``,
    ``severity`` that of some number of the effect, ``err_factor`` and ``dq_share`` those of ``err`` and ``dq``.

    Raises
    ------
    BadInputError
        When the file cannot be read, is no plan, or has an effect or a number that is not possible, or not what another
        says.
    """
    try:
        plan = Plan.model_validate_json(path.read_bytes(), strict=True)
    except OSError as error:
        raise BadInputError(str(path), error.strerror or "cannot be read", "check the path") from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        reason = f"is no plan: {where}{': ' if where else ''}{first['msg']}"
        raise BadInputError(str(path), reason, "use one as saved") from error
    if (plan.rng, plan.scale) != (RNG, SCALE):
        made = f"is of {plan.rng}, scale {plan.scale}; this is {RNG}, {SCALE}"
        raise BadInputError(str(path), made, "make it again")
    try:
        plan = plan.model_copy(update={"effects": tuple(_checked(step, plan) for step in plan.effects)})
        check_uses(step.effect for step in plan.effects)
        _check_labels(plan)
    except ValueError as wrong:
        raise BadInputError(str(path), *str(wrong).split("; ", 1)) from None
    order = [STAGES.index(step.stage) for step in plan.effects]
    if order != sorted(order):
        raise BadInputError(str(path), "its effects do not stand in the order of their stages", "keep their order")
    return plan


def _checked(step: PlannedEffect, plan: Plan) -> PlannedEffect:
    """Return an effect of a plan with its numbers in their units.

    Raises
    ------
    ValueError
        When one is not possible, or not what others give; reason and mend, parted by a semicolon.
    """
    spec = effect_class(step.effect).spec
    graded = {item.name for item in spec.parameters if item.severities is not None}
    follows = not isinstance(step.when, Constant)
    if step.stage != spec.stage or step.parameters.keys() != {item.name for item in spec.parameters}:
        raise ValueError(f"{step.effect} has other parameters or another stage; see `hwosim effects {step.effect}`")
    if step.full.keys() != (graded if follows else set()):
        wanted = f"{', '.join(sorted(graded))} and no other" if follows else "nothing, for `when` is constant"
        raise ValueError(f"{step.effect}: `full` holds other names than it must; it holds {wanted}")
    step = step.model_copy(
        update={"parameters": _parsed(step, spec, "parameters"), "full": _parsed(step, spec, "full")}
    )
    spec.check(step.parameters)
    _check_amplitude(step, plan)
    for item in (item for item in spec.parameters if item.name in step.full):
        _check_share(step, item)
    _check_severity(step, spec)
    _check_switches(step, spec)
    return step


def _parsed(step: PlannedEffect, spec: EffectSpec, section: str) -> dict[str, Value]:
    """Return the numbers of ``parameters`` or ``full``, each in its unit and within its bounds."""
    found = {}
    for item in spec.parameters:
        if item.name in (given := getattr(step, section)):
            try:
                found[item.name] = item.parse(given[item.name])
            except ValueError as wrong:
                mend = f"see `hwosim effects {step.effect}`"
                raise ValueError(f"{step.effect}.{section}.{item.name} {wrong}; {mend}") from None
    return found


def _check_amplitude(step: PlannedEffect, plan: Plan) -> None:
    """Check that the amplitude is that of the profile at the time of the plan."""
    if plan.stream_time is None and not isinstance(step.when, Constant):
        raise ValueError(f"{step.effect}: its `when` needs the plan's stream_time, which is null; make it constant")
    walk = Stream(plan.seed, step.effect, step.label, "", "when")
    amplitude = step.when.amplitude(plan.stream_time or 0.0, walk)
    if rounded(step.amplitude) != rounded(amplitude):
        reason = f"{step.effect}: amplitude is {step.amplitude!r}, and `when` gives {amplitude!r} at stream_time"
        raise ValueError(f"{reason}; edit `when`, or set amplitude to that and `parameters` to what it gives")


def _check_share(step: PlannedEffect, item: Parameter) -> None:
    """Check that a parameter is the full one at the amplitude: effects take the one or the other."""
    value, full = step.parameters[item.name], step.full[item.name]
    share = item.scaled(float(full), step.amplitude)
    if rounded(float(value)) != rounded(float(share)):
        here = f"{step.effect}.parameters.{item.name}"
        reason = f"{here} is {value!r}, and `full` ({full!r}) gives {share!r} at amplitude {step.amplitude!r}"
        raise ValueError(f"{reason}; edit full.{item.name}, and set parameters.{item.name} to what it gives")


def _check_severity(step: PlannedEffect, spec: EffectSpec) -> None:
    """Check that a severity is that of one number at least, whosever instrument it is told of."""
    if step.severity is None:
        return
    given = step.full or step.parameters
    tables = [told(story, spec.name, item) for story in STORIES for item in spec.parameters]
    numbers = [(given[item.name], item.at(step.severity)) for item in tables if item.severities is not None]
    if step.err == "biased":
        numbers.append((step.err_factor, bias_at(step.severity)))
    if not any(rounded(float(number)) == rounded(float(graded)) for number, graded in numbers):
        reason = f"{step.effect}: severity is {step.severity:g}, and no number here is that severity's"
        raise ValueError(f"{reason}; set it to null: what is done is what `parameters` and `full` say")


def _check_switches(step: PlannedEffect, spec: EffectSpec) -> None:
    """Check that the effect has its switches, and that their shares are theirs."""
    for name, has, plain, share, shares in (
        ("err", spec.err, "consistent", "err_factor", {"consistent": 1.0, "stale": 0.0}),
        ("dq", spec.dq, "flagged", "dq_share", {"flagged": 1.0, "silent": 0.0}),
    ):
        word, number = getattr(step, name), getattr(step, share)
        if not has and word != plain:
            raise ValueError(f"{step.effect} has no switch `{name}`; set it to {plain}")
        if number != shares.get(word, number):
            free = "biased" if name == "err" else "mixed"
            reason = f"{step.effect}: {share} is {number:g}, and of `{name}: {word}` it is {shares[word]:g}"
            raise ValueError(f"{reason}; set it to that, or `{name}` to {free}")


def _check_labels(plan: Plan) -> None:
    """Check that no two uses of an effect share their random numbers."""
    uses = [(step.effect, step.label) for step in plan.effects]
    for effect, label in uses:
        if uses.count((effect, label)) > 1:
            raise ValueError(f"{effect} stands twice under the label {label!r}; give each its own")


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

    Raises
    ------
    ScenarioError
        When the scenario stands for several (``sweep``).
    """
    scenario = scenario.alone()
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
        stamp=scenario.content.stamp,
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
        elif parameter.alone and choice.severity != 0:
            acts = acts or value != parameter.default
        parameters[parameter.name] = value
    if not acts:
        return None
    return PlannedEffect(
        effect=choice.effect,
        label=choice.label,
        stage=kind.spec.stage,
        severity=choice.severity if choice.graded_by_severity() else None,
        amplitude=amplitude,
        parameters=parameters,
        full={} if isinstance(choice.when, Constant) else full,
        when=choice.when,
        err=choice.err,
        err_factor=choice.claimed_factor(),
        dq=choice.dq,
        dq_share=choice.dq_share if choice.dq == "mixed" else float(choice.dq == "flagged"),
    )
