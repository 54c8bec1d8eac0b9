"""What a profile in time does within an exposure."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from hwosim_assets.perturb import Product, Scenario, apply
from hwosim_assets.perturb.registry import effect_class, effect_specs

Make = Callable[..., Product]

#: After the middle of the exposure, so that only the last of three integrations lies in it.
LATE = {"profile": "step", "start": 60000.7}

#: Profiles, and what they are at the mid times of integrations in days since MJD 60000.
CLOSED = {
    "ramp": ({"start": 60000.0, "length": "1 d"}, lambda day: day),
    "exponential": ({"start": 60000.0, "tau": "0.5 d"}, lambda day: 1 - math.exp(-day / 0.5)),
    "step": ({"start": 60000.4, "end": 60000.6}, lambda day: float(0.4 <= day < 0.6)),
}


def scenario(*effects: object) -> Scenario:
    return Scenario.from_mapping("test", {"version": 1, "seed": 7, "effects": list(effects)})


def changed(before: Product, after: Product, *plane: object) -> list[bool]:
    """Return for each integration whether a plane of it is another."""
    pairs = zip(before.plane(*plane), after.plane(*plane), strict=True)
    return [one.tobytes() != other.tobytes() for one, other in pairs]


@pytest.mark.parametrize("name", sorted(spec.name for spec in effect_specs()))
def test_an_effect_follows_a_profile_or_says_why_not(name: str) -> None:
    kind = effect_class(name)
    assert kind.per_frame != bool(kind.spec.steady)


@pytest.mark.parametrize(("kind", "name", "options"), [
    ("calints", "background", {"factor": 20}), ("calints", "stray_light", {"factor": 20}),
    ("calints", "photon_noise", {"level": 5}), ("calints", "ghosts", {"strength": 0.5}),
    ("calints", "trails", {"rate": 30}), ("calints", "speckle_drift", {"contrast": 1e-8}),
    ("calints", "read_noise", {"factor": 4}), ("calints", "ipc", {"alpha": 0.1}),
    ("calints", "charge_migration", {"severity": 5}), ("calints", "packet_loss", {"loss": 0.5, "packet": 50}),
    ("calints", "missing_values", {"fraction": 0.2}),
    ("calints", "missing_values", {"fraction": 0.2, "mechanism": "mar"}),
    ("calints", "missing_values", {"fraction": 0.2, "mechanism": "mnar"}),
    ("calints", "dropped_groups", {"fraction": 0.5}), ("x1dints", "fringing", {"amplitude": 0.1}),
    ("uncal", "background", {"factor": 20}), ("uncal", "packet_loss", {"loss": 0.5, "packet": 50}),
    ("uncal", "dropped_groups", {"fraction": 0.5}), ("uncal", "read_noise", {"factor": 4}),
])  # fmt: skip
def test_a_step_late_in_an_exposure_changes_its_last_integrations_only(
    make: Make, kind: str, name: str, options: dict[str, object]
) -> None:
    product = make(kind)
    out, _ = apply(product, scenario({name: {**options, "when": LATE}}))
    plane = ("EXTRACT1D", 1, "FLUX") if kind == "x1dints" else ("SCI",)
    frames = product.plane(*plane).shape[0]
    mid = [(place + 0.5) / frames for place in range(frames)]
    assert changed(product, out, *plane) == [day > 0.7 for day in mid]
    for other in {item.extname for item in product.planes if item.extname in ("ERR", "DQ", "VAR_POISSON")}:
        assert not any(changed(product, out, other)[: sum(day < 0.7 for day in mid)])


def test_integrations_are_dropped_while_the_step_lasts(make: Make) -> None:
    product = make("x1dints")
    out, truth = apply(product, scenario({"dropped_integrations": {"fraction": 0.9, "when": LATE}}))
    lost = truth.record["effects"][0]["measurements"][0]["lost"]
    assert lost
    assert min(lost) >= 8
    kept = np.delete(product.plane("EXTRACT1D", 1, "FLUX"), lost, axis=0)
    np.testing.assert_array_equal(out.plane("EXTRACT1D", 1, "FLUX"), kept)


@pytest.mark.parametrize("effect", ["background", "stray_light", "read_noise", "ipc", "missing_values", "packet_loss"])
def test_a_step_before_or_after_the_exposure_leaves_all_of_it(make: Make, effect: str) -> None:
    for start, end in ((59990.0, 59991.0), (60002.0, 60003.0)):
        when = {"profile": "step", "start": start, "end": end}
        out, _ = apply(make("calints"), scenario({effect: {"severity": 5, "when": when}}))
        assert out.content == make("calints").content


def test_wavelengths_of_a_cube_are_of_one_time(make: Make) -> None:
    product = make("s3d")
    when = {"profile": "step", "start": 60000.4}
    stepped, steady = (
        apply(product, scenario({"background": {"factor": 20, **more}}))[0] for more in ({"when": when}, {})
    )
    assert stepped.content == steady.content


@pytest.mark.parametrize("profile", sorted(CLOSED))
def test_the_background_of_each_integration_is_the_function_that_the_scenario_gives(make: Make, profile: str) -> None:
    """H-10: VAR_POISSON grows by just s/k, and the added light has mean s and variance s/k."""
    product = make("calints")
    options, share = CLOSED[profile]
    when = {"profile": profile, **options}
    out, truth = apply(product, scenario({"background": {"factor": 20, "when": when}}))
    k, level = (truth.record["budgets"][0][name] for name in ("k", "background"))
    due = np.array([19 * level * share((place + 0.5) / 3) for place in range(3)])
    assert np.ptp(due) > level
    added, grown = (out.plane(name).astype(float) - product.plane(name) for name in ("SCI", "VAR_POISSON"))
    pixels = np.isfinite(added[0]).sum()
    for frame in range(3):
        np.testing.assert_allclose(grown[frame][np.isfinite(grown[frame])], due[frame] / k, rtol=2e-5, atol=1e-6)
        assert abs(np.nanmean(added[frame]) - due[frame]) <= 5 * math.sqrt(due[frame] / k / pixels) + 1e-6
    assert np.nanmean(added, axis=(1, 2)).sum() == pytest.approx(due.sum(), rel=0.01)
