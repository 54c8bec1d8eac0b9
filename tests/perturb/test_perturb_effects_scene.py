"""Afterimages, stray light, ghosts, trails and speckles on fixed seeds; what is off by a tenth falls outside."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pytest
from astropy.io import fits
from scenes import scene

from hwosim_assets.fits.dq import DQ
from hwosim_assets.perturb import Product, Scenario, apply, replay
from hwosim_assets.perturb.effect import Earlier
from hwosim_assets.perturb.effects.persistence import fermi, released
from hwosim_assets.perturb.effects.series import relaxing, relaxing_parts
from hwosim_assets.perturb.proof import diff
from hwosim_assets.perturb.rng import Stream

Make = Callable[..., Product]
K = 1000.0


def perturbed(
    product: Product, earlier: Sequence[Earlier] = (), **chosen: Mapping[str, object]
) -> tuple[Product, dict[str, object]]:
    content = {"version": 1, "seed": 11, "effects": [{name: options} for name, options in chosen.items()]}
    out, truth = apply(product, Scenario.from_mapping("test", content), earlier=earlier)
    return out, truth.record["effects"][0]["measurements"][0]


def bright(frames: int, side: int, signal: float = 20.0, *, kind: str = "rateints", **cards: object) -> Product:
    """Return frames of photon noise, K electrons per unit, with one bright row of columns so that K is found."""
    shape = (frames, side, side)
    mean = np.full(shape, signal)
    mean[..., : side // 8] *= 3
    poisson = mean / K
    sci = mean + np.sqrt(poisson) * np.random.default_rng(3).standard_normal(shape)
    primary = fits.PrimaryHDU()
    known = {"INSTRUME": "NIRCAM", "CHANNEL": "SHORT", "DETECTOR": "NRCA1"}
    primary.header.update({**known, "EXPSTART": 60000.0, "EXPEND": 60000.5, **cards})
    planes = {"SCI": sci, "ERR": np.sqrt(poisson), "VAR_POISSON": poisson, "VAR_RNOISE": np.full(shape, 1e-6)}
    hdus: list[fits.hdu.base._BaseHDU] = [primary]
    hdus += [fits.ImageHDU(data.astype(np.float32), name=name) for name, data in planes.items()]
    hdus.append(fits.ImageHDU(np.zeros(shape, np.uint32), name="DQ"))
    buffer = io.BytesIO()
    fits.HDUList(hdus).writeto(buffer)
    return Product(f"jw_{kind}.fits", buffer.getvalue())


def difference(product: Product, out: Product) -> np.ndarray:
    return np.nan_to_num(out.plane("SCI").astype(float) - product.plane("SCI").astype(float))


# ------------------------------------------------------------------------------ C2 persistence


BEFORE = Earlier(bright(1, 64, 20.0, EXPSTART=59999.0, EXPEND=59999.99), 59999.99)


def test_persistence_decays_with_its_index_and_another_by_a_tenth_does_not() -> None:
    product = bright(24, 64)
    edges = (60000 + np.arange(25) / 48 - 59999.99) * 86400.0

    def found(gamma: float) -> float:
        out, _ = perturbed(product, [BEFORE], persistence={"factor": 300.0, "gamma": gamma})
        rate = difference(product, out).mean((1, 2)) / np.diff(edges)
        middle = np.sqrt(edges[1:] * edges[:-1])
        return float(-np.polyfit(np.log(middle), np.log(rate), 1)[0])

    assert found(1.0) == pytest.approx(1.0, abs=0.03)
    assert found(1.1) != pytest.approx(1.0, abs=0.03)


@pytest.mark.parametrize("law", ["fermi", "traps"])
def test_persistence_has_its_amount_its_noise_and_its_flags(law: str) -> None:
    product = bright(4, 64)

    def electrons(factor: float) -> tuple[Product, np.ndarray]:
        out, _ = perturbed(product, [BEFORE], persistence={"factor": factor, "law": law})
        return out, K * difference(product, out)[0, :, 8:]

    out, added = electrons(30.0)
    times = [(60000 + part - 59999.99) * 86400.0 for part in (0.0, 0.125)]
    came = released(law, times[1], 1.0) - released(law, times[0], 1.0)
    unit = 20.0 * K * 0.003 if law == "traps" else float(fermi(np.array([20.0 * K]))[0]) * 0.017
    expected = 30.0 * came * unit
    assert added.mean() == pytest.approx(expected, rel=0.03)
    assert electrons(33.0)[1].mean() != pytest.approx(expected, rel=0.03)
    grown = (out.plane("VAR_POISSON") - product.plane("VAR_POISSON"))[0, :, 8:].astype(float)
    assert grown.mean() * K * K == pytest.approx(expected, rel=0.03)
    flagged = (out.plane("DQ") & DQ.PERSISTENCE) != 0
    assert flagged[0].mean() == pytest.approx(float(expected > np.sqrt(20.0 * K)), abs=0.2)


def test_no_more_comes_out_than_was_held() -> None:
    product = bright(6, 64)
    for law in ("fermi", "traps"):
        out, _ = perturbed(product, [BEFORE], persistence={"factor": 1000.0, "law": law})
        total = K * difference(product, out).sum(0)
        held = np.minimum(BEFORE.product.plane("SCI")[0] * K, 1e5)
        assert (total <= held + 6 * np.sqrt(held)).all()


def test_persistence_needs_an_earlier_exposure_of_the_same_pixels() -> None:
    product = bright(2, 64)
    other = Earlier(bright(1, 64, DETECTOR="NRCA2"), 59999.9)
    later = Earlier(BEFORE.product, 60000.2)
    for earlier in ([], [other], [later], [Earlier(bright(1, 32), 59999.9)]):
        out, found = perturbed(product, earlier, persistence={"severity": 5})
        assert "no earlier exposure" in str(found["not_applicable"])
        assert out.content == product.content


# ------------------------------------------------------------------------------ C3 deficit


def test_a_settling_detector_has_depth_and_time() -> None:
    product = bright(30, 32)

    def found(depth: float, tau: float) -> tuple[float, float]:
        out, _ = perturbed(product, persistence_deficit={"depth": depth, "tau": tau})
        ratio = out.plane("SCI").astype(float) / product.plane("SCI").astype(float)
        lost = 1 - ratio.mean((1, 2))
        slope, start = np.polyfit((np.arange(30) + 0.5) / 60 * 86400.0, np.log(lost), 1)
        return float(np.exp(start)), float(-1 / slope)

    assert found(0.0169, 8067.4) == pytest.approx((0.0169, 8067.4), rel=0.02)
    assert found(0.0186, 8067.4)[0] != pytest.approx(0.0169, rel=0.02)
    assert found(0.0169, 8874.0)[1] != pytest.approx(8067.4, rel=0.02)


# ------------------------------------------------------------------------------ D6 stray light


def test_stray_light_has_level_gradient_and_photon_noise() -> None:
    product = bright(1, 256, kind="cal")
    options = {"factor": 2.0, "glint": 0.0, "curve": 0.0}

    def gradient(slope: float) -> tuple[float, float]:
        out, found = perturbed(product, stray_light={**options, "slope": slope})
        added = difference(product, out)[0]
        y, x = (2 * axis / 256 - 255 / 256 for axis in np.indices(added.shape))
        angle = 2 * np.pi * float(found["angle_turns"])  # type: ignore[arg-type]
        u = (x * np.cos(angle) + y * np.sin(angle)) / (abs(np.cos(angle)) + abs(np.sin(angle)))
        fit = np.polyfit(u.ravel(), added.ravel() / float(found["added_mean"]), 1)  # type: ignore[arg-type]
        grown = (out.plane("VAR_POISSON") - product.plane("VAR_POISSON")).astype(float).mean()
        assert grown == pytest.approx(added.mean() / K, rel=0.01)
        return float(fit[1]), float(fit[0])

    assert gradient(0.5) == pytest.approx((1.0, 0.5), abs=0.01)
    flat = perturbed(product, stray_light={**options, "slope": 0.0})[0]
    # As much light again as the background of 20 has.
    assert difference(product, flat).mean() == pytest.approx(20.0, rel=0.02)
    assert gradient(0.55)[1] != pytest.approx(0.5, abs=0.01)


def test_a_glint_holds_its_share_where_the_record_says() -> None:
    product = bright(1, 256, kind="cal")
    out, found = perturbed(product, stray_light={"factor": 5.0, "glint": 0.9, "size": 0.02, "slope": 0, "curve": 0})
    added = difference(product, out)[0]
    y, x = np.unravel_index(added.argmax(), added.shape)
    assert (y, x) == pytest.approx((found["glint_y"], found["glint_x"]), abs=6)


# ------------------------------------------------------------------------------ D7 ghosts


def test_a_ghost_regresses_on_the_turned_scene() -> None:
    product = bright(1, 128, kind="cal")

    def slope(strength: float) -> float:
        out, found = perturbed(product, ghosts={"strength": strength})
        scene = np.maximum(product.plane("SCI")[0].astype(float) - 20.0, 0)
        template = np.zeros_like(scene)
        twice_y, twice_x = round(2 * float(found["point_y"])), round(2 * float(found["point_x"]))  # type: ignore[arg-type]
        for y in range(128):
            for x in range(128):
                if 0 <= twice_y - y < 128 and 0 <= twice_x - x < 128:
                    template[y, x] = scene[twice_y - y, twice_x - x]
        added = difference(product, out)[0]
        return float((template * added).sum() / (template * template).sum())

    assert slope(0.01) == pytest.approx(0.01, rel=0.02)
    assert slope(0.011) != pytest.approx(0.01, rel=0.02)


# ------------------------------------------------------------------------------ D7 wisps


def beside_a_streak(frames: int, right: int = 0, up: int = 0, **cards: object) -> Product:
    """Return frames of the part of a detector in whose middle its first streak has its own, moved by some pixels."""
    stream = Stream(11, "wisps", "wisps", "detector NRCA3", "streaks")
    x, y = (int(2048 * stream.uniform(0, 0, 4, sub)[0]) - 127 + by for sub, by in ((0, right), (1, up)))
    place = {"DETECTOR": "NRCA3", "SUBSTRT1": max(x, 1), "SUBSTRT2": max(y, 1)}
    return scene(np.full((frames, 256, 256), 20.0), **{**place, **cards})


def streaks(frames: int, strength: float, right: int = 0, up: int = 0, **cards: object) -> np.ndarray:
    product = beside_a_streak(frames, right, up, **cards)
    return difference(product, perturbed(product, wisps={"strength": strength, "width": 60})[0])


def test_wisps_regress_on_their_template_and_a_tenth_more_do_not() -> None:
    template = streaks(1, 50.0)[0]
    assert template.max() == pytest.approx(1000.0, rel=0.05), "the middle of a streak is here"
    template = template / 1000.0

    def strength(asked: float) -> float:
        added = streaks(1, asked)[0]
        return float((template * added).sum() / (template * template).sum() / 20.0)

    # 20 000 electrons of background; 0.3 of it in a streak of thousands of pixels is known to a part in a thousand.
    assert strength(0.3) == pytest.approx(0.3, rel=0.02)
    assert strength(0.33) != pytest.approx(0.3, rel=0.02)


def test_wisps_belong_to_the_detector_and_have_the_noise_of_photons() -> None:
    first, second = streaks(2, 1.0)
    assert np.corrcoef(first.ravel(), second.ravel())[0, 1] > 0.99
    part = streaks(1, 1.0, right=30, up=50)[0]
    assert np.corrcoef(part[:200, :200].ravel(), first[50:250, 30:230].ravel())[0, 1] > 0.99
    other = streaks(1, 1.0, DETECTOR="NRCB4")[0]
    assert not other.any() or np.corrcoef(other.ravel(), first.ravel())[0, 1] < 0.5
    product = beside_a_streak(1)
    out = perturbed(product, wisps={"strength": 1.0, "width": 60})[0]
    gained = (out.plane("VAR_POISSON").astype(float) - product.plane("VAR_POISSON"))[0]
    bright = gained * K * K > 100
    z = (difference(product, out)[0] - gained * K)[bright] / np.sqrt(gained[bright])
    assert abs(z.mean()) < 4 / np.sqrt(z.size)
    assert abs(z.var() - 1) < 4 * np.sqrt(2 / z.size)


# ------------------------------------------------------------------------------ D8 trails


def test_trails_are_as_many_as_their_rate_and_a_tenth_more_are_not() -> None:
    product = bright(200, 16)

    def number(rate: float) -> int:
        content = {"version": 1, "seed": 5, "effects": [{"trails": {"rate": rate}}]}
        return int(apply(product, Scenario.from_mapping("test", content))[1].record["effects"][0]["events_recorded"])

    tolerance = 3 * np.sqrt(4000)  # 5 %
    assert number(20.0) == pytest.approx(4000, abs=tolerance)
    assert number(22.0) != pytest.approx(4000, abs=tolerance)


def test_trails_lie_where_the_record_says() -> None:
    product = bright(80, 48)
    content = {"version": 1, "seed": 5, "effects": [{"trails": {"rate": 2.0, "peak": 100.0}}]}
    out, truth = apply(product, Scenario.from_mapping("test", content))
    events = truth.happened()
    assert events is not None
    frames = np.array(events["frame"].to_pylist())
    added = difference(product, out)
    single = [frame for frame in range(80) if (frames == frame).sum() == 1]
    y, x = (axis - 23.5 for axis in np.indices((48, 48)))
    angles, lengths = np.arange(0, 0.5, 0.005), np.arange(-24, 25)
    for frame in single[:5]:
        light = np.clip(added[frame], 0, None)
        best, where = -1.0, (0.0, 0.0)
        for turns in angles:
            along = x * np.cos(2 * np.pi * turns) + y * np.sin(2 * np.pi * turns)
            votes = [light[np.abs(along - length) < 1].sum() / (np.abs(along - length) < 1).sum() for length in lengths]
            if max(votes) > best:
                best, where = max(votes), (turns, float(lengths[int(np.argmax(votes))]))
        row = int(np.flatnonzero(frames == frame)[0])
        turns, length = events["turns"][row].as_py(), events["distance"][row].as_py()
        apart = abs(where[0] - turns)
        sign = 1.0 if apart < 0.25 else -1.0
        assert min(apart, 0.5 - apart) < 0.02
        assert sign * where[1] == pytest.approx(length, abs=2.0)


def test_trails_at_a_rate_are_there_at_any_higher() -> None:
    product = bright(40, 32)
    seen: set[float] = set()
    for rate in (0.2, 1.0, 5.0):
        content = {"version": 1, "seed": 5, "effects": [{"trails": {"rate": rate}}]}
        events = apply(product, Scenario.from_mapping("test", content))[1].happened()
        assert events is not None
        now = set(events["turns"].to_pylist())
        assert seen < now
        seen = now


# ------------------------------------------------------------------------------ D5 speckles


def test_speckles_follow_the_modified_rician() -> None:
    from scipy import stats

    product = bright(1, 512, 2000.0, kind="rate")

    def nodes(coherent: float) -> tuple[np.ndarray, float]:
        options = {"contrast": 2e-7, "coherent": coherent, "size": 4.0}
        out, found = perturbed(product, speckle_drift=options)
        return difference(product, out)[0, ::4, ::4].ravel(), float(found["mean"])  # type: ignore[arg-type]

    seen, mean = nodes(0.5)
    assert seen.mean() == pytest.approx(mean, rel=0.03)
    assert mean == pytest.approx(2e-7 * 1e10 * float(np.median(product.plane("ERR"))), rel=0.01)
    expected = stats.ncx2(2, 2.0)
    assert stats.kstest(seen / (mean / 4), expected.cdf).pvalue > 1e-3
    other, _ = nodes(0.6)
    assert stats.kstest(other / (mean / 4), expected.cdf).pvalue < 1e-3


def test_speckles_change_within_their_time_and_depend_on_the_time_alone() -> None:
    product = bright(12, 128, 2000.0)
    options = {"contrast": 2e-7, "coherent": 0.0, "size": 4.0}

    def correlation(tau: float) -> float:
        added = difference(product, perturbed(product, speckle_drift={**options, "tau": tau})[0])
        return float(np.corrcoef(added[4].ravel(), added[5].ravel())[0, 1])

    assert correlation(36000.0) > 0.7
    assert abs(correlation(600.0)) < 0.1
    part = bright(6, 128, 2000.0, EXPSTART=60000.25)
    whole = perturbed(product, speckle_drift={**options, "tau": 36000.0})[0]
    alone = perturbed(part, speckle_drift={**options, "tau": 36000.0})[0]
    pair = np.corrcoef(difference(product, whole)[6].ravel(), difference(part, alone)[0].ravel())
    assert pair[0, 1] > 0.98


def test_speckles_forget_as_ornstein_and_uhlenbeck_say() -> None:
    product = bright(12, 256, 2000.0)  # an hour for each
    options = {"contrast": 2e-7, "coherent": 0.0, "size": 4.0, "tau": 18000.0}
    added = difference(product, perturbed(product, speckle_drift=options)[0])[:, ::4, ::4].reshape(12, -1)
    seen = np.corrcoef(added)
    for later in (1, 3, 5, 8):
        found = [seen[frame, frame + later] for frame in range(12 - later)]
        # of the field exp(-t / tau), of its intensity the square
        np.testing.assert_allclose(found, np.exp(-2 * later / 5), atol=5 / 64)
    assert added.mean(axis=1) == pytest.approx(added.mean(), rel=0.1)


def test_a_relaxing_series_is_a_sum_of_few_deviates() -> None:
    stream = Stream(1, "x", "x", "", "series")
    for time in (0.0, 3.25, 7.9999, 1234.5678, 5e9 + 0.3):
        parts = relaxing_parts(time)
        total = sum(weight * float(stream.normal(4, place, 1, level)[0]) for place, level, weight in parts)
        assert total == pytest.approx(float(relaxing(stream, 4, np.array([time]))[0]), abs=2e-3)
        assert sum(weight * weight for *_, weight in parts) == pytest.approx(1, abs=1e-6)
        assert len(parts) < 30


# ------------------------------------------------------------------------------ the laws, for all of them

NAMES = ("persistence", "persistence_deficit", "stray_light", "ghosts", "wisps", "trails", "speckle_drift")


@pytest.mark.parametrize("kind", ["cal", "calints", "multislit", "uncal", "s3d", "i2d", "x1d", "x1dints", "bare"])
@pytest.mark.parametrize("switches", [{}, {"err": "stale"}])
def test_same_bytes_in_any_cut_and_the_truth_tells_of_all(
    make: Make, monkeypatch: pytest.MonkeyPatch, kind: str, switches: dict[str, str]
) -> None:
    from hwosim_assets.perturb import run

    product = make(kind)
    before = Earlier(product, 59999.99)
    effects = [{name: {"severity": 5, **switches}} for name in NAMES]
    chosen = Scenario.from_mapping("test", {"version": 1, "seed": 2, "effects": effects})
    out, truth = apply(product, chosen, earlier=[before])
    monkeypatch.setattr(run, "CHUNK", 1000)
    assert apply(product, chosen, earlier=[before], threads=2)[0].content == out.content
    assert replay(truth, product, earlier=[before]).content == out.content
    assert diff(product, out, truth).findings == ()
    for step in truth.record["effects"]:
        for note in step["measurements"]:
            assert ("not_applicable" not in note) or len(note["not_applicable"]) > 20
    if switches and kind == "cal":
        for name in ("ERR", "VAR_POISSON", "VAR_RNOISE", "VAR_FLAT"):
            np.testing.assert_array_equal(out.plane(name), product.plane(name))
    if not switches and kind in ("cal", "calints", "multislit"):
        total = sum(out.plane(name).astype(float) for name in ("VAR_POISSON", "VAR_RNOISE", "VAR_FLAT"))
        np.testing.assert_allclose(out.plane("ERR").astype(float) ** 2, total, rtol=1e-5)
