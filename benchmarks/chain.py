"""``make bench``: time and memory of every stage of the chain, per file and per MB, as one table.

Holds: the run. Each stage is a process of its own, so that its memory is its own, over an archive
that is written first or given. It prints and asserts nothing: the machine decides the figures, the
ratios within one run are what can be compared.

    python -m benchmarks.chain [--programs N] [--size small|full] [--scenario NAME] [--archive DIR] [--json]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.stages import STAGES, Work, measure, told
from hwosim_assets.settings import Settings


def main() -> int:
    """Run the stages, print the table."""
    options = _options()
    if options.stage:
        return _child(options)
    try:
        with tempfile.TemporaryDirectory(prefix="hwosim-bench-") as folder:
            measured = list(_run(options, Path(folder)))
    except subprocess.CalledProcessError as error:
        print(f"stage {error.cmd[4]} failed: see above", file=sys.stderr)
        return 1
    if options.json:
        print(json.dumps(measured, indent=2))
    else:
        _print(measured, options)
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.chain", description=__doc__)
    parser.add_argument("--programs", type=int, default=3, help="programs of the sample archive")
    parser.add_argument("--size", choices=("small", "full"), default="small", help="size of its detectors")
    parser.add_argument("--scenario", default="nominal_l2")
    parser.add_argument("--archive", type=Path, help="a folder of FITS files in place of the sample archive")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--stage", help=argparse.SUPPRESS)
    return parser.parse_args()


def _run(options: argparse.Namespace, folder: Path) -> Iterator[dict[str, Any]]:
    """Run every stage against fresh state and an archive server of its own."""
    archive = options.archive or folder / "archive"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HWOSIM_")}
    environment |= {"DAGSTER_HOME": str(folder / "home")}
    (folder / "home").mkdir()
    stages = [name for name in STAGES if name != "sample" or options.archive is None]
    if stages[0] == "sample":
        yield _measured(stages.pop(0), options, archive, environment)
    with _served(archive, environment) as url:
        environment["HWOSIM_ARCHIVE_URL"] = url
        try:
            for stage in stages:
                yield _measured(stage, options, archive, environment)
        finally:
            _measured("stop broker", options, archive, environment)


def _measured(stage: str, options: argparse.Namespace, archive: Path, environment: dict[str, str]) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.chain", "--stage", stage, "--archive", str(archive)]
    command += ["--programs", str(options.programs), "--size", options.size, "--scenario", options.scenario]
    print(f"{stage} ...", file=sys.stderr, flush=True)
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


@contextmanager
def _served(archive: Path, environment: dict[str, str]) -> Iterator[str]:
    """Serve the archive from another process, so that its memory is nobody's else."""
    command = [sys.executable, "-m", "benchmarks.chain", "--stage", "serve", "--archive", str(archive)]
    with subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        inward, outward = server.stdin, server.stdout
        if inward is None or outward is None:
            raise RuntimeError("the archive server has no pipes")
        try:
            yield outward.readline().strip()
        finally:
            inward.close()


def _child(options: argparse.Namespace) -> int:
    """Do one stage in this process and print what it took."""
    settings = Settings()
    if options.stage == "serve":
        from hwosim_assets.archive.server import LocalArchive

        with LocalArchive(options.archive) as archive:
            print(archive.url, flush=True)
            sys.stdin.read()
        return 0
    if options.stage == "stop broker":
        from hwosim_streaming.broker import stop

        print(json.dumps({"stopped": stop(settings.home)}))
        return 0
    work = Work(options.archive, settings, options.programs, options.size, options.scenario)
    print(told(measure(options.stage, work)))
    return 0


def _print(measured: list[dict[str, Any]], options: argparse.Namespace) -> None:
    whole = sum(stage["seconds"] for stage in measured)
    ingest = next(stage for stage in measured if stage["stage"] == "ingest")
    megabytes = ingest["bytes"] / 1e6
    rows = [
        (
            stage["stage"],
            stage["files"],
            f"{stage['seconds']:.2f}",
            f"{stage['cpu_seconds']:.2f}",
            f"{1000 * stage['seconds'] / max(ingest['files'], 1):.0f}",
            f"{1000 * stage['seconds'] / max(megabytes, 1e-9):.0f}",
            f"{stage['seconds'] / max(ingest['seconds'], 1e-9):.2f}",
            f"{100 * stage['seconds'] / max(whole, 1e-9):.0f} %",
            f"{stage['peak_mb']:.0f}",
            f"{stage['peak_mb'] - stage['idle_mb']:.0f}",
        )
        for stage in measured
    ]
    columns = ("stage", "files", "s", "cpu s", "ms/file", "ms/MB", "x ingest", "share", "peak MB", "own MB")
    print(f"{ingest['files']} files, {megabytes:.1f} MB raw, scenario {options.scenario}")
    print(f"{columns[0]:<20}" + "".join(f"{column:>10}" for column in columns[1:]))
    for row in rows:
        print(f"{row[0]:<20}" + "".join(f"{cell:>10}" for cell in row[1:]))
    print("Per file and per MB of the raw archive. Each stage is a fresh process: its imports count.")


if __name__ == "__main__":
    sys.exit(main())
