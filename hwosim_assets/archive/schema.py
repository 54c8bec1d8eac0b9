"""The tables of what an archive lists: MAST's own columns, and the program as a five-digit key.

Holds: the CAOM columns with their types, the specs :data:`OBSERVATIONS` and
:data:`ARCHIVE_PRODUCTS`, and how rows of an archive's reply become rows of the tables. The local
archive declares its replies from the same columns. Keep out asking (``client``) and answering
(``server``).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pyarrow as pa

from hwosim_assets.errors import BadInputError
from hwosim_assets.fits.names import program_key
from hwosim_assets.lake.spec import TableSpec

__all__ = [
    "ARCHIVE_PRODUCTS",
    "OBSERVATIONS",
    "OBSERVATION_COLUMNS",
    "PRODUCT_COLUMNS",
    "observation_rows",
    "product_rows",
]

_STRING, _FLOAT, _INT, _BOOL = pa.string(), pa.float64(), pa.int64(), pa.bool_()

#: CAOM observation columns (MAST ``Mast.Caom.Filtered``): angles in deg ICRS, times in MJD,
#: ``t_exptime`` in s, ``em_min`` and ``em_max`` in nm.
OBSERVATION_COLUMNS: dict[str, pa.DataType] = {
    "intentType": _STRING,
    "obs_collection": _STRING,
    "provenance_name": _STRING,
    "instrument_name": _STRING,
    "project": _STRING,
    "filters": _STRING,
    "wavelength_region": _STRING,
    "target_name": _STRING,
    "target_classification": _STRING,
    "obs_id": _STRING,
    "s_ra": _FLOAT,
    "s_dec": _FLOAT,
    "dataproduct_type": _STRING,
    "proposal_pi": _STRING,
    "calib_level": _INT,
    "t_min": _FLOAT,
    "t_max": _FLOAT,
    "t_exptime": _FLOAT,
    "em_min": _FLOAT,
    "em_max": _FLOAT,
    "obs_title": _STRING,
    "t_obs_release": _FLOAT,
    "proposal_id": _STRING,
    "proposal_type": _STRING,
    "sequence_number": _INT,
    "s_region": _STRING,
    "jpegURL": _STRING,
    "dataURL": _STRING,
    "dataRights": _STRING,
    "mtFlag": _BOOL,
    "srcDen": _FLOAT,
    "obsid": _STRING,
    "objID": _STRING,
}

#: CAOM product columns (MAST ``Mast.Caom.Products``); ``size`` in bytes.
PRODUCT_COLUMNS: dict[str, pa.DataType] = {
    "obsID": _STRING,
    "obs_collection": _STRING,
    "dataproduct_type": _STRING,
    "obs_id": _STRING,
    "description": _STRING,
    "type": _STRING,
    "dataURI": _STRING,
    "productType": _STRING,
    "productGroupDescription": _STRING,
    "productSubGroupDescription": _STRING,
    "productDocumentationURL": _STRING,
    "project": _STRING,
    "prvversion": _STRING,
    "proposal_id": _STRING,
    "productFilename": _STRING,
    "size": _INT,
    "parent_obsid": _STRING,
    "dataRights": _STRING,
    "calib_level": _INT,
    "filters": _STRING,
}


def _schema(columns: Mapping[str, pa.DataType], key: str) -> pa.Schema:
    program = pa.field("program", pa.string(), nullable=False)
    return pa.schema([program, *(pa.field(name, kind, nullable=name != key) for name, kind in columns.items())])


OBSERVATIONS = TableSpec(
    name="observations",
    schema=_schema(OBSERVATION_COLUMNS, "obsid"),
    scope=("program",),
    key=("obsid",),
    doc="One row for each observation that the archive lists, in MAST's CAOM columns.",
)

ARCHIVE_PRODUCTS = TableSpec(
    name="archive_products",
    schema=_schema(PRODUCT_COLUMNS, "dataURI"),
    scope=("program",),
    key=("dataURI",),
    doc="One row for each FITS file that the archive lists, in MAST's CAOM columns.",
)


def observation_rows(program: str | int, observations: Iterable[Mapping[str, Any]]) -> pa.Table:
    """Return an archive's observations as rows of :data:`OBSERVATIONS`.

    Parameters
    ----------
    program : str or int
        The program asked for, padded or not.
    observations : iterable of mapping
        Rows in MAST's column names; a column that is missing becomes null, others are left out.

    Returns
    -------
    pyarrow.Table
        In the table's schema, sorted by key.

    Raises
    ------
    BadInputError
        When a row has no ``obsid``, or a value does not have its column's type.
    """
    return _rows(OBSERVATIONS, program, observations)


def product_rows(program: str | int, products: Iterable[Mapping[str, Any]]) -> pa.Table:
    """Return an archive's products as rows of :data:`ARCHIVE_PRODUCTS`.

    Parameters
    ----------
    program : str or int
        The program asked for, padded or not.
    products : iterable of mapping
        Rows in MAST's column names; a column that is missing becomes null, others are left out.

    Returns
    -------
    pyarrow.Table
        In the table's schema, sorted by key.

    Raises
    ------
    BadInputError
        When a row has no ``dataURI``, or a value does not have its column's type.
    """
    return _rows(ARCHIVE_PRODUCTS, program, products)


def _rows(spec: TableSpec, program: str | int, rows: Iterable[Mapping[str, Any]]) -> pa.Table:
    key = program_key(program)
    names = [name for name in spec.schema.names if name != "program"]
    listed = [{"program": key} | {name: row.get(name) for name in names} for row in rows]
    mend = "check that HWOSIM_ARCHIVE_URL is an archive that speaks like MAST"
    if not all(row[name] for row in listed for name in spec.key):
        raise BadInputError(f"archive rows of program {key}", f"have no {' or '.join(spec.key)}", mend)
    try:
        return pa.Table.from_pylist(listed, schema=spec.schema).sort_by([(name, "ascending") for name in spec.key])
    except (pa.ArrowInvalid, pa.ArrowTypeError) as problem:
        raise BadInputError(
            f"archive rows of program {key}", f"do not fit the table {spec.name} ({problem})", mend
        ) from problem
