"""Scenario files: strict, helpful, with an identity."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from hwosim_assets.errors import BadInputError
from hwosim_assets.perturb.parameters import parse_severity
from hwosim_assets.perturb.scenario import Scenario, ScenarioError, find_scenarios, load_scenario, load_sweep
from hwosim_assets.perturb.transport import TRANSPORT_SEVERITIES, Transport


def of(**content: object) -> Scenario:
    return Scenario.from_mapping("test", {"version": 1, **content})


NAMED = {
    *("clean", "nominal_l2", "solar_max", "solar_storm", "late_mission", "thermal_slew", "guide_loss"),
    *("ground_segment_bad_day", "calibration_epoch_change", "miri_throughput_decay", "coronagraph_drift"),
    "everything_s3",
}


def test_shares_of_the_switches_are_told_in_per_cent_too() -> None:
    lost, noise = of(
        effects=[
            {"missing_values": {"dq": "mixed", "dq_share": "70 %"}},
            {"read_noise": {"err": "biased", "err_factor": "90 %"}},
        ]
    ).effects
    assert (lost.dq_share, noise.err_factor) == (0.7, 0.9)


def test_the_named_scenarios_ship_and_each_has_its_own_seed() -> None:
    known = find_scenarios()
    assert set(known.found) >= NAMED
    assert known.broken == []
    assert len({known.found[name].seed for name in NAMED}) == len(NAMED)
    assert known.found["clean"].effects == ()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"efects": []}, "did you mean effects?"),
        ({"effects": [{"read_nose": {}}]}, "did you mean read_noise?"),
        ({"effects": [{"read_noise": {"factr": 2}}]}, "did you mean factor?"),
        ({"effects": [{"read_noise": {"factor": "3 s"}}]}, "'s' is not a unit of fraction"),
        ({"effects": [{"read_noise": {"factor": 0.5}}]}, "between 1 and 100"),
        ({"effects": [{"read_noise": {"factor": float("nan")}}]}, "finite number"),
        ({"effects": [{"read_noise": {"factor": True}}]}, "needs a number"),
        ({"effects": [{"read_noise": {"severity": 9}}]}, "severity"),
        ({"effects": [{"read_noise": {"err": "steal"}}]}, "'stale'"),
        ({"effects": [{"packet_loss": {"packet": 1.5}}]}, "whole number"),
        ({"effects": [{"missing_values": {"mechanism": "mcra"}}]}, "one of mcar, mar, mnar"),
        ({"effects": ["read_noise", "read_noise"]}, "label"),
        ({"effects": [{"read_noise": {}, "background": {}}]}, "an effect is a name"),
        ({"effects": {"read_noise": {}}}, "effects: needs a list"),
        ({"effects": [{"effect": "read_noise", "label": "a", "parameters": {"factor": -5}}]}, "an effect is a name"),
        ({"effects": [{"read_noise": {"severity": "hihg"}}]}, "one of none, low, medium, high, not 'hihg'"),
        ({"effects": [{"throughput": {"when": {"profile": "rampp"}}}]}, "unknown profile 'rampp'; did you mean ramp?"),
        ({"effects": [{"throughput": {"when": {"start": 1}}}]}, "no `profile` is given; known: constant, step"),
        ({"effects": [{"throughput": {"when": "burst"}}]}, "when: needs keys and values, as `{profile: burst"),
        ({"effects": [{"throughput": {"when": {"profile": "burst", "start": 1}}}]}, "when.length is not given"),
        ({"effects": [{"throughput": {"when": {"profile": "step", "start": "+2 h"}}}]}, "UTC (2022-07-12T06:00:00)"),
        ({"effects": [{"throughput": {"when": {"profile": "step", "start": "5 %"}}}]}, "an absolute time, an MJD"),
        ({"effects": [{"throughput": {"when": {"profile": "step", "start": "+2"}}}]}, "not '+2'"),
        ({"transport": 3}, "transport: needs keys and values"),
        ({"effects": [{"throughput": {"when": {"profile": "ramp", "start": 1, "lenth": 2}}}]}, "did you mean length?"),
        ({"schedule": {"mod": "constant"}}, "did you mean mode?"),
        ({"schedule": {"rate_per_s": 0}}, "rate_per_s"),
        ({"transport": {"loss": {"probabilty": 0.1}}}, "did you mean probability?"),
        ({"transport": {"loss": {"severity": 7}}}, "between 0 and 5"),
        ({"transport": {"loss": {"severity": 1, "probability": 0.5}}}, "not both"),
        ({"seed": -1}, "seed"),
        ({"scale": "2025.1"}, "scale"),
        ({"effects": [{"point_source": {"ra": 80}}]}, "effects.0: point_source has `ra` and no `dec`; give both"),
        ({"effects": [{"moving_object": {"y": 8}}]}, "moving_object has `y` and no `x`"),
        (
            {"effects": [{"moving_object": {"path": 5, "rate": 3, "epoch": 59000}}]},
            "moving_object has `path`, beside which `rate` and `epoch` would be ignored",
        ),
        (
            {"effects": [{"companion": {"x": 1, "y": 2, "separation": 7}}]},
            "`separation` would be ignored; give the one",
        ),
    ],
)
def test_a_mistake_is_named_with_the_right_word(content: dict[str, object], words: str) -> None:
    with pytest.raises(ScenarioError) as raised:
        of(**content)
    assert words in str(raised.value)
    assert "\n" not in str(raised.value)
    assert "test" in raised.value.thing


def test_a_version_is_needed() -> None:
    with pytest.raises(ScenarioError, match="version"):
        Scenario.from_mapping("test", {})


def test_numbers_come_with_units_in_text() -> None:
    when = {"profile": "ramp", "start": "2022-07-12", "length": "48 h"}
    chosen = of(effects=[{"throughput": {"loss": "21 %", "when": when}}, {"missing_values": {"fraction": "1e-3"}}])
    assert chosen.effects[0].parameters["loss"] == 0.21
    assert chosen.effects[0].when.model_dump() == {"profile": "ramp", "start": 59772.0, "length": 2.0}
    assert chosen.effects[1].parameters["fraction"] == 0.001


@pytest.mark.parametrize(
    ("start", "mjd"),
    [
        ("2022-07-12T12:00:00+12:00", 59772.0),
        ("2022-07-12 06:00:00", 59772.25),
        ("0001-01-01T00:00:00+14:00", -678575.5833333),
    ],
)
def test_times_are_in_utc(start: str, mjd: float) -> None:
    chosen = of(effects=[{"throughput": {"loss": 0.1, "when": {"profile": "step", "start": start}}}])
    assert chosen.effects[0].when.model_dump()["start"] == pytest.approx(mjd, abs=1e-6)


def test_an_effect_without_numbers_has_severity_one() -> None:
    bare, burst, given = of(
        effects=["packet_loss", {"missing_values": {"mechanism": "mar"}}, {"read_noise": {"factor": 2}}]
    ).effects
    assert (bare.severity, burst.severity, given.severity) == (1.0, 1.0, None)


# ----------------------------------------------------------------- identity


def test_an_override_that_changes_nothing_is_the_same_scenario() -> None:
    chosen = load_scenario("nominal_l2")
    assert chosen.with_overrides() is chosen
    assert chosen.with_overrides(seed=chosen.seed, severity=None, rate_per_s=chosen.schedule.rate_per_s) is chosen
    assert chosen.with_overrides(severity=1.0) is chosen


@pytest.mark.parametrize("override", [{"severity": 3}, {"seed": 5}, {"rate_per_s": 7.0}, {"time_scale": 2.0}])
def test_an_override_gets_an_identity_of_its_own(override: dict[str, float]) -> None:
    chosen = load_scenario("nominal_l2")
    derived = chosen.with_overrides(**override)  # type: ignore[arg-type]
    assert derived.name == "nominal_l2"
    assert derived.id.startswith("nominal_l2--")
    assert len(derived.id) == len("nominal_l2--") + 8
    assert derived.id == chosen.with_overrides(**override).id  # type: ignore[arg-type]
    effects_change = "severity" in override or "seed" in override
    assert (derived.effects_sha256 != chosen.effects_sha256) == effects_change
    assert derived.stream_sha256 != chosen.stream_sha256


def test_going_back_gives_the_name_back() -> None:
    chosen = load_scenario("nominal_l2")
    assert chosen.with_overrides(seed=5).with_overrides(seed=chosen.seed).id == "nominal_l2"


def test_a_severity_replaces_explicit_numbers_and_reaches_the_transport() -> None:
    chosen = of(
        effects=[{"packet_loss": {"loss": 0.3, "burst": 3}}],
        transport={"loss": {"probability": 0.5}, "reorder": {"severity": 0}},
    ).with_overrides(severity=2)
    assert chosen.effects[0].severity == 2
    assert chosen.effects[0].parameters == {"burst": 3.0}
    assert chosen.transport.loss.probability == TRANSPORT_SEVERITIES["loss"]["probability"][1]
    assert chosen.transport.reorder.probability == 0
    assert chosen.with_overrides(severity=0).transport == Transport()


def test_words_stand_for_severities() -> None:
    assert [parse_severity(word) for word in ("none", "low", "medium", "high")] == [0, 1, 3, 5]
    by_word = of(effects=[{"read_noise": {"severity": "medium"}}], transport={"loss": {"severity": "high"}})
    assert by_word == of(effects=[{"read_noise": {"severity": 3}}], transport={"loss": {"severity": 5}})
    chosen = load_scenario("nominal_l2")
    assert chosen.with_overrides(severity="low") is chosen
    assert chosen.with_overrides(severity="high").id == chosen.with_overrides(severity=5).id
    assert chosen.with_overrides(severity="2.5") == chosen.with_overrides(severity=2.5)


@pytest.mark.parametrize(
    "override", [{"severity": -1}, {"severity": 6}, {"severity": "hgih"}, {"seed": -1}, {"rate_per_s": -3.0}]
)
def test_an_impossible_override_is_refused(override: dict[str, float]) -> None:
    with pytest.raises(ScenarioError):
        load_scenario("nominal_l2").with_overrides(**override)  # type: ignore[arg-type]


def test_transport_severities_meet_their_table() -> None:
    faults = of(transport={"reorder": {"severity": 4}, "duplicate": {"severity": 2}}).transport
    assert (faults.reorder.probability, faults.reorder.displacement) == (0.1, 16)
    assert faults.duplicate.probability == 5e-3


# ----------------------------------------------------------------- files


@pytest.mark.parametrize("name", ["solar.max", "tëst", "Upper", "1st", "with space"])
def test_an_oddly_named_file_is_listed_and_the_others_load(tmp_path: Path, name: str) -> None:
    (tmp_path / f"{name}.yaml").write_text("version: 1\n", encoding="utf-8")
    (tmp_path / "mine.yaml").write_text("version: 1\neffects: [read_noise]\n")
    known = find_scenarios([tmp_path])
    assert "mine" in known.found
    assert [item.name for item in known.broken] == [name]
    assert "name" in known.broken[0].reason


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("version: [", "not YAML"),
        ("", "no mapping"),
        ("- a\n", "no mapping"),
        ("version: 1\nversion: 2\n", "stands twice"),
        ("version: 1\neffects: [read_nose]\n", "did you mean read_noise?"),
        ("a: &a [*a]\n", "aliases"),
        (f"version: 1\na: &a [{'x,' * 9}]\nb: &b [{'*a,' * 9}]\neffects: [*b]\n", "aliases"),
        ("version: 1\neffects: [{throughput: {when: {profile: step, start: 2022-13-01}}}]\n", "month"),
        (f"version: 1\nseed: {'9' * 5000}\n", "5000 digits"),
        ("version: 1\neffects: [{throughput: {when: {profile: ramp, start: '1e999', length: 1}}}]\n", "finite"),
        ("version: 1\n" + "#" * 300_000, "larger"),
        ("? [a, b]\n: 1\n", ""),
    ],
)
def test_a_broken_file_is_listed_with_its_reason(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "mine.yaml").write_text(text)
    known = find_scenarios([tmp_path])
    assert "nominal_l2" in known.found
    assert [item.path.name for item in known.broken] == ["mine.yaml"]
    assert words in known.broken[0].reason
    with pytest.raises(ScenarioError):
        load_scenario("mine", [tmp_path])


def test_bytes_that_are_no_text_and_taken_names_and_absent_folders_are_listed(tmp_path: Path) -> None:
    (tmp_path / "bytes.yaml").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "clean.yaml").write_text("version: 1\n")
    known = find_scenarios([tmp_path, tmp_path / "absent"])
    assert {item.name for item in known.broken} == {"bytes", "clean", "absent"}


def test_an_unknown_name_suggests_the_nearest() -> None:
    with pytest.raises(ScenarioError, match="nominal_l2"):
        load_scenario("nominal_12")


def test_scenarios_load_without_heavy_libraries() -> None:
    code = """
