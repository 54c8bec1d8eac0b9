"""The tables of the lake: Apache Iceberg through PyIceberg.

Holds: :class:`Tables`, which replaces the rows of one scope (a program, or a program and a
scenario) in one commit, and scans. Keep out what a table holds (a :class:`TableSpec` beside the
code that fills it), the content hash (``lake.content``) and upkeep (``lake.upkeep``).

Layout: partitioned by ``bucket(program)``; a scope is written as one file, which compaction may merge
with others. Replacing a scope drops its file, or rewrites the merged one without it. A commit is made on
the table version that was compared, or not at all: when another writer was faster, everything is read
and compared anew.
PyIceberg's own retry is switched off, since it would commit what was compared with an older version.
PyIceberg costs one to two seconds to import; it is imported when a table is first touched.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

import pyarrow as pa

from hwosim_assets.errors import HwosimError
from hwosim_assets.lake.compact import Compacted, compact
from hwosim_assets.lake.connect import BehindError, catalog_errors, connect
from hwosim_assets.lake.content import content_sha256, fitted, with_stored_volatile
from hwosim_assets.lake.datafile import bucket_of, columns_of, rows_of, write_rows
from hwosim_assets.lake.place import Place, store_errors
from hwosim_assets.lake.spec import TableSpec

if TYPE_CHECKING:
    from pyiceberg.catalog import Catalog
    from pyiceberg.table import FileScanTask, Table

    from hwosim_assets.lake.upkeep import Expired
    from hwosim_assets.settings import Settings

__all__ = ["Replaced", "Tables", "content_sha256"]

T = TypeVar("T")
#: Partitions of every table, by hash of the program.
BUCKETS = 16
#: How long a writer tries to get its commit in beside others (seconds).
PATIENCE = 120.0
#: How often reading starts anew when a file it planned is not there; it may have been swept meanwhile.
ATTEMPTS_WITHOUT_A_FILE = 3


@dataclass(frozen=True)
class Replaced:
    """What :meth:`Tables.replace` did.

    Attributes
    ----------
    rows : int
        Rows the scope has now.
    changed : bool
        Whether anything was written.
    sha256 : str
        Content hash of the scope's rows, :func:`content_sha256`.
    """

    rows: int
    changed: bool
    sha256: str


class Tables:
    """The Iceberg tables of one catalog and warehouse.

    Parameters
    ----------
    catalog_uri : str
        ``sqlite:///…``, ``postgresql+psycopg2://…``, ``glue://region`` or the URL of a REST catalog.
    warehouse_uri : str
        Root URI of the tables, ``file://`` or ``s3://``.
    namespace : str
        Of the tables in the catalog: each environment has its own.
    """

    def __init__(self, catalog_uri: str, warehouse_uri: str, namespace: str = "hwosim") -> None:
        self.place = Place.parse(warehouse_uri)
        self.namespace = namespace
        self._catalog_uri = catalog_uri
        self._catalog: Catalog | None = None
        self._opening = threading.Lock()

    @classmethod
    def from_settings(cls, settings: Settings) -> Tables:
        """Return the environment's tables in ``HWOSIM_CATALOG_URI``, below ``tables/`` of its lake."""
        return cls(settings.catalog_uri.get_secret_value(), settings.lake_uri + "/tables", settings.namespace)

    # ------------------------------------------------------------------ reading

    def scan(self, spec: TableSpec, where: dict[str, str] | None = None, columns: list[str] | None = None) -> pa.Table:
        """Return rows of a table; none where the table does not exist yet.

        Parameters
        ----------
        spec : TableSpec
            The table.
        where : dict of str to str, optional
            Column values that all must match; they reach the Iceberg scan, which skips files.
        columns : list of str, optional
            Columns to read, in this order; all by default.

        Returns
        -------
        pyarrow.Table
            In the types of the spec, sorted by scope and key where these columns are read.

        Raises
        ------
        BackendAbsentError
            If catalog or store cannot be reached.
        """
        names = columns if columns is not None else list(spec.schema.names)
        wanted = pa.schema([spec.schema.field(name) for name in names])

        def once() -> pa.Table:
            table = self._load(spec)
            if table is None:
                return wanted.empty_table()
            return self._read(table, spec, self._plan(table, where), where, names)

        rows = self._beside_others(spec.name, once)
        order = [(name, "ascending") for name in (*spec.scope, *spec.key)]
        return rows.sort_by(order) if {name for name, _ in order} <= set(names) else rows

    @staticmethod
    def _plan(table: Table, where: dict[str, str] | None) -> list[FileScanTask]:
        return list(table.scan(row_filter=_matches(where)).plan_files())

    @staticmethod
    def _read(
        table: Table, spec: TableSpec, files: list[FileScanTask], where: dict[str, str] | None, names: list[str]
    ) -> pa.Table:
        """Read planned files and bring them to the types of the spec; columns not stored yet are null."""
        from pyiceberg.io.pyarrow import ArrowScan

        stored = {field.name for field in table.schema().fields}
        if where is None and not any(task.delete_files for task in files):
            return columns_of(table, files, pa.schema([spec.schema.field(name) for name in names]))
        projected = table.schema().select(*[name for name in names if name in stored])
        found = ArrowScan(table.metadata, table.io, projected, _matches(where)).to_table(files)
        fields = [spec.schema.field(name) for name in names]
        arrays = [
            found.column(field.name).cast(field.type) if field.name in stored else pa.nulls(found.num_rows, field.type)
            for field in fields
        ]
        return pa.Table.from_arrays(arrays, schema=pa.schema(fields))

    def names(self) -> list[str]:
        """Return the names of the tables that exist.

        Raises
        ------
        BackendAbsentError
            If the catalog cannot be reached.
        """
        return self._beside_others(
            "catalog", lambda: sorted(name[-1] for name in self._open().list_tables(self.namespace))
        )

    def open(self, name: str) -> Table:
        """Return a table as it is now, for readers that plan by themselves.

        Raises
        ------
        BackendAbsentError
            If the catalog cannot be reached.
        """
        return self._beside_others(name, lambda: self._open().load_table((self.namespace, name)))

    def look(self, name: str, once: Callable[[Table], T]) -> T | None:
        """Read a table in a way of one's own; begun anew when a file was swept meanwhile.

        Parameters
        ----------
        name : str
            Table.
        once : callable
            Given the table as it is now.

        Returns
        -------
        object
            What the callable returned; ``None`` where the table does not exist yet.

        Raises
        ------
        BackendAbsentError
            If catalog or store cannot be reached.
        """
        from pyiceberg.exceptions import NoSuchTableError

        def loaded() -> T | None:
            try:
                table = self._open().load_table((self.namespace, name))
            except NoSuchTableError:
                return None
            return once(table)

        return self._beside_others(name, loaded)

    # ------------------------------------------------------------------ writing

    def replace(self, spec: TableSpec, scope: dict[str, str], rows: pa.Table) -> Replaced:
        """Make ``rows`` the rows of a scope, in one commit, unless they say what is stored already.

        Parameters
        ----------
        spec : TableSpec
            The table; made at first use, and given the columns of the spec that it lacks.
        scope : dict of str to str
            A value for each scope column.
        rows : pyarrow.Table
            All rows of the scope. Rows whose content is stored keep their volatile values.

        Returns
        -------
        Replaced
            What happened.

        Raises
        ------
        ValueError
            If the rows do not fit the table or lie outside the scope.
        HwosimError
            If the disk is full, or other writers win for two minutes on end.
        BackendAbsentError
            If catalog or store cannot be reached.
        """
        new = fitted(spec, rows)
        _check_scope(spec, scope, new)
        return self._beside_others(spec.name, lambda: self._replace_once(spec, scope, lambda _stored: new))

    def update(self, spec: TableSpec, scope: dict[str, str], change: Callable[[pa.Table], pa.Table]) -> Replaced:
        """Replace the rows of a scope by what a function makes of them, with nothing lost that others write meanwhile.

        As :meth:`replace`, but ``change`` is given the rows that are stored and returns those that shall be; it is
        called anew where another writer was faster, and what it raises is raised.
        """

        def made(stored: pa.Table) -> pa.Table:
            new = fitted(spec, change(stored))
            _check_scope(spec, scope, new)
            return new

        return self._beside_others(spec.name, lambda: self._replace_once(spec, scope, made))

    def _replace_once(self, spec: TableSpec, scope: dict[str, str], make: Callable[[pa.Table], pa.Table]) -> Replaced:
        from pyiceberg.exceptions import CommitFailedException, NoSuchTableError, ValidationException

        from hwosim_assets.lake.upkeep import tend

        table = self._load(spec)
        if table is None:
            new = make(spec.schema.empty_table())
            if not new.num_rows:
                return Replaced(0, False, content_sha256(spec, new))
        try:
            table = self._create(spec) if table is None else self._with_columns(table, spec)
            files = self._plan(table, scope)
            stored = self._read(table, spec, files, scope, list(spec.schema.names))
            new = make(stored)
            digest = content_sha256(spec, new)
            if stored.num_rows == new.num_rows and content_sha256(spec, stored) == digest:
                return Replaced(new.num_rows, False, digest)
            kept = with_stored_volatile(spec, new, stored)
            if sum(task.file.record_count for task in files) == stored.num_rows:
                self._commit(table, scope, files, kept)
            else:
                self._commit_beside(table, scope, files, kept)
        except (CommitFailedException, ValidationException, NoSuchTableError) as error:
            raise BehindError from error
        tend(table)
        return Replaced(new.num_rows, True, digest)

    @staticmethod
    def _commit(table: Table, scope: dict[str, str], files: list[FileScanTask], rows: pa.Table) -> None:
        """Swap a scope's files for one file of new rows, on exactly this version of the table.

        As a delete and an append in one transaction: PyIceberg's ``overwrite`` would keep a manifest
        of deleted entries for ever at each commit.
        """
        summary = {f"hwosim.{name}": value for name, value in scope.items()}
        written = write_rows(table, bucket_of(table, scope["program"]), rows) if rows.num_rows else []
        with table.transaction() as transaction:
            if files:
                with transaction.update_snapshot(snapshot_properties=summary).delete() as removal:
                    removal.delete_by_predicate(_matches(scope))
            if written:
                with transaction.update_snapshot(snapshot_properties=summary).merge_append() as addition:
                    for data_file in written:
                        addition.append_data_file(data_file)

    @staticmethod
    def _commit_beside(table: Table, scope: dict[str, str], files: list[FileScanTask], rows: pa.Table) -> None:
        """Swap a scope's rows where compaction put them into files with others: those are rewritten."""
        from pyiceberg.expressions import Not

        bucket = bucket_of(table, scope["program"])
        gone, written = [], []
        for task in files:
            others = rows_of(table, [task], Not(_matches(scope)))
            if others.num_rows == task.file.record_count:
                continue  # its bounds enclose the scope, its rows do not
            gone.append(task.file)
            written += write_rows(table, bucket, others) if others.num_rows else []
        written += write_rows(table, bucket, rows) if rows.num_rows else []
        summary = {f"hwosim.{name}": value for name, value in scope.items()}
        with (
            table.transaction() as transaction,
            transaction.update_snapshot(snapshot_properties=summary).overwrite() as change,
        ):
            for file in gone:
                change.delete_data_file(file)
            for file in written:
                change.append_data_file(file)

    def ensure(self, spec: TableSpec) -> None:
        """Make a table where it is not there, for another engine to write to.

        Raises
        ------
        BackendAbsentError
            If catalog or store cannot be reached.
        """

        def once() -> None:
            if self._load(spec) is None:
                self._create(spec)

        self._beside_others(spec.name, once)

    # ------------------------------------------------------------------ upkeep

    def compact(self, name: str, min_files: int = 2, on_group: Callable[[int, int], None] | None = None) -> Compacted:
        """Merge the small files of a table; others may write meanwhile, and nothing of theirs is lost.

        Parameters
        ----------
        name : str
            Table, one of :meth:`names`.
        min_files : int
            A partition with fewer small files is left alone.
        on_group : callable, optional
            Told after each merged group how many of how many are done.

        Raises
        ------
        HwosimError
            If other writers win for two minutes on end.
        BackendAbsentError
            If catalog or store cannot be reached.
        """
        from pyiceberg.exceptions import CommitFailedException, ValidationException

        def once() -> Compacted:
            try:
                return compact(self._open().load_table((self.namespace, name)), min_files, on_group)
            except (CommitFailedException, ValidationException) as error:
                raise BehindError from error

        return self._beside_others(name, once)

    def expire(self, name: str, keep: int, older_than: timedelta) -> Expired:
        """Expire old snapshots of a table and remove the files that nothing refers to any more.

        Parameters
        ----------
        name : str
            Table, one of :meth:`names`.
        keep : int
            Snapshots that stay at least, the youngest.
        older_than : datetime.timedelta
            Age from which a snapshot may go.

        Raises
        ------
        HwosimError
            If other writers win for two minutes on end.
        BackendAbsentError
            If catalog or store cannot be reached.
        """
        from pyiceberg.exceptions import CommitFailedException

        from hwosim_assets.lake.upkeep import expire, expired_by_another

        def once() -> Expired:
            try:
                return expire(self._open().load_table((self.namespace, name)), keep, older_than)
            except CommitFailedException as error:
                raise BehindError from error
            except ValueError as error:
                if expired_by_another(error):
                    raise BehindError from error
                raise

        return self._beside_others(name, once)

    # ------------------------------------------------------------------ the catalog

    def check(self) -> None:
        """Open the catalog and write a probe into the warehouse.

        Raises
        ------
        BackendAbsentError
            If either cannot be used; the message tells which and why.
        """
        from hwosim_assets.lake.store import Lake

        self._beside_others("catalog", lambda: self._open().list_tables(self.namespace))
        Lake(self.place.uri).check()

    def with_catalog(self, once: Callable[[Catalog], T]) -> T:
        """Do something with the catalog itself.

        Raises
        ------
        BackendAbsentError
            If it cannot be reached.
        """
        return self._beside_others("catalog", lambda: once(self._open()))

    def _open(self) -> Catalog:
        with self._opening:
            if self._catalog is None:
                self._catalog = connect(self._catalog_uri, self.place, self.namespace)
            return self._catalog

    def _load(self, spec: TableSpec) -> Table | None:
        from pyiceberg.exceptions import NoSuchTableError

        try:
            return self._open().load_table((self.namespace, spec.name))
        except NoSuchTableError:
            return None

    def _create(self, spec: TableSpec) -> Table:
        """Make the table; another writer may do so at the same moment."""
        from pyiceberg.exceptions import TableAlreadyExistsError
        from pyiceberg.transforms import BucketTransform

        properties = {
            "comment": spec.doc,
            "commit.retry.num-retries": "0",
            # Every commit adds a manifest; merged from fifty on, so that planning stays quick.
            "commit.manifest-merge.enabled": "true",
            "commit.manifest.min-count-to-merge": "50",
            "write.metadata.delete-after-commit.enabled": "true",
            "write.metadata.previous-versions-max": "20",
            # Bounds are cut to 16 characters by default, and could not tell long scenario names apart.
            **{f"write.metadata.metrics.column.{name}": "full" for name in spec.scope},
        }
        name = (self.namespace, spec.name)
        try:
            with (
                self._open().create_table_transaction(name, spec.schema, properties=properties) as transaction,
                transaction.update_spec() as partitions,
            ):
                partitions.add_field("program", BucketTransform(BUCKETS), "program_bucket")
            return self._open().load_table(name)
        except TableAlreadyExistsError as error:
            raise BehindError from error

    @staticmethod
    def _with_columns(table: Table, spec: TableSpec) -> Table:
        """Add the columns that the spec gained since the table was made."""
        stored = {field.name for field in table.schema().fields}
        added = [field for field in spec.schema if field.name not in stored]
        if not added:
            return table
        required = [field.name for field in added if not field.nullable]
        if required:
            raise ValueError(f"table {spec.name} exists: its new column {required[0]} must be nullable")
        with table.update_schema() as update:
            update.union_by_name(pa.schema(added))
        return table

    def _beside_others(self, name: str, once: Callable[[], T]) -> T:
        """Do something anew whenever another writer was faster, or swept a file that was planned; not for ever."""
        deadline = time.monotonic() + PATIENCE
        wait = 0.02
        missed = 0
        while True:
            try:
                with store_errors(self.place, f"table {name}"), catalog_errors(self._catalog_uri):
                    return once()
            except FileNotFoundError as error:
                missed += 1
                if missed == ATTEMPTS_WITHOUT_A_FILE:
                    raise _missing(name, error) from error
            except BehindError as error:
                if time.monotonic() > deadline:
                    raise HwosimError(
                        f"table {name}", f"had no turn for {PATIENCE:.0f} s beside other writers", "run again"
                    ) from error
                time.sleep(random.uniform(0, wait))  # noqa: S311 (spreads the writers, hides nothing)
                wait = min(wait * 2, 1.0)


def _missing(name: str, error: FileNotFoundError) -> HwosimError:
    reason = f"a file of it is missing: {' '.join(str(error).split())[:300]}"
    return HwosimError(f"table {name}", reason, "restore the lake's folder tables/, or drop the table and run again")


def _matches(where: dict[str, str] | None) -> Any:
    from pyiceberg.expressions import AlwaysTrue, And, EqualTo

    every: Any = AlwaysTrue()
    for name, value in (where or {}).items():
        every = And(every, EqualTo(name, value))  # type: ignore[call-arg]
    return every


def _check_scope(spec: TableSpec, scope: dict[str, str], rows: pa.Table) -> None:
    if set(scope) != set(spec.scope):
        raise ValueError(f"table {spec.name}: a scope names {', '.join(spec.scope)}, not {', '.join(scope)}")
    for name, value in scope.items():
        if any(found != value for found in rows.column(name).unique().to_pylist()):
            raise ValueError(f"table {spec.name}: rows lie outside the scope {name}={value}")
