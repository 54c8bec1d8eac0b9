"""Bad pixels, coupling, wells, reciprocity and crosstalk on fixed seeds; what is off by a tenth falls outside."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest
from scenes import K, columns, perturbed, ramp, scene, values

from hwosim_assets.fits.dq import DQ
from hwosim_assets.perturb import Product
from hwosim_assets.perturb.effects.pixels import _given

Make = Callable[..., Product]
FLAT = np.full((512, 512), 20.0)
FLAT[:, :64] *= 3
ALONE = {"clustering": 0.0, "growth": 0.0, "dead": 0.0, "rc": 0.0, "open": 0.0}


def bad(out: Product, bits: DQ = DQ.HOT | DQ.WARM) -> np.ndarray:
    return (out.plane("DQ") & int(bits)) != 0


# ------------------------------------------------------------------------------ C1 bad pixels


@pytest.mark.parametrize("fraction", [0.005, 0.02, 0.1])
def test_the_share_of_bad_pixels_is_binomial_and_another_by_a_tenth_is_not(fraction: float) -> None:
    product, n = scene(FLAT), FLAT.size

    def deviation(asked: float) -> float:
        found = bad(perturbed(product, hot_pixels={**ALONE, "fraction": asked})[0]).mean()
        return float((found - fraction) / np.sqrt(fraction * (1 - fraction) / n))

    assert abs(deviation(fraction)) < 3
    assert abs(deviation(1.1 * fraction)) > 3


def test_other_kinds_come_in_their_shares_and_with_their_flags() -> None:
    shares = {"dead": 0.3, "rc": 0.2, "open": 0.1}
    out, note = perturbed(scene(FLAT), hot_pixels={**ALONE, **shares, "fraction": 0.05})
    for name, bits in (("dead", DQ.DEAD), ("rc", DQ.RC), ("open", DQ.OPEN)):
        expected = 0.05 * shares[name] * FLAT.size
        assert abs(int(note[name]) - expected) < 4 * np.sqrt(expected)
        assert bad(out, bits).sum() == note[name]
    lost = bad(out, DQ.DEAD)
    for plane in ("SCI", "ERR", "VAR_POISSON", "VAR_RNOISE"):
        np.testing.assert_array_equal(np.isnan(out.plane(plane)), lost)
    assert (out.plane("DQ")[lost] & 1).all()
    y, x = np.nonzero(bad(out, DQ.OPEN))
    inside = (y > 0) & (x > 0) & (y < 511) & (x < 511)
    for dy, dx in ((0, 1), (1, 0), (0, -1), (-1, 0)):
        assert bad(out, DQ.ADJ_OPEN)[y[inside] + dy, x[inside] + dx].all()


def test_an_open_pixel_shows_its_light_in_its_neighbours_and_an_rc_pixel_half_of_it() -> None:
    signal = np.full((64, 64), 20.0)
    out = perturbed(scene(signal), hot_pixels={**ALONE, "open": 1.0, "fraction": 0.005, "warm_rate": 1e-4})[0]
    alone = bad(out, DQ.OPEN) & ~bad(out, DQ.ADJ_OPEN | DQ.HOT | DQ.WARM)
    assert alone.sum() > 5
    # 20 units are 20 000 electrons; the noise that is added is 1e-4 of the light at most.
    np.testing.assert_allclose(values(out)[alone], 2.0, atol=0.01)
    gained = values(out).sum() - 64 * 64 * 20.0
    edge = np.zeros((64, 64), bool)
    edge[1:-1, 1:-1] = True
    assert gained == pytest.approx(0, abs=9.0 * int((bad(out, DQ.OPEN) & ~edge).sum()) + 5)
    slow = perturbed(scene(signal), hot_pixels={**ALONE, "rc": 1.0, "fraction": 0.005, "warm_rate": 1e-4})[0]
    only = bad(slow, DQ.RC) & ~bad(slow, DQ.HOT | DQ.WARM)
    np.testing.assert_allclose(values(slow)[only], 10.0, atol=0.01)
    np.testing.assert_allclose(values(slow, "VAR_POISSON")[only], 0.25 * 20 / K, rtol=1e-5)


def test_open_pixels_give_to_each_neighbour_in_turns_of_which_none_comes_twice() -> None:
    rows, columns = 9, 7
    places = np.flatnonzero(np.random.default_rng(3).random(rows * columns) < 0.5)
    turns = _given(places, (rows, columns))
    told = [(int(target), int(places[giver])) for turn in turns for giver, target in zip(*turn, strict=True)]
    beside = [
        (near, place)
        for place in places.tolist()
        for near in range(rows * columns)
        if abs(near // columns - place // columns) + abs(near % columns - place % columns) == 1
    ]
    assert sorted(told) == sorted(beside)
    assert len(turns) == 4
    assert {target for target, _ in told} == set(turns[0][1].tolist())
    for _, target in turns:
        assert (np.diff(target) > 0).all()
    for target in set(turns[0][1].tolist()):
        givers = [place for found, place in told if found == target]
        assert givers == sorted(givers, reverse=True), "the one below comes first, that above last"
    assert [part.size for turn in _given(places[:0], (rows, columns)) for part in turn] == [0, 0]


def test_a_map_belongs_to_the_detector_and_grows_with_severity_and_time() -> None:
    product = scene(FLAT)
    maps = [bad(perturbed(product, hot_pixels={"severity": s})[0]) for s in (1, 2, 3.5, 5)]
    later = [
        bad(perturbed(scene(FLAT, EXPSTART=day, EXPMID=day, EXPEND=day + 0.1), hot_pixels={"severity": 3})[0])
        for day in (60000.0, 61000.0, 63000.0)
    ]
    for series in (maps, later):
        for fewer, more in itertools.pairwise(series):
            assert not (fewer & ~more).any()
            assert more.sum() > 1.1 * fewer.sum()
    other_name = Product("jw99_cal.fits", product.content)
    np.testing.assert_array_equal(maps[2], bad(perturbed(other_name, hot_pixels={"severity": 3.5})[0]))
    part = scene(FLAT[100:200, 200:350], SUBSTRT1=201, SUBSTRT2=101)
    np.testing.assert_array_equal(maps[2][100:200, 200:350], bad(perturbed(part, hot_pixels={"severity": 3.5})[0]))
    other = bad(perturbed(scene(FLAT, DETECTOR="NRCA2"), hot_pixels={"severity": 3.5})[0])
    overlap = (other & maps[2]).sum() / maps[2].sum()
    assert overlap < 0.2


def test_clustered_pixels_stand_closer_than_chance() -> None:
    def excess(clustering: float) -> float:
        found = bad(perturbed(scene(FLAT), hot_pixels={**ALONE, "clustering": clustering, "fraction": 0.02})[0])
        counts = found.reshape(16, 32, 16, 32).sum((1, 3))
        return float(counts.var() / counts.mean() - 1)

    assert abs(excess(0.0)) < 4 * np.sqrt(2 / 256)
    # The mean of a cell is 20.5; its variance is that of the counts and that of the density.
    assert 20.5 * 0.25 * 0.5 < excess(0.5) < 20.5 * 0.25 * 2


def test_dark_currents_follow_their_power_law_and_another_by_a_tenth_does_not() -> None:
    product = scene(FLAT)

    def index(asked: float) -> tuple[float, float]:
        out, note = perturbed(product, hot_pixels={**ALONE, "fraction": 0.02, "index": asked, "warm_rate": "1 e-/s"})
        added = values(out, "VAR_POISSON") - values(product, "VAR_POISSON")
        rate = added[bad(out)] * K * K / float(str(note["seconds"]))
        logs = np.log(rate[rate > 1.02] / 1.02)  # single precision hides the faintest
        return 1 / float(logs.mean()), 4 * 1.5 / np.sqrt(logs.size)

    found, tolerance = index(1.5)
    assert found == pytest.approx(1.5, abs=tolerance)
    assert tolerance < 0.15
    assert index(1.65)[0] != pytest.approx(1.5, abs=tolerance)


def test_dark_current_brings_its_photon_noise() -> None:
    product = scene(FLAT)
    out = perturbed(product, hot_pixels={**ALONE, "fraction": 0.1, "warm_rate": "10 e-/s"})[0]
    hot = bad(out)
    added = (values(out, "VAR_POISSON") - values(product, "VAR_POISSON"))[hot]
    z = ((values(out) - values(product))[hot] - added * K) / np.sqrt(added)
    z = z[added * K < 20]  # brighter than the scene, single precision of SCI shows
    assert abs(z.mean()) < 4 / np.sqrt(z.size)
    assert abs(z.var() - 1) < 4 * np.sqrt(2 / z.size)
    np.testing.assert_allclose(
        values(out, "ERR")[hot] ** 2, values(out, "VAR_POISSON")[hot] + values(out, "VAR_RNOISE")[hot], rtol=1e-5
    )


def test_bad_pixels_may_be_silent_and_stale() -> None:
    product = scene(FLAT)
    out = perturbed(product, hot_pixels={"severity": 3, "dq": "silent", "err": "stale"})[0]
    for plane in ("ERR", "VAR_POISSON", "VAR_RNOISE", "DQ"):
        np.testing.assert_array_equal(out.plane(plane), product.plane(plane))
    assert (out.plane("SCI") != product.plane("SCI")).mean() > 0.02


# ------------------------------------------------------------------------------ C4 inter-pixel capacitance


def neighbours(out: Product) -> float:
    """Return the correlation of pixels one apart, along both axes."""
    data = values(out)[:, 70:] - values(out)[:, 70:].mean()
    pairs = ((data[:, 1:] * data[:, :-1]).mean() + (data[1:] * data[:-1]).mean()) / 2
    return float(pairs / data.var())


def test_coupling_correlates_photon_noise_by_twice_alpha_and_another_by_a_tenth_does_not() -> None:
    product, alpha = scene(FLAT, noise=True), 0.0333
    tolerance = 4 / np.sqrt(2 * FLAT[:, 70:].size)
    assert tolerance < 0.1 * 2 * alpha

    def corrected(asked: float) -> float:
        # To first order 2 alpha; the kernel's own self-correlation says how much more it is.
        centre, corner = 1 - 4 * alpha * 1.17, 0.17 * alpha
        exact = (2 * alpha * centre + 4 * alpha * corner) / (centre**2 + 4 * alpha**2 + 4 * corner**2)
        found = neighbours(perturbed(product, ipc={"alpha": asked})[0])
        return found * 2 * alpha / exact

    assert corrected(alpha) == pytest.approx(2 * alpha, abs=tolerance)
    assert corrected(1.1 * alpha) != pytest.approx(2 * alpha, abs=tolerance)


def test_coupling_keeps_charge_and_read_noise() -> None:
    signal = np.zeros((64, 64))
    signal[30, 30], signal[10:12, 50] = 1e3, 5e3
    product = scene(signal, read=1e-12)
    out = perturbed(product, ipc={"severity": 5})[0]
    assert values(out).sum() / values(product).sum() == pytest.approx(1, abs=1e-6)
    assert values(out)[30, 31] / 1e3 == pytest.approx(0.1, rel=1e-4)
    read = np.full((256, 256), 1e-3)
    noisy = scene(read, read=1.0)
    added = values(perturbed(noisy, ipc={"severity": 5})[0]) - read
    kernel = np.array([0.017, 0.1, 0.017, 0.1, 1 - 0.468, 0.1, 0.017, 0.1, 0.017])
    assert added.var() == pytest.approx(1 - (kernel**2).sum(), rel=4 * np.sqrt(2 / read.size))


def test_coupling_leaves_the_bias_of_a_ramp_alone() -> None:
    rate = np.zeros((32, 32))
    rate[16, 16] = 100.0
    product = ramp(rate, INSTRUME="NONE")
    out = perturbed(product, ipc={"alpha": 0.02, "diagonal": 0.0})[0]
    change = values(out)[0] - values(product)[0]
    np.testing.assert_allclose(change[:, 16, 17], 2.0 * np.arange(10), atol=1e-6)
    np.testing.assert_allclose(change[:, 2, 3], 0, atol=1e-9)


# ------------------------------------------------------------------------------ C5 saturation


def test_pixels_above_the_level_are_flagged_and_a_level_off_by_a_tenth_flags_others() -> None:
    signal = columns(50, 400, 1.0, 1000.0)
    product = scene(signal)

    def share(well: float) -> float:
        return float(bad(perturbed(product, saturation={"strength": 1.0, "well": well})[0], DQ.SATURATED).mean())

    expected = (signal * K > 2e5).mean()
    tolerance = 1.5 / 400
    assert share(2e5) == pytest.approx(expected, abs=tolerance)
    assert share(2.2e5) != pytest.approx(expected, abs=tolerance)


def test_saturated_groups_are_lost_by_the_rules_of_variance() -> None:
    signal = np.broadcast_to(np.repeat([10.0, 38.0, 120.0], 100), (200, 300)).copy()
    product = scene(signal, read=1e-4)
    out, note = perturbed(product, saturation={"strength": 1.0, "well": 2e4, "beta": 0.0})
    assert (note["well_e"], note["groups"]) == (2e4, 10)
    below, part, full = (slice(None), slice(0, 100)), (slice(None), slice(100, 200)), (slice(None), slice(200, 300))
    np.testing.assert_array_equal(out.plane("SCI")[below], product.plane("SCI")[below])
    # 38 000 electrons in a well of 20 000: five whole groups of ten are left, for 120 000 one of ten.
    np.testing.assert_allclose(values(out, "VAR_POISSON")[part], 2 * 38 / K, rtol=1e-5)
    np.testing.assert_allclose(values(out, "VAR_RNOISE")[part], 8e-4, rtol=1e-5)
    added = (values(out) - values(product))[part]
    expected = 38 / K + 7e-4
    assert added.var() == pytest.approx(expected, rel=4 * np.sqrt(2 / added.size))
    assert (out.plane("DQ")[part] == int(DQ.SATURATED)).all()
    for plane in ("SCI", "ERR", "VAR_POISSON", "VAR_RNOISE"):
        assert np.isnan(out.plane(plane)[full]).all()
    assert (out.plane("DQ")[full] == int(DQ.SATURATED | DQ.DO_NOT_USE)).all()


@pytest.mark.parametrize("asked", [-6e-7, -6.6e-7])
def test_the_fitted_non_linearity_is_beta(asked: float) -> None:
    product = scene(columns(20, 200, 1.0, 90.0))
    out = perturbed(product, saturation={"strength": 1.0, "beta": asked})[0]
    ratio = values(out) / values(product) - 1
    fitted = np.polyfit(values(product).ravel() * K, ratio.ravel(), 1)[0]
    assert bool(fitted == pytest.approx(-6e-7, rel=0.01)) is (asked == -6e-7)
    flagged = bad(out, DQ.NONLINEAR)
    np.testing.assert_array_equal(flagged, np.abs(ratio) > 0.01)


def test_a_ramp_stops_at_its_well() -> None:
    rate = np.full((32, 40), 50.0)
    product = ramp(rate)  # gain 2.1: 105 electrons a group
    out = perturbed(product, saturation={"strength": 1.0, "well": 420.0, "beta": 0.0})[0]
    since = values(out)[0] - values(out)[0, 0]
    np.testing.assert_allclose(since[:, 5, 5], np.minimum(50.0 * np.arange(10), 200.0), atol=1e-6)


# ------------------------------------------------------------------------------ C6 reciprocity failure


@pytest.mark.parametrize("asked", [0.0065, 0.00715])
def test_the_response_changes_by_alpha_for_each_decade(asked: float) -> None:
    product = scene(columns(20, 300, 0.3, 3000.0), EFFEXPTM=300.0)
    out, note = perturbed(product, reciprocity_failure={"alpha": asked})
    assert note["electrons_per_second_and_unit"] == pytest.approx(K / 300, rel=1e-3)
    slope = np.polyfit(np.log10(values(product).ravel()), np.log(values(out) / values(product)).ravel(), 1)[0]
    assert bool(slope == pytest.approx(0.0065, rel=0.02)) is (asked == 0.0065)
    # At the base rate of 1 e-/s, 0.3 units, nothing changes.
    assert values(out)[0, 0] / values(product)[0, 0] == pytest.approx(1, abs=1e-4)
    # Noise goes through the slope of the response.
    more = values(out) / values(product) * (1 + asked / np.log(10))
    np.testing.assert_allclose(values(out, "ERR") / values(product, "ERR"), more, rtol=1e-5)


# ------------------------------------------------------------------------------ C7 crosstalk


@pytest.mark.parametrize("asked", [0.01, 0.011])
def test_crosstalk_regresses_on_what_the_other_amplifiers_read(asked: float) -> None:
    signal = np.random.default_rng(1).lognormal(1, 1, (64, 128))
    product = scene(signal, NOUTPUTS=4)
    change = values(perturbed(product, crosstalk={"coefficient": asked})[0]) - values(product)
    stripes = values(product).reshape(64, 4, 32).copy()
    stripes[:, 1::2] = stripes[:, 1::2, ::-1]  # every other amplifier reads towards the middle
    others = stripes.sum(1, keepdims=True) - stripes
    others[:, 1::2] = others[:, 1::2, ::-1]
    fitted = np.polyfit(others.ravel(), change.ravel(), 1)
    assert bool(fitted[0] == pytest.approx(0.01, rel=1e-3)) is (asked == 0.01)
    assert np.corrcoef(others.ravel(), change.ravel())[0, 1] > 0.9999


# ------------------------------------------------------------------------------ what has no such meaning


@pytest.mark.parametrize(
    ("kind", "name", "reason"),
    [
        ("x1d", "hot_pixels", "no detector pixels"),
        ("x1d", "ipc", "no image"),
        ("i2d", "ipc", "resampled"),
        ("s3d", "saturation", "resampled"),
        ("i2d", "hot_pixels", "resampled"),
        ("uncal", "reciprocity_failure", "ramp"),
        ("cal", "crosstalk", "one amplifier"),
        ("i2d", "crosstalk", "resampled"),
    ],
)
def test_what_has_no_meaning_is_refused_with_its_reason(make: Make, kind: str, name: str, reason: str) -> None:
    product = make(kind)
    out, note = perturbed(product, **{name: {"severity": 3}})
    assert reason in str(note["not_applicable"])
    assert out.content == product.content


@pytest.mark.parametrize(("effect", "severity", "by_factor"), [
    ("reciprocity_failure", 5, 1.134), ("saturation", 3, 0.89)
])  # fmt: skip
def test_noise_goes_through_the_slope_of_a_bend(effect: str, severity: int, by_factor: float) -> None:
    """The scatter of an even field is its ERR, which by the factor of the signal it would not be."""
    flat = np.full((512, 512), 30.0)
    product = scene(flat, noise=True, read=1e-8, NINTS=1)
    assert values(product).var() / (values(product, "ERR") ** 2).mean() == pytest.approx(1.0, abs=0.012)
    out, _ = perturbed(product, **{effect: {"severity": severity}})
    ratio = values(out).var() / (values(out, "ERR") ** 2).mean()
    # Four standard errors of a variance of 512 x 512 pixels, sqrt(2 / N) = 0.0028.
    assert ratio == pytest.approx(1.0, abs=0.012)
    assert ratio != pytest.approx(by_factor, abs=0.05)
