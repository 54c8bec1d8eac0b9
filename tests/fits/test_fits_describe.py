"""The facts of a file, on real products whose facts are known, and the tables they come from."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from hwosim_assets.fits.bands import wavelength_range
from hwosim_assets.fits.describe import _region, describe, iso_mjd
from hwosim_assets.fits.dq import DQ
from hwosim_assets.fits.keywords import CORE_KEYWORDS, typed_value
from hwosim_assets.fits.sky import region_centre, region_radius, separation


def test_a_real_calibrated_exposure(real_data: Path) -> None:
    facts = describe(real_data / "jwst" / "jw01093012001_03102_00001_nis_cal.fits")
    assert (facts.program, facts.product_type, facts.calib_level, facts.dms_level) == ("01093", "cal", 2, "2b")
    assert (facts.instrument_name, facts.detector, facts.exp_type) == ("NIRISS/AMI", "NIS", "NIS_AMI")
    assert (facts.dataproduct_type, facts.bunit, facts.filters) == ("image", "DN/s", "F480M;NRM")
    assert facts.target_name == "HD 36705"
    assert facts.t_exptime == pytest.approx(26.013)
    assert facts.t_min == pytest.approx(59735.5701, abs=1e-3)
    # HD 36705 (AB Dor) at 05 28 44.9, -65 26 55
    assert separation(facts.s_ra or 0, facts.s_dec or 0, 82.187, -65.4486) < 0.01
    planes = {item.extname: item for item in facts.hdus}
    assert planes["SCI"].shape == planes["DQ"].shape == (80, 80)
    assert (planes["SCI"].dtype, planes["DQ"].dtype) == ("float32", "uint32")
    assert planes["PRIMARY"].kind == "empty"
    assert planes["ASDF"].kind == "table"


@pytest.mark.parametrize(
    ("name", "facts"),
    [
        ("Level3_ch4-medium_s3d.fits.gz", ("01328", "s3d", 3, "cube", "MIRI/IFU")),
        ("jw01492-o005_s00004_nirspec_f100lp-g140m-s1600a1-sub2048_x1d.fits",
         ("01492", "x1d", 3, "spectrum", "NIRSPEC/SLIT")),
        ("jw02565007001_03101_00002_nrs2_s2d.fits", ("02565", "s2d", 2, "spectrum", "NIRSPEC/MSA")),
        ("jw01185002001_01101_00001-seg006_nrca3_rateints_I01226.fits",
         ("01185", "rateints", 2, "timeseries", "NIRCAM/IMAGE")),
        ("jw01345062001_03101_00001_nrs2_phot.138.1345_933.fits", ("01345", "cal", 2, "spectrum", "NIRSPEC/MSA")),
        ("jw00793001001_01101_00001_nis_uncal.fits", ("00793", "uncal", 1, "image", "NIRISS/IMAGE")),
        ("jwst_miri_small.fits", ("00000", "", None, "", "MIRI")),
    ],
)  # fmt: skip
def test_kinds_and_levels_of_real_files(name: str, facts: tuple[object, ...], real_data: Path) -> None:
    found = describe(real_data / "jwst" / name)
    assert (
        found.program,
        found.product_type,
        found.calib_level,
        found.dataproduct_type,
        found.instrument_name,
    ) == facts


def test_an_impossible_footprint_is_left_out(real_data: Path) -> None:
    name = "jw01492-o005_s00004_nirspec_f100lp-g140m-s1600a1-sub2048_s2d.fits"
    facts = describe(real_data / "jwst" / name)
    assert region_radius(str(facts.keywords["S_REGION"])) > 100  # the real header says so
    assert facts.s_region == ""
    assert separation(facts.s_ra or 0, facts.s_dec or 0, 81.0865, -70.0837) < 0.1


def test_columns_are_told_as_astropy_reads_them() -> None:
    columns = [
        fits.Column("TIME", "D", unit="s", array=np.zeros(3)),
        fits.Column("NAME", "8A", array=np.array(["a", "b", "c"])),
        fits.Column("CUBE", "6E", dim="(3,2)", array=np.zeros((3, 2, 3), np.float32)),
        fits.Column("DQ", "J", bzero=2**31, array=np.zeros(3, np.uint32)),
        fits.Column("LIST", "PE()", array=np.array([np.zeros(2), np.zeros(1), np.zeros(0)], dtype=object)),
    ]
    buffer = io.BytesIO()
    fits.HDUList([fits.PrimaryHDU(), fits.BinTableHDU.from_columns(columns, name="T")]).writeto(buffer)
    table = describe(buffer.getvalue(), "t.fits").hdus[1]
    assert (table.kind, table.shape) == ("table", (3,))
    assert [(column.name, column.dtype, column.shape, column.unit) for column in table.columns] == [
        ("TIME", "float64", (), "s"),
        ("NAME", "str", (), ""),
        ("CUBE", "float32", (2, 3), ""),
        ("DQ", "uint32", (), ""),
        ("LIST", "variable", (), ""),
    ]


def test_compressed_images_are_images() -> None:
    buffer = io.BytesIO()
    plane = fits.CompImageHDU(np.arange(100, dtype=np.int16).reshape(10, 10), name="SCI")
    fits.HDUList([fits.PrimaryHDU(), plane]).writeto(buffer)
    facts = describe(buffer.getvalue(), "x.fits.fz").hdus[1]
    assert (facts.kind, facts.shape, facts.dtype, facts.extname) == ("image", (10, 10), "int16", "SCI")


def test_dq_bits_are_those_of_stdatamodels() -> None:
    dqflags = pytest.importorskip("stdatamodels.jwst.datamodels.dqflags")
    theirs = {name: value for name, value in dqflags.pixel.items() if name not in {"UNDERSAMP", "RESERVED_4"}}
    for name, value in theirs.items():
        if name in DQ.__members__:
            assert DQ[name] == value
    assert len(DQ) == 32
    assert len({bit.value for bit in DQ} & set(theirs.values())) >= 31


def test_keyword_types_are_those_of_the_core_schema() -> None:
    import yaml

    datamodels = pytest.importorskip("stdatamodels.jwst.datamodels")
    schema = yaml.safe_load((Path(datamodels.__file__).parent / "schemas" / "core.schema.yaml").read_text())
    kinds: dict[str, str] = {}

    def walk(node: object) -> None:
        if isinstance(node, dict):
            if "fits_keyword" in node:
                kinds[node["fits_keyword"]] = node.get("type")
            for child in node.values():
                walk(child)
        elif isinstance(node, list):
            for child in node:
                walk(child)

    walk(schema)
    names = {"string": str, "integer": int, "number": float, "boolean": bool}
    compared = {name: names[kinds[name]] for name in CORE_KEYWORDS if name in kinds}
    assert len(compared) > 120
    assert compared == {name: CORE_KEYWORDS[name] for name in compared}


def test_values_that_do_not_fit_their_keyword_are_dropped() -> None:
    assert typed_value(1069, str) == "1069"
    assert typed_value("UNKNOWN", float) is None
    assert typed_value(3, float) == 3.0
    assert typed_value(True, int) is None
    assert typed_value(2.5, int) is None
    assert typed_value(float("nan"), int) is None
    assert typed_value(float("inf"), int) is None
    assert typed_value(1, bool) is None


def test_wavelengths() -> None:
    assert wavelength_range("NIRCAM", ("F480M", "CLEAR")) == (4662, 4973)
    assert wavelength_range("NIRCAM", ("F444W", "F470N")) == (4681, 4735)
    assert wavelength_range("NIRSPEC", ("CLEAR", "PRISM")) == (600, 5300)
    assert wavelength_range("MIRI", (), "12", "SHORT") == (4900, 8770)
    assert wavelength_range("MIRI", (), "4", "") == (17700, 27900)
    assert wavelength_range("MIRI", ("OPAQUE",)) is None
    assert wavelength_range("ATCA", ("F480M",)) is None


def test_regions_across_zero_and_at_the_pole() -> None:
    ra, dec = region_centre("POLYGON ICRS 359.9 -0.1 0.1 -0.1 0.1 0.1 359.9 0.1") or (None, None)
    assert ra is not None and min(ra, 360 - ra) < 1e-9
    assert dec == pytest.approx(0, abs=1e-9)
    assert region_centre("POLYGON 0 89 90 89 180 89 270 89") == (pytest.approx(0, abs=360), pytest.approx(90))
    two = "CIRCLE ICRS 10 0 0.1 CIRCLE ICRS 12 0 0.3"
    assert region_centre(two) == pytest.approx((11.0, 0.0))
    assert region_radius(two) == pytest.approx(1.3)
    mixed = "POLYGON ICRS 10 0 10.2 0 10.1 0.1 CIRCLE ICRS 10.1 0.5 0.2"
    assert region_radius(mixed) == pytest.approx(separation(*region_centre(mixed), 10.1, 0.5) + 0.2)
    assert region_radius("POLYGON ICRS 10 0 10.2 0 10.1 0.1 CIRCLE ICRS 10.1") is None
    assert region_radius("CIRCLE ICRS 10 20 0.5") == 0.5
    for nonsense in ("", "POLYGON", "POLYGON ICRS 1 2 3", "BOX 1 2 3 4", "POLYGON 1 95 2 95 3 95", "CIRCLE x y z"):
        assert region_centre(nonsense) is None
        assert region_radius(nonsense) is None


@pytest.mark.parametrize("radius", ["nan", "-3", "0", "inf", "500"])
def test_a_circle_without_an_area_of_the_sky_is_no_footprint(radius: str) -> None:
    assert _region(f"CIRCLE ICRS 10  20 {radius}") == ""
    assert _region("CIRCLE ICRS 10  20 0.5") == "CIRCLE ICRS 10 20 0.5"


def test_iso_dates_become_mjd() -> None:
    assert iso_mjd("2022-07-12T12:00:00.000") == 59772.5
    assert iso_mjd("2022-07-12") == 59772.0
    assert iso_mjd("2022-07-12T14:00:00+02:00") == 59772.5
    assert iso_mjd("4/07/92") is None
