"""``hwosim perturb``, ``hwosim replay`` and ``hwosim truth diff``: one product made imperfect, again, and checked."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from hwosim_assets.console import json_option, print_json, say
from hwosim_assets.errors import BadInputError

__all__ = ["perturb", "replay", "truth"]

_FILE = click.Path(path_type=Path, dir_okay=False)


@click.command()
@click.argument("source", metavar="IN.fits", type=_FILE)
@click.argument("target", metavar="OUT.fits", type=_FILE)
@click.option("--scenario", required=True, help="Name of a scenario, or a YAML file.")
@click.option("--severity", type=float, help="0 to 5, instead of the scenario's.")
@click.option("--seed", type=int, help="Root seed, instead of the scenario's.")
@click.option("--truth", "truth_file", type=_FILE, help="Write the truth record here (JSON lines).")
@click.option("--threads", type=click.IntRange(1, 64), default=1, show_default=True)
@json_option
def perturb(
    source: Path,
    target: Path,
    scenario: str,
    severity: float | None,
    seed: int | None,
    truth_file: Path | None,
    threads: int,
    as_json: bool,
) -> None:
    """Perturb one product. Random numbers belong to the file's name, so the same name gives the same bytes.

    \b
    Example:
      hwosim perturb x_cal.fits out.fits --scenario nominal_l2 --severity 3 --seed 7 --truth out.jsonl
    """
    from hwosim_assets.perturb.product import Product
    from hwosim_assets.perturb.run import apply
    from hwosim_assets.perturb.scenario import load_scenario
    from hwosim_assets.settings import Settings

    _apart(source, target)
    chosen = load_scenario(scenario, Settings().scenario_folders())
    out, record = apply(Product.open(source), chosen, severity=severity, seed=seed, threads=threads)
    out.write(target)
    if truth_file is not None:
        record.write(truth_file)
    if as_json:
        print_json(record.record)
        return
    lost = sum(step["pixels_lost"] for step in record.record["effects"])
    say(f"{target}: {'changed' if record.changed else 'the same bytes as the input'}, {lost} pixels lost")
    for step in record.record["effects"]:
        for item in step["measurements"]:
            if "not_applicable" in item:
                say(f"{step['effect']} left {item['name']} alone: {item['not_applicable']}")


@click.command()
@click.argument("record", metavar="TRUTH.jsonl", type=_FILE)
@click.argument("source", metavar="IN.fits", type=_FILE)
@click.argument("target", metavar="OUT.fits", type=_FILE)
@click.option("--threads", type=click.IntRange(1, 64), default=1, show_default=True)
def replay(record: Path, source: Path, target: Path, threads: int) -> None:
    """Make the same bytes again from an input and its truth.

    \b
    Example:
      hwosim replay out.jsonl x_cal.fits again.fits
    """
    from hwosim_assets.perturb.product import Product
    from hwosim_assets.perturb.proof import replay as replayed
    from hwosim_assets.perturb.truth import read_truth

    _apart(source, target)
    product = Product.open(source)
    replayed(read_truth(record, product.sha256), product, threads=threads).write(target)
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
@json_option
def diff(before: Path, after: Path, truth_file: Path, as_json: bool) -> None:
    """Say whether the truth accounts for every difference between two files; exit status 1 if not.

    \b
    Example:
      hwosim truth diff x_cal.fits out.fits --truth out.jsonl
    """
    from hwosim_assets.perturb.product import Product
    from hwosim_assets.perturb.proof import diff as compared
    from hwosim_assets.perturb.truth import read_truth

    product = Product.open(before)
    verdict = compared(product, Product.open(after), read_truth(truth_file, product.sha256))
    if as_json:
        print_json({"accounted": verdict.accounted, "findings": list(verdict.findings)})
    elif verdict.accounted:
        say("the truth accounts for every difference")
    if not verdict.accounted:
        for finding in () if as_json else verdict.findings:
            say(finding)
        sys.exit(1)


def _apart(source: Path, target: Path) -> None:
    """Refuse to write over the input."""
    if target.exists() and source.exists() and target.samefile(source):
        raise BadInputError(str(target), "is the input", "give another output file")
