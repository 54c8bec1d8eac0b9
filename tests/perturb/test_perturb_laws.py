"""The laws of the engine, each as a test."""

from __future__ import annotations

import inspect
import io
import re
from collections.abc import Callable

import numpy as np
import pytest
from astropy.io import fits
from golden import GOLDEN, made
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from scenes import scene

from hwosim_assets.perturb import Product, Scenario, apply, replay
from hwosim_assets.perturb.effect import Effect
from hwosim_assets.perturb.proof import diff
from hwosim_assets.perturb.registry import effect_class, effect_specs, spec_of
from hwosim_assets.perturb.scenario import find_scenarios

KINDS = ("cal", "calints", "multislit", "uncal", "s3d", "i2d", "x1d", "x1dints", "bare")
SHIPPED = tuple(sorted(find_scenarios().found))
Make = Callable[..., Product]


def scenario(*effects: object, seed: int = 7) -> Scenario:
    return Scenario.from_mapping("test", {"version": 1, "seed": seed, "effects": list(effects)})


def opened(product: Product) -> fits.HDUList:
    return fits.open(io.BytesIO(product.payload))


def _profile(draw: st.DrawFn) -> dict[str, object]:
    """Return a profile in time; the products were exposed from 60000.0 to 60001.0."""
    start = draw(st.sampled_from([59990.0, 60000.2, 60000.7]))
    rest = {
        "constant": {},
        "step": {"start": start},
        "ramp": {"start": start, "length": 20},
        "exponential": {"start": start, "tau": "3 d"},
        "oscillation": {"start": start, "period": "7 h"},
        "burst": {"start": start, "length": "2 h", "every": "5 h"},
        "random_walk": {"start": start, "length": 30},
    }
    name = draw(st.sampled_from(sorted(rest)))
    return {"profile": name, **rest[name]}


@st.composite
def plans(draw: st.DrawFn, *, valid: bool = True) -> Scenario:
    """Return a scenario of any registered effects, with any switches, words and profiles."""
    specs = {spec.name: spec for spec in effect_specs() if not spec.breaks_format or not valid}
    effects = []
    for name in draw(st.lists(st.sampled_from(sorted(specs)), unique=True, min_size=1, max_size=6)):
        spec = specs[name]
        body: dict[str, object] = {"severity": draw(st.floats(0, 5).map(lambda value: round(value, 2)))}
        if spec.err:
            body["err"] = draw(st.sampled_from(["consistent", "stale", "biased"]))
        if spec.dq:
            body["dq"] = draw(st.sampled_from(["flagged", "silent", "mixed"]))
        for parameter in spec.parameters:
            if parameter.choices:
                body[parameter.name] = draw(st.sampled_from(parameter.choices))
        if draw(st.booleans()):
            body["when"] = _profile(draw)
        effects.append({name: body})
    content = {"version": 1, "seed": draw(st.integers(0, 2**62)), "effects": effects, "valid_only": valid}
    return Scenario.from_mapping("test", content)


# --------------------------------------------------------------- 1 identity


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", SHIPPED)
def test_severity_zero_gives_the_bytes_of_the_input(make: Make, kind: str, name: str) -> None:
    product = make(kind)
    out, truth = apply(product, name, severity=0)
    assert out.content == product.content
    assert not truth.changed


@pytest.mark.parametrize("packed", [False, True])
def test_clean_gives_the_bytes_of_the_input_in_its_container(make: Make, packed: bool) -> None:
    product = make("cal", packed=packed)
    assert apply(product, "clean")[0].content == product.content


def test_clean_does_not_even_look_into_a_file() -> None:
    product = Product("anything.fits", b"not FITS at all")
    assert apply(product, "clean")[0].content == b"not FITS at all"


# --------------------------------------------------- 2 determinism, 8 diff, 9 validity


