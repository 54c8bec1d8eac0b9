"""``make docs``: the pages of docs/reference that are made from the program itself.

Holds: one function per page. A page made here is never edited by hand; a test compares the pages with
what the program says today. Keep out pages that a person writes.

    python docs/make_pages.py
"""

from __future__ import annotations

from importlib.metadata import entry_points
from pathlib import Path

import click

from hwosim_assets.perturb.registry import effect_specs
from hwosim_assets.perturb.scenario import SHIPPED, find_scenarios
from hwosim_assets.perturb.spec import EffectSpec

__all__ = ["pages"]

FOLDER = Path(__file__).parent / "reference"
PICTURES = Path(__file__).parent / "images" / "effects"
MADE = "<!-- made by `make docs`; edit the program instead -->"


def _commands() -> str:
    """Return every command with its help."""
    lines = [MADE, "# Commands", "", "`hwosim COMMAND --help` says the same.", ""]
    for point in sorted(entry_points(group="hwosim.commands"), key=lambda point: point.name):
        lines += _help(point.load(), f"hwosim {point.name}")
    return "\n".join(lines)


def _help(command: click.Command, path: str) -> list[str]:
    context = click.Context(command, info_name=path, max_content_width=110, terminal_width=110)
    lines = [f"## `{path}`", "", "```text", command.get_help(context).replace("\b", ""), "```", ""]
    for name, sub in getattr(command, "commands", {}).items():
        lines += _help(sub, f"{path} {name}")
    return lines


def _effects() -> dict[str, str]:
    """Return the list of effects, and a page of each with physics, parameters, units, sources and its picture."""
    lines = [MADE, "# Effects", "", "Severity 0 is the identity, 1 nominal flight, 5 failure.", ""]
    lines += [_row("effect", "what it is", "code", "stage", "touches"), "|---" * 5 + "|"]
    made = {}
    for spec in effect_specs():
        link = f"[`{spec.name}`](effects/{spec.name}.md)"
        lines.append(_row(link, spec.title, spec.code, spec.stage, ", ".join(spec.planes)))
        made[f"effects/{spec.name}.md"] = _effect(spec)
    return {"effects.md": "\n".join(lines), **made}


def _effect(spec: EffectSpec) -> str:
    lines = [MADE, f"# `{spec.name}`: {spec.title}", "", f"{spec.model}.", ""]
    if (PICTURES / f"{spec.name}.png").exists():
        lines += [f"![{spec.title} at severity 1, 3 and 5](../../images/effects/{spec.name}.png)", ""]
    lines += [f"Stage: {spec.stage}. Touches: {', '.join(spec.planes)}. Source: {spec.source}.", ""]
    lines += [f"Acceptance test: {spec.test}.", ""]
    lines += [
        _row("parameter", "meaning", "unit", "bounds", "severity 1 to 5", "default", "source"),
        "|---" * 7 + "|",
    ]
    for item in spec.parameters:
        bounds = ", ".join(item.choices) if item.choices else f"{item.low:g} to {item.high:g}"
        graded = ", ".join(f"{value:g}" for value in item.severities or ())
        lines.append(_row(item.name, item.doc, item.unit, bounds, graded, item.default, item.source))
    return "\n".join(lines)


def _row(*cells: object) -> str:
    return "| " + " | ".join("" if cell is None else str(cell).replace("|", "\\|") for cell in cells) + " |"


def _scenarios() -> str:
    """Return the scenarios that ship, as their files say them."""
    lines = [MADE, "# Scenarios", "", "Further ones are picked up from the folders of `HWOSIM_SCENARIO_PATH`.", ""]
    for scenario in find_scenarios().found.values():
        written = (SHIPPED / f"{scenario.name}.yaml").read_text().rstrip()
        lines += [f"## `{scenario.name}`", "", scenario.description, "", "```yaml", written, "```", ""]
    return "\n".join(lines)


def pages() -> dict[Path, str]:
    """Return the made pages by path."""
    made = {"commands.md": _commands(), **_effects(), "scenarios.md": _scenarios()}
    return {FOLDER / name: text.rstrip() + "\n" for name, text in made.items()}


if __name__ == "__main__":
    made = pages()
    for path in set(FOLDER.rglob("*.md")) - set(made):
        path.unlink()
    for path, text in made.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
