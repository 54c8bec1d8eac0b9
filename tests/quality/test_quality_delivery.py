"""What the suites of delivery read: perturbed products against their inputs, and the reports about all stages."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from astropy.io import fits

from hwosim_assets.archive.sample import write_sample
from hwosim_assets.catalog.products import PRODUCTS, product_row
from hwosim_assets.fits.describe import describe
from hwosim_assets.lake.store import Lake
from hwosim_assets.lake.tables import Tables
from hwosim_assets.perturb.dataset import PERTURBED, TRUTH, perturb_program
from hwosim_assets.perturb.scenario import Scenario
from hwosim_assets.quality import comparison
from hwosim_assets.quality.inputs import read_input
from hwosim_assets.quality.report import QUALITY_REPORTS, write_report
from hwosim_assets.quality.run import RuleResult, SuiteResult, run_suite
from hwosim_assets.settings import Settings

PROGRAM = "97001"
#: Noise, throughput and lost pixels, each said honestly in errors and flags.
HONEST: dict[str, Any] = {
    "version": 1,
    "description": "Noise, dust and lost pixels.",
    "seed": 5,
    "effects": [{"read_noise": {"severity": 2}}, {"throughput": {"severity": 2}}, {"missing_values": {"severity": 3}}],
}


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("sample")
    write_sample(root, programs=1)
    return root


class Delivery:
    """Products of a program, perturbed: two of a sample, or what lies in another folder."""

    def __init__(self, sample: Path, content: dict[str, Any], names: str = "*_nrcb1_cal.fits") -> None:
        self.lake, self.tables = Lake.from_settings(Settings()), Tables.from_settings(Settings())
        self.scenario = Scenario.from_mapping("tested", content)
        rows = []
        for path in sorted(sample.rglob(names)):
            stored = path.read_bytes()
            key = f"raw/jw{PROGRAM}/{path.name}"
            self.lake.write_new(key, stored)
            described = describe(stored, path.name)
            raw = {"program": PROGRAM, "product_name": path.name, "sha256": _sha256(stored), "key": key}
            raw |= {"size_bytes": len(stored), "uri": key, "data_uri": f"mast:JWST/product/{path.name}"}
            rows.append(product_row(raw, described, []))
        self.tables.replace(PRODUCTS, {"program": PROGRAM}, pa.Table.from_pylist(rows, schema=PRODUCTS.schema))
        perturb_program(PROGRAM, self.scenario, self.lake, self.tables)

    @property
    def scope(self) -> dict[str, str]:
        return {"program": PROGRAM, "scenario": self.scenario.id}

    def rows(self) -> list[dict[str, Any]]:
        return self.tables.scan(PERTURBED, self.scope).to_pylist()

    def put(self, rows: list[dict[str, Any]]) -> None:
        self.tables.replace(PERTURBED, self.scope, pa.Table.from_pylist(rows, schema=PERTURBED.schema))

    def spoil(self, change: Callable[[fits.HDUList], None]) -> None:
        """Change the delivered file of the first product where it lies."""
        row = self.rows()[0]
        with fits.open(io.BytesIO(self.lake.read(row["key"])), memmap=False) as hdus:
            change(hdus)
            buffer = io.BytesIO()
            hdus.writeto(buffer)
        self.lake.delete(row["key"])
        self.lake.write_new(row["key"], buffer.getvalue())

    def broken(self) -> dict[str, str]:
        """Return the rules that do not hold, each with the first value that breaks it."""
        read = read_input("perturbed", PROGRAM, self.lake, self.tables, self.scenario.id)
        found = run_suite("perturbed", read.rows, read.counts)
        return {rule.name: str(rule.examples[0]["value"]) for rule in found.rules if not rule.passed}


@pytest.fixture(scope="module")
def series(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with twenty integrations, each brighter than the one before, of pixels with wavelengths."""
    shape, rng = (20, 40, 64), np.random.default_rng(3)
    signal = np.broadcast_to(np.geomspace(5, 50, 64), shape) * (1 + np.arange(20) / 100)[:, None, None]
    variances = {"VAR_POISSON": signal / 1000, "VAR_RNOISE": np.full(shape, 1e-4)}
    err = np.sqrt(variances["VAR_POISSON"] + 1e-4)
    planes = {"SCI": signal + err * rng.standard_normal(shape), "ERR": err, **variances}
    planes["WAVELENGTH"] = np.broadcast_to(np.linspace(5, 25, 64), shape)
    primary = fits.PrimaryHDU()
    primary.header.update({"TELESCOP": "JWST", "INSTRUME": "MIRI", "DETECTOR": "MIRIMAGE", "NINTS": 20})
    primary.header.update({"EXPSTART": 60000.0, "EXPMID": 60000.25, "EXPEND": 60000.5})
    hdus = [fits.ImageHDU(data.astype(np.float32), name=name) for name, data in planes.items()]
    folder = tmp_path_factory.mktemp("series")
    fits.HDUList([primary, *hdus]).writeto(folder / f"jw{PROGRAM}001001_02101_00001_mirimage_calints.fits")
    return folder


