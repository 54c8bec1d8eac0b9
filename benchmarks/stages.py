"""The stages of the chain as plain calls, each timed in a process of its own.

Holds: one function per stage, which does the stage for every program and returns the files and bytes
it went over, and :func:`measure`. Keep out starting the processes and printing (``benchmarks.chain``).
"""

from __future__ import annotations

import json
import resource
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from hwosim_assets.lake.store import Lake
from hwosim_assets.lake.tables import Tables
from hwosim_assets.perturb.scenario import Scenario
from hwosim_assets.settings import Settings

__all__ = ["STAGES", "Measured", "Work", "measure"]


@dataclass(frozen=True)
class Work:
    """What a stage is given: the archive's folder, where lake and tables are, and the options."""

    archive: Path
    settings: Settings
    programs: int
    size: str
    scenario: str

    @property
    def lake(self) -> Lake:
        """The object store."""
        return Lake.from_settings(self.settings)

    @property
    def tables(self) -> Tables:
        """The Iceberg tables."""
        return Tables.from_settings(self.settings)

    def scenario_found(self) -> Scenario:
        """Return the scenario by its name."""
        from hwosim_assets.perturb.scenario import load_scenario

        return load_scenario(self.scenario, self.settings.scenario_folders())

    def known_programs(self) -> list[str]:
        """Return the programs that were listed."""
        from hwosim_assets.archive.schema import ARCHIVE_PRODUCTS

        return sorted(set(self.tables.scan(ARCHIVE_PRODUCTS, columns=["program"])["program"].to_pylist()))


@dataclass(frozen=True)
class Measured:
    """One stage: wall time in seconds, memory in MB (10^6 bytes), files and bytes gone over."""

    stage: str
    files: int
    bytes: int
    seconds: float
    cpu_seconds: float
    idle_mb: float
    peak_mb: float


def measure(stage: str, work: Work) -> Measured:
    """Run a stage once; what it imports counts as its time and memory, as in a fresh process."""
    idle = _peak_mb()
    wall, cpu = time.perf_counter(), time.process_time()
    files, size = STAGES[stage](work)
    return Measured(stage, files, size, time.perf_counter() - wall, time.process_time() - cpu, idle, _peak_mb())


def told(measured: Measured) -> str:
    """Return a measurement as one line of JSON."""
    return json.dumps(asdict(measured))


def _peak_mb() -> float:
    """Return the largest resident memory of this process so far.

    ``VmHWM`` where there is one: ``ru_maxrss`` is handed down from the process that started this one.
    """
    status = Path("/proc/self/status")
    if status.is_file():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024 / 1e6
    unit = 1 if resource.getpagesize() == 16384 else 1024  # macOS counts bytes, the others kB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def _sample(work: Work) -> tuple[int, int]:
    from hwosim_assets.archive.sample import write_sample

    written = write_sample(work.archive, programs=work.programs, size=work.size)
    return len(written.files), written.size_bytes


def _list(work: Work) -> tuple[int, int]:
    from hwosim_assets.archive.client import ArchiveClient
    from hwosim_assets.archive.schema import ARCHIVE_PRODUCTS, OBSERVATIONS, observation_rows, product_rows

    tables, files, size = work.tables, 0, 0
    with ArchiveClient.from_settings(work.settings) as client:
        for program in sorted(client.programs()):
            observations = client.observations(program=program)
            products = client.products(observations)
            tables.replace(OBSERVATIONS, {"program": program}, observation_rows(program, observations))
            tables.replace(ARCHIVE_PRODUCTS, {"program": program}, product_rows(program, products))
            files += len(products)
            size += sum(int(product["size"] or 0) for product in products)
    return files, size


def _ingest(work: Work) -> tuple[int, int]:
    from hwosim_assets.archive.client import ArchiveClient
    from hwosim_assets.archive.schema import ARCHIVE_PRODUCTS
    from hwosim_assets.lake.ingest import ingest_program
    from hwosim_assets.lake.rejections import QUARANTINE, rejection_rows

    lake, tables, files, size = work.lake, work.tables, 0, 0
    with ArchiveClient.from_settings(work.settings) as client:
        for program in work.known_programs():
            listed = tables.scan(ARCHIVE_PRODUCTS, {"program": program}).to_pylist()
            brought = ingest_program(program, listed, client, lake, tables, home=work.settings.home)
            scope = {"program": program, "stage": "raw"}
            tables.replace(QUARANTINE, scope, rejection_rows(program, brought.rejections))
            files += brought.rows.num_rows
            size += sum(brought.rows["size_bytes"].to_pylist())
    return files, size


def _catalog(work: Work) -> tuple[int, int]:
    from hwosim_assets.catalog.build import catalog_program
    from hwosim_assets.lake.ingest import RAW_FILES

    lake, tables, files, size = work.lake, work.tables, 0, 0
    for program in work.known_programs():
        raw = tables.scan(RAW_FILES, {"program": program})
        catalog_program(program, raw, lake, tables)
        files += raw.num_rows
        size += sum(raw["size_bytes"].to_pylist())
    return files, size


def _perturb(work: Work) -> tuple[int, int]:
    from hwosim_assets.lake.rejections import QUARANTINE, rejection_rows
    from hwosim_assets.perturb.dataset import perturb_program

    lake, tables, scenario, files, size = work.lake, work.tables, work.scenario_found(), 0, 0
    for program in work.known_programs():
        made = perturb_program(program, scenario, lake, tables)
        scope = {"program": program, "stage": f"perturbed/{scenario.id}"}
        refused = [
            rejection.__class__(**{**asdict(rejection), "stage": scope["stage"]}) for rejection in made.rejections
        ]
        tables.replace(QUARANTINE, scope, rejection_rows(program, refused))
        files += made.rows.num_rows
        size += sum(row or 0 for row in made.rows["size_bytes"].to_pylist())
    return files, size


def _publish(work: Work) -> tuple[int, int]:
    from hwosim_streaming.publication import publish_program

    lake, tables, scenario, files, size = work.lake, work.tables, work.scenario_found(), 0, 0
    for program in work.known_programs():
        done = publish_program(program, scenario, lake, tables, work.settings)
        files += int(done.row["products"])
        size += int(done.row["bytes"])
    return files, size


def _check(work: Work) -> tuple[int, int]:
    from hwosim_assets.lake.ingest import RAW_FILES
    from hwosim_assets.quality.inputs import read_input
    from hwosim_assets.quality.report import write_report
    from hwosim_assets.quality.run import run_suite
    from hwosim_assets.quality.suites import SUITES

    lake, tables, scenario = work.lake, work.tables, work.scenario_found()
    for program in work.known_programs():
        for suite in (name for name in SUITES if name != "stream"):
            read = read_input(suite, program, lake, tables, scenario.id)
            write_report(lake, tables, suite, program, run_suite(suite, read.rows, read.counts))
    sizes = tables.scan(RAW_FILES, columns=["size_bytes"])["size_bytes"].to_pylist()
    return len(sizes), sum(sizes)


#: In the order of the chain; the second ingest finds everything unchanged.
STAGES: dict[str, Callable[[Work], tuple[int, int]]] = {
    "sample": _sample,
    "list": _list,
    "ingest": _ingest,
    "ingest again": _ingest,
    "catalog": _catalog,
    "catalog again": _catalog,
    "perturb": _perturb,
    "perturb again": _perturb,
    "publish and verify": _publish,
    "publish again": _publish,
    "quality checks": _check,
}
