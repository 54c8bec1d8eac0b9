"""Raw files made findable and judged: header cards, product rows, quarantine.

Holds: the three assets of group ``catalog``, made in one pass over the files. Keep out the
extraction and the rules (``hwosim_assets.catalog``).
"""

from collections.abc import Iterator

import dagster as dg
import pyarrow as pa

from hwosim_assets import metadata
from hwosim_assets.assets.raw import fits_files
from hwosim_assets.catalog.build import catalog_program
from hwosim_assets.catalog.cards import HEADER_CARDS
from hwosim_assets.catalog.products import EXTRACTOR_VERSION, PRODUCTS
from hwosim_assets.lake.ingest import RAW_FILES
from hwosim_assets.lake.rejections import QUARANTINE
from hwosim_assets.lake.tables import content_sha256
from hwosim_assets.partitions import jwst_program
from hwosim_assets.resources import LakeResource

__all__ = ["catalog"]

CARDS_KEY = dg.AssetKey(["catalog", "header_cards"])
PRODUCTS_KEY = dg.AssetKey(["catalog", "products"])
QUARANTINE_KEY = dg.AssetKey(["catalog", "quarantine"])


def _spec(key: dg.AssetKey, description: str) -> dg.AssetSpec:
    return dg.AssetSpec(
        key,
        group_name="catalog",
        deps=[fits_files],
        partitions_def=jwst_program,
        kinds={"fits", "iceberg"},
        code_version=str(EXTRACTOR_VERSION),
        description=description,
    )


@dg.multi_asset(
    name="catalog",
    pool="lake",
    specs=[
        _spec(
            CARDS_KEY,
            "Every header card of every HDU of every readable file: order, duplicates, COMMENT and HISTORY kept, the "
            "raw 80-byte image beside the typed value. Lies in the Iceberg table `header_cards`. "
            "Passed means: cards have a keyword and lie in order.",
        ),
        _spec(
            PRODUCTS_KEY,
            "The validated products, one typed row per file: ObsCore columns and the core keywords as `kw_*`. Lies in "
            "the Iceberg table `products`. Passed means: each file keeps what JWST promises for its product type.",
        ),
        _spec(
            QUARANTINE_KEY,
            "The files that a stage refused, with the rule they broke and the reason in the field's words. Lies in the "
            "Iceberg table `quarantine`. Passed means: not too large a share of the program stands here.",
        ),
    ],
)
def catalog(context: dg.AssetExecutionContext, lake: LakeResource) -> Iterator[dg.MaterializeResult]:
    """Read the headers of the program's raw files and judge each file against its product type."""
    program = context.partition_key
    tables = lake.tables()
    raw = tables.scan(RAW_FILES, {"program": program})
    result = catalog_program(program, raw, lake.lake(), tables)
    refused = pa.concat_tables(
        tables.scan(QUARANTINE, {"program": program, "stage": stage}) for stage in ("raw", "catalog")
    )
    for key, spec, rows in (
        (CARDS_KEY, HEADER_CARDS, result.cards),
        (PRODUCTS_KEY, PRODUCTS, result.products),
        (QUARANTINE_KEY, QUARANTINE, refused),
    ):
        yield dg.MaterializeResult(
            asset_key=key,
            data_version=dg.DataVersion(content_sha256(spec, rows)),
            metadata=metadata.table_rows(rows, spec=spec),
        )