import sys
from hwosim_assets.perturb import dataset
from hwosim_assets.perturb.scenario import find_scenarios
find_scenarios()
heavy = {"astropy", "dagster", "pandas", "pyiceberg", "scipy"} & set(sys.modules)
sys.exit(str(heavy) if heavy else 0)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_sweep_stands_for_every_combination() -> None:
    sweep = {"severity": [0, 2.5, 5], "honesty": ["consistent", "stale"], "flags": ["silent"]}
    swept = of(effects=["read_noise", "missing_values"], sweep=sweep).swept()
    assert [item.name for item in swept][:3] == ["test_s0_consistent_silent", "test_s0_stale_silent",
                                                 "test_s2p5_consistent_silent"]  # fmt: skip
    assert len({item.sha256 for item in swept}) == 6
    words = of(effects=["read_noise"], sweep={"severity": ["none", "low", "medium", "high"]}).swept()
    assert [choice.severity for item in words for choice in item.effects] == [0, 1, 3, 5]
    last = swept[-1]
    assert [(choice.severity, choice.err, choice.dq) for choice in last.effects] == [
        (5, "stale", "flagged"), (5, "consistent", "silent")]  # fmt: skip
    assert of(effects=["read_noise"]).swept()[0].name == "test"


def test_a_sweep_is_no_scenario_where_one_is_needed(tmp_path: Path) -> None:
    from click.testing import CliRunner

    from hwosim_assets.commands.scenarios import scenario
    from hwosim_assets.perturb.plan import make_plan

    path, words = (
        tmp_path / "mine.yaml",
        r"stands for 4 scenarios \(`sweep`\).*hwosim scenario sweep NAME_OR_FILE --write",
    )
    path.write_text("version: 1\neffects: [read_noise]\nsweep: {severity: [1, 2], honesty: [consistent, stale]}\n")
    known = find_scenarios([tmp_path])
    assert "mine" not in known.found
    assert re.search(words, known.broken[0].reason)
    for name, folders in ((str(path), []), ("mine", [tmp_path])):
        with pytest.raises(ScenarioError, match=words):
            load_scenario(name, folders)
        assert len(load_sweep(name, folders)) == 4
    with pytest.raises(ScenarioError, match=words):
        CliRunner().invoke(scenario, ["show", str(path)], catch_exceptions=False)
    with pytest.raises(ScenarioError, match=words):
        make_plan(Scenario.from_file(path), "x_cal.fits", None)
    CliRunner().invoke(scenario, ["sweep", str(path), "--write", str(tmp_path / "made")], catch_exceptions=False)
    assert len(find_scenarios([tmp_path / "made"]).found) == len(find_scenarios().found) + 4


