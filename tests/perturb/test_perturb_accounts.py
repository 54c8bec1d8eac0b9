"""The account that ERR and VAR keep, beside the true one: it follows what it states, and never falls below 0.

Holds: effects after others that kept quiet or exaggerated, and numbers that are none. Keep out single effects, and what
the switches `err` and `dq` do alone (``test_perturb_laws``, ``test_perturb_honesty``).
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from hypothesis import given, settings
from hypothesis import strategies as st
from scenes import CARDS, columns, ramp, scene, star

from hwosim_assets.perturb import Product, Scenario, apply, compiled
from hwosim_assets.perturb.registry import effect_specs

VARIANCES = ("VAR_POISSON", "VAR_RNOISE", "VAR_FLAT")
HONEST = [spec.name for spec in effect_specs() if spec.err]
#: Effects that move variance from pixel to pixel, by options that need no keyword.
MOVING = {
    "jitter": {"severity": 5},
    "ipc": {"severity": 3},
    "wavefront_drift": {"severity": 5},
    "pointing_drift": {"shift": 100, "angle": 30},
    "charge_migration": {"severity": 5},
}


@pytest.fixture(params=["numpy", "loops"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Work with numpy, then with the compiled loops."""
    if request.param == "loops" and find_spec("numba") is None:
        pytest.skip("numba (extra fast) is not installed")
    monkeypatch.setattr(compiled, "_wanted", request.param == "loops")
    return str(request.param)


def scenario(*effects: dict[str, Any]) -> Scenario:
    return Scenario.from_mapping("test", {"version": 1, "seed": 7, "valid_only": False, "effects": list(effects)})


def with_planes(product: Product, **planes: Any) -> Product:
    """Return a product of the planes of another, some of which are others, or missing (``None``)."""
    with fits.open(io.BytesIO(product.content)) as hdus:
        found = {hdu.name: hdu.data for hdu in hdus[1:]} | planes
    primary = fits.PrimaryHDU()
    primary.header.update(CARDS)
    buffer = io.BytesIO()
    kept = [fits.ImageHDU(data, name=name) for name, data in found.items() if data is not None]
    fits.HDUList([primary, *kept]).writeto(buffer)
    return Product(product.name, buffer.getvalue())


def stars(**more: Any) -> Product:
    """Return a noisy star on a sky, whose photon variance differs from pixel to pixel, with bad pixels."""
    product = scene(star(48, 2.0, 1e4, 1.0), noise=True, read=1e-4)
    sci = product.plane("SCI").copy()
    sci[5, 7] = sci[30:32, 20] = np.nan
    flat = np.full(sci.shape, 1e-6, np.float32)
    err = np.sqrt(product.plane("VAR_POISSON") + product.plane("VAR_RNOISE") + flat)
    return with_planes(product, **{"SCI": sci, "VAR_FLAT": flat, "ERR": err, **more})


def assert_accounted(before: Product, after: Product, told: str = "") -> None:
    """Fail where a variance fell below 0, or where ERR is no number any more though the pixel is not lost."""
    for item, other in zip(before.measurements, after.measurements, strict=True):
        kept = np.isfinite(other.sci.read(after.payload))
        for name, plane in item.variances.items():
            was, now = plane.read(before.payload), other.variances[name].read(after.payload)
            assert not ((now < 0) & ~(was < 0)).any(), (told, name)
        if item.err is not None and other.err is not None:
            was, now = item.err.read(before.payload), other.err.read(after.payload)
            assert np.isfinite(now[kept & np.isfinite(was)]).all(), told


# ------------------------------------------------------- what moves variance moves the stated one


@pytest.mark.parametrize("lie", [{"err": "stale"}, {"err": "biased", "err_factor": 0.3}])
@pytest.mark.parametrize("effect", MOVING)
def test_an_honest_effect_moves_what_planes_state(way: str, effect: str, lie: dict[str, Any]) -> None:
    """A background that nobody told of is in the noise, and spread as the rest is; VAR knows nothing of it."""
    product = stars()
    after = apply(product, scenario({"background": {"factor": 20, **lie}}, {effect: MOVING[effect]}))[0]
    assert_accounted(product, after, effect)
    assert not (after.plane("VAR_POISSON") < 0).any()


