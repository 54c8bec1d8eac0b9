"""How much of the light is turned into numbers, and how that changes.

Holds: effects of throughput and calibration. Keep out added light; that is ``optics``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from hwosim_assets.perturb.effect import Effect, NotApplicableError
from hwosim_assets.perturb.parameters import Parameter, rounded
from hwosim_assets.perturb.registry import register
from hwosim_assets.perturb.spec import EffectSpec

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from hwosim_assets.perturb.block import Block
    from hwosim_assets.perturb.budget import Budget
    from hwosim_assets.perturb.measurements import Measurement
    from hwosim_assets.perturb.rng import Stream

__all__ = ["Throughput", "lose_light"]


@register(
    EffectSpec(
        name="throughput",
        title="Throughput loss",
        code="E2",
        stage="throughput",
        model="S -> q S + sqrt(q(1-q) VAR_POISSON + (1-q^2) VAR_RNOISE) z with q = 1 - loss",
        planes=("SCI", "ERR", "VAR_POISSON", "VAR_FLAT"),
        parameters=(
            Parameter(
                "loss",
                "share of the light that is lost (1 - q)",
                low=0.0,
                high=0.999,
                severities=(0.01, 0.05, 0.21, 0.5, 0.9),
                source="MIRI in flight: imager -21 % at 25.5 um, MRS -50 % at 26 um (STScI news, 2023)",
            ),
        ),
        source="the true-loss rule: the noise that a scaling takes away too much is put back",
        test="ratio of signal is q; variance per mean is kept",
        err=True,
    )
)
class Throughput(Effect):
    """Light lost before detection, with the noise that such a loss really leaves."""

    def prepare(self, measurement: Measurement, budget: Budget) -> dict[str, Any]:
        """Refuse ramps of one group, whose bias is not known."""
        if measurement.ramp and measurement.groups < 2:
            raise NotApplicableError("a ramp of one group has a bias that cannot be told from light")
        return {"noise_from": budget.read_method, "signal_scale": rounded(1.0 - self.task.number("loss"))}

    def on_chunk(self, block: Block) -> None:
        """Scale the signal and put the missing noise back."""
        lose_light(block, self.task.stream(block.measurement.key), 1.0 - self.task.number("loss"), self.task.err_honest)


def lose_light(block: Block, stream: Stream, q: NDArray[Any] | float, honest: float) -> None:
    """Keep a share q of the light and put back the noise that a scaling takes away too much.

    Parameters
    ----------
    block : Block
        Changed in place.
    stream : Stream
        Random bits of the product's measurement.
    q : float, or floating array of one number per pixel
        Share of the light that is kept, 0 to 1; of a ramp, one number.
    honest : float
        Share of it that uncertainties say: ``task.err_honest``.
    """
    if block.measurement.ramp:
        _lose_from_ramp(block, stream, float(q))
        return
    sigma = block.true["poisson"] * (q * (1.0 - q))
    sigma += block.true["read"] * (1.0 - q * q)
    np.sqrt(sigma, out=sigma)
    sigma[0] *= stream.normal(block.plane(0), block.start, block.size)
    block.sci *= q
    block.sci += sigma
    block.scale_variance("poisson", q, honest)
    block.scale_flat_variance(q * q, honest)


def _lose_from_ramp(block: Block, stream: Stream, q: float) -> None:
    """Scale what accumulated since the first group: electron by electron, then the reads' own noise."""
    signal = np.diff(block.sci, axis=0)
    shot = np.zeros(block.size, block.sci.dtype)
    per_unit = 0.0 if block.budget.k is None else q * (1.0 - q) / block.budget.k
    read = np.sqrt(block.true["read"][0] * (1.0 - q * q))
    base = block.sci[0].copy()
    total = np.zeros_like(base)
    for group in range(1, block.groups):
        step = signal[group - 1]
        noise = stream.normal(block.plane(group), block.start, block.size)
        shot += np.sqrt(np.maximum(step, 0.0) * per_unit) * noise
        total += step
        again = stream.normal(block.plane(group), block.start, block.size, sub=1)
        block.sci[group] = base + q * total + shot + read * again
