"""Detector noise."""

from __future__ import annotations

from hwosim_assets.perturb.effect import Effect
from hwosim_assets.perturb.parameters import Parameter
from hwosim_assets.perturb.registry import EffectSpec, register

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
