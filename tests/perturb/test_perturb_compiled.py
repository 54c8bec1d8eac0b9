"""Compiled loops make the bits that numpy makes.

Holds: the pixels of every effect with the loops forced on, and without numba; and each loop of the draws and effects
against the numpy code beside which it stands. Keep out the loops of the convolution and of loading and storing, which
have tests of their own.
"""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
from astropy.io import fits
from golden import GOLDEN, made
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from hwosim_assets.perturb import Product, Scenario, apply, block, compiled, exact, run
from hwosim_assets.perturb.effects.particles import Hits, _gathered, deposits
from hwosim_assets.perturb.effects.series import octave_weights, octaves
from hwosim_assets.perturb.registry import effect_specs
from hwosim_assets.perturb.rng import TILE, Stream, poisson

pytestmark = pytest.mark.skipif(find_spec("numba") is None, reason="numba (extra fast) is not installed")

#: What a process does first to use the loops on products of any size.
FORCED = """
import atexit, os, sys
from hwosim_assets.perturb import Product, Scenario, apply, block, compiled, run
from hwosim_assets.perturb.effects.particles import _gathered
compiled.LEAST_PIXELS = 0
atexit.register(lambda: compiled.on() or os._exit(3))
"""
HIDDEN = """
import sys
sys.modules["numba"] = None
from hwosim_assets.perturb import Product, Scenario, apply, block, compiled, run
from hwosim_assets.perturb.effects.particles import _gathered
compiled.LEAST_PIXELS = 0
"""


@pytest.mark.parametrize("threads", [1, 2])
def test_every_effect_makes_the_same_bits_with_the_loops(threads: int) -> None:
    assert made(threads, "", before=FORCED) == GOLDEN


def test_every_effect_works_where_numba_is_not_installed() -> None:
    assert made(1, "", before=HIDDEN) == GOLDEN


