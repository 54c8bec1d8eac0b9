"""Iceberg tables of the lake: a scope is replaced as one, only when it says something new."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from hwosim_assets.errors import BackendAbsentError, HwosimError
from hwosim_assets.lake import upkeep
from hwosim_assets.lake.spec import TableSpec
from hwosim_assets.lake.store import Lake
from hwosim_assets.lake.tables import Tables, content_sha256
from hwosim_assets.settings import Settings

FIELDS = [
    pa.field("program", pa.string(), nullable=False),
    pa.field("scenario", pa.string(), nullable=False),
    pa.field("name", pa.string(), nullable=False),
    pa.field("flux", pa.float64()),
    pa.field("groups", pa.int64()),
    pa.field("good", pa.bool_()),
    pa.field("raw", pa.binary()),
    pa.field("warnings", pa.list_(pa.string())),
    pa.field("at", pa.timestamp("us", "UTC")),
]
SPEC = TableSpec(
    "things", pa.schema(FIELDS), scope=("program", "scenario"), key=("name",), volatile=("at",), doc="Things."
)
NOON = datetime(2026, 8, 20, 12, tzinfo=UTC)


def scope(program: str = "01093", scenario: str = "clean") -> dict[str, str]:
    return {"program": program, "scenario": scenario}


def things(count: int = 3, program: str = "01093", scenario: str = "clean", **values: Any) -> pa.Table:
    rows = [
        {
            **scope(program, scenario),
            "name": f"jw{program}_{number:03d}.fits",
            "flux": number / 7 if number else float("nan"),
            "groups": number,
            "good": number % 2 == 0,
            "raw": bytes([number % 256]) * 5,
            "warnings": ["a"] * number,
            "at": NOON,
            **values,
        }
        for number in range(count)
    ]
    return pa.Table.from_pylist(rows, schema=SPEC.schema)


def test_a_table_that_does_not_exist_is_empty(tables: Tables) -> None:
    assert tables.scan(SPEC) == SPEC.schema.empty_table()
    assert tables.scan(SPEC, columns=["flux"]).schema.names == ["flux"]
    assert not tables.replace(SPEC, scope(), things(0)).changed


def test_rows_come_back_as_they_went_in(tables: Tables) -> None:
    rows = things(4)
    done = tables.replace(SPEC, scope(), rows)
    assert (done.rows, done.changed, done.sha256) == (4, True, content_sha256(SPEC, rows))
    found = tables.scan(SPEC)
    assert found.schema == SPEC.schema
    assert found.drop(["flux"]).to_pylist() == rows.drop(["flux"]).to_pylist()
    assert content_sha256(SPEC, found) == done.sha256


def test_the_same_content_writes_nothing(tables: Tables) -> None:
    first = tables.replace(SPEC, scope(), things(3))
    before = tables.scan(SPEC)
    again = tables.replace(SPEC, scope(), things(3, at=NOON + timedelta(days=1)).take([2, 0, 1]))
    assert not again.changed
    assert again.sha256 == first.sha256
    assert tables.scan(SPEC).column("at") == before.column("at")


def test_rows_that_did_not_change_keep_their_time(tables: Tables) -> None:
    tables.replace(SPEC, scope(), things(3))
    later = NOON + timedelta(days=1)
    assert tables.replace(SPEC, scope(), things(4, at=later)).changed
    assert tables.scan(SPEC).column("at").to_pylist() == [NOON, NOON, NOON, later]


def test_a_scope_leaves_the_others_alone(tables: Tables) -> None:
    long = "ground_segment_bad_day_with_a_long_name"
    others = [("01093", "clean"), ("01093", long + "--0123abcd"), ("02282", long), ("09999", "clean")]
    for program, scenario in others:
        tables.replace(SPEC, scope(program, scenario), things(2, program, scenario))
    tables.replace(SPEC, scope("01093", long), things(5, "01093", long))
    tables.replace(SPEC, scope("01093", long), things(1, "01093", long))
    assert tables.scan(SPEC, scope("01093", long)).num_rows == 1
    for program, scenario in others:
        found = tables.scan(SPEC, scope(program, scenario))
        assert content_sha256(SPEC, found) == content_sha256(SPEC, things(2, program, scenario))
    assert tables.replace(SPEC, scope("01093", long), things(0)).changed
    assert tables.scan(SPEC, {"program": "01093"}, ["name", "scenario"]).num_rows == 4


def test_an_update_loses_nothing_that_another_writes_meanwhile(tables: Tables) -> None:
    tables.replace(SPEC, scope(), things(1))
    seen: list[int] = []

    def one_more(stored: pa.Table) -> pa.Table:
        if not seen:
            tables.replace(SPEC, scope(), things(2))
        seen.append(stored.num_rows)
        return pa.concat_tables([stored, things(5).slice(4)])

    assert tables.update(SPEC, scope(), one_more).rows == 3
    assert seen == [1, 2], "begun anew on what the other one wrote"
    assert tables.scan(SPEC, scope())["groups"].to_pylist() == [0, 1, 4]


def test_an_update_begins_with_nothing_and_may_leave_it_so(tables: Tables) -> None:
    assert not tables.update(SPEC, scope(), lambda stored: stored).changed
    assert tables.names() == []
    assert tables.update(SPEC, scope(), lambda stored: pa.concat_tables([stored, things(2)])).changed
    assert not tables.update(SPEC, scope(), lambda stored: stored).changed
    with pytest.raises(ValueError, match="outside the scope"):
        tables.update(SPEC, scope(), lambda _stored: things(1, "02282"))


def test_the_predicate_skips_files(tables: Tables) -> None:
    for number in range(4):
        tables.replace(SPEC, scope(f"{number:05d}"), things(1, f"{number:05d}"))
    table = tables._load(SPEC)
    assert table is not None
    assert len(Tables._plan(table, None)) == 4
    assert len(Tables._plan(table, {"program": "00003"})) == 1


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (things(2, "02282"), "outside the scope"),
        (pa.concat_tables([things(1), things(1)]), "share one key"),
        (things(1).append_column("colour", pa.array(["red"])), "no column colour"),
        (things(1).drop(["name"]), "may not be null"),
    ],
)
def test_rows_that_do_not_fit_are_refused(state: Path, rows: pa.Table, said: str) -> None:
    tables = Tables(f"sqlite:///{state / 'catalog.db'}", (state / "tables").as_uri())
    with pytest.raises(ValueError, match=said):
        tables.replace(SPEC, scope(), rows)


def test_a_scope_names_its_columns(state: Path) -> None:
    tables = Tables(f"sqlite:///{state / 'catalog.db'}", (state / "tables").as_uri())
    with pytest.raises(ValueError, match="a scope names program, scenario"):
        tables.replace(SPEC, {"program": "01093"}, things(1))


def test_a_table_gains_the_columns_of_its_spec(tables: Tables) -> None:
    old = TableSpec("things", pa.schema(FIELDS[:4]), scope=SPEC.scope, key=SPEC.key)
    rows = things(2).select(old.schema.names)
    first = tables.replace(old, scope(), rows)
    grown = tables.scan(SPEC)
    assert grown.column("groups").null_count == 2
    assert content_sha256(SPEC, grown) == first.sha256
    assert not tables.replace(SPEC, scope(), rows).changed
    tables.replace(SPEC, scope("02282"), things(1, "02282"))
    assert tables.scan(SPEC).column("groups").to_pylist() == [None, None, 0]
    assert tables.scan(old, scope()).num_rows == 2
    tables.replace(old, scope(), things(3).select(old.schema.names))
    assert tables.scan(SPEC, scope()).num_rows == 3


def test_a_new_column_that_may_not_be_null_is_refused(tables: Tables) -> None:
    tables.replace(SPEC, scope(), things(1))
    must = TableSpec("things", SPEC.schema.append(pa.field("must", pa.int64(), nullable=False)), SPEC.scope, SPEC.key)
    with pytest.raises(ValueError, match="must be nullable"):
        tables.replace(must, scope(), things(1).append_column("must", pa.array([1])))


def test_old_snapshots_and_their_files_go(tables: Tables, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upkeep, "KEEP_SNAPSHOTS", 2)
    monkeypatch.setattr(upkeep, "GRACE", timedelta(seconds=-5))
    for number in range(4):
        tables.replace(SPEC, scope(), things(number + 1))
        tables.replace(SPEC, scope("02282"), things(1, "02282"))
    table = tables._load(SPEC)
    assert table is not None
    assert len(table.metadata.snapshots) <= 2 * 2 + 1
    assert upkeep.sweep(table) >= 0
    data = [stored.key for stored in Lake(tables.place.uri + "/hwosim/things").list("data")]
    referred = {task.file.file_path.rsplit("/", 1)[1] for task in Tables._plan(table, None)}
    assert referred <= {key.rsplit("/", 1)[1] for key in data}
    assert len(data) <= 2 * 2 + 2
    assert tables.scan(SPEC, scope()).num_rows == 4
    assert tables.scan(SPEC, scope("02282")).num_rows == 1


def test_two_writers_may_tend_a_table_at_once(tables: Tables, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second one finds the snapshots gone that it was about to expire: its rows are committed all the same."""
    monkeypatch.setattr(upkeep, "KEEP_SNAPSHOTS", 2)
    tables.replace(SPEC, scope(), things(1))
    with monkeypatch.context() as patched:
        patched.setattr(upkeep, "tend", lambda table: None)
        for number in range(4):
            tables.replace(SPEC, scope(), things(number + 1))
    first, second = tables._load(SPEC), tables._load(SPEC)
    assert first is not None
    assert second is not None
    upkeep.tend(first)
    assert len(first.metadata.snapshots) < len(second.metadata.snapshots), "the first one expired some"
    upkeep.tend(second)
    assert tables.scan(SPEC, scope()).num_rows == 4


