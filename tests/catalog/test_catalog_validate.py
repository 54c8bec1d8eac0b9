"""The rules: a good file passes without a word, and every spoiled one is told by its own rule."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from hwosim_assets.catalog.validate import Finding, validate
from hwosim_assets.fits.blocks import UnreadableFitsError, scan
from hwosim_assets.fits.describe import describe_scan

NAME = "jw01093012001_03102_00001_nis_cal.fits"


def judged(content: bytes, folder: Path, name: str = NAME) -> list[Finding]:
    path = folder / name
    path.write_bytes(content)
    found = scan(path)
    return validate(found, describe_scan(found, name), path)


def test_a_good_exposure_has_no_findings(cal: fits.HDUList, packed: Callable[..., bytes], tmp_path: Path) -> None:
    assert judged(packed(cal), tmp_path) == []
    assert judged(packed(cal, checksum=True), tmp_path) == []


def without(*names: str) -> Callable[[fits.HDUList], None]:
    def spoil(hdus: fits.HDUList) -> None:
        for name in names:
            del hdus[name]

    return spoil


def primary(**cards: object) -> Callable[[fits.HDUList], None]:
    def spoil(hdus: fits.HDUList) -> None:
        for keyword, value in cards.items():
            if value is None:
                del hdus[0].header[keyword]
            else:
                hdus[0].header[keyword] = value

    return spoil


def plane(name: str, data: np.ndarray) -> Callable[[fits.HDUList], None]:
    def spoil(hdus: fits.HDUList) -> None:
        hdus[name].data = data

    return spoil


def science(**cards: object) -> Callable[[fits.HDUList], None]:
    def spoil(hdus: fits.HDUList) -> None:
        for keyword, value in cards.items():
            hdus["SCI"].header[keyword] = value

    return spoil


REJECTED = [
    ("telescope", primary(TELESCOP=None), "TELESCOP is missing"),
    ("telescope", primary(TELESCOP="HST"), "not JWST's"),
    ("reference_file", primary(REFTYPE="FLAT"), "CRDS reference file"),
    ("reference_file", primary(USEAFTER="2022-01-01", PEDIGREE="GROUND"), "CRDS reference file"),
    ("community_product", primary(HLSPID="GLASS"), "community"),
    ("data_model", primary(DATAMODL=None), "DATAMODL is missing"),
    ("exposure_type", primary(EXP_TYPE=None), "EXP_TYPE is missing"),
    ("instrument", primary(INSTRUME="WFPC2"), "none of JWST's instruments"),
    ("instrument_mode", primary(EXP_TYPE="MIR_IMAGE"), "not a mode"),
    ("detector", primary(DETECTOR="NRCA1"), "belongs to NIRCAM"),
    ("name_header", primary(PROGRAM="01094"), "file name says '01093'"),
    ("name_header", primary(OBSERVTN="013"), "OBSERVTN"),
    ("required_hdus", without("ERR", "DQ"), "lacks ERR, DQ"),
    ("required_hdus", without("SCI"), "lacks SCI"),
    ("pixels_missing", plane("SCI", np.zeros((1, 1), np.float32)), "promise 12 × 16"),
    ("axes", plane("SCI", np.zeros((2, 16, 12), np.float32)), "3 axes"),
    ("shapes", plane("ERR", np.zeros((16, 11), np.float32)), "ERR is"),
    ("shapes", plane("DQ", np.zeros((8, 12), np.uint32)), "DQ is"),
    ("times", primary(EXPEND=59735.4), "before it starts"),
    ("coordinates", primary(TARG_DEC=-123.0), "no position on the sky"),
    ("no_finite_data", plane("SCI", np.full((16, 12), np.nan, np.float32)), "no finite value"),
]


@pytest.mark.parametrize(("rule", "spoil", "words"), REJECTED, ids=[f"{row[0]}-{row[2]}" for row in REJECTED])
def test_a_broken_promise_is_rejected(
    rule: str,
    spoil: Callable[[fits.HDUList], None],
    words: str,
    cal: fits.HDUList,
    packed: Callable[..., bytes],
    tmp_path: Path,
) -> None:
    spoil(cal)
    rejections = [item for item in judged(packed(cal), tmp_path) if item.severity == "reject"]
    assert rejections
    assert rule in {item.rule for item in rejections}
    assert words in " ".join(item.reason for item in rejections)


WARNED = [
    ("data_model_known", primary(DATAMODL="NewModel")),
    ("exposure_type_known", primary(EXP_TYPE="NIS_NEWMODE")),
    ("file_name", primary(FILENAME="other.fits")),
    ("usual_hdus", without("VAR_FLAT")),
    ("variance_shapes", plane("VAR_RNOISE", np.zeros((1, 12), np.float32))),
    ("before_launch", primary(EXPSTART=50000.0, EXPMID=50000.0, EXPEND=50000.1)),
    ("units", science(BUNIT="furlong")),
    ("footprint", science(S_REGION="POLYGON ICRS 0 0 90 0 90 80 0 80")),
    ("versions", primary(CAL_VER=None)),
    ("telemetry", primary(DATAPROB=True)),
    ("engineering", primary(ENG_QUAL="SUSPECT")),
    ("errors", plane("ERR", np.full((16, 12), -1, np.float32))),
]


@pytest.mark.parametrize(("rule", "spoil"), WARNED, ids=[row[0] for row in WARNED])
def test_a_harmless_quirk_is_a_warning(
    rule: str, spoil: Callable[[fits.HDUList], None], cal: fits.HDUList, packed: Callable[..., bytes], tmp_path: Path
) -> None:
    spoil(cal)
    findings = judged(packed(cal), tmp_path)
    assert {item.severity for item in findings} == {"warn"}
    assert rule in {item.rule for item in findings}


def test_changed_data_break_their_checksum(cal: fits.HDUList, packed: Callable[..., bytes], tmp_path: Path) -> None:
    content = bytearray(packed(cal, checksum=True))
    content[scan(bytes(content)).blocks[1].data_offset + 40] ^= 1
    findings = judged(bytes(content), tmp_path)
    assert [(item.rule, item.severity) for item in findings] == [("checksum", "reject")]
    assert "HDU 1" in findings[0].reason


def test_an_edited_header_is_only_told(cal: fits.HDUList, packed: Callable[..., bytes], tmp_path: Path) -> None:
    content = packed(cal, checksum=True).replace(b"'AB Dor  '", b"'AB Dox  '")
    assert [(item.rule, item.severity) for item in judged(content, tmp_path)] == [("header_checksum", "warn")]


def test_a_spectrum_needs_its_columns(cal: fits.HDUList, packed: Callable[..., bytes], tmp_path: Path) -> None:
    name = NAME.replace("_cal", "_x1d")
    cal[0].header["FILENAME"] = name
    cal[0].header["DATAMODL"] = "MultiSpecModel"
    units = {"WAVELENGTH": "um", "FLUX": "Jy"}
    columns = [fits.Column(column, "D", unit=unit, array=np.arange(1.0, 6.0)) for column, unit in units.items()]
    good = fits.HDUList([cal[0], fits.BinTableHDU.from_columns(columns, name="EXTRACT1D")])
    assert judged(packed(good), tmp_path, name) == []
    poor = fits.HDUList([cal[0], fits.BinTableHDU.from_columns(columns[:1], name="EXTRACT1D")])
    assert [item.rule for item in judged(packed(poor), tmp_path, name)] == ["columns"]


def test_real_files_get_the_verdict_a_user_would_give(real_data: Path) -> None:
    validated, rules = set(), {}
    for path in sorted((real_data / "jwst").rglob("*")):
        if not path.is_file():
            continue
        try:
            found = scan(path)
        except UnreadableFitsError:
            rules[path.name] = {"fits_structure"}
            continue
        findings = validate(found, describe_scan(found, path.name), path)
        broken = {item.rule for item in findings if item.severity == "reject"}
        if broken:
            rules[path.name] = broken
        else:
            validated.add(path.name)
    assert len(validated) >= 26
    for name in (
        "jw01093012001_03102_00001_nis_cal.fits",
        "jw01288015001_04101_00001_mirimage_i2d.fits",
        "jw01492-o005_s00004_nirspec_f100lp-g140m-s1600a1-sub2048_x1d.fits",
        "jw02565007001_03101_00002_nrs2_cal.fits",
        "Level3_ch4-medium_s3d.fits.gz",
        "ERS_NGTS10_2022_new_drift_041_rateints.fits",
        "jwst_nod1_cal.fits",
        "jw00793001001_01101_00001_nis_uncal.fits",
    ):
        assert name in validated, rules.get(name)
    expected = {
        "jwst_nirspec_photom_0014.fits": {"reference_file"},
        "jw02561002003_01_msa.fits.gz": {"supporting_file"},
        "hlsp_glass-jwst_jwst_nirspec_abell2744-1324-10003_f290lp-g395h_v1_spec.fits": {"community_product"},
        "jw01075001001_03105_00009_nrca2_uncal.fits": {"pixels_missing"},
        "fgs_acq1_guider1.fits": {"pixels_missing"},
        "VV114_MIRI_ch1_SHORT_s1d.fits": {"telescope"},
        "001882_prism_clear_v5.0_1D.fits": {"data_model"},
        "headers.fits": {"exposure_type"},
        "exp_0.fits": {"required_hdus"},
        "manual_calwebb3_asn.json": {"fits_structure"},
    }
    assert {name: rules.get(name) for name in expected} == expected


@pytest.mark.parametrize(
    ("card", "damaged"),
    [
        (b"TUNIT1  = 'um      '", b"TUNIT1  = 'um   ' '7"),
        (b"TTYPE1  = 'WAVELENGTH'", b"TTYPE1  =            5"),
        (b"TFORM2  = 'D       '", b"TFORM2  = '9Z      '"),
    ],
)
def test_columns_that_astropy_cannot_read_are_a_rejection(
    card: bytes, damaged: bytes, cal: fits.HDUList, packed: Callable[..., bytes], tmp_path: Path
) -> None:
    name = NAME.replace("_cal", "_x1d")
    columns = [fits.Column(column, "D", unit="um", array=np.ones(5)) for column in ("WAVELENGTH", "FLUX")]
    content = packed(fits.HDUList([cal[0], fits.BinTableHDU.from_columns(columns, name="EXTRACT1D")]))
    assert content.count(card) == 1
    findings = judged(content.replace(card, damaged), tmp_path, name)
    assert {item.rule for item in findings if item.severity == "reject"} <= {"unreadable_data", "columns"}
    assert any(item.severity == "reject" for item in findings)
