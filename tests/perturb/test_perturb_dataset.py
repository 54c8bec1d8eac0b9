"""A program's perturbed products and truths in the lake."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hwosim_assets.catalog.products import PRODUCTS, product_row
from hwosim_assets.fits.describe import describe
from hwosim_assets.lake.layout import raw_key
from hwosim_assets.lake.store import Lake
from hwosim_assets.lake.tables import Tables, content_sha256
from hwosim_assets.perturb import Product, apply, replay
from hwosim_assets.perturb.dataset import PERTURBED, TRUTH, perturb_program
from hwosim_assets.perturb.scenario import Scenario, load_scenario
from hwosim_assets.perturb.truth import Truth

Make = Callable[..., Product]
PROGRAM = "01234"


@pytest.fixture
def home(tmp_path: Path) -> tuple[Lake, Tables]:
    uri = (tmp_path / "lake").as_uri()
    return Lake(uri), Tables(f"sqlite:///{tmp_path / 'catalog.db'}", f"{uri}/tables")


def catalogue(lake: Lake, tables: Tables, products: list[Product]) -> None:
    """Put products into the lake and the catalog."""
    rows = []
    for number, product in enumerate(products):
        key = raw_key(product.name, PROGRAM, f"ingest{number}")
        if lake.head(key) is None:
            lake.write_new(key, product.content)
        raw = {
            "program": PROGRAM,
            "product_name": product.name,
            "sha256": product.sha256,
            "size_bytes": len(product.content),
            "key": key,
            "uri": lake.uri_of(key),
            "data_uri": f"mast:JWST/product/{product.name}",
        }
        rows.append(product_row(raw, describe(product.content, product.name), []))
    tables.replace(PRODUCTS, {"program": PROGRAM}, pa.Table.from_pylist(rows, schema=PRODUCTS.schema))


def table_only(name: str) -> Product:
    from astropy.io import fits

    buffer = io.BytesIO()
    catalog = fits.BinTableHDU.from_columns([fits.Column("ra", "D", array=[1.0])])
    fits.HDUList([fits.PrimaryHDU(), catalog]).writeto(buffer)
    return Product(name, buffer.getvalue())


def test_a_row_tells_the_loss_that_errors_claim_and_the_true_one(make: Make, home: tuple[Lake, Tables]) -> None:
    catalogue(*home, [make("cal")])
    content: dict[str, object] = {"version": 1, "effects": [{"read_noise": {"factor": 10, "err": "stale"}}]}
    lake, tables = home
    perturb_program(PROGRAM, Scenario.from_mapping("silent", content), lake, tables)
    (row,) = tables.scan(PERTURBED, {"program": PROGRAM, "scenario": "silent"}).to_pylist()
    (truth,) = tables.scan(TRUTH, {"program": PROGRAM, "scenario": "silent"}).to_pylist()
    (told,) = json.loads(truth["record_json"])["summary"]
    assert (row["snr_loss"], row["snr_loss_true"]) == (told["snr_loss_median"], told["snr_loss_true_median"])
    assert row["snr_loss"] == 0.0
    assert row["snr_loss_true"] > 0.5


def test_products_are_made_once_and_kept(make: Make, home: tuple[Lake, Tables]) -> None:
    lake, tables = home
    products = [make("cal"), make("calints"), make("x1d"), table_only("jw01234001001_01_msa.fits")]
    catalogue(lake, tables, products)
    scenario = load_scenario("nominal_l2")
    seen: list[str] = []
    first = perturb_program(PROGRAM, scenario, lake, tables, on_file=seen.append)
    assert (first.made, first.kept, len(seen)) == (3, 0, 4)
    assert [(item.product_name, item.stage, item.rule) for item in first.rejections] == [
        ("jw01234001001_01_msa.fits", "perturbed", "no_pixels_or_spectra")
    ]
    second = perturb_program(PROGRAM, scenario, lake, tables)
    assert (second.made, second.kept) == (0, 3)
    assert content_sha256(PERTURBED, second.rows) == content_sha256(PERTURBED, first.rows)
    stored = tables.scan(PERTURBED, {"program": PROGRAM, "scenario": "nominal_l2"})
    assert content_sha256(PERTURBED, stored) == content_sha256(PERTURBED, first.rows)
    for row in stored.to_pylist():
        content = lake.read(row["key"])
        assert hashlib.sha256(content).hexdigest() == row["out_sha256"]
        assert row["size_bytes"] == len(content)
        assert row["changed"]
        assert "nominal" not in row["key"]
        assert row["stream_time_mjd"] == 60000.5
        assert row["detector"] == "NRCA1"
        assert {hdu["extname"] for hdu in json.loads(row["layout_json"])} >= {"PRIMARY"}
    picture = first.picture()
    assert picture is not None
    assert picture.before.shape == picture.after.shape
    assert (picture.before != picture.after).any()


def test_the_dataset_has_the_bytes_of_the_single_call_and_its_truth_replays(
    make: Make, home: tuple[Lake, Tables]
) -> None:
    lake, tables = home
    product = make("calints")
    catalogue(lake, tables, [product])
    scenario = load_scenario("ground_segment_bad_day").with_overrides(severity=5)
    result = perturb_program(PROGRAM, scenario, lake, tables, threads=2)
    (row,) = result.rows.to_pylist()
    (truth,) = tables.scan(TRUTH, {"program": PROGRAM, "scenario": scenario.id}).to_pylist()
    assert row["scenario"] == truth["scenario"] == scenario.id != scenario.name
    assert lake.read(row["key"]) == apply(product, scenario)[0].content
    record = json.loads(truth["record_json"])
    assert replay(Truth(record), product).sha256 == row["out_sha256"]
    runs = pq.read_table(io.BytesIO(lake.read(truth["side_key"])))
    assert runs["length"].to_numpy().sum() == sum(step["pixels_lost"] for step in record["effects"])


def test_clean_delivers_the_bytes_of_the_archive(make: Make, home: tuple[Lake, Tables]) -> None:
    lake, tables = home
    catalogue(lake, tables, [make("cal", packed=True)])
    for scenario in (load_scenario("clean"), load_scenario("nominal_l2").with_overrides(severity=0)):
        (row,) = perturb_program(PROGRAM, scenario, lake, tables).rows.to_pylist()
        assert not row["changed"]
        assert lake.read(row["key"]) == make("cal", packed=True).content


def test_a_truth_of_other_bytes_is_not_kept(make: Make, home: tuple[Lake, Tables]) -> None:
    """As a run leaves it that dies after writing the truth and before writing the rows."""
    lake, tables = home
    catalogue(lake, tables, [make("cal")])
    scenario = load_scenario("nominal_l2")
    scope = {"program": PROGRAM, "scenario": "nominal_l2"}
    perturb_program(PROGRAM, scenario, lake, tables)
    (told,) = tables.scan(TRUTH, scope).to_pylist()
    other = {**told, "out_sha256": "0" * 64, "record_json": "{}"}
    tables.replace(TRUTH, scope, pa.Table.from_pylist([other], schema=TRUTH.schema))
    assert perturb_program(PROGRAM, scenario, lake, tables).made == 1
    assert tables.scan(TRUTH, scope).to_pylist() == [told]


def test_only_what_changed_is_made_again(make: Make, home: tuple[Lake, Tables]) -> None:
    lake, tables = home
    cal, ints = make("cal"), make("calints")
    catalogue(lake, tables, [cal, ints])
    scenario = load_scenario("nominal_l2")
    rows = perturb_program(PROGRAM, scenario, lake, tables).rows.to_pylist()
    reprocessed = Product(cal.name, make("big").content)
    key = raw_key(cal.name, PROGRAM, "later")
    lake.write_new(key, reprocessed.content)
    listed = tables.scan(PRODUCTS, {"program": PROGRAM}).to_pylist()
    listed[0] |= {"sha256": reprocessed.sha256, "key": key}
    tables.replace(PRODUCTS, {"program": PROGRAM}, pa.Table.from_pylist(listed, schema=PRODUCTS.schema))
    again = perturb_program(PROGRAM, scenario, lake, tables)
    assert (again.made, again.kept) == (1, 1)
    listed[1]["obs_id"] = "told by a better reader of the same file"
    tables.replace(PRODUCTS, {"program": PROGRAM}, pa.Table.from_pylist(listed, schema=PRODUCTS.schema))
    renamed = perturb_program(PROGRAM, scenario, lake, tables)
    assert (renamed.made, renamed.kept) == (0, 2)
    assert listed[1]["obs_id"] in renamed.rows["obs_id"].to_pylist()
    lake.delete(next(row["key"] for row in rows if row["product_name"] == ints.name))
    repaired = perturb_program(PROGRAM, scenario, lake, tables)
    assert (repaired.made, repaired.kept) == (1, 1)
    assert all(lake.head(row["key"]) is not None for row in repaired.rows.to_pylist())
    catalogue(lake, tables, [ints])
    assert perturb_program(PROGRAM, scenario, lake, tables).rows.num_rows == 1


def test_a_lost_or_damaged_product_is_rejected_and_the_others_go_on(make: Make, home: tuple[Lake, Tables]) -> None:
    lake, tables = home
    catalogue(lake, tables, [make("cal"), make("calints"), make("x1d")])
    damaged, lost, good = sorted(
        tables.scan(PRODUCTS, {"program": PROGRAM}).to_pylist(), key=lambda row: row["product_name"]
    )
    lake.delete(lost["key"])
    rows = [damaged | {"sha256": "0" * 64}, lost, good]
    tables.replace(PRODUCTS, {"program": PROGRAM}, pa.Table.from_pylist(rows, schema=PRODUCTS.schema))
    result = perturb_program(PROGRAM, load_scenario("clean"), lake, tables)
    assert [item.rule for item in result.rejections] == ["checksum", "not_stored"]
    assert result.rows["product_name"].to_pylist() == [good["product_name"]]


def test_store_none_keeps_hashes_and_no_files(make: Make, home: tuple[Lake, Tables], tmp_path: Path) -> None:
    lake, tables = home
    catalogue(lake, tables, [make("cal")])
    path = tmp_path / "lean.yaml"
    path.write_text("version: 1\nstore: none\neffects: [read_noise]\n")
    scenario = load_scenario(str(path))
    first = perturb_program(PROGRAM, scenario, lake, tables)
    (row,) = first.rows.to_pylist()
    assert (row["key"], row["uri"]) == (None, None)
    assert row["out_sha256"] == apply(make("cal"), scenario)[0].sha256
    assert not list(lake.list("delivered"))
    assert perturb_program(PROGRAM, scenario, lake, tables).kept == 1
    picture = first.picture()
    assert picture is not None
    assert np.isfinite(picture.after).any()
