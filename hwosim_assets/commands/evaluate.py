"""``hwosim evaluate``: a model scored against the truth, by severity."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hwosim_assets.console import json_option, out, print_json, print_table, progress, say, severity_option
from hwosim_assets.errors import BadInputError

if TYPE_CHECKING:
    from hwosim_assets.evaluate.curves import Cell, Curve
    from hwosim_assets.evaluate.score import Evaluation

__all__ = ["evaluate"]

#: The programs of the sample archive that a model is tried on where no products are given: a star field, a transit.
_PROGRAMS = 2
_COLUMNS = (
    "severity",
    "to find",
    "blended",
    "F1",
    "recall (95 %)",
    "precision (95 %)",
    "false alarms",
    "answered",
    "ref. F1",
)


@click.command()
@click.argument("products", nargs=-1, type=click.Path(exists=True, path_type=Path))
@click.option("--model", "model_name", required=True, metavar="MODULE:NAME", help="A callable that takes a product.")
@click.option(
    "--scenario", "scenarios", multiple=True, required=True, help="Name of a scenario, or a YAML file; repeat for mCE."
)
@severity_option("Besides 0, instead of 1 to 5; repeat", several=True)
@click.option(
    "--draws",
    type=click.IntRange(1, 10_000),
    default=5,
    show_default=True,
    help="How often a product is used at a severity, with other places, times and noise.",
)
@json_option
def evaluate(
    products: tuple[Path, ...],
    model_name: str,
    scenarios: tuple[str, ...],
    severities: tuple[float, ...],
    draws: int,
    as_json: bool,
) -> None:
    """Score a model: perturb PRODUCTS (files or folders), ask it, compare its answers with the truth.

    What a scenario injects is to be found, and stays the same while its damage is graded; one that injects nothing asks
    for its cosmic rays. Without PRODUCTS those of the sample archive are used. The model gets the delivered file alone.

    \b
    Example:
      hwosim evaluate --model my_model:find --scenario mine.yaml x_cal.fits y_cal.fits
      hwosim evaluate --model hwosim_assets.evaluate:fragile --scenario solar_max
    """
    from hwosim_assets.evaluate.answers import load_model
    from hwosim_assets.evaluate.score import evaluate as score
    from hwosim_assets.perturb.scenario import load_scenario
    from hwosim_assets.settings import Settings

    folders = Settings().scenario_folders()
    chosen = [load_scenario(name, folders) for name in scenarios]
    model = load_model(model_name)
    grid = severities or tuple(float(severity) for severity in range(6))
    with _files(products) as files, progress() as bars:
        task = bars.add_task(model_name, total=len(files) * len(chosen))
        found = score(model, chosen, files, severities=grid, draws=draws, on_step=lambda: bars.advance(task))
    if as_json:
        print_json({"model": model_name, "draws": draws, **found.record()})
    else:
        _print(found, model_name)


@contextmanager
def _files(given: Sequence[Path]) -> Iterator[list[Path]]:
    """Give the files of the paths, or those of a sample archive that is made for it.

    Raises
    ------
    BadInputError
        When a folder holds no FITS files.
    """
    if not given:
        from hwosim_assets.archive.sample import write_sample

        with tempfile.TemporaryDirectory() as folder:
            say(f"no products given: those of {_PROGRAMS} programs of the sample archive are used")
            write_sample(Path(folder), programs=_PROGRAMS)
            yield _in_folder(Path(folder))
        return
    yield [file for path in given for file in (_in_folder(path) if path.is_dir() else [path])]


def _in_folder(folder: Path) -> list[Path]:
    found = sorted(path for path in folder.rglob("*") if path.name.endswith((".fits", ".fits.gz")))
    if not found:
        raise BadInputError(str(folder), "holds no FITS files", "name files, or another folder")
    return found


def _print(found: Evaluation, model_name: str) -> None:
    """Print a table for each curve, one of all curves, and what went wrong."""
    for curve in found.curves:
        title = f"{model_name} under {curve.scenario}: {curve.kind}"
        print_table(title, _COLUMNS, _rows(curve))
    columns = ["scenario", "kind", "mPC", "rPC", "AUSPC", "S50", "CE", "relative CE", "answered"]
    print_table("", columns, [_summary(curve) for curve in found.curves])
    mean = found.mean_corruption_error
    out.print("mCE is not defined" if math.isnan(mean) else f"mCE {mean:.3g} (the reference has 1; less is better)")
    if found.failures:
        scenario, product, severity, reason = found.failures[0]
        say(f"{len(found.failures)} answers failed; the first: {product} under {scenario} at {severity:g}: {reason}")
    if found.left_out:
        scenario, product, reason = found.left_out[0]
        say(f"{len(found.left_out)} left out; the first: {product} under {scenario}: {reason}")


def _rows(curve: Curve) -> list[list[str]]:
    own, others = curve.cells
    rows = []
    for severity, cell in own.items():
        record = cell.record(curve.kind)
        counts = cell.counts
        rows.append(
            [
                f"{severity:g}",
                str(counts.found + counts.missed),
                str(counts.blended),
                _figure(counts.f1),
                _interval(counts.recall, record["recall_interval"]),
                _interval(counts.precision, record["precision_interval"]),
                _figure(record["false_alarms_per_product"]),
                _share(cell),
                _figure(others[severity].counts.f1),
            ]
        )
    return rows


def _summary(curve: Curve) -> list[str]:
    figures = curve.figures()
    above = figures["S50_above"]
    fails = _figure(figures["S50"]) if math.isnan(above) else f"> {above:g}"
    if figures["S50_physical"]:
        fails += f" ({figures['S50_physical']})"
    named = [_figure(figures[name]) for name in ("mPC", "rPC", "AUSPC")]
    return [
        curve.scenario,
        curve.kind,
        *named,
        fails,
        _figure(figures["CE"]),
        _figure(figures["relative_CE"]),
        f"{figures['availability']:.0%}",
    ]


def _figure(value: float) -> str:
    """Return a figure in words: nothing where it is not defined."""
    return "" if math.isnan(value) else f"{value:.3g}"


def _interval(value: float, interval: tuple[float, float]) -> str:
    low, high = interval
    return "" if math.isnan(value) else f"{value:.2f} ({low:.2f}-{high:.2f})"


def _share(cell: Cell) -> str:
    return f"{cell.answered}/{cell.asked}"