def both(make: Callable[[], np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return what numpy makes and what the loops make."""
    with patch.object(compiled, "_wanted", False):
        plain = make()
    with patch.object(compiled, "_wanted", True):
        return plain, make()


def same_bits(plain: np.ndarray, looped: np.ndarray) -> bool:
    return plain.dtype == looped.dtype and plain.shape == looped.shape and plain.tobytes() == looped.tobytes()


# --------------------------------------------------------------------- draws

STARTS = st.integers(0, 4 * TILE) | st.sampled_from([TILE - 1, TILE, 3 * TILE - 17, (1 << 40) + 5])
COUNTS = st.integers(0, 3 * TILE // 2) | st.integers(0, 40)
SUBS = st.integers(0, 1 << 40)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 1 << 30), STARTS, COUNTS, SUBS)
def test_normal_deviates(plane: int, start: int, count: int, sub: int) -> None:
    stream = Stream(plane, "read_noise", "", "x", "SCI")
    assert same_bits(*both(lambda: stream.normal(plane, start, count, sub)))


@settings(max_examples=60, deadline=None)
@given(st.floats(0, 500) | st.sampled_from([0.0, 1e-9, 0.1, 30.0, 500.0]), STARTS, COUNTS, SUBS)
def test_poisson_counts_of_one_mean(mean: float, start: int, count: int, sub: int) -> None:
    stream = Stream(1, "background", "", "x", "SCI")
    assert same_bits(*both(lambda: stream.poisson(mean, 5, start, count, sub)))


LIMITS = st.integers(0, 1 << 32) | st.sampled_from([0, 1, 1 << 16, 1 << 20, 1 << 31, (1 << 32) - 1, 1 << 32])


@settings(max_examples=60, deadline=None)
@given(LIMITS, STARTS, COUNTS, SUBS)
def test_words_below_a_limit(limit: int, start: int, count: int, sub: int) -> None:
    stream = Stream(1, "missing_values", "", "x", "SCI")
    address = limit, start, count, sub
    (plain, words), (looped, same) = (_below(stream, wanted, *address) for wanted in (False, True))
    assert same_bits(plain, looped)
    assert same_bits(words, same)
    every, all_words = _below(stream, True, 1 << 32, start, count, sub)
    assert every.size == count
    assert (plain == np.flatnonzero(all_words < np.uint64(limit))).all()
    assert (words == all_words[plain]).all()


def _below(stream: Stream, wanted: bool, limit: int, *place: int) -> tuple[np.ndarray, np.ndarray]:
    with patch.object(compiled, "_wanted", wanted):
        return stream.below(limit, 5, *place)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 1 << 30), st.integers(0, 5000), st.sampled_from([1e-6, 1.0, 19.0, 1e3, 1e7]))
def test_poisson_counts_of_a_mean_each(seed: int, count: int, scale: float) -> None:
    rng = np.random.default_rng(seed)
    means = rng.choice([0.0, 20.0, np.nextafter(20.0, 30.0), 1.0], count) * rng.choice([1.0, scale], count)
    means += rng.choice([0.0, 1.0], count) * rng.exponential(scale, count)
    bits = rng.integers(0, 1 << 32, count, dtype=np.uint32)
    bits[::7], bits[3::7] = (
        rng.integers(0, 2000, bits[::7].size),
        (1 << 32) - 1 - rng.integers(0, 2000, bits[3::7].size),
    )
    assert same_bits(*both(lambda: poisson(bits, means)))


def test_words_of_both_ends_are_among_those_drawn() -> None:
    plain, looped = both(lambda: Stream(1, "read_noise", "", "x", "SCI").normal(0, 0, 1 << 20))
    assert same_bits(plain, looped)
    assert np.count_nonzero(np.abs(plain) > 3.5) > 300
    assert plain.min() < -3.5
    assert plain.max() > 3.5


def test_normal_deviates_of_single_pixels() -> None:
    stream, places = Stream(1, "hot_pixels", "", "x", "SCI"), np.arange(1 << 23)
    plain, looped = both(lambda: stream.normal_at(7, places, 3))
    assert same_bits(plain, looped)
    # The table of single words, beyond 2^-22, is among those looked up.
    assert plain.min() < -5.2
    assert plain.max() > 5.2


# ------------------------------------------------------------------- effects

EFFECTS = ("read_noise", "background", "throughput", "flat_drift", "pink_noise", "hot_pixels", "missing_values",
           "cosmic_rays", "dropped_groups", "photon_noise", "photom_step")  # fmt: skip
CARDS = {"TELESCOP": "JWST", "INSTRUME": "NIRCAM", "CHANNEL": "SHORT", "DETECTOR": "NRCA1", "FILTER": "F200W",
         "EXPSTART": 60000.0, "EXPMID": 60000.005, "EXPEND": 60000.01, "EFFINTTM": 9e4, "EFFEXPTM": 9e4,
         "SLOWAXIS": 2, "NOUTPUTS": 1}  # fmt: skip


@st.composite
def products(draw: st.DrawFn) -> Product:
    """Draw a product of odd sizes, with pixels that are no number, infinite, 0 and negative."""
    shape = draw(st.integers(1, 3)), draw(st.integers(2, 50)), draw(st.integers(3, 70))
    rng = np.random.default_rng(draw(st.integers(0, 1 << 30)))
    signal = rng.uniform(0.5, 40, shape)
    data = {"SCI": signal, "ERR": np.sqrt(signal / 100 + 0.02), "VAR_POISSON": signal / 100}
    data["VAR_RNOISE"] = np.full(shape, 0.02)
    data["VAR_FLAT"] = 1e-5 * signal * signal
    odd = rng.random(shape) < draw(st.sampled_from([0.0, 0.05]))
    for name, plane in data.items():
        if name in ("SCI", "ERR") or draw(st.booleans()):
            plane[odd] = rng.choice([np.nan, np.inf, 0.0, -0.0, -1.0], np.count_nonzero(odd))
    left_out = draw(st.sets(st.sampled_from(["ERR", "VAR_FLAT", "VAR_RNOISE"]), max_size=1))
    number, axis = draw(st.sampled_from([np.float32, np.float64])), draw(st.sampled_from([1, -1, 2, -2]))
    hdus = [fits.ImageHDU(plane.astype(number), name=name) for name, plane in data.items() if name not in left_out]
    hdus.append(fits.ImageHDU(odd.astype(np.uint32), name="DQ"))
    primary, buffer = fits.PrimaryHDU(), io.BytesIO()
    primary.header.update({**CARDS, "FASTAXIS": axis, "SLOWAXIS": 3 - abs(axis), "NINTS": shape[0]})
    fits.HDUList([primary, *hdus]).writeto(buffer)
    return Product("jw01234001001_02101_00001_nrca1_calints.fits", buffer.getvalue())


@st.composite
def uses(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Draw effects with their switches."""
    names = draw(st.lists(st.sampled_from(EFFECTS), min_size=1, max_size=4, unique=True))
    err, dq = st.sampled_from(["consistent", "stale", "biased"]), st.sampled_from(["flagged", "silent", "mixed"])
    severity = st.sampled_from([1, 3, 5])
    found = []
    for name in names:
        body: dict[str, Any] = {"severity": draw(severity), "err": draw(err)}
        if name in ("hot_pixels", "missing_values", "cosmic_rays", "flat_drift"):
            body["dq"] = draw(dq)
        if name == "missing_values":
            del body["err"]
        found.append({name: body})
    return found


def same_numbers(plain: np.ndarray, looped: np.ndarray) -> bool:
    """Return whether arrays have the same bits; of what is no number, only that it is none is defined."""
    if plain.dtype.kind != "f":
        return same_bits(plain, looped)
    word = f"u{plain.dtype.itemsize}"
    none = np.isnan(plain) & np.isnan(looped)
    return plain.dtype == looped.dtype and bool(((plain.view(word) == looped.view(word)) | none).all())


@settings(max_examples=25, deadline=None)
@given(products(), uses(), st.sampled_from([100, 333, 1 << 15]), st.integers(0, 1 << 30))
def test_effects_over_products_of_all_kinds(product: Product, effects: list[Any], chunk: int, seed: int) -> None:
    scenario = Scenario.from_mapping("loops", {"version": 1, "seed": seed, "effects": effects})
    with patch.object(run, "CHUNK", chunk), patch.object(block, "CHUNK", chunk):
        with patch.object(compiled, "_wanted", False), patch.object(compiled, "LEAST_PIXELS", 1 << 60):
            plain, told = apply(product, scenario)
        with patch.object(compiled, "_wanted", True):
            looped, also_told = apply(product, scenario)
    for before, after in zip(plain.planes, looped.planes, strict=True):
        assert same_numbers(before.read(plain.payload), after.read(looped.payload)), before.name
    runs, also_runs = told.runs(), also_told.runs()
    assert runs is also_runs is None or (runs is not None and runs.equals(also_runs))
    assert told.record["effects"] == also_told.record["effects"]


@pytest.mark.parametrize("err", ["consistent", "stale"])
@pytest.mark.parametrize("kind", ["cal", "calints", "multislit", "uncal", "s3d", "i2d", "x1d", "x1dints", "bare"])
def test_every_effect_over_every_kind_of_product(make: Callable[..., Product], kind: str, err: str) -> None:
    """A cube's frame has one factor for all its pixels, for example: a loop over pixels would read beyond it."""
    product = make(kind)
    for spec in effect_specs():
        if spec.breaks_format or (err == "stale" and not spec.err):
            continue
        body = {"severity": 5, **({"err": err} if spec.err else {})}
        scenario = Scenario.from_mapping("kinds", {"version": 1, "seed": 5, "effects": [{spec.name: body}]})
        with patch.object(compiled, "_wanted", False), patch.object(compiled, "LEAST_PIXELS", 1 << 60):
            plain, _ = apply(product, scenario)
        with patch.object(compiled, "_wanted", True):
            looped, _ = apply(product, scenario)
        for before, after in zip(plain.planes, looped.planes, strict=True):
            assert same_numbers(before.read(plain.payload), after.read(looped.payload)), (spec.name, before.name)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 200), st.integers(1, 50), st.integers(0, 1 << 30), st.floats(1e-3, 1e6))
