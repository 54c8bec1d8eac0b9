"""Keys of the lake: the mission's hierarchy, and nothing that could leave it or tell what was done."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwosim_assets.errors import BadInputError
from hwosim_assets.lake.layout import delivered_key, plan_key, raw_key, receipt_key, report_key, truth_key
from hwosim_assets.lake.store import checked_key

SHA = "ab" * 32


@pytest.mark.parametrize(
    ("name", "program", "folder"),
    [
        ("jw01093012001_03102_00001_nis_cal.fits", "01093", "raw/jw01093/012/001/03102/00001"),
        ("jw02282010001_02101_00002-seg001_nrcalong_rateints.fits", "02282", "raw/jw02282/010/001/02101/00002"),
        ("jw02727-o002_t062_nircam_clear-f277w_i2d.fits", "02727", "raw/jw02727/L3/o002"),
        ("my own file.fits", "00000", "raw/jw00000/other"),
        ("my own file.fits", "1093", "raw/jw01093/other"),
        # The name decides over the program that the archive lists it under.
        ("jw01093012001_03102_00001_nis_cal.fits", "02282", "raw/jw01093/012/001/03102/00001"),
    ],
)
def test_raw_files_lie_in_the_missions_hierarchy(name: str, program: str, folder: str) -> None:
    assert raw_key(name, program, "0123abcd") == f"{folder}/{name}/0123abcd/{name}"


def test_a_delivered_key_is_content_and_name_only() -> None:
    assert delivered_key(SHA, "jw01093_cal.fits") == f"delivered/ab/{SHA}/jw01093_cal.fits"


def test_the_other_kinds() -> None:
    assert truth_key("1093", "nominal_l2", SHA, "a_cal.npz") == f"truth/nominal_l2/jw01093/{SHA}/a_cal.npz"
    assert plan_key("01093", "clean--0123abcd", SHA) == f"plans/clean--0123abcd/jw01093/{SHA}.parquet"
    assert receipt_key("01093", "clean", SHA, "run-1") == f"receipts/clean/jw01093/{SHA}/run-1.parquet"
    assert report_key("catalog/products", "01093", "latest") == "reports/catalog/products/jw01093/latest.html"


@pytest.mark.parametrize(
    "make",
    [
        lambda: raw_key("../x.fits", "01093", "1"),
        lambda: raw_key("x.fits", "abc", "1"),
        lambda: raw_key("x.fits", "01093", "../1"),
        lambda: raw_key("x.fits", "01093", ""),
        lambda: delivered_key("ab", "x.fits"),
        lambda: delivered_key(SHA.upper(), "x.fits"),
        lambda: delivered_key(SHA, "a/b"),
        lambda: truth_key("01093", "../clean", SHA, "x"),
        lambda: plan_key("01093", "clean", "../" + SHA),
        lambda: receipt_key("01093", "clean", SHA, "a/b"),
        lambda: report_key("catalog/../../x", "01093", "a"),
    ],
)
def test_what_could_leave_the_lake_is_refused(make: Callable[[], str]) -> None:
    with pytest.raises(BadInputError):
        make()


@settings(deadline=None)
@given(st.text(max_size=60), st.text(max_size=6))
def test_any_key_that_is_made_is_a_key(name: str, program: str) -> None:
    try:
        key = raw_key(name, program, "1")
    except BadInputError:
        return
    assert key.startswith("raw/jw")
    if name.isprintable():
        assert checked_key(key) == key