#: Effects that change the structure of a file on purpose: columns, units, numbers of rows.
RESHAPING = {spec.name for spec in effect_specs() if spec.stage in ("file", "schema")}
#: Of effects in bands: of too few hits here, of MIRI, of cubes.
ELSEWHERE = {"cosmic_rays", "solar_particle_event", "showers", "wavelength_shift"}
#: Effects that look at neighbours a known way off.
IN_BANDS = [
    spec.name
    for spec in effect_specs()
    if effect_class(spec.name).reach is not Effect.reach and spec.name not in ELSEWHERE
]
#: Effects that come before pixels are lost.
BEFORE_LOSS = [spec.name for spec in effect_specs() if spec.stage not in ("loss", "header", "file", "schema")]


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(kind=st.sampled_from(KINDS), chosen=plans())
def test_same_plan_same_bytes_and_the_truth_accounts_for_them(make: Make, kind: str, chosen: Scenario) -> None:
    product = make(kind)
    out, truth = apply(product, chosen)
    again, truth_again = apply(Product(product.name, product.content), chosen, threads=2)
    assert out.content == again.content
    assert truth.line() == truth_again.line()
    assert truth.side == truth_again.side
    assert replay(truth, product).content == out.content
    assert diff(product, out, truth).findings == ()
    assert apply(product, chosen, severity=0)[0].content == product.content
    with opened(product) as before, opened(out) as after:
        after.verify("exception")
        used = {choice.effect for choice in chosen.effects}
        if used & RESHAPING:
            return
        assert [(hdu.name, hdu.ver) for hdu in before] == [(hdu.name, hdu.ver) for hdu in after]
        for old, new in zip(before, after, strict=True):
            if old.is_image and old.data is not None:
                assert (old.data.dtype, old.shape) == (new.data.dtype, new.shape)
            elif not old.is_image:
                assert old.columns.dtype == new.columns.dtype
            for keyword in ("CTYPE1", "BUNIT", "EXTNAME") + ("CRPIX1",) * ("pointing_drift" not in used):
                assert old.header.get(keyword) == new.header.get(keyword)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(kind=st.sampled_from(KINDS), chosen=plans())
def test_a_bit_of_an_output_cannot_change_unseen(make: Make, kind: str, chosen: Scenario) -> None:
    """Law 8 the other way round: what the truth does not explain is found."""
    product = make(kind)
    out, truth = apply(product, chosen)
    spoilt = bytearray(out.content)
    plane = Product(out.name, out.content).measurements[0].sci
    spoilt[plane.offset + 1] ^= 4
    assert not diff(product, Product(out.name, bytes(spoilt)), truth).accounted


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(chosen=plans(), chunk=st.sampled_from([777, 4096, 10**6]))
def test_any_cut_of_any_plan_gives_the_same_bytes(make: Make, chosen: Scenario, chunk: int) -> None:
    from hwosim_assets.perturb import block, run

    product = make("big")
    out, truth = apply(product, chosen)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "CHUNK", chunk)
        patch.setattr(run, "BAND", chunk)
        patch.setattr(block, "CHUNK", chunk)
        again, truth_again = apply(product, chosen)
    assert again.content == out.content
    if truth.happened() is None:
        assert truth_again.line() == truth.line()


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(kind=st.sampled_from(["cal", "calints", "x1d"]), chosen=plans(), extra=st.data())
def test_the_order_of_a_list_matters_only_within_a_stage(
    make: Make, kind: str, chosen: Scenario, extra: st.DataObject
) -> None:
    """One use of an effect of every stage, in any order, is one plan."""
    first_of_stage: dict[str, object] = {}
    for choice in chosen.effects:
        first_of_stage.setdefault(spec_of(choice.effect).stage, choice)
    kept = list(first_of_stage.values())
    mixed = extra.draw(st.permutations(kept))
    product = make(kind)
    outs = [
        apply(product, Scenario("test", chosen.content.model_copy(update={"effects": tuple(order)})))[0].content
        for order in (kept, mixed)
    ]
    assert outs[0] == outs[1]


