"""Snowballs, showers and flipped bits: how often, how large, where, and what stays of them in planes and flags.

Each statistic is asserted within a tolerance that a tenth more of its parameter would leave; the assertion that ends
in "a tenth ... would not be told" shows so.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scenes import K, ramp, scene, values
from scipy import stats

from hwosim_assets.fits.dq import DQ
from hwosim_assets.perturb import Product, Scenario, apply
from hwosim_assets.perturb.effects.bit_flips import WIDTH, flips
from hwosim_assets.perturb.effects.snowballs import (
    AREAS,
    FLATTEST,
    GLOW,
    LARGEST,
    LEAST_AREA,
    MOST_AREA,
    RADII,
    REACH,
    SMALLEST,
    disc,
    ellipse,
    showers,
    snowballs,
)
from hwosim_assets.perturb.effects.state import WELL
from hwosim_assets.perturb.proof import diff
from hwosim_assets.perturb.rng import Stream
from hwosim_assets.perturb.truth import Truth

Make = Callable[..., Product]
SHAPE = (512, 400)
DRAWN = pytest.mark.parametrize("draw", [snowballs, showers])
#: Area of 512 x 400 pixels of 18 um in detectors of 2048 x 2048.
SHARE = 512 * 400 / 2048**2
MIRI: dict[str, Any] = {"INSTRUME": "MIRI", "CHANNEL": "", "DETECTOR": "MIRIMAGE"}


def stream(name: str = "SCI,1") -> Stream:
    return Stream(5, "snowballs", "snowballs", "x_cal.fits", name)


def perturbed(product: Product, effect: str, seed: int = 3, **options: Any) -> tuple[Product, Truth]:
    content = {"version": 1, "seed": seed, "effects": [{effect: options}], "valid_only": effect != "file_bit_flips"}
    out, truth = apply(product, Scenario.from_mapping("fallen", content))
    assert diff(product, out, truth).accounted
    return out, truth


def events(truth: Truth) -> dict[str, np.ndarray]:
    table = truth.happened()
    assert table is not None
    return {name: table[name].to_numpy() for name in table.column_names if name not in ("kind", "effect", "label")}


def flagged(before: Product, after: Product, bit: DQ) -> np.ndarray:
    return np.asarray((after.plane("DQ") & ~before.plane("DQ") & np.uint32(int(bit))) != 0)


# ------------------------------------------------------------------ how often, how large, where


@DRAWN
@pytest.mark.parametrize("rate", [0.05, 0.3, 1.0, 3.0])
def test_as_many_fall_as_the_rate_says_and_their_counts_vary_as_poisson_does(draw: Any, rate: float) -> None:
    frames, exposure = 600, 20.0 / rate
    counts = np.array([draw(stream(), frame, rate, exposure, SHAPE).y.size for frame in range(frames)])
    error = 4 * np.sqrt(20.0 / frames)
    assert abs(counts.mean() - 20.0) < error
    assert abs(counts.mean() - 1.1 * 20.0) > error, "a tenth more would not be told"
    assert abs(counts.var() / counts.mean() - 1) < 4 * np.sqrt(2 / frames)


@DRAWN
def test_what_falls_at_a_rate_falls_at_any_higher(draw: Any) -> None:
    before: set[tuple[float, ...]] = set()
    for rate in (0.3, 1.0, 1.4, 3.7, 9.0):
        now = set(zip(*(column.tolist() for column in draw(stream(), 0, rate, 40.0, SHAPE)), strict=True))
        assert before < now
        before = now


@DRAWN
def test_they_fall_anywhere_at_any_time(draw: Any) -> None:
    found = draw(stream(), 0, 1.0, 5000.0, SHAPE)
    for column, size in ((found.y, SHAPE[0]), (found.x, SHAPE[1]), (found.u, 1.0)):
        assert stats.kstest(column / size, "uniform").pvalue > 1e-3
    assert abs(np.corrcoef(found.y, found.x)[0, 1]) < 4 / np.sqrt(found.y.size)


@pytest.mark.parametrize(
    ("draw", "column", "low", "high", "index"),
    [(snowballs, "radius", SMALLEST, LARGEST, RADII), (showers, "area", LEAST_AREA, MOST_AREA, AREAS)],
)
def test_sizes_follow_their_power_law(draw: Any, column: str, low: float, high: float, index: float) -> None:
    sizes = getattr(draw(stream(), 0, 1.0, 20_000.0, SHAPE), column)

    def below(size: np.ndarray, index: float) -> np.ndarray:
        power = index + 1
        return np.asarray((size**power - low**power) / (high**power - low**power))

    assert (sizes.min(), sizes.max()) > (low, low)
    assert sizes.max() < high
    assert stats.kstest(sizes, below, args=(index,)).pvalue > 1e-3
    assert stats.kstest(sizes, below, args=(1.1 * index,)).pvalue < 1e-6, "a tenth steeper would not be told"


def test_showers_lie_in_all_directions_and_are_of_any_flattening() -> None:
    found = showers(stream(), 0, 1.0, 5000.0, SHAPE)
    assert stats.kstest(found.turn, "uniform").pvalue > 1e-3
    assert stats.kstest((found.ratio - FLATTEST) / (1 - FLATTEST), "uniform").pvalue > 1e-3
    assert stats.kstest(found.peak, "uniform").pvalue > 1e-3


# ------------------------------------------------------------------ forms


@pytest.mark.parametrize("radius", [6.0, 17.3])
def test_a_disc_has_its_area_and_a_halo_the_charge_that_its_parameter_says(radius: float) -> None:
    pixels, distance = disc(100.3, 200.8, REACH * radius, SHAPE)
    core, halo = distance < radius, distance >= radius
    assert core.sum() == pytest.approx(np.pi * radius**2, rel=0.03)
    ratio = ((radius / distance[halo]) ** 3).sum() / core.sum()
    assert ratio == pytest.approx(1.0, rel=0.05), "halo over core, of halo = 1; a tenth more would not be told"
    y, x = np.divmod(pixels, SHAPE[1])
    assert (y.mean(), x.mean()) == pytest.approx((100.3, 200.8), abs=0.2)


@pytest.mark.parametrize("turn", [0.0, 0.1, 0.25, 0.6])
def test_an_ellipse_has_its_area_axes_and_direction(turn: float) -> None:
    pixels, square = ellipse(250.0, 200.0, 3000.0, 0.4, turn, SHAPE)
    assert pixels.size == pytest.approx(3000, rel=0.02)
    y, x = (each - each.mean() for each in np.divmod(pixels, SHAPE[1]))
    small, large = np.linalg.eigvalsh(np.cov(x, y))
    assert np.sqrt(small / large) == pytest.approx(0.4, rel=0.02)
    along = x * np.cos(2 * np.pi * turn) + y * np.sin(2 * np.pi * turn)
    assert along.var() == pytest.approx(large, rel=0.02)
    assert 1 - square.mean() == pytest.approx(0.5, abs=0.01), "mean of 1 - rho^2 over an ellipse"


def test_forms_end_where_the_frame_ends() -> None:
    for pixels, _ in (disc(0.0, 399.0, 9.0, SHAPE), ellipse(511.0, 1.0, 900.0, 0.5, 0.2, SHAPE)):
        assert pixels.size > 0
        assert pixels.min() >= 0
        assert pixels.max() < SHAPE[0] * SHAPE[1]
    assert disc(-50.0, 10.0, 9.0, SHAPE)[0].size == 0


# ------------------------------------------------------------------ snowballs in slopes


def slopes(read: float = 1e-4, **cards: Any) -> Product:
    return scene(np.full(SHAPE, 5.0), read=read, **{"NGROUPS": 10, **cards})


def test_snowballs_of_a_product_are_those_of_its_area_and_time() -> None:
    rate = 4.0
    out, truth = perturbed(slopes(), "snowballs", rate=f"{rate} /s", residual=0)
    found, mean = events(truth), rate * 300 * SHARE
    assert abs(found["y"].size - mean) < 4 * np.sqrt(mean)
    note = truth.record["effects"][0]["measurements"][0]
    assert note["detectors"] == pytest.approx(SHARE)
    assert truth.record["effects"][0]["events_recorded"] == found["y"].size
    core = np.zeros(SHAPE, bool)
    for y, x, radius in zip(found["y"], found["x"], found["radius"], strict=True):
        core.reshape(-1)[disc(y, x, radius, SHAPE)[0]] = True
    np.testing.assert_array_equal(flagged(slopes(), out, DQ.SATURATED), core)


@pytest.mark.parametrize(("effect", "options", "mean"), [
    ("snowballs", {"rate": "40 /s", "EFFEXPTM": 1500.0}, 40.0 * 1500 * SHARE),
    ("showers", {"rate": 50.0, **MIRI}, 50.0 * 300 * SHAPE[0] * SHAPE[1] / 1024**2),
    ("bit_flips", {"rate": "1e-3 /bit"}, 1e-3 * SHAPE[0] * SHAPE[1] * WIDTH),
])  # fmt: skip
def test_as_many_events_are_in_a_product_as_its_rate_says(effect: str, options: dict[str, Any], mean: float) -> None:
    product = slopes(**{name: value for name, value in options.items() if name != "rate"})
    truth = perturbed(product, effect, rate=options["rate"])[1]
    count = truth.record["effects"][0]["events_recorded"]
    assert abs(count - mean) < 4 * np.sqrt(mean)
    assert abs(count - 1.1 * mean) > 4 * np.sqrt(mean), "a tenth more would not be told"


def test_a_saturated_core_has_the_noise_of_the_groups_before_it() -> None:
    before = slopes()
    out, truth = perturbed(before, "snowballs", rate=4, residual=0)
    found = events(truth)
    left = np.full(SHAPE[0] * SHAPE[1], np.inf)
    for y, x, radius, u in zip(found["y"], found["x"], found["radius"], found["u"], strict=True):
        pixels, _ = disc(y, x, radius, SHAPE)
        left[pixels] = np.minimum(left[pixels], np.floor(10 * u) / 10)
    left = left.reshape(SHAPE)
    lost, partial = left < 0.2, (left >= 0.2) & (left < 1)
    assert lost.sum() > 50
    assert partial.sum() > 200
    np.testing.assert_array_equal(np.isnan(values(out)), lost)
    np.testing.assert_array_equal(flagged(before, out, DQ.DO_NOT_USE), lost)
    for name, power in (("VAR_POISSON", 1), ("VAR_RNOISE", 3)):
        ratio = values(out, name)[partial] / values(before, name)[partial]
        bare = ratio * left[partial] ** power
        assert np.median(bare) == pytest.approx(1, rel=1e-4)
        assert (bare > 1 - 1e-4).all(), "halos of others only add to it"
    added = (values(out) - values(before))[partial]
    gained = (values(out, "ERR") ** 2 - values(before, "ERR") ** 2)[partial]
    z = added / np.sqrt(gained)
    assert abs(z.var() - 1) < 4 * np.sqrt(2 / z.size)


def test_missed_halos_stay_in_the_slope_by_their_charge_and_moment() -> None:
    before = slopes()
    out, truth = perturbed(before, "snowballs", rate=4, residual=1, halo=0.3)
    found = events(truth)
    assert found["electrons"] == pytest.approx(1.3 * WELL * np.pi * found["radius"] ** 2)
    expected, cores = np.zeros(SHAPE).reshape(-1), np.zeros(SHAPE, bool).reshape(-1)
    for y, x, radius, u in zip(found["y"], found["x"], found["radius"], found["u"], strict=True):
        pixels, distance = disc(y, x, REACH * radius, SHAPE)
        cores[pixels[distance < radius]] = True
        halo = distance >= radius
        expected[pixels[halo]] += 6 * u * (1 - u) * 0.3 * WELL * (radius / distance[halo]) ** 3 / K
    added = (values(out) - values(before)).reshape(-1)[~cores]
    np.testing.assert_allclose(added, expected[~cores], rtol=2e-2, atol=2e-3)
    assert not np.allclose(added, 1.1 * expected[~cores], rtol=2e-2, atol=2e-3), "a tenth more would not be told"


@pytest.mark.parametrize("dq", ["flagged", "silent"])
def test_found_halos_are_cut_out_and_flagged_where_that_is_honest(dq: str) -> None:
    before = slopes()
    out, truth = perturbed(before, "snowballs", rate=2, residual=0, dq=dq)
    jump = flagged(before, out, DQ.JUMP_DET)
    count = truth.record["effects"][0]["pixels_flagged" if dq == "flagged" else "pixels_unflagged"]
    assert count > 500
    assert jump.any() == (dq == "flagged")
    ratio = values(out, "VAR_RNOISE") / values(before, "VAR_RNOISE")
    if dq == "flagged":
        assert (ratio[jump & np.isfinite(ratio)] > 1.0001).all()
    else:
        assert not flagged(before, out, DQ.SATURATED).any()


def test_one_integration_of_several_saturates_and_the_others_are_left() -> None:
    before = slopes(NINTS=4)
    out, truth = perturbed(before, "snowballs", rate=4, residual=0)
    found = events(truth)
    assert np.isfinite(values(out)).all()
    ratio = values(out, "VAR_POISSON") / values(before, "VAR_POISSON")
    early = [disc(y, x, radius, SHAPE)[0] for y, x, radius, u in
             zip(found["y"], found["x"], found["radius"], found["u"], strict=True) if u < 0.2]  # fmt: skip
    assert ratio.reshape(-1)[np.concatenate(early)] == pytest.approx(4 / 3, rel=1e-4)


def test_cores_glow_in_later_integrations_and_are_flagged_as_long_as_the_memory_is(make: Make) -> None:
    before = make("calints")
    out, truth = perturbed(before, "snowballs", rate=5, residual=0, memory=500, seed=8)
    found = events(truth)
    glow = flagged(before, out, DQ.PERSISTENCE)
    expected = np.zeros(glow.shape, bool).reshape(3, -1)
    size = glow.shape[1:]
    for frame, y, x, radius, u in zip(*(found[name] for name in ("frame", "y", "x", "radius", "u")), strict=True):
        for later in range(frame + 1, 3):
            if (later - frame - u) * 300 < 500:
                expected[later, disc(y, x, radius, size)[0]] = True
    assert expected.any()
    assert not expected[0].any()
    np.testing.assert_array_equal(glow, expected.reshape(glow.shape))
    glowing = glow & np.isfinite(values(before)) & ~flagged(before, out, DQ.SATURATED)
    glowing &= ~flagged(before, out, DQ.JUMP_DET)
    assert (values(out, "VAR_POISSON") > values(before, "VAR_POISSON"))[glowing].all()


def test_in_a_ramp_a_core_is_full_from_its_group_on() -> None:
    before = ramp(np.full((128, 128), 30.0), 10)
    out, truth = perturbed(before, "snowballs", rate=40)
    found = events(truth)
    change = values(out)[0] - values(before)[0]
    for y, x, radius, u in zip(found["y"], found["x"], found["radius"], found["u"], strict=True):
        pixels, _ = disc(y, x, radius, (128, 128))
        group = 1 + int(np.floor(9 * u))
        full = (values(out)[0, group:] - values(before)[0, 0]).reshape(10 - group, -1)[:, pixels]
        assert (full >= WELL / 2.1 - 1).all()
    assert not change[0].any()


def test_snowballs_are_of_the_near_infrared_and_showers_of_miri() -> None:
    for effect, product in (("snowballs", slopes(**MIRI)), ("showers", slopes())):
        out, truth = perturbed(product, effect, rate=50)
        assert out.content == product.content
        assert "fall on" in truth.record["effects"][0]["measurements"][0]["not_applicable"]


# ------------------------------------------------------------------ showers in slopes


def test_showers_leave_their_charge_with_its_photon_noise() -> None:
    before = slopes(**MIRI)
    out, truth = perturbed(before, "showers", rate=1, peak="40 DN/s", dq="silent")
    found = events(truth)
    mean = 1.0 * 300 * (512 * 400 / 1024**2)
    assert abs(found["y"].size - mean) < 4 * np.sqrt(mean)

    # b is uniform and the mean of 1 - rho^2 is a half: a shower of area A has A peak g 15 s b / 2 electrons.
    whole = (found["y"] > 60) & (found["y"] < SHAPE[0] - 60) & (found["x"] > 60) & (found["x"] < SHAPE[1] - 60)
    share = found["electrons"][whole] / (found["area"][whole] * 40 * 4.0 * GLOW / 2)
    error = 4 / np.sqrt(12 * whole.sum())
    assert abs(share.mean() - 0.5) < error
    assert share.max() <= 1.05
    response = 6 * found["u"] * (1 - found["u"]) / K
    added = values(out) - values(before)
    assert added.sum() == pytest.approx((response * found["electrons"]).sum(), rel=1e-3)
    assert added.sum() != pytest.approx(1.1 * (response * found["electrons"]).sum(), rel=1e-3), "a tenth is told"
    assert not flagged(before, out, DQ.JUMP_DET).any()
    assert truth.record["effects"][0]["pixels_unflagged"] > 90 * found["y"].size / 2


def test_the_noise_of_a_shower_is_what_the_planes_gain() -> None:
    """In a pixel of one shower S gains r Q/k and VAR_POISSON r^2 <Q>/k^2, with r = 6u(1-u) and Q a Poisson count."""
    before, pulls = slopes(**MIRI), []
    for seed in range(6):
        out, truth = perturbed(before, "showers", seed=seed, rate=1, dq="flagged")
        found = events(truth)
        count, response = np.zeros(SHAPE).reshape(-1), np.zeros(SHAPE).reshape(-1)
        for number, u in enumerate(found["u"]):
            y, x, area, ratio, turn = (found[name][number] for name in ("y", "x", "area", "ratio", "turn"))
            pixels, _ = ellipse(y, x, area, ratio, turn, SHAPE)
            count[pixels] += 1
            response[pixels] = 6 * u * (1 - u) / K
        added, gained = ((values(out, name) - values(before, name)).reshape(-1) for name in ("SCI", "VAR_POISSON"))
        mean = np.divide(gained, response**2, out=np.zeros_like(gained), where=response > 0.5 / K)
        one = (count == 1) & (mean > 20)
        pulls.append((added[one] / response[one] - mean[one]) / np.sqrt(mean[one]))
        np.testing.assert_array_equal(flagged(before, out, DQ.JUMP_DET).reshape(-1), count > 0)
    z = np.concatenate(pulls)
    error = 4 * np.sqrt(2 / z.size)
    assert abs(z.mean()) < 4 / np.sqrt(z.size)
    assert abs(z.var() - 1) < error < 0.05, "a tenth more would be told"


def test_in_a_ramp_a_shower_stays_from_its_group_on() -> None:
    before = ramp(np.full((128, 128), 30.0), 10, **MIRI)
    out, truth = perturbed(before, "showers", rate=20, dq="flagged")
    change = values(out)[0] - values(before)[0]
    assert change.any()
    assert (np.diff(change, axis=0) >= -1e-6).all()
    assert change[-1].sum() * 4.0 == pytest.approx(events(truth)["electrons"].sum(), rel=1e-6)


# ------------------------------------------------------------------ flipped bits


@pytest.mark.parametrize("rate", [3e-9, 1e-7, 1e-5])
def test_flips_are_as_many_as_the_binomial_distribution_says(rate: float) -> None:
    words, frames = int(30 / (rate * WIDTH)), 400
    found = [flips(stream(), frame, rate, words, WIDTH) for frame in range(frames)]
    counts = np.array([each.place.size for each in found])
    error = 4 * np.sqrt(30 / frames)
    assert abs(counts.mean() - 30) < error
    assert abs(counts.mean() - 33) > error, "a tenth more would not be told"
    assert abs(counts.var() / counts.mean() - 1) < 4 * np.sqrt(2 / frames)
    bits = np.bincount(np.concatenate([each.bit for each in found]), minlength=WIDTH)
    assert bits.size == WIDTH
    assert stats.chisquare(bits).pvalue > 1e-3
    place = np.concatenate([each.place for each in found])
    assert stats.kstest((place + 0.5) / words, "uniform").pvalue > 1e-3
    signs = np.concatenate([each.sign for each in found])
    assert abs(signs.mean()) < 4 / np.sqrt(signs.size)


def test_a_smaller_rate_flips_some_of_the_bits_of_a_larger_one() -> None:
    before: set[tuple[int, int]] = set()
    for rate in (1e-8, 7e-8, 1e-6, 1.3e-6):
        found = flips(stream(), 0, rate, 10**7, WIDTH)
        now = set(zip(found.place.tolist(), found.bit.tolist(), strict=True))
        assert before < now
        before = now


def test_in_slopes_a_flip_is_a_power_of_two_in_dn_and_only_sci_changes() -> None:
    before = slopes()
    out, truth = perturbed(before, "bit_flips", rate="1e-5 /bit")
    found = events(truth)
    assert 10 < found["pixel"].size < 70
    added = (values(out) - values(before)).reshape(-1)
    expected = np.bincount(found["pixel"], found["change"], added.size)
    np.testing.assert_allclose(added, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(np.abs(found["change"]), 2.0 ** found["bit"] * 2.1 / K, rtol=1e-6)
    for name in ("ERR", "VAR_POISSON", "VAR_RNOISE", "DQ"):
        np.testing.assert_array_equal(out.plane(name), before.plane(name))


def test_in_a_ramp_the_bit_itself_flips(make: Make) -> None:
    before = make("uncal")
    out, truth = perturbed(before, "bit_flips", rate=1e-3)
    found = events(truth)
    assert found["pixel"].size > 100
    expected = before.plane("SCI").copy()
    at = (found["frame"], found["group"], *np.divmod(found["pixel"], 40))
    np.bitwise_xor.at(expected, at, (1 << found["bit"]).astype(np.uint16))
    np.testing.assert_array_equal(out.plane("SCI"), expected)


def test_flipped_bits_of_a_file_are_those_recorded_and_no_sum_is_mended(make: Make) -> None:
    before = make("cal", checksum=True)
    out, truth = perturbed(before, "file_bit_flips", rate=1e-3)
    (step,) = truth.record["effects"]
    mean = (len(before.content) - 2880) * 8e-3
    assert 0.1 * mean > 4 * np.sqrt(mean), "a tenth more would not be told"
    assert abs(len(step["events"]) - mean) < 4 * np.sqrt(mean)
    mended = bytearray(out.content)
    for event in step["events"]:
        mended[event["offset"]] ^= 1 << event["bit"]
    assert bytes(mended) == before.content
    assert truth.record["damaged"]


def test_only_a_scenario_that_says_so_breaks_files() -> None:
    from hwosim_assets.errors import HwosimError

    with pytest.raises(HwosimError, match="valid_only"):
        Scenario.from_mapping("x", {"version": 1, "effects": ["file_bit_flips"]})
