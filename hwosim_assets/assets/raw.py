"""The archive's bytes in the lake.

Holds: the asset of group ``raw``. Keep out the transfer itself (``hwosim_assets.lake.ingest``).
"""

import dagster as dg

from hwosim_assets import metadata
from hwosim_assets.archive.listing import PRODUCT_LISTS
from hwosim_assets.archive.schema import ARCHIVE_PRODUCTS
from hwosim_assets.assets.mast import ASK_AGAIN, products
from hwosim_assets.catalog.changes import note_versions, record_reprocessing
from hwosim_assets.lake.awaited import AWAITED, awaited_rows
from hwosim_assets.lake.ingest import RAW_FILES, ingest_program
from hwosim_assets.lake.rejections import QUARANTINE, rejection_rows
from hwosim_assets.lake.tables import content_sha256
from hwosim_assets.partitions import jwst_program
from hwosim_assets.resources import ArchiveResource, LakeResource
from hwosim_assets.settings import Settings

__all__ = ["fits_files"]


@dg.asset(
    key=["raw", "fits_files"],
    group_name="raw",
    deps=[products],
    partitions_def=jwst_program,
    kinds={"fits", "s3"},
    pool="archive",
    retry_policy=ASK_AGAIN,
    code_version="1",
)
def fits_files(context: dg.AssetExecutionContext, archive: ArchiveResource, lake: LakeResource) -> dg.MaterializeResult:
    """The program's FITS files as the archive holds them, write-once, under the mission's hierarchy.

    The objects lie in the lake under ``raw/``, their rows in the Iceberg table ``raw_files``. A file
    that cannot be brought goes to quarantine with its reason and the others go on; one that may come
    another time is asked for again at the next look at the archive. Passed means: sizes equal the
    archive's, every row has its SHA-256, listed equals ingested plus refused.
    A file that the archive replaced becomes a further version, in the table ``raw_versions``; what changed
    stands in ``product_changes``.
    """
    program = context.partition_key
    store, tables = lake.lake(), lake.tables()
    note_versions(program, store, tables)  # those of an ingest that was killed before it could note them
    listed = tables.scan(ARCHIVE_PRODUCTS, {"program": program}).to_pylist()
    look = content_sha256(PRODUCT_LISTS, tables.scan(PRODUCT_LISTS, {"program": program}))
    result = ingest_program(program, listed, archive.source(), store, tables, home=Settings().home, look=look)
    tables.replace(QUARANTINE, {"program": program, "stage": "raw"}, rejection_rows(program, result.rejections))
    tables.replace(AWAITED, {"program": program}, awaited_rows(program, result.awaited))
    changes = record_reprocessing(program, store, tables)
    # A server that gives the same bytes under another entity tag has changed nothing for those downstream.
    said = result.rows.drop_columns(["etag"])
    return dg.MaterializeResult(
        data_version=dg.DataVersion(content_sha256(RAW_FILES, said)),
        metadata={
            **metadata.table_rows(result.rows, spec=RAW_FILES),
            "files moved": result.moved_files,
            "bytes moved": result.moved_bytes,
            "files kept": result.kept_files,
            "files the archive dropped": len(result.removed),
            "new versions not fetched yet": len(result.stale),
            "files to ask for again": len(result.awaited),
            **metadata.reprocessed(changes),
            **metadata.rejections(result.rejections),
        },
    )
