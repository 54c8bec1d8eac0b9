"""White noise: in multiples of the read noise, of ERR, or in science units.

Holds: effects of the stage ``noise`` (A1 and on). Keep out particles and detector state.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from hwosim_assets.perturb import compiled
from hwosim_assets.perturb.effect import Effect, NotApplicableError
from hwosim_assets.perturb.effects.axes import typical_err
from hwosim_assets.perturb.parameters import Parameter
from hwosim_assets.perturb.registry import register
from hwosim_assets.perturb.spec import EffectSpec

if TYPE_CHECKING:
    from hwosim_assets.perturb.block import Block
    from hwosim_assets.perturb.budget import Budget
    from hwosim_assets.perturb.measurements import Measurement

__all__ = ["GaussianNoise", "ReadNoise"]


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

    per_frame = True

    def prepare(self, measurement: Measurement, budget: Budget) -> dict[str, Any]:
        """Refuse where no read noise is known."""
        if budget.read_method == "none":
            raise NotApplicableError("no read noise is known: no positive VAR_RNOISE or ERR, no scatter to measure")
        return {"read_noise_from": budget.read_method}

    def on_chunk(self, block: Block) -> None:
        """Add noise of (m^2 - 1) times the read variance."""
        stream = self.task.stream(block.measurement.key)
        factor = self.task.number("factor", block)
        if factor == 1:
            return
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


@register(
    EffectSpec(
        name="gaussian_noise",
        title="White Gaussian noise",
        code="A1",
        stage="noise",
        model="S += sigma z with z ~ N(0, 1), sigma in multiples of each pixel's own ERR or in the unit of SCI; each "
        "group of a ramp by itself",
        planes=("SCI", "ERR", "VAR_RNOISE"),
        parameters=(
            Parameter(
                "sigma",
                "standard deviation of the noise, in what `of` names",
                high=1e9,
                severities=(0.1, 0.3, 1.0, 3.0, 10.0),
                source="no published table; levels, as multiples of ERR, are a proposal",
            ),
            Parameter(
                "of",
                "whether sigma counts in each pixel's ERR (err) or in the unit of SCI (unit)",
                default="err",
                choices=("err", "unit"),
                source="relative to the product's own noise, one scale works for every instrument",
            ),
        ),
        source="independent electronic noise: SCI + sigma z, VAR_RNOISE + sigma^2",
        test="variance of (out - in) / sigma is 1 +- 4 sqrt(2/N), and VAR_RNOISE gains sigma^2; KS against N(0, 1); "
        "lag-1 correlation",
        err=True,
    )
)
class GaussianNoise(Effect):
    """White noise of a size that is asked for, whatever its cause.

    ERR is that of the input, so that other effects do not change the size. Where it is no positive number a multiple of
    it is nothing.
    """

    per_frame = True

    def prepare(self, measurement: Measurement, budget: Budget) -> dict[str, Any]:
        """Refuse a multiple of an ERR that is not there."""
        if self.task.word("of") == "unit":
            return {}
        level = typical_err(self.task.product, measurement)
        if level is None:
            raise NotApplicableError(
                "it has no positive ERR to take a multiple of; give sigma in science units, `of: unit`"
            )
        return {"err": level}

    def on_chunk(self, block: Block) -> None:
        """Add noise, and its variance to the read noise."""
        asked = block.sci.dtype.type(self.task.number("sigma", block))
        if asked == 0:
            return
        sigma = np.full_like(block.sci, asked)
        if self.task.word("of") == "err" and block.err is not None:
            sigma *= np.where(np.isfinite(block.err) & (block.err > 0), block.err, 0)
        added = sigma * sigma
        stream = self.task.stream(block.measurement.key)
        for group in range(block.groups):
            sigma[group] *= stream.normal(block.plane(group), block.start, block.size)
        block.sci += sigma
        block.add_variance("read", added, self.task.err_honest)
