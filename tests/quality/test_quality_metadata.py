import dagster as dg
import numpy as np
import pyarrow as pa

from hwosim_assets import metadata
from hwosim_assets.lake.rejections import Rejection
from hwosim_assets.lake.spec import TableSpec
from hwosim_assets.lake.tables import Replaced
from hwosim_assets.quality.pictures import Picture

SPEC = TableSpec(
    name="things",
    schema=pa.schema(
        [
            pa.field("program", pa.string(), nullable=False),
            pa.field("size_bytes", pa.int64()),
            pa.field("layout_json", pa.string()),
            pa.field("raw", pa.binary()),
            pa.field("uri", pa.string()),
            pa.field("product_name", pa.string(), nullable=False),
        ]
    ),
    scope=("program",),
    key=("product_name",),
)


def rows(count: int) -> pa.Table:
    return pa.Table.from_pylist(
        [
            {
                "program": "01093",
                "product_name": f"{'x' * 600}{number:03}",
                "size_bytes": 10,
                "layout_json": "[" * 1000,
                "raw": b"\x00" * 80,
                "uri": f"file:///lake/raw/jw01093/{'a' if number % 2 else 'ab'}/f{number}",
            }
            for number in range(count)
        ],
        schema=SPEC.schema,
    )


def test_a_table_is_told_in_numbers_and_its_first_rows() -> None:
    said = metadata.table_rows(rows(100), spec=SPEC, written=Replaced(100, True, "f" * 64))
    assert said["dagster/partition_row_count"] == 100
    assert said["bytes"] == 1000
    assert said["dagster/uri"] == "file:///lake/raw/jw01093"
    assert said["content sha256"] == "f" * 64
    shown = said["rows"]
    assert len(shown.records) == 20
    assert list(shown.records[0].data) == ["product_name", "size_bytes", "uri"]
    assert len(str(shown.records[0].data["product_name"])) == 500
    assert "dagster/column_schema" not in said, "it stands with the asset, once"


def test_a_table_has_its_columns_with_their_types() -> None:
    columns = {column.name: column for column in metadata.column_schema(SPEC).columns}
    assert columns["size_bytes"].type == "int64"
    assert columns["size_bytes"].constraints.nullable
    assert columns["product_name"].constraints.unique
    assert not columns["product_name"].constraints.nullable


def test_an_empty_table_and_one_row_are_told_too() -> None:
    said = metadata.table_rows(rows(0), spec=SPEC)
    assert said["dagster/partition_row_count"] == said["bytes"] == 0
    assert said["dagster/uri"] == ""
    assert said["rows"].records == []
    assert metadata.table_rows(rows(1), spec=SPEC)["dagster/uri"] == "file:///lake/raw/jw01093/ab"


def test_everything_told_is_metadata_that_dagster_takes() -> None:
    picture = Picture("a_cal.fits [SCI]", np.zeros((8, 8)), np.ones((8, 8)))
    published = {"program": "01093", "planned": 3, "seconds": 0.5, "verified": True, "run_id": "r"}
    said = {
        **metadata.table_rows(rows(3), spec=SPEC),
        **metadata.rejections([Rejection("a.fits", "raw", "http_404", "not there")] * 30),
        **metadata.before_after(picture),
        **metadata.publication(published, already=True),
    }
    kept = dg.MaterializeResult(asset_key="a", metadata=said).metadata
    assert kept is not None
    assert said["files rejected"] == 30
    assert len(said["rejected"].records) == 20
    assert said["planned"] == 3
    assert said["published now"] is False
    assert "program" not in said
    assert len(said["before and after"].value) < 140_000
    assert metadata.before_after(None) == {}
