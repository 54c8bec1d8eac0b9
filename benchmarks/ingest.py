"""Bytes from an archive into the lake, beside plain concurrent copies of the same bytes.

Holds: the run. It prints and asserts nothing. The archive is a process of its own on loopback, so its processor time
is taken from all alike. Each begins with the list of the files and ends when all of them are there:

* "copy" asks for each file with httpx, as many at once as an ingest does, and writes it to the same disk under its
  name: no checksum, nothing that tells a whole file from a part of one. It is the yardstick, with a client that
  anybody would take; the ingest itself speaks to the archive through urllib3, which costs less for each request;
* "checked" is the copy that one could rely on: the SHA-256 is taken on the way, and a file gets its name when it is
  complete;
* "ingest" does what the pipeline does: a lake and a catalog that are new, part files of large files that could be
  continued, SHA-256, a journal, each file in two folders of its own, rows in a table that is made for them;
* "next" is the same ingest into a lake that another program lies in already, as every program after the first one's is.

An ingest waits until the disk has its files before it commits their rows; neither copy does. Each is therefore timed
both ways: "s" without that wait, "disk s" what it takes, for the copies after their last file. "of copy" compares the
times without it, "both on disk" those with it. They run in turn, the best of some rounds counts for each; seconds of
this process's own processor time are printed beside, since the wall clock of a busy machine says little.

    python -m benchmarks.ingest [--rounds N] [--archive DIR]
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import httpx
import pyarrow as pa

from hwosim_assets.archive.client import ArchiveClient
from hwosim_assets.lake.disk import flush
from hwosim_assets.lake.ingest import RAW_FILES, THREADS, ingest_program
from hwosim_assets.lake.store import Lake
from hwosim_assets.lake.tables import Tables

PROGRAM = "01093"
#: Files and their size in bytes; the sizes of a guide star's, a spectrum's and an exposure's product.
SHAPES = ((1000, 40_000), (100, 4_000_000), (12, 118_000_000))
#: So many files are left alone until all rounds are over: for minutes ext4 passes over each inode that was just given
#: back whenever it looks for a new one, which is half of what the next round costs then.
MANY = 100
SERVER = """
import asyncio, sys
from pathlib import Path
from starlette.applications import Starlette
from starlette.responses import FileResponse
from starlette.routing import Route
import uvicorn

class Whole(FileResponse):
    chunk_size = 1024 * 1024

async def give(request):
    return Whole(Path(sys.argv[1]) / request.query_params["uri"].rsplit("/", 1)[1])

routes = [Route("/api/v0.1/Download/file", give)]
config = uvicorn.Config(Starlette(routes=routes), log_level="error", access_log=False)
with config.bind_socket() as listener:
    listener.listen(128)
    print(listener.getsockname()[1], flush=True)
    uvicorn.Server(config).run(sockets=[listener])
"""


def main() -> int:
    """Measure each shape, print the ratios."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ingest", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--archive", type=Path, help="a folder of files in place of those written here")
    options = parser.parse_args()
    walls = f"{'copy s':>8}{'disk s':>8}{'checked s':>11}{'disk s':>8}{'ingest s':>10}{'disk s':>8}"
    ratios = f"{'of copy':>9}{'of checked':>12}{'both on disk':>14}{'':>6}"
    following = f"{'next s':>8}{'of copy':>9}{'of checked':>12}"
    print(f"{'files':>6}{'MB':>6}{walls}{ratios}{following}  cpu s: copy, checked, ingest, next")
    with tempfile.TemporaryDirectory(prefix="hwosim-bench-") as scratch:
        if options.archive:
            _compare(options.archive, Path(scratch), options.rounds)
        for count, size in () if options.archive else SHAPES:
            _compare(_written(Path(scratch) / "archive", count, size), Path(scratch), options.rounds)
            shutil.rmtree(Path(scratch) / "archive", ignore_errors=True)
    return 0


def _written(folder: Path, count: int, size: int) -> Path:
    """Write files of random bytes: an ingest does not look into them."""
    folder.mkdir()
    random = Random(1)
    for number in range(count):
        name = f"jw{PROGRAM}{number // 100 + 1:03d}001_03102_{number % 100 + 1:05d}_nis_cal.fits"
        with (folder / name).open("wb") as file:
            for start in range(0, size, 1 << 20):
                file.write(random.randbytes(min(1 << 20, size - start)))
    return folder


def _compare(folder: Path, scratch: Path, rounds: int) -> None:
    """Time both over the same files, in turn."""
    sizes = {path.name: path.stat().st_size for path in sorted(folder.iterdir()) if path.is_file()}
    took: dict[str, list[_Spent]] = {}
    left: list[Path] = []
    with _served(folder) as url:
        for number in range(rounds):
            for name, bring in _WAYS.items():
                place = scratch / f"{name}{number}"
                if name == "next":
                    _begun_by_another_program(place)
                flush(scratch)  # what another left to be written is not waited for here
                begun = time.perf_counter(), time.process_time()
                disk = bring(url, sizes, place)
                wall, processor = time.perf_counter() - begun[0], time.process_time() - begun[1]
                took.setdefault(name, []).append(_Spent(wall - disk, disk, processor))
                left.append(place)
                if len(sizes) < MANY:
                    shutil.rmtree(left.pop())
    for place in left:
        shutil.rmtree(place)
    _print(len(sizes), sum(sizes.values()) / 1e6, *(took[name] for name in _WAYS))


