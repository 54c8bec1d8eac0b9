"""Calibration drift on fixed seeds; amplitudes off by 10 % fall outside the tolerances stated."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import pytest
from astropy.io import fits
from scenes import events_of, scene, with_asdf

from hwosim_assets.errors import BadInputError, HwosimError
from hwosim_assets.perturb import Product, Scenario, apply
from hwosim_assets.perturb.effects.axes import cosine_of_turns, wavelengths
from hwosim_assets.perturb.effects.kernels import shift_taps

Make = Callable[..., Product]


def perturbed(product: Product, **chosen: dict[str, object]) -> tuple[Product, dict[str, object]]:
    content = {"version": 1, "seed": 11, "effects": [{name: options} for name, options in chosen.items()]}
    out, truth = apply(product, Scenario.from_mapping("test", content))
    return out, truth.record


def edited(product: Product, hdu: int = 0, **cards: object) -> Product:
    with fits.HDUList.fromstring(product.content) as hdus:
        hdus[hdu].header.update(cards)
        buffer = io.BytesIO()
        hdus.writeto(buffer)
    return Product(product.name, buffer.getvalue())


def ratio_of(product: Product, out: Product) -> np.ndarray:
    return out.plane("SCI").astype(float) / product.plane("SCI").astype(float)


def test_cosine_is_that_of_numpy() -> None:
    turns = np.linspace(-700.0, 700.0, 100_001)
    np.testing.assert_allclose(cosine_of_turns(turns), np.cos(2 * np.pi * turns), atol=1e-11)


@pytest.mark.parametrize("rms", [0.01, 0.03])
def test_flat_drift_has_its_rms_and_another_by_a_tenth_does_not(make: Make, rms: float) -> None:
    product = make("big")

    def spread(asked: float) -> float:
        ratio = ratio_of(product, perturbed(product, flat_drift={"rms": asked, "smooth": 0.0})[0])
        return float(np.nanstd(ratio) / rms)

    tolerance = 5 / np.sqrt(2 * product.plane("SCI").size)  # 1 % here
    assert spread(rms) == pytest.approx(1, abs=tolerance)
    assert spread(1.1 * rms) != pytest.approx(1, abs=tolerance)


@pytest.mark.parametrize(("detector", "shape"), [
    ("MIRIMAGE", (1024, 1032)), ("NRCA1", (2048, 2048)), ("NRCA1", (2048, 3000)),
])  # fmt: skip
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_smooth_part_of_a_flat_has_mean_0_and_its_rms_over_the_detector(
    detector: str, shape: tuple[int, int], seed: int
) -> None:
    """Of another size of detector it would be a photometric step; the last is larger than any of JWST's."""
    primary = fits.PrimaryHDU()
    primary.header["DETECTOR"] = detector
    buffer = io.BytesIO()
    fits.HDUList([primary, fits.ImageHDU(np.ones(shape, np.float32), name="SCI")]).writeto(buffer)
    product = Product("jw01234001001_02101_00001_mirimage_cal.fits", buffer.getvalue())
    content = {"version": 1, "seed": seed, "effects": [{"flat_drift": {"rms": 0.1, "smooth": 1.0}}]}
    error = apply(product, Scenario.from_mapping("test", content))[0].plane("SCI").astype(float) - 1.0
    assert abs(error.mean()) < 1e-5
    assert error.std() == pytest.approx(0.1, rel=1e-3)


def test_a_subarray_sees_its_part_of_the_smooth_flat() -> None:
    def errors(shape: tuple[int, int], **cards: int) -> np.ndarray:
        product = scene(np.full(shape, 20.0), DETECTOR="MIRIMAGE", **cards)
        return ratio_of(product, perturbed(product, flat_drift={"rms": 0.05, "smooth": 0.9})[0])

    np.testing.assert_allclose(
        errors((30, 40), SUBSTRT1=101, SUBSTRT2=51), errors((100, 200))[50:80, 100:140], rtol=1e-6
    )


