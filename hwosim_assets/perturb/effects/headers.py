"""Header cards that were lost."""

from __future__ import annotations

from hwosim_assets.perturb.effect import Effect
from hwosim_assets.perturb.parameters import Parameter
from hwosim_assets.perturb.registry import EffectSpec, register

__all__ = ["HeaderLoss"]


@register(
    EffectSpec(
        name="header_loss",
        title="Header loss",
        code="F6",
        stage="header",
        model="keywords of the primary header are removed, drawn without replacement; structure and WCS stay",
        planes=("header",),
        parameters=(
            Parameter(
                "keys",
                "keywords that are removed",
                unit="cards",
                high=10000,
                severities=(1, 2, 5, 10, 30),
                whole=True,
                source="severity table 2026.1; levels are a proposal",
            ),
        ),
        source="keywords that stdatamodels reads from the primary header",
        test="the difference of the headers is exactly the recorded list",
    )
)
class HeaderLoss(Effect):
    """Keywords that got lost."""
