"""Electrons one by one and what reading does to them, on fixed seeds; what is off by a tenth falls outside."""

from __future__ import annotations

import io
import itertools
from collections.abc import Callable

import numpy as np
import pytest
from astropy.io import fits
from scenes import K, perturbed, ramp, scene, values
from scipy import stats

from hwosim_assets.fits.dq import DQ
from hwosim_assets.perturb import Product
from hwosim_assets.perturb.effect import Task
from hwosim_assets.perturb.effects.electrons import multiplied
from hwosim_assets.perturb.effects.telegraph import Map, Process
from hwosim_assets.perturb.rng import Stream
from hwosim_assets.perturb.spec import PlannedEffect

Make = Callable[..., Product]
SIDE = 512
FLAT = np.full((SIDE, SIDE), 20.0)
FLAT[:, :64] *= 3
FAINT = np.full((SIDE, SIDE), 1e-3)
FAINT[:, :64] = 1.0
DARK = {"spread": 0.0, "rate": "0.01 e-/s"}


def change(before: Product, after: Product, name: str = "SCI") -> np.ndarray:
    return np.asarray(values(after, name) - values(before, name))


def electrons(before: Product, after: Product) -> np.ndarray:
    """Return the electrons that were added to the fainter pixels, where single precision shows each."""
    return np.asarray(change(before, after)[:, 64:] * K).ravel()


# ------------------------------------------------------------------------------ A2 photon noise


@pytest.mark.parametrize("mean", [4.0, 10.0, 20.0, 100.0])
def test_counts_of_photons_follow_poisson_and_a_mean_higher_by_a_tenth_does_not(mean: float) -> None:
    product = scene(FAINT)  # a background of one electron

    def chance(asked: float) -> float:
        out, note = perturbed(product, photon_noise={"level": asked})
        counts = np.rint(electrons(product, out) / 1.0 + float(str(note["electrons"])))
        assert float(str(note["electrons"])) == pytest.approx(asked, rel=1e-6)
        law = stats.poisson(mean)
        edges = np.unique(law.ppf(np.linspace(0, 1, 21)[1:-1]))
        found = np.bincount(np.searchsorted(edges, counts, side="right"), minlength=edges.size + 1)
        expected = np.diff([0.0, *law.cdf(edges - 1), 1.0]) * counts.size
        return float(stats.chisquare(found, expected).pvalue)

    assert chance(mean) > 1e-3
    assert chance(1.1 * mean) < 1e-6


def test_photon_noise_has_no_mean_and_the_variance_that_its_planes_say() -> None:
    product, n = scene(FLAT), SIDE * (SIDE - 64)
    out, note = perturbed(product, photon_noise={"level": 0.5})
    added, mean = electrons(product, out), float(str(note["electrons"]))
    assert mean == pytest.approx(1e4, rel=1e-3)
    assert abs(added.mean()) < 4 * np.sqrt(mean / n)
    tolerance = 4 * np.sqrt(2 / n)
    assert added.var() / mean == pytest.approx(1, abs=tolerance)
    assert tolerance < 0.1  # another level by a tenth is seen
    np.testing.assert_allclose(change(product, out, "VAR_POISSON"), mean / K**2, rtol=1e-3)
    np.testing.assert_allclose(
        values(out, "ERR") ** 2, values(out, "VAR_POISSON") + values(out, "VAR_RNOISE"), rtol=1e-5
    )


def test_photon_noise_adds_up_along_a_ramp() -> None:
    product = ramp(np.full((128, 128), 50.0))
    out, note = perturbed(product, photon_noise={"level": 1.0})
    steps = np.diff(change(product, out)[0], axis=0) * 2.1
    mean = float(str(note["electrons"]))
    assert mean == pytest.approx(105, rel=1e-6)
    assert abs(steps.mean()) < 4 * np.sqrt(mean / steps.size)
    assert steps.var() / mean == pytest.approx(1, abs=4 * np.sqrt(2 / steps.size))
    np.testing.assert_array_equal(change(product, out)[0, 0], 0)