@pytest.mark.parametrize("effect", sorted({*MOVING} - {"charge_migration"}))
def test_what_is_stated_is_what_it_were_without_the_effect_that_kept_quiet(way: str, effect: str) -> None:
    """A kernel does not look at the signal, so VAR and ERR become what they become of an effect alone."""
    product, later = stars(), {effect: MOVING[effect]}
    alone = apply(product, scenario(later))[0]
    after = apply(product, scenario({"photon_noise": {"severity": 5, "err": "stale"}}, later))[0]
    for name in (*VARIANCES, "ERR"):
        np.testing.assert_allclose(after.plane(name), alone.plane(name), rtol=2e-5, err_msg=name)
    assert (after.plane("SCI") != alone.plane("SCI")).mean() > 0.9


@pytest.mark.parametrize("effect", sorted({*MOVING} - {"charge_migration"}))
def test_without_var_planes_err_too_becomes_what_it_were(way: str, effect: str) -> None:
    quiet, later = {"photon_noise": {"severity": 5, "err": "stale"}}, {effect: MOVING[effect]}
    product = stars(VAR_POISSON=None, VAR_RNOISE=None, VAR_FLAT=None)
    alone, after = (apply(product, scenario(*chosen))[0].plane("ERR") for chosen in ((later,), (quiet, later)))
    np.testing.assert_allclose(after, alone, rtol=2e-5)


def test_a_spectrum_that_is_moved_moves_what_it_states(make: Any) -> None:
    product, later = make("x1d"), {"wavelength_shift": {"applied": "flux", "shift": "0.4 px"}}
    quiet = {"photon_noise": {"severity": 5, "err": "stale"}}
    alone, after = (apply(product, scenario(*chosen))[0] for chosen in ((later,), (quiet, later)))
    for item, other in zip(alone.measurements, after.measurements, strict=True):
        for name, plane in [*item.variances.items(), ("ERR", item.err)]:
            found = {**other.variances, "ERR": other.err}[name].read(after.payload)
            np.testing.assert_allclose(found, plane.read(alone.payload), rtol=1e-5, err_msg=name)
    assert after.content != alone.content


@pytest.mark.parametrize("share", [0.0, 0.25, 0.7])
def test_a_share_is_taken_of_the_change_of_what_is_stated(way: str, share: float) -> None:
    product, quiet = stars(), {"background": {"factor": 20, "err": "stale"}}
    whole = apply(product, scenario(quiet, {"jitter": {"severity": 5}}))[0].plane("VAR_POISSON").astype(float)
    part = {"jitter": {"severity": 5, "err": "biased", "err_factor": share**0.5}}
    found = apply(product, scenario(quiet, part))[0].plane("VAR_POISSON")
    before = product.plane("VAR_POISSON").astype(float)
    np.testing.assert_allclose(found, before + share * (whole - before), rtol=1e-4)


# ------------------------------------------------------------------ factors above 1


@pytest.mark.parametrize(
    "chosen",
    [{"throughput": {"loss": 0.5}}, {"flat_drift": {"rms": 0.2}}, {"persistence_deficit": {"depth": 0.5}},
     *({name: options} for name, options in (MOVING | {"pointing_drift": {"shift": 10, "angle": 30}}).items())],
    ids=lambda chosen: next(iter(chosen)),
)  # fmt: skip
def test_what_shrinks_is_exaggerated_and_stays_above_zero(way: str, chosen: dict[str, Any]) -> None:
    product, ((effect, options),) = stars(), chosen.items()
    honest = apply(product, scenario(chosen))[0]
    lied = apply(product, scenario({effect: {**options, "err": "biased", "err_factor": 3}}))[0]
    assert_accounted(product, lied, effect)
    before, told, more = (item.plane("VAR_POISSON").astype(float) for item in (product, honest, lied))
    shrank = (told < 0.99 * before) & (told > 0)
    assert shrank.any()
    assert (more[shrank] > 0).all()
    # As it would be told if it grew back: the growth is exaggerated by the square of the factor.
    np.testing.assert_allclose((before / more - 1)[shrank], 9 * (before / told - 1)[shrank], rtol=1e-3)
    assert (lied.plane("ERR")[shrank] > 0).all()


