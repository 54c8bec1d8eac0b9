"""Results of a search as files: VOTable, CSV, Parquet.

Holds: :func:`write_found` and what the Virtual Observatory says of each ObsCore column (IVOA ObsCore 1.1,
tables 1 and 5: UCD, unit, utype). Keep out searching (``catalog.search``).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from hwosim_assets.errors import BadInputError, HwosimError

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["OBSCORE", "write_found"]

#: Column: UCD, unit, utype without its prefix ``obscore:``.
OBSCORE = {
    "dataproduct_type": ("meta.code.class", "", "ObsDataset.dataProductType"),
    "calib_level": ("meta.code;obs.calib", "", "ObsDataset.calibLevel"),
    "obs_collection": ("meta.id", "", "DataID.collection"),
    "obs_id": ("meta.id", "", "DataID.observationID"),
    "obs_publisher_did": ("meta.ref.ivoid", "", "Curation.publisherDID"),
    "access_url": ("meta.ref.url", "", "Access.reference"),
    "access_format": ("meta.code.mime", "", "Access.format"),
    "access_estsize": ("phys.size;meta.file", "kbyte", "Access.size"),
    "target_name": ("meta.id;src", "", "Target.name"),
    "s_ra": ("pos.eq.ra", "deg", "Char.SpatialAxis.Coverage.Location.Coord.Position2D.Value2.C1"),
    "s_dec": ("pos.eq.dec", "deg", "Char.SpatialAxis.Coverage.Location.Coord.Position2D.Value2.C2"),
    "s_fov": ("phys.angSize;instr.fov", "deg", "Char.SpatialAxis.Coverage.Bounds.Extent.diameter"),
    "s_region": ("pos.outline;obs.field", "", "Char.SpatialAxis.Coverage.Support.Area"),
    "t_min": ("time.start;obs.exposure", "d", "Char.TimeAxis.Coverage.Bounds.Limits.StartTime"),
    "t_max": ("time.end;obs.exposure", "d", "Char.TimeAxis.Coverage.Bounds.Limits.StopTime"),
    "t_exptime": ("time.duration;obs.exposure", "s", "Char.TimeAxis.Coverage.Support.Extent"),
    "em_min": ("em.wl;stat.min", "m", "Char.SpectralAxis.Coverage.Bounds.Limits.LoLimit"),
    "em_max": ("em.wl;stat.max", "m", "Char.SpectralAxis.Coverage.Bounds.Limits.HiLimit"),
    "o_ucd": ("meta.ucd", "", "Char.ObservableAxis.ucd"),
    "facility_name": ("meta.id;instr.tel", "", "Provenance.ObsConfig.Facility.name"),
    "instrument_name": ("meta.id;instr", "", "Provenance.ObsConfig.Instrument.name"),
}  # fmt: skip


def write_found(rows: pa.Table, path: Path) -> None:
    """Write what was found in the format that the file's suffix names.

    Parameters
    ----------
    rows : pyarrow.Table
        Columns of the products table.
    path : pathlib.Path
        ``.vot`` or ``.xml`` (VOTable 1.4), ``.csv`` or ``.parquet``; replaced if it exists.

    Raises
    ------
    BadInputError
        For another suffix.
    HwosimError
        If the file cannot be written.
    """
    import pyarrow.csv as csv
    import pyarrow.parquet as parquet

    writers = {
        ".vot": _write_votable, ".xml": _write_votable, ".csv": csv.write_csv, ".parquet": parquet.write_table,
    }  # fmt: skip
    writer = writers.get(path.suffix.lower())
    if writer is None:
        raise BadInputError(str(path), "names no format", "end it in .vot, .csv or .parquet")
    try:
        writer(rows, str(path))
    except OSError as error:
        raise HwosimError(
            str(path), f"cannot be written ({error.strerror or error})", "choose another place"
        ) from error


def _write_votable(rows: pa.Table, path: str) -> None:
    """Write a VOTable; a null is an empty text, NaN, or for integers and truth what the field says is null."""
    import numpy as np
    import pyarrow.types as types
    from astropy.io.votable.tree import Field, Info, Resource, TableElement, VOTableFile

    votable = VOTableFile(version="1.4")
    resource = Resource(type="results")
    votable.resources.append(resource)
    resource.infos.append(Info(name="QUERY_STATUS", value="OK"))
    table = TableElement(votable, name="products")
    resource.tables.append(table)
    for field in rows.schema:
        kind = {"int64": "long", "double": "double", "bool": "boolean"}.get(str(field.type), "unicodeChar")
        sized = {"arraysize": "*"} if kind == "unicodeChar" else {}
        ucd, unit, utype = OBSCORE.get(field.name, ("", "", ""))
        said = {"ucd": ucd, "unit": unit, "utype": f"obscore:{utype}" if utype else ""}
        said = {name: value for name, value in said.items() if value}
        table.fields.append(Field(votable, name=field.name, ID=field.name, datatype=kind, **sized, **said))
    table.create_arrays(rows.num_rows)
    for name, column in zip(rows.column_names, rows.columns, strict=True):
        is_null = np.asarray(column.is_null())
        if types.is_floating(column.type):
            table.array[name] = column.fill_null(float("nan")).to_numpy()
        elif types.is_integer(column.type) or types.is_boolean(column.type):
            table.array[name] = column.fill_null(False if types.is_boolean(column.type) else 0).to_numpy()
        else:
            table.array[name] = np.array(["" if one is None else str(one) for one in column.to_pylist()], object)
        table.array.mask[name] = is_null
    votable.to_xml(path)
