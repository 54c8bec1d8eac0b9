"""``hwosim evaluate`` from the shell, on generated and on real products."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from hwosim_assets.archive.sample import write_sample
from hwosim_assets.cli import main
from hwosim_assets.commands.evaluate import evaluate
from hwosim_assets.perturb import Product

STARS = """
version: 1
effects:
  - point_source: {peak: 20}
  - read_noise: {severity: 1}
"""


@pytest.fixture
def stars(tmp_path: Path, state: Path) -> Path:
    path = tmp_path / "stars.yaml"
    path.write_text(STARS)
    return path


@pytest.fixture(scope="session")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = Path(tmp_path_factory.mktemp("archive"))
    write_sample(folder, programs=2)
    return folder


def run(*arguments: object) -> Result:
    return CliRunner().invoke(evaluate, [str(argument) for argument in arguments], catch_exceptions=False)


def scored(*arguments: object) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(run(*arguments, "--json").stdout)
    return found


FRAGILE = ("--model", "hwosim_assets.evaluate:fragile")


def test_a_table_for_people(stars: Path, sample: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as leaving:
        evaluate.main(
            [*FRAGILE, "--scenario", str(stars), "--draws", "1", "--severity", "high", str(sample / "jw97001")]
        )
    assert leaving.value.code == 0
    said = capfd.readouterr()
    assert "hwosim_assets.evaluate:fragile under stars: source" in said.out
    assert "mCE" in said.out
    assert "1 left out; the first: jw97001003001_02101_00001_guider1_uncal.fits" in said.err


def test_json_for_programs(stars: Path, sample: Path) -> None:
    found = scored(*FRAGILE, "--scenario", stars, "--draws", 2, *sorted((sample / "jw97001").glob("*_cal.fits")))
    (curve,) = found["curves"]
    assert (curve["scenario"], curve["kind"], curve["availability"]) == ("stars", "source", 1)
    assert [row["severity"] for row in curve["severities"]] == [0, 1, 2, 3, 4, 5]
    assert found["mCE"] == curve["CE"]
    clean = curve["severities"][0]["reference"]
    assert clean["found"] + clean["missed"] + clean["blended"] == 12
    assert clean["f1"] > 0.7


def test_cosmic_rays_of_a_shipped_scenario(state: Path, sample: Path) -> None:
    files = sorted((sample / "jw97002").glob("*_rateints.fits"))
    found = scored(*FRAGILE, "--scenario", "solar_max", "--draws", 1, "--severity", 5, *files)
    (curve,) = found["curves"]
    assert curve["kind"] == "cosmic_rays"
    assert curve["CE"] > 1.5
    clean, worst = curve["severities"]
    assert clean["reference"]["f1"] is None
    assert worst["reference"]["recall"] > 0.5


def test_a_model_that_is_not_there_is_one_line(stars: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as leaving:
        main(["evaluate", "--model", "nowhere_at_all:find", "--scenario", str(stars)])
    said = capsys.readouterr().err
    assert leaving.value.code == 1
    assert said.count("\n") == 1
    assert said.startswith("hwosim: model nowhere_at_all:find: nowhere_at_all cannot be imported")


def test_a_severity_that_is_none_is_wrong_usage(stars: Path) -> None:
    result = run(*FRAGILE, "--scenario", stars, "--severity", 9)
    assert result.exit_code == 2
    assert "it must be between 0 and 5" in result.stderr


@pytest.mark.parametrize(
    ("name", "least"),
    [
        ("ERS_NGTS10_2022_new_drift_041_calints.fits", 2),
        # The light of a bright star behind a mask with holes fills the frame: nothing of 20 sigma can be seen in it.
        ("jw01093012001_03102_00001_nis_cal.fits", 0),
    ],
)
def test_real_files(stars: Path, real_data: Path, name: str, least: int) -> None:
    path = real_data / "jwst" / name
    if not path.is_file():
        pytest.skip(f"no real file {name}")
    found = scored(*FRAGILE, "--scenario", stars, "--draws", 2, "--severity", 3, path)
    (curve,) = found["curves"]
    assert curve["availability"] == 1
    assert all(row["reference"]["answered"] == 4 for row in curve["severities"])
    clean = curve["severities"][0]["reference"]
    assert clean["found"] >= least
    assert clean["found"] + clean["missed"] + clean["blended"] == 2


def test_no_real_product_breaks_the_reference(real_data: Path) -> None:
    from hwosim_assets.errors import HwosimError
    from hwosim_assets.evaluate import fragile, reference
    from hwosim_assets.evaluate.answers import ask

    answered = 0
    for path in sorted((real_data / "jwst").glob("*.fits")):
        product = Product.open(path)
        try:
            product.measurements  # noqa: B018 - whether it has any
        except HwosimError:
            continue
        for model in (reference, fragile):
            assert ask(model, product).failure == "", path.name
        answered += 1
    assert answered > 30


def test_the_model_of_the_page_on_scoring_works(stars: Path, sample: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (Path(__file__).parents[2] / "docs" / "evaluating.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", page, re.S)
    (scenario,) = re.findall(r"```yaml\n(.*?)```", page, re.S)
    (stars.parent / "model_of_the_page.py").write_text(code)
    (stars.parent / "stars_jitter.yaml").write_text(scenario)
    monkeypatch.chdir(stars.parent)
    monkeypatch.setattr("sys.path", [*sys.path])
    name = sample / "jw97001" / "jw97001001001_02101_00001_nrcb1_cal.fits"
    found = scored("--model", "model_of_the_page:find", "--scenario", "stars_jitter.yaml", "--severity", 5, name)
    (curve,) = found["curves"]
    assert curve["availability"] == 1
    assert curve["severities"][0]["model"]["found"] >= 2