def test_flat_drift_belongs_to_the_detector(make: Make) -> None:
    product = make("calints")
    ratio = ratio_of(product, perturbed(product, flat_drift={"rms": 0.05})[0])
    np.testing.assert_allclose(
        ratio[0][np.isfinite(ratio[0] + ratio[1])], ratio[1][np.isfinite(ratio[0] + ratio[1])], rtol=1e-5
    )
    other_name = Product("another_calints.fits", product.content)
    np.testing.assert_array_equal(ratio, ratio_of(product, perturbed(other_name, flat_drift={"rms": 0.05})[0]))
    other = edited(product, DETECTOR="NRCA2")
    assert np.nanmax(np.abs(ratio - ratio_of(product, perturbed(other, flat_drift={"rms": 0.05})[0]))) > 0.05
    part = edited(product, SUBSTRT1=9, SUBSTRT2=5)
    shifted = ratio_of(product, perturbed(part, flat_drift={"rms": 0.05})[0])
    both = np.isfinite(shifted[0, :-4, :-8] + ratio[0, 4:, 8:])
    np.testing.assert_allclose(shifted[0, :-4, :-8][both], ratio[0, 4:, 8:][both], rtol=1e-5)


def test_flat_drift_scales_uncertainties_with_the_signal(make: Make) -> None:
    product = make("cal")
    out = perturbed(product, flat_drift={"rms": 0.1})[0]
    ratio = ratio_of(product, out)
    np.testing.assert_allclose(out.plane("ERR") / product.plane("ERR"), ratio, rtol=1e-4)
    np.testing.assert_allclose(out.plane("VAR_RNOISE") / product.plane("VAR_RNOISE"), ratio**2, rtol=1e-4)
    assert (out.plane("DQ") & (1 << 25)).all()
    stale = perturbed(product, flat_drift={"rms": 0.1, "err": "stale", "dq": "silent"})[0]
    for name in ("ERR", "VAR_RNOISE", "DQ"):
        np.testing.assert_array_equal(stale.plane(name), product.plane(name))


@pytest.mark.parametrize("header", ["honest", "stale"])
def test_photom_step_is_seen_at_its_time_and_told_by_the_header(make: Make, header: str) -> None:
    step = {"step": 0.1, "header": header, "when": {"profile": "step", "start": 60001.0}}
    for mid, factor in ((60000.5, 1.0), (60002.5, 1.1)):
        product = edited(make("cal"), EXPSTART=mid - 0.1, EXPMID=mid, EXPEND=mid + 0.1, PHOTMJSR=2.0)
        out = perturbed(product, photom_step=step)[0]
        ratio = ratio_of(product, out)
        np.testing.assert_allclose(ratio[np.isfinite(ratio)], factor, rtol=1e-5)
        assert out.number("PHOTMJSR") == pytest.approx(2.0 * (factor if header == "honest" else 1.0))


def test_an_honest_step_names_the_next_context(make: Make) -> None:
    product = edited(make("cal"), CRDS_CTX="jwst_1293.pmap")
    for header, name in (("honest", "jwst_1294.pmap"), ("stale", "jwst_1293.pmap")):
        out = perturbed(product, photom_step={"step": 0.1, "header": header})[0]
        assert out.keyword("CRDS_CTX") == name
    assert perturbed(edited(product, CRDS_CTX="mine"), photom_step={"step": 0.1})[0].keyword("CRDS_CTX") == "mine"


@pytest.mark.parametrize(("effect", "amount"), [("photom_step", 0.1), ("throughput", 0.5), ("flat_drift", 0.05),
                                                ("dark_reference_drift", 3.0)])  # fmt: skip
def test_what_comes_inside_an_exposure_spares_the_frames_before(make: Make, effect: str, amount: float) -> None:
    """Three integrations of a day: a step at two thirds of it is in the last alone."""
    product = make("calints")
    name = {"photom_step": "step", "throughput": "loss", "flat_drift": "rms", "dark_reference_drift": "amplitude"}
    step = {name[effect]: amount, "when": {"profile": "step", "start": 60000.6}}
    out = perturbed(product, **{effect: step})[0]
    for plane in ("SCI", "ERR", "VAR_POISSON", "VAR_RNOISE", "VAR_FLAT", "DQ"):
        np.testing.assert_array_equal(out.plane(plane)[:2], product.plane(plane)[:2])
    assert np.nanmax(np.abs(out.plane("SCI")[2].astype(float) - product.plane("SCI")[2])) > 0.01


