"""``hwosim effects``, ``hwosim scenarios`` and ``hwosim scenario show``: what can be done to products."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hwosim_assets.console import json_option, print_json, print_table, say, severity_option
from hwosim_assets.errors import BadInputError

if TYPE_CHECKING:
    from hwosim_assets.perturb.parameters import Parameter
    from hwosim_assets.perturb.scenario import Scenario
    from hwosim_assets.perturb.spec import EffectSpec

__all__ = ["effects", "scenario", "scenarios"]


@click.command()
@click.argument("name", required=False)
@click.option("--profile", default="jwst", show_default=True, help="Whose severities: jwst, hwo-coronagraph, hwo-hri.")
@json_option
def effects(name: str | None, profile: str, as_json: bool) -> None:
    """List the effects; of one, tell its physics, parameters, units, severities and sources.

    \b
    Example:
      hwosim effects
      hwosim effects packet_loss
      hwosim effects jitter --profile hwo-coronagraph
    """
    from hwosim_assets.perturb.registry import effect_specs, spec_of

    specs = [_told(profile, spec) for spec in ([spec_of(name)] if name else effect_specs())]
    if as_json:
        print_json([asdict(spec) for spec in specs])
    elif name:
        _print_effect(specs[0])
    else:
        print_table("", ["effect", "code", "title", "stage"], [(x.name, x.code, x.title, x.stage) for x in specs])
        say("`hwosim effects NAME` tells the physics and parameters of one, `--json` those of all")


def _print_effect(spec: EffectSpec) -> None:
    """Print all that a specification says."""
    print_table(
        f"{spec.name} ({spec.code}, {spec.stage}): {spec.title}",
        ["parameter", "unit", "bounds", "severity 1-5 or default", "source"],
        [(item.name, item.unit, _range(item), _values(item), item.source) for item in spec.parameters],
    )
    for item in spec.parameters:
        click.echo(f"{item.name}: {item.doc}")
    click.echo(f"model: {spec.model}")
    click.echo(f"touches {', '.join(spec.planes)}; source: {spec.source}; test: {spec.test}")
    for remark in spec.remarks():
        click.echo(remark)


def _told(profile: str, spec: EffectSpec) -> EffectSpec:
    """Return an effect with the severities of a profile."""
    from hwosim_assets.perturb.registry import suggestion
    from hwosim_assets.perturb.stories import STORIES, told

    if profile not in STORIES:
        raise BadInputError(f"profile {profile!r}", "is not known", suggestion(profile, STORIES) or ", ".join(STORIES))
    return replace(spec, parameters=tuple(told(profile, spec.name, parameter) for parameter in spec.parameters))


def _range(parameter: Parameter) -> str:
    return " | ".join(parameter.choices) if parameter.choices else f"{parameter.low:g} to {parameter.high:g}"


def _values(parameter: Parameter) -> str:
    if parameter.severities is not None:
        return ", ".join(f"{value:g}" for value in parameter.severities)
    return str(parameter.default)


@click.command()
@json_option
def scenarios(as_json: bool) -> None:
    """List the scenarios: those that ship and those of HWOSIM_SCENARIO_PATH; broken files with their reason.

    \b
    Example:
      hwosim scenarios
    """
    from hwosim_assets.perturb.scenario import find_scenarios
    from hwosim_assets.settings import Settings

    known = find_scenarios(Settings().scenario_folders())
    if as_json:
        found = [{"name": item.name, "sha256": item.sha256, **_content(item)} for item in known.found.values()]
        broken = [{"path": str(item.path), "name": item.name, "reason": item.reason} for item in known.broken]
        print_json({"found": found, "broken": broken})
        return
    rows = [
        (
            item.name,
            item.content.version,
            ", ".join(choice.effect for choice in item.effects) or "none",
            item.description,
        )
        for item in known.found.values()
    ]
    print_table("", ["scenario", "version", "effects", "description"], rows)
    for broken_file in known.broken:
        say(f"left out  {broken_file.path}: {broken_file.reason}")


@click.group()
def scenario() -> None:
    """Look at one scenario.

    \b
    Example:
      hwosim scenario show nominal_l2
    """


@scenario.command()
@click.argument("name")
@severity_option("Of every effect and transport fault")
@click.option("--seed", type=int, help="Root seed.")
@json_option
def show(name: str, severity: float | None, seed: int | None, as_json: bool) -> None:
    """Show a scenario (a name or a YAML file) fully resolved: every number that products will get.

    \b
    Example:
      hwosim scenario show nominal_l2 --severity 2.5
    """
    from hwosim_assets.perturb.plan import make_plan
    from hwosim_assets.perturb.scenario import load_scenario
    from hwosim_assets.perturb.stories import STORIES
    from hwosim_assets.settings import Settings

    chosen = load_scenario(name, Settings().scenario_folders()).with_overrides(severity=severity, seed=seed)
    plan = make_plan(chosen, "", None)
    if as_json:
        hashes = {
            "sha256": chosen.sha256,
            "effects_sha256": chosen.effects_sha256,
            "stream_sha256": chosen.stream_sha256,
        }
        print_json({"id": chosen.id, **hashes, **_content(chosen), "resolved": plan.model_dump(mode="json")["effects"]})
        return
    say(f"{chosen.id}, version {chosen.content.version}, seed {chosen.seed}: {chosen.description}")
    story = STORIES[chosen.content.profile]
    say(f"profile {chosen.content.profile}: {story.title}{' (an assumption)' if story.assumption else ''}")
    rows = [
        (step.stage, step.effect, step.severity, _numbers(step.parameters), step.err, step.dq) for step in plan.effects
    ]
    print_table("effects", ["stage", "effect", "severity", "parameters", "err", "dq"], rows)
    for left_out in plan.left_out:
        say(f"{left_out.effect}: its numbers depend on the exposure's time (see --json)")
    print_table("schedule", ["key", "value"], list(chosen.schedule.model_dump().items()))
    faults = [(fault, _numbers(numbers)) for fault, numbers in chosen.transport.model_dump().items()]
    print_table("transport", ["fault", "numbers"], faults)


@scenario.command()
@click.argument("name")
@click.option("--write", "folder", type=click.Path(path_type=Path, file_okay=False), help="Write a YAML file for each.")
@json_option
def sweep(name: str, folder: Path | None, as_json: bool) -> None:
    """List the scenarios that the section ``sweep`` of one stands for; write them for HWOSIM_SCENARIO_PATH.

    \b
    Example:
      hwosim scenario sweep my_sweep.yaml --write scenarios
    """
    from hwosim_assets.perturb.scenario import load_sweep
    from hwosim_assets.settings import Settings

    derived = load_sweep(name, Settings().scenario_folders())
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        for item in derived:
            item.write(folder / f"{item.name}.yaml")
    if as_json:
        print_json([{"name": item.name, "sha256": item.sha256, **_content(item)} for item in derived])
        return
    print_table("", ["scenario", "seed", "effects"], [(x.name, x.seed, len(x.effects)) for x in derived])


def _content(item: Scenario) -> dict[str, Any]:
    return item.content.model_dump(mode="json")


def _numbers(values: dict[str, Any]) -> str:
    return ", ".join(
        f"{key} {value:g}" if isinstance(value, float) else f"{key} {value}" for key, value in values.items()
    )
