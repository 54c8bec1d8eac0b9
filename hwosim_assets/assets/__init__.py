"""Thin Dagster assets, one module per stage: read, call the domain code, say what came of it.

Holds: the registry by group. Add a module here when a stage is added; keep out domain logic.
"""

from collections.abc import Iterable

import dagster as dg

from hwosim_assets.assets import catalog, mast, raw
from hwosim_assets.assets.perturbed import perturbed_asset
from hwosim_assets.perturb.scenario import Scenario

__all__ = ["default_assets"]


def default_assets(scenarios: Iterable[Scenario]) -> dict[str, list[dg.AssetsDefinition]]:
    """Return the assets of this location by group; each scenario brings its own."""
    return {
        "mast": [mast.observations, mast.products],
        "raw": [raw.fits_files],
        "catalog": [catalog.catalog],
        "perturbed": [perturbed_asset(scenario) for scenario in scenarios],
    }