@pytest.mark.parametrize("index", [3.3, 3.63])
def test_light_is_lost_by_a_power_of_the_wavelength(make: Make, index: float) -> None:
    product = make("x1d")
    wave = product.plane("EXTRACT1D", 1, "WAVELENGTH")
    out, record = perturbed(product, throughput={"loss": 0.5, "index": index, "at": 4.0, "err": "stale"})
    after, before = (x.plane("EXTRACT1D", 1, "FLUX") for x in (out, product))
    expected = 0.5 * np.minimum(wave / 4.0, 1) ** 3.3
    pull = (after - before * (1 - expected)) / product.plane("EXTRACT1D", 1, "FLUX_ERROR")
    # The noise that is put back is below the product's own; its mean over 900 pixels is known to a thirtieth of it.
    assert bool(abs(pull[(wave > 2) & (wave < 4)].mean()) < 0.1) is (index == 3.3)
    assert record["effects"][0]["measurements"][0]["signal_scale"] > 0.5


def test_a_filter_names_the_wavelength_of_a_loss(make: Make) -> None:
    product = edited(make("cal"), FILTER="F1000W")
    out, _ = perturbed(product, throughput={"loss": 0.5, "index": 2, "at": 20.0})
    before, after = (x.plane("VAR_POISSON").astype(float) for x in (product, out))
    np.testing.assert_allclose((after / before)[np.isfinite(before)], 1 - 0.5 / 4, rtol=1e-5)
    _, record = perturbed(edited(product, FILTER="OPAQUE"), throughput={"loss": 0.5, "index": 2})
    assert "wavelengths" in record["effects"][0]["measurements"][0]["not_applicable"]


@pytest.mark.parametrize("shift", [2.0, 0.4, -1.3])
def test_fluxes_move_by_the_shift_and_keep_their_noise(make: Make, shift: float) -> None:
    """A spectrum with a line moves by it; the noise that interpolation smooths is put back where it is of the read."""

    kept = make("x1d")
    payload = bytearray(kept.content)
    line = 100 * np.exp(-((np.arange(900) - 450.0) ** 2) / 50)
    fresh = {"FLUX": line, "FLUX_VAR_POISSON": 1e-9, "FLUX_VAR_RNOISE": 1e-4, "FLUX_ERROR": (1e-9 + 1e-4) ** 0.5}
    for plane in kept.planes:
        if plane.column in fresh:
            plane.raw(payload)[...] = fresh[plane.column]
    product = Product("jw_x1d.fits", bytes(payload))

    def centroid(product: Product) -> float:
        flux = product.plane("EXTRACT1D", 1, "FLUX")[400:500]
        return float((flux * np.arange(400, 500)).sum() / flux.sum())

    def moved(asked: float) -> tuple[Product, float]:
        out = perturbed(product, wavelength_shift={"shift": asked, "applied": "flux"})[0]
        return out, centroid(out) - centroid(product)

    if shift < 0:
        with pytest.raises(HwosimError, match="shift"):
            moved(shift)
        return
    out, found = moved(shift)
    assert found == pytest.approx(shift, abs=0.01)
    assert moved(1.1 * shift)[1] != pytest.approx(shift, abs=0.01)
    np.testing.assert_array_equal(*(x.plane("EXTRACT1D", 1, "WAVELENGTH") for x in (product, out)))
    quiet = out.plane("EXTRACT1D", 1, "FLUX")[10:350]
    taps = np.array(list(shift_taps(shift).values()))
    assert quiet.var() == pytest.approx(1e-4 * max(1 - (taps**2).sum(), 0), rel=4 * np.sqrt(2 / quiet.size), abs=1e-9)
    lost = np.isnan(out.plane("EXTRACT1D", 1, "FLUX"))
    np.testing.assert_array_equal(np.flatnonzero(lost), np.arange(int(shift)))
    assert (out.plane("EXTRACT1D", 1, "DQ")[lost] == 1).all()


def test_wavelength_shift_is_found_by_cross_correlation(make: Make) -> None:
    product = make("x1d")
    before = product.plane("EXTRACT1D", 1, "WAVELENGTH")

    def found(shift: float) -> float:
        after = perturbed(product, wavelength_shift={"shift": shift})[0].plane("EXTRACT1D", 1, "WAVELENGTH")
        line = np.exp(-((np.arange(900) - 450.0) ** 2) / 50)
        tries = np.arange(-5, 5, 0.01)
        seen = np.interp(before, after, line)
        scores = [np.dot(seen, np.exp(-((np.arange(900) - 450.0 - lag) ** 2) / 50)) for lag in tries]
        return float(tries[int(np.argmax(scores))])

    assert found(1.0) == pytest.approx(1.0, abs=0.03)
    assert found(1.1) != pytest.approx(1.0, abs=0.03)


