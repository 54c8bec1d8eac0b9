"""The made pages say what the program says."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

TOP = Path(__file__).parents[2]
MADE = runpy.run_path(str(TOP / "docs" / "make_pages.py"))
PAGES: dict[Path, str] = MADE["pages"]()


@pytest.mark.parametrize("path", list(PAGES), ids=lambda path: path.name)
def test_a_made_page_is_up_to_date(path: Path) -> None:
    assert path.read_text() == PAGES[path], "run `make docs`"


def test_every_effect_has_a_picture_or_says_why_there_is_none() -> None:
    from hwosim_assets.perturb.registry import effect_specs

    drawn = {path.stem for path in (TOP / "docs" / "images" / "effects").glob("*.png")}
    assert not drawn & set(MADE["UNPICTURED"])
    assert drawn | set(MADE["UNPICTURED"]) == {spec.name for spec in effect_specs()}
    for name, reason in MADE["UNPICTURED"].items():
        assert f"No picture: {reason}." in PAGES[TOP / "docs" / "reference" / "effects" / f"{name}.md"]


@pytest.mark.parametrize("page", [TOP / "README.md", *sorted((TOP / "docs").rglob("*.md"))], ids=lambda page: page.name)
def test_every_link_and_picture_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)", page.read_text()):
        if not target.startswith(("http://", "https://")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_the_settings_page_lists_every_setting() -> None:
    from hwosim_assets.settings import Settings

    listed = (TOP / ".env.example").read_text()
    for name, field in Settings.model_fields.items():
        variable = str(field.validation_alias or f"HWOSIM_{name.upper()}")
        assert f"#{variable}=" in listed, variable


def _readme_code(word: str) -> str:
    blocks = re.findall(r"```python\n(.*?)```", (TOP / "README.md").read_text(), re.S)
    (found,) = [block for block in blocks if word in block]
    return found


def test_the_readme_s_notebook_lines_run_after_the_demo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from hwosim_assets.archive.sample import write_sample

    write_sample(tmp_path / ".hwosim" / "sample-archive", programs=1)
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    exec(_readme_code("replay"), names)
    assert names["out"].content != names["product"].content
