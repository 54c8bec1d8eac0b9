"""A program of many small products as files, and the process that takes it through archive, lake and catalog.

Holds: the files, a process that materializes the five assets up to the catalog, and what lies in a lake then.
Keep out what is done to the process and what is expected.
"""

from __future__ import annotations

import hashlib
import io
import logging
import os
import sys
from collections.abc import Iterator
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from astropy.io import fits

from hwosim_assets.catalog.cards import HEADER_CARDS
from hwosim_assets.catalog.products import PRODUCTS
from hwosim_assets.catalog.verdicts import VERDICTS
from hwosim_assets.lake.content import content_sha256
from hwosim_assets.lake.ingest import RAW_FILES
from hwosim_assets.lake.store import Lake
from hwosim_assets.lake.tables import Tables
from hwosim_assets.lake.versions import RAW_VERSIONS

if TYPE_CHECKING:
    from multiprocessing.context import ForkServerProcess

PROGRAM = "01093"
#: How the process ends when the archive did not answer in time: to be tried again.
ARCHIVE_FAILED = 75
#: Imported once, before there is a thread; the processes are its forks.
_HERE = get_context("forkserver")
_HERE.set_forkserver_preload(
    [
        "hwosim_assets.assets.catalog",
        "hwosim_assets.assets.mast",
        "hwosim_assets.archive.client",
        "hwosim_assets.catalog.extract",
        "hwosim_assets.lake.tables",
        "astropy.io.fits",
        "pyiceberg.catalog.sql",
    ]
)


def take(environment: dict[str, str], log: Path, programs: tuple[str, ...]) -> None:
    """Materialize the assets of programs up to the catalog, as a run would; what a process does."""
    import dagster as dg

    from hwosim_assets.assets.catalog import catalog
    from hwosim_assets.assets.mast import observations, products
    from hwosim_assets.assets.raw import fits_files
    from hwosim_assets.partitions import jwst_program
    from hwosim_assets.resources import ArchiveResource, LakeResource

    os.environ.update(environment)
    with log.open("w") as file:
        os.dup2(file.fileno(), 2)
    logging.getLogger("dagster").setLevel(logging.CRITICAL)
    resources = {"archive": ArchiveResource(), "lake": LakeResource()}
    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions(str(jwst_program.name), list(programs))
        for program in programs:
            assets = [observations, products, fits_files, catalog]
            try:
                dg.materialize(assets, resources=resources, partition_key=program, instance=instance)
            except Exception as error:
                if not _of_the_archive(error):
                    raise
                sys.exit(ARCHIVE_FAILED)


def _of_the_archive(error: BaseException | None) -> bool:
    """Say whether the archive's failure lies below what Dagster raised."""
    from hwosim_assets.archive.errors import ArchiveError
    from hwosim_assets.errors import BackendAbsentError

    while error is not None and not isinstance(error, (ArchiveError, BackendAbsentError)):
        error = error.__cause__ or error.__context__
    return error is not None


def write_program(
    root: Path, count: int, program: str = PROGRAM, *, first: int = 0, shape: tuple[int, int] = (16, 12)
) -> list[Path]:
    """Write so many calibrated exposures, counted from ``first``, each of its own content; 24 bytes a pixel."""
    template = _template(shape)
    root.mkdir(parents=True, exist_ok=True)
    paths = []
    for number in range(first, first + count):
        observation, exposure = f"{number // 50 + 1:03d}", number % 50 + 1
        name = f"jw{program}{observation}001_03102_{exposure:05d}_nis_cal.fits"
        content = template.replace(b"jw00000000001_03102_00000_nis_cal.fits", name.encode())
        content = content.replace(b"'00000   '", f"'{program}   '".encode())
        content = content.replace(b"'000     '", f"'{observation}     '".encode())
        paths.append(root / name)
        paths[-1].write_bytes(content)
    return paths


def reprocess(path: Path, version: int) -> None:
    """Put another version of a product in its place, at once, of the same size."""
    content = path.read_bytes()
    value = content.index(b"CAL_VER = '") + len(b"CAL_VER = '")
    spare = path.with_suffix(".new")
    spare.write_bytes(content[:value] + f"1.19.{version:<3d}".encode() + content[value + 8 :])
    spare.replace(path)


def _template(shape: tuple[int, int]) -> bytes:
    random = np.random.default_rng(1)
    primary = fits.PrimaryHDU()
    for keyword, value in {
        "TELESCOP": "JWST", "INSTRUME": "NIRISS", "DETECTOR": "NIS", "EXP_TYPE": "NIS_IMAGE", "DATAMODL": "ImageModel",
        "FILENAME": "jw00000000001_03102_00000_nis_cal.fits", "PROGRAM": "00000", "OBSERVTN": "000", "VISIT": "001",
        "FILTER": "CLEAR", "PUPIL": "F150W", "CAL_VER": "1.18.0", "CRDS_CTX": "jwst_1364.pmap",
        "EXPSTART": 59735.5, "EXPMID": 59735.51, "EXPEND": 59735.52, "EFFEXPTM": 1234.5, "TARG_RA": 82.18,
        "TARG_DEC": -65.45, "TARGNAME": "AB Dor", "SUBSIZE1": shape[1], "SUBSIZE2": shape[0],
    }.items():  # fmt: skip
        primary.header[keyword] = value
    science = fits.ImageHDU(random.normal(1, 0.1, shape).astype(np.float32), name="SCI")
    science.header["BUNIT"] = "MJy/sr"
    science.header["S_REGION"] = "POLYGON ICRS  82.17 -65.46 82.19 -65.46 82.19 -65.44 82.17 -65.44"
    planes = [
        fits.ImageHDU(np.full(shape, value, np.float32), name=name)
        for name, value in {"ERR": 0.1, **dict.fromkeys(("VAR_POISSON", "VAR_RNOISE", "VAR_FLAT"), 0.01 / 3)}.items()
    ]
    buffer = io.BytesIO()
    fits.HDUList([primary, science, *planes, fits.ImageHDU(np.zeros(shape, np.uint32), name="DQ")]).writeto(buffer)
    return buffer.getvalue()


