import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from click.testing import CliRunner

from hwosim_assets.archive.schema import ARCHIVE_PRODUCTS, OBSERVATIONS
from hwosim_assets.catalog.products import PRODUCTS
from hwosim_assets.commands.lineage import lineage as command
from hwosim_assets.errors import BadInputError
from hwosim_assets.lake.ingest import RAW_FILES
from hwosim_assets.lake.rejections import QUARANTINE
from hwosim_assets.lake.spec import TableSpec
from hwosim_assets.lake.tables import Tables
from hwosim_assets.lake.versions import RAW_VERSIONS
from hwosim_assets.perturb.dataset import PERTURBED
from hwosim_assets.quality.history import Evaluation, record_results
from hwosim_assets.quality.lineage import lineage
from hwosim_assets.quality.lineage_page import lineage_page
from hwosim_assets.quality.run import RuleResult, SuiteResult
from hwosim_assets.settings import Settings

NAME = "jw01093012001_03102_00001_nis_cal.fits"
OLD, NOW, OUT = "a" * 64, "b" * 64, "c" * 64
BLANK: dict[pa.DataType, Any] = {pa.string(): "x", pa.int64(): 1, pa.bool_(): True, pa.float64(): 0.0}


def put(tables: Tables, spec: TableSpec, *rows: dict[str, Any]) -> None:
    full = [
        {
            **{field.name: BLANK.get(field.type) for field in spec.schema if not field.nullable},
            "program": "01093",
            **row,
        }
        for row in rows
    ]
    for row in full:
        if "seen_at" in spec.schema.names:
            row["seen_at"] = 0
        if "ingested_at" in spec.schema.names:
            row["ingested_at"] = 0
    scope = {name: full[0][name] for name in spec.scope}
    tables.replace(spec, scope, pa.Table.from_pylist(full, schema=spec.schema))


@pytest.fixture
def tables(state: Path) -> Tables:
    made = Tables.from_settings(Settings())
    put(made, OBSERVATIONS, {"obsid": "7", "obs_id": "jw01093-o012"}, {"obsid": "8", "obs_id": "other"})
    put(made, ARCHIVE_PRODUCTS, {"dataURI": f"mast:JWST/product/{NAME}", "productFilename": NAME, "parent_obsid": "7"})
    put(made, RAW_FILES, {"product_name": NAME, "sha256": NOW, "data_uri": f"mast:JWST/product/{NAME}"})
    versions = [{"product_name": NAME, "sha256": each, "version": at} for at, each in ((1, OLD), (2, NOW))]
    put(made, RAW_VERSIONS, *versions)
    put(made, PRODUCTS, {"product_name": NAME, "sha256": NOW})
    put(made, PERTURBED, {"scenario": "clean", "product_name": NAME, "in_sha256": NOW, "out_sha256": NOW})
    put(made, PERTURBED, {"scenario": "rough", "product_name": NAME, "in_sha256": NOW, "out_sha256": OUT})
    result = SuiteResult("perturbed", 1, (RuleResult("datasets_made", "critical", True, 1, 0, (), "x", {}),))
    record_results(made, "perturbed/rough", "01093", result, Evaluation("run-1", "data-1", "code-1"), "reports/k")
    return made


UPSTREAM = ["catalog/products", "raw/fits_files", "mast/products", "mast/observations"]


@pytest.mark.parametrize("asked", [OUT, f"delivered/cc/{OUT}/{NAME}", f"s3://lake/delivered/cc/{OUT}/{NAME}"])
def test_a_delivered_file_is_followed_back_to_the_archive(tables: Tables, asked: str) -> None:
    steps = lineage(tables, asked)
    assert [step.asset for step in steps] == ["perturbed/rough", *UPSTREAM]
    made = steps[0].made_by
    assert (made["code_version"], made["data_version"], made["run_id"]) == ("code-1", "data-1", "run-1")
    assert steps[0].facts["in_sha256"] == steps[1].facts["sha256"] == steps[2].facts["sha256"] == NOW
    assert steps[3].facts["dataURI"] == f"mast:JWST/product/{NAME}"
    assert steps[4].facts["obs_id"] == "jw01093-o012"
    assert steps[1].made_by == {}


def test_a_name_is_followed_under_every_scenario_or_the_one_that_is_named(tables: Tables) -> None:
    for asked in (NAME, f"mast:JWST/product/{NAME}"):
        assert [step.asset for step in lineage(tables, asked)] == ["perturbed/clean", "perturbed/rough", *UPSTREAM]
    assert [step.asset for step in lineage(tables, NOW)] == ["perturbed/clean", *UPSTREAM]
    assert [step.asset for step in lineage(tables, NAME, "rough")] == ["perturbed/rough", *UPSTREAM]


def test_a_file_made_of_an_earlier_version_leads_to_that_version_too(tables: Tables) -> None:
    put(tables, PERTURBED, {"scenario": "rough", "product_name": NAME, "in_sha256": OLD, "out_sha256": OUT})
    steps = lineage(tables, OUT)
    assert [(step.table, step.facts["sha256"]) for step in steps if step.asset == "raw/fits_files"] == [
        ("raw_files", NOW),
        ("raw_versions", OLD),
    ]


def test_a_refused_file_leads_to_its_reason_and_an_unknown_one_to_the_mend(tables: Tables) -> None:
    put(tables, QUARANTINE, {"stage": "raw", "product_name": "jw01093_bad.fits", "rule": "http_404", "reason": "gone"})
    [step] = lineage(tables, "jw01093_bad.fits")
    assert (step.asset, step.facts["rule"]) == ("catalog/quarantine", "http_404")
    for asked in ("nothing.fits", "f" * 64, "", "../../etc/passwd"):
        with pytest.raises(BadInputError, match="hwosim search"):
            lineage(tables, asked)


def test_the_command_prints_the_chain(tables: Tables) -> None:
    done = CliRunner().invoke(command, [NAME, "--scenario", "rough", "--json"], catch_exceptions=False)
    assert [step["asset"] for step in json.loads(done.stdout)] == ["perturbed/rough", *UPSTREAM]


def test_the_page_shows_the_chain_and_runs_nothing(tables: Tables) -> None:
    evil = "<script>alert(1)</script>"
    page = lineage_page(evil, lineage(tables, NAME, "rough"))
    assert "<script" not in page
    for said in ("perturbed/rough", "mast/observations", "code-1", "data-1", "run-1", OUT, NOW):
        assert said in page
    assert 'href="/reports/k"' in page
