"""Which column was made from which: the lineage between the tables of the graph, column by column.

Holds: :class:`Columns`, the declarations of this location's tables, and what Dagster makes of one. Keep out
following a single file through the rows (``quality.lineage``).

Columns are named by asset: ``("mast/products", "dataURI")``; ``{scenario}`` in an asset's name is the scenario of
the asset that is described.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import dagster as dg

from hwosim_assets.archive.schema import ARCHIVE_PRODUCTS, OBSERVATIONS
from hwosim_assets.catalog.cards import HEADER_CARDS
from hwosim_assets.catalog.products import PRODUCTS
from hwosim_assets.lake.ingest import RAW_FILES
from hwosim_assets.lake.rejections import QUARANTINE
from hwosim_assets.lake.spec import TableSpec
from hwosim_assets.perturb.dataset import PERTURBED, TRUTH

__all__ = ["ASSETS_COLUMNS", "Columns", "Source", "column_lineage"]

#: An asset's name with slashes, and one of its columns.
Source = tuple[str, str]


@dataclass(frozen=True)
class Columns:
    """The table of an asset, and where its columns come from.

    Attributes
    ----------
    spec : TableSpec
        The table.
    rest : tuple of Source
        What every column was made from that is named nowhere below; nothing where the archive itself said it.
    copied : mapping of str to tuple of str
        Upstream asset to the columns that are taken over under their name.
    made : mapping of str to tuple of Source
        Columns that were made from others; from none where the platform gives the value (a seed, a version).
    """

    spec: TableSpec
    rest: tuple[Source, ...] = ()
    copied: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    made: Mapping[str, tuple[Source, ...]] = field(default_factory=dict)

    def sources(self) -> dict[str, tuple[Source, ...]]:
        """Return the sources of each column of the table."""
        taken = {name: ((asset, name),) for asset, names in self.copied.items() for name in names}
        return {name: self.made.get(name, taken.get(name, self.rest)) for name in self.spec.schema.names}


_BYTES: Source = ("raw/fits_files", "key")  # the file that lies there was read
_CATALOGUED: Source = ("catalog/products", "key")
_LISTED: Source = ("mast/products", "dataURI")
_REFUSED = tuple((asset, name) for asset, name in (("mast/products", "productFilename"), ("raw/fits_files", "key")))
_PERTURBED_COPIES = ("program", "product_name", "product_type", "detector", "instrument_name", "obs_id")

#: The tables of the first location, by asset or by the group of a scenario's assets.
ASSETS_COLUMNS: Mapping[str, Columns] = {
    "mast/observations": Columns(OBSERVATIONS),
    "mast/products": Columns(
        ARCHIVE_PRODUCTS,
        rest=(("mast/observations", "obsid"),),
        copied={"mast/observations": ("program",)},
    ),
    "raw/fits_files": Columns(
        RAW_FILES,
        rest=(_LISTED,),
        copied={"mast/products": ("program", "obs_id")},
        made={
            "product_name": (("mast/products", "productFilename"),),
            "key": (("mast/products", "productFilename"), ("mast/products", "program")),
            "uri": (("mast/products", "productFilename"), ("mast/products", "program")),
            "size_bytes": (_LISTED, ("mast/products", "size")),
            "ingest_id": (),
            "ingested_at": (),
        },
    ),
    "catalog/header_cards": Columns(
        HEADER_CARDS,
        rest=(_BYTES,),
        copied={"raw/fits_files": ("program", "product_name", "sha256")},
    ),
    "catalog/products": Columns(
        PRODUCTS,
        rest=(_BYTES,),
        copied={
            "raw/fits_files": ("program", "product_name", "sha256", "size_bytes", "key", "uri", "data_uri"),
        },
        made={
            "access_url": (("raw/fits_files", "uri"),),
            "access_estsize": (("raw/fits_files", "size_bytes"),),
            "obs_publisher_did": (("raw/fits_files", "data_uri"),),
            **dict.fromkeys(
                ("extractor_version", "obs_collection", "facility_name", "access_format", "cataloged_at"), ()
            ),
        },
    ),
    "catalog/quarantine": Columns(
        QUARANTINE,
        rest=_REFUSED,
        copied={"raw/fits_files": ("program", "sha256")},
        made={
            "product_name": (("mast/products", "productFilename"), ("raw/fits_files", "product_name")),
            "data_uri": (_LISTED, ("raw/fits_files", "data_uri")),
            "stage": (),
        },
    ),
    "perturbed": Columns(
        PERTURBED,
        rest=(_CATALOGUED,),
        copied={"catalog/products": (*_PERTURBED_COPIES, "stream_time_mjd")},
        made={
            "in_sha256": (("catalog/products", "sha256"),),
            "plan_sha256": (("catalog/products", "sha256"), ("catalog/products", "stream_time_mjd")),
            "layout_json": (("catalog/products", "layout_json"),),
            **dict.fromkeys(("scenario", "seed", "scale", "engine", "created_at"), ()),
        },
    ),
    "truth": Columns(
        TRUTH,
        rest=(_CATALOGUED,),
        copied={"catalog/products": ("program", "product_name")},
        made={
            "in_sha256": (("catalog/products", "sha256"),),
            "plan_sha256": (("catalog/products", "sha256"), ("catalog/products", "stream_time_mjd")),
            "scenario": (),
        },
    ),
}


def column_lineage(columns: Columns, scenario: str = "") -> dg.TableColumnLineage:
    """Return the lineage of a table's columns as Dagster's pages show it.

    Parameters
    ----------
    columns : Columns
        The declaration.
    scenario : str, optional
        What stands for ``{scenario}``.
    """
    return dg.TableColumnLineage(
        {
            name: [
                dg.TableColumnDep(dg.AssetKey(asset.format(scenario=scenario).split("/")), column)
                for asset, column in sources
            ]
            for name, sources in columns.sources().items()
        }
    )
