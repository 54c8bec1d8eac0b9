"""Jitter, drift, tilts and wavefronts on fixed seeds; what is off by a tenth falls outside the tolerances."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest
from scenes import K, events_of, perturbed, ramp, scene, star, values, with_asdf

from hwosim_assets.fits.dq import DQ
from hwosim_assets.perturb import Product
from hwosim_assets.perturb.effects.kernels import gaussian_taps, shift_kernel, shift_taps
from hwosim_assets.perturb.effects.pointing import step_response
from hwosim_assets.perturb.effects.wavefront import halo_kernel, strehl, wavelength_of

Make = Callable[..., Product]
PIXEL = 31.0  # milliarcseconds, NIRCam at short wavelengths


def moments(image: np.ndarray) -> tuple[float, float, float, float]:
    """Return (flux, y, x, mean of the second moments along both axes)."""
    y, x = np.mgrid[: image.shape[0], : image.shape[1]]
    flux = image.sum()
    cy, cx = (image * y).sum() / flux, (image * x).sum() / flux
    second = ((image * (y - cy) ** 2).sum() + (image * (x - cx) ** 2).sum()) / (2 * flux)
    return float(flux), float(cy), float(cx), float(second)


# ------------------------------------------------------------------------------ kernels


@pytest.mark.parametrize("sigma", [0.001, 0.03, 0.3, 1.0, 2.2, 13.0, 60.0])
def test_a_blur_has_sum_one_and_its_variance_however_small(sigma: float) -> None:
    taps = np.array(gaussian_taps(sigma))
    places = np.arange(taps.size) - taps.size // 2
    assert taps.sum() == pytest.approx(1, abs=1e-11)
    assert (taps * places**2).sum() == pytest.approx(sigma**2, rel=1e-4)
    if sigma > 10:
        np.testing.assert_allclose(taps, np.exp(-(places**2) / (2 * sigma**2)) / np.sqrt(2 * np.pi) / sigma, atol=1e-4)


@pytest.mark.parametrize("shift", [0.0, 0.1, 0.5, -0.5, 1.3, -7.75])
def test_a_shift_has_the_moments_of_the_shift(shift: float) -> None:
    taps = shift_taps(shift)
    for order in range(5):
        assert sum(weight * place**order for place, weight in taps.items()) == pytest.approx(shift**order, abs=1e-9)


def test_kernels_have_sum_one() -> None:
    for kernel in (
        shift_kernel(0.3, -1.2, 4.0, 2.0),
        halo_kernel(0.7, 2.05, 0.3, 0.1),
        halo_kernel(0.2, 0.3, 1.0, 0.9),
    ):
        assert kernel.sum() == pytest.approx(1, abs=1e-6)
        assert kernel.shape[0] % 2 == kernel.shape[1] % 2 == 1


# ------------------------------------------------------------------------------ D1 jitter


@pytest.mark.parametrize("sigma", [1.0, 7.0, 67.0])
def test_jitter_widens_by_its_variance_and_another_by_a_tenth_does_not(sigma: float) -> None:
    product = scene(star(129, 2.0, 1e4), read=1e-14)
    before = moments(values(product))

    def growth(asked: float) -> float:
        after = moments(values(perturbed(product, jitter={"sigma": asked})[0]))
        assert after[0] == pytest.approx(before[0], rel=1e-5)
        return after[3] - before[3]

    expected = (sigma / PIXEL) ** 2
    assert growth(sigma) == pytest.approx(expected, rel=0.03)
    assert growth(1.1 * sigma) != pytest.approx(expected, rel=0.03)


@pytest.mark.parametrize(
    ("sigma", "header", "mode"),
    [("59 mas", "honest", "FINEGUIDE"), ("60 mas", "honest", "COARSE"), ("0.3 arcsec", "stale", "FINEGUIDE")],
)
def test_coarse_guiding_is_told_by_an_honest_header(sigma: str, header: str, mode: str) -> None:
    out = perturbed(scene(star(65, 2.0, 1e3)), jitter={"sigma": sigma, "header": header})[0]
    assert out.keyword("PCS_MODE") == mode


def test_jitter_spreads_photon_noise_and_says_so() -> None:
    flat = np.full((256, 256), 50.0)
    flat[:, :32] *= 2
    product = scene(flat, noise=True, read=1e-4)
    out = perturbed(product, jitter={"sigma": 20.0})[0]
    part = (slice(None), slice(48, None))
    claimed = (values(out, "VAR_POISSON") + values(out, "VAR_RNOISE"))[part].mean()
    assert values(out)[part].var() == pytest.approx(claimed, rel=0.02)
    assert claimed < 0.7 * 50 / K
    stale = perturbed(product, jitter={"sigma": 20.0, "err": "stale"})[0]
    np.testing.assert_array_equal(stale.plane("ERR"), product.plane("ERR"))
    np.testing.assert_array_equal(stale.plane("SCI"), out.plane("SCI"))


# ------------------------------------------------------------------------------ D2 pointing drift


@pytest.mark.parametrize(("shift", "angle"), [(3.1, 0.0), (10.0, 30.0), (100.0, 250.0)])
def test_the_centroid_moves_by_the_shift_and_by_another_for_a_tenth_more(shift: float, angle: float) -> None:
    product = scene(star(65, 3.0, 1e4), read=1e-14)
    _, y, x, width = moments(values(product))
    way = shift / PIXEL * np.array([np.sin(np.radians(angle)), np.cos(np.radians(angle))])
    tolerance = 0.05 * shift / PIXEL

    def moved(asked: float) -> tuple[float, float]:
        after = moments(np.nan_to_num(values(perturbed(product, pointing_drift={"shift": asked, "angle": angle})[0])))
        assert after[3] == pytest.approx(width, rel=0.01)
        return np.hypot(after[1] - y - way[0], after[2] - x - way[1]), after[0]

    assert moved(shift)[0] < tolerance
    assert moved(1.1 * shift)[0] > tolerance


@pytest.mark.parametrize("header", ["honest", "stale"])
def test_an_honest_reference_pixel_moves_with_the_scene(header: str) -> None:
    product = scene(star(65, 3.0, 1e4))
    choice = {"shift": 46.5, "angle": 0.0, "header": header}
    out = perturbed(product, pointing_drift=choice)[0]
    shift = moments(np.nan_to_num(values(out)))[2] - moments(values(product))[2]
    residual = shift - (float(str(out.number("CRPIX1"))) - 10.0)
    assert residual == pytest.approx(1.5 if header == "stale" else 0.0, abs=0.01)
    assert out.number("CRPIX2") == pytest.approx(20.0, abs=1e-9)


@pytest.mark.parametrize(("tree", "remains"), [(b"wcs: !<tag:stsci.edu:gwcs/wcs-1.4.0>", True), (b"wcs: null", False)])
def test_the_record_says_that_a_gwcs_does_not_move_with_the_scene(tree: bytes, remains: bool) -> None:
    product = with_asdf(scene(star(65, 3.0, 1e4)), tree)
    assert [event["gwcs_remains"] for event in events_of(product, pointing_drift={"shift": 40.0})] == [remains, remains]
    assert events_of(product, pointing_drift={"shift": 40.0, "header": "stale"}) == []
    slit = Product(product.name, product.content.replace(b"CRPIX", b"OTHER"))
    assert events_of(slit, pointing_drift={"shift": 40.0}) == [{"hdu": 1, "gwcs_remains": True}] * remains


def test_what_comes_from_beyond_the_frame_is_lost() -> None:
    signal = star(65, 3.0, 1e4, sky=10.0)
    out = perturbed(scene(signal), pointing_drift={"shift": 3 * PIXEL, "angle": 0.0})[0]
    lost = np.isnan(values(out))
    assert lost[:, :3].all()
    assert not lost[:, 3:].any()
    np.testing.assert_array_equal((out.plane("DQ") & int(DQ.DO_NOT_USE)) != 0, lost)
    np.testing.assert_allclose(values(out)[:, 3:], signal[:, :-3], rtol=1e-4)
    np.testing.assert_allclose(values(out, "VAR_POISSON")[:, 3:], signal[:, :-3] / K, rtol=1e-4)
    silent = perturbed(scene(signal), pointing_drift={"shift": 3 * PIXEL, "angle": 0.0, "dq": "silent"})[0]
    assert not silent.plane("DQ").any()


def test_a_drift_follows_its_path_from_frame_to_frame() -> None:
    product = scene(np.stack([star(65, 3.0, 1e4)] * 5), read=1e-14, name="calints")
    when = {"profile": "ramp", "start": 60000.0, "length": "0.5 d"}
    out = perturbed(product, pointing_drift={"shift": 2 * PIXEL, "angle": 90.0, "when": when})[0]
    places = [moments(np.nan_to_num(frame))[1] for frame in values(out)]
    np.testing.assert_allclose(places, 32 + 2 * (np.arange(5) + 0.5) / 5, atol=0.02)


def test_a_smear_widens_by_a_twelfth_of_its_square() -> None:
    product = scene(star(65, 3.0, 1e4), read=1e-14)
    wide = [
        moments(values(perturbed(product, pointing_drift={"shift": 4 * PIXEL, "angle": 0, "smear": smear})[0])[:, 4:])[
            3
        ]
        for smear in (0.0, 0.9)
    ]
    assert wide[1] - wide[0] == pytest.approx(3.6**2 / 12 / 2, rel=0.02)


# ------------------------------------------------------------------------------ D3 tilt events


def light_curve(step: float, onset: float, **more: object) -> np.ndarray:
    flat = np.full((100, 16, 64), 50.0)
    flat[..., :8] *= 2
    product = scene(flat, read=1e-14, name="calints")
    out = perturbed(product, tilt_event={"step": step, "onset": onset, **more})[0]
    return (values(out) / values(product)).mean((1, 2))


@pytest.mark.parametrize("sign", ["drop", "rise"])
def test_a_tilt_steps_at_its_onset_by_its_size_and_another_by_a_tenth_does_not(sign: str) -> None:
    def found(step: float, onset: float) -> tuple[int, float]:
        curve = light_curve(step, onset, sign=sign)
        away = np.abs(np.cumsum(curve - curve.mean()))
        change = int(away.argmax()) + 1
        return change, float(curve[change:].mean() - curve[:change].mean()) * 1e6

    signed = 1000.0 if sign == "rise" else -1000.0
    assert found(1000.0, 0.4) == (40, pytest.approx(signed, rel=0.02))
    assert found(1100.0, 0.4)[1] != pytest.approx(signed, rel=0.02)
    assert found(1000.0, 0.44)[0] == 44


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
def test_inside_an_integration_a_tilt_is_seen_as_a_line_through_its_ramp_sees_it(share: float) -> None:
    seen = (1 - light_curve(5000.0, (40 + share) / 100)[40]) / 5e-3
    assert seen == pytest.approx(step_response(share), abs=1e-3)
    groups = np.linspace(0, 1, 20001)
    charge = np.maximum(groups - share, 0.0)
    slope = np.polyfit(groups, charge, 1)[0]
    assert step_response(share) == pytest.approx(slope, abs=1e-3)


def test_a_ramp_goes_on_with_another_slope() -> None:
    product = ramp(np.full((8, 8), 100.0), groups=11)
    change = values(perturbed(product, tilt_event={"step": 1e5, "onset": 0.5})[0])[0] - values(product)[0]
    np.testing.assert_allclose(change[:, 3, 3], -10.0 * np.maximum(np.arange(11) - 5, 0), atol=1e-6)


# ------------------------------------------------------------------------------ D4 wavefront drift


@pytest.mark.parametrize(("name", "wave"), [("F200W", 2.0), ("F070W", 0.7), ("F1500W", 15.0), ("F290LP", None)])
def test_the_filter_names_the_wavelength(name: str, wave: float | None) -> None:
    assert wavelength_of(scene(star(9, 2.0, 1.0), FILTER=name)) == wave
    assert wavelength_of(scene(star(9, 2.0, 1.0), FILTER="F322W2", PUPIL="F323N")) == 3.23


@pytest.mark.parametrize("sigma", [40.0, 100.0, 220.0])
def test_the_core_keeps_the_strehl_ratio_and_another_by_a_tenth_is_seen(sigma: float) -> None:
    point = np.zeros((65, 65))
    point[32, 32] = 1e4
    product = scene(point, read=1e-14)

    def core(asked: float) -> float:
        out = values(perturbed(product, wavefront_drift={"sigma": asked})[0])
        assert out.sum() == pytest.approx(1e4, rel=1e-5)
        return float(-np.log(out[32, 32] / 1e4))

    expected = (2 * np.pi * sigma / 2000.0) ** 2
    assert core(sigma) == pytest.approx(expected, rel=0.02)
    assert core(1.1 * sigma) != pytest.approx(expected, rel=0.02)
    assert strehl(sigma, 2.0) == pytest.approx(np.exp(-expected))


def test_the_period_of_an_oscillating_mirror_is_recovered() -> None:
    frames = 60
    point = np.zeros((frames, 17, 17))
    point[:, 8, 8] = 1e4
    product = scene(point, read=1e-14, name="calints")

    def period(days: float) -> float:
        when = {"profile": "oscillation", "start": 60000.0, "period": days}
        out = values(perturbed(product, wavefront_drift={"sigma": 100.0, "when": when})[0])
        error = np.sqrt(-np.log(out[:, 8, 8] / 1e4))
        times = (np.arange(frames) + 0.5) / frames * 0.5
        tries = np.linspace(0.05, 0.25, 2001)
        power = [abs(((error - error.mean()) * np.exp(-2j * np.pi * times / trial)).sum()) for trial in tries]
        return float(tries[int(np.argmax(power))])

    assert period(0.1) == pytest.approx(0.1, rel=0.02)
    assert period(0.11) != pytest.approx(0.1, rel=0.02)


def test_a_stronger_drift_never_gives_the_core_more() -> None:
    point = star(65, 2.0, 1e4)
    peaks = [
        values(perturbed(scene(point, read=1e-14), wavefront_drift={"severity": severity})[0]).max()
        for severity in (0.5, 1, 2, 3, 4, 5)
    ]
    assert all(one > other for one, other in itertools.pairwise(peaks))


# ------------------------------------------------------------------------------ what has no such meaning


@pytest.mark.parametrize(
    ("kind", "name", "reason"),
    [
        ("x1d", "jitter", "no image"),
        ("x1dints", "pointing_drift", "no image"),
        ("x1d", "wavefront_drift", "no image"),
        ("i2d", "tilt_event", "no one moment"),
    ],
)
def test_what_has_no_meaning_is_refused_with_its_reason(make: Make, kind: str, name: str, reason: str) -> None:
    product = make(kind)
    out, note = perturbed(product, **{name: {"severity": 3}})
    assert reason in str(note["not_applicable"])
    assert out.content == product.content


@pytest.mark.parametrize(
    ("name", "cards", "reason"),
    [
        ("jitter", {"INSTRUME": "FGS"}, "pixel scale"),
        ("wavefront_drift", {"FILTER": "CLEAR"}, "wavelength"),
        ("tilt_event", {"EXPEND": 60000.0}, "when it was exposed"),
    ],
)
def test_what_the_header_does_not_tell_is_not_invented(name: str, cards: dict[str, object], reason: str) -> None:
    product = scene(star(33, 2.0, 1e3), **cards)
    out, note = perturbed(product, **{name: {"severity": 3}})
    assert reason in str(note["not_applicable"])
    assert out.content == product.content
