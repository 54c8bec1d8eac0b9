"""Bytes from an archive into the lake, beside a plain concurrent copy of the same bytes.

Holds: the run. It prints and asserts nothing. The archive is a process of its own on loopback. "Copy" asks
for each file with httpx, as many at once as an ingest does, and writes it to the same disk: no checksum, no
part file that could be continued, no rows. "Ingest" does all of it, rows included. Both are run in turn, the
best of some rounds counts; seconds of this process's own processor time are printed beside, since the wall clock of
a busy machine says little.

    python -m benchmarks.ingest [--rounds N] [--archive DIR]
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any

import httpx

from hwosim_assets.archive.client import ArchiveClient
from hwosim_assets.lake.ingest import THREADS, ingest_program
from hwosim_assets.lake.store import Lake
from hwosim_assets.lake.tables import Tables

PROGRAM = "01093"
#: Files and their size in bytes; the sizes of a guide star's, a spectrum's and an exposure's product.
SHAPES = ((1000, 40_000), (100, 4_000_000), (12, 118_000_000))
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
    head = (
        f"{'copy s':>9}{'MB/s':>8}{'ingest s':>10}{'MB/s':>8}{'ratio':>8}{'cpu s: copy':>13}{'ingest':>8}{'ratio':>8}"
    )
    print(f"{'files':>6}{'MB':>8}{head}")
    with tempfile.TemporaryDirectory(prefix="hwosim-bench-") as scratch:
        for count, size in (None,) if options.archive else SHAPES:
            folder = options.archive or _written(Path(scratch) / "archive", count, size)
            _compare(folder, Path(scratch), options.rounds)
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
    with _served(folder) as url:
        took = {"copy": (0.0, 0.0), "ingest": (0.0, 0.0)}
        for number in range(rounds):
            for name, bring in (("copy", _copy), ("ingest", _ingest)):
                place = scratch / f"{name}{number}"
                begun = time.perf_counter(), time.process_time()
                bring(url, sizes, place)
                spent = time.perf_counter() - begun[0], time.process_time() - begun[1]
                took[name] = spent if number == 0 else (min(took[name][0], spent[0]), min(took[name][1], spent[1]))
                shutil.rmtree(place)
    _print(len(sizes), sum(sizes.values()) / 1e6, took["copy"], took["ingest"])


def _print(count: int, megabytes: float, copy: tuple[float, float], ingest: tuple[float, float]) -> None:
    wall = f"{copy[0]:>9.2f}{megabytes / copy[0]:>8.0f}{ingest[0]:>10.2f}{megabytes / ingest[0]:>8.0f}"
    processor = f"{copy[1]:>13.2f}{ingest[1]:>8.2f}{copy[1] / ingest[1]:>8.2f}"
    print(f"{count:>6}{megabytes:>8.0f}{wall}{copy[0] / ingest[0]:>8.2f}{processor}", flush=True)


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


def _copy(url: str, sizes: dict[str, int], place: Path) -> None:
    """Download every file, as many at once as an ingest does."""
    place.mkdir()
    with httpx.Client(trust_env=False) as http, ThreadPoolExecutor(THREADS) as pool:

        def one(name: str) -> None:
            address = f"{url}/api/v0.1/Download/file?uri={_uri(name)}"
            with http.stream("GET", address) as reply, (place / name).open("wb") as file:
                for chunk in reply.iter_raw():
                    file.write(chunk)

        list(pool.map(one, sizes))


def _ingest(url: str, sizes: dict[str, int], place: Path) -> None:
    """Bring every file into a new lake."""
    lake = Lake((place / "lake").as_uri())
    tables = Tables(f"sqlite:///{place / 'catalog.db'}", (place / "lake" / "tables").as_uri())
    listed: list[dict[str, Any]] = [
        {"productFilename": name, "dataURI": _uri(name), "size": size, "obs_id": name[:25]}
        for name, size in sizes.items()
    ]
    with ArchiveClient(url) as client:
        result = ingest_program(PROGRAM, listed, client, lake, tables, home=place)
    if result.rows.num_rows != len(sizes):
        raise RuntimeError(f"{len(result.rejections)} files were refused, the first: {result.rejections[:1]}")


def _uri(name: str) -> str:
    return f"mast:JWST/product/{name}"


if __name__ == "__main__":
    sys.exit(main())
