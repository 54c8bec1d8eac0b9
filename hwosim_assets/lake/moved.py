"""A lake whose folder was moved, told apart from one that is lost, and mended.

Holds: :func:`whereabouts`, :func:`mend` and :func:`mend_uris`. Iceberg writes absolute locations into its metadata,
so that after a move the catalog points at where the tables were, and rows say where their objects were.
Keep out the objects of the lake, whose keys are relative (``lake.audit`` looks after them). Only an SQL catalog can
say where a table was whose metadata are gone; of another kind, reading such a table fails as it does anywhere.
"""

from __future__ import annotations

import io
import json
import uuid
from typing import TYPE_CHECKING, Any, Literal

import pyarrow as pa

from hwosim_assets.errors import HwosimError
from hwosim_assets.lake.place import store_errors

if TYPE_CHECKING:
    from pyiceberg.catalog import Catalog

    from hwosim_assets.lake.spec import TableSpec
    from hwosim_assets.lake.store import Lake
    from hwosim_assets.lake.tables import Tables

__all__ = ["mend", "mend_uris", "whereabouts"]

Whereabouts = Literal["here", "elsewhere", "moved", "lost"]


def whereabouts(tables: Tables) -> dict[str, Whereabouts]:
    """Say of every table of the catalog where its metadata are.

    Returns
    -------
    dict of str to str
        By table: ``here`` (where the catalog says, in this lake), ``elsewhere`` (where the catalog says,
        outside this lake: the settings name another folder, or the lake was copied), ``moved`` (not where the
        catalog says, but in this lake under the same name; :func:`mend` helps) or ``lost`` (in neither place).

    Raises
    ------
    BackendAbsentError
        If the catalog or the store cannot be used.
    """
    store = _Files(tables)
    found: dict[str, Whereabouts] = {}
    root = tables.place.iceberg_location
    for name in tables.names():
        location = _location(tables, name)
        if store.has(location):
            found[name] = "here" if location.startswith(root + "/") else "elsewhere"
        else:
            found[name] = "moved" if store.has(_here(tables, name, location)) else "lost"
    return found


def mend(tables: Tables, name: str) -> None:
    """Write the metadata of a moved table anew, with the locations of this lake, and register it.

    Its present rows stay; older snapshots are given up. Nothing of the old metadata is removed.

    Parameters
    ----------
    tables : Tables
        The lake's tables.
    name : str
        A table that :func:`whereabouts` calls ``moved``.

    Raises
    ------
    HwosimError
        If it is not.
    """
    if whereabouts(tables).get(name) != "moved":
        raise HwosimError(f"table {name}", "was not moved", "see hwosim lake verify")
    store, root = _Files(tables), tables.place.iceberg_location
    was = _location(tables, name)
    source = _here(tables, name, was)
    metadata = json.loads(store.read(source))
    before, after = metadata["location"], f"{root}/{tables.namespace}/{name}"

    def moved(location: str) -> str:
        return after + location.removeprefix(before) if location.startswith(before + "/") else location

    current = metadata.get("current-snapshot-id")
    snapshots = [one for one in metadata.get("snapshots", []) if one["snapshot-id"] == current]
    for snapshot in snapshots:
        snapshot.pop("parent-snapshot-id", None)
        snapshot["manifest-list"] = _list_moved(store, moved(snapshot["manifest-list"]), moved)
    metadata |= {"location": after, "snapshots": snapshots, "snapshot-log": [], "metadata-log": []}
    number = int(source.rsplit("/", 1)[1].split("-", 1)[0]) + 1
    target = f"{after}/metadata/{number:05d}-{uuid.uuid4()}.metadata.json"
    store.write(target, json.dumps(metadata).encode())
    _point(tables, name, was, target)


def mend_uris(tables: Tables, lake: Lake, spec: TableSpec) -> int:
    """Let every row whose object has a key in this lake say where that is now; return the number of rows changed.

    Parameters
    ----------
    tables : Tables
        The lake's tables.
    lake : Lake
        The lake as it lies now.
    spec : TableSpec
        A table with the columns ``key`` and ``uri``; an ``access_url`` that is the same follows.

    Raises
    ------
    HwosimError
        If the lake fails.
    """
    changed = 0

    def of_here(stored: pa.Table) -> pa.Table:
        return pa.Table.from_pylist([_renamed(row, lake) for row in stored.to_pylist()], schema=spec.schema)

    rows = tables.scan(spec, columns=[*spec.scope, "key", "uri"]).to_pylist()
    wrong = [row for row in rows if row["key"] is not None and row["uri"] != lake.uri_of(row["key"])]
    for scope in {tuple(row[name] for name in spec.scope) for row in wrong}:
        tables.update(spec, dict(zip(spec.scope, scope, strict=True)), of_here)
        changed += sum(tuple(row[name] for name in spec.scope) == scope for row in wrong)
    return changed


