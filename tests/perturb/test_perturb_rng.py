"""Random numbers: their address, their bits and their distributions."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scipy import stats

from hwosim_assets.errors import HwosimError
from hwosim_assets.perturb import rng
from hwosim_assets.perturb.rng import TILE, Stream, normal, poisson, threshold

STREAM = Stream(7, "read_noise", "read_noise", "x_cal.fits", "SCI,1")


def digest(values: np.ndarray) -> str:
    return hashlib.sha256(values.astype(values.dtype.newbyteorder("<")).tobytes()).hexdigest()[:16]


@pytest.fixture(scope="module")
def words() -> np.ndarray:
    return np.concatenate([STREAM.bits(0, tile * TILE, TILE) for tile in range(32)])


def test_bits_are_those_of_every_machine() -> None:
    bits = STREAM.bits(3, 2 * TILE, TILE)
    assert STREAM.key == "5700c9bf67be42b0c12b80b61ce1b566"
    assert digest(bits) == "9fa7bee3ee99a3ca"
    assert digest(normal(bits)) == "90392cd8aece0c88"
    assert digest(poisson(bits, 4.0)) == "e97ca24d86fe448b"
    assert digest(poisson(bits, 300.0)) == "7b3cfb363e967a80"
    assert digest(poisson(bits, np.linspace(0.0, 60.0, TILE))) == "e920dbe04514e807"


@given(start=st.integers(0, 3 * TILE), count=st.integers(0, 2 * TILE))
def test_a_pixel_has_its_word_in_any_cut(start: int, count: int) -> None:
    whole = np.concatenate([STREAM.bits(1, tile * TILE, TILE) for tile in range(6)])
    np.testing.assert_array_equal(STREAM.bits(1, start, count), whole[start : start + count])


def test_every_part_of_the_address_counts() -> None:
    parts = (7, "read_noise", "read_noise", "x_cal.fits", "SCI,1")
    others = [(8, *parts[1:])] + [(*parts[:at], parts[at] + "x", *parts[at + 1 :]) for at in range(1, 5)]
    streams = [Stream(*other).bits(0, 0, 1000) for other in others]  # type: ignore[arg-type]
    streams += [
        STREAM.bits(0, 0, 1000),
        STREAM.bits(1, 0, 1000),
        STREAM.bits(0, TILE, 1000),
        STREAM.bits(0, 0, 1000, 1),
    ]
    correlation = np.corrcoef(np.array(streams, float))
    assert np.abs(correlation - np.eye(len(streams))).max() < 5 / np.sqrt(1000)


def test_normal_moments_and_tails(words: np.ndarray) -> None:
    z = normal(words).astype(float)
    n = z.size
    assert abs(z.mean()) * np.sqrt(n) < 4
    assert abs(z.var() - 1) < 4 * np.sqrt(2 / n)
    assert abs((z**4).mean() - 3) < 4 * np.sqrt(96 / n)
    assert stats.kstest(z[::5], "norm").pvalue > 1e-3
    assert abs((z[1:] * z[:-1]).mean()) * np.sqrt(n) < 4
    for limit in (3.0, 3.6, 4.0, 4.5):
        expected = n * 2 * stats.norm.sf(limit)
        assert abs((np.abs(z) > limit).sum() - expected) < 4 * np.sqrt(expected)


def test_normal_tails_follow_the_quantile_function() -> None:
    bits = np.array([0, 1, 1000, 1023, 1024, 5000, 1 << 19, (1 << 20) - 1, 1 << 20, 1 << 30, 1 << 31], np.uint32)
    expected = stats.norm.ppf((bits + 0.5) / 2**32)
    np.testing.assert_allclose(normal(bits), expected, atol=2e-3)
    np.testing.assert_allclose(normal(~bits), -expected, atol=2e-3)


@given(st.lists(st.integers(0, 2**32 - 1), min_size=2, max_size=50))
def test_normal_and_poisson_grow_with_the_word(values: list[int]) -> None:
    bits = np.sort(np.array(values, np.uint32))
    assert (np.diff(normal(bits)) >= 0).all()
    for mean in (0.3, 4.0, 50.0):
        assert (np.diff(poisson(bits, mean)) >= 0).all()


@pytest.mark.parametrize("mean", [0.02, 1.0, 4.0, 10.0, 20.0, 20.5, 100.0])
def test_poisson_counts_follow_their_distribution(words: np.ndarray, mean: float) -> None:
    counts = poisson(words, mean)
    n = counts.size
    assert abs(counts.mean() / mean - 1) < 4 / np.sqrt(n * mean)
    assert abs(counts.var() / mean - 1) < 4 * np.sqrt((2 + 1 / mean) / n)
    low, high = stats.poisson.ppf([1e-4, 1 - 1e-4], mean)
    edges = np.arange(low, high + 1)
    inside = stats.poisson.pmf(edges, mean) * n
    expected = np.array([stats.poisson.cdf(low - 1, mean) * n, *inside, stats.poisson.sf(high, mean) * n])
    observed = [(counts < low).sum(), *((counts == edge).sum() for edge in edges), (counts > high).sum()]
    good = expected > 5
    chi2 = (((np.array(observed) - expected) ** 2 / np.maximum(expected, 1e-9))[good]).sum()
    assert stats.chi2.sf(chi2, good.sum() - 1) > 1e-4


@given(st.floats(1e-3, 1e5), st.floats(1e-6, 3.0))
@example(498.0, 0.02)
@example(500.0, 1e-9)
def test_counts_of_one_mean_grow_with_it_pixel_by_pixel(mean: float, more: float) -> None:
    """Up to one electron where exact counts end and those from normal deviates begin."""
    low, high = (STREAM.poisson(value, 0, 0, 4096) for value in (mean, mean * (1.0 + more)))
    fell = low - high
    assert fell.max() <= (1.0 if mean <= 500 < mean * (1.0 + more) else 0.0)
    assert np.count_nonzero(fell > 0) <= 8


@pytest.mark.parametrize("mean", [400.0, 499.9, 500.1, 5000.0])
def test_counts_of_one_mean_follow_their_distribution(mean: float) -> None:
    counts = np.concatenate([STREAM.poisson(mean, 3, tile * TILE, TILE) for tile in range(8)]).astype(float)
    assert abs(counts.mean() / mean - 1) < 4 / np.sqrt(counts.size * mean)
    assert abs(counts.var() / mean - 1) < 4 * np.sqrt((2 + 1 / mean) / counts.size)
    quantiles = stats.poisson.cdf(np.quantile(counts, [0.001, 0.1, 0.5, 0.9, 0.999]), mean)
    np.testing.assert_allclose(quantiles, [0.001, 0.1, 0.5, 0.9, 0.999], atol=0.02)
    assert stats.skew(counts) == pytest.approx(mean**-0.5, abs=5 * np.sqrt(6 / counts.size))


def test_one_mean_and_many_means_give_the_same_counts(words: np.ndarray) -> None:
    bits = words[:50_000]
    for mean in (0.0, 0.5, 7.3, 20.0, 60.0):
        np.testing.assert_array_equal(poisson(bits, mean), poisson(bits, np.full(bits.size, mean)))


@given(st.floats(0, 1))
def test_threshold_is_the_share_of_words_below(probability: float) -> None:
    assert threshold(probability) == pytest.approx(probability * 2**32, abs=1)


def test_a_machine_that_computes_another_table_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rng, "_TABLE_SHA256", "0" * 64)
    rng._tables.cache_clear()
    with pytest.raises(HwosimError, match="another table"):
        normal(np.zeros(1, np.uint32))
    monkeypatch.undo()
    rng._tables.cache_clear()
    normal(np.zeros(1, np.uint32))
