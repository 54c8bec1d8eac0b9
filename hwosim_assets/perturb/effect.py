"""What an effect is to the engine: a class with a specification and the hooks it needs.

Holds: :class:`Effect`, what it is given (:class:`Task`) and :class:`NotApplicableError`. A new effect
subclasses :class:`Effect`, is registered with its :class:`~hwosim_assets.perturb.spec.EffectSpec`
and overrides the hooks it needs; the engine calls them in the order of the stages. Keep out the
engine itself (``perturb.run``).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar

from hwosim_assets.errors import BadInputError
from hwosim_assets.perturb.parameters import Parameter, Value
from hwosim_assets.perturb.rng import Stream
from hwosim_assets.perturb.spec import EffectSpec, PlannedEffect
from hwosim_assets.perturb.times import FrameTimes, frame_times

if TYPE_CHECKING:
    from hwosim_assets.perturb.block import Block
    from hwosim_assets.perturb.budget import Budget
    from hwosim_assets.perturb.fitsfile import FitsFile
    from hwosim_assets.perturb.measurements import Measurement
    from hwosim_assets.perturb.product import Product

__all__ = ["Earlier", "Effect", "NotApplicableError", "Task"]


#: Streams are asked for in every chunk, and made once.
_stream = lru_cache(maxsize=256)(Stream)


class NotApplicableError(Exception):
    """An effect has no meaning for a measurement; the reason goes into the truth record."""


@dataclass(frozen=True)
class Earlier:
    """An earlier exposure of the same detector, for what a detector remembers.

    Attributes
    ----------
    product : Product
        The exposure.
    end : float
        When it ended, MJD UTC.
    """

    product: Product
    end: float

    def record(self) -> dict[str, Any]:
        """Return what the truth says of it."""
        return {"product": self.product.name, "sha256": self.product.sha256, "end_mjd": self.end}


@dataclass(frozen=True)
class Task:
    """What one use of an effect is given.

    Attributes
    ----------
    planned : PlannedEffect
        Its resolved parameters and switches.
    product : Product
        The input.
    seed : int
        Root seed.
    uid : str
        What random streams belong to: the product's archive file name.
    earlier : tuple of Earlier
        Earlier exposures of the same detector, the latest first; only for effects with ``remembers``.
    """

    planned: PlannedEffect
    product: Product
    seed: int
    uid: str
    earlier: tuple[Earlier, ...] = ()

    def stream(self, name: str) -> Stream:
        """Return the random stream of that name, for example a measurement's key."""
        return self.stream_of(self.uid, name)

    def stream_of(self, owner: str, name: str) -> Stream:
        """Return a random stream that belongs to something else than this product: a detector, a target."""
        return _stream(self.seed, self.planned.effect, self.planned.label, owner, name)

    def number(self, name: str, block: Block | None = None) -> float:
        """Return a numeric parameter: at the time of the exposure, or of the frame of a block."""
        if block is None or not self.planned.full or name not in self.planned.full:
            return float(self.planned.parameters[name])
        return self._at(name, frame_times(self.product, block.measurement), block.frame)

    def numbers(self, name: str, measurement: Measurement) -> list[float]:
        """Return a numeric parameter for every frame of a measurement."""
        if name not in self.planned.full:
            return [float(self.planned.parameters[name])] * measurement.frames
        times = frame_times(self.product, measurement)
        return [self._at(name, times, frame) for frame in range(measurement.frames)]

    def _at(self, name: str, times: FrameTimes | None, frame: int) -> float:
        if times is None:
            return float(self.planned.parameters[name])
        return self.number_at(name, float(times.mid[frame]))

    def number_at(self, name: str, time: float) -> float:
        """Return a numeric parameter at a time (MJD UTC)."""
        if name not in self.planned.full:
            return float(self.planned.parameters[name])
        parameter = self._parameter(name)
        amplitude = self.planned.when.amplitude(time, self.walk)
        return float(parameter.scaled(float(self.planned.full[name]), amplitude))

    def _parameter(self, name: str) -> Parameter:
        from hwosim_assets.perturb.registry import spec_of

        parameter = spec_of(self.planned.effect).parameter(name)
        if parameter is None:
            raise KeyError(name)
        return parameter

    def refuse_ignored(self, beside: tuple[str, ...], ignored: tuple[str, ...]) -> None:
        """Refuse numbers that have no say beside others, where one of those is given: is not its default.

        Raises
        ------
        BadInputError
            With both.
        """
        has, too_much = (
            [f"`{name}`" for name in names if self.word(name) != self._parameter(name).default]
            for names in (beside, ignored)
        )
        if has and too_much:
            reason = f"has {' and '.join(has)}, beside which {' and '.join(too_much)} would be ignored"
            raise BadInputError(self.planned.effect, reason, "give the one or the other")

    @property
    def walk(self) -> Stream:
        """The random stream of this use's profile in time, the same for all products."""
        return self.stream_of("", "when")

    def word(self, name: str) -> Value:
        """Return a parameter that is a word."""
        return self.planned.parameters[name]

    @property
    def err_honest(self) -> float:
        """Share of the variance it adds that ERR and VAR say: 1 consistent, 0 stale, the squared factor if biased."""
        return {"consistent": 1.0, "stale": 0.0}.get(self.planned.err, self.planned.err_factor**2)

    @property
    def dq_honest(self) -> float:
        """Share of its pixels that flags and invalid planes tell of: 1 flagged, 0 silent, between when mixed."""
        return {"flagged": 1.0, "silent": 0.0}.get(self.planned.dq, self.planned.dq_share)


