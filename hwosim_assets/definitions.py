"""Code location 1: archive, lake, catalog, perturbed datasets.

Holds: :func:`build_defs` and nothing else. It connects to nothing and reads no data: only the
scenario files, since each becomes an asset. A scenario file that is broken is reported by name and
left out; the location loads all the same.
"""

import gc
import logging
from collections.abc import Mapping
from typing import Any

import dagster as dg

from hwosim_assets import automation
from hwosim_assets.assets import default_assets
from hwosim_assets.assets.perturbed import perturbed_key
from hwosim_assets.checks import default_checks
from hwosim_assets.column_lineage import ASSETS_COLUMNS
from hwosim_assets.jobs import program_job, refresh_job
from hwosim_assets.lineage import described
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
    automated = [name for name in settings.automated() if name in known.found]
    assets = [asset for group in default_assets(scenarios).values() for asset in group]
    checks = default_checks(scenarios)
    graph = automation.graph_of(assets, checks, automated)
    judged = [perturbed_key(name) for name in automated]
    refresh = refresh_job(automated)
    return dg.Definitions(
        assets=described(automation.automated_assets(assets, graph), ASSETS_COLUMNS),
        asset_checks=[*checks, *automation.inputs_current_checks(graph, judged)],
        jobs=[program_job, refresh],
        sensors=[
            *default_sensors(refresh, settings),
            automation.automation_sensor(graph),
            automation.reconcile_sensor(graph, judged),
        ],
        resources={"archive": ArchiveResource(), "lake": LakeResource(), **(resources or {})},
        executor=dg.in_process_executor,
    )


defs = build_defs()
gc.freeze()  # what is loaded by now stays as long as the process: the collector need not look through it again