def test_hits_that_come_together(count: int, places: int, seed: int, k: float) -> None:
    rng = np.random.default_rng(seed)
    pixels, missed = np.sort(rng.integers(0, places, count)), rng.random(count) < 0.5
    drawn = rng.uniform(0, 1e5, count), rng.uniform(0, 1, count)
    parts = [both(lambda part=part: _gathered(pixels, *drawn, missed, k)[part]) for part in range(3)]  # type: ignore[misc]
    assert all(same_bits(*part) for part in parts)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 300), st.integers(0, 1 << 30), st.sampled_from([(40, 70), (1, 1), (300, 5)]))
def test_charge_along_tracks_that_leave_the_frame_and_that_do_not(
    count: int, seed: int, shape: tuple[int, int]
) -> None:
    rng = np.random.default_rng(seed)
    away, length = (
        rng.normal(size=(2, count)),
        rng.choice([10.0, 18.0, 300.0, 2000.0], count) * rng.uniform(1, 2, count),
    )
    away /= np.hypot(*away)
    begins, rest = rng.uniform(0, 1, (2, count)) * np.array(shape)[:, None], rng.uniform(0, 1e5, (3, count))
    found = Hits(*begins, *away, length, *rest)
    parts = [both(lambda part=part: deposits(found, shape, 18.0)[part]) for part in range(3)]  # type: ignore[misc]
    assert all(same_bits(*part) for part in parts)


