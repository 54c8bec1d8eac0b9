"""What the Spark job says to Spark, and what it says of a message; the job itself runs in tests/integration."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from hwosim_assets.errors import BadInputError
from hwosim_assets.lake.tables import Tables
from hwosim_assets.settings import Settings
from hwosim_streaming.envelope import encode, packed_arrays
from hwosim_streaming.spark import STREAM_STATISTICS
from hwosim_streaming.spark_catalog import catalog_properties, packages

FRAME = {
    "run_id": "r",
    "message_id": "m",
    "sequence": 3,
    "program": "01093",
    "product": "a_cal.fits",
    "obs_id": "a",
    "product_type": "cal",
    "instrument": "NIRCAM",
    "detector": "NRCA1",
    "exposed_mjd": 59800.0,
    "kind": "image",
    "hdu": 1,
    "extname": "SCI",
    "extver": 1,
    "integration": None,
    "group": 2,
    "tile": 0,
    "tiles": 1,
    "hdu_shape": [2, 3],
    "origin": [0, 0],
}


def settings(monkeypatch: pytest.MonkeyPatch, **variables: str) -> Settings:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return Settings()


@pytest.mark.usefixtures("state")
def test_spark_gets_the_tables_that_everybody_else_sees(monkeypatch: pytest.MonkeyPatch) -> None:
    local = catalog_properties(Settings())
    assert local[".uri"] == f"jdbc:sqlite:{Settings().home}/catalog.db?busy_timeout=30000"
    assert local[".warehouse"] == f"file://{Settings().home}/lake/tables"
    assert ".io-impl" not in local
    catalog = "postgresql+psycopg2://me:pass%2Fword@db.example.org/tables?sslmode=require"
    far = settings(
        monkeypatch,
        HWOSIM_CATALOG_URI=catalog,
        HWOSIM_LAKE_URI="s3://bucket/lake",
        AWS_ENDPOINT_URL="https://s3.example.org",
        AWS_REGION="eu-central-1",
    )
    properties = catalog_properties(far)
    assert properties[".uri"] == "jdbc:postgresql://db.example.org:5432/tables?sslmode=require"
    assert (properties[".jdbc.user"], properties[".jdbc.password"]) == ("me", "pass/word")
    assert properties[".warehouse"] == "s3://bucket/lake/tables"
    assert properties[".s3.endpoint"] == "https://s3.example.org"
    assert properties[".client.region"] == "eu-central-1"
    assert len(packages(far)) == len(packages(Settings(lake_uri="file:///x"))) + 1


@pytest.mark.usefixtures("state")
@pytest.mark.parametrize("uri", ["glue://eu-central-1", "https://catalog.example.org", "nonsense"])
def test_a_catalog_that_the_job_does_not_write_to_is_refused(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BadInputError, match="is none that the Spark job writes to"):
        catalog_properties(settings(monkeypatch, HWOSIM_CATALOG_URI=uri))


@pytest.mark.usefixtures("state")
def test_a_table_for_another_engine_is_made_once_and_laid_out_like_ours() -> None:
    tables = Tables.from_settings(Settings())
    tables.ensure(STREAM_STATISTICS)
    tables.ensure(STREAM_STATISTICS)
    assert tables.names() == [STREAM_STATISTICS.name]
    assert [field.name for field in tables.open(STREAM_STATISTICS.name).spec().fields] == ["program_bucket"]
    assert tables.scan(STREAM_STATISTICS).num_rows == 0


def message(value: bytes) -> Any:
    told = {"headers": lambda: None, "value": lambda: value, "timestamp": lambda: (1, 1_700_000_000_250)}
    return SimpleNamespace(**told, topic=lambda: "t", partition=lambda: 4, offset=lambda: 17)


@pytest.mark.integration  # which is where Spark is installed
def test_a_frame_is_described_by_its_finite_pixels() -> None:
    pytest.importorskip("pyspark", reason="pyspark is not installed (extra spark)")
    from hwosim_streaming.spark_source import ROWS, described

    data = np.array([[1, 2, np.nan], [5, np.inf, 4]], dtype=np.float32)
    arrays = packed_arrays({"SCI": data}, {"SCI": "MJy/sr"})
    row = described(message(encode("frame", {**FRAME, "arrays": arrays})))
    assert set(row) <= set(ROWS.names)
    assert (row["pixels"], row["invalid"], row["mean"], row["squared_deviations"]) == (4, 2, 3.0, 10.0)
    assert (row["minimum"], row["maximum"], row["unit"], row["shape"]) == (1.0, 5.0, "MJy/sr", "[2, 3]")
    assert (row["kafka_partition"], row["kafka_offset"], row["group_number"]) == (4, 17, 2)
    assert row["taken_at"] == datetime(2023, 11, 14, 22, 13, 20, 250_000, UTC)
    nothing = packed_arrays({"SCI": np.full((2, 2), np.nan)}, {})
    row = described(message(encode("frame", {**FRAME, "arrays": nothing})))
    assert (row["pixels"], row["invalid"], row.get("mean")) == (0, 4, None)
    columns = packed_arrays({"FLUX": np.arange(3.0)}, {})
    assert "pixels" not in described(message(encode("frame", {**FRAME, "kind": "table", "arrays": columns})))
    assert "cannot be made of" in described(message(encode("frame", {**FRAME, "arrays": []})))["refused"]
    late = message(encode("frame", {**FRAME, "arrays": arrays}))
    late.timestamp = lambda: (1, 2**60)
    assert "is no date" in described(late)["refused"]
    assert "Avro" in described(message(b"poison"))["refused"]
