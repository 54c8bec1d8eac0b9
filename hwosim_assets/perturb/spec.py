"""What an effect is, and one use of it with every number final.

Holds: :class:`EffectSpec`, :class:`PlannedEffect` and the stages in their physical order. Keep out which
effects there are (``perturb.registry``), what they do (``perturb.effects``) and how a scenario becomes
final numbers (``perturb.plan``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from hwosim_assets.perturb.parameters import Parameter, Value
from hwosim_assets.perturb.profiles import Constant, Profile

__all__ = ["STAGES", "EffectSpec", "PlannedEffect"]

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
    "schema",
)


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
        Whether the switches ``err: consistent|stale|biased`` and ``dq: flagged|silent|mixed`` mean something.
    usual_dq : {"flagged", "silent"}
        The switch ``dq`` where a scenario does not give it.
    breaks_format : bool
        Whether the output is no valid FITS file, or breaks its data model's schema (refused under ``valid_only``).
    once : bool
        Whether a second use in one scenario is refused: one that takes rows of the input away does not see what another
        took.
    steady : str
        Why a profile in time has one share for all of a product, that of its mid time; empty where the effect follows
        the profile from integration to integration (``Effect.per_frame``).
    together : tuple of tuple of str
        Parameters that say something only together, so that one without the others is refused.
    needs : tuple of (str, str)
        Parameters that count from another, without which they are refused.
    apart : tuple of (tuple of str, tuple of str)
        Parameters beside which others would be ignored, and these, so that they are refused beside each other.
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
    usual_dq: Literal["flagged", "silent"] = "flagged"
    breaks_format: bool = False
    once: bool = False
    steady: str = ""
    together: tuple[tuple[str, ...], ...] = ()
    needs: tuple[tuple[str, str], ...] = ()
    apart: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...] = ()

    def parameter(self, name: str) -> Parameter | None:
        """Return the parameter of that name, or ``None``."""
        return next((parameter for parameter in self.parameters if parameter.name == name), None)

    def check(self, values: Mapping[str, Value]) -> None:
        """Check that numbers say something together; one that equals its default counts as not given.

        Raises
        ------
        ValueError
            When one lacks another, or would be ignored beside another; reason and mend, parted by a semicolon.
        """
        given = [item.name for item in self.parameters if values.get(item.name, item.default) != item.default]
        for names in self.together:
            has, lacks = [name for name in names if name in given], [name for name in names if name not in given]
            if has and lacks:
                raise ValueError(f"{self.name} has {_listed(has)} and no {_listed(lacks)}; give both, or neither")
        for name, base in self.needs:
            if name in given and base not in given:
                raise ValueError(f"{self.name} has `{name}` and no `{base}`; give both, or neither")
        for said, mute in self.apart:
            has, ignored = [name for name in said if name in given], [name for name in mute if name in given]
            if has and ignored:
                reason = f"{self.name} has {_listed(has)}, beside which {_listed(ignored)} would be ignored"
                raise ValueError(f"{reason}; give the one or the other")

    def remarks(self) -> list[str]:
        """Return sentences on how a scenario may use it: honesty, profile in time, what it needs."""
        switch = {
            (True, True): "The switches `err` and `dq` apply.",
            (True, False): "The switch `err` applies, `dq` does not.",
            (False, True): "The switch `dq` applies, `err` does not.",
            (False, False): "The switches `err` and `dq` do not apply.",
        }[self.err, self.dq]
        when = "A profile in time (`when`) acts from integration to integration of an exposure."
        if self.steady:
            when = f"A profile in time (`when`) has one share for a product, that of its mid time: {self.steady}."
        remarks = [switch, when]
        if self.usual_dq != "flagged":
            remarks.append(f"`dq` is `{self.usual_dq}` unless a scenario says otherwise.")
        remarks += [f"{_listed(names)} are given together or not at all." for names in self.together]
        remarks += [f"`{name}` is refused without `{base}`." for name, base in self.needs]
        for said, mute in self.apart:
            refused = f"{_listed(mute)} {'are' if len(mute) > 1 else 'is'} refused"
            remarks.append(f"Beside {_listed(said, 'or')} other than by default, {refused}.")
        if self.once:
            remarks.append("A scenario can use it only once.")
        if self.breaks_format:
            remarks.append("It breaks the format or the data model, so a scenario needs `valid_only: false`.")
        return remarks


def _listed(names: Sequence[str], last: str = "and") -> str:
    """Return names as words of a sentence."""
    *first, end = (f"`{name}`" for name in names)
    return f"{', '.join(first)} {last} {end}" if first else end


class PlannedEffect(BaseModel):
    """One effect with final numbers.

    Attributes
    ----------
    effect, label, stage : str
        Which effect, which use of it, and when it comes.
    severity : float or None
        0 to 5, where it set any number of this use; for people.
    amplitude : float
        Share of the effect at the product's time (0 to 1), already in the parameters.
    parameters : dict
        Every parameter, in its own unit.
    full : dict
        Graded parameters at the profile's full amplitude; empty for a constant profile.
    when : Profile
        Profile in absolute stream time, for effects that follow it from frame to frame.
    err : {"consistent", "stale", "biased"}
        Whether ERR and VAR say all, nothing, or ``err_factor`` of the error that it adds.
    err_factor : float
        Of ``biased``: claimed over true standard deviation of what it adds.
    dq : {"flagged", "silent", "mixed"}
        Whether flags tell of all, of none, or of a share ``dq_share`` of its pixels.
    dq_share : float
        Of ``mixed``.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    effect: str
    label: str
    stage: str
    severity: float | None = Field(ge=0, le=5)
    amplitude: float = Field(ge=0, le=1)
    parameters: dict[str, Value]
    full: dict[str, Value] = Field(default_factory=dict)
    when: Profile = Constant()
    err: Literal["consistent", "stale", "biased"] = "consistent"
    err_factor: float = Field(default=1.0, ge=0, le=100)
    dq: Literal["flagged", "silent", "mixed"] = "flagged"
    dq_share: float = Field(default=1.0, ge=0, le=1)
