"""What a delivered file says of its own perturbing, where its scenario asks for that.

Holds: :class:`Stamped`, the key of scenario and plan, and :func:`stamp`. By default a file says nothing, for a model
could read it: the truth travels apart. Keep out the truth itself (``perturb.truth``) and how cards are stored
(``perturb.fitsfile``).
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, SerializerFunctionWrapHandler, model_serializer

from hwosim_assets.fits.blocks import CARD
from hwosim_assets.perturb.registry import spec_of

if TYPE_CHECKING:
    from hwosim_assets.perturb.fitsfile import FitsFile
    from hwosim_assets.perturb.plan import Plan
    from hwosim_assets.perturb.spec import PlannedEffect

__all__ = ["Stamped", "stamp"]

#: Digits of the plan's hash that a card holds.
_DIGITS = 16
#: Characters of a HISTORY card behind its keyword (FITS standard 4.0, section 4.4.2.4).
_HISTORY = CARD - 8


class Stamped(BaseModel):
    """What has the key ``stamp``. It is written, and hashed, only where something is asked for.

    Attributes
    ----------
    stamp : {"none", "hash", "full"}
        What perturbed files say: nothing; the hash of their plan and the engine, which name no effect; these and a line
        for each effect.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    stamp: Literal["none", "hash", "full"] = "none"

    @model_serializer(mode="wrap")
    def _where_asked_for(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        said: dict[str, Any] = write(self)
        if self.stamp == "none":
            said.pop("stamp", None)
        return said


def stamp(file: FitsFile, plan: Plan, steps: Sequence[Mapping[str, Any]]) -> None:
    """Write into the primary header of an edited file what its plan asks for.

    Parameters
    ----------
    file : FitsFile
        The file, after all effects but those that damage it when it is finished.
    plan : Plan
        What was done; its ``stamp`` says how much is told.
    steps : sequence of mapping
        For each effect, what it found and did: one that had no meaning for the product is told as such.
    """
    if plan.stamp == "none":
        return
    from hwosim_assets.perturb.truth import ENGINE

    primary = file.hdus[0]
    primary.put("HWOSPLAN", f"'{plan.sha256[:_DIGITS]}'", "HWOsim: hash of the plan")
    primary.put("HWOSENG", f"'{ENGINE:<8}'", "HWOsim: version of the engine")
    if plan.stamp == "full":
        for step, done in zip(plan.effects, steps, strict=True):
            for line in textwrap.wrap(_told(step, done), _HISTORY, subsequent_indent="  "):
                primary.add(f"HISTORY {line}".encode("ascii"))


def _told(step: PlannedEffect, done: Mapping[str, Any]) -> str:
    """Return an effect's severity and honesty in ASCII."""
    spec = spec_of(step.effect)
    label = "" if step.label == step.effect else f" ({ascii(step.label)[1:-1]})"
    severity = "by its parameters" if step.severity is None else f"severity {step.severity:g}"
    words = [f"HWOsim: {step.effect}{label} {severity}"]
    if all("not_applicable" in note for note in done["measurements"]):
        return f"{words[0]}, not applicable"
    if spec.err:
        words.append(f"err {step.err}" + (f" {step.err_factor:g}" if step.err == "biased" else ""))
    if spec.dq:
        words.append(f"dq {step.dq}" + (f" {step.dq_share:g}" if step.dq == "mixed" else ""))
    return ", ".join(words)