# ------------------------------------------------------------------------------ A9 dark current


def test_the_dark_current_rises_by_its_rate_and_another_by_a_tenth_does_not() -> None:
    product, n = scene(FAINT), SIDE * (SIDE - 64)
    expected = 9 * 0.01 * 300  # nine more usual ones for 300 s
    tolerance = 4 * np.sqrt(expected / n)

    def mean(rate: float) -> float:
        options = {"factor": 10.0, "spread": 0.4, "rate": rate}
        return float(electrons(product, perturbed(product, dark_current=options)[0]).mean())

    assert tolerance < 0.1 * expected
    # A pattern of 40 % over n pixels has a mean of its own.
    assert mean(0.01) == pytest.approx(expected, abs=tolerance + 4 * expected * 0.41 / np.sqrt(n))
    assert mean(0.011) != pytest.approx(expected, abs=tolerance + 4 * expected * 0.41 / np.sqrt(n))


@pytest.mark.parametrize("factor", [1.5, 4.0, 30.0])
def test_dark_electrons_have_poisson_noise_and_their_planes_say_so(factor: float) -> None:
    product, n = scene(FAINT), SIDE * (SIDE - 64)
    out = perturbed(product, dark_current={**DARK, "factor": factor})[0]
    added, mean = electrons(product, out), (factor - 1) * 3.0
    assert added.mean() == pytest.approx(mean, abs=4 * np.sqrt(mean / n))
    assert added.var() / added.mean() == pytest.approx(1, abs=4 * np.sqrt(2 / n + 1 / (n * mean)))
    np.testing.assert_allclose(change(product, out, "VAR_POISSON")[:, 64:], mean / K**2, rtol=1e-3)
    stale = perturbed(product, dark_current={**DARK, "factor": factor, "err": "stale", "dq": "silent"})[0]
    np.testing.assert_array_equal(stale.plane("SCI"), out.plane("SCI"))
    for plane in ("ERR", "VAR_POISSON", "DQ"):
        np.testing.assert_array_equal(stale.plane(plane), product.plane(plane))


def rates(product: Product, **options: object) -> np.ndarray:
    """Return how many usual dark currents pixels have more, as VAR_POISSON says."""
    out = perturbed(product, dark_current={"rate": "10 e-/s", "factor": 2.0, **options})[0]
    return np.asarray(change(product, out, "VAR_POISSON")[:, 64:] * K * K / 3000)


def test_the_tail_of_dark_currents_is_lognormal_and_a_spread_off_by_a_tenth_is_not() -> None:
    product = scene(FAINT)

    def z(spread: float) -> float:
        found = rates(product, spread=spread)
        chance = stats.norm.sf((np.log(4.0) + 0.18) / 0.6)  # four times the mean, of a spread of 0.6
        return float((np.mean(found > 4.0) - chance) / np.sqrt(chance * (1 - chance) / found.size))

    assert abs(z(0.6)) < 4
    assert z(0.66) > 4
    assert z(0.54) < -4


def test_a_pattern_of_dark_current_belongs_to_the_detector() -> None:
    whole = rates(scene(FAINT))
    other = perturbed(Product("jw99_cal.fits", scene(FAINT).content), dark_current={"severity": 3})[0]
    again = perturbed(scene(FAINT), dark_current={"severity": 3})[0]
    np.testing.assert_array_equal(other.plane("VAR_POISSON"), again.plane("VAR_POISSON"))
    assert (other.plane("SCI") != again.plane("SCI")).mean() > 0.4
    part = rates(scene(FAINT[100:200, :300], SUBSTRT1=1, SUBSTRT2=101))
    np.testing.assert_allclose(part, whole[100:200, : 300 - 64], rtol=1e-4)


