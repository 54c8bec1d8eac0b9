"""Models whose worth is known come out in that order."""

from __future__ import annotations

import itertools
import math
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from hwosim_assets.errors import BadInputError
from hwosim_assets.evaluate import evaluate, fragile, reference
from hwosim_assets.evaluate.curves import Curve
from hwosim_assets.evaluate.injected import injected
from hwosim_assets.evaluate.task import Task
from hwosim_assets.perturb import Product, Scenario, apply

STAR = {"point_source": {"peak": 20}}
#: Its signal to noise is 12 in the undamaged field, and 3 where the read noise is four times as large.
FAINT = {"point_source": {"peak": 5}}


def scenario(*effects: Any, seed: int = 5) -> Scenario:
    return Scenario.from_mapping("test", {"version": 1, "seed": seed, "effects": list(effects)})


def silent(product: Product) -> list[dict[str, Any]]:
    return []


def eager(product: Product) -> list[dict[str, Any]]:
    return [{"kind": "source", "y": y, "x": x} for y in range(0, 96, 2) for x in range(0, 96, 2)]


def knowing(asked: Scenario, product: Product, draws: int) -> Callable[[Product], list[dict[str, Any]]]:
    """Return a model that was told the truth of all draws: what the best model could answer."""
    task = Task.of(asked)
    truth = {}
    for draw in range(draws):
        for severity in (0, 5):
            out, told = apply(product, task.at(severity, draw))
            truth[out.content] = injected(told, product)

    def model(delivered: Product) -> list[dict[str, Any]]:
        there = truth.get(delivered.content, [])
        return [{"kind": "source", "y": it.place[0], "x": it.place[1], "flux": 1.1 * it.strength} for it in there]

    return model


def one(curves: tuple[Curve, ...]) -> Curve:
    (curve,) = curves
    return curve


def test_who_knows_the_truth_is_right(field: Product) -> None:
    asked = scenario(FAINT, {"read_noise": {"severity": 1}})
    found = evaluate(knowing(asked, field, 4), [asked], [field], severities=[5], draws=4)
    curve = one(found.curves)
    assert curve.scores() == [1.0, 1.0]
    record = found.record()["curves"][0]["severities"][1]["model"]
    assert (record["found"], record["missed"], record["wrong"], record["false_alarms_per_product"]) == (4, 0, 0, 0)
    assert record["recall_interval"][0] == pytest.approx(0.5101, abs=1e-4)
    assert record["flux_bias"] == pytest.approx(0.1)
    assert (record["y_bias_px"], record["x_bias_px"]) == (0, 0)
    assert curve.figures()["CE"] == 0


def test_who_answers_nothing_or_everything_is_not(field: Product) -> None:
    asked = scenario(STAR, {"read_noise": {"severity": 1}})
    nothing = one(evaluate(silent, [asked], [field], severities=[1], draws=2).curves)
    assert nothing.scores() == [0.0, 0.0]
    assert nothing.availability == 1
    all_of_it = one(evaluate(eager, [asked], [field], severities=[1], draws=2).curves)
    cell = all_of_it.cells[0][1.0]
    assert cell.counts.recall == 1
    assert cell.counts.precision < 0.001
    assert cell.false_alarms > 4000


def test_who_fails_has_missed_what_was_there_and_the_run_goes_on(field: Product) -> None:
    asked = scenario(STAR, {"missing_values": {"severity": 1}})

    def particular(product: Product) -> list[dict[str, Any]]:
        if not np.isfinite(product.plane("SCI")).all():
            raise ValueError("NaN in my convolution")
        return list(reference(product))

    found = evaluate(particular, [asked], [field], severities=[2, 5], draws=3)
    curve = one(found.curves)
    assert curve.scores() == [1.0, 0.0, 0.0]
    assert curve.availability == pytest.approx(1 / 3)
    assert curve.scores(1)[1] > 0.9
    assert len(found.failures) == 12
    assert found.failures[0] == ("test", field.name, 2.0, "raised ValueError: NaN in my convolution")
    assert curve.figures()["S50"] == pytest.approx(1.0)
    assert math.isnan(curve.figures()["S50_above"])
    rows = found.record()["curves"][0]["severities"]
    assert rows[0]["model"]["false_alarms_per_product"] == 0
    assert math.isnan(rows[1]["model"]["false_alarms_per_product"])


