"""File names: the grammar on real names, and names from outside that must not be trusted."""

from __future__ import annotations

from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwosim_assets.errors import BadInputError
from hwosim_assets.fits.names import parse_name, program_in_name, program_key, safe_file_name


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (
            "jw93065002001_02101_00001_nrca1_rate.fits",
            {
                "program": "93065", "observation": "002", "visit": "001", "visit_group": "02", "parallel_sequence": "1",
                "activity": "01", "exposure": "00001", "segment": "", "detector": "nrca1", "instrument": "NIRCAM",
                "product_type": "rate", "stage": "exposure",
            },
        ),
        (
            "jw04713002001_0310c_00001_nrs1_rate.fits",
            {"activity": "0c", "instrument": "NIRSPEC", "detector": "nrs1"},
        ),
        ("jw01185002001_01101_00001-seg006_nrca3_rateints.fits.gz", {"segment": "006", "product_type": "rateints"}),
        ("jw05893001001_02201_00001_mirimage_o001_crf.fits", {"ac_id": "o001", "product_type": "crf"}),
        (
            "jw01492-o005_s00004_nirspec_f100lp-g140m-s1600a1-sub2048_x1d.fits",
            {
                "ac_id": "o005", "source_id": "s00004", "instrument": "NIRSPEC", "stage": "stage3",
                "optical_elements": "f100lp-g140m-s1600a1-sub2048", "product_type": "x1d", "observation": "",
            },
        ),
        (
            "jw02739-o002_t001_miri_f770w_i2d.fits",
            {"target_id": "001", "optical_elements": "f770w", "instrument": "MIRI"},
        ),
        ("jw07340-c1004_t001_miri_f1065c-mask1065_i2d.fits", {"ac_id": "c1004", "product_type": "i2d"}),
        ("jw01093-o001_t001_nircam_f212n-wlm8_wfscmb-0c.fits", {"product_type": "wfscmb", "activity": "0c"}),
        ("jw02561002003_01_msa.fits.gz", {"stage": "visit", "visit_group": "01", "instrument": "NIRSPEC"}),
        ("jw01029001001_gs-fg_2022142181502_cal.fits", {"stage": "guide_star", "product_type": "cal"}),
        ("jw01074001001_02101_00001_guider1_cal.fits.fz", {"instrument": "FGS"}),
    ],
)  # fmt: skip
def test_real_names_are_read(name: str, expected: dict[str, str]) -> None:
    parsed = parse_name(name)
    assert parsed is not None
    assert {part: getattr(parsed, part) for part in expected} == expected


@pytest.mark.parametrize(
    "name",
    [
        "jw1069001001_01101_00001_nrca1_uncal.fits",  # pre-flight: ten digits
        "jw01022-o023_t001_miri_ch2-short_s3d_nav.fits",  # something added
        "jw01185002001_01101_00001-seg006_nrca3_rateints_I01226.fits",
        "jw02739-o002_t001_miri_f770w_i2d.jpg",
        "JW93065002001_02101_00001_NRCA1_RATE.fits",
        "hlsp_glass-jwst_jwst_nirspec_abell2744_f290lp-g395h_v1_spec.fits",
        "",
        "jw" * 400,
        "jw01093012001_03102_00001_nis_cal.fits\n",
        "jw\u0660\u0661\u0660\u0669\u0663012001_03102_00001_nis_cal.fits",  # digits, but no ASCII ones
        "jw\u0660\u0661\u0660\u0669\u0663-o012_t001_niriss_f090w_i2d.fits",
    ],
)
def test_other_names_are_not_taken_for_jwst(name: str) -> None:
    assert parse_name(name) is None


def test_obs_id_is_the_name_without_product_type() -> None:
    for name, obs_id in (
        ("jw05224004001_03101_00004_nrs2_cal.fits", "jw05224004001_03101_00004_nrs2"),
        ("jw05224-o004_s000277193_nirspec_clear-prism_x1d.fits", "jw05224-o004_s000277193_nirspec_clear-prism"),
        ("jw01185002001_01101_00001-seg006_nrca3_rateints.fits.gz", "jw01185002001_01101_00001-seg006_nrca3"),
    ):
        parsed = parse_name(name)
        assert parsed is not None
        assert parsed.obs_id == obs_id


def test_hierarchy_goes_from_program_to_exposure() -> None:
    def hierarchy(name: str) -> tuple[str, ...]:
        parsed = parse_name(name)
        assert parsed is not None
        return parsed.hierarchy

    assert hierarchy("jw01093012001_03102_00001_nis_cal.fits") == ("jw01093", "012", "001", "03102", "00001")
    assert hierarchy("jw01492-o005_s00004_nirspec_f100lp-g140m_x1d.fits") == ("jw01492", "L3", "o005")
    assert hierarchy("jw02561002003_01_msa.fits.gz") == ("jw02561", "002", "003")


def test_names_in_the_archive_s_own_lists_are_read(real_data) -> None:
    import csv

    with (real_data / "mast" / "JWST_0098_MAST_ALL_PRODUCTS.csv").open(newline="") as listing:
        rows = [row for row in csv.DictReader(listing) if row["productFilename"].endswith(".fits")]
    assert len(rows) > 100
    for row in rows:
        parsed = parse_name(row["productFilename"])
        assert parsed is not None, row["productFilename"]
        assert int(parsed.program) == int(row["proposal_id"])
        if parsed.stage != "visit":  # MSA files are listed under each exposure that used them
            assert parsed.obs_id == row["obs_id"]


def test_program_at_the_start_of_a_changed_name() -> None:
    assert program_in_name("jw01185002001_01101_00001-seg006_nrca3_rateints_I01226.fits") == "01185"
    assert program_in_name("test.fits") is None


@pytest.mark.parametrize(("value", "key"), [(1093, "01093"), ("1093", "01093"), (" 01093 ", "01093"), (0, "00000")])
def test_program_keys_have_five_digits(value: str | int, key: str) -> None:
    assert program_key(value) == key


@pytest.mark.parametrize("value", ["", "jw01093", "123456", -1, "1e3", "١٢٣", True, "../../etc", "10 93"])
def test_other_programs_are_refused(value: str | int) -> None:
    with pytest.raises(BadInputError, match="is not a JWST program number"):
        program_key(value)


@pytest.mark.parametrize(
    "name",
    ["", " ", "..", ".", "../x.fits", "a/b.fits", "a\\b.fits", "a\0.fits", "a\n.fits", "x" * 256, "é" * 128, "a\u202eb",
     "\ud800.fits", " x.fits", "x.fits "],
)  # fmt: skip
def test_unsafe_names_are_refused(name: str) -> None:
    with pytest.raises(BadInputError):
        safe_file_name(name)


@given(st.text(max_size=300))
def test_a_safe_name_stays_in_its_folder(name: str) -> None:
    parse_name(name)
    try:
        safe = safe_file_name(name)
    except BadInputError as error:
        assert "\n" not in str(error)
        return
    assert PurePosixPath("lake", safe).parts == ("lake", safe)
