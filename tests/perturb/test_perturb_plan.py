"""A plan that is saved, looked at, edited and applied before data are touched."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import product as product_of
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from click.testing import CliRunner, Result

from hwosim_assets.commands.perturb import perturb
from hwosim_assets.errors import BadInputError, HwosimError
from hwosim_assets.perturb import Product, apply
from hwosim_assets.perturb.plan import make_plan, read_plan
from hwosim_assets.perturb.registry import effect_specs, spec_of
from hwosim_assets.perturb.run import perturb_product
from hwosim_assets.perturb.scenario import Scenario, load_scenario
from hwosim_assets.perturb.stories import STORIES
from hwosim_assets.perturb.truth import Truth

Make = Callable[..., Product]


def test_a_saved_plan_gives_what_its_scenario_gives(make: Make, tmp_path: Path) -> None:
    product = make("cal")
    plan = make_plan(load_scenario("nominal_l2"), product.name, product.stream_time)
    plan.write(tmp_path / "plan.json")
    again = read_plan(tmp_path / "plan.json")
    assert again == plan
    assert perturb_product(product, again)[0].content == apply(product, "nominal_l2")[0].content


def test_the_command_saves_edits_and_applies_a_plan(make: Make, tmp_path: Path) -> None:
    product = make("cal")
    source, plan = tmp_path / product.name, tmp_path / "plan.json"
    product.write(source)
    run = CliRunner().invoke
    done = run(perturb, [str(source), "--scenario", "nominal_l2", "--save-plan", str(plan)], catch_exceptions=False)
    assert done.exit_code == 0
    assert sorted(tmp_path.iterdir()) == sorted([source, plan])
    content = json.loads(plan.read_text())
    (noise,) = (step for step in content["effects"] if step["effect"] == "read_noise")
    noise["parameters"]["factor"], noise["severity"] = 4.0, None
    plan.write_text(json.dumps(content))
    out = tmp_path / "out.fits"
    assert run(perturb, [str(source), str(out), "--plan", str(plan)], catch_exceptions=False).exit_code == 0
    plain = apply(product, "nominal_l2")[0]
    edited = Product.open(out, product.name)
    noisy = edited.plane("VAR_RNOISE") - product.plane("VAR_RNOISE")
    assert float(np.nanmedian(noisy)) == pytest.approx(0.3, rel=2e-3), "pink noise adds a little"
    assert edited.content != plain.content


def used(plan: dict[str, Any], effect: str) -> dict[str, Any]:
    """Return the step of an effect."""
    return next(step for step in plan["effects"] if step["effect"] == effect)


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda plan: plan["effects"][0]["parameters"].update(sigma=-1), "between"),
        (lambda plan: plan["effects"][0]["parameters"].pop("sigma"), "other parameters"),
        (lambda plan: plan["effects"][0].update(effect="thruput"), "not known"),
        (lambda plan: plan["effects"].reverse(), "order"),
        (lambda plan: plan.update(scale="1999.1"), "1999.1"),
        (lambda plan: plan.update(seeds=4), "seeds"),
        (lambda plan: plan["effects"][0].update(err="wrong"), "err"),
        (lambda plan: plan["effects"][0]["parameters"].update(sigma=True), "sigma"),
        (lambda plan: plan["effects"][0].update(full={"sigma": 1.0}), "nothing, for `when` is constant"),
        (lambda plan: plan["effects"][0].update(severity=9), "less than or equal to 5"),
        (lambda plan: plan["effects"][0].update(severity=3), "set it to null"),
        (lambda plan: plan["effects"][0]["parameters"].update(sigma=2), "set it to null"),
        (lambda plan: plan["effects"][0].update(amplitude=0.1), "`when` gives 1.0"),
        (lambda plan: used(plan, "missing_values").update(err="stale"), "no switch `err`; set it to consistent"),
        (lambda plan: plan["effects"][0].update(err="stale"), "err_factor is 1, and of `err: stale` it is 0"),
        (lambda plan: plan["effects"][-1].update(dq="silent"), "set it to that, or `dq` to mixed"),
        (lambda plan: plan["effects"][-1].update(dq_share=0.5), "of `dq: flagged` it is 1"),
        (lambda plan: plan["effects"].append(plan["effects"][-1]), "stands twice"),
        (lambda plan: plan.update(seed=-1), "seed"),
        (lambda plan: plan.update(stream_time=float("nan")), "stream_time"),
    ],
)
def test_an_edit_that_is_not_possible_is_refused(
    tmp_path: Path, edit: Callable[[dict[str, object]], object], words: str
) -> None:
    path = tmp_path / "plan.json"
    make_plan(load_scenario("nominal_l2"), "x_cal.fits", 60000.0).write(path)
    content = json.loads(path.read_text())
    edit(content)
    path.write_text(json.dumps(content))
    with pytest.raises(BadInputError) as raised:
        read_plan(path)
    assert words in str(raised.value)


def test_half_a_place_in_an_edited_plan_is_refused(tmp_path: Path) -> None:
    path, content = tmp_path / "plan.json", {"version": 1, "effects": [{"point_source": {"ra": 80, "dec": -70}}]}
    make_plan(Scenario.from_mapping("test", content), "x_cal.fits", 60000.0).write(path)
    path.write_text(path.read_text().replace("-70.0", '"drawn"'))
    with pytest.raises(BadInputError, match="point_source has `ra` and no `dec`"):
        read_plan(path)


RAMP = {"profile": "ramp", "start": 60000, "length": 3}


def ramped(path: Path, time: float | None = 60001.0) -> dict[str, Any]:
    """Return what stands in a plan of a throughput that falls, and keep it in a file."""
    effects = [{"throughput": {"loss": "10 %", "when": RAMP}}]
    make_plan(Scenario.from_mapping("test", {"version": 1, "effects": effects}), "x_cal.fits", time).write(path)
    return cast("dict[str, Any]", json.loads(path.read_text()))


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda step: step["parameters"].update(loss=0.5), "throughput.parameters.loss is 0.5, and `full` (0.1) gives"),
        (lambda step: step["full"].update(loss=0.5), "edit full.loss, and set parameters.loss to what it gives"),
        (lambda step: step["full"].update(loss=5.0), "throughput.full.loss must be between 0 and 0.999"),
        (lambda step: step["full"].update(loss="5 s"), "not a unit"),
        (lambda step: step.update(full={"lss": 0.5}), "it holds loss and no other"),
        (lambda step: step.update(full={}), "it holds loss and no other"),
        (lambda step: step["full"].update(index="abc"), "it holds loss and no other"),
        (lambda step: step.update(amplitude=1.0), "`when` gives 0.333333333333"),
        (lambda step: step["when"].update(length=30), "edit `when`, or set amplitude to that"),
        (lambda step: step["when"].update(length=-1), "when.ramp.length"),
    ],
)
def test_numbers_that_say_another_thing_than_what_would_be_done_are_refused(
    tmp_path: Path, edit: Callable[[dict[str, Any]], object], words: str
) -> None:
    path = tmp_path / "plan.json"
    content = ramped(path)
    edit(content["effects"][0])
    path.write_text(json.dumps(content))
    with pytest.raises(BadInputError) as raised:
        read_plan(path)
    assert words in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_time_of_null_goes_with_constant_profiles(tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    content = ramped(path)
    path.write_text(json.dumps({**content, "stream_time": None}))
    with pytest.raises(BadInputError, match="stream_time, which is null"):
        read_plan(path)
    assert ramped(path, None)["effects"] == []
    assert read_plan(path).left_out[0].effect == "throughput"


def test_a_number_edited_in_both_places_is_done_and_told(make: Make, tmp_path: Path) -> None:
    product, path = make("cal"), tmp_path / "plan.json"
    assert product.stream_time is not None
    content = ramped(path, product.stream_time)
    (step,) = content["effects"]
    step["full"]["loss"], amplitude = "50 %", step["amplitude"]
    step["parameters"]["loss"] = float(f"{0.5 * amplitude:.12g}")
    path.write_text(json.dumps(content))
    plan = read_plan(path)
    out, truth = perturb_product(product, plan)
    assert truth.record["effects"][0]["full"] == {"loss": 0.5}
    kept = float(np.nanmean(out.plane("SCI"))) / float(np.nanmean(product.plane("SCI")))
    assert kept == pytest.approx(1 - 0.5 * amplitude, abs=2e-3)


@pytest.mark.parametrize("name", [spec.name for spec in effect_specs()])
def test_every_plan_that_is_saved_is_read_as_it_was(name: str, tmp_path: Path) -> None:
    spec, path = spec_of(name), tmp_path / "plan.json"
    walk = {"profile": "random_walk", "start": 59990, "length": 20}
    switches: list[dict[str, Any]] = [{"err": "biased"}, {"err": "stale"}] * spec.err + [
        {"dq": "mixed"},
        {"dq": "silent"},
    ] * spec.dq
    for body in [{}, {"when": RAMP}, {"when": walk}, *switches]:
        for profile, severity in product_of(STORIES, (0.003, 2.37, 5)):
            content = {"profile": profile, "valid_only": False, "effects": [{name: {"severity": severity, **body}}]}
            plan = make_plan(Scenario.from_mapping("test", {"version": 1, **content}), "x_cal.fits", 60001.123)
            plan.write(path)
            assert read_plan(path) == plan


def test_a_severity_that_sets_nothing_is_not_told() -> None:
    effects = [{"read_noise": {"severity": 3, "factor": 2}}, {"cosmic_rays": {"severity": 3, "residual": 0.2}}]
    plan = make_plan(Scenario.from_mapping("test", {"version": 1, "effects": effects}), "x_cal.fits", 60000.0)
    assert {step.effect: step.severity for step in plan.effects} == {"read_noise": None, "cosmic_rays": 3}


def test_a_plan_of_another_file_or_time_is_refused(make: Make, tmp_path: Path) -> None:
    product = make("cal")
    source, plan, out = tmp_path / product.name, tmp_path / "plan.json", tmp_path / "out.fits"
    product.write(source)
    make_plan(load_scenario("nominal_l2"), "y_cal.fits", product.stream_time).write(plan)
    with pytest.raises(BadInputError, match=f"is a plan for y_cal.fits, not for {product.name}"):
        CliRunner().invoke(perturb, [str(source), str(out), "--plan", str(plan)], catch_exceptions=False)
    make_plan(load_scenario("nominal_l2"), product.name, 1.0).write(plan)
    with pytest.raises(BadInputError, match=r"its stream_time is 1\.0"):
        CliRunner().invoke(perturb, [str(source), str(out), "--plan", str(plan)], catch_exceptions=False)
    assert not out.exists()


# ----------------------------------------------------------------- what is checked before the output is there


@pytest.fixture
def source(make: Make, tmp_path: Path) -> Path:
    path: Path = tmp_path / make("cal").name
    make("cal").write(path)
    return path


def asked(*arguments: object) -> Result:
    return CliRunner().invoke(perturb, [str(item) for item in arguments], catch_exceptions=False)


@pytest.mark.parametrize("place", ["absent/t.jsonl", "file/t.jsonl"])
def test_a_truth_that_cannot_be_written_is_told_before_the_output_appears(
    source: Path, tmp_path: Path, place: str
) -> None:
    (tmp_path / "file").touch()
    out = tmp_path / "out.fits"
    with pytest.raises(HwosimError) as raised:
        asked(source, out, "--scenario", "nominal_l2", "--truth", tmp_path / place)
    assert place in str(raised.value)
    assert not out.exists()


def test_an_output_does_not_stay_without_its_truth(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(truth: Truth, path: Path) -> None:
        assert (tmp_path / "out.fits").exists()
        raise HwosimError(str(path), "No space left on device", "make room")

    monkeypatch.setattr(Truth, "write", full)
    with pytest.raises(HwosimError, match="No space"):
        asked(source, tmp_path / "out.fits", "--scenario", "nominal_l2", "--truth", tmp_path / "t.jsonl")
    assert list(tmp_path.iterdir()) == [source]


def test_no_input_and_no_output_is_written_over(source: Path, tmp_path: Path) -> None:
    before, out = source.read_bytes(), tmp_path / "out.fits"
    for options in (["--save-plan", source], ["--truth", source], ["--truth", out], ["--earlier", out]):
        with pytest.raises(BadInputError, match=r"is the input|is another output"):
            asked(source, out, "--scenario", "nominal_l2", *options)
    with pytest.raises(BadInputError, match="goes with an output"):
        asked(source, "--scenario", "nominal_l2", "--save-plan", tmp_path / "p.json", "--truth", tmp_path / "t.jsonl")
    assert list(tmp_path.iterdir()) == [source]
    assert source.read_bytes() == before


def test_a_severity_may_be_a_word(source: Path, tmp_path: Path) -> None:
    made = {}
    for severity in ("none", "medium", 3):
        out = tmp_path / f"{severity}.fits"
        asked(source, out, "--scenario", "nominal_l2", "--severity", severity)
        made[severity] = out.read_bytes()
    assert made["medium"] == made[3]
    assert made["none"] == source.read_bytes() != made[3]
    refused = asked(source, tmp_path / "out.fits", "--scenario", "nominal_l2", "--severity", "hihg")
    assert refused.exit_code == 2
    assert "it needs a number or one of none, low, medium, high, not 'hihg'" in refused.output
