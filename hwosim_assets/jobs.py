"""Runs that have a name.

Holds: the jobs that take one program through this location. Add one when a set of assets is run
together often; keep out what a single asset needs (its own pool, retries).

See https://docs.dagster.io/guides/build/jobs
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING

import dagster as dg

from hwosim_assets.assets.perturbed import perturbed_key, truth_key

if TYPE_CHECKING:  # dagster names this type nowhere else
    from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

__all__ = ["program_job", "refresh_job"]

#: One run per program carries the whole chain, in one process: a process per step costs seconds each.
program_job = dg.define_asset_job(
    "program_job",
    selection=dg.AssetSelection.all(),
    description="Take one JWST program from the archive's answer to its perturbed datasets.",
)


def refresh_job(automated: Iterable[str]) -> "UnresolvedAssetJobDefinition":
    """Return the job that the sensor requests: the chain up to the scenarios that are automated."""
    keys = [key for name in automated for key in (perturbed_key(name), truth_key(name))]
    return dg.define_asset_job(
        "refresh_job",
        selection=dg.AssetSelection.groups("mast", "raw", "catalog") | dg.AssetSelection.assets(*keys),
        description="Take one changed program through the graph, up to the automated scenarios.",
    )