def test_the_fragile_model_is_worse_than_the_robust_one(field: Product, ramps: Product, series: Product) -> None:
    star, dip = {"point_source": {"peak": 12}}, {"transit": {"depth": 0.003, "duration": 0.1}}
    damages = [
        [star, {"hot_pixels": {"severity": 1, "dq": "silent"}}],
        [star, {"cosmic_rays": {"severity": 1}}],
        [dip, {"missing_values": {"severity": 1}}],
        [{"cosmic_rays": {"severity": 1}}],
    ]
    scenarios = [scenario(*effects) for effects in damages]
    found = evaluate(fragile, scenarios, [field, ramps, series], severities=[3, 4], draws=3)
    assert len(found.curves) == 4
    for curve in found.curves:
        assert curve.corruption_error > 1.1, curve.figures()
        assert (curve.figures()["S50_above"] == 4) == math.isinf(curve.figures()["S50"])
        assert curve.availability == 1
    assert found.mean_corruption_error > 1.5
    assert evaluate(reference, scenarios, [field, ramps, series], severities=[5], draws=1).mean_corruption_error == 1


def test_the_reference_gets_worse_as_damage_grows(field: Product) -> None:
    curve = one(evaluate(reference, [scenario(FAINT, {"read_noise": {"severity": 1}})], [field], draws=6).curves)
    scores = curve.scores()
    assert scores[0] == 1
    assert scores[-1] < 0.5
    assert all(after <= before + 0.1 for before, after in itertools.pairwise(scores))
    figures = curve.figures()
    assert figures["S50_physical"].startswith("factor ")
    assert 0 < figures["AUSPC"] < 1
    assert figures["CE"] == figures["relative_CE"] == 1


def test_what_stood_there_is_neither_right_nor_wrong(field: Product) -> None:
    standing, truth = apply(field, scenario({"point_source": {"peak": 60}}, seed=77))
    cell = one(evaluate(reference, [scenario(STAR)], [standing], severities=[0], draws=3).curves).cells[0][0.0]
    assert (cell.counts.found, cell.counts.wrong, cell.false_alarms) == (3, 0, 0)
    place = truth.record["effects"][0]["measurements"][0]
    on_top = {"point_source": {"peak": 20, "x": place["x"], "y": place["y"]}}
    curve = one(evaluate(reference, [scenario(on_top)], [standing], severities=[0], draws=1).curves)
    assert curve.cells[0][0.0].counts.blended == 1
    assert math.isnan(curve.scores()[0])


def test_hits_of_the_archive_s_own_count_neither_way(ramps: Product) -> None:
    values = ramps.plane("SCI")
    values[3, 10:20, 10] += 5.0
    content = bytearray(ramps.content)
    next(plane for plane in ramps.planes if plane.extname == "SCI").raw(content)[...] = values
    rays = scenario({"cosmic_rays": {"severity": 1}})
    found = evaluate(reference, [rays], [Product(ramps.name, bytes(content))], severities=[4], draws=2)
    cell = one(found.curves).cells[0][4.0]
    assert cell.counts.found > 30
    assert (cell.counts.wrong, cell.false_alarms) == (0, 0)


def test_products_that_do_not_fit_are_told(field: Product, series: Product) -> None:
    broken = Product("jw01234003001_02101_00001_nrca1_cal.fits", b"not a FITS file" * 400)
    found = evaluate(silent, [scenario(STAR)], [series, broken, field], severities=[0], draws=1)
    assert [name for _, name, _ in found.left_out] == [series.name, broken.name]
    assert found.left_out[0][2] == "it needs an image of at least 8 x 8 pixels"
    rays = scenario({"showers": {"severity": 1, "dq": "silent"}}, {"cosmic_rays": {"severity": 1}})
    with pytest.raises(BadInputError, match="no pixel was hit in 5 or more integrations"):
        evaluate(silent, [rays], [field], severities=[5], draws=1)
    with pytest.raises(BadInputError, match="nothing could be scored"):
        evaluate(silent, [scenario(STAR)], [series], severities=[0], draws=1)


def test_scoring_knows_nothing_of_dagster() -> None:
    code = "import sys, hwosim_assets.evaluate.score; print('dagster' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.strip() == "False"


def test_a_severity_beyond_the_scale_is_refused(field: Product) -> None:
    with pytest.raises(BadInputError, match="must be between 0 and 5, not 9"):
        evaluate(silent, [scenario(STAR)], [field], severities=[9])


def test_lost_integrations_and_a_wrong_clock_are_lived_with(ramps: Product, series: Product) -> None:
    dip = {"transit": {"depth": 0.01, "duration": 0.2, "mid": 0.5}}
    lost = [dip, {"dropped_integrations": {"severity": 1}}, {"clock_error": {"severity": 1}}]
    curve = one(evaluate(reference, [scenario(*lost)], [series], severities=[5], draws=2).curves)
    assert curve.availability == 1
    rays = [{"cosmic_rays": {"severity": 1}}, {"dropped_integrations": {"severity": 1}}]
    curve = one(evaluate(reference, [scenario(*rays)], [ramps], severities=[4], draws=1).curves)
    assert curve.scores()[1] > 0.8