def test_a_derived_scenario_survives_its_file(tmp_path: Path) -> None:
    body = {"severity": 2, "dq": "mixed", "dq_share": 0.25, "when": {"profile": "burst", "start": 60000, "length": 1}}
    effects = [{"missing_values": {**body, "mechanism": "mar"}}, {"read_noise": {"factor": 3, "err": "biased"}}]
    for item in of(effects=effects, sweep={"seed": [3, 4]}, transport={"loss": {"severity": 2}}).swept():
        path = tmp_path / f"{item.name}.yaml"
        item.write(path)
        assert Scenario.from_file(path) == item


def test_showers_are_silent_unless_a_scenario_says_otherwise(tmp_path: Path) -> None:
    from hwosim_assets.perturb.plan import make_plan

    chosen = of(effects=["showers", {"showers": {"label": "found", "dq": "flagged"}}, "cosmic_rays"])
    assert [choice.dq for choice in chosen.effects] == ["silent", "flagged", "flagged"]
    assert [step.dq_share for step in make_plan(chosen, "x", 60000.0).effects] == [0.0, 1.0, 1.0]
    path = tmp_path / "test.yaml"
    chosen.write(path)
    assert Scenario.from_file(path).effects == chosen.effects


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"sweep": {"severty": [1]}}, "did you mean severity?"),
        ({"sweep": {"severity": [6]}}, "5"),
        ({"sweep": {}}, "holds no values"),
        ({"sweep": {"seed": [1, 2, 1]}}, "two values of seed .*_seed1"),
        ({"sweep": {"severity": [2.5, 2.5000001]}, "effects": ["read_noise"]}, "two values of severity .*_s2p5"),
        ({"sweep": {"flags": ["flagged", "silent"]}, "effects": ["read_noise"]}, "sweep.flags changes nothing"),
        ({"sweep": {"honesty": ["stale"]}, "effects": ["missing_values"]}, "sweep.honesty changes nothing"),
        ({"sweep": {"severity": [1, 2]}}, "sweep.severity changes nothing"),
        ({"profile": "hwo-hri2"}, "hwo-hri"),
        ({"effects": [{"read_noise": {"err_factor": 0.5}}]}, "err: biased"),
        ({"effects": [{"missing_values": {"dq_share": 0.3}}]}, "dq: mixed"),
        ({"effects": [{"missing_values": {"dq": "mixed", "dq_share": "130 %"}}]}, "less than or equal to 1, not 1.3"),
        (
            {"effects": [{"missing_values": {"dq": "mixed", "dq_share": "3 s"}}]},
            "dq_share 's' is not a unit of fraction",
        ),
        ({"effects": [{"missing_values": {"err": "stale"}}]}, "unknown key 'err'"),
        ({"effects": [{"read_noise": {"when": {"profile": "random_walk", "start": 1}}}]}, "length"),
    ],
)
def test_mistakes_in_sweeps_switches_and_profiles(content: dict[str, object], words: str) -> None:
    with pytest.raises(ScenarioError, match=words):
        of(**content)


