"""What is to be found stays as it is while the damage is graded."""

from __future__ import annotations

from typing import Any

import pytest

from hwosim_assets.errors import BadInputError
from hwosim_assets.evaluate.injected import injected, struck
from hwosim_assets.evaluate.task import Task
from hwosim_assets.perturb import Product, Scenario, apply


def task(*effects: Any, **more: Any) -> Task:
    return Task.of(Scenario.from_mapping("test", {"version": 1, "seed": 5, "effects": list(effects), **more}))


def test_signals_are_the_same_at_all_severities_and_differ_from_draw_to_draw(field: Product) -> None:
    asked = task({"point_source": {"peak": 30}}, {"read_noise": {"severity": 1}})
    found = {
        (severity, draw): injected(apply(field, asked.at(severity, draw))[1], field)
        for severity in (0, 5)
        for draw in (0, 1)
    }
    assert found[0, 0] == found[5, 0] != found[0, 1] == found[5, 1]
    (source,) = found[0, 0]
    assert (source.kind, source.hdu, source.radius) == ("source", 1, 2.0)


def test_the_damage_is_graded_and_the_twin_has_it_alone(field: Product) -> None:
    asked = task({"point_source": {"peak": 30}}, {"read_noise": {"factor": 1.2}})
    for severity, factor in ((1, 1.1), (5, 4.0)):
        plan = apply(field, asked.at(severity, 0))[1].plan
        assert [step.effect for step in plan.effects] == ["point_source", "read_noise"]
        assert plan.effects[1].parameters["factor"] == factor
        assert plan.effects[0].parameters["peak"] == 30
        twin = apply(field, asked.twin(severity, 0))[1].plan
        assert [step.effect for step in twin.effects] == ["read_noise"]
    assert apply(field, asked.twin(0, 0))[0].content == field.content


def test_a_source_is_where_the_truth_says_and_nothing_else_changes(field: Product) -> None:
    asked = task({"point_source": {"peak": 50}}, {"read_noise": {"severity": 1}})
    out, truth = apply(field, asked.at(3, 0))
    twin, _ = apply(field, asked.twin(3, 0))
    (source,) = injected(truth, field)
    change = out.plane("SCI").astype(float) - twin.plane("SCI").astype(float)
    y, x = divmod(int(change.argmax()), 96)
    assert abs(y - source.place[0]) <= 1
    assert abs(x - source.place[1]) <= 1
    assert change.sum() == pytest.approx(source.strength, rel=0.1)


def test_times_that_are_left_open_are_drawn(series: Product) -> None:
    asked = task({"transit": {"depth": 0.01, "duration": 0.1}})
    times = {injected(apply(series, asked.at(0, draw))[1], series)[0].place for draw in range(6)}
    assert len(times) == 6
    fixed = task({"transit": {"depth": 0.01, "duration": 0.1, "mid": 0.4}})
    (dip,) = injected(apply(series, fixed.at(0, 3))[1], series)
    assert (dip.kind, dip.hdu) == ("dip", -1)
    assert dip.place[0] == pytest.approx(60000.08)
    assert dip.radius == pytest.approx(0.01)
    assert dip.strength == pytest.approx(0.01)


def test_a_dip_in_absolute_time_is_the_one_of_its_period_that_is_seen(series: Product) -> None:
    asked = task({"transit": {"depth": 0.01, "mid_mjd": 59990.12, "period": 2.0, "length": "1 h"}})
    (dip,) = injected(apply(series, asked.at(0, 0))[1], series)
    assert dip.place[0] == pytest.approx(60000.12)
    assert dip.radius == pytest.approx(1 / 48)
    missed = task({"transit": {"depth": 0.01, "mid_mjd": 59990.12, "length": "1 h"}})
    assert injected(apply(series, missed.at(0, 0))[1], series) == []


def test_a_flare_has_its_peak(series: Product) -> None:
    asked = task({"flare": {"amplitude": 0.1, "peak": 0.3, "decay": 0.05}})
    (flare,) = injected(apply(series, asked.at(0, 0))[1], series)
    assert flare.kind == "flare"
    assert flare.place[0] == pytest.approx(60000.06)
    assert flare.strength == pytest.approx(0.1, rel=0.05)


@pytest.mark.parametrize(("peak", "seen"), [(0.75, True), (0.47, True), (0.4, False)])
def test_a_flare_of_another_segment_is_not_to_be_found(second_half: Product, peak: float, seen: bool) -> None:
    asked = task({"flare": {"amplitude": 0.1, "peak": peak, "decay": 0.05}})
    found = injected(apply(second_half, asked.at(0, 0))[1], second_half)
    assert bool(found) is seen
    assert all(flare.place[0] == pytest.approx(59999.8 + 0.4 * peak) for flare in found)


def test_without_signals_cosmic_rays_are_to_be_found(ramps: Product) -> None:
    asked = task({"cosmic_rays": {"severity": 1}}, {"read_noise": {"severity": 1}})
    assert asked.kinds == ("cosmic_rays",)
    out, truth = apply(ramps, asked.at(5, 0))
    twin, twin_truth = apply(ramps, asked.twin(5, 0))
    assert [step.effect for step in twin_truth.plan.effects] == ["read_noise"]
    hit = struck(truth, out, twin)[1]
    change = out.plane("SCI") - twin.plane("SCI")
    assert hit.hit.sum() > 50
    assert (change[hit.hit] > 0).mean() > 0.9
    assert not (hit.hit & hit.doubtful).any()
    assert (change[~hit.hit & ~hit.doubtful] == 0).all()


@pytest.mark.parametrize(
    ("effects", "why"),
    [
        ([{"read_noise": {"severity": 1}}], "has nothing to find"),
        ([{"moving_object": {"severity": 3}}], "injects moving_object, for which there is no score"),
        ([{"point_source": {}}, {"spectral_line": {}}], "injects spectral_line"),
    ],
)
def test_what_cannot_be_scored_is_refused(effects: list[Any], why: str) -> None:
    with pytest.raises(BadInputError, match=why):
        task(*effects)


def test_a_severity_in_the_unit_of_the_damage() -> None:
    assert task("point_source", "jitter").physical(3) == "sigma 7 mas"
    assert task("point_source", "jitter", profile="hwo-coronagraph").physical(3) != "sigma 7 mas"
    assert task("point_source", "jitter", "read_noise").physical(3) == ""
    assert task("point_source", "cosmic_rays").physical(3) == ""
    assert task("point_source").physical(3) == ""
