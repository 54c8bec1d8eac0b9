"""Real JWST files: every product with pixels or spectra is perturbed, or refused with a reason."""

from __future__ import annotations

import io
import warnings
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from hwosim_assets.fits.dq import DQ
from hwosim_assets.perturb import Product, Scenario, apply
from hwosim_assets.perturb.product import RefusedProductError
from hwosim_assets.perturb.proof import diff

#: The only reasons that real files give.
REFUSED = ("holds no pixels (SCI) and no spectra", "its SCI extension holds no pixels", "is a CRDS reference file")


@pytest.fixture(scope="module")
def files(real_data: Path) -> list[Path]:
    found = sorted(path for path in (real_data / "jwst").rglob("*fits*") if path.suffix != ".txt")
    assert len(found) > 60
    return found


def test_every_real_product_is_perturbed_or_refused_with_a_reason(files: list[Path]) -> None:
    refused: dict[str, list[str]] = {}
    perturbed = 0
    for path in files:
        product = Product.open(path)
        assert apply(product, "nominal_l2", severity=0)[0].content == product.content
        try:
            out, truth = apply(product, "ground_segment_bad_day", severity=3)
        except RefusedProductError as reason:
            refused.setdefault(reason.reason, []).append(path.name)
            continue
        perturbed += 1
        assert diff(product, out, truth).findings == (), path.name
        _same_structure(product, out)
    assert perturbed >= 50, refused
    for reason, names in refused.items():
        assert any(reason.startswith(known) for known in REFUSED), (reason, names)


def _same_structure(product: Product, out: Product) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with fits.open(io.BytesIO(product.payload)) as before, fits.open(io.BytesIO(out.payload)) as after:
            assert [hdu.name for hdu in before] == [hdu.name for hdu in after]
            for old, new in zip(before, after, strict=True):
                if old.is_image:
                    assert (old.shape, old.header["BITPIX"]) == (new.shape, new.header["BITPIX"])
                else:
                    assert old.columns.dtype == new.columns.dtype


@pytest.mark.parametrize(
    ("name", "k", "method"),
    [
        ("jw01288015001_04101_00001_mirimage_i2d.fits", 128.2, "VAR_POISSON"),
        ("jw01093012001_03102_00001_nis_cal.fits", 33.9, "VAR_POISSON"),
        ("ERS_NGTS10_2022_new_drift_041_rateints.fits", 38.6, "VAR_POISSON"),
        ("jw01345062001_03101_00001_nrs2_phot.138.1345_933.fits", 286.5, "VAR_POISSON ratio"),
    ],
)
def test_electrons_per_unit_are_those_of_the_variance_planes(real_data: Path, name: str, k: float, method: str) -> None:
    """The median of SCI/VAR_POISSON of all pixels, read off the files, is met within 10 %."""
    (budget,) = apply(Product.open(real_data / "jwst" / name), "nominal_l2")[1].record["budgets"]
    assert budget["k"] == pytest.approx(k, rel=0.1)
    assert budget["k_method"] == method


def test_real_planes_stay_consistent(real_data: Path) -> None:
    product = Product.open(real_data / "jwst" / "jw01093012001_03102_00001_nis_cal.fits")
    out = apply(product, "nominal_l2", severity=3)[0]
    total = sum(out.plane(name).astype(float) for name in ("VAR_POISSON", "VAR_RNOISE", "VAR_FLAT"))
    np.testing.assert_allclose(out.plane("ERR").astype(float) ** 2, total, rtol=1e-5)
    lost = np.isnan(out.plane("SCI"))
    assert lost.any()
    flags = out.plane("DQ")[lost]
    assert (flags & DQ.DO_NOT_USE).all()
    assert (flags & (DQ.DROPOUT | DQ.DEAD)).all(), "lost on the way, or a dead pixel"


