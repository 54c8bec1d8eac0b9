"""Noise that pixels share in the order of reading, and offsets: spectra, correlations and variances on fixed seeds.

Each tolerance is written beside what it tells: by how much a parameter must move to fall outside; where a test says
"a tenth", it shows that a parameter that is off by a tenth does.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest
from scenes import perturbed, ramp, scene, values

from hwosim_assets.fits.dq import DQ
from hwosim_assets.perturb import Product
from hwosim_assets.perturb.effect import Task
from hwosim_assets.perturb.effects.bias import frame_template
from hwosim_assets.perturb.effects.correlated import KNOT, Lanes
from hwosim_assets.perturb.effects.series import layers_for, octave_weights, octaves, octaves_at, relaxing
from hwosim_assets.perturb.readout import Readout
from hwosim_assets.perturb.rng import Stream
from hwosim_assets.perturb.spec import PlannedEffect

Make = Callable[..., Product]
FRAMES, ROWS, COLUMNS, OUTPUTS = 24, 512, 256, 4
WIDTH = COLUMNS // OUTPUTS
READ = 0.01
#: Octaves of a frame of these rows: a line takes 64 clocks and 12 more, which is 10 knots of 8.
OCTAVES = layers_for(ROWS * 10)


def dark(shape: tuple[int, ...] = (FRAMES, ROWS, COLUMNS), **cards: object) -> Product:
    """Return integrations without light, of a detector with four amplifiers along x."""
    return scene(np.zeros(shape), read=READ, **{"NOUTPUTS": OUTPUTS, "FASTAXIS": 1, **cards})


def added(product: Product, effect: str, **options: Any) -> np.ndarray:
    """Return what an effect adds, in units of the read noise."""
    out, note = perturbed(product, **{effect: options})
    assert note["sigma"] == pytest.approx(READ**0.5, rel=1e-6)
    return (values(out) - values(product)) / READ**0.5


@cache
def series_of(effect: str, **options: float) -> np.ndarray:
    """Return what an effect adds to a series of integrations; made once for all tests that look at it."""
    return added(dark(), effect, **options)


def stripes(noise: np.ndarray) -> np.ndarray:
    """Return the frames cut into amplifiers, as each reads its pixels: (frames, rows, amplifiers, places)."""
    cut = noise.reshape(len(noise), ROWS, OUTPUTS, WIDTH).copy()
    cut[:, :, 1::2] = cut[:, :, 1::2, ::-1]
    return cut


def slope_of(series: np.ndarray, part: int = 8) -> float:
    """Return the index of the mean spectrum of (frames, steps), from the second frequency to a part of the steps."""
    power = (np.abs(np.fft.rfft(series - series.mean(axis=1, keepdims=True), axis=1)) ** 2).mean(axis=0)
    chosen = np.arange(2, series.shape[1] // part)
    return float(np.polyfit(np.log(chosen), np.log(power[chosen]), 1)[0])


def between_knots(noise: np.ndarray, lag: int = 4) -> float:
    """Return the rms that octaves of equal power must have to differ as much as these do, so many knots apart."""
    knots = noise[..., ::KNOT]
    difference = knots[..., lag:] - knots[..., :-lag]
    expected = 2 / OCTAVES * sum(min(1.0, lag / 2**octave) for octave in range(OCTAVES))
    return float(np.sqrt((difference**2).mean() / expected))


# ------------------------------------------------------------------------- A3 pink noise


def test_row_means_of_pink_noise_have_their_spectrum_and_one_steeper_by_a_tenth_does_not() -> None:
    def slope(index: float) -> float:
        return slope_of(series_of("pink_noise", amplitude=1, index=index).mean(axis=2))

    assert slope(1.0) == pytest.approx(-1, abs=0.08)
    assert slope(1.1) != pytest.approx(-1, abs=0.08)
    assert slope(0.9) != pytest.approx(-1, abs=0.08)


def test_pink_noise_has_its_rms_and_one_larger_by_a_tenth_has_not() -> None:
    small, large = (series_of("pink_noise", amplitude=a) for a in (0.5, 0.55))
    # 3 % is about four standard deviations of the estimate.
    assert between_knots(stripes(small)) == pytest.approx(0.5, rel=0.03)
    assert between_knots(stripes(large)) != pytest.approx(0.5, rel=0.03)
    assert small.std() == pytest.approx(0.5, rel=0.1)
    np.testing.assert_allclose(large, 1.1 * small, atol=1e-5)


@pytest.mark.parametrize("common", [0.9, 0.4])
def test_amplifiers_correlate_by_what_they_have_in_common(common: float) -> None:
    def correlation(asked: float) -> float:
        rows = np.diff(stripes(series_of("pink_noise", amplitude=1, common=asked)).mean(axis=3), axis=1)
        matrix = np.corrcoef(rows.transpose(2, 0, 1).reshape(OUTPUTS, -1))
        return float(matrix[np.triu_indices(OUTPUTS, 1)].mean())

    assert correlation(common) == pytest.approx(common, abs=0.02)
    assert correlation(1.1 * common) != pytest.approx(common, abs=0.02), "a tenth more would not be told"


def test_what_amplifiers_share_is_mirrored_in_every_other_one() -> None:
    cut = stripes(added(dark((1, ROWS, COLUMNS)), "pink_noise", common=1))
    for amplifier in range(1, OUTPUTS):
        np.testing.assert_allclose(cut[:, :, amplifier], cut[:, :, 0], atol=1e-6)
    assert (np.diff(cut.reshape(1, ROWS, OUTPUTS, -1, KNOT), axis=-1) == 0).all()


@pytest.mark.parametrize(("fast", "slow", "axis"), [(1, 2, 2), (-1, -2, 2), (2, 1, 1), (-2, -1, 1)])
def test_bands_lie_along_the_fast_axis(fast: int, slow: int, axis: int) -> None:
    noise = added(dark((4, 128, 128), FASTAXIS=fast, SLOWAXIS=slow, NOUTPUTS=1), "pink_noise")
    along, across = noise.mean(axis=axis).std(), noise.mean(axis=3 - axis).std()
    assert along > 2 * across


def test_reading_backwards_turns_the_frame_around() -> None:
    forth = added(dark((1, 128, 128), FASTAXIS=1, SLOWAXIS=2, NOUTPUTS=1), "pink_noise")
    back = added(dark((1, 128, 128), FASTAXIS=-1, SLOWAXIS=-2, NOUTPUTS=1), "pink_noise")
    np.testing.assert_array_equal(back[0], forth[0, ::-1, ::-1])
    turned = added(dark((1, 128, 128), FASTAXIS=2, SLOWAXIS=1, NOUTPUTS=1), "pink_noise")
    np.testing.assert_array_equal(turned[0], forth[0].T)


def test_amplifiers_that_take_turns_along_a_row_read_neighbours_at_once() -> None:
    noise = added(dark((1, 64, 256), INSTRUME="MIRI", DETECTOR="MIRIMAGE"), "pink_noise", common=1)
    quads = noise.reshape(64, 64, 4)
    np.testing.assert_allclose(quads[..., 1:], quads[..., :1].repeat(3, axis=-1), atol=1e-6)


# ------------------------------------------------------------- A4 alternating column noise


def test_alternating_columns_stand_out_at_the_highest_frequency() -> None:
    cut = stripes(series_of("alternating_column_noise", amplitude=1))
    power = (np.abs(np.fft.rfft(cut, axis=-1)) ** 2).mean(axis=(0, 1, 2))
    # Both halves of the power: what even and odd columns share lies at 0, in what they differ at the end.
    assert power[-1] == pytest.approx(power[0], rel=0.15)
    assert power[-1] > 30 * np.median(power[8:-8])
    pink = stripes(series_of("pink_noise", amplitude=1))
    without = (np.abs(np.fft.rfft(pink, axis=-1)) ** 2).mean(axis=(0, 1, 2))
    assert without[-1] < 1e-3 * power[-1]


def test_even_and_odd_columns_have_each_their_rms_and_one_larger_by_a_tenth_has_not() -> None:
    small, large = (stripes(series_of("alternating_column_noise", amplitude=a)) for a in (0.5, 0.55))
    for parity in (0, 1):
        alone = np.repeat(small[..., parity::2], 2, axis=-1)
        assert between_knots(alone) == pytest.approx(0.5, rel=0.03)
        assert between_knots(np.repeat(large[..., parity::2], 2, axis=-1)) != pytest.approx(0.5, rel=0.03)
    even, odd = (np.diff(small[..., parity::KNOT], axis=-1).reshape(-1) for parity in (0, 1))
    assert abs(np.corrcoef(even, odd)[0, 1]) < 0.01
    assert slope_of(small[..., ::2].mean(axis=(2, 3))) == pytest.approx(-1, abs=0.1)


# ----------------------------------------------------------------- both: books and shapes

BOTH = ("pink_noise", "alternating_column_noise")


@pytest.mark.parametrize("effect", BOTH)
def test_variances_say_what_was_added_or_nothing_or_part_of_it(effect: str) -> None:
    product = dark((3, 64, 256))
    before = values(product, "VAR_RNOISE")
    grown = {}
    for err, options in (("consistent", {}), ("stale", {}), ("biased", {"err_factor": 0.5})):
        out, _ = perturbed(product, **{effect: {"amplitude": 0.5, "err": err, **options}})
        grown[err] = (values(out, "VAR_RNOISE") - before) / READ
        total = values(out, "VAR_POISSON") + values(out, "VAR_RNOISE")
        np.testing.assert_allclose(values(out, "ERR") ** 2, total, rtol=1e-5)
    np.testing.assert_allclose(grown["consistent"], 0.25, rtol=1e-4)
    np.testing.assert_allclose(grown["biased"], 0.0625, rtol=1e-4)
    assert not grown["stale"].any()


@pytest.mark.parametrize("effect", BOTH)
@pytest.mark.parametrize("kind", ["s3d", "i2d", "x1d", "x1dints"])
def test_what_was_not_read_pixel_by_pixel_is_refused(make: Make, effect: str, kind: str) -> None:
    product = make(kind)
    out, note = perturbed(product, **{effect: {"severity": 5}})
    assert "resampled" in str(note["not_applicable"]) or "spectrum" in str(note["not_applicable"])
    assert out.content == product.content


@pytest.mark.parametrize("effect", BOTH)
def test_slow_octaves_go_on_from_group_to_group_of_a_ramp(effect: str) -> None:
    """Groups that follow each other at once are one series: the levels of 128 groups have its spectrum."""
    product = ramp(np.zeros((8, 16)), groups=128, TGROUP=0.001)
    levels = []
    for seed in range(8):
        out, note = perturbed(product, seed=seed, **{effect: {"amplitude": 50}})
        noise = (values(out) - values(product)) / (50 * float(str(note["sigma"])))
        levels.append(noise.mean(axis=(0, 2, 3)))
    assert slope_of(np.array(levels), 3) == pytest.approx(-1, abs=0.25)
    rare, _ = perturbed(ramp(np.zeros((8, 16)), groups=128, TGROUP=1000.0), **{effect: {"amplitude": 50}})
    assert np.diff(values(rare).mean(axis=(0, 2, 3))).std() > 1.5 * np.diff(values(out).mean(axis=(0, 2, 3))).std()


def test_integrations_of_a_ramp_have_noise_of_their_own(make: Make) -> None:
    product = make("uncal")
    out, _ = perturbed(product, pink_noise={"amplitude": 5})
    noise = values(out) - values(product)
    assert noise.shape == (2, 6, 32, 40)
    knots = np.diff(noise[..., ::KNOT], axis=-1).reshape(2, -1)
    assert abs(np.corrcoef(knots)[0, 1]) < 5 / np.sqrt(knots.shape[1])


# --------------------------------------------------------------------- A5 drifting pedestals


def exposure(frames: int, shape: tuple[int, int] = (4, 16), seconds: float = 200.0, **cards: object) -> Product:
    """Return many small integrations, so many seconds apart, of four amplifiers."""
    end = 60000.0 + frames * seconds / 86400.0
    return dark((frames, *shape), EXPSTART=60000.0, EXPEND=end, EXPMID=(60000.0 + end) / 2, **cards)


def pedestals(noise: np.ndarray) -> np.ndarray:
    """Return the medians of amplifiers along x: (amplifiers, frames)."""
    return np.median(noise.reshape(*noise.shape[:2], OUTPUTS, -1), axis=(1, 3)).T


def test_pedestals_have_their_rms_and_forget_in_their_time_and_a_tenth_more_is_told() -> None:
    """20 000 groups, 0.2 of tau apart: 4000 correlation times of four amplifiers."""
    product = ramp(np.zeros((1, 8)), groups=20_000, TGROUP=200.0, NOUTPUTS=OUTPUTS)

    def found(**options: float) -> tuple[float, float]:
        out, note = perturbed(product, pedestal_drift=options)
        levels = pedestals((values(out) - values(product))[0] / float(str(note["sigma"])))
        assert abs(np.corrcoef(levels)[np.triu_indices(OUTPUTS, 1)]).max() < 0.1
        return float(levels.std()), float((levels[:, 5:] * levels[:, :-5]).mean() / levels.var())

    rms, correlation = found(amplitude=0.8)
    assert rms == pytest.approx(0.8, rel=0.03)
    assert correlation == pytest.approx(np.exp(-1), abs=0.03)
    more, later = found(amplitude=0.88)[0], found(amplitude=0.8, tau=1100.0)[1]
    assert more != pytest.approx(0.8, rel=0.03)
    assert later != pytest.approx(np.exp(-1), abs=0.03)


def test_a_relaxing_series_correlates_by_the_exponential_of_any_lag() -> None:
    stream = Stream(3, "pedestal_drift", "", "detector", "pedestals")
    series = relaxing(stream, 0, np.arange(20_000) * 0.15 + 7.3)
    assert series.var() == pytest.approx(1, abs=0.1)
    for lag in (1, 3, 7, 15):
        assert (series[lag:] * series[:-lag]).mean() == pytest.approx(np.exp(-0.15 * lag), abs=0.1)
    times = np.array([1e6, 1e6 + 0.01, 1e6 + 3.3])
    np.testing.assert_array_equal(relaxing(stream, 0, times)[[2, 0]], relaxing(stream, 0, times[[2, 0]]))


def test_pedestals_belong_to_detector_and_time_and_not_to_the_file() -> None:
    whole = added(exposure(40), "pedestal_drift", severity=3)
    later = dark((20, 4, 16), EXPSTART=60000.0 + 20 * 200 / 86400, EXPEND=60000.0 + 40 * 200 / 86400)
    renamed = Product("jw99_rateints.fits", later.content)
    np.testing.assert_allclose(added(renamed, "pedestal_drift", severity=3), whole[20:], atol=1e-5)
    other = added(exposure(40, DETECTOR="NRCA2"), "pedestal_drift", severity=3)
    assert abs(other - whole).max() > 0.1


@pytest.mark.parametrize("fast", [1, 2])
def test_a_pedestal_is_one_number_for_each_amplifier(fast: int) -> None:
    noise = added(exposure(3, (16, 16), FASTAXIS=fast, SLOWAXIS=3 - fast), "pedestal_drift", amplitude=1)
    cut = noise.reshape(3, 16, OUTPUTS, 4) if fast == 1 else noise.reshape(3, OUTPUTS, 4, 16).transpose(0, 2, 1, 3)
    assert (np.ptp(cut, axis=(1, 3)) < 1e-6).all()
    assert (np.ptp(cut[:, 0, :, 0], axis=1) > 1e-3).all()


@pytest.mark.parametrize("dq", ["flagged", "silent"])
def test_the_bias_is_flagged_unreliable_where_that_is_honest(dq: str) -> None:
    product = exposure(3)
    out, _ = perturbed(product, pedestal_drift={"severity": 3, "dq": dq})
    assert ((out.plane("DQ") & int(DQ.UNRELIABLE_BIAS)) != 0).all() == (dq == "flagged")
    for plane in ("ERR", "VAR_POISSON", "VAR_RNOISE"):
        np.testing.assert_array_equal(out.plane(plane), product.plane(plane))


def test_pedestals_move_from_group_to_group_of_a_ramp() -> None:
    product = ramp(np.zeros((8, 16)), groups=100, TGROUP=100.0)
    out, note = perturbed(product, pedestal_drift={"amplitude": 5})
    noise = (values(out) - values(product)) / float(str(note["sigma"]))
    levels = noise[0].mean(axis=(1, 2))
    assert 1 < levels.std() < 15
    assert np.diff(levels).std() == pytest.approx(5 * np.sqrt(2 * (1 - np.exp(-0.1))), rel=0.3)


# --------------------------------------------------------------------------- A6 picture frame


def test_the_first_component_of_many_frames_is_the_picture_frame() -> None:
    product = exposure(60, (64, 64))

    def found(amplitude: float) -> tuple[float, np.ndarray]:
        out, _ = perturbed(product, picture_frame={"amplitude": amplitude, "width": 12.5})
        noise = (values(out) - values(product)).reshape(60, -1) / READ**0.5
        _, sizes, parts = np.linalg.svd(noise - noise.mean(axis=0), full_matrices=False)
        assert sizes[1] < 1e-3 * sizes[0]
        return float(np.sqrt((noise**2).mean())), parts[0]

    rms, pattern = found(1.0)
    task = Task(make_step(12.5), product, 11, "x")
    down, across = frame_template(task, "NRCA1", (2048, 2048), 12.5)
    template = (down[:64, None] + across[None, :64]).reshape(-1)
    assert abs(np.corrcoef(template, pattern)[0, 1]) > 0.9999
    assert found(1.1)[0] == pytest.approx(1.1 * rms, rel=1e-3)


def make_step(width: float) -> PlannedEffect:
    parameters = {"amplitude": 1.0, "width": width}
    return PlannedEffect(
        effect="picture_frame",
        label="picture_frame",
        stage="noise",
        severity=None,
        amplitude=1.0,
        parameters=parameters,
    )


def test_a_template_has_mean_0_and_rms_1_over_its_detector_and_other_detectors_have_others() -> None:
    task = Task(make_step(100.0), dark((1, 4, 16)), 11, "x")
    down, across = frame_template(task, "NRCA1", (2048, 2048), 100.0)
    whole = down[:, None] + across
    assert whole.mean() == pytest.approx(0, abs=1e-9)
    assert whole.std() == pytest.approx(1, rel=1e-9)
    assert min(whole[0].mean(), whole[-1].mean(), whole[:, 0].mean(), whole[:, -1].mean()) > 1
    assert abs(whole[900:1100, 900:1100]).max() < 1
    other, _ = frame_template(task, "NRCA2", (2048, 2048), 100.0)
    assert abs(other - down).max() > 0.1


def test_a_picture_frame_breathes_as_pink_noise_of_its_rms_and_one_larger_by_a_tenth_is_told() -> None:
    """The structure function at lags of 4 and 64 reads."""
    product = ramp(np.zeros((2, 4)), groups=4000, TGROUP=10.73677)
    down, across = frame_template(Task(make_step(100.0), product, 11, "x"), "NRCA1", (2048, 2048), 100.0)

    def rms(amplitude: float, lag: int) -> float:
        out, note = perturbed(product, picture_frame={"amplitude": amplitude})
        strength = (values(out) - values(product))[0, :, 0, 0] / float(str(note["sigma"]))
        difference = (strength[lag:] - strength[:-lag]) / (down[0] + across[0])
        expected = 2 / 16 * sum(min(1.0, lag / 2**octave) for octave in range(16))
        return float(np.sqrt((difference**2).mean() / expected))

    assert rms(1.0, 4) == pytest.approx(1, rel=0.06)
    assert rms(1.0, 64) == pytest.approx(1, rel=0.15)
    assert rms(1.1, 4) != pytest.approx(1, rel=0.06)


def test_a_subarray_shows_its_part_of_the_picture_frame() -> None:
    full = added(exposure(2, (64, 64)), "picture_frame", amplitude=1)
    part = added(exposure(2, (16, 32), SUBSTRT1=17, SUBSTRT2=9), "picture_frame", amplitude=1)
    np.testing.assert_allclose(part, full[:, 8:24, 16:48], atol=1e-5)


# ----------------------------------------------------------------------------- A7 reset noise


def test_reset_noise_has_its_variance_and_is_the_same_in_all_groups() -> None:
    product = ramp(np.zeros((128, 128)), groups=4)

    def level(rms: float) -> np.ndarray:
        out, note = perturbed(product, reset_noise={"rms": rms})
        return (values(out) - values(product))[0] * float(str(note["electrons_per_unit"]))

    noise = level(37.6)
    np.testing.assert_allclose(noise, noise[:1].repeat(4, axis=0), atol=1e-6)
    tolerance = 4 * np.sqrt(2 / noise[0].size)
    assert noise[0].var() == pytest.approx(37.6**2, rel=tolerance)
    assert level(1.1 * 37.6)[0].var() != pytest.approx(37.6**2, rel=tolerance), "a tenth more would not be told"
    assert abs(np.corrcoef(noise[0, :, 1:].ravel(), noise[0, :, :-1].ravel())[0, 1]) < 4 / 128


def test_each_integration_has_a_reset_of_its_own_and_a_slope_has_none(make: Make) -> None:
    product = make("uncal")
    out, _ = perturbed(product, reset_noise={"rms": 400})
    noise = values(out) - values(product)
    assert abs(np.corrcoef(noise[0, 0].ravel(), noise[1, 0].ravel())[0, 1]) < 0.12
    same, note = perturbed(make("calints"), reset_noise={"severity": 5})
    assert "ramp" in str(note["not_applicable"])
    assert same.content == make("calints").content


@pytest.mark.parametrize("effect", ["pedestal_drift", "picture_frame", "reset_noise"])
@pytest.mark.parametrize("kind", ["s3d", "i2d", "x1d", "x1dints"])
def test_offsets_of_what_was_not_read_pixel_by_pixel_are_refused(make: Make, effect: str, kind: str) -> None:
    out, note = perturbed(make(kind), **{effect: {"severity": 5}})
    assert note["not_applicable"]
    assert out.content == make(kind).content


@pytest.mark.parametrize("effect", ["pedestal_drift", "picture_frame"])
def test_offsets_without_a_time_or_a_detector_are_refused(make: Make, effect: str) -> None:
    for cards, reason in (
        ({"EXPSTART": 1e300, "EXPEND": 2e300, "EXPMID": 1e300}, "dates"),
        ({"DETECTOR": ""}, "DETECTOR"),
    ):
        _, note = perturbed(scene(np.zeros((8, 16)), **cards), **{effect: {"severity": 5}})
        assert reason in str(note["not_applicable"])


# --------------------------------------------------------------------------- all of them

FAMILY = ("pink_noise", "alternating_column_noise", "pedestal_drift", "picture_frame", "reset_noise")


@pytest.mark.parametrize("effect", FAMILY)
def test_severities_scale_the_same_noise(effect: str) -> None:
    product = ramp(np.zeros((16, 64)), groups=3, NOUTPUTS=4)
    mild, strong = (values(perturbed(product, **{effect: {"severity": s}})[0]) - values(product) for s in (2, 4.5))
    ratio = (strong * mild).sum() / (mild * mild).sum()
    assert ratio > 1
    np.testing.assert_allclose(strong, ratio * mild, atol=1e-3 * abs(strong).max())


# -------------------------------------------------------------------------- series in time


def test_a_part_of_a_series_is_the_series() -> None:
    stream, weights = Stream(3, "pink_noise", "", "x", "SCI"), octave_weights(16)
    whole = octaves(stream, 2, 0, 20000, weights, 3)
    np.testing.assert_array_equal(octaves(stream, 2, 777, 5000, weights, 3), whole[777:5777])
    assert not np.array_equal(octaves(stream, 3, 0, 20000, weights, 3), whole)
    steps = np.array([5, 19999, 77, 78, 5])
    first = octaves(stream, 2, 0, 20000, weights)
    np.testing.assert_allclose(octaves_at(stream, 2, steps, weights), first[steps], atol=1e-6)


@pytest.mark.parametrize("index", [0.8, 1.0, 1.2])
def test_octaves_have_the_index_that_is_asked_for(index: float) -> None:
    stream, weights = Stream(3, "pink_noise", "", "x", "SCI"), octave_weights(13, index)
    assert (weights**2).sum() == pytest.approx(1)
    series = np.array([octaves(stream, frame, 0, 4096, weights) for frame in range(200)])
    assert slope_of(series) == pytest.approx(-index, abs=0.08)
    assert series.std() == pytest.approx(1, rel=0.05)


def test_every_pixel_has_its_place_in_the_series() -> None:
    readout = Readout(32, 64, -1, 2, 4, False, "keywords")
    lanes = Lanes.of(readout)
    series = np.arange(lanes.count * lanes.frame, dtype=np.float32).reshape(lanes.count, -1)
    amplifier, line, place = readout.places(0, 32 * 64)
    expected = series[amplifier, line * lanes.knots + place // KNOT]
    table = lanes.table(series)
    np.testing.assert_array_equal(lanes.values(table, 0, 32 * 64), expected)
    np.testing.assert_array_equal(lanes.values(table, 100, 777), expected[100:877])