@pytest.mark.parametrize("shift", [0.0, 1.5])
@pytest.mark.parametrize("kind", ["x1d", "s3d"])
def test_a_velocity_stretches_the_wavelengths(make: Make, kind: str, shift: float) -> None:
    product = make(kind)
    out, _ = perturbed(product, wavelength_shift={"shift": shift, "velocity": "30 km/s"})
    before, after = (wavelengths(x, x.measurements[0]).reshape(-1) for x in (product, out))
    step = np.median(np.diff(before))
    np.testing.assert_allclose(after - before, before * 30 / 299792.458 + shift * step, rtol=1e-6, atol=1e-9)
    assert out.content == perturbed(product, wavelength_shift={"shift": shift, "velocity": 30})[0].content


def test_a_velocity_is_no_matter_of_severity(make: Make) -> None:
    chosen = {"severity": 0, "velocity": 30}
    assert perturbed(make("x1d"), wavelength_shift=chosen)[0].content == make("x1d").content
    with pytest.raises(BadInputError, match="has `applied`, beside which `velocity` would be ignored"):
        perturbed(make("x1d"), wavelength_shift={"velocity": 30, "applied": "flux"})


@pytest.mark.parametrize(("kind", "changed"), [("x1d", "WAVELENGTH"), ("s3d", "CRVAL3")])
@pytest.mark.parametrize(("tree", "remains"), [(b"wcs: !<tag:stsci.edu:gwcs/wcs-1.4.0>", True), (b"wcs: null", False)])
def test_the_record_says_that_a_gwcs_keeps_its_wavelengths(
    make: Make, kind: str, changed: str, tree: bytes, remains: bool
) -> None:
    (event,) = events_of(with_asdf(make(kind), tree), wavelength_shift={"shift": 1.0})
    assert (event.get("column", event.get("keyword")), event["gwcs_remains"]) == (changed, remains)


def test_dark_reference_drift_regresses_on_its_template(make: Make) -> None:
    product = make("big")

    def template(amplitude: float) -> np.ndarray:
        out = perturbed(product, dark_reference_drift={"amplitude": amplitude})[0]
        return out.plane("SCI").astype(float) - product.plane("SCI").astype(float)

    unit = template(1.0)
    good = np.isfinite(unit)
    assert np.std(unit[good]) / np.nanmedian(product.plane("ERR")) == pytest.approx(1, abs=0.01)
    for amplitude, near in ((3.0, True), (3.3, False)):
        slope = np.dot(template(amplitude)[good], unit[good]) / np.dot(unit[good], unit[good])
        assert bool(slope == pytest.approx(3.0, rel=1e-4)) is near


def test_fringes_have_their_period_and_amplitude(make: Make) -> None:
    product = make("x1d")
    wave = product.plane("EXTRACT1D", 1, "WAVELENGTH")

    def power(path: float, amplitude: float) -> complex:
        out = perturbed(product, fringing={"path": 100.0, "amplitude": amplitude})[0]
        ratio = out.plane("EXTRACT1D", 1, "FLUX") / product.plane("EXTRACT1D", 1, "FLUX") - 1
        return complex(2 * np.mean(ratio * np.exp(-2j * np.pi * path / wave)))

    assert abs(power(100.0, 0.05)) == pytest.approx(0.05, rel=0.05)
    assert abs(power(100.0, 0.055)) != pytest.approx(0.05, rel=0.05)
    assert abs(power(110.0, 0.05)) < 0.01


def test_the_truth_tells_the_scales_of_the_frames_where_a_loss_follows_a_profile(make: Make) -> None:
    when = {"profile": "step", "start": 60000.3}
    _, record = perturbed(make("calints"), throughput={"loss": 0.3, "when": when})
    note = record["effects"][0]["measurements"][0]
    assert (note["signal_scale"], note["signal_scales"]) == (0.7, [0.7, 1.0])
    _, record = perturbed(make("calints"), throughput={"loss": 0.3})
    note = record["effects"][0]["measurements"][0]
    assert note["signal_scale"] == 0.7
    assert "signal_scales" not in note
