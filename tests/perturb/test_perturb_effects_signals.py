"""Injected signals on fixed seeds: what was injected is found again, and 10 % more is not the same."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats

from hwosim_assets.perturb import Product, Scenario, apply
from hwosim_assets.perturb.effects.shapes import limb_darkened, stamp, trapezoid

Make = Callable[..., Product]


def perturbed(product: Product, **chosen: dict[str, object]) -> tuple[Product, dict[str, object]]:
    content = {"version": 1, "seed": 11, "effects": [{name: options} for name, options in chosen.items()]}
    out, truth = apply(product, Scenario.from_mapping("test", content))
    return out, truth.record["effects"][0]["measurements"][0]


def curve(product: Product, out: Product) -> np.ndarray:
    return out.plane("SCI").astype(float).mean((1, 2)) / product.plane("SCI").astype(float).mean((1, 2))


@pytest.mark.parametrize(("effect", "options"), [("transit", {"shape": "box"}), ("transit", {}), ("eclipse", {})])
def test_dips_have_depth_and_time(series: Product, effect: str, options: dict[str, object]) -> None:
    times = (np.arange(60) + 0.5) / 60

    def found(depth: float) -> tuple[float, float]:
        out, _ = perturbed(series, **{effect: {"depth": depth, "mid": 0.4, **options}})
        dip = 1 - curve(series, out)
        return float(dip[np.abs(times - 0.4) < 0.12].mean()), float((dip * times).sum() / dip.sum())

    depth, mid = found(0.02)
    assert depth == pytest.approx(0.02, rel=0.02)
    assert mid == pytest.approx(0.4, abs=0.005)
    assert found(0.022)[0] != pytest.approx(0.02, rel=0.02)


def test_a_dip_leaves_the_noise_of_what_remains(series: Product) -> None:
    out, _ = perturbed(series, transit={"depth": 0.5, "shape": "box", "duration": 10.0})
    after = out.plane("SCI").astype(float)
    expected = 0.5 * float(np.median(series.plane("VAR_POISSON"))) + 0.1
    assert float(np.median(out.plane("VAR_POISSON"))) == pytest.approx(expected - 0.1, rel=1e-3)
    assert after.var() == pytest.approx(expected, rel=0.06)


def test_limb_darkening_is_that_of_a_finer_sum() -> None:
    phase = np.linspace(-0.6, 0.6, 13)
    u1, u2, radius, impact = 0.4, 0.2, 0.1, 0.3
    grid = np.linspace(-1, 1, 2001)
    y, x = np.meshgrid(grid, grid, indexing="ij")
    square = x**2 + y**2
    dim = 1 - np.sqrt(np.clip(1 - square, 0, None))
    star = np.where(square < 1, 1 - u1 * dim - u2 * dim**2, 0)
    half = np.sqrt((1 + radius) ** 2 - impact**2)
    hidden = [star[(x - 2 * half * p) ** 2 + (y - impact) ** 2 < radius**2].sum() / star.sum() for p in phase]
    found = limb_darkened(phase, radius**2, impact, u1, u2)
    np.testing.assert_allclose(found, hidden, atol=2e-4)
    assert found[6] > 0.011  # the middle is brighter than the mean
    assert np.abs(limb_darkened(phase, 1.1 * radius**2, impact, u1, u2) - hidden).max() > 5e-4


def test_trapezoid_has_its_ingress() -> None:
    np.testing.assert_allclose(trapezoid(np.array([-0.5, -0.45, -0.4, 0, 0.425]), 0.1), [0, 0.5, 1, 1, 0.75])


def test_flare_has_peak_and_decay(series: Product) -> None:
    def found(decay: float, amplitude: float) -> tuple[float, float]:
        out, _ = perturbed(series, flare={"amplitude": amplitude, "peak": 0.3, "decay": decay})
        extra = curve(series, out) - 1
        tail = np.arange(20, 30)
        slope, start = np.polyfit((tail + 0.5) / 60 - 0.3, np.log(extra[tail]), 1)
        return float(-1 / slope), float(np.exp(start))

    assert found(0.1, 1.0) == pytest.approx((0.1, 1.0), rel=0.02)
    assert found(0.11, 1.0)[0] != pytest.approx(0.1, rel=0.02)
    assert found(0.1, 1.1)[1] != pytest.approx(1.0, rel=0.02)


def moments(image: np.ndarray) -> tuple[float, float, float]:
    y, x = np.indices(image.shape)
    total = image.sum()
    return float(total), float((image * y).sum() / total), float((image * x).sum() / total)


def difference(product: Product, out: Product) -> np.ndarray:
    return np.nan_to_num(out.plane("SCI").astype(float) - product.plane("SCI").astype(float))


def test_point_source_has_flux_and_place(series: Product) -> None:
    def flux(peak: float) -> tuple[float, dict[str, object]]:
        out, found = perturbed(series, point_source={"peak": peak})
        total, y, x = moments(difference(series, out).mean(0))
        assert (y, x) == pytest.approx((found["y"], found["x"]), abs=0.05)
        return total, found

    total, found = flux(50.0)
    assert total == pytest.approx(found["flux"], rel=0.01)
    # The noise of a pixel is 1, and a centred Gaussian of 2 pixels FWHM has this share in its brightest.
    assert total == pytest.approx(50.0 / (2 * stats.norm.cdf(0.5 * 2.3548 / 2) - 1) ** 2, rel=0.01)
    assert flux(55.0)[0] != pytest.approx(found["flux"], rel=0.01)


def test_stamp_holds_the_light_and_its_width() -> None:
    places, shares = stamp((41, 41), 20.3, 19.6, 4.0)
    total, y, x = moments(np.bincount(places, shares, 41 * 41).reshape(41, 41))
    assert (total, y, x) == pytest.approx((1, 20.3, 19.6), abs=1e-6)
    spread = (shares * (places // 41 - 20.3) ** 2).sum()
    assert spread == pytest.approx((4 / 2.3548) ** 2 + 1 / 12, rel=1e-3)


def test_a_transient_is_dark_before_its_onset(series: Product) -> None:
    out, _ = perturbed(series, point_source={"peak": 50.0, "light": "transient", "onset": 0.5})
    light = difference(series, out).sum((1, 2))
    assert (light[:30] == 0).all()
    assert (light[30:] > 0).all()


def test_moving_object_follows_its_line(series: Product) -> None:
    out, found = perturbed(series, moving_object={"peak": 50.0, "path": 6.0})
    tracks = np.array([moments(frame)[1:] for frame in difference(series, out)])
    slope = np.polyfit((np.arange(60) + 0.5) / 60, tracks, 1)[0]
    assert slope == pytest.approx((found["dy"], found["dx"]), abs=0.25)
    assert np.hypot(*slope) == pytest.approx(6.0, abs=0.25)
    assert np.hypot(*slope) != pytest.approx(6.6, abs=0.25)


def test_companion_has_contrast_and_separation(make: Make) -> None:
    product = make("cal")

    def flux(contrast: float) -> tuple[float, dict[str, object]]:
        out, found = perturbed(product, companion={"contrast": contrast, "separation": 8.0})
        total, y, x = moments(difference(product, out))
        assert np.hypot(y - found["star_y"], x - found["star_x"]) == pytest.approx(8.0, abs=0.3)
        return total, found

    total, found = flux(0.9)
    assert total == pytest.approx(0.9 * found["star_flux"], rel=0.05)
    assert flux(0.99)[0] != pytest.approx(0.9 * found["star_flux"], rel=0.05)


def test_lines_have_flux_and_place(make: Make) -> None:
    product = make("x1d")
    before = product.plane("EXTRACT1D", 1, "FLUX")

    def flux(strength: float) -> tuple[float, float]:
        out, found = perturbed(product, spectral_line={"strength": strength, "fwhm": 10.0})
        delta = out.plane("EXTRACT1D", 1, "FLUX") - before
        wave = product.plane("EXTRACT1D", 1, "WAVELENGTH")
        assert (delta * wave).sum() / delta.sum() == pytest.approx(found["wavelength"], abs=0.01)
        return float(delta.sum()), strength * 0.1 * 10.0 * 1.0645

    total, expected = flux(1000.0)
    assert total == pytest.approx(expected, rel=0.05)
    assert flux(1100.0)[0] != pytest.approx(expected, rel=0.05)


def test_an_absorption_line_has_its_depth(series: Product, make: Make) -> None:
    product = make("x1dints")

    def depth(asked: float) -> float:
        line = {"severity": 1, "kind": "absorption", "depth": asked, "fwhm": 20.0}
        out, found = perturbed(product, spectral_line=line)
        ratio = out.plane("EXTRACT1D", 1, "FLUX") / product.plane("EXTRACT1D", 1, "FLUX")
        wave = product.plane("EXTRACT1D", 1, "WAVELENGTH")[0]
        near = np.abs(wave - found["wavelength"]) < found["fwhm"] / 10
        return float(1 - ratio[:, near].mean())

    assert depth(0.5) == pytest.approx(0.5, rel=0.06)
    assert depth(0.55) != pytest.approx(0.5, rel=0.06)


def test_a_stuck_value_repeats_where_the_record_says(make: Make) -> None:
    product = make("big")

    def length(asked: float) -> int:
        out, found = perturbed(product, stuck_value={"length": asked})
        before, after = (x.plane("SCI").reshape(-1) for x in (product, out))
        run = after[found["start"] : found["end"]]
        assert len(set(run[np.isfinite(run)].tolist())) == 1
        changed = np.flatnonzero((before != after) & np.isfinite(before))
        assert found["start"] <= changed.min()
        assert changed.max() < found["end"]
        return int(np.ptp(changed)) + 1

    size = product.plane("SCI").size
    assert length(0.01) == pytest.approx(0.01 * size, rel=0.02)
    assert length(0.011) != pytest.approx(0.01 * size, rel=0.02)