def test_more_dark_current_never_takes_an_electron_away() -> None:
    product = scene(FAINT)
    outs = [perturbed(product, dark_current={"severity": severity})[0] for severity in (1, 2, 2.5, 4)]
    added = [np.rint(electrons(product, out)) for out in outs]
    for fewer, more in itertools.pairwise(added):
        assert (more >= fewer).all()
        assert more.sum() > fewer.sum()


def test_dark_current_comes_group_by_group_and_flags_warm_and_hot_pixels() -> None:
    product = ramp(np.full((64, 64), 50.0))
    out = perturbed(product, dark_current={**DARK, "rate": "1 e-/s", "factor": 3.0})[0]
    steps = np.diff(change(product, out)[0], axis=0) * 2.1
    assert steps.mean() == pytest.approx(20.0, abs=4 * np.sqrt(20.0 / steps.size))  # 2 e-/s for 10 s
    flat = scene(FAINT)
    dark = {"rate": "1 e-/s", "factor": 11.0, "spread": 0.5, "warm": 20.0, "hot": 40.0}
    flagged = perturbed(flat, dark_current=dark)[0]
    total = 1 + change(flat, flagged, "VAR_POISSON") * K * K / 300
    clear = (abs(total / 20 - 1) > 1e-3) & (abs(total / 40 - 1) > 1e-3)
    dq = flagged.plane("DQ")[clear]
    np.testing.assert_array_equal((dq & int(DQ.HOT)) > 0, total[clear] > 40)
    np.testing.assert_array_equal((dq & int(DQ.WARM)) > 0, (total[clear] > 20) & (total[clear] < 40))
    assert (dq & int(DQ.HOT)).any()


# ------------------------------------------------------------------------------ A10 EMCCD


def dark_and_bright(side: int, dark: int) -> Product:
    """Return a scene whose left columns are bright and whose others are black, so that k is known."""
    signal = np.zeros((side, side))
    signal[:, : side - dark] = np.linspace(1.0, 3.0, side - dark)
    product = scene(signal, EFFEXPTM=60.0)
    content = bytearray(product.content)
    for plane in product.planes:
        if plane.extname == "VAR_POISSON":
            black = plane.read(product.payload).astype(">f4")
            black[:, side - dark :] = 0
            content[plane.offset : plane.offset + black.nbytes] = black.tobytes()
    return Product(product.name, bytes(content))


def below(x: np.ndarray, mean: float) -> np.ndarray:
    """Return the compound distribution: Poisson electrons, each multiplied by an exponential gain of mean 1."""
    total = np.full(x.shape, np.exp(-mean))
    for n in range(1, 60):
        total += stats.poisson.pmf(n, mean) * stats.gamma.cdf(x, n)
    return np.asarray(total)


@pytest.mark.parametrize("mean", [0.01, 0.3, 5.0])
def test_clock_induced_charge_follows_the_compound_law_and_another_by_a_tenth_does_not(mean: float) -> None:
    product = dark_and_bright(1024, 1000)

    def chance(asked: float) -> float:
        out, note = perturbed(product, emccd_noise={"cic": asked, "excess": 1.0})
        assert note["cic_electrons"] == pytest.approx(asked)
        found = change(product, out)[:, 24:].ravel() * K
        x = np.array([-1, 1e-6, 0.1, 0.3, 0.7, 1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 9.0, np.inf])
        law = np.append(0.0, below(x[1:], mean))
        return float(stats.chisquare(np.histogram(found, x)[0], np.diff(law) * found.size).pvalue)

    assert chance(mean) > 1e-3
    assert chance(1.1 * mean) < 1e-6


def test_what_leaves_a_gain_register_has_a_gamma_distribution_of_any_number_of_electrons() -> None:
    stream = Stream(3, "emccd_noise", "", "x", "y")
    size = 300_000
    for plane, electrons_in in enumerate([1.0, 2.0, 7.0, 15.0, 16.0, 40.5, 1000.0]):
        out = multiplied(stream, plane, 0, np.full(size, electrons_in))
        assert stats.kstest(out, stats.gamma(electrons_in).cdf).pvalue > 1e-3
        assert stats.kstest(out, stats.gamma(1.1 * electrons_in).cdf).pvalue < 1e-6
    assert not multiplied(stream, 0, 0, np.zeros(10)).any()


