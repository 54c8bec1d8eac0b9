"""What an effect is to the engine: a class with a specification and the hooks it needs.

Holds: :class:`Effect`, what it is given (:class:`Task`) and :class:`NotApplicableError`. A new effect
subclasses :class:`Effect`, is registered with its :class:`~hwosim_assets.perturb.spec.EffectSpec`
and overrides the hooks it needs; the engine calls them in the order of the stages. Keep out the
engine itself (``perturb.run``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from hwosim_assets.perturb.parameters import Value
from hwosim_assets.perturb.rng import Stream
from hwosim_assets.perturb.spec import EffectSpec, PlannedEffect

if TYPE_CHECKING:
    from hwosim_assets.perturb.block import Block
    from hwosim_assets.perturb.budget import Budget
    from hwosim_assets.perturb.fitsfile import FitsFile
    from hwosim_assets.perturb.measurements import Measurement
    from hwosim_assets.perturb.product import Product

__all__ = ["Effect", "NotApplicableError", "Task"]


class NotApplicableError(Exception):
    """An effect has no meaning for a measurement; the reason goes into the truth record."""


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
    """

    planned: PlannedEffect
    product: Product
    seed: int
    uid: str

    def stream(self, name: str) -> Stream:
        """Return the random stream of that name, for example a measurement's key."""
        return Stream(self.seed, self.planned.effect, self.planned.label, self.uid, name)

    def number(self, name: str) -> float:
        """Return a numeric parameter."""
        return float(self.planned.parameters[name])

    def word(self, name: str) -> Value:
        """Return a parameter that is a word."""
        return self.planned.parameters[name]

    @property
    def err_honest(self) -> bool:
        """Whether ERR and VAR say what is added."""
        return self.planned.err == "consistent"

    @property
    def dq_honest(self) -> bool:
        """Whether flags and invalid planes say what is lost."""
        return self.planned.dq == "flagged"


class Effect:
    """One use of an effect on one product.

    Subclasses override some of the hooks. :meth:`prepare` is called once for each measurement, in
    order and before any pixel changes; the pixel hooks are called from several threads and must
    keep to what :meth:`prepare` found and to their block.
    """

    spec: ClassVar[EffectSpec]

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
        """Change a chunk of at most 16 384 pixels (of all groups of a ramp) in place."""

    def on_frame(self, block: Block) -> None:
        """Change a whole frame in place, for effects that need a pixel's neighbours."""

    def on_file(self, file: FitsFile) -> list[dict[str, Any]]:
        """Change headers, after all pixels; return the events for the truth record."""
        return []