def _renamed(row: dict[str, Any], lake: Lake) -> dict[str, Any]:
    if row["key"] is None:
        return row
    uri = lake.uri_of(row["key"])
    follows = {"access_url": uri} if row.get("access_url") == row["uri"] else {}
    return row | {"uri": uri} | follows


class _Files:
    """Iceberg's files by their locations."""

    def __init__(self, tables: Tables) -> None:
        from pyiceberg.io import load_file_io

        self._place = tables.place
        self._io = load_file_io(tables.place.iceberg_properties(), tables.place.iceberg_location)

    def has(self, location: str) -> bool:
        with store_errors(self._place):
            return bool(self._io.new_input(location).exists())

    def read(self, location: str) -> bytes:
        with store_errors(self._place), self._io.new_input(location).open() as stream:
            return bytes(stream.read())

    def write(self, location: str, content: bytes) -> None:
        with store_errors(self._place), self._io.new_output(location).create() as stream:
            stream.write(content)


def _location(tables: Tables, name: str) -> str:
    """Return where the catalog says a table's metadata are, whether or not they are there."""
    from pyiceberg.catalog.sql import IcebergTables, SqlCatalog
    from sqlalchemy import select
    from sqlalchemy.orm import Session

    def asked(catalog: Catalog) -> str:
        if not isinstance(catalog, SqlCatalog):
            return catalog.load_table((tables.namespace, name)).metadata_location
        with Session(catalog.engine) as session:
            place = (IcebergTables.table_namespace == tables.namespace, IcebergTables.table_name == name)
            chosen = select(IcebergTables.metadata_location)
            return str(session.scalar(chosen.where(IcebergTables.catalog_name == catalog.name, *place)))

    return tables.with_catalog(asked)


def _point(tables: Tables, name: str, was: str, now: str) -> None:
    """Let the catalog point at other metadata, at once: dropping and registering might end between the two."""
    from pyiceberg.catalog.sql import IcebergTables, SqlCatalog
    from sqlalchemy import update
    from sqlalchemy.orm import Session

    def pointed(catalog: Catalog) -> int:
        if not isinstance(catalog, SqlCatalog):
            return 0
        with Session(catalog.engine) as session:
            place = (IcebergTables.table_namespace == tables.namespace, IcebergTables.table_name == name)
            row = update(IcebergTables).where(IcebergTables.catalog_name == catalog.name, *place)
            done = session.execute(row.where(IcebergTables.metadata_location == was).values(metadata_location=now))
            session.commit()
            return int(done.rowcount)  # type: ignore[attr-defined]

    if tables.with_catalog(pointed) != 1:
        raise HwosimError(f"table {name}", "was mended or changed by another process", "look again")


def _here(tables: Tables, name: str, location: str) -> str:
    root = f"{tables.place.iceberg_location}/{tables.namespace}"
    return f"{root}/{name}/metadata/{location.rsplit('/', 1)[1]}"


def _list_moved(store: _Files, location: str, moved: Any) -> str:
    """Write a manifest list and its manifests anew; return where."""

    def manifest(entry: dict[str, Any]) -> dict[str, Any]:
        path, size = _rewritten(store, moved(entry["manifest_path"]), data_file)
        return entry | {"manifest_path": path, "manifest_length": size}

    def data_file(entry: dict[str, Any]) -> dict[str, Any]:
        return entry | {"data_file": entry["data_file"] | {"file_path": moved(entry["data_file"]["file_path"])}}

    return _rewritten(store, location, manifest)[0]


def _rewritten(store: _Files, location: str, change: Any) -> tuple[str, int]:
    """Write an Avro file anew beside itself with its entries changed; return where, and its bytes."""
    import fastavro

    reader = fastavro.reader(io.BytesIO(store.read(location)))
    entries: list[Any] = [change(entry) for entry in reader]
    # Iceberg keeps the table's schema and partitioning in the header of the file
    kept = {key: value for key, value in reader.metadata.items() if not key.startswith("avro.")}
    packed = io.BytesIO()
    schema: Any = json.loads(reader.metadata["avro.schema"])
    fastavro.writer(packed, schema, entries, codec="deflate", metadata=kept)
    target = f"{location.rsplit('/', 1)[0]}/{uuid.uuid4()}-moved.avro"
    store.write(target, packed.getvalue())
    return target, len(packed.getvalue())