@pytest.mark.parametrize("level", [0.0023, 0.0301, 0.5])
def test_multiplication_adds_the_variance_of_photons_once_more(level: float) -> None:
    signal = np.full((SIDE, SIDE), level)
    signal[:, :64] = np.linspace(2, 6, 64)
    product = scene(signal, EFFEXPTM=60.0)

    def added(excess: float) -> np.ndarray:
        out = perturbed(product, emccd_noise={"cic": 0.01, "excess": excess})[0]
        return electrons(product, out)

    n, photons = SIDE * (SIDE - 64), level * K
    for excess in (1.0, 0.4):
        expected = photons * excess + 0.01 * (1 + excess)
        # A gamma deviate of few electrons has a kurtosis of 6/n.
        tolerance = 4 * np.sqrt((2 + 6 / photons) / n)
        assert tolerance < 0.1
        assert added(excess).mean() == pytest.approx(0.01, abs=4 * np.sqrt(expected / n))
        assert added(excess).var() / expected == pytest.approx(1, abs=tolerance)
        assert added(1.1 * excess if excess < 0.5 else 0.9).var() / expected != pytest.approx(1, abs=tolerance)


def test_the_planes_of_an_emccd_say_its_noise_unless_told_not_to() -> None:
    product = scene(FLAT, EFFEXPTM=600.0)
    out = perturbed(product, emccd_noise={"cic": 0.1, "excess": 0.5})[0]
    expected = values(product, "VAR_POISSON") * 1.5 + 1.0 * 1.5 / K**2
    np.testing.assert_allclose(values(out, "VAR_POISSON"), expected, rtol=1e-5)
    half = perturbed(product, emccd_noise={"cic": 0.1, "excess": 0.5, "err": "biased", "err_factor": 0.5})[0]
    grown = change(product, half, "VAR_POISSON") / (expected - values(product, "VAR_POISSON"))
    np.testing.assert_allclose(grown, 0.25, rtol=1e-3)
    np.testing.assert_array_equal(half.plane("SCI"), out.plane("SCI"))


# ------------------------------------------------------------------------------ A8 telegraph noise

TWO = {"fraction": 0.05, "amplitude": "50 e-", "decades": 0.0, "low_dwell": "60 s", "high_dwell": "30 s"}


def long_ramp(groups: int, **cards: object) -> Product:
    """Return a dark ramp of a read every 10 s."""
    days = 60000.0 + groups * 10.0 / 86400
    return ramp(np.zeros((40, 40)), groups, EXPEND=days, EXPMID=(60000.0 + days) / 2, **cards)


def upper(product: Product, **options: object) -> np.ndarray:
    """Return (groups, pixels that switch): whether they are in their upper state."""
    shown = change(product, perturbed(product, telegraph_noise={**TWO, **options})[0])[0].reshape(-1, 1600) * 2.1 / 50
    return np.asarray(shown[:, (shown != 0).any(axis=0)])


