"""Many products: processes, exposures that are remembered, files made on the fly, Dask."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pyarrow as pa
import pytest
from test_perturb_dataset import PROGRAM, catalogue

from hwosim_assets import runner
from hwosim_assets.assets.perturbed import perturbed_asset
from hwosim_assets.catalog.products import PRODUCTS
from hwosim_assets.errors import HwosimError
from hwosim_assets.lake.store import Lake
from hwosim_assets.lake.tables import Tables
from hwosim_assets.partitions import register_programs
from hwosim_assets.perturb import Product, Scenario, dataset, registry
from hwosim_assets.perturb.block import Block
from hwosim_assets.perturb.dataset import PERTURBED, TRUTH, deliver_row, perturb_program, perturb_row
from hwosim_assets.perturb.effect import Earlier, Effect
from hwosim_assets.perturb.parameters import Parameter
from hwosim_assets.perturb.proof import replay
from hwosim_assets.perturb.scenario import load_scenario
from hwosim_assets.perturb.spec import EffectSpec
from hwosim_assets.perturb.truth import Truth
from hwosim_assets.resources import LakeResource

Make = Callable[..., Product]


@pytest.fixture
def home(tmp_path: Path) -> tuple[Lake, Tables]:
    uri = (tmp_path / "lake").as_uri()
    return Lake(uri), Tables(f"sqlite:///{tmp_path / 'catalog.db'}", f"{uri}/tables")


def test_processes_change_nothing(make: Make, home: tuple[Lake, Tables]) -> None:
    lake, tables = home
    catalogue(lake, tables, [make("cal"), make("calints"), make("x1d")])
    scenario = load_scenario("nominal_l2")
    seen: list[str] = []
    parallel = perturb_program(PROGRAM, scenario, lake, tables, workers=2, on_file=seen.append)
    assert parallel.made == 3
    assert len(seen) == 3
    tables.replace(PERTURBED, {"program": PROGRAM, "scenario": "nominal_l2"}, PERTURBED.schema.empty_table())
    serial = perturb_program(PROGRAM, scenario, lake, tables)
    assert serial.made == 3
    assert serial.rows.drop_columns("created_at").equals(parallel.rows.drop_columns("created_at"))
    assert serial.truth.equals(parallel.truth)


class Deadly(Lake):
    """A lake whose reader is killed, as the system kills what takes too much memory."""

    def read(self, key: str) -> bytes:
        os._exit(9)


def test_a_process_that_is_killed_is_told_in_a_line(make: Make, home: tuple[Lake, Tables]) -> None:
    lake, tables = home
    catalogue(lake, tables, [make("cal"), make("calints")])
    with pytest.raises(HwosimError, match="a process was killed") as told:
        perturb_program(PROGRAM, load_scenario("nominal_l2"), Deadly(lake.uri), tables, workers=2)
    assert "HWOSIM_PERTURB_WORKERS" in told.value.mend


def test_the_asset_takes_as_many_processes_as_are_set(make: Make, state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lake, tables = LakeResource().lake(), LakeResource().tables()
    catalogue(lake, tables, [make("cal"), make("calints"), make("x1d")])
    started: list[int] = []

    class Pool(ProcessPoolExecutor):
        def __init__(self, workers: int, **options: Any) -> None:
            started.append(workers)
            super().__init__(workers, **options)

    monkeypatch.setattr(dataset, "ProcessPoolExecutor", Pool)
    found = {}
    for workers in ("1", "2"):
        monkeypatch.setenv("HWOSIM_PERTURB_WORKERS", workers)
        asset, resources = perturbed_asset(load_scenario("nominal_l2")), {"lake": LakeResource()}
        with runner.instance_at(state) as instance:
            register_programs(instance, [PROGRAM])
            assert dg.materialize([asset], instance=instance, partition_key=PROGRAM, resources=resources).success
        found[workers] = tables.scan(PERTURBED, {"program": PROGRAM}).drop_columns("created_at")
        tables.replace(PERTURBED, {"program": PROGRAM, "scenario": "nominal_l2"}, PERTURBED.schema.empty_table())
    assert started == [2]
    assert found["1"].num_rows == 3
    assert found["2"].equals(found["1"])


def test_truths_join_to_products(make: Make, home: tuple[Lake, Tables]) -> None:
    lake, tables = home
    catalogue(lake, tables, [make("cal"), make("x1d")])
    perturb_program(PROGRAM, load_scenario("nominal_l2"), lake, tables)
    products = tables.scan(PRODUCTS, {"program": PROGRAM}).select(["program", "product_name", "sha256"])
    joined = tables.scan(TRUTH).join(products, ["program", "product_name"], join_type="inner").to_pylist()
    assert len(joined) == 2
    assert all(row["sha256"] == row["in_sha256"] for row in joined)


def test_on_the_fly_gives_the_bytes_of_the_files(make: Make, home: tuple[Lake, Tables]) -> None:
    lake, tables = home
    catalogue(lake, tables, [make("cal"), make("x1dints")])
    kept = perturb_program(PROGRAM, load_scenario("everything_s3"), lake, tables).rows.to_pylist()
    content = load_scenario("everything_s3").content.model_copy(update={"store": "none"})
    unkept = perturb_program(PROGRAM, Scenario("everything_unkept", content), lake, tables).rows.to_pylist()
    assert [row["out_sha256"] for row in kept] == [row["out_sha256"] for row in unkept]
    assert all(row["key"] is None for row in unkept)
    products = tables.scan(PRODUCTS, {"program": PROGRAM}).to_pylist()
    for product, row in zip(products, kept, strict=True):
        out = perturb_row(product, Scenario("everything_unkept", content), lake, products)[1]
        assert out.content == lake.read(row["key"])


class Memory(Effect):
    remembers = True

    def on_chunk(self, block: Block) -> None:
        for earlier in self.task.earlier:
            block.sci += np.float32(earlier.end - 59990.0)


SPEC = EffectSpec(
    name="memory", title="Memory", code="T", stage="particles", model="for a test", planes=("SCI",),
    parameters=(Parameter("size", "size", high=10, severities=(1, 2, 3, 4, 5)),), source="this test", test="this test",
)  # fmt: skip


def at(product: Product, name: str, start: float) -> Product:
    """Return a product exposed at another time, for one day."""
    content = product.content
    for keyword, value in (("EXPSTART", start), ("EXPMID", start + 0.5), ("EXPEND", start + 1)):
        place = content.index(f"{keyword:<8}=".encode())
        content = content[: place + 10] + f"{value:>20}".encode() + content[place + 30 :]
    return Product(name, content)


def test_the_exposure_before_is_remembered_and_named(
    make: Make, home: tuple[Lake, Tables], monkeypatch: pytest.MonkeyPatch
) -> None:
    lake, tables = home
    registry.effect_specs()
    Memory.spec = SPEC
    monkeypatch.setitem(registry._REGISTRY, "memory", Memory)
    names = [f"jw01234001001_02101_0000{number}_nrca1_cal.fits" for number in (1, 2, 3)]
    days = (60004.0, 60000.0, 60002.0)
    products = [at(make("cal"), name, day) for name, day in zip(names, days, strict=True)]
    catalogue(lake, tables, products)
    scenario = Scenario.from_mapping("remembering", {"version": 1, "effects": [{"memory": {"size": 1}}]})
    result = perturb_program(PROGRAM, scenario, lake, tables)
    records = {row["product_name"]: json.loads(row["record_json"]) for row in result.truth.to_pylist()}
    assert {name: [item["product"] for item in records[name]["earlier"]] for name in names} == {
        names[0]: [names[2]], names[1]: [], names[2]: [names[1]]}  # fmt: skip
    again = replay(Truth(records[names[0]]), products[0], earlier=[Earlier(products[2], 60003.0)])
    shift = again.plane("SCI").astype(float) - products[0].plane("SCI")
    assert np.nanmedian(shift) == pytest.approx(13, abs=1e-3)
    assert perturb_program(PROGRAM, scenario, lake, tables).kept == 3
    changed = [products[0], products[1], Product(names[2], make("cal", checksum=True).content)]
    changed[2] = at(changed[2], names[2], 60002.0)
    catalogue(lake, tables, [*changed[:2]])
    assert perturb_program(PROGRAM, scenario, lake, tables).made == 1, "the exposure before is another one now"


def test_dask_runs_the_same_function(make: Make, home: tuple[Lake, Tables]) -> None:
    dask = pytest.importorskip("dask")
    lake, tables = home
    catalogue(lake, tables, [make("cal"), make("calints")])
    scenario = load_scenario("nominal_l2")
    products = tables.scan(PRODUCTS, {"program": PROGRAM}).to_pylist()
    work = [dask.delayed(deliver_row)(product, scenario, lake, products) for product in products]
    delivered = dask.compute(*work, scheduler="processes", num_workers=2)
    rows = pa.Table.from_pylist([row for row, _ in delivered], schema=PERTURBED.schema)
    plain = perturb_program(PROGRAM, scenario, lake, tables).rows
    assert rows.drop_columns("created_at").equals(plain.drop_columns("created_at"))
