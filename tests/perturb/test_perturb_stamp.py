"""What a file says of its own perturbing: nothing, the hash of its plan, or every effect, as the scenario asks."""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from astropy.io import fits
from hypothesis import given, settings
from hypothesis import strategies as st

from hwosim_assets.cli import main
from hwosim_assets.errors import BadInputError
from hwosim_assets.perturb import Product, Scenario, apply, replay
from hwosim_assets.perturb.files import perturb_file
from hwosim_assets.perturb.plan import make_plan, read_plan
from hwosim_assets.perturb.proof import diff
from hwosim_assets.perturb.registry import effect_specs
from hwosim_assets.perturb.scenario import ScenarioError, load_scenario
from hwosim_assets.perturb.truth import ENGINE

Make = Callable[..., Product]

EFFECTS: list[Any] = [
    {"read_noise": {"severity": 2.5, "err": "biased", "err_factor": 0.9}},
    {"missing_values": {"severity": 3, "dq": "mixed", "dq_share": 0.7}},
    {"throughput": {"loss": "21 %"}},
]


def scenario(stamp: str | None, effects: list[Any] = EFFECTS, **keys: Any) -> Scenario:
    asked = {} if stamp is None else {"stamp": stamp}
    return Scenario.from_mapping("stamped", {"version": 1, "seed": 7, "effects": effects, **asked, **keys})


def primary(product: Product) -> fits.Header:
    with fits.open(io.BytesIO(product.content)) as hdus:
        hdus.verify("exception")
        return hdus[0].header.copy()


def raw_cards(product: Product) -> list[bytes]:
    raw = product.scan.blocks[0].raw
    return [raw[at : at + 80] for at in range(0, product.scan.blocks[0].end, 80)]


def test_nothing_is_said_unless_asked_for(make: Make) -> None:
    silent, none = (apply(make("cal"), scenario(word)) for word in (None, "none"))
    assert silent[0].content == none[0].content
    assert b"HWOS" not in none[0].content
    assert scenario("none").id == scenario(None).id
    assert none[1].record == silent[1].record
    assert "stamp" not in none[1].record["plan"]


def test_plans_and_scenarios_without_a_stamp_have_the_hashes_of_before_there_was_one() -> None:
    content = {"version": 1, "seed": 7, "effects": [{"read_noise": {"severity": 2}}]}
    plain = Scenario.from_mapping("plain", content)
    assert plain.effects_sha256.startswith("24eee02dfc740a44")
    assert plain.with_overrides(seed=8).id == "plain--cf3a1a58"
    assert make_plan(plain, "x.fits", 59800.0).sha256.startswith("de02ca36f74cb596")


def test_a_hash_names_the_plan_and_no_effect(make: Make) -> None:
    plain, _ = apply(make("cal"), scenario(None))
    out, truth = apply(make("cal"), scenario("hash"))
    header = primary(out)
    assert header["HWOSPLAN"] == truth.record["plan_sha256"][:16]
    assert header["HWOSENG"] == ENGINE
    assert "HISTORY" not in header
    added = raw_cards(out)[len(raw_cards(plain)) :]
    assert raw_cards(out)[: len(raw_cards(plain))] == raw_cards(plain)
    assert added == [
        f"HWOSPLAN= '{truth.record['plan_sha256'][:16]}'   / HWOsim: hash of the plan".ljust(80).encode(),
        f"HWOSENG = '{ENGINE:<8}'           / HWOsim: version of the engine".ljust(80).encode(),
    ]
    text = b"".join(added).decode().lower()
    assert not [spec.name for spec in effect_specs() if spec.name in text]
    assert plain.plane("SCI").tobytes() == out.plane("SCI").tobytes(), "the numbers are the same"