def test_pixels_have_two_levels_and_stay_in_them_for_exponential_times() -> None:
    product = long_ramp(2000)
    shown = upper(product)
    # 1600 pixels hold 80 that switch, in expectation.
    assert abs(shown.shape[1] - 80) < 4 * np.sqrt(80 * 0.95)
    np.testing.assert_allclose(shown, np.rint(shown), atol=1e-9)
    assert set(np.rint(shown).ravel()) == {0.0, 1.0}

    def chances(high: float) -> tuple[float, float]:
        states = np.rint(upper(product, high_dwell=high)).T.astype(int)
        found = []
        for state, leave in ((0, 1 / 3), (1, 2 / 3)):
            # Seen every 10 s, dwell times of a two-state process are geometric, exactly.
            chance = leave * (1 - np.exp(-10 * (1 / 60 + 1 / 30)))
            runs = np.concatenate([_runs(row, state) for row in states])
            law = stats.geom(chance)
            edges = np.unique(law.ppf(np.linspace(0, 1, 13)[1:-1]))
            counts = np.bincount(np.searchsorted(edges, runs, side="left"), minlength=edges.size + 1)
            expected = np.diff([0.0, *law.cdf(edges), 1.0]) * runs.size
            found.append(float(stats.chisquare(counts, expected).pvalue))
        return found[0], found[1]

    assert min(chances(30.0)) > 1e-3
    assert min(chances(33.0)) < 1e-4


def _runs(states: np.ndarray, of: int) -> np.ndarray:
    """Return the lengths of whole runs of a state."""
    edges = np.flatnonzero(np.diff(states)) + 1
    starts, lengths = edges[:-1], np.diff(edges)
    return np.asarray(lengths[states[starts] == of])


def test_moments_of_renewal_leave_exponential_dwell_times() -> None:
    step = PlannedEffect(
        effect="telegraph_noise", label="", stage="noise", severity=None, amplitude=1.0,
        parameters={"low_dwell": 60.0, "high_dwell": 30.0},
    )  # fmt: skip
    product = scene(FLAT)
    stream = Stream(1, "telegraph_noise", "", "detector X", "renewals")
    process = Process(Task(step, product, 1, "x"), Map(np.arange(50), np.ones(50), ((stream, 50, np.arange(50)),)))
    dwells: dict[bool, list[float]] = {False: [], True: []}
    pairs = [process.renewals(cell) for cell in range(200)]
    for pixel in range(50):
        moments = np.concatenate([times[:, pixel] for times, _ in pairs])
        states = np.concatenate([uppers[:, pixel] for _, uppers in pairs])[np.isfinite(moments)]
        moments = moments[np.isfinite(moments)]
        assert (np.diff(moments) > 0).all()
        turns = np.flatnonzero(np.diff(states.astype(int))) + 1
        for state, length in zip(states[turns[:-1]], np.diff(moments[turns]), strict=True):
            dwells[bool(state)].append(float(length))
    for state, mean in ((False, 60.0), (True, 30.0)):
        assert stats.kstest(dwells[state], stats.expon(scale=mean).cdf).pvalue > 1e-3
        assert stats.kstest(dwells[state], stats.expon(scale=1.1 * mean).cdf).pvalue < 1e-3


def test_slopes_scatter_by_what_their_planes_say_and_an_amplitude_off_by_a_tenth_does_not() -> None:
    product = scene(np.broadcast_to(FLAT[:128], (20, 128, 512)).copy(), TGROUP=20.0, EXPEND=60000.0 + 4000.0 / 86400)
    options = {**TWO, "fraction": 0.02}
    out = perturbed(product, telegraph_noise=options)[0]
    claimed = change(product, out, "VAR_RNOISE")
    chosen = claimed[0] > claimed.max() / 2

    def ratio(shown: Product) -> tuple[float, float]:
        added = change(product, shown)[:, chosen] / np.sqrt(claimed.max())
        return float((added**2).mean()), 4 * np.sqrt(float((added**4).mean()) / added.size)

    found, tolerance = ratio(out)
    assert tolerance < 0.1
    assert found == pytest.approx(1, abs=tolerance)
    assert ratio(perturbed(product, telegraph_noise={**options, "amplitude": 55.0})[0])[0] > 1 + tolerance


