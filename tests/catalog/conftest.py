"""A small calibrated exposure as the pipeline would write it, for tests to spoil, and a lake to hold it."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from astropy.io import fits

CAL_NAME = "jw01093012001_03102_00001_nis_cal.fits"
#: Two of one program, one of another.
THREE_NAMES = [f"jw0109{program}0{visit}2001_03102_00001_nis_cal.fits" for program, visit in ((3, 1), (3, 2), (4, 1))]


def cal_exposure() -> fits.HDUList:
    """Return a NIRISS imaging ``cal`` product of 16 × 12 pixels, in memory."""
    rng = np.random.default_rng(1)
    primary = fits.PrimaryHDU()
    for keyword, value in {
        "TELESCOP": "JWST", "INSTRUME": "NIRISS", "DETECTOR": "NIS", "EXP_TYPE": "NIS_IMAGE", "DATAMODL": "ImageModel",
        "FILENAME": CAL_NAME, "PROGRAM": "01093", "OBSERVTN": "012", "VISIT": "001", "EXPOSURE": "1",
        "FILTER": "CLEAR", "PUPIL": "F150W", "CAL_VER": "1.18.0", "CRDS_CTX": "jwst_1364.pmap",
        "EXPSTART": 59735.5, "EXPMID": 59735.51, "EXPEND": 59735.52, "EFFEXPTM": 1234.5, "TARG_RA": 82.18,
        "TARG_DEC": -65.45, "TARGNAME": "AB Dor", "SUBSIZE1": 12, "SUBSIZE2": 16,
    }.items():  # fmt: skip
        primary.header[keyword] = value
    science = fits.ImageHDU(rng.normal(1, 0.1, (16, 12)).astype(np.float32), name="SCI")
    science.header["BUNIT"] = "MJy/sr"
    science.header["S_REGION"] = "POLYGON ICRS  82.17 -65.46 82.19 -65.46 82.19 -65.44 82.17 -65.44"
    planes = [
        fits.ImageHDU(np.full((16, 12), value, np.float32), name=name)
        for name, value in {"ERR": 0.1, **dict.fromkeys(("VAR_POISSON", "VAR_RNOISE", "VAR_FLAT"), 0.01 / 3)}.items()
    ]
    quality = fits.ImageHDU(np.zeros((16, 12), np.uint32), name="DQ")
    return fits.HDUList([primary, science, *planes, quality])


def as_bytes(hdus: fits.HDUList, **options: Any) -> bytes:
    """Return the bytes of a file."""
    buffer = io.BytesIO()
    hdus.writeto(buffer, **options)
    return buffer.getvalue()


@pytest.fixture
def cal() -> fits.HDUList:
    """Return a calibrated exposure that keeps every promise."""
    return cal_exposure()


@pytest.fixture(scope="session")
def make_cal() -> Callable[[], fits.HDUList]:
    """Return the function that makes a calibrated exposure."""
    return cal_exposure


@pytest.fixture(scope="session")
def packed() -> Callable[..., bytes]:
    """Return the function that turns HDUs into bytes."""
    return as_bytes


@pytest.fixture
def lake(tmp_path: Path) -> Any:
    """Return an empty lake."""
    from hwosim_assets.lake.store import Lake

    return Lake((tmp_path / "lake").as_uri())


@pytest.fixture
def tables(tmp_path: Path) -> Any:
    """Return empty tables."""
    from hwosim_assets.lake.tables import Tables

    return Tables(f"sqlite:///{tmp_path / 'catalog.db'}", (tmp_path / "lake" / "tables").as_uri())


@pytest.fixture(scope="session")
def put_into() -> Callable[..., dict[str, Any]]:
    """Return a function that puts bytes into a lake and gives their row of the raw-files table."""
    from hwosim_assets.lake.layout import raw_key

    def put(lake: Any, program: str, name: str, content: bytes, folder: str = "JWST/product") -> dict[str, Any]:
        digest = hashlib.sha256(content).hexdigest()
        key = raw_key(name, program, digest[:12])
        if lake.head(key) is None:
            lake.write_new(key, content)
        return {
            "program": program,
            "product_name": name,
            "data_uri": f"mast:{folder}/{name}",
            "obs_id": "",
            "size_bytes": len(content),
            "sha256": digest,
            "key": key,
            "uri": lake.uri_of(key),
            "etag": "",
            "ingest_id": digest[:12],
            "ingested_at": datetime.now(UTC),
        }

    return put


@pytest.fixture
def ingested(lake: Any, put_into: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    """Return the same for the lake of this test."""
    return partial(put_into, lake)


@pytest.fixture(scope="module")
def three_products(
    tmp_path_factory: pytest.TempPathFactory,
    put_into: Callable[..., dict[str, Any]],
    make_cal: Callable[[], fits.HDUList],
    packed: Any,
) -> Path:
    """Return a home with three products: two of one program, one at the pole."""
    from hwosim_assets.archive.schema import ARCHIVE_PRODUCTS
    from hwosim_assets.catalog.build import catalog_program
    from hwosim_assets.lake.ingest import RAW_FILES
    from hwosim_assets.lake.store import Lake
    from hwosim_assets.lake.tables import Tables

    home = tmp_path_factory.mktemp("command")
    lake = Lake((home / "lake").as_uri())
    tables = Tables(f"sqlite:///{home / 'catalog.db'}", (home / "lake" / "tables").as_uri())
    rows: dict[str, list[dict[str, Any]]] = {}
    for number, name in enumerate(THREE_NAMES):
        cal, program = make_cal(), name[2:7]
        cal[0].header["PROGRAM"], cal[0].header["FILENAME"], cal[0].header["OBSERVTN"] = program, name, name[7:10]
        cal[0].header["EFFEXPTM"] = 100.0 * (number + 1)
        cal["SCI"].header["S_REGION"] = (
            "POLYGON ICRS 0 89.9 90 89.9 180 89.9 270 89.9" if number == 2 else f"CIRCLE ICRS {10 * number} 0 0.1"
        )
        rows.setdefault(program, []).append(put_into(lake, program, name, packed(cal)))
    for program, files in rows.items():
        done = catalog_program(program, pa.Table.from_pylist(files, schema=RAW_FILES.schema), lake, tables)
        assert done.rejections == []
        listed = [
            {"program": program, "dataURI": file["data_uri"], "dataRights": "PUBLIC" if number else "EXCLUSIVE_ACCESS"}
            for number, file in enumerate(files)
        ]
        tables.replace(ARCHIVE_PRODUCTS, {"program": program}, pa.Table.from_pylist(listed))
    return home


@pytest.fixture(scope="session")
def three_names() -> list[str]:
    """File names of :func:`three_products`."""
    return THREE_NAMES
