"""What a materialization tells a person: one builder per kind, each bounded in size.

Holds: the builders of Dagster metadata. Add one when a stage has something new to show. Keep out
what a check shows (``hwosim_assets.checks``) and how a picture is drawn (``quality.pictures``).
Dagster keeps metadata for ever and its pages slow down with it: tables have at most 20 rows,
pictures 100 kB, texts 500 characters.

See https://docs.dagster.io/guides/build/assets/metadata-and-tags
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import dagster as dg
import pyarrow as pa
import pyarrow.compute as pc

from hwosim_assets.lake.rejections import Rejection
from hwosim_assets.lake.spec import TableSpec

if TYPE_CHECKING:
    from hwosim_assets.lake.tables import Replaced
    from hwosim_assets.quality.pictures import Picture

__all__ = ["before_after", "column_schema", "preview", "publication", "rejections", "reprocessed", "table_rows"]

#: Most rows and columns of a table shown, and characters of one of its cells.
ROWS, COLUMNS, CHARACTERS = 20, 12, 500
_SIZES = ("size_bytes", "size", "bytes")
_NOT_SHOWN = (pa.types.is_binary, pa.types.is_large_binary)


def table_rows(rows: pa.Table, *, spec: TableSpec, written: Replaced | None = None) -> dict[str, Any]:
    """Return what there is to say about the rows of one program in a table.

    Parameters
    ----------
    rows : pyarrow.Table
        The program's rows.
    spec : TableSpec
        Their table.
    written : Replaced, optional
        What the write did, where the asset knows it.

    Returns
    -------
    dict
        Row count, bytes where the rows name sizes, content hash, first rows. The columns stand with the asset
        (``hwosim_assets.lineage``): Dagster keeps what is told here twice for each program, for ever.
    """
    said: dict[str, Any] = {
        "dagster/partition_row_count": rows.num_rows,
        "dagster/table_name": f"hwosim.{spec.name}",
        "rows": preview(rows, _columns_to_show(spec)),
    }
    size = next((name for name in _SIZES if name in rows.column_names), None)
    if size is not None:
        said["bytes"] = int(pc.sum(rows[size]).as_py() or 0)
    if "uri" in rows.column_names:
        said["dagster/uri"] = _common_prefix([uri for uri in rows["uri"].to_pylist() if uri])
    if written is not None:
        said["content sha256"] = written.sha256
        said["content changed"] = written.changed
    return said


def column_schema(spec: TableSpec) -> dg.TableSchema:
    """Return a table's columns with their types, as Dagster's pages show them."""
    columns = [
        dg.TableColumn(
            name=field.name,
            type=str(field.type),
            constraints=dg.TableColumnConstraints(
                nullable=field.nullable, unique=spec.key == (field.name,) and spec.scope == ("program",)
            ),
        )
        for field in spec.schema
    ]
    return dg.TableSchema(columns=columns)


def preview(rows: pa.Table, columns: Sequence[str] | None = None) -> dg.TableMetadataValue:
    """Return the first rows as a table: at most 20 rows of 12 columns, cells cut at 500 characters."""
    return records(rows.slice(0, ROWS).select(list(columns or rows.column_names)[:COLUMNS]).to_pylist())


def records(rows: Sequence[Mapping[str, object]]) -> dg.TableMetadataValue:
    """Return mappings as a table of at most 20 rows; all rows have the columns of the first."""
    names = list(rows[0]) if rows else []
    return dg.TableMetadataValue(
        records=[dg.TableRecord({name: _cell(row.get(name)) for name in names}) for row in rows[:ROWS]],
        schema=dg.TableSchema(columns=[dg.TableColumn(name, _column_type(rows, name)) for name in names]),
    )


def rejections(refused: Sequence[Rejection]) -> dict[str, Any]:
    """Return the files a stage refused: how many, and the first of them with their reasons."""
    said: dict[str, Any] = {"files rejected": len(refused)}
    if refused:
        said["rejected"] = records(
            [{"file": item.product_name, "rule": item.rule, "reason": item.reason} for item in refused]
        )
    return said


def reprocessed(changes: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the products that the archive replaced: how many, and what changed in the first of them.

    Parameters
    ----------
    changes : sequence of mapping
        Rows of the table ``product_changes``.
    """
    said: dict[str, Any] = {"products reprocessed": len(changes)}
    if changes:
        columns = {
            "product_name": "file", "version": "version", "cal_ver_before": "CAL_VER before", "cal_ver": "CAL_VER",
            "crds_ctx_before": "CRDS_CTX before", "crds_ctx": "CRDS_CTX", "cards_changed": "cards changed",
            "planes_changed": "planes changed", "most_changed_plane": "most changed", "largest_share": "share of it",
            "not_comparable": "not comparable", "report_key": "report",
        }  # fmt: skip
        said["reprocessing"] = records([{shown: row.get(name) for name, shown in columns.items()} for row in changes])
    return said