def test_a_profile_tells_severities_of_another_telescope() -> None:
    from hwosim_assets.perturb.plan import make_plan
    from hwosim_assets.perturb.registry import spec_of
    from hwosim_assets.perturb.stories import STORIES

    losses = {
        story: make_plan(of(profile=story, effects=[{"throughput": {"severity": 2}}]), "x", None).effects[0].parameters
        for story in STORIES
    }
    assert losses["jwst"]["loss"] == 0.05
    assert losses["hwo-hri"]["loss"] == 0.02
    for story in STORIES.values():
        for (effect, name), (table, source) in story.tables.items():
            parameter = spec_of(effect).parameter(name)
            assert parameter is not None
            assert len(table) == 5
            assert all(parameter.low <= value <= parameter.high for value in table)
            assert story.assumption == source.startswith("assumption")


def test_the_commands_say_whose_severities_they_are_and_that_they_are_assumed() -> None:
    from click.testing import CliRunner

    from hwosim_assets.commands.scenarios import effects, scenario

    told = CliRunner().invoke(effects, ["jitter", "--profile", "hwo-coronagraph"], catch_exceptions=False).output
    assert "0.1, 0.3, 0.5, 1, 5" in told
    assert "assumption" in told
    own = CliRunner().invoke(effects, ["jitter"], catch_exceptions=False).output
    assert "1, 3, 7, 20, 67" in own
    shown = CliRunner().invoke(scenario, ["show", "coronagraph_drift"], catch_exceptions=False).output
    assert "(an assumption)" in shown
    with pytest.raises(BadInputError, match="hwo-hri"):
        CliRunner().invoke(effects, ["--profile", "hwo-hr"], catch_exceptions=False)


