"""What searching costs as the catalog grows: named queries over tables of several sizes, in one process.

Holds: rows like those of an archive (programs of a thousand products, each at its own place in the sky and
in its own days), written as compaction leaves them, and the timing of queries. It prints and asserts
nothing. Everything is written below a temporary folder, which is removed.

    python -m benchmarks.queries [--rows 100000,1000000,10000000] [--repeat N]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from hwosim_assets.catalog.footprint_search import Cone
from hwosim_assets.catalog.products import PRODUCTS
from hwosim_assets.catalog.search import Question, find
from hwosim_assets.lake.compact import FILE_ROWS
from hwosim_assets.lake.datafile import bucket_of, write_rows
from hwosim_assets.lake.tables import Tables

PER_PROGRAM = 1000
TYPES = ("uncal", "rate", "cal", "i2d", "cat")
INSTRUMENTS = {
    "NIRCAM/IMAGE": ("F115W", "F150W", "F200W", "F444W"),
    "MIRI/IMAGE": ("F770W", "F1000W", "F1500W", "F2100W"),
    "NIRISS/WFSS": ("GR150C;F150W", "GR150R;F150W", "GR150C;F200W", "GR150R;F200W"),
    "NIRSPEC/MSA": ("F170LP;G235H", "F290LP;G395H", "F100LP;G140H", "CLEAR;PRISM"),
}
EPOCH, DAYS_APART = 59760.0, 0.3


def main() -> int:
    """Write each table, ask, print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.queries", description=__doc__)
    parser.add_argument("--rows", default="100000,1000000,10000000")
    parser.add_argument("--repeat", type=int, default=200, help="askings of a query, each with other values")
    options = parser.parse_args()
    sizes = [int(text) for text in options.rows.split(",")]
    taken: dict[str, list[tuple[float, float]]] = {}
    print(f"{'query':<34}{'rows':>10}{'p50 ms':>9}{'p95 ms':>9}{'found':>8}  planned files, row groups, rows")
    for size in sizes:
        with tempfile.TemporaryDirectory(prefix="hwosim-bench-") as folder:
            tables = Tables(f"sqlite:///{folder}/catalog.db", (Path(folder) / "tables").as_uri())
            begin = time.perf_counter()
            _fill(tables, size)
            print(f"# {size} rows written in {time.perf_counter() - begin:.0f} s", file=sys.stderr, flush=True)
            for query in _queries(size // PER_PROGRAM):
                taken.setdefault(query.name, []).append(_ask(tables, query, size, options.repeat))
    print(f"growth of p50 and p95 from {sizes[0]} to {sizes[-1]} rows")
    for name, figures in taken.items():
        print(f"{name:<34}{figures[-1][0] / figures[0][0]:>10.2f}{figures[-1][1] / figures[0][1]:>10.2f}")
    return 0


@dataclass(frozen=True)
class _Query:
    name: str
    make: Callable[[np.random.Generator], Question]
    repeat: int | None = None


def _queries(programs: int) -> Iterator[_Query]:
    """Name the queries; each asks for another program every time."""

    def one(random: np.random.Generator) -> int:
        return int(random.integers(1, programs + 1))

    def near(random: np.random.Generator) -> Cone:
        number = one(random)
        ra, dec = _pointing(number)
        return Cone(float(ra[0]), float(dec[0]), 0.02)

    def days(random: np.random.Generator) -> Question:
        start = EPOCH + DAYS_APART * one(random)
        name = list(INSTRUMENTS)[int(random.integers(4))]
        return Question(between=(start, start + 0.5), instrument=name, filter=INSTRUMENTS[name][0].split(";")[-1])

    yield _Query("one program", lambda random: Question(program=one(random)))
    yield _Query("one product by name", lambda random: Question(name=_names(one(random))[int(random.integers(1000))]))
    yield _Query("cone of 0.02 deg", lambda random: Question(areas=(near(random),)))
    yield _Query("half a day, instrument, filter", days)
    yield _Query("(one target, by --where)", lambda random: Question(where=f"target_name = 'T-{one(random)}'"), 2)


def _ask(tables: Tables, query: _Query, size: int, repeat: int) -> tuple[float, float]:
    """Time a query and print it. Of forty askings p95 was the second longest, whatever had disturbed it."""
    random = np.random.default_rng(1)
    times, found, planned = [], [], []
    for _ in range(query.repeat or repeat):
        question = query.make(random)
        begin = time.perf_counter()
        answer = find(tables, question)
        times.append(1000 * (time.perf_counter() - begin))
        found.append(answer.rows.num_rows)
        if answer.plan is None:
            raise RuntimeError("there is no table")
        planned.append(answer.plan)
    middle, high = np.percentile(times, [50, 95])
    files = f"{np.mean([p.files_planned for p in planned]):.1f} of {planned[0].files}"
    groups = f"{np.mean([p.row_groups_planned for p in planned]):.1f}, {np.mean([p.rows_planned for p in planned]):.0f}"
    print(f"{query.name:<34}{size:>10}{middle:>9.1f}{high:>9.1f}{np.mean(found):>8.1f}  {files}, {groups}", flush=True)
    return float(middle), float(high)


def _fill(tables: Tables, size: int) -> None:
    """Write the products of programs 1 to n, as compaction would leave them, in one commit."""
    tables.replace(PRODUCTS, {"program": "00001"}, _rows([1]))
    tables.replace(PRODUCTS, {"program": "00001"}, PRODUCTS.schema.empty_table())
    table = tables.open(PRODUCTS.name)
    parts: dict[int, list[int]] = {}
    for number in range(1, size // PER_PROGRAM + 1):
        parts.setdefault(bucket_of(table, f"{number:05d}"), []).append(number)
    step = FILE_ROWS // PER_PROGRAM
    with table.transaction() as transaction, transaction.update_snapshot().fast_append() as change:
        for bucket, numbers in parts.items():
            for start in range(0, len(numbers), step):
                for file in write_rows(table, bucket, _rows(numbers[start : start + step])):
                    change.append_data_file(file)


def _names(number: int) -> list[str]:
    return [
        f"jw{number:05d}{1 + exposure // 20:03d}001_02101_{1 + exposure % 20:05d}_nrca1_{kind}.fits"
        for exposure in range(PER_PROGRAM // len(TYPES))
        for kind in sorted(TYPES)
    ]


def _pointing(number: int) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Return the positions of a program's exposures, deg."""
    random = np.random.default_rng(number)
    count = PER_PROGRAM // len(TYPES)
    ra, dec = random.uniform(0, 360), np.degrees(np.arcsin(random.uniform(-1, 1)))
    decs = np.clip(dec + random.normal(0, 0.02, count), -89.9, 89.9)
    return (ra + random.normal(0, 0.02, count) / np.cos(np.radians(decs))) % 360, decs


def _rows(numbers: list[int]) -> pa.Table:
    """Return the products of some programs, in order."""
    each, per = PER_PROGRAM // len(TYPES), len(TYPES)
    count = len(numbers) * PER_PROGRAM
    names = [name for number in numbers for name in _names(number)]
    places = [_pointing(number) for number in numbers]
    ra, dec = (np.concatenate([place[axis] for place in places]) for axis in (0, 1))
    half = 0.018
    regions = [
        f"POLYGON ICRS {a - half:.9f} {d - half:.9f} {a + half:.9f} {d - half:.9f} "
        f"{a + half:.9f} {d + half:.9f} {a - half:.9f} {d + half:.9f}"
        for a, d in zip(ra.tolist(), dec.tolist(), strict=True)
    ]
    start = np.concatenate([EPOCH + DAYS_APART * number + np.arange(each) / each for number in numbers])
    kinds = [list(INSTRUMENTS)[number % 4] for number in numbers]
    optics = [INSTRUMENTS[kind][exposure % 4] for kind in kinds for exposure in range(each)]
    programs = np.repeat([f"{number:05d}" for number in numbers], PER_PROGRAM)
    size = np.random.default_rng(numbers[0]).integers(1 << 20, 1 << 27, count)
    uris = [f"mast:JWST/product/{name}" for name in names]
    columns: dict[str, Any] = {
        "program": programs, "product_name": names, "sha256": [f"{hash(name) & (1 << 64) - 1:064x}" for name in names],
        "size_bytes": size, "key": names, "uri": [f"s3://lake/raw/{name}" for name in names], "data_uri": uris,
        "product_type": sorted(TYPES) * (len(numbers) * each), "layout_json": ["[]"] * count,
        "extractor_version": np.ones(count, int), "obs_id": [name[:25] for name in names],
        "calib_level": np.tile([2, 2, 3, 2, 1], len(numbers) * each), "obs_collection": ["JWST"] * count,
        "target_name": np.repeat([f"T-{number}" for number in numbers], PER_PROGRAM),
        "s_ra": np.repeat(ra, per), "s_dec": np.repeat(dec, per), "s_fov": np.full(count, 2 * half * 2**0.5),
        "s_region": np.repeat(regions, per), "t_min": np.repeat(start, per), "t_max": np.repeat(start + 0.004, per),
        "t_exptime": np.full(count, 345.6), "instrument_name": np.repeat(kinds, PER_PROGRAM),
        "filters": np.repeat(optics, per), "kw_cal_ver": ["1.18.0"] * count,
    }  # fmt: skip
    made = {name: pa.array(values, PRODUCTS.schema.field(name).type) for name, values in columns.items()}
    empty = {field.name: pa.nulls(count, field.type) for field in PRODUCTS.schema if field.name not in made}
    return pa.table(made | empty).select(PRODUCTS.schema.names).cast(PRODUCTS.schema)


if __name__ == "__main__":
    sys.exit(main())
