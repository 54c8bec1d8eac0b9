"""Code location 1: archive, lake, catalog, perturbed datasets.

Holds: :func:`build_defs` and nothing else. It connects to nothing and reads no data: only the
scenario files, since each becomes an asset. A scenario file that is broken is reported by name and
left out; the location loads all the same.
"""

import logging
from collections.abc import Mapping
from typing import Any

import dagster as dg

from hwosim_assets.assets import default_assets
from hwosim_assets.checks import default_checks
from hwosim_assets.jobs import program_job, refresh_job
from hwosim_assets.perturb.scenario import find_scenarios
from hwosim_assets.resources import ArchiveResource, LakeResource
from hwosim_assets.sensors import default_sensors
from hwosim_assets.settings import Settings

__all__ = ["build_defs", "defs"]


def build_defs(*, resources: Mapping[str, Any] | None = None, settings: Settings | None = None) -> dg.Definitions:
    """Assemble this location.

    Parameters
    ----------
    resources : mapping, optional
        Replacements by resource name (``archive``, ``lake``).
    settings : Settings, optional
        The environment's by default.

    Returns
    -------
    dagster.Definitions
    """
    settings = settings or Settings()
    known = find_scenarios(settings.scenario_folders())
    for broken in known.broken:
        logging.getLogger(__name__).warning("scenario %s is left out: %s", broken.name, broken.reason)
    scenarios = list(known.found.values())
    refresh = refresh_job([name for name in settings.automated() if name in known.found])
    return dg.Definitions(
        assets=[asset for group in default_assets(scenarios).values() for asset in group],
        asset_checks=default_checks(scenarios),
        jobs=[program_job, refresh],
        sensors=default_sensors(refresh, settings),
        resources={"archive": ArchiveResource(), "lake": LakeResource(), **(resources or {})},
        executor=dg.in_process_executor,
    )


defs = build_defs()