def test_profiles_in_time_are_functions_of_time_alone() -> None:
    from hwosim_assets.perturb.profiles import Burst, Oscillation, RandomWalk
    from hwosim_assets.perturb.rng import Stream

    swing = Oscillation(profile="oscillation", start=60000, period=2)
    assert [swing.amplitude(60000 + quarter / 2) for quarter in range(5)] == pytest.approx(
        [0.5, 1, 0.5, 0, 0.5], abs=1e-12
    )
    burst = Burst(profile="burst", start=60000, length="6 h", every=1)
    assert [burst.amplitude(60000 + hours / 24) for hours in (-1, 0, 5.9, 6.1, 24.1, 30.1)] == [0, 1, 1, 0, 1, 0]
    walk = RandomWalk(profile="random_walk", start=60000, length=100, rms=0.2)
    ends, steps = [], []
    for seed in range(400):
        stream = Stream(seed, "x", "x", "", "when")
        values = {day: walk.amplitude(60000 + day, stream) for day in (100, 50, 25, 0, -5, 200)}
        assert values == {day: walk.amplitude(60000 + day, stream) for day in sorted(values)}
        assert (values[0], values[-5], values[200]) == (0, 0, values[100])
        ends.append(values[100] ** 2)
        steps.append(values[25] ** 2)
    # The square of a folded walk is that of the walk: 0.04 at the end, a quarter of it after a quarter.
    assert sum(ends) / 400 == pytest.approx(0.04, rel=4 * (2 / 400) ** 0.5)
    assert sum(steps) / 400 == pytest.approx(0.01, rel=4 * (2 / 400) ** 0.5)


