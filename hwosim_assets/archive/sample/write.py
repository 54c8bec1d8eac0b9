"""Write the sample archive to disk.

Holds: :func:`write_sample` and what it reports. Keep out what is in the files.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hwosim_assets.errors import BadInputError, HwosimError

from .products import Product
from .programs import KINDS, Program, observe, program

__all__ = ["SampleFile", "SampleSummary", "write_sample"]

#: Programs of the sample are 97001 to 97999.
_MOST_PROGRAMS = 999
#: The comment of CHECKSUM cards would otherwise hold the time of writing.
_CHECKSUM_COMMENT = "HDU checksum"


@dataclass(frozen=True)
class SampleFile:
    """One written file."""

    path: Path
    program: str
    product_type: str
    instrument: str
    detector: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True)
class SampleSummary:
    """What was written, and where the truth is."""

    root: Path
    programs: tuple[str, ...]
    files: tuple[SampleFile, ...]
    truth: tuple[Path, ...]

    @property
    def size_bytes(self) -> int:
        """The bytes of all FITS files."""
        return sum(file.size_bytes for file in self.files)


def write_sample(
    root: Path,
    *,
    programs: int = 3,
    size: str = "small",
    seed: int = 1,
    on_file: Callable[[SampleFile], None] | None = None,
) -> SampleSummary:
    """Write an archive of generated JWST products with known truth.

    The files of program 97001 stand in ``root/jw97001``, its truth in ``root/truth/97001.json``. The
    same arguments give the same bytes.

    Parameters
    ----------
    root : Path
        Folder, made if absent; files of the same names are replaced.
    programs : int
        How many, 1 to 999; three make up all instruments and product types.
    size : {"small", "full"}
        Subarrays (about 17 MB for three programs) or whole detectors (about 1.6 GB).
    seed : int
        Root of everything random, not negative.
    on_file : callable, optional
        Told of every file once it is complete.

    Raises
    ------
    BadInputError
        An argument is out of range.
    HwosimError
        The folder cannot be written.
    """
    _check(programs, size, seed)
    root = Path(root)
    files: list[SampleFile] = []
    truths: list[Path] = []
    plans = [program(index, seed=seed, size=size) for index in range(programs)]
    try:
        for plan in plans:
            folder = root / f"jw{plan.number}"
            folder.mkdir(parents=True, exist_ok=True)
            entries: dict[tuple[str, bool], dict[str, Any]] = {}
            for made in observe(plan):
                file = _write(made.product, folder, plan.number)
                key = (made.truth["exposure"], "inputs" in made.truth)
                entry = entries.setdefault(key, {**made.truth, "files": []})
                entry["files"].append(file.path.name)
                files.append(file)
                if on_file is not None:
                    on_file(file)
            truths.append(_write_truth(root / "truth", plan, list(entries.values())))
    except OSError as error:
        raise HwosimError(
            str(root),
            f"the sample cannot be written: {error.strerror or error}",
            "choose a folder with room that you may write to",
        ) from error
    return SampleSummary(root, tuple(plan.number for plan in plans), tuple(files), tuple(truths))


def _check(programs: int, size: str, seed: int) -> None:
    if not 1 <= programs <= _MOST_PROGRAMS:
        reason = f"the sample has 1 to {_MOST_PROGRAMS} programs"
        raise BadInputError(f"programs={programs}", reason, "choose a number in that range")
    if size not in ("small", "full"):
        raise BadInputError(f"size={size!r}", "there is no such size", "choose small or full")
    if seed < 0:
        raise BadInputError(f"seed={seed}", "a seed is not negative", "choose 0 or more")


def _write(product: Product, folder: Path, number: str) -> SampleFile:
    """Write one file, complete or not at all."""
    hdus = product.hdus()
    for hdu in hdus:
        hdu.add_checksum(when=_CHECKSUM_COMMENT)
    buffer = io.BytesIO()
    hdus.writeto(buffer, output_verify="exception")
    content = buffer.getbuffer()
    path = folder / product.file_name
    part = path.with_suffix(".part")
    part.write_bytes(content)
    part.replace(path)
    detector = product.exposure.detector
    return SampleFile(
        path=path,
        program=number,
        product_type=product.product_type,
        instrument=detector.instrument,
        detector=detector.name,
        size_bytes=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
    )


def _write_truth(folder: Path, plan: Program, entries: list[dict[str, Any]]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{plan.number}.json"
    record = {
        "program": plan.number,
        "kind": KINDS[plan.kind],
        "seed": plan.seed,
        "size": plan.size,
        "target": {"name": plan.target.name, "ra": plan.target.ra, "dec": plan.target.dec},
        "observations": entries,
    }
    path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return path
