"""A large frame is perturbed in bands of rows: whatever the effect, memory is a part of what the frame would take."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from hwosim_assets.perturb import Scenario, run, spans
from hwosim_assets.perturb.effect import Effect
from hwosim_assets.perturb.effects import pixels, telegraph
from hwosim_assets.perturb.files import perturb_file
from hwosim_assets.perturb.plan import make_plan
from hwosim_assets.perturb.registry import effect_class, effect_specs
from hwosim_assets.perturb.spans import Spans
from hwosim_assets.perturb.truth import Truth

SIDE, ROWS = 1024, 16
NAME = "jw01234001001_02101_00001_nrca1_cal.fits"
#: Of a number of 4 bytes in each of six planes.
WHOLE = 6 * 4 * SIDE * SIDE
#: Hits cost by their number, of which severity 5 has more than are drawn; a run costs by its length.
ASKED = {"cosmic_rays": {"severity": 3}, "solar_particle_event": {"severity": 1}, "stuck_value": {"length": 0.5}}
#: Effects that look at frames, and such as keep or write numbers of many pixels; two have no meaning for the product.
NAMES = sorted(
    {spec.name for spec in effect_specs() if effect_class(spec.name).on_frame is not Effect.on_frame}
    - {"showers", "wavelength_shift"}
    | {"companion", "dark_current", "schema_drift"}
)


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a frame of a detector that its amplifiers read along columns."""
    rng = np.random.default_rng(1)
    signal = np.full((SIDE, SIDE), 2.0, np.float32)
    signal[:, : SIDE // 8] *= 20
    poisson, read = signal / 150, np.full_like(signal, 0.02)
    noise = np.sqrt(poisson + read) * rng.standard_normal(signal.shape, np.float32)
    planes = {"SCI": signal + noise, "ERR": np.sqrt(poisson + read), "DQ": np.zeros(signal.shape, np.uint32),
              "VAR_POISSON": poisson, "VAR_RNOISE": read, "VAR_FLAT": signal * 0}  # fmt: skip
    primary = fits.PrimaryHDU()
    primary.header.update({"TELESCOP": "JWST", "INSTRUME": "NIRCAM", "CHANNEL": "SHORT", "DETECTOR": "NRCA1",
                           "FILTER": "F200W", "EXPSTART": 60000.0, "EXPMID": 60000.005, "EXPEND": 60000.01,
                           "EFFINTTM": 900.0, "EFFEXPTM": 900.0, "FASTAXIS": 2, "SLOWAXIS": -1,
                           "NOUTPUTS": 4})  # fmt: skip
    path = tmp_path_factory.mktemp("large") / NAME
    fits.HDUList([primary, *(fits.ImageHDU(data, name=name) for name, data in planes.items())]).writeto(path)
    perturbed(path, "bit_flips")  # what is imported at the first time is no memory of an effect
    return path


def perturbed(source: Path, name: str) -> Truth:
    chosen = {"version": 1, "seed": 7, "effects": [{name: ASKED.get(name, {"severity": 5})}]}
    plan = make_plan(Scenario.from_mapping("test", chosen), NAME, 60000.005)
    return perturb_file(source, source.with_name("out.fits"), plan)


@pytest.mark.parametrize("name", NAMES)
def test_no_effect_holds_a_frame(large: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(run, "BAND", ROWS * SIDE)
    monkeypatch.setattr(pixels, "_PART", 4 * ROWS * SIDE)
    monkeypatch.setattr(telegraph, "_SORTED", 4096)
    tracemalloc.start()
    try:
        truth = perturbed(large, name)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert "not_applicable" not in truth.record["effects"][0]["measurements"][0]
    assert peak < 5 / 6 * WHOLE


@pytest.mark.parametrize(
    ("parts", "runs"),
    [
        ([[3]], [(3, 4)]),
        ([[3, 4, 5, 9]], [(3, 6), (9, 10)]),
        ([[9, 4, 3, 4]], [(3, 5), (9, 10)]),
        ([[3, 4], [5, 6], [8]], [(3, 7), (8, 9)]),
        ([[3, 4, 5, 6, 7], [4, 5], [7, 8]], [(3, 9)]),
        ([[8, 9], [3, 4], [5]], [(3, 6), (8, 10)]),
        ([[3, 4, 9], [3, 4, 9]], [(3, 5), (9, 10)]),
        ([range(3, 6), [6, 8], range(7, 8)], [(3, 9)]),
        ([[2**31 - 2, 2**31 - 1], [5]], [(5, 6), (2**31 - 2, 2**31)]),
    ],
)
def test_places_become_runs_each_once(parts: list[list[int] | range], runs: list[tuple[int, int]]) -> None:
    pieces = [Spans.of(part if isinstance(part, range) else np.array(part)) for part in parts]
    found = Spans.union(pieces)
    assert list(zip(found.starts.tolist(), found.stops.tolist(), strict=True)) == runs


def test_marks_of_many_pixels_are_told_as_those_of_few(large: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    few = perturbed(large, "dark_current")
    monkeypatch.setattr(spans, "_FEW", 10**9)
    assert perturbed(large, "dark_current").side == few.side
    assert few.side is not None