def _sha256(content: bytes) -> str:
    import hashlib

    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def delivery(state: Path, sample: Path) -> Delivery:
    return Delivery(sample, HONEST)


def test_what_the_plan_says_breaks_no_rule(delivery: Delivery) -> None:
    assert delivery.broken() == {}


LATE = {"profile": "step", "start": 60000.4}


@pytest.mark.parametrize(
    "effect",
    [
        {"throughput": {"loss": 0.3, "when": LATE}},
        {"throughput": {"loss": 0.3, "index": 3.3}},
        {"background": {"severity": 5, "when": LATE}},
        {"gaussian_noise": {"sigma": 3}},
    ],
)
def test_no_throughput_is_missed_where_pixels_have_their_own_or_light_is_added_to_some(
    effect: dict[str, Any], state: Path, series: Path
) -> None:
    assert "severity_achieved" not in Delivery(series, {**HONEST, "effects": [effect]}, "*.fits").broken()


@pytest.mark.parametrize("effect", [{"gaussian_noise": {"sigma": 3}}, {"background": {"severity": 5, "when": LATE}}])
def test_a_throughput_that_no_effect_asked_for_is_told(
    effect: dict[str, Any], state: Path, series: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    delivery = Delivery(series, {**HONEST, "effects": [effect]}, "*.fits")
    monkeypatch.setattr("hwosim_assets.perturb.proof.diff", lambda *_, **__: Believed)

    def dimmed(hdus: fits.HDUList) -> None:
        hdus["SCI"].data *= np.float32(0.97)

    delivery.spoil(dimmed)
    assert "throughput is 0.97" in delivery.broken()["severity_achieved"]


def test_a_pixel_that_nobody_says_was_changed_is_not_accounted_for(delivery: Delivery) -> None:
    def one(hdus: fits.HDUList) -> None:
        place = np.argwhere(np.isfinite(hdus["SCI"].data))[5]
        hdus["SCI"].data[tuple(place)] += 1

    delivery.spoil(one)
    assert set(delivery.broken()) == {"truth_accounts"}


class Believed:
    """A verdict that a truth accounts for every difference: then an effect is wrong."""

    accounted = True
    findings = ()


@pytest.fixture
def believed(delivery: Delivery, monkeypatch: pytest.MonkeyPatch) -> Delivery:
    """Return a delivery of which the truth is believed to account for every difference."""
    monkeypatch.setattr("hwosim_assets.perturb.proof.diff", lambda *_, **__: Believed)
    return delivery


def test_a_throughput_that_is_not_the_plans_is_told(believed: Delivery) -> None:
    def dimmed(hdus: fits.HDUList) -> None:
        hdus["SCI"].data *= np.float32(0.5)

    believed.spoil(dimmed)
    assert set(believed.broken()) == {"severity_achieved"}
    assert "throughput is 0." in believed.broken()["severity_achieved"]


def test_lost_pixels_that_are_not_flagged_are_told(believed: Delivery) -> None:
    def unflagged(hdus: fits.HDUList) -> None:
        hdus["DQ"].data[~np.isfinite(hdus["SCI"].data)] = 0

    believed.spoil(unflagged)
    assert "lost pixels are not flagged" in believed.broken()["planes_consistent"]


def test_errors_that_left_the_variances_are_told(believed: Delivery) -> None:
    def grown(hdus: fits.HDUList) -> None:
        hdus["ERR"].data *= np.float32(1.5)

    believed.spoil(grown)
    assert "the variances left ERR squared" in believed.broken()["planes_consistent"]


def test_a_share_of_lost_pixels_that_is_not_the_plans_is_told(believed: Delivery) -> None:
    rows = believed.tables.scan(TRUTH, believed.scope).to_pylist()
    for row in rows:
        record = json.loads(row["record_json"])
        (lost,) = [item for item in record["effects"] if item["effect"] == "missing_values"]
        lost["parameters"]["fraction"] *= 10
        row["record_json"] = json.dumps(record)
    believed.tables.replace(TRUTH, believed.scope, pa.Table.from_pylist(rows, schema=TRUTH.schema))
    assert "pixels were lost, the plan says a share of" in believed.broken()["severity_achieved"]


def test_a_delivery_whose_files_truths_or_inputs_are_gone_is_told(delivery: Delivery) -> None:
    good = delivery.rows()
    delivery.put([{**good[0], "stream_time_mjd": 1.0}, {**good[1], "in_sha256": "f" * 64}])
    found = delivery.broken()
    assert set(found) == {"times_kept", "input_file_current", "truth_recorded"}
    delivery.put(good)
    delivery.lake.delete(good[0]["key"])
    assert set(delivery.broken()) == {"objects_present"}
    delivery.tables.replace(TRUTH, delivery.scope, TRUTH.schema.empty_table())
    assert set(delivery.broken()) == {"objects_present", "truth_recorded", "products_compared"}


def test_a_plan_without_effects_changes_nothing(state: Path, sample: Path) -> None:
    clean = Delivery(sample, {**HONEST, "effects": []})
    assert set(clean.broken()) == {"some_product_changed"}
    clean.put([{**row, "changed": True, "out_sha256": "e" * 64} for row in clean.rows()])
    assert "change_matches_hashes" not in clean.broken()
    truths = clean.tables.scan(TRUTH, clean.scope).to_pylist()
    told = pa.Table.from_pylist([{**row, "out_sha256": "e" * 64} for row in truths], schema=TRUTH.schema)
    clean.tables.replace(TRUTH, clean.scope, told)
    assert clean.broken()["identity_kept"] == "its plan has no effect"


def test_no_more_is_compared_than_a_check_has_time_for(delivery: Delivery, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comparison, "MOST_PRODUCTS", 1)
    read = read_input("perturbed", PROGRAM, delivery.lake, delivery.tables, delivery.scenario.id)
    assert read.counts["compared"] == 1
    assert read.counts["perturbed"] == 2


def reports(lake: Lake, tables: Tables, *assets: str) -> None:
    for asset in assets:
        rule = RuleResult("usable_products", "critical", True, 1, 0, (), "Some.", {"usable": 2.0})
        write_report(lake, tables, asset, PROGRAM, SuiteResult("products", 2, (rule,)))


CHAIN = ("mast/observations", "raw/fits_files", "catalog/products", "perturbed/clean", "stream/clean")


@pytest.fixture
def reported(state: Path) -> tuple[Lake, Tables]:
    lake, tables = Lake.from_settings(Settings()), Tables.from_settings(Settings())
    reports(lake, tables, *CHAIN)
    return lake, tables


def broken_reports(lake: Lake, tables: Tables) -> set[str]:
    read = read_input("report", PROGRAM, lake, tables)
    return {rule.name for rule in run_suite("report", read.rows, read.counts).rules if not rule.passed}


def test_reports_of_every_stage_that_hold_together_break_no_rule(reported: tuple[Lake, Tables]) -> None:
    assert broken_reports(*reported) == set()


def test_a_stage_without_a_report_is_told(state: Path) -> None:
    lake, tables = Lake.from_settings(Settings()), Tables.from_settings(Settings())
    assert broken_reports(lake, tables) == {"assets_reported", "stages_reported"}
    reports(lake, tables, *CHAIN[:-1])
    assert broken_reports(lake, tables) == {"stages_reported"}


@pytest.mark.parametrize(
    ("changed", "rules"),
    [
        ({"verdict": "warned"}, {"verdict_follows_counts"}),
        ({"broken": 1}, {"counts_reconcile"}),
        ({"broken": 1, "broken_rules": "no_such_rule"}, {"broken_rules_known"}),
        ({"html_key": f"reports/other/jw{PROGRAM}/x.html"}, {"pages_in_place", "pages_present"}),
        (
            {"verdict": "failed", "broken": 1, "broken_critical": 1, "broken_rules": "usable_products"},
            {"nothing_failed"},
        ),
    ],
)
def test_a_report_that_contradicts_itself_is_told(
    changed: dict[str, Any], rules: set[str], reported: tuple[Lake, Tables]
) -> None:
    lake, tables = reported
    scope = {"program": PROGRAM, "asset": "catalog/products"}
    (row,) = tables.scan(QUALITY_REPORTS, scope).to_pylist()
    row |= {"rules": 24, **changed}
    tables.replace(QUALITY_REPORTS, scope, pa.Table.from_pylist([row], schema=QUALITY_REPORTS.schema))
    assert broken_reports(lake, tables) == rules