class Effect:
    """One use of an effect on one product.

    Subclasses override some of the hooks. :meth:`prepare` is called once for each measurement, in
    order and before any pixel changes; the pixel hooks are called from several threads and must
    keep to what :meth:`prepare` found and to their block.
    """

    spec: ClassVar[EffectSpec]
    #: Whether it asks for its parameters frame by frame (``task.number(name, block)``), so that it acts in a
    #: product whose mid time its profile leaves out.
    per_frame: ClassVar[bool] = False
    #: Whether it needs earlier exposures of the same detector (``task.earlier``).
    remembers: ClassVar[bool] = False

    def __init__(self, task: Task) -> None:
        self.task = task

    @property
    def use(self) -> tuple[str, str]:
        """Effect and label."""
        return self.task.planned.effect, self.task.planned.label

    def prepare(self, measurement: Measurement, budget: Budget) -> dict[str, Any]:
        """Look at a measurement before anything changes.

        Returns
        -------
        dict
            Numbers for the truth record.

        Raises
        ------
        NotApplicableError
            When the effect has no meaning here; its pixel hooks are then not called for it.
        """
        return {}

    def on_chunk(self, block: Block) -> None:
        """Change a run of consecutive pixels of a frame (of all groups of a ramp) in place."""

    def on_frame(self, block: Block) -> None:
        """Change a frame in place, for effects that need a pixel's neighbours or know which pixels they change.

        Where :meth:`reach` allows it, the block is a band of its rows. What belongs to the frame and not to a pixel is
        recorded once, in the block that starts at pixel 0.
        """

    def reach(self, measurement: Measurement) -> int | None:
        """Return how many rows away :meth:`on_frame` looks at most; ``None`` where it needs the whole frame.

        With a number, frames are worked on in bands of rows, and rows within reach are worked on with both bands. Then
        whether ``block.dirty`` is set must not depend on what the band holds.
        """
        return None

    def on_file(self, file: FitsFile) -> list[dict[str, Any]]:
        """Change headers, tables and whole HDUs, after all pixels; return the events for the truth record."""
        return []

    def on_bytes(self, content: bytes) -> tuple[bytes, list[dict[str, Any]]]:
        """Change the finished file, which may break it (``spec.breaks_format``).

        Returns
        -------
        tuple
            The damaged bytes, and the events for the truth record.
        """
        return content, []
