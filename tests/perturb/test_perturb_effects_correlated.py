"""Noise that pixels share in the order of reading, and offsets: spectra, correlations and variances on fixed seeds.

Each tolerance is written beside what it tells: by how much a parameter must move to fall outside; where a test says
"a tenth", it shows that a parameter that is off by a tenth does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scenes import perturbed, ramp, scene, values

from hwosim_assets.perturb import Product
from hwosim_assets.perturb.effects.correlated import KNOT, Lanes
from hwosim_assets.perturb.effects.series import layers_for, octave_weights, octaves, octaves_at
from hwosim_assets.perturb.readout import Readout
from hwosim_assets.perturb.rng import Stream

Make = Callable[..., Product]
FRAMES, ROWS, COLUMNS, OUTPUTS = 40, 512, 256, 4
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


def stripes(noise: np.ndarray) -> np.ndarray:
    """Return the frames cut into amplifiers, as each reads its pixels: (frames, rows, amplifiers, places)."""
    cut = noise.reshape(len(noise), ROWS, OUTPUTS, WIDTH).copy()
    cut[:, :, 1::2] = cut[:, :, 1::2, ::-1]
    return cut


def slope_of(series: np.ndarray) -> float:
    """Return the index of the mean spectrum of (frames, steps), from the second to an eighth of all frequencies."""
    power = (np.abs(np.fft.rfft(series - series.mean(axis=1, keepdims=True), axis=1)) ** 2).mean(axis=0)
    chosen = np.arange(2, series.shape[1] // 8)
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
        return slope_of(added(dark(), "pink_noise", amplitude=1, index=index).mean(axis=2))

    assert slope(1.0) == pytest.approx(-1, abs=0.08)
    assert slope(1.1) != pytest.approx(-1, abs=0.08)
    assert slope(0.9) != pytest.approx(-1, abs=0.08)


def test_pink_noise_has_its_rms_and_one_larger_by_a_tenth_has_not() -> None:
    small, large = (added(dark(), "pink_noise", amplitude=a) for a in (0.5, 0.55))
    # 3 % is about four standard deviations of the estimate.
    assert between_knots(stripes(small)) == pytest.approx(0.5, rel=0.03)
    assert between_knots(stripes(large)) != pytest.approx(0.5, rel=0.03)
    assert small.std() == pytest.approx(0.5, rel=0.1)
    np.testing.assert_allclose(large, 1.1 * small, atol=1e-5)


@pytest.mark.parametrize("common", [0.9, 0.4])
def test_amplifiers_correlate_by_what_they_have_in_common(common: float) -> None:
    def correlation(asked: float) -> float:
        rows = np.diff(stripes(added(dark(), "pink_noise", amplitude=1, common=asked)).mean(axis=3), axis=1)
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
    cut = stripes(added(dark(), "alternating_column_noise", amplitude=1))
    power = (np.abs(np.fft.rfft(cut, axis=-1)) ** 2).mean(axis=(0, 1, 2))
    # Both halves of the power: what even and odd columns share lies at 0, in what they differ at the end.
    assert power[-1] == pytest.approx(power[0], rel=0.15)
    assert power[-1] > 30 * np.median(power[8:-8])
    pink = stripes(added(dark(), "pink_noise", amplitude=1))
    without = (np.abs(np.fft.rfft(pink, axis=-1)) ** 2).mean(axis=(0, 1, 2))
    assert without[-1] < 1e-3 * power[-1]


def test_even_and_odd_columns_have_each_their_rms_and_one_larger_by_a_tenth_has_not() -> None:
    small, large = (stripes(added(dark(), "alternating_column_noise", amplitude=a)) for a in (0.5, 0.55))
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
    """Groups that follow each other at once are one series: the levels of 256 groups have its spectrum."""
    product = ramp(np.zeros((8, 16)), groups=256, TGROUP=0.001)
    levels = []
    for seed in range(20):
        out, note = perturbed(product, seed=seed, **{effect: {"amplitude": 50}})
        noise = (values(out) - values(product)) / (50 * float(str(note["sigma"])))
        levels.append(noise.mean(axis=(0, 2, 3)))
    assert slope_of(np.array(levels)) == pytest.approx(-1, abs=0.15)
    rare, _ = perturbed(ramp(np.zeros((8, 16)), groups=256, TGROUP=1000.0), **{effect: {"amplitude": 50}})
    assert np.diff(values(rare).mean(axis=(0, 2, 3))).std() > 1.5 * np.diff(values(out).mean(axis=(0, 2, 3))).std()


def test_integrations_of_a_ramp_have_noise_of_their_own(make: Make) -> None:
    product = make("uncal")
    out, _ = perturbed(product, pink_noise={"amplitude": 5})
    noise = values(out) - values(product)
    assert noise.shape == (2, 6, 32, 40)
    knots = np.diff(noise[..., ::KNOT], axis=-1).reshape(2, -1)
    assert abs(np.corrcoef(knots)[0, 1]) < 5 / np.sqrt(knots.shape[1])


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
