"""What there is to find under a scenario, and the scenario at a severity, with and without it.

Holds: :class:`Task`. The scenario's injected signals are what is to be found, the same at all severities; all else is
the damage that severity grades. A scenario that injects nothing asks for its cosmic rays. Keep out what was then done
to a product (``injected``).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from hwosim_assets.errors import BadInputError
from hwosim_assets.perturb.parameters import rounded
from hwosim_assets.perturb.registry import spec_of
from hwosim_assets.perturb.stories import told

if TYPE_CHECKING:
    from hwosim_assets.perturb.choice import EffectChoice
    from hwosim_assets.perturb.parameters import Parameter
    from hwosim_assets.perturb.scenario import Scenario

__all__ = ["RAYS", "SIGNALS", "Task"]

#: Kinds of things to be found, by the effects that inject them.
SIGNALS = {"point_source": "source", "companion": "source", "transit": "dip", "eclipse": "dip", "flare": "flare"}
#: What a model may be asked for that is damage.
RAYS = "cosmic_rays"
#: When a dip or a flare comes, as a share of the exposure, where the scenario leaves it open.
_WHEN = {"transit": "mid", "eclipse": "mid", "flare": "peak"}
_EARLY, _LATE = 0.15, 0.85


@dataclass(frozen=True)
class Task:
    """What a scenario asks of a model.

    Attributes
    ----------
    scenario : Scenario
        As it was written.
    kinds : tuple of str
        What is to be found.
    """

    scenario: Scenario
    kinds: tuple[str, ...]

    @classmethod
    def of(cls, scenario: Scenario) -> Task:
        """Return the task of a scenario.

        Raises
        ------
        BadInputError
            When it injects nothing that is scored, or something that cannot be.
        """
        thing, names = f"scenario {scenario.name}", [choice.effect for choice in scenario.effects]
        signals = [name for name in names if spec_of(name).kind == "signal"]
        for name in signals:
            if name not in SIGNALS:
                reason = f"injects {name}, for which there is no score"
                raise BadInputError(thing, reason, f"take it out; there is one for {', '.join(SIGNALS)}")
        kinds = tuple(dict.fromkeys(SIGNALS[name] for name in signals)) or ((RAYS,) if RAYS in names else ())
        if not kinds:
            raise BadInputError(thing, "has nothing to find", f"add one of {', '.join(SIGNALS)}, or {RAYS}")
        return cls(scenario, kinds)

    @property
    def damage(self) -> tuple[EffectChoice, ...]:
        """The effects that severity grades."""
        return tuple(choice for choice in self.scenario.effects if choice.effect not in SIGNALS)

    def at(self, severity: float, draw: int) -> Scenario:
        """Return the scenario with its damage at a severity and its signals as they are.

        Parameters
        ----------
        severity : float
            0 to 5.
        draw : int
            From 0. Each has the next seed, and its own times of dips and flares where the scenario leaves them open.
        """
        times = np.random.default_rng((self.scenario.seed, draw))
        signals = tuple(_placed(choice, times) for choice in self.scenario.effects if choice.effect in SIGNALS)
        return self._made(draw, signals + self._graded(severity))

    def twin(self, severity: float, draw: int) -> Scenario:
        """Return the same damage without what is to be found."""
        others = (choice for choice in self._graded(severity) if choice.effect not in self.kinds)
        return self._made(draw, tuple(others))

    def _graded(self, severity: float) -> tuple[EffectChoice, ...]:
        return tuple(choice.at(severity) for choice in self.damage)

    def _made(self, draw: int, effects: tuple[EffectChoice, ...]) -> Scenario:
        changed = {"effects": effects, "seed": self.scenario.seed + draw}
        return replace(self.scenario, content=self.scenario.content.model_copy(update=changed))

    def physical(self, severity: float) -> str:
        """Return a severity in the unit of the damage, where that is one effect with one graded number; else empty."""
        if len(self.damage) != 1:
            return ""
        effect = self.damage[0].effect
        graded: list[Parameter] = [item for item in spec_of(effect).parameters if item.severities is not None]
        if len(graded) != 1:
            return ""
        told_of = told(self.scenario.content.profile, effect, graded[0])
        return f"{told_of.name} {told_of.at(severity):.3g} {told_of.unit}".rstrip()


def _placed(choice: EffectChoice, times: np.random.Generator) -> EffectChoice:
    """Return a signal with a time: its own, or one that is drawn."""
    name = _WHEN.get(choice.effect)
    if name is None:
        return choice
    drawn = rounded(float(times.uniform(_EARLY, _LATE)))
    if name in choice.parameters or choice.parameters.get("mid_mjd"):
        return choice
    return choice.model_copy(update={"parameters": {**choice.parameters, name: drawn}})
