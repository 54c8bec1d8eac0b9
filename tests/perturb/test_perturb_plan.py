"""A plan that is saved, looked at, edited and applied before data are touched."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from hwosim_assets.commands.perturb import perturb
from hwosim_assets.errors import BadInputError
from hwosim_assets.perturb import Product, apply
from hwosim_assets.perturb.plan import make_plan, read_plan
from hwosim_assets.perturb.run import perturb_product
from hwosim_assets.perturb.scenario import load_scenario

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
    noise["parameters"]["factor"] = 4.0
    plan.write_text(json.dumps(content))
    out = tmp_path / "out.fits"
    assert run(perturb, [str(source), str(out), "--plan", str(plan)], catch_exceptions=False).exit_code == 0
    plain = apply(product, "nominal_l2")[0]
    edited = Product.open(out, product.name)
    noisy = edited.plane("VAR_RNOISE") - product.plane("VAR_RNOISE")
    assert float(np.nanmedian(noisy)) == pytest.approx(0.3, rel=2e-3), "pink noise adds a little"
    assert edited.content != plain.content


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
    with pytest.raises(BadInputError, match=words):
        read_plan(path)
