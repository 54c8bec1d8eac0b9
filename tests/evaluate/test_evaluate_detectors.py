"""The reference detectors find what is there, and nothing in noise."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from hwosim_assets.evaluate.answers import ask
from hwosim_assets.evaluate.detectors import fragile, reference
from hwosim_assets.perturb import Product, Scenario, apply


def perturbed(product: Product, *effects: Any, seed: int = 3) -> tuple[Product, dict[str, Any]]:
    out, truth = apply(product, Scenario.from_mapping("test", {"version": 1, "seed": seed, "effects": list(effects)}))
    return out, truth.record["effects"][0]["measurements"][0]


def changed(product: Product, values: np.ndarray) -> Product:
    """Return a product with other values in SCI."""
    content = bytearray(product.content)
    next(plane for plane in product.planes if plane.extname == "SCI").raw(content)[...] = values
    return Product(product.name, bytes(content))


@pytest.mark.parametrize("model", [reference, fragile])
@pytest.mark.parametrize("name", ["field", "series"])
def test_nothing_in_noise(request: pytest.FixtureRequest, model: Any, name: str) -> None:
    answer = ask(model, request.getfixturevalue(name))
    assert (answer.failure, answer.found) == ("", ())


def test_no_cosmic_rays_in_noise(ramps: Product) -> None:
    assert ask(reference, ramps).masks[1].sum() <= 1  # of 46080 pixels
    assert ask(fragile, ramps).masks[1].sum() > 10  # three standard deviations are few


@pytest.mark.parametrize("model", [reference, fragile])
def test_a_source_of_20_sigma(field: Product, model: Any) -> None:
    out, note = perturbed(field, {"point_source": {"peak": 20}})
    (found,) = ask(model, out).found
    assert found.place == pytest.approx((note["y"], note["x"]), abs=0.3)
    assert found.strength == pytest.approx(note["flux"], rel=0.1)


def test_a_single_bright_pixel_is_no_star(field: Product) -> None:
    sci = field.plane("SCI")
    sci[40, 50] += 20.0
    spoilt = changed(field, sci)
    assert ask(reference, spoilt).found == ()
    assert len(ask(fragile, spoilt).found) == 1


def test_lost_pixels_do_not_hide_a_source(field: Product) -> None:
    out, note = perturbed(field, {"point_source": {"peak": 30}}, {"missing_values": {"fraction": 0.1}})
    found = ask(reference, out).found
    assert any(np.hypot(item.place[0] - note["y"], item.place[1] - note["x"]) < 1 for item in found)


@pytest.mark.parametrize("depth", [0.002, 0.02])
def test_a_transit_has_depth_and_time(series: Product, depth: float) -> None:
    out, _ = perturbed(series, {"transit": {"depth": depth, "mid": 0.6, "duration": 0.15}})
    (found,) = ask(reference, out).found
    assert found.kind == "dip"
    assert found.place[0] == pytest.approx(60000.12, abs=0.003)
    assert found.strength == pytest.approx(depth, rel=0.2)


def test_two_dips_are_two(series: Product) -> None:
    effects = [
        {"transit": {"depth": 0.01, "mid": 0.2, "duration": 0.1}},
        {"eclipse": {"depth": 0.005, "mid": 0.8, "duration": 0.1}},
    ]
    out, _ = perturbed(series, *effects)
    found = ask(reference, out).found
    assert sorted(round(item.place[0] - 60000.0, 2) for item in found) == [0.04, 0.16]


def test_a_flare_is_no_dip(series: Product) -> None:
    out, _ = perturbed(series, {"flare": {"amplitude": 0.1, "peak": 0.4, "decay": 0.03}})
    found = ask(reference, out).found
    assert {item.kind for item in found} == {"flare"}
    best = max(found, key=lambda item: item.strength)
    assert best.place[0] == pytest.approx(60000.08, abs=0.002)
    assert best.strength == pytest.approx(0.1, rel=0.1)


def test_lost_wavelengths_are_no_dip(series: Product) -> None:
    out, _ = perturbed(series, {"missing_values": {"fraction": 0.05}})
    assert ask(reference, out).found == ()
    assert ask(fragile, out).failure == ""


def test_hits_of_single_integrations(ramps: Product) -> None:
    values = ramps.plane("SCI")
    places = [(0, 5, 5), (7, 20, 30), (19, 47, 0)]
    for place in places:
        values[place] += 3.0
    mask = ask(reference, changed(ramps, values)).masks[1]
    assert all(mask[place] for place in places)
    assert mask.sum() <= len(places) + 1


def test_a_brighter_integration_is_no_shower_of_hits(ramps: Product) -> None:
    values = ramps.plane("SCI")
    values[5] *= 1.5
    assert ask(reference, changed(ramps, values)).masks[1].sum() < 10
    assert (values[5] - 2.0 > 5 * 0.18).mean() > 0.5