@pytest.mark.parametrize("effect", HONEST)
def test_no_effect_takes_a_variance_below_zero(way: str, effect: str, products: list[Product]) -> None:
    """After each kind of lie, told in each way, with and without VAR planes."""
    exaggerated: dict[str, Any] = {"err": "biased", "err_factor": 5}
    for product in products:
        for lie in ({"err": "stale"}, exaggerated):
            for own in ({}, exaggerated):
                chosen = {"background": {"factor": 20, "label": "quiet", **lie}}, {effect: {"severity": 5, **own}}
                with warnings.catch_warnings():
                    warnings.simplefilter("error", RuntimeWarning)
                    after = apply(product, scenario(*chosen))[0]
                if effect != "dropped_integrations":  # it takes frames away
                    assert_accounted(product, after, f"{effect} {lie} {own}")


@pytest.fixture(scope="module")
def products() -> list[Product]:
    """Return an image with odd numbers in its planes, and ones that lack some of them."""
    sound = stars()
    odd = {name: sound.plane(name).copy() for name in ("ERR", *VARIANCES)}
    for row, value in enumerate((np.nan, np.inf, -1.0, 0.0, 1e-30)):
        for column, plane in enumerate(odd.values()):
            plane[40 + row, 10 + column] = value
    return [
        sound,
        with_planes(sound, **odd),
        with_planes(sound, VAR_POISSON=None, VAR_RNOISE=None, VAR_FLAT=None),
        with_planes(sound, VAR_RNOISE=None),
        with_planes(sound, VAR_POISSON=None),
        with_planes(sound, DQ=np.ones(sound.plane("SCI").shape, np.uint32)),
    ]