def test_the_whole_story_is_a_line_for_each_effect(make: Make) -> None:
    label = "Größe\n" + "long " * 20
    effects = [*EFFECTS, {"pink_noise": {"severity": 1, "label": label}}, {"wavelength_shift": {"severity": 1}}]
    out, truth = apply(make("cal"), scenario("full", effects))
    header = primary(out)
    assert header["HWOSPLAN"] == truth.record["plan_sha256"][:16]
    lines = list(header["HISTORY"])
    assert lines[:2] == [
        "HWOsim: throughput by its parameters, err consistent",
        "HWOsim: read_noise severity 2.5, err biased 0.9",
    ]
    assert "HWOsim: missing_values severity 3, dq mixed 0.7" in lines
    assert "HWOsim: wavelength_shift severity 1, not applicable" in lines
    joined = " ".join(line.strip() for line in lines)
    assert r"pink_noise (Gr\xf6\xdfe\nlong long" in joined
    assert all(len(line) <= 72 and line.isascii() for line in lines)
    assert [line.split()[1] for line in lines if line.startswith("HWOsim:")] == [
        step["effect"] for step in truth.record["effects"]
    ]


@pytest.mark.parametrize("stamp", ["hash", "full"])
@pytest.mark.parametrize("kind", ["cal", "uncal", "x1dints"])
@pytest.mark.parametrize("packed", [False, True])
def test_a_stamped_file_is_whole_replayed_accounted_for_and_the_same_both_ways(
    make: Make, tmp_path: Path, stamp: str, kind: str, packed: bool
) -> None:
    """Of everything_s3 the lines fill a block of the header, so that all that comes behind it moves."""
    effects = [choice.effect for choice in load_scenario("everything_s3").effects]
    chosen = scenario(stamp, [{name: {"severity": 3}} for name in effects])
    product = make(kind, checksum=True, packed=packed)
    out, truth = apply(product, chosen)
    with fits.open(io.BytesIO(bytes(out.payload)), checksum=True) as hdus:
        assert hdus[0].header["HWOSPLAN"] == truth.plan.sha256[:16]
        for hdu in hdus:
            hdu.verify("exception")
            if "CHECKSUM" in hdu.header:
                assert (hdu.verify_datasum(), hdu.verify_checksum()) == (1, 1)
        assert hdus[0].verify_checksum() == 1
    grown = out.scan.blocks[0].data_offset - product.scan.blocks[0].data_offset
    assert grown > 0 if stamp == "full" else grown >= 0
    assert replay(truth, product).content == out.content
    assert diff(product, out, truth).accounted
    source = tmp_path / product.name
    source.write_bytes(product.content)
    streamed = perturb_file(source, tmp_path / "out.fits", truth.plan)
    assert (tmp_path / "out.fits").read_bytes() == out.content
    assert streamed.record == truth.record
    if packed:
        plain = apply(Product(product.name, gzip.decompress(product.content)), chosen)[0]
        assert gzip.decompress(out.content) == plain.content


def test_a_stamp_that_was_taken_out_or_forged_is_not_accounted_for(make: Make) -> None:
    product = make("cal")
    out, truth = apply(product, scenario("hash"))
    bare = apply(product, scenario("none"))[0]
    assert not diff(product, bare, truth).accounted
    told = truth.plan.sha256[:16]
    forged = Product(out.name, out.content.replace(told.encode(), b"0" * 16))
    verdict = diff(product, forged, truth)
    assert not verdict.accounted
    assert verdict.findings == (
        f"not in the record: header of HDU 0: 1 card added: HWOSPLAN= '{'0' * 16}'   / HWOsim: hash of the plan",
        f"recorded but not found: header of HDU 0: 1 card added: HWOSPLAN= '{told}'   / HWOsim: hash of the plan",
    )


def test_without_effects_the_bytes_stay(make: Make) -> None:
    for chosen in (scenario("full", []), scenario("full").with_overrides(severity=0)):
        out, truth = apply(make("cal"), chosen)
        assert out.content == make("cal").content
        assert not truth.changed


def test_a_file_that_is_perturbed_twice_names_its_last_plan_once(make: Make) -> None:
    first, _ = apply(make("cal"), scenario("full"))
    second, truth = apply(first, scenario("full"))
    keywords = [card[:8].rstrip() for card in raw_cards(second)]
    assert (keywords.count(b"HWOSPLAN"), keywords.count(b"HWOSENG")) == (1, 1)
    assert primary(second)["HWOSPLAN"] == truth.plan.sha256[:16]
    assert len(primary(second)["HISTORY"]) == 2 * len(EFFECTS)


