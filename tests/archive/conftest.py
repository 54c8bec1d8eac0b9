"""An archive over a few small files, and its client."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from archive_material import write_product

from hwosim_assets.archive.client import ArchiveClient
from hwosim_assets.archive.folder import Folder
from hwosim_assets.archive.server import LocalArchive


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Write seven files of six observations: NIRCam 01979, MIRI 02107, and one that names no program."""
    folder = tmp_path / "archive"
    write_product(folder, "jw01979002001_02101_00001_nrca1_rate.fits", PROGRAM="01979", BUNIT="DN/s")
    write_product(folder, "jw01979002001_02101_00001_nrca1_cal.fits", PROGRAM="01979")
    write_product(folder, "jw01979002001_02101_00001_nrca2_cal.fits", PROGRAM="01979", DETECTOR="NRCA2")
    write_product(folder / "l3", "jw01979-o002_t001_nircam_clear-f150w_i2d.fits", PROGRAM="01979")
    miri: dict[str, Any] = {
        "PROGRAM": "02107",
        "INSTRUME": "MIRI",
        "DETECTOR": "MIRIMAGE",
        "EXP_TYPE": "MIR_IMAGE",
        "FILTER": "F770W",
        "PUPIL": "N/A",
        "TARGNAME": "NGC-1300",
        "TARGPROP": "NGC-1300",
        "TARG_RA": 49.917,
        "TARG_DEC": -19.413,
        "s_region": "POLYGON ICRS  49.92 -19.42 49.95 -19.41 49.94 -19.38 49.91 -19.39",
    }
    write_product(folder, "jw02107002001_02101_00002_mirimage_cal.fits", **miri)
    write_product(folder, "jw02107002001_02103_00002_mirimage_uncal.fits", **miri | {"FILTER": "F1000W"})
    write_product(folder, "a file of ours.fits", TARGNAME="0.1%*", INSTRUME="NIRISS", EXP_TYPE="NIS_IMAGE")
    return folder


@pytest.fixture
def archive(root: Path) -> Iterator[LocalArchive]:
    """Serve the folder; files of 02107's second exposure are exclusive, the token is ``let-me-in``."""
    folder = Folder(root, exclusive=("jw02107002001_02103*",), rescan_seconds=0.0)
    with LocalArchive(root, folder=folder, token="let-me-in") as served:
        yield served


@pytest.fixture
def client(archive: LocalArchive) -> Iterator[ArchiveClient]:
    with ArchiveClient(archive.url, timeout=10) as made:
        yield made
