"""Reading headers: against astropy over the same files, on S3 by bytes and requests, a large gzip by memory.

Holds: the run. It prints and asserts nothing. "headers" is every header found and parsed; "values" is every
card's keyword, value and comment. Both are read once before, so that neither pays for the disk or an import.

    python -m benchmarks.headers [FOLDER]   (HWOSIM_REAL_DATA, else files made here)
"""

from __future__ import annotations

import gzip
import logging
import os
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
from astropy.io import fits

from hwosim_assets.catalog.remote import opened_object
from hwosim_assets.fits.blocks import UnreadableFitsError, scan
from hwosim_assets.fits.cards import cards_of_scan
from hwosim_assets.fits.opening import astropy_errors
from hwosim_assets.lake.store import Lake

ROUNDS = 5
GZIP_PEAK = """
import sys
from pathlib import Path
from hwosim_assets.fits.cards import read_cards
list(read_cards(Path(sys.argv[1])))
# not ru_maxrss: Linux hands the parent's on
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


def main() -> int:
    """Run the three parts, print the figures."""
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory(prefix="hwosim-bench-") as scratch:
        folder = Path(sys.argv[1] if len(sys.argv) > 1 else os.environ.get("HWOSIM_REAL_DATA") or scratch)
        large = _made(Path(scratch))
        paths = [path for path in sorted(folder.rglob("*")) if path.is_file() and _both_read(path)]
        _local([path for path in paths if path.suffix != ".gz"], "plain")
        _local([path for path in paths if path.suffix == ".gz"], "gzip")
        _remote(large)
        packed = Path(scratch) / "large.fits.gz"
        packed.write_bytes(gzip.compress(large.read_bytes(), compresslevel=1))
        done = subprocess.run([sys.executable, "-c", GZIP_PEAK, str(packed)], stdout=subprocess.PIPE, check=True)
        size, whole = packed.stat().st_size / 1e6, large.stat().st_size / 1e6
        print(f"gzip of {size:.0f} MB, {whole:.0f} MB unpacked: peak memory {int(done.stdout) / 1e3:.0f} MB")
    return 0


def _made(folder: Path) -> Path:
    """Write an exposure of nine planes, 150 MB of noise, and some small files."""
    noise = np.random.default_rng(1).normal(size=(2048, 2048)).astype(np.float32)
    primary = fits.PrimaryHDU()
    for number in range(350):
        primary.header[f"KEY{number:05}"] = (number / 7, "[s] a card")
    large = folder / "large.fits"
    fits.HDUList([primary, *[fits.ImageHDU(noise, name=f"P{number}") for number in range(9)]]).writeto(large)
    for number in range(40):
        small = [fits.ImageHDU(noise[:20, :20], name=f"P{plane}") for plane in range(8)]
        fits.HDUList([primary, *small]).writeto(folder / f"small{number}.fits{'.gz' if number % 4 == 0 else ''}")
    return large


def _both_read(path: Path) -> bool:
    """Say whether both can read a file; it then lies in the system's cache."""
    try:
        _ours_values(path)
        _astropy_values(path)
    except UnreadableFitsError:
        return False
    except astropy_errors():
        return False
    return True


def _ours_headers(path: Path) -> None:
    scan(path)


def _ours_values(path: Path) -> None:
    for _ in cards_of_scan(scan(path)):
        pass


def _astropy_headers(path: Path) -> None:
    with fits.open(path) as hdus:
        for hdu in hdus:
            len(hdu.header)


def _astropy_values(path: Path) -> None:
    with fits.open(path) as hdus:
        for hdu in hdus:
            for card in hdu.header.cards:
                _ = (card.keyword, card.value, card.comment)


def _seconds(read: Callable[[Path], None], paths: list[Path]) -> float:
    start = time.perf_counter()
    for path in paths:
        read(path)
    return time.perf_counter() - start


def _local(paths: list[Path], title: str) -> None:
    """Compare over the same files, in turn, best of some rounds."""
    for what, ours, theirs in (
        ("headers", _ours_headers, _astropy_headers),
        ("values", _ours_values, _astropy_values),
    ):
        times = [(_seconds(ours, paths), _seconds(theirs, paths)) for _ in range(ROUNDS)]
        mine, other = (min(column) for column in zip(*times, strict=True))
        print(
            f"{title} {what}: {len(paths)} files, {mine * 1e3:.0f} ms, astropy {other * 1e3:.0f} ms, "
            f"{other / mine:.2f} times as fast as astropy.io.fits.open"
        )


def _remote(large: Path) -> None:
    """Read a large object of an S3 server in this process."""
    import boto3
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    os.environ |= {"AWS_ENDPOINT_URL": f"http://{host}:{port}", "AWS_ACCESS_KEY_ID": "b", "AWS_SECRET_ACCESS_KEY": "b"}
    boto3.client("s3", region_name="us-east-1").create_bucket(Bucket="bench")
    lake = Lake("s3://bench")
    lake.write_new("large.fits", large)
    start = time.perf_counter()
    file = opened_object(lake, "large.fits")
    hdus = len(scan(file.stream, "large.fits").blocks)
    seconds, cost = time.perf_counter() - start, file.cost
    share = 100 * (cost["bytes"] or 0) / (cost["size"] or 1)
    server.stop()
    print(
        f"S3, {(cost['size'] or 0) / 1e6:.0f} MB, {hdus} HDUs: {cost['requests']} requests, {cost['bytes']} bytes "
        f"({share:.2f} %), {seconds * 1e3:.0f} ms"
    )


if __name__ == "__main__":
    sys.exit(main())
