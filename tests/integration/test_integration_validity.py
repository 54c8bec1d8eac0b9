"""What effects make of real files is as valid as those were: for the FITS standard's checker, and for stdatamodels.

Effects that a scenario must allow by ``valid_only: false`` are left out: they break files on purpose.
"""

from __future__ import annotations

import re
import subprocess
import warnings
from collections import Counter
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import pytest
from programs import tool

from hwosim_assets.perturb import Product, Scenario, apply
from hwosim_assets.perturb.product import RefusedProductError
from hwosim_assets.perturb.registry import effect_specs

pytestmark = [pytest.mark.integration, pytest.mark.timeout(1500)]

SCENARIOS = (("everything_s3", 3.0), ("everything_s3", 5.0), ("ground_segment_bad_day", 5.0))
#: A file of each kind, on which every effect is tried alone.
KINDS = (
    "jw01093012001_03102_00001_nis_cal.fits",
    "jw01288015001_04101_00001_mirimage_i2d.fits",
    "jw02565007001_03101_00002_nrs2_s2d.fits",
    "jw02565007001_03101_00002_nrs2_x1d.fits",
    "jw00793001001_01101_00001_nis_uncal.fits",
    "jw01185002001_01101_00001-seg006_nrca3_rateints_I01226.fits",
)
#: Inputs that are only valid by a card: their ASDF extension holds a number where the schema wants a string (made by
#: an early simulator), which a reader meets when ``header_loss`` takes the card that stands before it.
INVALID_BEHIND_A_CARD = {
    "jw42424001001_01101_00001_nrca5_uncal_dispersed_GRISMR_crossing_F356W_rate.fits.gz": "'PATTSIZE'",
}
EFFECTS = [spec.name for spec in effect_specs() if not spec.breaks_format]


def complaints(path: Path) -> Counter[str]:
    """Return the checker's errors and warnings, each with how often it comes; not its line that counts them."""
    said = subprocess.run(
        [tool("fitsverify"), str(path)], capture_output=True, text=True, errors="replace", timeout=120, check=False
    ).stdout
    lines = (re.sub(r"\s+", " ", line) for line in said.splitlines() if line.startswith("*** "))
    return Counter(lines)


def trouble(path: Path) -> str:
    """Return why stdatamodels does not open a file strictly, or an empty text."""
    datamodels = pytest.importorskip("stdatamodels.jwst.datamodels")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with datamodels.open(path, strict_validation=True) as model:
                model.validate()
        except Exception as error:  # whatever a model raises is what a reader would see
            return f"{type(error).__name__}: {error}"
    return ""


def worse(product: Product, scenario: Scenario | str, severity: float | None, folder: Path) -> list[str]:
    """Return what is wrong with the perturbed product and was not with its input."""
    name = product.name.removesuffix(".gz")
    after = folder / "after" / name
    after.parent.mkdir(exist_ok=True)
    known, opens = as_it_came(product, folder)
    after.write_bytes(apply(product, scenario, severity=severity)[0].payload)
    found = list((complaints(after) - known).elements())
    if opens:
        known_behind = INVALID_BEHIND_A_CARD.get(product.name)
        said = trouble(after)
        found += [said] if said and (known_behind is None or known_behind not in said) else []
    after.unlink()
    return [f"{product.name}: {said}" for said in found]


@lru_cache(maxsize=1)
def as_it_came(product: Product, folder: Path) -> tuple[Counter[str], bool]:
    """Return what the checker says of an input, and whether stdatamodels opens it strictly."""
    path = folder / product.name.removesuffix(".gz")
    path.write_bytes(product.payload)
    return complaints(path), not trouble(path)


def test_the_comparison_finds_what_is_worse(real_data: Path, tmp_path: Path) -> None:
    """Without this a comparison that finds nothing would pass for files in order."""
    product = Product.open(real_data / "jwst" / KINDS[0])
    body = {"version": 1, "valid_only": False, "effects": [{"header_corruption": {"severity": 5}}]}
    found = worse(product, Scenario.from_mapping("spoilt", body), None, tmp_path)
    assert any("Error" in said for said in found)
    assert any("ValidationError" in said for said in found)


@pytest.mark.parametrize(("scenario", "severity"), SCENARIOS)
def test_scenarios_leave_real_files_as_valid_as_they_were(
    real_data: Path, tmp_path: Path, say: Callable[[str], None], scenario: str, severity: float
) -> None:
    found, done = [], 0
    for path in sorted(path for path in (real_data / "jwst").rglob("*fits*") if path.suffix != ".txt"):
        try:
            found += worse(Product.open(path), scenario, severity, tmp_path)
        except RefusedProductError:
            continue
        done += 1
    say(f"{scenario} at severity {severity}: {done} real files, {len(found)} complaints that the inputs did not have")
    assert (found, done >= 50) == ([], True)


@pytest.mark.parametrize("name", KINDS)
def test_effects_leave_real_files_as_valid_as_they_were(
    real_data: Path, tmp_path: Path, say: Callable[[str], None], name: str
) -> None:
    product = Product.open(real_data / "jwst" / name)
    found = []
    for effect in EFFECTS:
        body = {"version": 1, "seed": 5, "effects": [{effect: {"severity": 5}}]}
        found += [f"{effect}: {said}" for said in worse(product, Scenario.from_mapping("one", body), None, tmp_path)]
    say(f"{name}: {len(EFFECTS)} effects, {len(found)} complaints that the input did not have")
    assert found == []
