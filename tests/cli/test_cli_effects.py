"""What ``hwosim effects`` and the pages tell of an effect."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from hwosim_assets.commands.scenarios import effects
from hwosim_assets.perturb.registry import effect_specs

PAGES = Path(__file__).parents[2] / "docs" / "reference" / "effects"


def told(*words: str) -> str:
    return CliRunner().invoke(effects, words, catch_exceptions=False).output


def test_without_a_name_there_is_one_line_for_each_effect_and_how_to_see_more() -> None:
    lines = told().splitlines()
    for spec in effect_specs():
        (line,) = [line for line in lines if line.split()[:1] == [spec.name]]
        assert line.split()[1:] == [spec.code, *spec.title.split(), spec.stage]
    assert len(lines) < len(effect_specs()) + 6
    assert "hwosim effects NAME" in lines[-1]


def test_json_holds_all_of_every_effect() -> None:
    found = {item["name"]: item for item in json.loads(told("--json"))}
    assert set(found) == {spec.name for spec in effect_specs()}
    for spec in effect_specs():
        assert found[spec.name]["model"] == spec.model
        assert [item["name"] for item in found[spec.name]["parameters"]] == [item.name for item in spec.parameters]


@pytest.mark.parametrize(("name", "words"), [
    ("read_noise", ["`err` applies, `dq` does not", "from integration to integration"]),
    ("packet_loss", ["`dq` applies, `err` does not", "from integration to integration"]),
    ("crosstalk", ["`err` and `dq` do not apply", "one share for a product", "belongs to the detector"]),
    ("saturation", ["`err` and `dq` apply", "one share for a product"]),
    ("header_corruption", ["`valid_only: false`", "belongs to the file"]),
    ("dropped_integrations", ["only once", "from integration to integration"]),
])  # fmt: skip
def test_an_effect_tells_its_switches_what_it_follows_and_what_it_needs(name: str, words: list[str]) -> None:
    for text in (told(name), (PAGES / f"{name}.md").read_text()):
        assert all(word in text for word in words)
        assert ("valid_only" in text) == (name == "header_corruption")


def test_the_model_stands_once_and_each_parameter_has_its_source() -> None:
    text = told("packet_loss")
    (spec,) = [spec for spec in effect_specs() if spec.name == "packet_loss"]
    assert text.count(spec.model) == 1
    table = " ".join(text[: text.index("loss: ")].split())
    assert all(item.source.split()[0] in table for item in spec.parameters)