def before_after(picture: Picture | None) -> dict[str, Any]:
    """Return one product before and after as a picture, or nothing where there is none to show."""
    if picture is None:
        return {}
    from hwosim_assets.quality.pictures import markdown

    return {"before and after": dg.MetadataValue.md(markdown(picture))}


def publication(
    row: Mapping[str, Any],
    *,
    already: bool,
    pace: Mapping[str, float] | None = None,
    plot: bytes | None = None,
    readers: Sequence[Mapping[str, object]] = (),
) -> dict[str, Any]:
    """Return what a publication did: every number as a number, so that Dagster plots it.

    Parameters
    ----------
    row : mapping
        A row of the table ``publications``.
    already : bool
        Whether the stream already stood on this broker, so that nothing was published.
    pace : mapping of str to float, optional
        Rates and lateness.
    plot : bytes, optional
        A PNG of actual over planned time.
    readers : sequence of mapping
        How far each group of readers is behind.
    """
    from hwosim_assets.quality.pictures import data_uri

    said: dict[str, Any] = {}
    if plot is not None:
        shown = "sent over planned time, grey where on time"
        said["pace"] = dg.MetadataValue.md(f"{shown}\n\n![{shown}]({data_uri(plot)})")
    said |= {"published now": not already, **(pace or {})}
    if row.get("seconds") and row.get("bytes"):
        said["MB per s"] = row["bytes"] / row["seconds"] / 1e6
    said["offsets"] = records(json.loads(row.get("offsets_json") or "[]"))
    if readers:
        said["readers"] = records(readers)
    for name, value in row.items():
        if isinstance(value, bool | int | float):
            said[name] = value
        elif value is not None and name not in ("program", "offsets_json"):
            said[name] = _cell(value)
    return said


def _columns_to_show(spec: TableSpec) -> list[str]:
    """Return the columns worth a look: the key first, then the others except bytes, hashes and the program."""
    shown = [
        field.name
        for field in spec.schema
        if not any(is_kind(field.type) for is_kind in _NOT_SHOWN) and not field.name.endswith(("_json", "sha256"))
    ]
    first = [name for name in spec.key if name in shown]
    return first + [name for name in shown if name not in first and name not in spec.scope]


def _common_prefix(uris: Sequence[str]) -> str:
    """Return the folder that holds all objects."""
    if not uris:
        return ""
    low, high = min(uris), max(uris)
    shared = next((place for place, (one, other) in enumerate(zip(low, high, strict=False)) if one != other), len(low))
    return low[:shared].rsplit("/", 1)[0]


def _cell(value: object) -> str | int | float | bool | None:
    if value is None or isinstance(value, bool | int | float):
        return value
    text = str(value)
    return text if len(text) <= CHARACTERS else f"{text[: CHARACTERS - 1]}…"


def _column_type(rows: Sequence[Mapping[str, object]], name: str) -> str:
    kinds = {type(row.get(name)) for row in rows} - {type(None)}
    named = {bool: "bool", int: "int", float: "float"}
    return named.get(kinds.pop(), "string") if len(kinds) == 1 else "string"