def test_young_files_are_not_swept(tables: Tables) -> None:
    tables.replace(SPEC, scope(), things(1))
    table = tables._load(SPEC)
    assert table is not None
    Lake(tables.place.uri + "/hwosim/things").write_new("data/of-a-commit-under-way.parquet", b"1")
    assert upkeep.sweep(table) == 0


def test_compaction_keeps_every_row_and_scopes_are_replaced_as_before(tables: Tables) -> None:
    counts = {("01093", "clean"): 3, ("01093", "nominal_l2"): 2, ("02282", "clean"): 4, ("09999", "clean"): 1}
    for bucketless in range(40):
        counts[f"{bucketless + 100:05d}", "clean"] = 2
    for (program, scenario), count in counts.items():
        tables.replace(SPEC, scope(program, scenario), things(count, program, scenario))
    before = content_sha256(SPEC, tables.scan(SPEC))
    done = tables.compact("things")
    assert done.files_before == len(counts) > done.files_after
    assert done.files_after <= 16
    assert content_sha256(SPEC, tables.scan(SPEC)) == before
    assert tables.compact("things").rows == 0
    for (program, scenario), count in counts.items():
        assert not tables.replace(SPEC, scope(program, scenario), things(count, program, scenario)).changed
    counts["01093", "clean"], counts["09999", "clean"] = 1, 0
    for program in ("01093", "09999"):
        wanted = counts[program, "clean"]
        assert tables.replace(SPEC, scope(program), things(wanted, program)).changed
    for (program, scenario), count in counts.items():
        found = tables.scan(SPEC, scope(program, scenario))
        assert content_sha256(SPEC, found) == content_sha256(SPEC, things(count, program, scenario))


