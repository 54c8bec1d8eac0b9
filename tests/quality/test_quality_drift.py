import datetime as dt
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from scipy import stats

from hwosim_assets.catalog.products import PRODUCTS
from hwosim_assets.lake.tables import Tables
from hwosim_assets.quality.drift import FIRST, follow, followed
from hwosim_assets.quality.history import Evaluation, record_results
from hwosim_assets.quality.run import RuleResult, SuiteResult
from hwosim_assets.settings import Settings


@pytest.mark.parametrize("step", [1.0, -1.0, 2.0, -3.0])
def test_a_planted_step_is_found_where_it_was_planted(step: float) -> None:
    found = []
    for seed in range(20):
        values = np.random.default_rng(seed).normal(50.0, 4.0, 200)
        values[100:] += 4.0 * step
        alarms = [alarm for alarm in follow(values).alarms if alarm.at >= 100]
        assert alarms, f"seed {seed}"
        found.append(alarms[0])
    late = [alarm.at - 100 for alarm in found]
    assert np.mean(late) < 30 / abs(step)
    assert abs(np.median([alarm.since - 100 for alarm in found])) <= 5
    assert np.mean([alarm.after - alarm.before for alarm in found]) == pytest.approx(4.0 * step, rel=0.35)


def test_a_step_is_one_alarm_and_the_level_after_it_is_the_new_reference() -> None:
    values = np.random.default_rng(3).normal(0.0, 1.0, 400)
    values[150:] += 3.0
    drift = follow(values)
    assert len(drift.alarms) == 1
    assert drift.mean[-1] == pytest.approx(3.0, abs=0.3)
    assert abs(drift.z[-50:]).max() < 5


def test_where_nothing_changes_there_is_hardly_an_alarm() -> None:
    """One in some 7000 values: about 4 of these 30 000; more than 15 would be five times as many."""
    alarms = sum(len(follow(np.random.default_rng(seed).normal(5.0, 2.0, 300)).alarms) for seed in range(100))
    assert alarms <= 15


def test_scores_of_normal_values_are_standard_normal() -> None:
    scores = [follow(np.random.default_rng(seed).normal(7.0, 3.0, FIRST + 1)) for seed in range(400)]
    last = np.array([drift.z[-1] for drift in scores]) * np.sqrt(FIRST / (FIRST + 1))
    assert stats.kstest(last, stats.t(FIRST - 1).cdf).pvalue > 1e-3


def test_mean_and_z_are_those_of_the_values_before() -> None:
    values = np.random.default_rng(5).normal(1e6, 1e-2, 40)
    drift = follow(values)
    assert np.isnan(drift.z[:FIRST]).all()
    for place in range(FIRST, 40):
        before = values[:place]
        assert drift.mean[place] == pytest.approx(before.mean(), rel=1e-14)
        assert drift.z[place] == pytest.approx((values[place] - before.mean()) / before.std(ddof=1), rel=1e-6)


def test_one_wild_value_is_an_outlier_and_no_drift() -> None:
    values = np.random.default_rng(6).normal(0.0, 1.0, 80)
    values[40] = 1e6
    drift = follow(values)
    assert drift.alarms == ()
    assert drift.z[40] > 1e4


def test_a_level_without_scatter_changes_by_a_step_and_not_by_rounding() -> None:
    assert follow([0.1 + 0.2] * 20 + [0.3] * 20).alarms == ()
    [alarm] = follow([1.0] * 50 + [2.0] * 10).alarms
    assert (alarm.since, alarm.before, alarm.after) == (50, 1.0, 2.0)
    assert follow([0.0] * 50 + [1.0] + [0.0] * 30).alarms == ()


def test_short_and_empty_series_say_nothing_and_a_nan_is_refused() -> None:
    assert follow([]).alarms == ()
    assert follow([1.0]).alarms == ()
    assert follow([1.0] * FIRST).alarms == ()
    with pytest.raises(ValueError, match="not finite"):
        follow([1.0, float("nan")])


# ---------------------------------------------------------------------- out of the tables


@pytest.fixture
def tables(state: Path) -> Tables:
    return Tables.from_settings(Settings())


def products(tables: Tables, program: str, first_day: int, findings: int, *, count: int = 20) -> None:
    warnings = json.dumps([{"rule": f"r{number}", "reason": "x"} for number in range(findings)])
    columns = {
        "program": program,
        "sha256": "a" * 64,
        "size_bytes": 1,
        "key": "k",
        "uri": "u",
        "data_uri": "d",
        "product_type": "cal",
        "layout_json": "{}",
        "extractor_version": 1,
        "instrument_name": "NIRCAM",
        "kw_photmjsr": 2.5,
    }
    rows = [
        {
            **columns,
            "product_name": f"jw{program}_{detector}_{number:03}_cal.fits",
            "detector": detector,
            "stream_time_mjd": 60000.0 + first_day + number,
            "warnings": warnings if findings and detector == "NRCA1" else None,
        }
        for number in range(count)
        for detector in ("NRCA1", "NRCB1")
    ]
    tables.replace(PRODUCTS, {"program": program}, pa.Table.from_pylist(rows, schema=PRODUCTS.schema))


def test_a_detector_that_goes_bad_is_named_with_the_product_it_began_with(tables: Tables) -> None:
    products(tables, "00002", 100, findings=2)  # written first, exposed later
    products(tables, "00001", 0, findings=0)
    [bad] = [one for one in followed(tables) if one.drift.alarms]
    assert (bad.series.measure, bad.series.group) == ("findings per product", "NIRCAM/NRCA1")
    assert list(bad.series.times) == sorted(bad.series.times)
    [alarm] = bad.alarms_of("00002")
    assert bad.alarms_of("00001") == []
    said = bad.as_record(alarm)
    assert (said["since"], said["since_mjd"]) == ("jw00002_NRCA1_000_cal.fits", 60100.0)
    assert (said["mean_before"], said["mean_after"]) == (0.0, 2.0)
    json.dumps(said, allow_nan=False)


def test_products_that_stay_as_they_were_raise_nothing(tables: Tables) -> None:
    products(tables, "00001", 0, findings=1)
    products(tables, "00002", 100, findings=1)
    found = followed(tables)
    assert len(found) == 4  # findings and PHOTMJSR of two detectors
    assert all(one.drift.alarms == () for one in found)
    assert followed(tables, "09999") == []


def check(tables: Tables, program: str, unexpected: int, version: str, run: str) -> None:
    rule = RuleResult("coordinates_in_range", "warning", not unexpected, 100, unexpected, (), "On the sky.", {})
    result = SuiteResult("products", 100, (rule,))
    record_results(tables, "catalog/products", program, result, Evaluation(run, version), "k")


def test_a_rule_that_is_broken_more_and_more_is_named_and_the_same_data_count_once(tables: Tables) -> None:
    for number in range(12):
        check(tables, f"{number:05}", 0, "v1", f"r{number:02}")
    for again in range(12):  # the same data of one bad program, checked over and over
        check(tables, "00050", 60, "v1", f"s{again:02}")
    assert all(one.drift.alarms == () for one in followed(tables))
    for number in range(60, 64):
        check(tables, f"{number:05}", 60, "v1", f"t{number}")
    [bad] = [one for one in followed(tables) if one.drift.alarms]
    assert bad.series.group == "catalog/products coordinates_in_range"
    assert bad.alarms_of("00063")
    assert not bad.alarms_of("00003")
    assert abs(bad.series.times[-1] - 40587 - dt.datetime.now(dt.UTC).timestamp() / 86400) < 0.1