def test_times_that_lie_close_share_the_steps_of_a_walk(monkeypatch: pytest.MonkeyPatch) -> None:
    from hwosim_assets.perturb.profiles import RandomWalk
    from hwosim_assets.perturb.rng import Stream

    walk, stream = RandomWalk(profile="random_walk", start=60000, length=3, rms=0.5), Stream(3, "x", "x", "", "when")
    days = (1e-6, 0.3, 1.5, 2.999999, 3)
    assert [walk.amplitude(60000 + day, stream) for day in days] == [
        *(6.85125440111e-05, 0.150992851432, 0.210365906358, 0.599494353799, 0.599536418915)
    ]
    drawn, normal = [], Stream.normal
    monkeypatch.setattr(Stream, "normal", lambda *args: drawn.append(args) or normal(*args))
    for step in range(1000):  # a fiftieth of the walk: of its 2^20 leaves one in twenty-one
        walk.amplitude(60001 + step * 6e-5, stream)
    assert len(drawn) < 7 * 1000


@pytest.mark.parametrize(
    ("start", "time", "share"),
    [(59990.0, 1e30, 1), (59990.5, 1e30, 0), (-1e300, 60000.0, 1), (-1e300, 60000.5, 0), (59990.5, 1e300, 0)],
)
def test_a_burst_repeats_however_far_its_start_is(start: float, time: float, share: int) -> None:
    from hwosim_assets.perturb.profiles import Burst

    # Numbers so large are whole days: the begin of a burst of six hours, or half a day behind it.
    assert Burst(profile="burst", start=start, length="6 h", every=1).amplitude(time) == share


def test_everything_has_every_kind_of_damage() -> None:
    from hwosim_assets.perturb.registry import effect_specs

    named = {choice.effect for choice in load_scenario("everything_s3").effects}
    assert named == {spec.name for spec in effect_specs() if spec.kind == "damage" and not spec.breaks_format}


@pytest.mark.parametrize("written", ["ra: 00:05:10.2, dec: -00:01:02.5", "ra: 5:10, dec: 1:15"])
def test_sexagesimal_coordinates_are_refused_and_not_counted_by_sixties(tmp_path: Path, written: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(f"version: 1\neffects:\n  - point_source: {{{written}}}\n")
    with pytest.raises(ScenarioError, match=r"point_source\.ra .*:"):
        Scenario.from_file(path)


def test_what_a_scenario_itself_says_wrong_is_not_looked_up_among_the_effects() -> None:
    with pytest.raises(ScenarioError, match="stamp: input should be") as told:
        Scenario.from_mapping("mine", {"version": 1, "stamp": "ful"})
    assert "hwosim effects" not in str(told.value)
    with pytest.raises(ScenarioError, match="see `hwosim effects` for what is known"):
        Scenario.from_mapping("mine", {"version": 1, "effects": ["cosmic_ray"]})
