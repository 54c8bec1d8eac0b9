"""The section ``schedule`` of a scenario: when messages are due.

Holds: the model. Keep out how due times follow from it; that stands in ``hwosim_streaming.schedule``.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from hwosim_assets.perturb.quantities import parse_number
from hwosim_assets.perturb.transport import Seconds, Section

__all__ = ["Contacts", "Schedule"]

Positive = Annotated[float, BeforeValidator(lambda value: parse_number(value, "")), Field(gt=0)]
Rate = Annotated[float, BeforeValidator(lambda value: parse_number(value, "")), Field(gt=0, le=1e6)]
Scale = Annotated[float, BeforeValidator(lambda value: parse_number(value, "")), Field(ge=1e-3, le=1e9)]
Moment = Annotated[float, BeforeValidator(lambda value: parse_number(value, "s")), Field(ge=0, le=1e9)]
#: Moments of a recorded trace that a scenario file may hold.
LONGEST_TRACE = 100_000


class Contacts(Section):
    """The downlink: contacts with the ground, and how fast the recorder is emptied in them.

    Defaults are JWST's: two contacts of 4 h a day, 3.5 MB/s, a recorder of 65 GB, 5 s of light time
    from L2 (JWST user documentation: communications subsystem, solid state recorder).

    Attributes
    ----------
    per_day : float
        Contacts a day, evenly spaced.
    hours : float
        Length of each (h).
    megabytes_per_s : float
        Link rate (10^6 bytes/s).
    recorder_gigabytes : float
        Capacity (10^9 bytes); what finds it full waits on board until there is room, and comes the later.
    light_s : float
        One-way light time (s).
    missed : float
        Probability that a contact does not take place.
    """

    per_day: Annotated[float, Field(gt=0, le=96)] = 2.0
    hours: Annotated[float, Field(gt=0, le=24)] = 4.0
    megabytes_per_s: Positive = 3.5
    recorder_gigabytes: Positive = 65.0
    light_s: Annotated[float, Field(ge=0, le=3600)] = 5.0
    missed: Annotated[float, Field(ge=0, lt=1)] = 0.0

    @model_validator(mode="after")
    def _contacts_do_not_overlap(self) -> Contacts:
        if self.per_day * self.hours > 24:
            raise ValueError(f"{self.per_day:g} contacts of {self.hours:g} h do not fit into a day")
        return self


class Schedule(Section):
    """When messages are due.

    Attributes
    ----------
    mode : str
        ``constant`` evenly spaced; ``bandwidth`` as fast as their bytes fit through a link; ``poisson``
        with exponential gaps; ``bursts`` in bursts of Poisson size with exponential gaps; ``visits`` as
        a survey telescope's alerts, a few seconds of bursts for each visit; ``as_exposed`` with the
        gaps of the exposures; ``downlink`` as they reach the ground in contacts; ``trace`` with the gaps
        of a recorded stream.
    rate_per_s : float
        Messages per second (constant, poisson, on the mean in bursts, and within one exposure time).
    megabytes_per_s : float
        Of the link (bandwidth).
    burst_messages : float
        Mean messages of a burst (bursts).
    visit_s, visit_spread_s, visit_messages, visit_bursts
        Time between visits, time over which one's messages are spread, their number, and in how many
        bursts (visits). Defaults are Rubin's design: 10 000 alerts in 189 bursts within 3 s of each 37 s
        (DMTN-149).
    trace_s : tuple of float
        Moments in seconds, not decreasing; repeated from its end when there are more messages (trace).
    contacts : Contacts
        The downlink (downlink).
    time_scale : float
        How much faster than real time exposures follow each other (as_exposed, downlink).
    max_gap_s : float
        Longest wait between two messages in seconds after time scaling (as_exposed, downlink).
    jitter_s : float
        Standard deviation of a normal deviation of each due time; none is earlier than the start.
    overload : {"slip", "skip", "stretch"}
        What a publisher does that cannot keep up: catch up as fast as it can, leave out frames that are too late
        (the truth tells which), or shift all that follows.
    skip_late_s : float
        How late a frame may be before it is left out (skip).
    """

    mode: Literal["constant", "bandwidth", "poisson", "bursts", "visits", "as_exposed", "downlink", "trace"] = (
        "constant"
    )
    rate_per_s: Rate = 50.0
    megabytes_per_s: Positive = 3.5
    burst_messages: Annotated[float, Field(ge=1, le=1e6)] = 50.0
    visit_s: Seconds = 37.0
    visit_spread_s: Seconds = 3.0
    visit_messages: int = Field(default=10_000, ge=1, le=10_000_000)
    visit_bursts: int = Field(default=189, ge=1, le=1_000_000)
    trace_s: Annotated[tuple[Moment, ...], Field(max_length=LONGEST_TRACE)] = ()
    contacts: Contacts = Contacts()
    time_scale: Scale = 1000.0
    max_gap_s: Seconds = 5.0
    jitter_s: Annotated[float, BeforeValidator(lambda value: parse_number(value, "s")), Field(ge=0)] = 0.0
    overload: Literal["slip", "skip", "stretch"] = "slip"
    skip_late_s: Seconds = 1.0

    @model_validator(mode="after")
    def _trace_is_one(self) -> Schedule:
        if self.mode == "trace" and not self.trace_s:
            raise ValueError("mode trace needs trace_s, moments in seconds")
        if any(later < earlier for earlier, later in zip(self.trace_s, self.trace_s[1:], strict=False)):
            raise ValueError("trace_s must not decrease")
        if self.visit_spread_s > self.visit_s:
            raise ValueError("visit_spread_s is longer than visit_s")
        return self
