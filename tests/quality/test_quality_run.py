import datetime as dt
from collections.abc import Mapping

import pyarrow as pa
import pytest

from hwosim_assets.quality import run
from hwosim_assets.quality.inputs_delivery import stream_input
from hwosim_assets.quality.rules import MOST_RULES, Expectation, Rule, Suite, at_least, not_null
from hwosim_assets.quality.run import EXAMPLES, RuleResult, SuiteNotRunError, run_suite
from hwosim_assets.quality.suites import SUITES, suite_named

SHA = "a" * 64


def observations(**changed: list[object]) -> pa.Table:
    columns: dict[str, list[object]] = {
        "program": ["01093"] * 3,
        "proposal_program": ["01093", "01093", None],
        "obsid": ["1", "2", "3"],
        "obs_id": ["jw01093-o001", "jw01093-o002", "jw01093-o003"],
        "s_ra": [0.0, 359.9, None],
        "s_dec": [-90.0, 90.0, None],
        "t_min": [60000.0, 60001.0, None],
        "t_max": [60000.5, 60001.0, None],
        "t_exptime": [100.0, 0.0, None],
        "em_min": [600.0, 4662.0, None],
        "em_max": [2300.0, 4977.0, None],
        "calib_level": [3, -1, None],
        "dataRights": ["PUBLIC", "exclusive_access", None],
        "obs_collection": ["JWST", "JWST", "JWST"],
        "instrument_name": ["NIRCAM/IMAGE", "NIRSPEC/MSA", None],
        "intentType": ["science", "calibration", None],
        "dataproduct_type": ["image", "spectrum", None],
        "s_region": ["POLYGON ICRS 0 -90 1 -90 1 -89", "circle 359.9 90 0.1", None],
        "outside_deg": [0.0, 0.0, None],
        "public_before_release": [None, None, None],
        "exposure_excess_s": [-43100.0, 0.0, None],
    }
    return pa.table({**columns, **changed})


def broken(rows: pa.Table, counts: Mapping[str, float], suite: str = "mast_observations") -> dict[str, RuleResult]:
    return {rule.name: rule for rule in run_suite(suite, rows, counts).rules if not rule.passed}


def test_good_rows_pass_every_rule_and_absent_values_are_not_held_against_them() -> None:
    result = run_suite("mast_observations", observations(), {"observations": 3})
    assert [rule.name for rule in result.rules] == [rule.name for rule in suite_named("mast_observations").rules]
    assert result.broken("critical") == result.broken("warning") == result.broken("info") == []
    assert (result.passed, result.verdict, result.rows) == (True, "passed", 3)
    assert {rule.name: rule.checked for rule in result.rules}["coordinates_in_range"] == 4


DEFECTS: list[tuple[str, dict[str, list[object]], int, str]] = [
    ("required_columns_not_null", {"obs_id": ["a", None, "c"]}, 1, "failed"),
    ("obsid_unique", {"obsid": ["1", "1", "3"]}, 2, "failed"),
    ("program_pattern", {"program": ["1093", "01093", "01093"], "proposal_program": [None] * 3}, 1, "failed"),
    ("proposal_agrees", {"proposal_program": ["01093", "02739", None]}, 1, "warned"),
    ("coordinates_in_range", {"s_ra": [360.0, 10.0, -0.1]}, 2, "warned"),
    ("coordinates_in_range", {"s_dec": [90.1, 10.0, None]}, 1, "warned"),
    ("times_ordered", {"t_min": [60001.0, 60001.0, None]}, 1, "warned"),
    ("exposure_time_not_negative", {"t_exptime": [-1.0, 0.0, 1.0]}, 1, "warned"),
    ("wavelengths_ordered", {"em_min": [2301.0, 4662.0, None]}, 1, "warned"),
    ("wavelengths_ordered", {"em_min": [6e-7, 4662.0, None]}, 1, "warned"),
    ("calib_level_known", {"calib_level": [5, 2, None]}, 1, "warned"),
    ("data_rights_known", {"dataRights": ["PUBLICITY", "public", None]}, 1, "warned"),
    ("instrument_known", {"instrument_name": ["WFC3/UVIS", "MIRI/IMAGE", None]}, 1, "warned"),
    ("position_in_footprint", {"outside_deg": [0.5, 0.0, None]}, 1, "warned"),
    ("rights_follow_release", {"public_before_release": ["released 99999.0", None, None]}, 1, "warned"),
    ("collection_is_jwst", {"obs_collection": ["HST", "JWST", "JWST"]}, 1, "passed"),
]


