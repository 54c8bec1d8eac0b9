"""Particles: as many as the flux says, everywhere, in all directions; found ones are cut out, missed ones stay.

Each statistic is asserted within a tolerance that a tenth more flux, or another index, would leave; the first
test of each shows so.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from scenes import scene
from scipy import stats

from hwosim_assets.fits.dq import DQ
from hwosim_assets.perturb import Product, Scenario, apply
from hwosim_assets.perturb.effects.particles import INDEX, LONGEST, SHORTEST, Hits, deposits, hits
from hwosim_assets.perturb.proof import diff
from hwosim_assets.perturb.rng import Stream

Make = Callable[..., Product]
SHAPE = (512, 512)


def drawn(flux: float, frames: int = 1, exposure: float = 100.0) -> list[Hits]:
    stream = Stream(5, "cosmic_rays", "", "x_cal.fits", "SCI")
    return [hits(stream, frame, flux, exposure, SHAPE) for frame in range(frames)]


def perturbed(product: Product, effect: str, **parameters: Any) -> tuple[Product, Any]:
    scenario = Scenario.from_mapping("struck", {"version": 1, "effects": [{effect: parameters}]})
    out, truth = apply(product, scenario)
    assert diff(product, out, truth).accounted
    return out, truth


@pytest.mark.parametrize("flux", [0.3, 1.778, 8.0, 11.3])
def test_hits_per_area_and_time_are_the_flux_and_vary_as_poisson_counts(flux: float) -> None:
    frames = 400
    counts = np.array([found.y.size for found in drawn(flux, frames)])
    mean = flux * 100.0
    error = 4 * np.sqrt(mean / frames)
    assert abs(counts.mean() - mean) < error
    assert abs(counts.mean() - 1.1 * mean) > error, "a tenth more would not be told"
    assert abs(counts.var() / counts.mean() - 1) < 4 * np.sqrt(2 / frames)


def test_hits_are_everywhere_and_go_everywhere() -> None:
    (found,) = drawn(100.0)
    for values, scale in ((found.y, SHAPE[0]), (found.x, SHAPE[1]), (found.u, 1.0)):
        assert stats.kstest(values / scale, "uniform").pvalue > 1e-4
    angle = np.arctan2(found.dy, found.dx) / (2 * np.pi) + 0.5
    assert stats.kstest(angle, "uniform").pvalue > 1e-4
    assert np.allclose(np.hypot(found.dy, found.dx), 1)


def test_lengths_follow_their_power_law_and_losses_their_moyal_law() -> None:
    (found,) = drawn(400.0)

    def below(length: np.ndarray, index: float) -> np.ndarray:
        power = index + 1
        return (length**power - SHORTEST**power) / (LONGEST**power - SHORTEST**power)

    assert stats.kstest(found.length, below, args=(INDEX,)).pvalue > 1e-4
    assert stats.kstest(found.length, below, args=(1.1 * INDEX,)).pvalue < 1e-6, "a tenth steeper would not be told"
    loss = found.electrons / found.length * 1.15
    assert stats.kstest(loss[loss > 20], lambda x: (stats.moyal.cdf(x, 120, 50) - stats.moyal.cdf(20, 120, 50))
                        / stats.moyal.sf(20, 120, 50)).pvalue > 1e-4  # fmt: skip


def test_a_smaller_flux_has_some_of_the_hits_of_a_larger_one() -> None:
    places: set[tuple[float, float]] = set()
    for flux in (0.5, 1.9, 4.9, 8.0, 12.0):
        (found,) = drawn(flux)
        now = set(zip(found.y.tolist(), found.x.tolist(), strict=True))
        assert places <= now
        places = now


def test_all_electrons_of_a_track_inside_the_frame_are_deposited_along_it() -> None:
    one = Hits(*(np.array([value]) for value in (100.2, 50.7, 0.6, 0.8, 180.0, 9000.0, 0.5, 0.5)))
    pixels, electrons, _which = deposits(one, SHAPE, 18.0)
    assert electrons.sum() == pytest.approx(9000)
    y, x = np.divmod(pixels, SHAPE[1])
    assert (y.min(), y.max(), x.min(), x.max()) == (100, 106, 50, 58)
    assert np.corrcoef(y, x)[0, 1] > 0.98


def test_missed_hits_add_light_where_they_fell_and_raise_no_flag(make: Make) -> None:
    product = make("cal")
    out, truth = perturbed(product, "cosmic_rays", flux=10000, residual=1)
    before, after = product.plane("SCI").astype(float), out.plane("SCI").astype(float)
    note = truth.record["effects"][0]["measurements"][0]
    assert note["cm2_s"] > 0
    added = after - before
    assert np.nanmin(added) >= -1e-5
    assert np.nansum(added) > 0
    assert (out.plane("DQ") == product.plane("DQ")).all()


@pytest.mark.parametrize("dq", ["flagged", "silent"])
def test_found_hits_raise_the_read_noise_and_are_flagged_where_that_is_honest(make: Make, dq: str) -> None:
    product = make("cal")
    out, _ = perturbed(product, "cosmic_rays", flux=10000, residual=0, dq=dq)
    before, after = (each.plane("VAR_RNOISE").astype(float) for each in (product, out))
    ratio = after / before
    struck = ratio > 1.00001
    assert struck.any()
    assert np.nanmax(ratio) <= 4.0001
    bit = np.uint32(int(DQ.JUMP_DET))
    new = ((out.plane("DQ") & bit) != 0) & ((product.plane("DQ") & bit) == 0)
    assert new[struck].all() if dq == "flagged" else not new.any()


@pytest.mark.parametrize(("effect", "options"), [
    ("cosmic_rays", {"flux": 300.0, "residual": 0.0}),
    ("solar_particle_event", {"peak": 3000.0, "onset": 0.0, "tau": 0.5, "residual": 0.0}),
])  # fmt: skip
def test_a_found_hit_cuts_one_integration_of_those_that_a_frame_is_the_mean_of(
    effect: str, options: dict[str, float]
) -> None:
    """The others stay whole: of n, the share (n - 1 + cut) / n of what the read noise is found from is left."""

    def cuts(number: int) -> np.ndarray:
        product = scene(np.full((256, 256), 50.0), read=0.01, NINTS=number)
        out, _ = perturbed(product, effect, **options)
        return np.asarray(product.plane("VAR_RNOISE").astype(float) / out.plane("VAR_RNOISE"))

    one, ten = cuts(1), cuts(10)
    assert (one < 0.9).sum() > 100
    np.testing.assert_allclose(ten, (9.0 + one) / 10.0, rtol=1e-5)


def test_in_a_ramp_a_hit_stays_from_its_group_on(make: Make) -> None:
    product = make("uncal")
    out, _ = perturbed(product, "cosmic_rays", flux=10000)
    added = out.plane("SCI").astype(float) - product.plane("SCI").astype(float)
    assert added.any()
    assert not added[:, 0].any(), "the first group is where a ramp begins"
    assert (np.diff(added, axis=1) >= -1).all(), "rounding apart, nothing goes back"


@pytest.mark.parametrize(("kind", "options", "said"), [
    ("cal", {"peak": 500.0}, "SUSPECT"), ("cal", {"peak": 500.0, "dq": "silent"}, "OK"),
    ("cal", {"peak": 500.0, "onset": 10.0}, "OK"), ("x1d", {"peak": 500.0}, "OK"),
])  # fmt: skip
def test_the_header_calls_a_storm_suspect_where_there_is_one(
    make: Make, kind: str, options: dict[str, object], said: str
) -> None:
    """Not where it has not begun, and not in a product whose truth calls the effect not applicable."""
    with fits.HDUList.fromstring(make(kind).content) as hdus:
        hdus[0].header["ENG_QUAL"] = "OK"
        buffer = io.BytesIO()
        hdus.writeto(buffer)
    out, truth = perturbed(Product(make(kind).name, buffer.getvalue()), "solar_particle_event", **options)
    assert str(out.keyword("ENG_QUAL")).strip() == said
    events = [event for event in truth.record["effects"][0]["events"] if "ENG_QUAL" in event.get("before", "")]
    assert [event["is"] for event in events] == ["SUSPECT"] * (said == "SUSPECT")


def test_a_storm_rises_and_decays(make: Make) -> None:
    product = make("calints")
    _, truth = perturbed(product, "solar_particle_event", peak=500, onset=0.0, tau=0.3)
    (note,) = truth.record["effects"][0]["measurements"]
    assert 0 < note["peak_flux"] <= 500
    _, late = perturbed(product, "solar_particle_event", peak=500, onset=5.0, tau=0.3)
    assert late.record["effects"][0]["measurements"][0]["peak_flux"] == 0