class _Spent(NamedTuple):
    """Seconds of one run: without its wait for the disk, of that wait, of this process's processor."""

    wall: float
    disk: float
    processor: float


def _print(count: int, megabytes: float, *runs: list[_Spent]) -> None:
    copy, checked, ingest, following = (min(run.wall for run in each) for each in runs)
    disks = [min(run.disk for run in each) for each in runs]
    on_disk = [min(run.wall + run.disk for run in each) for each in runs]
    walls = f"{copy:>8.2f}{disks[0]:>8.2f}{checked:>11.2f}{disks[1]:>8.2f}{ingest:>10.2f}{disks[2]:>8.2f}"
    ratios = f"{copy / ingest:>9.2f}{checked / ingest:>12.2f}"
    ratios += f"{on_disk[0] / on_disk[2]:>14.2f}{on_disk[1] / on_disk[2]:>6.2f}"
    ratios += f"{following:>8.2f}{copy / following:>9.2f}{checked / following:>12.2f}"
    processor = ", ".join(f"{min(run.processor for run in each):.2f}" for each in runs)
    print(f"{count:>6}{megabytes:>6.0f}{walls}{ratios}  {processor}", flush=True)


@contextmanager
def _served(folder: Path) -> Iterator[str]:
    """Serve a folder from another process; answers are as MAST's, with entity tags and ranges, without digests."""
    server = subprocess.Popen([sys.executable, "-c", SERVER, str(folder)], stdout=subprocess.PIPE, text=True)
    try:
        if server.stdout is None or not (port := server.stdout.readline().strip()):
            raise RuntimeError("the archive did not start")
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait()


def _copy(url: str, sizes: dict[str, int], place: Path) -> float:
    """Download every file, as many at once as an ingest does; return the seconds spent in waiting for the disk."""
    place.mkdir()
    with httpx.Client(trust_env=False) as http, ThreadPoolExecutor(THREADS) as pool:

        def one(name: str) -> None:
            with http.stream("GET", _address(url, name)) as reply, (place / name).open("wb") as file:
                for chunk in reply.iter_raw():
                    file.write(chunk)

        list(pool.map(one, sizes))
    return _waited(place)


def _checked_copy(url: str, sizes: dict[str, int], place: Path) -> float:
    """Download every file with its SHA-256; it gets its name when it is complete. Returns as the other."""
    place.mkdir()
    with httpx.Client(trust_env=False) as http, ThreadPoolExecutor(THREADS) as pool:

        def one(name: str) -> str:
            part, digest = place / f"{name}.part", hashlib.sha256()
            with http.stream("GET", _address(url, name)) as reply, part.open("wb") as file:
                for chunk in reply.iter_raw():
                    digest.update(chunk)
                    file.write(chunk)
            part.rename(place / name)
            return digest.hexdigest()

        list(pool.map(one, sizes))
    return _waited(place)


class _TimedLake(Lake):
    """A lake that adds up the seconds spent in waiting for the disk."""

    seconds = 0.0

    def settle(self) -> None:
        begun = time.perf_counter()
        super().settle()
        self.seconds += time.perf_counter() - begun


def _ingest(url: str, sizes: dict[str, int], place: Path) -> float:
    """Bring every file into the lake of that place; return the seconds spent in waiting for the disk."""
    lake = _TimedLake((place / "lake").as_uri())
    tables = _tables(place)
    listed: list[dict[str, Any]] = [
        {"productFilename": name, "dataURI": _uri(name), "size": size, "obs_id": name[:25]}
        for name, size in sizes.items()
    ]
    with ArchiveClient(url) as client:
        result = ingest_program(PROGRAM, listed, client, lake, tables, home=place)
    if result.rows.num_rows != len(sizes):
        raise RuntimeError(f"{len(result.rejections)} files were refused, the first: {result.rejections[:1]}")
    return lake.seconds


def _begun_by_another_program(place: Path) -> None:
    """Make the tables of a lake, as the first program does."""
    row: dict[str, Any] = {field.name: 0 if field.name == "size_bytes" else "x" for field in RAW_FILES.schema}
    row |= {"program": "00001", "ingested_at": datetime.now(UTC)}
    _tables(place).replace(RAW_FILES, {"program": "00001"}, pa.Table.from_pylist([row], schema=RAW_FILES.schema))


def _tables(place: Path) -> Tables:
    place.mkdir(exist_ok=True)
    return Tables(f"sqlite:///{place / 'catalog.db'}", (place / "lake" / "tables").as_uri())


def _waited(place: Path) -> float:
    """Wait for the disk; return the seconds."""
    begun = time.perf_counter()
    flush(place)
    return time.perf_counter() - begun


_WAYS = {"copy": _copy, "checked": _checked_copy, "ingest": _ingest, "next": _ingest}


def _address(url: str, name: str) -> str:
    return f"{url}/api/v0.1/Download/file?uri={_uri(name)}"


def _uri(name: str) -> str:
    return f"mast:JWST/product/{name}"


if __name__ == "__main__":
    sys.exit(main())