@pytest.mark.parametrize("kind", ["cal", "calints", "x1d", "uncal"])
@pytest.mark.parametrize("name", BEFORE_LOSS)
def test_an_effect_leaves_a_later_loss_its_numbers(make: Make, kind: str, name: str) -> None:
    """Law 3: the truth of the loss is the same whether the effect is there, at any severity, or not."""
    product = make(kind)
    loss = {"missing_values": {"fraction": 0.02, "label": "probe"}}
    alone = apply(product, scenario(loss))[1]
    beside = [apply(product, scenario({name: {"severity": severity}}, loss))[1] for severity in (0, 3)]

    def lost(truth: object) -> list[dict[str, object]]:
        rows = truth.runs().to_pylist()  # type: ignore[attr-defined]
        # Columns that only another effect's events fill are not its numbers.
        return [{k: v for k, v in row.items() if v is not None} for row in rows if row["label"] == "probe"]

    assert [lost(truth) for truth in beside] == [lost(alone)] * 2


@pytest.mark.parametrize("name", ["nominal_l2", "ground_segment_bad_day"])
def test_seed_and_name_and_nothing_else_choose_the_numbers(make: Make, name: str) -> None:
    product = make("cal")
    out = apply(product, name, severity=3)[0].content
    assert apply(product, name, severity=3)[0].content == out
    assert apply(product, name, severity=3, seed=1)[0].content != out
    assert apply(Product("other.fits", product.content), name, severity=3)[0].content != out


@pytest.mark.parametrize(("features", "threads"), [("", 1), ("X86_V4 X86_V3 AVX512_ICL AVX512_SPR", 2)])
def test_bytes_of_every_effect_are_those_of_every_machine(features: str, threads: int) -> None:
    """The same pixels and cards with and without vector instructions; with the oldest numpy in the integration tests.

    Where a change of the bytes is meant, ``python tests/perturb/golden.py`` writes the hashes anew.
    """
    assert "nothing" not in GOLDEN.values()
    assert made(threads, features) == GOLDEN


# ------------------------------------------------------------- 3 independence


def test_effects_do_not_disturb_each_other(make: Make) -> None:
    product = make("cal")
    noise, gaps = {"read_noise": {"severity": 2}}, {"missing_values": {"severity": 4}}
    both = apply(product, scenario(noise, gaps))[0].plane("SCI")
    swapped = apply(product, scenario(gaps, noise))[0].plane("SCI")
    only_noise = apply(product, scenario(noise))[0].plane("SCI")
    only_gaps = apply(product, scenario(gaps))[0].plane("SCI")
    np.testing.assert_array_equal(both, swapped)
    lost = np.isnan(only_gaps)
    np.testing.assert_array_equal(np.isnan(both), lost)
    np.testing.assert_array_equal(both[~lost], only_noise[~lost])


def test_two_uses_of_an_effect_draw_apart(make: Make) -> None:
    product = make("cal")
    twice = apply(
        product, scenario({"missing_values": {"fraction": 0.1}}, {"missing_values": {"fraction": 0.1, "label": "b"}})
    )
    first, second = (step["pixels_lost"] for step in twice[1].record["effects"])
    assert first > 0
    assert second > 0
    total = np.isnan(twice[0].plane("SCI")).sum() - np.isnan(product.plane("SCI")).sum()
    assert total > 1.5 * first


# --------------------------------------------------- 4 chunks, threads, whole frames


@pytest.mark.parametrize("threads", [2, 3])
def test_threads_change_nothing(make: Make, threads: int) -> None:
    product = make("big")
    assert product.plane("SCI").size > 4 * 65536
    out = apply(product, "nominal_l2", severity=4)[0].content
    assert apply(product, "nominal_l2", severity=4, threads=threads)[0].content == out


@pytest.mark.parametrize("chunk", [1000, 4096, 65536, 10**7])
@pytest.mark.parametrize("scenario_name", ["nominal_l2", "ground_segment_bad_day"])
def test_the_cut_changes_nothing(make: Make, monkeypatch: pytest.MonkeyPatch, chunk: int, scenario_name: str) -> None:
    from hwosim_assets.perturb import run

    product = make("big")
    out = apply(product, scenario_name, severity=5)[0].content
    monkeypatch.setattr(run, "CHUNK", chunk)
    monkeypatch.setattr(run, "BAND", chunk)
    assert apply(product, scenario_name, severity=5)[0].content == out


