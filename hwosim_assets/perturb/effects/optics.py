"""Light that reaches the detector besides the scene.

Holds: effects of the stage ``optics``. Keep out what is lost of the light; that is ``calibration``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hwosim_assets.perturb import compiled
from hwosim_assets.perturb.effect import Effect, NotApplicableError
from hwosim_assets.perturb.parameters import Parameter, rounded
from hwosim_assets.perturb.registry import register
from hwosim_assets.perturb.spec import EffectSpec

if TYPE_CHECKING:
    from hwosim_assets.perturb.block import Block
    from hwosim_assets.perturb.budget import Budget
    from hwosim_assets.perturb.effect import Task
    from hwosim_assets.perturb.measurements import Measurement

__all__ = ["Background"]


@register(
    EffectSpec(
        name="background",
        title="Added uniform background with its photon noise",
        code="D6",
        stage="optics",
        model="S += Poisson(s k) / k with s = (factor - 1) times the product's own background; k = e-/SCI unit",
        planes=("SCI", "ERR", "VAR_POISSON"),
        parameters=(
            Parameter(
                "factor",
                "background relative to the product's own, which is the median of its valid pixels",
                low=1.0,
                high=1000.0,
                severities=(1.1, 1.5, 2.0, 5.0, 20.0),
                identity=1.0,
                source="severity table 2026.1; levels are a proposal",
            ),
        ),
        source="VAR_POISSON = (S + dark) / (t gain) in the JWST ramp fit (stcal)",
        test="mean and var/mean of the added electrons; chi^2 of counts against the Poisson pmf",
        err=True,
    )
)
class Background(Effect):
    """Additional uniform background with its photon noise."""

    per_frame = True

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self._amounts: dict[int, list[tuple[float, float]]] = {}

    def prepare(self, measurement: Measurement, budget: Budget) -> dict[str, Any]:
        """Find how much to add, in science units and electrons per pixel."""
        if budget.k is None:
            raise NotApplicableError("electrons per science unit are not known")
        factors = self.task.numbers("factor", measurement)
        self._amounts[id(measurement)] = [self._amount(budget, factor) for factor in factors]
        added, electrons = self._amount(budget, self.task.number("factor"))
        unit = "SCI per group" if measurement.ramp else "SCI"
        return {"added": added, "added_unit": unit, "electrons": electrons, "level_from": budget.background_method}

    def _amount(self, budget: Budget, factor: float) -> tuple[float, float]:
        """Return (added signal in science units, mean electrons); of a ramp, in one group."""
        if budget.background is None or budget.k is None:
            raise NotApplicableError("its background is not positive, so there is no level to take a multiple of")
        added = rounded((factor - 1.0) * budget.background)
        return added, rounded(added * budget.k)

    def on_chunk(self, block: Block) -> None:
        """Add Poisson electrons of one mean; in a ramp, group after group on top of each other."""
        stream = self.task.stream(block.measurement.key)
        added, electrons = self._amounts[id(block.measurement)][block.frame]
        if electrons == 0:
            return
        per_electron = 1.0 / float(block.budget.k or 1.0)
        accounts = () if block.measurement.ramp else block.accounts("poisson", self.task.err_honest)
        draws = stream.counts(electrons, block.plane(0), block.start) if compiled.on() and accounts else None
        if draws is not None:
            from hwosim_assets.perturb.compiled.effects import add_light

            kind = block.sci.dtype.type
            add_light(block.sci[0], draws, kind(per_electron), kind(added * per_electron), accounts)
            return
        first = 1 if block.measurement.ramp else 0
        for group in range(first, block.groups):
            counts = stream.poisson(electrons, block.plane(group), block.start, block.size)
            block.sci[group:] += (counts.astype(block.sci.dtype, copy=False) * per_electron)[None, :]
        if not block.measurement.ramp:
            block.add_variance("poisson", added * per_electron, self.task.err_honest)
