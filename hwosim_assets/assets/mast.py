"""What the archive says: the observations and products of a program.

Holds: the two assets of group ``mast``. Keep out the requests themselves (``hwosim_assets.archive``).
"""

import dagster as dg

from hwosim_assets import metadata
from hwosim_assets.archive.listing import PRODUCT_LISTS, Notes, program_products
from hwosim_assets.archive.schema import ARCHIVE_PRODUCTS, OBSERVATIONS, observation_rows, product_rows
from hwosim_assets.errors import BadInputError
from hwosim_assets.lake.awaited import AWAITED
from hwosim_assets.partitions import jwst_program
from hwosim_assets.resources import ArchiveResource, LakeResource
from hwosim_assets.settings import Settings

__all__ = ["observations", "products"]

#: The archive is asked by two runs at once at the most, and asked again when it stumbles.
ARCHIVE_POOL = "archive"
ASK_AGAIN = dg.RetryPolicy(max_retries=2, delay=2, backoff=dg.Backoff.EXPONENTIAL, jitter=dg.Jitter.PLUS_MINUS)


@dg.asset(
    key=["mast", "observations"],
    group_name="mast",
    partitions_def=jwst_program,
    kinds={"mast", "iceberg"},
    pool=ARCHIVE_POOL,
    retry_policy=ASK_AGAIN,
    code_version="1",
)
def observations(
    context: dg.AssetExecutionContext, archive: ArchiveResource, lake: LakeResource
) -> dg.MaterializeResult:
    """The archive's observations of the program, one row per ``obsid``, in MAST's own columns.

    Lies in the Iceberg table ``observations``. Passed means: every row has an identity, a position
    inside the sky and times in order, and no observation is listed twice.
    """
    program = context.partition_key
    try:
        listed = archive.client().observations(program=program)
    except BadInputError as error:
        # An archive that does not know the program knows it no better when asked again.
        raise dg.Failure(str(error), allow_retries=False) from error
    rows = observation_rows(program, listed)
    written = lake.tables().replace(OBSERVATIONS, {"program": program}, rows)
    return dg.MaterializeResult(
        data_version=dg.DataVersion(written.sha256),
        metadata=metadata.table_rows(rows, spec=OBSERVATIONS, written=written),
    )


@dg.asset(
    key=["mast", "products"],
    group_name="mast",
    deps=[observations],
    partitions_def=jwst_program,
    kinds={"mast", "iceberg"},
    pool=ARCHIVE_POOL,
    retry_policy=ASK_AGAIN,
    code_version="1",
)
def products(context: dg.AssetExecutionContext, archive: ArchiveResource, lake: LakeResource) -> dg.MaterializeResult:
    """The FITS products of those observations, one row per ``dataURI``, before any byte is moved.

    Lies in the Iceberg table ``archive_products``. Only observations that changed since the last look
    are asked for theirs. Passed means: unique archive URIs, FITS names and
    sizes to hold the download against.
    """
    program = context.partition_key
    tables = lake.tables()
    observed = tables.scan(OBSERVATIONS, {"program": program}).to_pylist()
    notes = Notes(Settings().home / "partial" / f"jw{program}" / "lists.jsonl")
    # files that did not come may not be what the list says; then every list is asked for
    doubtful = tables.scan(AWAITED, {"program": program}, ["data_uri"]).num_rows > 0
    listed = program_products(archive.client(), program, observed, tables, notes, anew=doubtful)
    rows = product_rows(program, listed.rows)
    written = tables.replace(ARCHIVE_PRODUCTS, {"program": program}, rows)
    tables.replace(PRODUCT_LISTS, {"program": program}, listed.lists)
    notes.forget()
    return dg.MaterializeResult(
        data_version=dg.DataVersion(written.sha256),
        metadata={
            **metadata.table_rows(rows, spec=ARCHIVE_PRODUCTS, written=written),
            "observations": len(observed),
            "observations asked for their products": listed.asked,
            "observations unchanged since the last look": listed.kept,
            "observations without products": ", ".join(listed.without) or "none",
            "rows listed": listed.listed,
            "files listed with several sizes": ", ".join(listed.contradicting) or "none",
        },
    )