@settings(deadline=None)
@given(arrays(np.float64, st.integers(0, 40), elements=st.floats(5e-324, 1e308) | st.floats(0.5, 2.0)))
def test_logarithms(values: np.ndarray) -> None:
    assert same_bits(*both(lambda: exact.log(values)))


@settings(deadline=None)
@given(arrays(np.float64, (2, 20), elements=st.floats(-1e3, 709.0) | st.floats(-1.0, 1.0)))
def test_exponentials(values: np.ndarray) -> None:
    assert same_bits(*both(lambda: exact.exp(values)))
    assert same_bits(*both(lambda: exact.exp(values[:, ::2])))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 1 << 40), st.integers(1, 5000), st.integers(1, 30), st.integers(0, 5))
def test_octaves_of_a_series(start: int, count: int, layers: int, series: int) -> None:
    stream, weights = Stream(1, "pink_noise", "", "x", "SCI"), octave_weights(layers, 1.2)
    assert same_bits(*both(lambda: octaves(stream, 3, start, count, weights, series)))


@pytest.mark.parametrize(
    ("trouble", "said"),
    [
        ("import numba.core.caching as c; c.CacheImpl._locator_classes = []", "no locator available"),
        ("import sys; sys.modules['numba'] = None", ""),
        ("import sys; sys.modules['numba.core.decorators'] = None", "numba.core.decorators"),
    ],
)
def test_where_numba_cannot_work_numpy_does_everything_and_the_log_says_why(trouble: str, said: str) -> None:
    program = f"{trouble}\nfrom hwosim_assets.perturb import compiled\ncompiled.want(1 << 30)\nprint(compiled.on())"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
    assert said in done.stderr
    assert ("NUMBA_CACHE_DIR" in done.stderr) == bool(said)


def test_what_is_compiled_is_kept_by_the_version_of_all_loops(tmp_path: Path) -> None:
    from hwosim_assets.perturb.compiled import draws, effects
    from hwosim_assets.perturb.compiled.loop import version

    for module in Path(draws.__file__).parent.glob("*.py"):
        shutil.copy(module, tmp_path)
    before = version(tmp_path)
    assert Path(draws.poissons.stats.cache_path).parent.name == f"loops-{before}"
    assert Path(effects.add_noise.stats.cache_path).parent.name == f"loops-{before}"
    (tmp_path / "draws.py").write_text((tmp_path / "draws.py").read_text() + "\n")
    assert version(tmp_path) != before