def test_damage_comes_after_the_stamp_and_is_replayed(make: Make) -> None:
    effects = [*EFFECTS, {"file_damage": {"severity": 3, "kind": "truncation"}}]
    product = make("cal")
    out, truth = apply(product, scenario("full", effects, valid_only=False))
    assert truth.record["damaged"]
    assert b"HWOSPLAN=" in out.content
    assert replay(truth, product).content == out.content
    assert diff(product, out, truth).accounted


def test_an_override_keeps_the_stamp_and_a_stamp_is_an_identity_of_its_own() -> None:
    chosen = scenario("hash")
    derived = chosen.with_overrides(severity=2, seed=3)
    assert derived.content.stamp == "hash"
    assert make_plan(derived, "x.fits", None).stamp == "hash"
    hashes = {scenario(word).effects_sha256 for word in ("none", "hash", "full")}
    assert len(hashes) == 3
    assert len({make_plan(scenario(word), "x.fits", None).sha256 for word in ("none", "hash", "full")}) == 3
    assert scenario("hash").stream_sha256 == scenario("none").stream_sha256


def test_the_key_is_checked_in_a_scenario_and_in_an_edited_plan(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match=r"stamp: .*'none', 'hash' or 'full'.* not 'all'"):
        scenario("all")
    with pytest.raises(ScenarioError, match=r"unknown key 'stamps' \(did you mean stamp"):
        scenario(None, stamps="full")
    path = tmp_path / "plan.json"
    plan = make_plan(scenario("hash"), "x.fits", None)
    plan.write(path)
    assert read_plan(path) == plan
    for edited, fits_in in (("full", True), ("none", True), ("all", False), (True, False)):
        path.write_text(json.dumps({**plan.model_dump(mode="json"), "stamp": edited}))
        if fits_in:
            assert read_plan(path).stamp == edited
        else:
            with pytest.raises(BadInputError, match="is no plan: stamp"):
                read_plan(path)
    written = tmp_path / "mine.yaml"
    scenario("full").write(written)
    assert load_scenario(str(written)).content.stamp == "full"


def test_by_the_command(make: Make, tmp_path: Path) -> None:
    source, out, told = (tmp_path / name for name in (make("cal").name, "out.fits", "out.jsonl"))
    source.write_bytes(make("cal").content)
    mine = tmp_path / "mine.yaml"
    mine.write_text("version: 1\nstamp: full\neffects: [{read_noise: {severity: 1}}]\n")
    for arguments in (
        ["perturb", source, out, "--scenario", mine, "--truth", told],
        ["replay", told, source, tmp_path / "again.fits"],
        ["truth", "diff", source, out, "--truth", told],
    ):
        with pytest.raises(SystemExit) as ended:
            main([str(argument) for argument in arguments])
        assert not ended.value.code
    assert (tmp_path / "again.fits").read_bytes() == out.read_bytes()
    assert fits.getheader(out)["HISTORY"][0].startswith("HWOsim: read_noise severity 1,")


@settings(deadline=None, max_examples=25)
@given(
    st.lists(st.sampled_from([spec.name for spec in effect_specs() if not spec.breaks_format]), unique=True),
    st.sampled_from(["hash", "full"]),
    st.sampled_from([0.0, 0.3, 2.5, 5.0]),
    st.sampled_from(["cal", "uncal", "x1d"]),
)
def test_the_laws_hold_with_any_effects(make: Make, names: list[str], stamp: str, severity: float, kind: str) -> None:
    product = make(kind)
    out, truth = apply(product, scenario(stamp, [{name: {"severity": severity}} for name in names]))
    assert (out.content == product.content) == (not truth.plan.effects)
    assert replay(truth, product).content == out.content
    assert diff(product, out, truth).accounted