@pytest.mark.parametrize(
    ("rule", "changed", "count", "verdict"), DEFECTS, ids=[f"{d[0]}-{n}" for n, d in enumerate(DEFECTS)]
)
def test_each_defect_is_caught_by_its_rule_and_by_no_other(
    rule: str, changed: dict[str, list[object]], count: int, verdict: str
) -> None:
    rows = observations(**changed)
    found = broken(rows, {"observations": 3})
    assert set(found) == {rule}
    assert found[rule].unexpected == count
    assert run_suite("mast_observations", rows, {"observations": 3}).verdict == verdict


def test_a_run_prints_nothing_and_keeps_nothing_of_the_last(capfd: pytest.CaptureFixture[str]) -> None:
    assert broken(observations(s_ra=[400.0, 0.0, 0.0]), {"observations": 3})
    assert not broken(observations(), {"observations": 3})
    assert capfd.readouterr() == ("", "")


def test_an_empty_program_breaks_the_rule_that_counts_and_says_the_count() -> None:
    found = broken(observations().slice(0, 0), {"observations": 0})
    assert set(found) == {"observations_listed"}
    assert found["observations_listed"].found == {"observations": 0}
    assert found["observations_listed"].examples == ({"column": "observations", "value": "0"},)


def test_examples_name_the_row_the_column_and_the_value_and_are_bounded() -> None:
    many = 500
    rows = pa.table(
        {
            name: pa.array([value] * many)
            for name, value in {
                **{column: observations()[column][0].as_py() for column in observations().column_names},
                "s_ra": 400.0,
            }.items()
        }
    )
    rows = rows.set_column(rows.column_names.index("obsid"), "obsid", [[str(number) for number in range(many)]])
    rule = broken(rows, {"observations": many})["coordinates_in_range"]
    assert rule.unexpected == many
    assert len(rule.examples) == EXAMPLES
    assert rule.examples[0] == {"obs_id": "jw01093-o001", "column": "s_ra", "value": "400.0"}


def test_a_missing_column_or_count_is_a_fault_of_the_platform() -> None:
    with pytest.raises(SuiteNotRunError, match=r"quality suite mast_observations: it reads s_dec"):
        run_suite("mast_observations", observations().drop_columns(["s_dec"]), {"observations": 3})
    with pytest.raises(SuiteNotRunError, match="it reads observations, which"):
        run_suite("mast_observations", observations())


def test_an_exception_inside_great_expectations_is_raised_and_no_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    regex = Expectation("ExpectColumnValuesToMatchRegex", {"column": "x", "regex": "("})
    suite = Suite(
        "odd",
        (Rule("odd", "warning", "It matches.", (regex,)), Rule("sized", "info", "x", at_least(0, "n"), "counts")),
        ("x",),
    )
    monkeypatch.setattr(run, "suite_named", lambda name: suite)
    with pytest.raises(SuiteNotRunError, match=r"quality suite odd, rule odd: Great Expectations could not evaluate"):
        run_suite("odd", pa.table({"x": ["a"]}), {"n": 1})


def test_a_pattern_does_not_stop_at_a_line_break() -> None:
    found = broken(
        observations(program=["01093\n", "01093", "01093"], proposal_program=[None] * 3), {"observations": 3}
    )
    assert set(found) == {"program_pattern"}