@st.composite
def pairs(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Return two effects, each with any honesty."""
    found: list[dict[str, Any]] = []
    for name in draw(st.lists(st.sampled_from(HONEST), min_size=2, max_size=2)):
        body: dict[str, Any] = {"severity": draw(st.sampled_from([1, 3, 5]))}
        body["err"] = draw(st.sampled_from(["consistent", "stale", "biased"]))
        if body["err"] == "biased":
            body["err_factor"] = draw(st.sampled_from([0.1, 0.9, 1.1, 3, 100]))
        found.append({name: {**body, "label": f"use{len(found)}"}})
    return found


@settings(max_examples=150, deadline=None)
@given(chosen=pairs(), which=st.integers(0, 5), loops=st.booleans())
def test_after_any_two_effects_nothing_stated_is_below_zero(
    products: list[Product], chosen: list[dict[str, Any]], which: int, loops: bool
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compiled, "_wanted", loops and find_spec("numba") is not None)
        after = apply(products[which], scenario(*chosen))[0]
    if not any("dropped_integrations" in step for step in chosen):
        assert_accounted(products[which], after, str(chosen))


# ------------------------------------------------------------ planes without numbers


@pytest.mark.parametrize("effect", ["photom_step", "throughput"])
def test_an_infinite_variance_of_the_flat_leaves_err_a_number(way: str, effect: str) -> None:
    flat = np.full((48, 48), 1e-6, np.float32)
    flat[20, 20], options = np.inf, {"photom_step": {"step": 0.5}, "throughput": {"loss": 0.5}}[effect]
    err = apply(with_planes(stars(), VAR_FLAT=flat), scenario({effect: options}))[0].plane("ERR")
    sound = apply(with_planes(stars(), VAR_FLAT=np.zeros_like(flat)), scenario({effect: options}))[0].plane("ERR")
    np.testing.assert_allclose(err[20, 20], sound[20, 20], rtol=1e-2)


@pytest.mark.parametrize("lacking", [(), ("VAR_RNOISE", "VAR_FLAT"), VARIANCES])
def test_err_follows_where_every_pixel_is_flagged(way: str, lacking: tuple[str, ...]) -> None:
    """No pixel can be sampled, so nothing is known but what the planes say: a step scales all of them alike."""
    flags = np.ones((48, 48), np.uint32)
    product = stars(DQ=flags, **dict.fromkeys(lacking))
    out = apply(product, scenario({"photom_step": {"step": 0.5}}))[0]
    signal = out.plane("SCI") / product.plane("SCI")
    known = np.isfinite(signal)
    for name in {"ERR", *VARIANCES} - {*lacking}:
        power = 1 if name == "ERR" else 2
        np.testing.assert_allclose((out.plane(name) / product.plane(name))[known], signal[known] ** power, rtol=1e-5)


# ------------------------------------------------------------------ ramps


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize(
    "effect",
    [*MOVING, "throughput", "saturation", "persistence_deficit", "tilt_event"],
)
def test_a_ramp_whose_first_group_is_no_number_keeps_its_others(way: str, effect: str, bad: float) -> None:
    """What came since it is not known, so the pixel stays as it is, as one without a number does elsewhere."""
    product = ramp(columns(32, 32, 5, 500), groups=6)
    data = product.plane("SCI").copy()
    data[0, 0, 5, 6] = bad
    chosen = scenario({effect: {"severity": 5, **({"onset": 0.1} if effect == "tilt_event" else {})}})
    broken = with_planes(product, SCI=data)
    out = apply(broken, chosen)[0].plane("SCI")
    lost = np.isfinite(data) & ~np.isfinite(out)
    told = _lost_pixels(apply(broken, chosen)[1].record)
    assert int(lost.sum()) <= told
    if effect != "pointing_drift":  # which brings the pixel's own light elsewhere
        np.testing.assert_array_equal(out[0, :, 5, 6], data[0, :, 5, 6])
    assert (out[0, -1] != data[0, -1]).any()


def _lost_pixels(record: dict[str, Any]) -> int:
    return sum(effect.get("pixels_lost") or 0 for effect in record["effects"])


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_light_is_lost_between_the_groups_that_are_numbers(bad: float) -> None:
    product = ramp(np.full((32, 32), 5e4), groups=6)
    data = product.plane("SCI").copy()
    data[0, 2, 5, 6] = bad
    out = apply(with_planes(product, SCI=data), scenario({"throughput": {"loss": 0.5}}))[0].plane("SCI")[0, :, 5, 6]
    np.testing.assert_array_equal(np.isfinite(out), np.isfinite(data[0, :, 5, 6]))
    np.testing.assert_allclose(out[-1] - out[0], 0.5 * 5 * 5e4, rtol=0.01)


# ------------------------------------------------------------------ quiet


def _huge() -> Iterator[Product]:
    for value in (np.inf, -np.inf, 3e38):
        planes = {name: stars().plane(name).copy() for name in ("SCI", "ERR", *VARIANCES)}
        for plane in planes.values():
            plane[::3] = value
        yield with_planes(stars(), **planes)
        yield with_planes(stars(), **(planes | dict.fromkeys(VARIANCES)))
        data = ramp(np.full((32, 32), 5.0), groups=3).plane("SCI").copy()
        data[..., ::3, :] = value
        yield with_planes(ramp(np.full((32, 32), 5.0), groups=3), SCI=data)


@pytest.mark.parametrize("effect", ["read_noise", "jitter", "throughput", "persistence"])
def test_infinite_and_huge_numbers_warn_nobody(way: str, effect: str) -> None:
    from hwosim_assets.perturb.effect import Earlier

    for product in _huge():
        earlier = [Earlier(product, 59999.99)]
        with warnings.catch_warnings():
            warnings.simplefilter("error", RuntimeWarning)
            _, truth = apply(product, scenario({effect: {"severity": 3}}), earlier=earlier)
        assert [step["measurements"][0]["name"] for step in truth.record["effects"]] == ["SCI,1"]


@pytest.mark.usefixtures("way")
def test_an_err_that_is_no_number_stays_one_whatever_the_variances_say() -> None:
    """It became the root of their sum, 0 where they are 0: a perfect pixel."""
    product = scene(columns(16, 64, 5, 50))
    err, poisson, read = (product.plane(name).copy() for name in ("ERR", "VAR_POISSON", "VAR_RNOISE"))
    err[3, 4], err[5, 6] = np.nan, np.inf
    poisson[3, 4] = read[3, 4] = poisson[5, 6] = read[5, 6] = 0
    odd = with_planes(product, ERR=err, VAR_POISSON=poisson, VAR_RNOISE=read)
    after = apply(odd, scenario({"read_noise": {"severity": 3}}))[0].plane("ERR")
    assert np.isnan(after[3, 4])
    assert np.isinf(after[5, 6])
    assert np.count_nonzero(after != err) > 1000