@pytest.mark.parametrize(
    "name",
    [
        "jw01093012001_03102_00001_nis_cal.fits",
        "jw01288015001_04101_00001_mirimage_i2d.fits",
        "jw02565007001_03101_00002_nrs2_cal.fits",
        "jw02565007001_03101_00002_nrs2_x1d.fits",
        "jw00793001001_01101_00001_nis_uncal.fits",
        "Level3_ch4-short_s3d.fits.gz",
    ],
)
def test_stdatamodels_opens_what_was_perturbed(real_data: Path, tmp_path: Path, name: str) -> None:
    datamodels = pytest.importorskip("stdatamodels.jwst.datamodels")
    source = real_data / "jwst" / name
    product = Product.open(source)
    out, _ = apply(product, "nominal_l2", severity=3)
    path = tmp_path / name
    out.write(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with datamodels.open(source) as before, datamodels.open(path) as after:
            assert type(after) is type(before)
            assert after.meta.instrument.name == before.meta.instrument.name
            if hasattr(before, "err") and before.hasattr("err"):
                np.testing.assert_array_equal(after.err, out.plane("ERR"))
                np.testing.assert_array_equal(after.data, out.plane("SCI"))


def test_header_loss_is_seen_in_fits_and_the_asdf_copy_is_noted(real_data: Path, tmp_path: Path) -> None:
    datamodels = pytest.importorskip("stdatamodels.jwst.datamodels")
    product = Product.open(real_data / "jwst" / "jw01093012001_03102_00001_nis_cal.fits")
    out, truth = apply(product, "ground_segment_bad_day", severity=5)
    path = tmp_path / product.name
    out.write(path)
    events = truth.record["effects"][-1]["events"]
    assert len(events) == 30
    assert all(event["asdf_copy_remains"] for event in events)
    header = fits.getheader(path)
    assert not {event["keyword"] for event in events} & set(header)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with datamodels.open(path) as after, datamodels.open(real_data / "jwst" / product.name) as before:
            old, new = (model.to_flat_dict(include_arrays=False) for model in (before, after))
    differing = {key for key in old if not key.startswith("meta.wcs") and old[key] != new.get(key)}
    assert differing <= {"meta.exposure.data_problem", "meta.filename"}


@pytest.mark.parametrize(
    ("name", "effect", "changed"),
    [
        ("jw01093012001_03102_00001_nis_cal.fits", {"pointing_drift": {"shift": 100.0}}, ["CRPIX2", "CRPIX1"]),
        ("Level3_ch4-short_s3d.fits.gz", {"wavelength_shift": {"shift": 1.0}}, ["CRVAL3"]),
        ("jw02565007001_03101_00002_nrs2_x1d.fits", {"wavelength_shift": {"shift": 1.0}}, ["WAVELENGTH"]),
    ],
)
def test_the_gwcs_of_a_model_stays_and_the_record_says_so(
    real_data: Path, tmp_path: Path, name: str, effect: dict[str, object], changed: list[str]
) -> None:
    datamodels = pytest.importorskip("stdatamodels.jwst.datamodels")
    product = Product.open(real_data / "jwst" / name)
    out, truth = apply(product, Scenario.from_mapping("test", {"version": 1, "seed": 3, "effects": [effect]}))
    events = truth.record["effects"][0]["events"]
    assert [event.get("keyword", event.get("column")) for event in events] == changed
    assert all(event["gwcs_remains"] for event in events)
    out.write(tmp_path / name)
    places = (3.0,) if "x1d" in name else (3.0, 4.0, 5.0)[: 3 if "s3d" in name else 2]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with datamodels.open(real_data / "jwst" / name) as before, datamodels.open(tmp_path / name) as after:
            old, new = (model.spec[0].meta if "x1d" in name else model.meta for model in (before, after))
            np.testing.assert_array_equal(old.wcs(*places), new.wcs(*places))


def test_every_real_product_bears_every_damage_at_once(files: list[Path]) -> None:
    """All effects together: one thread and two agree (every fifth file), the truth explains it, it is FITS."""
    done = 0
    for path in files:
        product = Product.open(path)
        try:
            out, truth = apply(product, "everything_s3", seed=11)
        except RefusedProductError:
            continue
        done += 1
        if done % 5 == 0:
            assert apply(product, "everything_s3", seed=11, threads=2)[0].content == out.content, path.name
        assert diff(product, out, truth).findings == (), path.name
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with fits.open(io.BytesIO(out.payload)) as opened:
                opened.verify("exception")
    assert done >= 50