def publications(**changed: list[object]) -> pa.Table:
    columns: dict[str, list[object]] = {
        "run_id": ["r1"],
        "plan_sha256": [SHA],
        "planned": [100],
        "lost": [2],
        "duplicated": [3],
        "published": [101],
        "consumed": [101],
        "verified": [True],
        "bytes": [1000],
        "seconds": [1.5],
        "planned_seconds": [1.0],
        "late_p99_ms": [3.0],
        "waited_p95_ms": pa.array([None], pa.float64()),
        "discrepancies": [0],
        "examples_json": pa.array([None], pa.string()),
        "truths": [4],
        "products": [4],
        "first_offset": [0],
        "last_offset": [100],
        "plan_key": ["plans/clean/jw01093/a.parquet"],
        "receipt_key": ["receipts/clean/jw01093/a/1.parquet"],
        "published_at": [dt.datetime(2026, 1, 1, tzinfo=dt.UTC)],
    }
    return pa.table({**columns, **changed})


@pytest.mark.parametrize(
    ("changed", "rules"),
    [
        ({"discrepancies": [1]}, {"no_discrepancy", "nothing_lost", "nothing_duplicated"}),
        ({}, {"nothing_lost", "nothing_duplicated"}),
        ({"consumed": [100]}, {"counts_reconcile", "nothing_lost", "nothing_duplicated"}),
        ({"published": [103]}, {"plan_published", "nothing_lost", "nothing_duplicated"}),
        ({"verified": [False]}, {"every_message_reconciled", "nothing_lost", "nothing_duplicated"}),
        (
            {"verified": pa.array([None], pa.bool_())},
            {"required_columns_not_null", "nothing_lost", "nothing_duplicated"},
        ),
        (
            {"lost": [60], "published": [43], "consumed": [43]},
            {"lost_share_small", "nothing_lost", "nothing_duplicated"},
        ),
    ],
)
def test_a_publication_must_reconcile(changed: dict[str, list[object]], rules: set[str]) -> None:
    read = stream_input(publications(**changed))
    assert set(broken(read.rows, read.counts, "stream")) == rules


def test_only_the_latest_publication_is_judged() -> None:
    old = publications(verified=[False], run_id=["r0"], published_at=[dt.datetime(2025, 1, 1, tzinfo=dt.UTC)])
    read = stream_input(pa.concat_tables([old, publications()]))
    assert "every_message_reconciled" not in broken(read.rows, read.counts, "stream")
    assert read.counts == {"publications": 2}


def test_the_publication_of_the_plan_that_is_named_is_judged() -> None:
    later = publications(
        verified=[False], plan_sha256=["b" * 64], published_at=[dt.datetime(2027, 1, 1, tzinfo=dt.UTC)]
    )
    both = pa.concat_tables([publications(), later])
    read = stream_input(both, SHA)
    assert (read.rows["plan_sha256"].to_pylist(), read.counts) == ([SHA], {"publications": 1})
    read = stream_input(both, "c" * 64)
    assert "publication_recorded" in broken(read.rows, read.counts, "stream")


def test_an_empty_plan_is_not_divided_by() -> None:
    read = stream_input(publications(planned=[0], lost=[0], duplicated=[0], published=[0], consumed=[0]))
    assert "messages_planned" in broken(read.rows, read.counts, "stream")


def test_every_suite_has_few_rules_that_say_what_they_mean() -> None:
    for suite in SUITES.values():
        assert 1 <= len(suite.rules) <= MOST_RULES
        assert any(rule.severity == "critical" for rule in suite.rules)
        for rule in suite.rules:
            assert rule.doc.endswith(".")
            assert rule.expectations
            assert rule.columns()
    with pytest.raises(KeyError, match="there are header_cards"):
        suite_named("nothing")


def test_a_suite_refuses_odd_and_repeated_names() -> None:
    with pytest.raises(ValueError, match="snake case"):
        Rule("Not Snake", "info", "x", not_null("a"))
    rule = Rule("twice", "info", "x", not_null("a"))
    with pytest.raises(ValueError, match="unique"):
        Suite("s", (rule, rule), ("a",))
