"""Whatever a header claims: in a process of its own, each file ends in seconds and below 500 MB."""

from __future__ import annotations

import gzip
import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the peak memory of one process is told by /proc")

#: Reads files as the catalog does; prints how the last ended, the peak memory in kB and the seconds.
READ = """
import json, sys, time
from pathlib import Path
from hwosim_assets.catalog.cards import card_rows
from hwosim_assets.fits.blocks import UnreadableFitsError, scan
from hwosim_assets.fits.cards import cards_of_scan
from hwosim_assets.fits.describe import describe_scan
start = time.monotonic()
for path in sys.argv[1:]:
    try:
        found = scan(Path(path))
        describe_scan(found, "x.fits")
        said = card_rows("00000", "x.fits", "", cards_of_scan(found)).num_rows
    except UnreadableFitsError as error:
        said = error.reason
# not ru_maxrss: Linux hands the parent's on
peak = int(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
print(json.dumps([said, peak, time.monotonic() - start]))
"""


def card(keyword: str, value: object) -> bytes:
    return f"{keyword:8}= {value!s:>20}".encode().ljust(80)


def header(*cards: bytes) -> bytes:
    raw = b"".join(cards) + b"END".ljust(80)
    return raw.ljust(-(-len(raw) // 2880) * 2880)


PRIMARY = (card("SIMPLE", "T"), card("BITPIX", 8), card("NAXIS", 0))
IMAGE = (card("XTENSION", "'IMAGE   '"), card("BITPIX", 8), card("NAXIS", 0), card("PCOUNT", 0), card("GCOUNT", 1))


def table(**values: object) -> bytes:
    claims = {"BITPIX": 8, "NAXIS": 2, "NAXIS1": 8, "NAXIS2": 1, "PCOUNT": 0, "GCOUNT": 1, "TFIELDS": 1} | values
    return header(card("XTENSION", "'BINTABLE'"), *(card(name, value) for name, value in claims.items()))


def sparse(path: Path) -> None:
    """Write a 10 GB file: an image that is there, and a small one behind it."""
    side = 50_000
    with path.open("wb") as file:
        sizes = card("NAXIS1", side), card("NAXIS2", side)
        file.write(header(card("SIMPLE", "T"), card("BITPIX", -32), card("NAXIS", 2), *sizes))
        file.seek(-(-side * side * 4 // 2880) * 2880, io.SEEK_CUR)
        file.write(header(*IMAGE))


def many_headers(path: Path) -> None:
    """Write headers of 150 000 cards each, one behind the other."""
    filling = b"".join(card(f"K{number:07}", number) for number in range(150_000))
    with path.open("wb") as file:
        file.write(header(*PRIMARY, filling))
        for _ in range(6):
            file.write(header(*IMAGE, filling))


def bomb(path: Path) -> None:
    """Write gzip of a header that does not end in 600 MB."""
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(card("SIMPLE", "T"))
        for _ in range(600):
            file.write(b" " * 1_000_000)


def packed_image(path: Path) -> None:
    """Write gzip of a true 700 MB image of zeros."""
    with gzip.open(path, "wb", compresslevel=1) as file:
        sizes = card("NAXIS1", 7 * 10**8), card("NAXIS2", 1)
        file.write(header(card("SIMPLE", "T"), card("BITPIX", 8), card("NAXIS", 2), *sizes))
        for _ in range(700):
            file.write(bytes(1_000_000))
        file.write(bytes(-7 * 10**8 % 2880))


def written(content: bytes) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        path.write_bytes(content)

    return write


FILES: dict[str, tuple[Callable[[Path], None], str | int]] = {
    "axis": (written(header(*PRIMARY[:2], card("NAXIS", 1), card("NAXIS1", 10**12))), "claims"),
    "axes": (written(header(*PRIMARY[:2], card("NAXIS", 10**12))), "more than 999"),
    "fields": (written(header(*PRIMARY) + table(TFIELDS=10**12)), "more than 999"),
    "heap": (written(header(*PRIMARY) + table(PCOUNT=10**18)), "claims"),
    "groups": (written(header(*PRIMARY) + table(GCOUNT=10**30)), "claims"),
    "tiles": (written(header(*PRIMARY) + table(ZIMAGE="T", ZBITPIX=8, ZNAXIS=1, ZNAXIS1=10**12) + bytes(2880)), "lies"),
    "cards": (many_headers, "bytes of headers"),
    "10 GB": (sparse, 10),
    "bomb": (bomb, "no END card"),
    "packed image": (packed_image, 5),
}  # fmt: skip


@pytest.mark.parametrize("kind", FILES)
def test_no_file_takes_time_or_memory(kind: str, tmp_path: Path) -> None:
    make, expected = FILES[kind]
    path = tmp_path / "claim.fits"
    make(path)
    done = subprocess.run(
        [sys.executable, "-c", READ, str(path)], capture_output=True, text=True, timeout=60, check=True
    )
    said, peak, seconds = json.loads(done.stdout)
    assert said == expected if isinstance(expected, int) else expected in str(said)
    assert peak < 500_000
    assert seconds < 30


@pytest.mark.parametrize("kind", ["jwst", "evil", "swift", "chandra"])
def test_no_real_file_takes_much_memory(kind: str, real_data: Path) -> None:
    paths = [str(path) for path in sorted((real_data / kind).rglob("*")) if path.is_file()]
    done = subprocess.run([sys.executable, "-c", READ, *paths], capture_output=True, text=True, timeout=60, check=True)
    _, peak, _ = json.loads(done.stdout)
    assert peak < 500_000
