"""Drift of what turns electrons into physical units."""

from __future__ import annotations

from hwosim_assets.perturb.effect import Effect
from hwosim_assets.perturb.parameters import Parameter
from hwosim_assets.perturb.registry import EffectSpec, register

__all__ = ["Throughput"]


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
