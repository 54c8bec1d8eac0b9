"""Detector noise.

Holds: effects of the stage ``noise`` (A1 and on). Keep out particles and detector state.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from hwosim_assets.perturb import compiled
from hwosim_assets.perturb.effect import Effect, NotApplicableError
from hwosim_assets.perturb.parameters import Parameter
from hwosim_assets.perturb.registry import register
from hwosim_assets.perturb.spec import EffectSpec

if TYPE_CHECKING:
    from hwosim_assets.perturb.block import Block
    from hwosim_assets.perturb.budget import Budget
    from hwosim_assets.perturb.measurements import Measurement

__all__ = ["ReadNoise"]


@register(
    EffectSpec(
        name="read_noise",
        title="White read-noise excess",
        code="A1",
        stage="noise",
        model="S += sqrt(m^2 - 1) * sqrt(VAR_RNOISE) * z with z ~ N(0, 1), so that the read noise is m times as large",
        planes=("SCI", "ERR", "VAR_RNOISE"),
        parameters=(
            Parameter(
                "factor",
                "read noise relative to the product's own (m)",
                low=1.0,
                high=100.0,
                severities=(1.1, 1.25, 1.5, 2.0, 4.0),
                identity=1.0,
                source="severity table 2026.1; levels are a proposal",
            ),
        ),
        source="the variance bookkeeping of the JWST ramp fit (VAR_RNOISE)",
        test="variance of (out - in) / sqrt(dVAR_RNOISE) is 1 +- 4 sqrt(2/N); KS against N(0, 1); lag-1 correlation",
        err=True,
    )
)
class ReadNoise(Effect):
    """White noise on top of the product's own read noise."""

    def prepare(self, measurement: Measurement, budget: Budget) -> dict[str, Any]:
        """Refuse where no read noise is known."""
        if budget.read_method == "none":
            raise NotApplicableError("no read noise is known: no positive VAR_RNOISE or ERR, no scatter to measure")
        return {"read_noise_from": budget.read_method}

    def on_chunk(self, block: Block) -> None:
        """Add noise of (m^2 - 1) times the read variance."""
        stream = self.task.stream(block.measurement.key)
        factor = self.task.number("factor")
        accounts = block.accounts("read", self.task.err_honest) if compiled.on() else ()
        if accounts:
            from hwosim_assets.perturb.compiled.effects import add_noise

            share = block.sci.dtype.type(factor * factor - 1.0)
            add_noise(block.sci[0], stream.normals(block.plane(0), block.start), share, accounts)
            return
        added = block.true["read"] * (factor * factor - 1.0)
        sigma = np.sqrt(added)
        for group in range(block.groups):
            sigma[group] *= stream.normal(block.plane(group), block.start, block.size)
        block.sci += sigma
        block.add_variance("read", added, self.task.err_honest)
