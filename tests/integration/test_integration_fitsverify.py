"""The FITS standard's own checker finds no error in the sample, nor in what the scenarios make of it."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from programs import tool

from hwosim_assets.perturb.scenario import find_scenarios

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

SCENARIOS = tuple(sorted(find_scenarios().found))


def _verify(files: list[Path]) -> tuple[int, list[str]]:
    """Return how many files are in order, and a line for each that is not (errors alone; warnings are no errors)."""
    said = subprocess.run(
        [tool("fitsverify"), "-q", "-e", *map(str, files)], capture_output=True, text=True, timeout=300, check=False
    ).stdout.splitlines()
    good = [line for line in said if line.startswith("verification OK")]
    return len(good), [line for line in said if line and line not in good]


def test_the_checker_finds_an_error_where_there_is_one(sample: Path, tmp_path: Path) -> None:
    """Without this a checker that says nothing would pass for one that finds nothing."""
    whole = next(sample.rglob("*_cal.fits"))
    torn = tmp_path / "torn.fits"
    torn.write_bytes(whole.read_bytes()[:-2880])
    good, bad = _verify([torn])
    assert (good, bool(bad)) == (0, True)


def test_the_sample_has_no_error(sample: Path, say: Callable[[str], None]) -> None:
    files = sorted(sample.rglob("*.fits"))
    good, bad = _verify(files)
    say(f"fitsverify: {good} of {len(files)} sample files in order")
    assert (good, bad) == (len(files), [])


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_what_a_scenario_makes_has_no_error(
    scenario: str, sample: Path, tmp_path: Path, say: Callable[[str], None]
) -> None:
    from hwosim_assets.perturb import Product, apply

    made = []
    for source in sorted(sample.rglob("*.fits")):
        out, _truth = apply(Product.open(source), scenario)
        made.append(tmp_path / source.name)
        out.write(made[-1])
    good, bad = _verify(made)
    say(f"fitsverify: {good} of {len(made)} files in order under {scenario}")
    assert (good, bad) == (len(made), [])


def test_a_stamp_of_every_effect_has_no_error(sample: Path, tmp_path: Path) -> None:
    from hwosim_assets.perturb import Product, Scenario, apply

    content = find_scenarios().found["everything_s3"].content.model_copy(update={"stamp": "full"})
    made = []
    for source in sorted(sample.rglob("*.fits")):
        out, _truth = apply(Product.open(source), Scenario("stamped", content))
        made.append(tmp_path / source.name)
        out.write(made[-1])
        assert b"HISTORY HWOsim: read_noise severity 3" in out.payload[: out.scan.blocks[0].data_offset]
    good, bad = _verify(made)
    assert (good, bad) == (len(made), [])
