"""The acceptance tests tried: each fails when the effect is a tenth stronger than it is told to be.

Here the effects are changed and the tests stay as they are: what an effect asks for as its parameter comes out a tenth
larger. So no acceptance test holds an effect against nothing but itself.
"""

from __future__ import annotations

import importlib
import itertools
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from test_perturb_acceptance import TESTS

from hwosim_assets.perturb.effect import Task
from hwosim_assets.perturb.registry import effect_specs, spec_of

#: Effect -> a parameter without which its acceptance test would show nothing.
MOVED = {
    "alternating_column_noise": "amplitude", "background": "factor", "bit_flips": "rate",
    "charge_migration": "coefficient", "clock_error": "offset", "companion": "contrast",
    "compression_loss": "coarseness", "cosmic_rays": "flux", "crosstalk": "coefficient", "dark_current": "rate",
    "dark_decay": "tau", "dark_reference_drift": "amplitude", "dropped_groups": "fraction",
    "dropped_integrations": "fraction", "eclipse": "depth", "emccd_noise": "cic", "file_bit_flips": "rate",
    "file_damage": "share", "flare": "amplitude", "flat_drift": "rms", "fringing": "amplitude", "ghosts": "strength",
    "gaussian_noise": "sigma",
    "header_loss": "keys", "hot_pixels": "fraction", "ipc": "alpha", "jitter": "sigma", "missing_blocks": "area",
    "missing_values": "fraction", "moving_object": "path", "packet_loss": "loss", "pedestal_drift": "amplitude",
    "persistence": "gamma", "persistence_deficit": "depth", "photom_step": "step", "photon_noise": "level",
    "picture_frame": "amplitude", "pink_noise": "amplitude", "point_source": "peak", "pointing_drift": "shift",
    "quantization": "step", "read_noise": "factor", "reciprocity_failure": "alpha", "reset_noise": "rms",
    "saturation": "well", "showers": "rate", "snowballs": "rate", "solar_particle_event": "peak",
    "speckle_drift": "contrast", "spectral_line": "strength", "stray_light": "factor", "stuck_value": "length",
    "telegraph_noise": "amplitude", "throughput": "loss", "tilt_event": "step", "trails": "rate", "transit": "depth",
    "wavefront_drift": "sigma", "wavelength_shift": "shift", "wisps": "strength",
}  # fmt: skip
#: Effects that change just what is named, and by no amount.
EXACT = {"header_corruption", "schema_drift"}


def _cases(test: Any) -> Iterator[dict[str, Any]]:
    """Yield the arguments of a test for each of its sets of parameters."""
    axes = []
    for mark in getattr(test, "pytestmark", []):
        if mark.name == "parametrize":
            given = mark.args[0]
            names = [name.strip() for name in given.split(",")] if isinstance(given, str) else list(given)
            axes.append([dict(zip(names, row if len(names) > 1 else (row,), strict=True)) for row in mark.args[1]])
    for chosen in itertools.product(*axes):
        yield {name: value for part in chosen for name, value in part.items()}


def _test_of(effect: str) -> Any:
    for path in sorted(Path(__file__).parent.glob("test_perturb_*.py")):
        found = getattr(importlib.import_module(path.stem), TESTS[effect], None)
        if found is not None:
            return found
    raise LookupError(effect)


def _forget(test: Any) -> None:
    """Empty what functions beside a test keep of effects that were, or were not, moved."""
    for value in vars(sys.modules[test.__module__]).values():
        if hasattr(value, "cache_clear"):
            value.cache_clear()


def _fails(test: Any, effect: str, request: pytest.FixtureRequest) -> bool:
    """Return whether a test fails for any set of its parameters that is not about another effect."""
    for given in _cases(test):
        if given.get("effect", effect) != effect:
            continue
        names = set(test.__code__.co_varnames[: test.__code__.co_argcount]) - given.keys()
        try:
            test(**given, **{name: request.getfixturevalue(name) for name in names})
        except AssertionError:
            return True
    return False


def test_every_effect_and_so_every_family_is_moved() -> None:
    assert {*MOVED, *EXACT} == {spec.name for spec in effect_specs()}
    assert {spec_of(name).code[0] for name in MOVED} == set("ABCDEFG")


@pytest.mark.parametrize("effect", sorted(MOVED))
def test_an_acceptance_test_fails_when_the_effect_is_off_by_a_tenth(
    effect: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    number, numbers, number_at = Task.number, Task.numbers, Task.number_at

    def factor(task: Task, name: str) -> float:
        return 1.1 if (task.planned.effect, name) == (effect, MOVED[effect]) else 1.0

    monkeypatch.setattr(Task, "number", lambda task, name, block=None: number(task, name, block) * factor(task, name))
    monkeypatch.setattr(
        Task, "numbers", lambda task, name, item: [value * factor(task, name) for value in numbers(task, name, item)]
    )
    monkeypatch.setattr(Task, "number_at", lambda task, name, time: number_at(task, name, time) * factor(task, name))
    test = _test_of(effect)
    _forget(test)
    try:
        assert _fails(test, effect, request)
    finally:
        _forget(test)
