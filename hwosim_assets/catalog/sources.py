"""Objects that are catalogued where they lie, by reference: the tables, and the rows of one object.

Holds: :data:`SOURCE_OBJECTS` (one row for each object of a watched or back-filled place, with its
provenance, its facts and its tombstone), :data:`SOURCE_CARDS`, :func:`read_object`. No object is
copied or written. Keep out which objects are looked at and when (``catalog.watch``), and the products
of the archive (``catalog.products``), which alone go on to perturbation and streams.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from hwosim_assets.catalog.cards import HEADER_CARDS, card_rows
from hwosim_assets.catalog.products import EXTRACTOR_VERSION, PRODUCTS, product_row
from hwosim_assets.catalog.remote import opened_object
from hwosim_assets.fits.blocks import UnreadableFitsError, card_value, scan
from hwosim_assets.fits.cards import cards_of_scan
from hwosim_assets.fits.describe import describe_scan
from hwosim_assets.fits.names import NO_PROGRAM
from hwosim_assets.lake.spec import TableSpec

if TYPE_CHECKING:
    from hwosim_assets.lake.store import Lake, Stored

__all__ = ["SOURCE_CARDS", "SOURCE_OBJECTS", "ObjectRead", "path_facts", "read_object", "tombstone"]

#: Columns of the products table that an object has whatever archive it came from.
_FACTS = (
    "product_type", "dms_level", "detector", "exp_type", "stream_time_mjd", "layout_json", "obs_id", "dataproduct_type",
    "calib_level", "target_name", "s_ra", "s_dec", "s_fov", "s_region", "t_min", "t_max", "t_exptime", "em_min",
    "em_max", "instrument_name", "filters",
)  # fmt: skip

SOURCE_OBJECTS = TableSpec(
    name="source_objects",
    schema=pa.schema(
        [
            *[pa.field(name, pa.string(), nullable=False) for name in ("program", "folder", "uri", "product_name")],
            pa.field("source", pa.string(), nullable=False),
            pa.field("state", pa.string(), nullable=False),
            pa.field("reason", pa.string()),
            pa.field("size_bytes", pa.int64(), nullable=False),
            pa.field("etag", pa.string(), nullable=False),
            pa.field("modified_at", pa.timestamp("us", "UTC"), nullable=False),
            pa.field("extractor_version", pa.int64(), nullable=False),
            pa.field("cards", pa.int64(), nullable=False),
            pa.field("damaged_cards", pa.int64(), nullable=False),
            pa.field("path_json", pa.string()),
            pa.field("facility_name", pa.string()),
            *[PRODUCTS.schema.field(name).with_nullable(True) for name in _FACTS],
            pa.field("deleted_at", pa.timestamp("us", "UTC")),
            pa.field("cataloged_at", pa.timestamp("us", "UTC"), nullable=False),
        ]
    ),
    scope=("program", "folder"),
    key=("uri",),
    volatile=("cataloged_at",),
    doc="One row for each object of a watched or back-filled place: catalogued, refused (with the reason) or deleted.",
)

SOURCE_CARDS = TableSpec(
    name="source_cards",
    schema=pa.schema(
        [
            *[pa.field(name, pa.string(), nullable=False) for name in ("program", "folder", "uri", "etag")],
            *[field for field in HEADER_CARDS.schema if field.name not in ("program", "sha256")],
        ]
    ),
    scope=("program", "folder"),
    key=("uri", "hdu", "card_index"),
    doc="One row for each header card of each object of `source_objects`; those of deleted objects stay.",
)


@dataclass(frozen=True)
class ObjectRead:
    """What one object gave.

    Attributes
    ----------
    row : dict
        Row of :data:`SOURCE_OBJECTS`.
    cards : pyarrow.Table
        Rows of :data:`SOURCE_CARDS`; none when it is not FITS.
    requests, fetched_bytes : int
        What reading cost on S3; 0 in a folder.
    """

    row: dict[str, Any]
    cards: pa.Table
    requests: int
    fetched_bytes: int


def read_object(lake: Lake, stored: Stored, template: str) -> ObjectRead:
    """Read the headers of one object.

    Parameters
    ----------
    lake : Lake
        The watched place.
    stored : Stored
        What the store says of the object.
    template : str
        What the folders mean, see :func:`path_facts`.

    Returns
    -------
    ObjectRead
        For any object; one that is not FITS is a row of state ``rejected`` with the reason.

    Raises
    ------
    HwosimError
        When the store fails, or the object changes or vanishes meanwhile.
    """
    folder, _, name = stored.key.rpartition("/")
    uri = lake.uri_of(stored.key)
    row: dict[str, Any] = dict.fromkeys(SOURCE_OBJECTS.schema.names) | {
        "program": NO_PROGRAM,
        "folder": lake.uri_of(folder) if folder else lake.uri,
        "uri": uri,
        "product_name": name,
        "source": "watched",
        "state": "catalogued",
        "size_bytes": stored.size,
        "etag": stored.etag,
        "modified_at": stored.modified,
        "extractor_version": EXTRACTOR_VERSION,
        "cards": 0,
        "damaged_cards": 0,
        "path_json": json.dumps(path_facts(stored.key, template)) if template else None,
        "cataloged_at": datetime.now(UTC),
    }
    try:
        file = opened_object(lake, stored.key)
        found = scan(file.stream, name)
    except UnreadableFitsError as error:
        row |= {"state": "rejected", "reason": error.reason}
        return ObjectRead(row, SOURCE_CARDS.schema.empty_table(), 0, 0)
    facts = describe_scan(found, name)
    raw = {"program": facts.program, "product_name": name, "sha256": "", "size_bytes": stored.size}
    described = product_row(raw | {"key": "", "uri": uri, "data_uri": uri}, facts, [])
    table = card_rows(facts.program, name, "", cards_of_scan(found)).drop_columns(["sha256"])
    row |= {column: described[column] for column in _FACTS} | {
        "program": facts.program,
        "facility_name": str(card_value(found.blocks[0].header, "TELESCOP") or "") or None,
        "cards": table.num_rows,
        "damaged_cards": table["damaged"].drop_null().length(),
    }
    for column in ("etag", "uri", "folder"):
        table = table.add_column(
            1, SOURCE_CARDS.schema.field(column), pa.repeat(pa.scalar(row[column]), table.num_rows)
        )
    cost = file.cost
    return ObjectRead(row, table.cast(SOURCE_CARDS.schema), cost["requests"] or 0, cost["bytes"] or 0)


def tombstone(row: dict[str, Any]) -> dict[str, Any]:
    """Return the row of an object that is gone: its facts stay, marked deleted with the time it was noticed."""
    return row | {"state": "deleted", "deleted_at": datetime.now(UTC)}


def path_facts(key: str, template: str) -> dict[str, str]:
    """Return what the folders of a key mean by a declared template.

    Parameters
    ----------
    key : str
        Key of an object, its last part the file name.
    template : str
        Names of the folders from the top, ``{mission}/{year}`` for example.

    Returns
    -------
    dict of str to str
        A value for each name that the key has a folder for; deeper folders are joined under
        ``further``. The meaning of a name does not depend on the depth of other keys.
    """
    folders = key.split("/")[:-1]
    names = [part.strip("{}") for part in template.strip("/").split("/")]
    facts = dict(zip(names, folders, strict=False))
    return facts | ({"further": "/".join(folders[len(names) :])} if len(folders) > len(names) else {})