class Place:
    """A state folder with its lake and tables, and processes that fill them from an archive.

    Parameters
    ----------
    home : pathlib.Path
        The folder.
    archive_url : str
        The archive.
    patience : int
        Seconds that the archive may be silent.
    lake_uri : str
        Where the lake lies: below the folder, or an S3 store that the ``AWS_*`` variables name by now.
    """

    def __init__(self, home: Path, archive_url: str, patience: int = 60, lake_uri: str = "") -> None:
        home.mkdir(parents=True, exist_ok=True)
        self._log = home / "log"
        lake_uri = lake_uri or (home / "lake").as_uri()
        self.environment = {name: value for name, value in os.environ.items() if name.startswith("AWS_")} | {
            "DAGSTER_HOME": str(home),
            "HWOSIM_ARCHIVE_URL": archive_url,
            "HWOSIM_LAKE_URI": lake_uri,
            "HWOSIM_CATALOG_URI": f"sqlite:///{home / 'catalog.db'}",
            "HWOSIM_ARCHIVE_TIMEOUT_SECONDS": str(patience),
        }
        self.lake = Lake(lake_uri)
        self.tables = Tables(f"sqlite:///{home / 'catalog.db'}", f"{lake_uri}/tables")

    def start(self, *programs: str) -> ForkServerProcess:
        """Start a process on these programs."""
        process = _HERE.Process(target=take, args=(self.environment, self._log, programs))
        process.start()
        return process

    def ingest(self, *programs: str) -> int:
        """Take programs to the end; return how the process ended."""
        process = self.start(*programs)
        process.join()
        return self.ended(process)

    def ended(self, process: ForkServerProcess) -> int:
        """Return how a process ended: well, or by the archive; nothing else is taken."""
        assert process.exitcode in (0, ARCHIVE_FAILED), self._log.read_text()[-3000:]
        return process.exitcode

    def state(self, programs: list[str]) -> dict[str, str]:
        """Return the content of each table for these programs; where and when it was written left out."""
        return {
            f"{spec.name} {program}": content_sha256(spec, _nowhere(self.tables.scan(spec, {"program": program})))
            for spec in (RAW_FILES, RAW_VERSIONS, HEADER_CARDS, PRODUCTS, VERDICTS)
            for program in programs
        }


def _nowhere(rows: pa.Table) -> pa.Table:
    for name in {"uri", "etag", "access_url"} & set(rows.schema.names):
        place = rows.schema.get_field_index(name)
        rows = rows.set_column(place, rows.schema.field(name), pa.array([""] * rows.num_rows, pa.string()))
    return rows


class Watcher:
    """Looks whether anything that lies in a lake is less than whole.

    Parameters
    ----------
    place : Place
        Where the lake lies.
    root : pathlib.Path
        The archive's folder; what lay in it when :meth:`note` was called counts as whole.
    """

    def __init__(self, place: Place, root: Path) -> None:
        self._place, self._root = place, root
        self._whole: dict[str, set[str]] = {}
        self._seen: dict[str, str] = {}
        self.note(root.iterdir())

    def note(self, paths: Any) -> None:
        """Take the present content of these files for whole."""
        for path in paths:
            self._whole.setdefault(path.name, set()).add(hashlib.sha256(path.read_bytes()).hexdigest())

    def look(self) -> None:
        """Check every object and every row.

        Raises
        ------
        AssertionError
            Naming what is not whole.
        """
        lake, tables = self._place.lake, self._place.tables
        rows = tables.scan(RAW_FILES).to_pylist()  # before the objects: their own are there by now
        for stored in lake.list("raw"):
            if stored.key not in self._seen:
                self._seen[stored.key] = hashlib.sha256(lake.read(stored.key)).hexdigest()
                assert self._seen[stored.key] in self._whole[stored.key.rsplit("/", 1)[1]], stored.key
        for row in rows:
            assert self._seen[row["key"]] == row["sha256"], row["key"]
            there = lake.head(row["key"])
            assert there is not None, row["key"]
            assert there.size == row["size_bytes"], row["key"]
        counts = set()
        for name, digest, cards in _cards_of_files(tables.scan(HEADER_CARDS)):
            assert digest in self._whole[name], name
            counts.add(cards)
        assert len(counts) <= 1, "some files have more cards than others"
        for row in tables.scan(PRODUCTS).to_pylist():
            assert row["sha256"] in self._whole[row["product_name"]], row["product_name"]


def _cards_of_files(cards: pa.Table) -> Iterator[tuple[str, str, int]]:
    grouped = cards.group_by(["product_name", "sha256"]).aggregate([("keyword", "count")])
    for row in grouped.to_pylist():
        yield row["product_name"], row["sha256"], row["keyword_count"]
