"""Light that reaches the detector besides the scene."""

from __future__ import annotations

from hwosim_assets.perturb.effect import Effect
from hwosim_assets.perturb.parameters import Parameter
from hwosim_assets.perturb.registry import EffectSpec, register

__all__ = ["Background"]


@register(
    EffectSpec(
        name="background",
        title="Photon noise of added background",
        code="A2",
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
