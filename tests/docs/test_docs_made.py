"""The made pages say what the program says."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

TOP = Path(__file__).parents[2]
PAGES: dict[Path, str] = runpy.run_path(str(TOP / "docs" / "make_pages.py"))["pages"]()


@pytest.mark.parametrize("path", list(PAGES), ids=lambda path: path.name)
def test_a_made_page_is_up_to_date(path: Path) -> None:
    assert path.read_text() == PAGES[path], "run `make docs`"


@pytest.mark.parametrize("page", [TOP / "README.md", *sorted((TOP / "docs").glob("*.md"))], ids=lambda page: page.name)
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