def test_what_a_sweep_takes_from_a_long_compaction_costs_no_row(
    tables: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Merging may take longer than the time for which files that no snapshot names are left alone."""
    for number in range(4):
        tables.replace(SPEC, scope(scenario=f"s{number}"), things(2, scenario=f"s{number}"))
    swept: list[int] = []

    def sweep_once(*_progress: int) -> None:
        if not swept:
            monkeypatch.setattr(upkeep, "GRACE", timedelta(seconds=-5))
            table = tables._load(SPEC)
            assert table is not None
            swept.append(upkeep.sweep(table))
            monkeypatch.undo()

    done = tables.compact("things", on_group=sweep_once)
    assert swept[0] > 0
    assert done.files_after < done.files_before
    assert tables.scan(SPEC).num_rows == 8


def test_files_that_crowd_a_table_are_merged_by_the_commits_themselves(
    tables: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upkeep, "CROWDED", 12)
    monkeypatch.setattr(upkeep, "FEW_FILES", 2)
    monkeypatch.setattr(upkeep, "KEEP_SNAPSHOTS", 2)
    programs = [f"{number:05d}" for number in range(60)]
    for program in programs:
        tables.replace(SPEC, scope(program), things(2, program))
    # one for each of sixteen partitions, and those of the commits since the last merge
    assert len(Tables._plan(tables.open("things"), None)) <= 16 + 2 * 2
    assert tables.scan(SPEC)["program"].to_pylist() == [program for program in programs for _ in range(2)]


def test_expiry_goes_by_age_and_number(tables: Tables, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(4):
        tables.replace(SPEC, scope(), things(number + 1))
    assert tables.expire("things", 1, timedelta(hours=1)).snapshots == 0
    monkeypatch.setattr(upkeep, "GRACE", timedelta(seconds=-5))
    assert tables.expire("things", 2, timedelta(0)).snapshots >= 2
    gone = tables.expire("things", 1, timedelta(0))
    table = tables.open("things")
    assert gone.files > 0
    assert len(table.metadata.snapshots) == 1
    assert len(list(Lake(tables.place.uri + "/hwosim/things").list("data"))) == 1
    assert tables.scan(SPEC).num_rows == 4


def test_a_lost_file_is_named(tables: Tables) -> None:
    tables.replace(SPEC, scope(), things(1))
    lake = Lake(tables.place.uri + "/hwosim/things")
    for stored in list(lake.list("data")):
        lake.delete(stored.key)
    with pytest.raises(HwosimError, match="table things: a file of it is missing"):
        tables.scan(SPEC)
    with pytest.raises(HwosimError, match="table things: a file of it is missing"):
        tables.replace(SPEC, scope(), things(2))


def test_a_check_makes_the_catalog_and_leaves_no_probe(state: Path) -> None:
    tables = Tables(f"sqlite:///{state / 'catalog.db'}", (state / "tables").as_uri())
    tables.check()
    assert (state / "catalog.db").stat().st_size > 0
    assert [path for path in (state / "tables").rglob("*") if path.is_file()] == []
    assert tables.names() == []


@pytest.mark.parametrize(
    ("catalog", "warehouse", "told"),
    [
        ("catalog.db", "file/tables", "lake .*Not a directory"),
        ("file", "tables", "catalog .*file is not a database"),
        ("file/catalog.db", "tables", "catalog .*cannot be made"),
    ],
)
def test_a_check_tells_what_cannot_be_used(state: Path, catalog: str, warehouse: str, told: str) -> None:
    state.mkdir(parents=True, exist_ok=True)
    (state / "file").write_text("neither a folder nor a database" * 100)
    with pytest.raises(BackendAbsentError, match=told):
        Tables(f"sqlite:///{state / catalog}", (state / warehouse).as_uri()).check()


def test_a_catalog_that_another_process_makes_at_the_same_moment(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pyiceberg.catalog.sql import SqlCatalog

    where = (f"sqlite:///{state / 'catalog.db'}", (state / "tables").as_uri())
    Tables(*where).check()
    exists = SqlCatalog.namespace_exists

    def late(self: SqlCatalog, namespace: object) -> bool:
        """Say no before the insert, as it was when the other process had not yet committed."""
        asked.append(namespace)
        return bool(exists(self, namespace)) if len(asked) > 2 else False

    monkeypatch.setattr(SqlCatalog, "namespace_exists", late)
    for use in (lambda tables: tables.scan(SPEC), lambda tables: tables.check()):
        asked: list[object] = []
        use(Tables(*where))
        assert len(asked) > 2


def test_the_settings_name_catalog_and_warehouse(state: Path) -> None:
    tables = Tables.from_settings(Settings())
    tables.replace(SPEC, scope(), things(1))
    assert (state / "catalog.db").exists()
    assert (state / "lake" / "tables" / "hwosim" / "things").is_dir()


def test_an_absent_catalog_is_said_to_be_without_its_password(state: Path) -> None:
    (state / "file").write_text("")
    with pytest.raises(BackendAbsentError, match="postgresql") as caught:
        Tables("postgresql+psycopg2://me:secret@127.0.0.1:1/x", (state / "t").as_uri()).scan(SPEC)
    assert "secret" not in str(caught.value)
    with pytest.raises(BackendAbsentError, match="HWOSIM_CATALOG_URI"):
        Tables(f"sqlite:///{state / 'file' / 'catalog.db'}", (state / "t").as_uri()).check()


def test_a_missing_bucket_is_told(s3_uri: str, state: Path) -> None:
    tables = Tables(f"sqlite:///{state / 'catalog.db'}", "s3://no-such-bucket-here/tables")
    with pytest.raises(BackendAbsentError, match="bucket does not exist"):
        tables.replace(SPEC, scope(), things(1))
    with pytest.raises(BackendAbsentError, match="bucket does not exist"):
        tables.check()


def test_nothing_heavy_is_imported_before_a_table_is_touched() -> None:
    program = """
        import sys
        import hwosim_assets.lake.tables, hwosim_assets.lake.ingest
        heavy = ("pyiceberg", "sqlalchemy", "pandas", "boto3", "astropy", "obstore")
        print([name for name in heavy if name in sys.modules])
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
