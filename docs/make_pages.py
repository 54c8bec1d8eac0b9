"""``make docs``: the pages of docs/reference that are made from the program itself.

Holds: one function per page. A page made here is never edited by hand; a test compares the pages with
what the program says today. Keep out pages that a person writes.

    python docs/make_pages.py
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.metadata import entry_points
from pathlib import Path

import click

from hwosim_assets.perturb.registry import effect_specs
from hwosim_assets.perturb.scenario import SHIPPED, find_scenarios
from hwosim_assets.perturb.spec import EffectSpec
from hwosim_assets.quality.registry import Entry, registry

__all__ = ["pages"]

FOLDER = Path(__file__).parent / "reference"
PICTURES = Path(__file__).parent / "images" / "effects"
DEFECTS = Path(__file__).parents[1] / "tests" / "quality"
MADE = "<!-- made by `make docs`; edit the program instead -->"
#: What follows where a rule of a severity is broken.
FOLLOWS = {
    "critical": "what lies downstream stops",
    "warning": "it is told, the chain goes on",
    "info": "it is remarked",
    "reject": "the file is quarantined",
    "warn": "the product carries a warning",
}
#: Why the page of an effect has no picture.
UNPICTURED = {
    "clock_error": "it changes times, and no pixel",
    "dropped_integrations": "the integrations that are left have the pixels they had",
    "file_damage": "a file that is cut short, its default, cannot be read as an image",
    "header_corruption": "it changes headers, and no pixel",
    "header_loss": "it changes headers, and no pixel",
    "schema_drift": "by default it changes names, and no pixel",
    "wavelength_shift": "by default it changes wavelengths, and no pixel; fluxes move in spectra only",
}
QUALITY = (
    "{rules} rules and {defects} defects. Of each defect a test (`tests/quality/test_quality_defects.py`) shows that "
    "the rule beside it says so, and no other but those named. A rule `file.…` judges one file while the catalog is "
    "built, any other judges a table, in the check of the same name. How they are used: [quality](../quality.md)."
)


def _row(*cells: object) -> str:
    return "| " + " | ".join("" if cell is None else str(cell).replace("|", "\\|") for cell in cells) + " |"


RULES = _row("rule", "severity", "what holds", "who promises it", "defect", "verdict")


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
    if spec.name in UNPICTURED:
        lines += [f"No picture: {UNPICTURED[spec.name]}.", ""]
    lines += [f"Stage: {spec.stage}. Touches: {', '.join(spec.planes)}. Source: {spec.source}.", ""]
    lines += [f"Acceptance test: {spec.test}.", ""]
    lines += [" ".join(spec.remarks()), ""]
    lines += [
        _row("parameter", "meaning", "unit", "bounds", "severity 1 to 5", "default", "source"),
        "|---" * 7 + "|",
    ]
    for item in spec.parameters:
        bounds = ", ".join(item.choices) if item.choices else f"{item.low:g} to {item.high:g}"
        graded = ", ".join(f"{value:g}" for value in item.severities or ())
        lines.append(_row(item.name, item.doc, item.unit, bounds, graded, item.default, item.source))
    return "\n".join(lines)


def _scenarios() -> str:
    """Return the scenarios that ship, as their files say them."""
    lines = [MADE, "# Scenarios", "", "Further ones are picked up from the folders of `HWOSIM_SCENARIO_PATH`.", ""]
    for scenario in find_scenarios().found.values():
        written = (SHIPPED / f"{scenario.name}.yaml").read_text().rstrip()
        lines += [f"## `{scenario.name}`", "", scenario.description, "", "```yaml", written, "```", ""]
    return "\n".join(lines)


def _quality() -> str:
    """Return every quality rule with the defect that shows it, and what is said of malformed and of real files."""
    sys.path.insert(0, str(DEFECTS))
    from file_defects import FILE_DEFECTS
    from real_verdicts import MALFORMED, REAL
    from table_defects import TABLE_DEFECTS

    defects = [(f"file.{item.rule}", item) for item in FILE_DEFECTS]
    defects += [(f"{item.suite}.{item.rule}", item) for item in TABLE_DEFECTS]
    entries = registry()
    lines = [MADE, "# Quality rules", "", QUALITY.format(rules=len(entries), defects=len(defects)), ""]
    for stage in dict.fromkeys(entry.stage for entry in entries):
        lines += [
            f"## {stage}",
            "",
            _row("rule", "what holds", "who promises it", "defect", "verdict"),
            "|---" * 5 + "|",
        ]
        for entry in (entry for entry in entries if entry.stage == stage):
            lines += [_rule(entry, item.words, item.also) for name, item in defects if name == entry.id]
        lines.append("")
    lines += ["## Malformed files", "", f"{len(MALFORMED)} files, all of them refused.", ""]
    lines += [_row("file", "what is wrong", "caught by", "also"), "|---" * 4 + "|"]
    lines += [_row(item.file, item.words, f"`{item.rule}`", _named(item.also.split())) for item in MALFORMED]
    said = [item for item in REAL if item.rules]
    lines += ["", "## Real files", "", f"Of {len(REAL)} files {len(REAL) - len(said)} raise no alarm. The others:", ""]
    lines += [_row("file", "alarm", "why it is true"), "|---" * 3 + "|"]
    lines += [_row(item.file, _named(item.rules.split()), item.why) for item in said]
    return "\n".join(lines)


def _rule(entry: Entry, defect: str, also: tuple[str, ...]) -> str:
    verdict = f"caught: {FOLLOWS[entry.severity]}" + (f"; also {_named(also)}" if also else "")
    return _row(f"`{entry.id}`", entry.severity, entry.doc, entry.source, defect, verdict)


def _named(rules: Sequence[str]) -> str:
    return ", ".join(f"`{rule}`" for rule in rules)


def pages() -> dict[Path, str]:
    """Return the made pages by path."""
    made = {"commands.md": _commands(), **_effects(), "scenarios.md": _scenarios(), "quality-rules.md": _quality()}
    return {FOLDER / name: text.rstrip() + "\n" for name, text in made.items()}


if __name__ == "__main__":
    made = pages()
    for path in set(FOLDER.rglob("*.md")) - set(made):
        path.unlink()
    for path, text in made.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