def test_a_pixel_of_a_detector_is_in_one_state_whatever_product_shows_it() -> None:
    whole = long_ramp(200)
    every = np.rint(change(whole, perturbed(whole, telegraph_noise=TWO)[0])[0] * 2.1 / 50)
    # The second half of the exposure alone, in another file.
    late = 60000.0 + 1000.0 / 86400
    half = ramp(np.zeros((40, 40)), 100, EXPSTART=late, EXPMID=late, EXPEND=late + 1000.0 / 86400)
    half = Product("jw99_other_ramp.fits", half.content)
    other = np.rint(change(half, perturbed(half, telegraph_noise=TWO)[0])[0] * 2.1 / 50)
    np.testing.assert_array_equal(other, every[100:])
    part = ramp(np.zeros((10, 12)), 200, SUBSTRT1=5, SUBSTRT2=3, EXPEND=60000.0 + 2000.0 / 86400)
    window = np.rint(change(part, perturbed(part, telegraph_noise=TWO)[0])[0] * 2.1 / 50)
    np.testing.assert_array_equal(window, every[:, 2:12, 4:16])


def test_pixels_that_switch_are_flagged_and_nested_in_severity() -> None:
    product = scene(FLAT)
    maps = []
    for severity in (1, 2, 3.5, 5):
        out, note = perturbed(product, telegraph_noise={"severity": severity})
        maps.append((out.plane("DQ") & int(DQ.TELEGRAPH)) > 0)
        assert maps[-1].sum() == note["pixels"]
    for fewer, more in itertools.pairwise(maps):
        assert not (fewer & ~more).any()
    assert maps[-1].mean() == pytest.approx(0.03, abs=4 * np.sqrt(0.03 / FLAT.size))
    silent = perturbed(product, telegraph_noise={"severity": 5, "dq": "silent", "err": "stale"})[0]
    np.testing.assert_array_equal(silent.plane("SCI"), out.plane("SCI"))
    for plane in ("DQ", "ERR", "VAR_RNOISE"):
        np.testing.assert_array_equal(silent.plane(plane), product.plane(plane))


# ------------------------------------------------------------------------------ A11 dark decay


@pytest.mark.parametrize("asked", [23.0, 25.3])
def test_the_fitted_time_constant_is_tau(asked: float) -> None:
    product = ramp(np.full((32, 40), 50.0), 10, EXPEND=60000.0 + 100.0 / 86400)
    out, note = perturbed(product, dark_decay={"amplitude": 100.0, "tau": asked})
    shown = change(product, out)[0] * 2.1
    assert note["first_read_s"] == pytest.approx(10.0)
    fitted = -1 / np.polyfit(10.0 * np.arange(1, 11), np.log(shown.mean(axis=(1, 2))), 1)[0]
    assert bool(fitted == pytest.approx(23.0, rel=0.05)) is (asked == 23.0)
    # Rows are read one after the other: 52 clocks of 10 us later each.
    np.testing.assert_allclose(shown[0, 1:] / shown[0, :-1], np.exp(-52e-5 / asked), rtol=1e-6)
    assert shown[0, 0, 0] == pytest.approx(100 * np.exp(-10 / asked), rel=1e-4)


def test_slopes_of_the_first_integrations_fall_and_the_mean_of_all_falls_less() -> None:
    end = 60000.0 + 400.0 / 86400
    cube = scene(np.broadcast_to(FLAT[:64], (4, 64, 512)).copy(), EXPEND=end, TGROUP=10.0)
    shown = change(cube, perturbed(cube, dark_decay={"amplitude": 1000.0})[0])[:, 0, 100] * K
    reads = 1000 * np.exp(-(100.0 * np.arange(4)[:, None] + 10.0 * np.arange(1, 11)) / 23)
    slopes = np.array([np.polyfit(np.arange(10), row, 1)[0] * 10 for row in reads])
    np.testing.assert_allclose(shown, slopes, rtol=2e-3, atol=1e-2)
    assert shown[0] < -100
    image = scene(FLAT, NINTS=4, EXPEND=end, TGROUP=10.0)
    mean = change(image, perturbed(image, dark_decay={"amplitude": 1000.0})[0])[0, 100] * K
    assert mean == pytest.approx(slopes.sum(), rel=2e-3)


