"""``hwosim perturb``, ``hwosim replay`` and ``hwosim truth diff``: one product made imperfect, again, and checked."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hwosim_assets.console import json_option, print_json, say, severity_option
from hwosim_assets.errors import BadInputError, HwosimError

if TYPE_CHECKING:
    from hwosim_assets.perturb.effect import Earlier
    from hwosim_assets.perturb.plan import Plan
    from hwosim_assets.perturb.product import Product

__all__ = ["perturb", "replay", "truth"]

_FILE = click.Path(path_type=Path, dir_okay=False)


@click.command()
@click.argument("source", metavar="IN.fits", type=_FILE)
@click.argument("target", metavar="[OUT.fits]", type=_FILE, required=False)
@click.option("--scenario", help="Name of a scenario, or a YAML file.")
@severity_option("Instead of the scenario's")
@click.option("--seed", type=int, help="Root seed, instead of the scenario's.")
@click.option(
    "--plan", "plan_file", type=_FILE, help="Apply this plan, saved and perhaps edited, instead of a scenario."
)
@click.option("--save-plan", type=_FILE, help="Write the resolved plan here; without OUT.fits nothing else is done.")
@click.option("--truth", "truth_file", type=_FILE, help="Write the truth record here (JSON lines).")
@click.option("--earlier", type=_FILE, multiple=True, help="Earlier exposures of the same detector, the latest first.")
@click.option("--threads", type=click.IntRange(1, 64), default=1, show_default=True)
@json_option
def perturb(
    source: Path,
    target: Path | None,
    scenario: str | None,
    severity: float | None,
    seed: int | None,
    plan_file: Path | None,
    save_plan: Path | None,
    truth_file: Path | None,
    earlier: tuple[Path, ...],
    threads: int,
    as_json: bool,
) -> None:
    """Perturb one product. Random numbers belong to the file's name, so the same name gives the same bytes.

    \b
    Example:
      hwosim perturb x_cal.fits out.fits --scenario nominal_l2 --severity 3 --seed 7 --truth out.jsonl
      hwosim perturb x_cal.fits --scenario nominal_l2 --save-plan plan.json
      hwosim perturb x_cal.fits out.fits --plan plan.json
    """
    from hwosim_assets.perturb.files import open_in_place, perturb_file

    _apart([source, *earlier, *filter(None, [plan_file])], target, save_plan, truth_file)
    if target is None and save_plan is None:
        raise BadInputError("OUT.fits", "is not given", "give an output file, or --save-plan")
    if target is None and truth_file is not None:
        raise BadInputError("--truth", "goes with an output file", "give OUT.fits, or leave it out")
    _check_place(truth_file)
    product = open_in_place(source)
    plan = _plan(product, scenario, plan_file, severity, seed)
    if save_plan is not None:
        plan.write(save_plan)
    if target is None:
        say(f"{save_plan}: {len(plan.effects)} effects")
        return
    record = perturb_file(source, target, plan, threads=threads, earlier=_earlier(earlier))
    if truth_file is not None:
        try:
            record.write(truth_file)
        except BaseException:
            if target.is_file():
                target.unlink()  # it would stay without its truth
            raise
    if as_json:
        print_json(record.record)
        return
    lost = sum(step["pixels_lost"] for step in record.record["effects"])
    say(f"{target}: {'changed' if record.changed else 'the same bytes as the input'}, {lost} pixels lost")
    for step in record.record["effects"]:
        for item in step["measurements"]:
            if "not_applicable" in item:
                say(f"{step['effect']} left {item['name']} alone: {item['not_applicable']}")


def _plan(
    product: Product, scenario: str | None, plan_file: Path | None, severity: float | None, seed: int | None
) -> Plan:
    """Return the plan of a scenario for a product, or the one of a file."""
    from hwosim_assets.perturb.plan import make_plan, read_plan
    from hwosim_assets.perturb.scenario import load_scenario
    from hwosim_assets.settings import Settings

    if (scenario is None) == (plan_file is None):
        raise click.UsageError("give one of --scenario and --plan")
    if plan_file is not None:
        if severity is not None or seed is not None:
            raise BadInputError("--plan", "has its own severity and seed", "edit the plan")
        plan = read_plan(plan_file)
        _check_belongs(plan, plan_file, product)
        return plan
    chosen = load_scenario(str(scenario), Settings().scenario_folders())
    chosen = chosen.with_overrides(severity=severity, seed=seed)
    return make_plan(chosen, product.name, product.stream_time if chosen.effects else None)


def _check_belongs(plan: Plan, plan_file: Path, product: Product) -> None:
    """Refuse a plan of another product: its numbers are final for the name and the time of its own."""
    if plan.uid != product.name:
        mend = "save one of this file, or edit its uid"
        raise BadInputError(str(plan_file), f"is a plan for {plan.uid}, not for {product.name}", mend)
    if plan.effects and plan.stream_time != product.stream_time:
        reason = f"its stream_time is {plan.stream_time}, and that of {product.name} {product.stream_time}"
        raise BadInputError(str(plan_file), reason, "save one of this file")


def _check_place(truth_file: Path | None) -> None:
    """Refuse a truth that could not be written, before the output is there.

    Raises
    ------
    HwosimError
        When no file can be made there.
    """
    if truth_file is None or (truth_file.exists() and not truth_file.is_file() and not truth_file.is_dir()):
        return  # a pipe is written to as it comes
    try:
        if truth_file.exists():
            truth_file.open("ab").close()
        with tempfile.TemporaryFile(dir=truth_file.parent):
            pass  # its side file will lie beside it
    except OSError as error:
        raise HwosimError(str(truth_file), error.strerror or "cannot be written", "check the path") from error


def _earlier(files: tuple[Path, ...]) -> list[Earlier]:
    """Return earlier exposures with the time they ended."""
    from hwosim_assets.perturb.effect import Earlier
    from hwosim_assets.perturb.product import Product

    found = []
    for path in files:
        product = Product.open(path)
        end = product.number("EXPEND")
        if end is None:
            raise BadInputError(str(path), "does not say when it ended (EXPEND)", "leave it out")
        found.append(Earlier(product, end))
    return found


@click.command()
@click.argument("record", metavar="TRUTH.jsonl", type=_FILE)
@click.argument("source", metavar="IN.fits", type=_FILE)
@click.argument("target", metavar="OUT.fits", type=_FILE)
@click.option("--earlier", type=_FILE, multiple=True, help="Earlier exposures that the record names.")
@click.option("--threads", type=click.IntRange(1, 64), default=1, show_default=True)
def replay(record: Path, source: Path, target: Path, earlier: tuple[Path, ...], threads: int) -> None:
    """Make the same bytes again from an input and its truth.

    \b
    Example:
      hwosim replay out.jsonl x_cal.fits again.fits
    """
    from hwosim_assets.perturb.product import Product
    from hwosim_assets.perturb.proof import replay as replayed
    from hwosim_assets.perturb.truth import read_truth

    _apart([source, record, *earlier], target)
    product = Product.open(source)
    again = replayed(read_truth(record, product.sha256), product, threads=threads, earlier=_earlier(earlier))
    again.write(target)
    say(f"{target}: the same bytes as recorded")


@click.group()
def truth() -> None:
    """Check truths.

    \b
    Example:
      hwosim truth diff x_cal.fits out.fits --truth out.jsonl
    """


@truth.command()
@click.argument("before", metavar="IN.fits", type=_FILE)
@click.argument("after", metavar="OUT.fits", type=_FILE)
@click.option("--truth", "truth_file", type=_FILE, required=True, help="The truth record.")
@click.option("--earlier", type=_FILE, multiple=True, help="Earlier exposures that the record names.")
@json_option
def diff(before: Path, after: Path, truth_file: Path, earlier: tuple[Path, ...], as_json: bool) -> None:
    """Say whether the truth accounts for every difference between two files; exit status 1 if not.

    \b
    Example:
      hwosim truth diff x_cal.fits out.fits --truth out.jsonl
    """
    from hwosim_assets.perturb.product import Product
    from hwosim_assets.perturb.proof import diff as compared
    from hwosim_assets.perturb.truth import read_truth

    product = Product.open(before)
    verdict = compared(product, Product.open(after), read_truth(truth_file, product.sha256), earlier=_earlier(earlier))
    if as_json:
        print_json({"accounted": verdict.accounted, "findings": list(verdict.findings)})
    elif verdict.accounted:
        say("the truth accounts for every difference")
    if not verdict.accounted:
        for finding in () if as_json else verdict.findings:
            say(finding)
        sys.exit(1)


def _apart(inputs: Sequence[Path], *outputs: Path | None) -> None:
    """Refuse to write over an input, or two things to one file."""
    taken = list(inputs)
    for path in filter(None, outputs):
        for other in taken:
            if path.resolve() == other.resolve() or (path.exists() and other.exists() and path.samefile(other)):
                kind = "the input" if other in inputs else "another output"
                raise BadInputError(str(path), f"is {kind}", "give another output file")
        taken.append(path)