@pytest.mark.parametrize("severity", [2, 5])
@pytest.mark.parametrize("name", IN_BANDS)
def test_bands_of_rows_give_what_the_whole_frame_gives(
    make: Make, monkeypatch: pytest.MonkeyPatch, name: str, severity: float
) -> None:
    """Of effects that look at neighbours, with others before and behind them, in bands of two rows and more."""
    from hwosim_assets.perturb import run

    cut: list[int] = []
    work = run._parts

    def seen(*given: object) -> object:
        parts = work(*given)  # type: ignore[arg-type]
        cut.append(len(parts))
        return parts

    monkeypatch.setattr(run, "_parts", seen)
    used = scenario({"background": {}}, {name: {"severity": severity}}, {"ipc": {"label": "behind"}})
    monkeypatch.setattr(run, "BAND", 10**7)
    out, truth = apply(make("big"), used)
    monkeypatch.setattr(run, "BAND", 1024)
    again, truth_again = apply(make("big"), used)
    assert cut[0] == 1 < cut[1]
    assert all("not_applicable" not in note for effect in truth.record["effects"] for note in effect["measurements"])
    assert again.content == out.content
    assert truth_again.line() == truth.line()
    assert truth_again.side == truth.side


def test_order_of_blocks_changes_nothing(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    from hwosim_assets.perturb import run

    product = make("big")
    out, truth = apply(product, "ground_segment_bad_day", severity=5)
    plain = run._mapped
    monkeypatch.setattr(run, "_mapped", lambda work, parts, n: list(plain(work, parts[::-1], n))[::-1])
    backwards, truth_backwards = apply(product, "ground_segment_bad_day", severity=5)
    assert backwards.content == out.content
    assert truth_backwards.line() == truth.line()


def test_an_effect_that_needs_neighbours_leaves_the_others_their_numbers(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With whole frames instead of tiles, tile effects give the same bytes."""
    from hwosim_assets.perturb.effects.telemetry import PacketLoss

    product = make("big")
    out = apply(product, "nominal_l2", severity=4)[0].content
    seen = []
    monkeypatch.setattr(PacketLoss, "on_chunk", Effect.on_chunk)
    without = apply(product, scenario({"read_noise": {"severity": 4}}, {"packet_loss": {"severity": 4}}))[0].content

    def look(self: Effect, block: object) -> None:
        seen.append(block.sci.shape)  # type: ignore[attr-defined]

    monkeypatch.setattr(PacketLoss, "on_frame", look)
    assert (
        apply(product, scenario({"read_noise": {"severity": 4}}, {"packet_loss": {"severity": 4}}))[0].content
        == without
    )
    assert seen == [(1, 600 * 512)]
    monkeypatch.undo()
    assert apply(product, "nominal_l2", severity=4)[0].content == out


# ---------------------------------------------------------- 5 random access in time


def test_a_profile_depends_on_the_exposure_time_alone(make: Make) -> None:
    when = {"profile": "exponential", "start": 60000.0, "tau": "2 d"}
    chosen = scenario({"missing_blocks": {"area": 0.5, "when": when}})
    from hwosim_assets.perturb.plan import make_plan

    losses = [make_plan(chosen, "x", time).effects for time in (59999.0, 60000.0, 60002.0, 60100.0)]
    assert losses[0] == losses[1] == ()
    assert losses[2][0].parameters["area"] == pytest.approx(0.5 * (1 - np.exp(-1)))
    assert losses[3][0].parameters["area"] == pytest.approx(0.5, rel=1e-9)
    without = make_plan(chosen, "x", None)
    assert not without.effects
    assert "exposure time" in without.left_out[0].reason
    assert apply(make("cal"), chosen)[1].record["stream_time_mjd"] == 60000.5


# ------------------------------------------------------------- 6 monotone coupling


@pytest.mark.parametrize("effect", ["missing_values", "packet_loss"])
@pytest.mark.parametrize("kind", ["big", "calints", "x1d"])
def test_what_is_lost_at_a_severity_is_lost_at_any_higher(make: Make, effect: str, kind: str) -> None:
    product = make(kind)
    name = ("EXTRACT1D", 1, "FLUX") if kind == "x1d" else ("SCI",)
    before = np.isnan(product.plane(*name))
    options = {"packet": 4} if effect == "packet_loss" else {}
    for severity in (1, 2.5, 3, 4, 4.5, 5):
        now = np.isnan(apply(product, scenario({effect: {"severity": severity, **options}}))[0].plane(*name))
        assert not (before & ~now).any()
        before = now
    assert before.mean() > 0.02


def test_noise_at_two_severities_is_the_same_noise_scaled(make: Make) -> None:
    product = make("cal")
    clean = product.plane("SCI").astype(float)
    small, large = (
        apply(product, scenario({"read_noise": {"factor": m}}))[0].plane("SCI") - clean for m in (1.25, 2.0)
    )
    good = np.isfinite(small)
    ratio = np.sqrt((2.0**2 - 1) / (1.25**2 - 1))
    np.testing.assert_allclose(large[good], small[good] * ratio, atol=3e-5)


def test_headers_lost_at_a_severity_are_lost_at_any_higher(make: Make) -> None:
    lost: set[str] = set()
    for severity in (1, 2, 3, 4):
        events = apply(make("cal"), scenario({"header_loss": {"severity": severity}}))[1].record["effects"][0]["events"]
        words = {event["keyword"] for event in events}
        assert lost < words
        lost = words
    assert len(lost) == 10


# ----------------------------------------------------------------- 7 accounting


@pytest.mark.parametrize("kind", ["cal", "calints", "multislit"])
@pytest.mark.parametrize("effect", ["throughput", "background", "read_noise"])
def test_err_squared_is_the_sum_of_variances(make: Make, kind: str, effect: str) -> None:
    out = apply(make(kind), scenario({effect: {"severity": 4}}))[0]
    total = sum(out.plane(name).astype(float) for name in ("VAR_POISSON", "VAR_RNOISE", "VAR_FLAT"))
    np.testing.assert_allclose(out.plane("ERR").astype(float) ** 2, total, rtol=1e-5)


@pytest.mark.parametrize("effect", ["throughput", "background", "read_noise"])
def test_stale_leaves_uncertainties_and_changes_the_same_pixels(make: Make, effect: str) -> None:
    product = make("cal")
    honest = apply(product, scenario({effect: {"severity": 3}}))[0]
    stale = apply(product, scenario({effect: {"severity": 3, "err": "stale"}}))[0]
    np.testing.assert_array_equal(honest.plane("SCI"), stale.plane("SCI"))
    for name in ("ERR", "VAR_POISSON", "VAR_RNOISE", "VAR_FLAT"):
        np.testing.assert_array_equal(stale.plane(name), product.plane(name))
    assert (honest.plane("ERR") != product.plane("ERR")).mean() > 0.9


def test_later_effects_build_on_the_true_variance_though_an_earlier_lied(make: Make) -> None:
    product = make("cal")
    loss, noise = {"background": {"severity": 5}}, {"read_noise": {"severity": 2}}
    honest = apply(product, scenario(loss, noise))[0]
    lied = apply(product, scenario({"background": {"severity": 5, "err": "stale"}}, noise))[0]
    np.testing.assert_array_equal(honest.plane("SCI"), lied.plane("SCI"))
    np.testing.assert_array_equal(lied.plane("VAR_POISSON"), product.plane("VAR_POISSON"))
    np.testing.assert_array_equal(lied.plane("VAR_RNOISE"), honest.plane("VAR_RNOISE"))


@pytest.mark.parametrize("kind", ["s3d", "cal"])
def test_an_honest_effect_takes_from_err_what_err_states_though_an_earlier_lied(make: Make, kind: str) -> None:
    """A stale background is in the noise but not in ERR: losing half the light must not take it out of ERR."""
    product, loss = make(kind), {"throughput": {"loss": 0.5}}
    alone = apply(product, scenario(loss))[0].plane("ERR")
    after = apply(product, scenario({"background": {"factor": 20, "err": "stale"}}, loss))[0].plane("ERR")
    np.testing.assert_allclose(after, alone, rtol=1e-6)
    assert (np.nan_to_num(alone) < np.nan_to_num(product.plane("ERR"))).mean() > 0.9


@pytest.mark.parametrize("missing", ["VAR_POISSON", "VAR_FLAT"])
def test_err_grows_where_a_variance_is_not_known(make: Make, missing: str) -> None:
    """Resampled products have pixels with SCI and ERR whose VAR planes are NaN."""
    kind = make("cal")
    payload = bytearray(kind.content)
    plane = next(plane for plane in kind.planes if plane.extname == missing)
    plane.raw(payload)[:, 40:60] = np.nan
    product = Product(kind.name, bytes(payload))
    out, truth = apply(product, scenario({"background": {"factor": 5}}))
    found = truth.record["effects"][0]["measurements"][0]
    grown = out.plane("ERR").astype(float) ** 2 - product.plane("ERR").astype(float) ** 2
    assert truth.record["budgets"][0]["sums"]
    known = np.isfinite(product.plane("ERR"))
    np.testing.assert_allclose(grown[known], found["added"] / truth.record["budgets"][0]["k"], rtol=1e-3)


@pytest.mark.parametrize(("effect", "options"), [
    ("schema_drift", {"severity": 4, "kind": "names"}), ("photom_step", {"severity": 4}),
    ("charge_migration", {"severity": 4}),
])  # fmt: skip
def test_what_the_truth_calls_not_applicable_leaves_the_file(effect: str, options: dict[str, object]) -> None:
    """A ramp of float32, whose planes a drift of the schema would store wider."""
    data = np.float32(1000) + np.arange(6 * 16 * 16, dtype=np.float32).reshape(1, 6, 16, 16)
    primary = fits.PrimaryHDU()
    primary.header["PHOTMJSR"] = 0.5
    buffer = io.BytesIO()
    fits.HDUList([primary, fits.ImageHDU(data, name="SCI")]).writeto(buffer)
    product = Product("jw01234001001_02101_00001_nrca1_ramp.fits", buffer.getvalue())
    out, truth = apply(product, scenario({effect: options}))
    (step,) = truth.record["effects"]
    assert all("not_applicable" in note for note in step["measurements"])
    assert out.content == product.content
    assert step["events"] == []


@pytest.mark.parametrize("name", sorted(spec.name for spec in effect_specs()))
def test_who_reads_a_parameter_frame_by_frame_says_so(name: str) -> None:
    """Else a profile that leaves out the mid time of a product leaves out all of its frames."""
    kinds = effect_class(name).__mro__
    source = "".join(inspect.getsource(kind) for kind in kinds[: kinds.index(Effect)])
    reads = re.search(r"task\.number(s|_at)\(|task\.number\([^()]*,\s*\w+\)", source) is not None
    assert effect_class(name).per_frame == reads


@pytest.mark.parametrize("effect", [
    {"cosmic_rays": {"flux": 1000.0, "residual": 1.0}}, {"dark_current": {"factor": 1e4}},
    {"emccd_noise": {"cic": 1.0}}, {"photom_step": {"step": 0.1}},
    {"solar_particle_event": {"peak": 10000.0, "onset": -0.1, "tau": 0.3, "residual": 1.0}},
])  # fmt: skip
def test_a_step_late_in_an_exposure_changes_its_last_integrations_only(
    make: Make, effect: dict[str, dict[str, object]]
) -> None:
    product = make("calints")
    ((name, options),) = effect.items()
    out = apply(product, scenario({name: {**options, "when": {"profile": "step", "start": 60000.7}}}))[0]
    before, after = product.plane("SCI"), out.plane("SCI")
    changed = [bool((one != other)[np.isfinite(one)].any()) for one, other in zip(before, after, strict=True)]
    assert changed == [False, False, True]


@pytest.mark.parametrize("kind", ["cal", "calints", "s3d"])
def test_nan_and_do_not_use_go_together(make: Make, kind: str) -> None:
    product = make(kind)
    losses = scenario({"missing_values": {"fraction": 0.05}}, {"packet_loss": {"loss": 0.05, "packet": 50, "burst": 1}})
    out = apply(product, losses)[0]
    lost = np.isnan(out.plane("SCI"))
    assert lost.mean() > 0.07
    np.testing.assert_array_equal(lost, (out.plane("DQ") & 1) == 1)
    new = lost & ~np.isnan(product.plane("SCI"))
    np.testing.assert_array_equal(out.plane("DQ")[new], np.uint32(9))
    for plane in out.planes:
        if plane.extname in ("ERR", "VAR_POISSON", "VAR_RNOISE", "VAR_FLAT"):
            np.testing.assert_array_equal(np.isnan(out.plane(plane.extname)), lost)
    if kind == "s3d":
        np.testing.assert_array_equal(out.plane("WMAP") == 0, lost)


#: Effects after which a lost pixel may hold a number, or another one be no number.
OVERWRITING = {"bit_flips"}


def assert_lost_as_told(product: Product, chosen: Scenario) -> int:
    """Assert that just the pixels that the truth calls lost became NaN; return how many."""
    out, truth = apply(product, chosen)
    runs, count = truth.runs(), 0  # none where there are events alone
    rows = [] if runs is None else runs.to_pylist()
    for before, after in zip(product.measurements, out.measurements, strict=True):
        lost = np.zeros((before.frames, before.pixels), bool)
        for row in rows:
            if row["kind"] == "lost" and (row["plane"], row["hdu"]) == (before.sci.name, before.sci.hdu):
                lost[row["frame"], row["start"] : row["start"] + row["length"]] = True
        old, new = (np.isnan(item.sci.read(x.payload)) for item, x in ((before, product), (after, out)))
        np.testing.assert_array_equal(new.reshape(lost.shape), lost | old.reshape(lost.shape))
        count += int(lost.sum())
    return count


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(kind=st.sampled_from([kind for kind in KINDS if kind != "uncal"]), chosen=plans())
def test_just_the_pixels_that_the_truth_calls_lost_become_nan(make: Make, kind: str, chosen: Scenario) -> None:
    assume(not {choice.effect for choice in chosen.effects} & (RESHAPING | OVERWRITING))
    assert_lost_as_told(make(kind), chosen)


@pytest.mark.parametrize("name", [name for name in BEFORE_LOSS if name not in OVERWRITING])
@pytest.mark.parametrize("lossy", [{"hot_pixels": {"severity": 5}}, {"pointing_drift": {"shift": 300.0}}])
def test_no_effect_spreads_what_another_lost(lossy: dict[str, object], name: str) -> None:
    """Last comes noise that grows with the variances, so that a pixel becomes NaN where one of them is."""
    product = scene(np.full((96, 96), 50.0), noise=True, read=1e-4)
    effects = [lossy, {name: {"severity": 4}}, {"dropped_groups": {"severity": 2}}]
    assert assert_lost_as_told(product, scenario(*effects[name in lossy :])) > 10


def test_silent_loss_is_seen_in_sci_only(make: Make) -> None:
    product = make("cal")
    out, truth = apply(product, scenario({"missing_values": {"fraction": 0.05, "dq": "silent"}}))
    assert np.isnan(out.plane("SCI")).sum() - np.isnan(product.plane("SCI")).sum() > 100
    for name in ("ERR", "DQ", "VAR_POISSON", "VAR_RNOISE", "VAR_FLAT"):
        np.testing.assert_array_equal(out.plane(name), product.plane(name))
    assert truth.record["effects"][0]["pixels_lost"] > 100