# ------------------------------------------------------------------------------ A12 quantisation


@pytest.mark.parametrize("asked", [64.0, 70.4])
def test_distinct_values_are_one_step_apart(asked: float) -> None:
    product = scene(FLAT * np.random.default_rng(4).uniform(0.9, 1.1, FLAT.shape))
    out, _ = perturbed(product, quantization={"step": asked, "bias": 640.0})
    spacing = np.diff(np.unique(values(out)[:, 64:].round(4))) * K
    assert spacing.size > 5
    assert bool(np.allclose(spacing, 64.0, rtol=2e-3)) is (asked == 64.0)
    error = change(product, out) * K
    n = error.size
    # A uniform error has the kurtosis 1.8.
    expected = asked * asked / 12
    assert error.var() == pytest.approx(expected, rel=4 * np.sqrt(0.8 / n))
    assert 4 * np.sqrt(0.8 / n) < 0.1
    np.testing.assert_allclose(change(product, out, "VAR_RNOISE") * K * K, expected, rtol=1e-3)
    assert abs(error).max() <= asked / 2 * 1.001


def test_what_lies_below_the_bias_is_on_the_floor() -> None:
    signal = FLAT.copy()
    signal[:, 200:] = -0.7
    out, note = perturbed(scene(signal), quantization={"step": 10.0, "bias": "500 e-"})
    low = (out.plane("DQ") & int(DQ.AD_FLOOR)) > 0
    np.testing.assert_array_equal(low, signal < -0.495)
    np.testing.assert_allclose(values(out)[low], -50 * float(str(note["step"])), rtol=1e-5)
    silent = perturbed(scene(signal), quantization={"step": 10.0, "dq": "silent"})[0]
    assert not silent.plane("DQ").any()


@pytest.mark.parametrize("conversion", [1e300, 1e-300])
def test_steps_that_no_plane_can_hold_are_not_taken(conversion: float) -> None:
    with fits.open(io.BytesIO(scene(FLAT).content)) as hdus:
        hdus[1].header["BUNIT"] = "MJy/sr"
        hdus[0].header["PHOTMJSR"] = conversion
        for name in ("VAR_POISSON", "ERR"):  # which would be believed
            del hdus[name]
        hdus.writeto(buffer := io.BytesIO())
    product = Product("jw01234001001_02101_00001_nrca1_cal.fits", buffer.getvalue())
    out, note = perturbed(product, quantization={"step": 10.0})
    assert "electrons per science unit" in str(note["not_applicable"])
    assert out.content == product.content


def test_reads_of_a_ramp_are_rounded_each() -> None:
    product = ramp(np.full((16, 16), 50.0))
    out = perturbed(product, quantization={"step": 21.0})[0]
    np.testing.assert_allclose(values(out) / 10, np.rint(values(product) / 10), atol=1e-6)


# ------------------------------------------------------------------------------ what has no such meaning


@pytest.mark.parametrize(
    ("kind", "name", "reason"),
    [
        ("x1d", "dark_current", "no detector pixels"),
        ("i2d", "dark_current", "resampled"),
        ("uncal", "emccd_noise", "ramp"),
        ("x1d", "telegraph_noise", "no detector pixels"),
        ("i2d", "telegraph_noise", "resampled"),
        ("s3d", "dark_decay", "resampled"),
        ("x1d", "dark_decay", "spectrum"),
        ("x1dints", "quantization", "no detector pixels"),
        ("i2d", "quantization", "resampled"),
        ("x1d", "emccd_noise", "no detector pixels"),
        ("s3d", "emccd_noise", "resampled"),
    ],
)
def test_what_has_no_meaning_is_refused_with_its_reason(make: Make, kind: str, name: str, reason: str) -> None:
    product = make(kind)
    out, note = perturbed(product, 11, **{name: {"severity": 3}})
    assert reason in str(note["not_applicable"])
    assert out.content == product.content
