"""What differs between two versions of a file, against differences that were put there."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits

from hwosim_assets.fits import compare
from hwosim_assets.fits.blocks import UnreadableFitsError
from hwosim_assets.fits.compare import compare_files


def product(packed: bool = False) -> fits.HDUList:
    rng = np.random.default_rng(3)
    primary = fits.PrimaryHDU()
    for keyword, value in {"CAL_VER": "1.17.1", "CRDS_CTX": "jwst_1300.pmap", "NINTS": 1, "OLD": True}.items():
        primary.header[keyword] = value
    for line in ("first", "second"):
        primary.header["HISTORY"] = line
    image = fits.CompImageHDU if packed else fits.ImageHDU
    science = image(rng.normal(5, 1, (40, 30)).astype(np.float32), name="SCI")
    science.data[0, 0] = np.nan
    quality = fits.ImageHDU(rng.integers(0, 2**32, (40, 30), dtype=np.uint32), name="DQ")
    columns = [
        fits.Column("WAVELENGTH", "D", array=np.linspace(1, 2, 50)),
        fits.Column("FLUX", "2E", array=np.ones((50, 2))),
        fits.Column("NAME", "6A", array=["star"] * 50),
        fits.Column("LIST", "PE()", array=np.array([np.arange(row % 3) for row in range(50)], dtype=object)),
    ]
    return fits.HDUList([primary, science, quality, fits.BinTableHDU.from_columns(columns, name="EXTRACT1D")])


def written(hdus: fits.HDUList, path: Path) -> Path:
    hdus.writeto(path, checksum=True)
    return path


def compared(tmp_path: Path, before: fits.HDUList, after: fits.HDUList, suffix: str = ".fits") -> dict[str, Any]:
    one, other = (written(hdus, tmp_path / f"{side}{suffix}") for side, hdus in (("1", before), ("2", after)))
    found = compare_files(one, other, "x_cal.fits")
    json.dumps(found, allow_nan=False)
    return found


def test_a_file_is_like_itself(tmp_path: Path) -> None:
    found = compared(tmp_path, product(), product())
    # SCI, DQ, four columns
    assert found == {
        "hdus_added": [], "hdus_removed": [], "cards": [], "cards_left_out": 0, "planes": [], "planes_same": 6,
        "planes_left_out": 0, "not_compared": [],
    }  # fmt: skip


@pytest.mark.parametrize("suffix", [".fits", ".fits.gz"])
@pytest.mark.parametrize("piece", [7, 100, 2**20])
def test_pixel_statistics_are_those_of_the_difference_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str, piece: int
) -> None:
    monkeypatch.setattr(compare, "PIECE", piece)
    before, after = product(), product()
    after["SCI"].data[3, :10] += 2
    after["SCI"].data[4, 0] -= 7
    after["SCI"].data[0, :2] = [5, np.nan]
    after["DQ"].data[1, 1] ^= 2**31
    after["EXTRACT1D"].data["FLUX"][9, 1] = 4
    after["EXTRACT1D"].data["NAME"][:5] = "galaxy"
    change = after["SCI"].data.astype(float) - before["SCI"].data.astype(float)
    planes = {plane.pop("plane"): plane for plane in compared(tmp_path, before, after, suffix)["planes"]}
    assert list(planes) == ["EXTRACT1D,1/NAME", "SCI,1", "EXTRACT1D,1/FLUX", "DQ,1"]
    science = planes["SCI,1"]
    assert (science["elements"], science["changed"], science["share"]) == (1200, 13, 13 / 1200)
    assert (science["were_nan"], science["became_nan"]) == (1, 1)
    assert (science["min"], science["max"]) == pytest.approx((np.nanmin(change), np.nanmax(change)))
    assert science["rms"] == pytest.approx(np.sqrt(np.nanmean(change**2)))
    assert (planes["DQ,1"]["changed"], abs(planes["DQ,1"]["max"] or planes["DQ,1"]["min"])) == (1, 2**31)
    assert (planes["EXTRACT1D,1/FLUX"]["elements"], planes["EXTRACT1D,1/FLUX"]["max"]) == (100, 3)
    assert planes["EXTRACT1D,1/NAME"] == {
        "elements": 50, "changed": 5, "share": 0.1, "min": None, "max": None, "rms": None, "became_nan": 0,
        "were_nan": 0,
    }  # fmt: skip


def test_cards_come_with_both_values(tmp_path: Path) -> None:
    before, after = product(), product()
    header = after[0].header
    header["CAL_VER"] = ("1.18.0", "pipeline")
    header["NINTS"] = 1.0
    del header["OLD"]
    header["NEW"] = 3
    header.insert(("HISTORY", 0), ("HISTORY", "between"))
    after["SCI"].header["BUNIT"] = "MJy/sr"
    found = {(card.pop("hdu"), card.pop("keyword")): card for card in compared(tmp_path, before, after)["cards"]}
    assert found == {
        ("PRIMARY,1", "CAL_VER"): {
            "change": "changed", "before": "1.17.1", "after": "1.18.0", "comment_before": "",
            "comment_after": "pipeline",
        },
        ("PRIMARY,1", "NINTS"): {"change": "changed", "before": 1, "after": 1.0},
        ("PRIMARY,1", "OLD"): {"change": "removed", "before": True, "after": None},
        ("PRIMARY,1", "NEW"): {"change": "added", "before": None, "after": 3},
        ("PRIMARY,1", "HISTORY"): {"change": "added", "before": None, "after": "between"},
        ("SCI,1", "BUNIT"): {"change": "added", "before": None, "after": "MJy/sr"},
    }  # fmt: skip


def test_hdus_are_paired_by_name(tmp_path: Path) -> None:
    before, after = product(), product()
    after.insert(1, fits.ImageHDU(np.zeros((3, 3)), name="ASDF"))
    del after["DQ"]
    found = compared(tmp_path, before, after)
    assert (found["hdus_added"], found["hdus_removed"]) == (["ASDF,1"], ["DQ,1"])
    assert (found["planes"], found["planes_same"], found["cards"]) == ([], 5, [])


def test_what_cannot_be_compared_says_why(tmp_path: Path) -> None:
    before, after = product(), product()
    after["SCI"].data = after["SCI"].data[:20]
    after[3] = fits.BinTableHDU(after[3].data[:9], name="EXTRACT1D")
    found = compared(tmp_path, before, after)
    assert found["not_compared"] == [
        {"plane": "SCI,1", "reason": "40 x 30 pixels became 20 x 30"},
        {"plane": "EXTRACT1D,1", "reason": "50 rows became 9"},
    ]


def test_tile_compressed_images_are_compared_unpacked(tmp_path: Path) -> None:
    before, after = product(packed=True), product(packed=True)
    after["SCI"].data[2, 3] = 99
    after["SCI"].header["BUNIT"] = "MJy/sr"
    found = compared(tmp_path, before, after)
    assert [plane["plane"] for plane in found["planes"]] == ["SCI,1"]
    assert [card["keyword"] for card in found["cards"]] == ["BUNIT"]


def test_a_damaged_card_does_not_stop_the_comparison(tmp_path: Path) -> None:
    paths = [written(product(), tmp_path / f"{side}.fits") for side in (1, 2)]
    content = paths[1].read_bytes()
    at = content.index(b"NINTS   =")
    paths[1].write_bytes(content[: at + 10] + b"'no end of this string".ljust(70) + content[at + 80 :])
    (card,) = compare_files(paths[0], paths[1], "x")["cards"]
    assert (card["keyword"], card["before"], card["after"][:13]) == ("NINTS", 1, "NINTS   = 'no")


@pytest.mark.parametrize("spoilt", [b"", b"<html>", b"SIMPLE  ="])
def test_an_unreadable_version_is_refused(tmp_path: Path, spoilt: bytes) -> None:
    good = written(product(), tmp_path / "1.fits")
    bad = tmp_path / "2.fits"
    bad.write_bytes(spoilt)
    with pytest.raises(UnreadableFitsError):
        compare_files(good, bad, "x")
    bad.write_bytes(gzip.compress(good.read_bytes())[:-3000])
    with pytest.raises(UnreadableFitsError):
        compare_files(bad, good, "x")


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    """Two files of 200 MB each, in a process of its own, against two of 1 kB."""
    peaks = {}
    for size in (100, 50_000_000):
        for side in (1, 2):
            with (tmp_path / f"{side}.fits").open("wb") as file:
                header = fits.Header({"SIMPLE": True, "BITPIX": -32, "NAXIS": 2, "NAXIS1": 100, "NAXIS2": size // 100})
                file.write(header.tostring().encode())
                file.truncate(len(header.tostring()) + -(-4 * size // 2880) * 2880)
        said = subprocess.run([sys.executable, "-c", _MEASURE, str(tmp_path)], capture_output=True, check=True)
        peaks[size] = int(said.stdout)
    assert peaks[50_000_000] - peaks[100] < 60_000, peaks


_MEASURE = """
import pathlib, re, sys
from hwosim_assets.fits.compare import compare_files
folder = pathlib.Path(sys.argv[1])
found = compare_files(folder / "1.fits", folder / "2.fits", "x")
assert found["planes_same"] == 1, found
print(re.search(r"VmHWM:\\s+(\\d+)", pathlib.Path("/proc/self/status").read_text())[1])
"""
