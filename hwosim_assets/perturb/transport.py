"""The sections ``schedule`` and ``transport`` of a scenario: when messages are due, what happens to them.

Holds: the two models and the published table of transport severities. Keep out how messages are
scheduled, lost, duplicated or reordered; that stands in ``hwosim_streaming``.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from hwosim_assets.perturb.parameters import at_severity
from hwosim_assets.perturb.quantities import parse_number

__all__ = ["TRANSPORT_SEVERITIES", "Fault", "Reorder", "Schedule", "Transport"]

#: Probability per message at severity 1 to 5, and for reordering the largest displacement in
#: messages. Rare and repaired loss, duplicates of 0.1-5 % and out-of-order arrival are what archive
#: streams see; the levels themselves are a proposal.
TRANSPORT_SEVERITIES: dict[str, tuple[float, ...]] = {
    "loss": (1e-4, 1e-3, 1e-2, 5e-2, 0.2),
    "duplicate": (1e-3, 5e-3, 1e-2, 2e-2, 5e-2),
    "reorder": (1e-3, 1e-2, 5e-2, 0.1, 0.3),
    "displacement": (2, 4, 8, 16, 64),
}

Share = Annotated[float, BeforeValidator(lambda value: parse_number(value, "")), Field(ge=0, le=1)]
Seconds = Annotated[float, BeforeValidator(lambda value: parse_number(value, "s")), Field(gt=0)]
Rate = Annotated[float, BeforeValidator(lambda value: parse_number(value, "")), Field(gt=0, le=1e6)]
Scale = Annotated[float, BeforeValidator(lambda value: parse_number(value, "")), Field(ge=1e-3, le=1e9)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Schedule(_Section):
    """When messages are due.

    Attributes
    ----------
    mode : {"constant", "poisson", "as_exposed"}
        Evenly spaced, Poisson distributed, or with the gaps of the exposures.
    rate_per_s : float
        Messages per second (constant, Poisson, and within one exposure time).
    time_scale : float
        How much faster than real time exposures follow each other (as_exposed).
    max_gap_s : float
        Longest wait between two messages in seconds after time scaling (as_exposed).
    """

    mode: Literal["constant", "poisson", "as_exposed"] = "constant"
    rate_per_s: Rate = 50.0
    time_scale: Scale = 1000.0
    max_gap_s: Seconds = 5.0


def _fault(name: str) -> Any:
    """Return a validator that turns ``{severity: s}`` into the numbers of the published table."""

    def resolve(value: Any) -> Any:
        if not isinstance(value, dict) or "severity" not in value:
            return value
        if len(value) > 1:
            raise ValueError("give a severity or the numbers, not both")
        return fault_at(name, parse_number(value["severity"], ""))

    return resolve


def fault_at(name: str, severity: float) -> dict[str, float]:
    """Return the numbers of one transport fault at a severity of 0 to 5."""
    numbers = {"probability": at_severity(TRANSPORT_SEVERITIES[name], severity)}
    if name == "reorder":
        numbers["displacement"] = max(1, round(at_severity(TRANSPORT_SEVERITIES["displacement"], severity)))
    return numbers


class Fault(_Section):
    """A message is lost or sent twice with this probability."""

    probability: Share = 0.0


class Reorder(_Section):
    """A message is moved back by 1 to ``displacement`` places with this probability."""

    probability: Share = 0.0
    displacement: int = Field(default=1, ge=1, le=100_000)


class Transport(_Section):
    """What happens to messages on the way."""

    loss: Annotated[Fault, BeforeValidator(_fault("loss"))] = Fault()
    duplicate: Annotated[Fault, BeforeValidator(_fault("duplicate"))] = Fault()
    reorder: Annotated[Reorder, BeforeValidator(_fault("reorder"))] = Reorder()

    def at(self, severity: float) -> Transport:
        """Return the same faults at another severity; a fault that does not happen stays away."""
        given: dict[str, Fault | Reorder] = {"loss": self.loss, "duplicate": self.duplicate, "reorder": self.reorder}
        return Transport.model_validate(
            {name: fault_at(name, severity) for name, fault in given.items() if fault.probability > 0}
        )
