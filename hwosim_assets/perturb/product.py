"""One product: its bytes, the arrays in them, what they measure, and when it was exposed.

Holds: :class:`Product`, opened from a file or from bytes, and the reasons why a file cannot be
perturbed. Keep out how it is perturbed (``perturb.run``).
"""

from __future__ import annotations

import hashlib
import re
import sys
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hwosim_assets.errors import BadInputError, HwosimError
from hwosim_assets.fits.blocks import Block, Scan, card_value
from hwosim_assets.fits.hdus import HduFacts, hdu_facts
from hwosim_assets.perturb.fitsfile import unpacked
from hwosim_assets.perturb.measurements import Measurement, find_measurements
from hwosim_assets.perturb.planes import Plane

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from hwosim_assets.perturb.times import Timing

__all__ = ["Product", "RefusedProductError"]

_BITPIX = {8: "uint8", 16: "int16", 32: "int32", 64: "int64", -32: "float32", -64: "float64"}
_UNSIGNED = {"int16": "uint16", "int32": "uint32", "int64": "uint64"}
_FORM = re.compile(r"(\d*)([LXBIJKAEDCMPQ])")
_WIDTHS = {"L": 1, "B": 1, "I": 2, "J": 4, "K": 8, "A": 1, "E": 4, "D": 8, "C": 8, "M": 16, "P": 8, "Q": 16}
_LETTERS = {"B": "uint8", "I": "int16", "J": "int32", "K": "int64", "E": "float32", "D": "float64"}

#: Data model of cubes of wavelengths, and the types of resampled products as their names have them.
_CUBE, _RESAMPLED = "IFUCubeModel", re.compile(r"_(i2d|s2d|s3d)")

#: More groups, integrations, columns or outputs than any exposure has.
_MOST_COUNTED = 65536


class RefusedProductError(BadInputError):
    """A product that cannot be perturbed; ``rule`` is a short name of the reason."""

    def __init__(self, thing: str, reason: str, mend: str, rule: str = "no_pixels_or_spectra") -> None:
        super().__init__(thing, reason, mend)
        self.rule = rule


class Product:
    """One FITS file of the archive.

    Parameters
    ----------
    name : str
        Archive file name; random numbers depend on it.
    content : bytes
        The file as stored, gzip included.
    """

    def __init__(self, name: str, content: bytes) -> None:
        self.name = name
        self.content = content

    @classmethod
    def open(cls, source: Path | str | bytes, name: str = "") -> Product:
        """Open a product.

        Parameters
        ----------
        source : Path, str or bytes
            A file, or its content.
        name : str
            Archive file name; by default the file's own.

        Raises
        ------
        BadInputError
            When the file cannot be read, or bytes come without a name.
        """
        if isinstance(source, bytes):
            if not name:
                raise BadInputError("product", "bytes come without a file name", "pass its archive file name")
            return cls(name, source)
        path = Path(source)
        try:
            return cls(name or path.name, path.read_bytes())
        except OSError as error:
            raise BadInputError(str(path), error.strerror or "cannot be read", "check the path") from error

    def write(self, path: Path) -> None:
        """Write the product's bytes to a file.

        Raises
        ------
        HwosimError
            When the file cannot be written.
        """
        try:
            path.write_bytes(self.content)
        except OSError as error:
            raise HwosimError(str(path), error.strerror or "cannot be written", "check path and free space") from error

    @cached_property
    def sha256(self) -> str:
        """Hash of the stored bytes."""
        return hashlib.sha256(self.content).hexdigest()

    @cached_property
    def _unpacked(self) -> tuple[bytes | memoryview, Scan]:
        return unpacked(self.content, self.name)

    def release(self) -> None:
        """Give back the memory of what was looked at, where it can be looked at again."""

    @property
    def payload(self) -> bytes | memoryview:
        """The plain FITS bytes."""
        return self._unpacked[0]

    @property
    def scan(self) -> Scan:
        """The skeleton of the file."""
        return self._unpacked[1]

    @cached_property
    def planes(self) -> tuple[Plane, ...]:
        """Every image and table column whose numbers are stored as they are, in file order."""
        found: list[Plane] = []
        for block in self.scan.blocks:
            facts = hdu_facts(block)
            if facts.kind == "image":
                found += _image_plane(block, facts)
            elif facts.kind == "table":
                found += _columns(block, facts)
        return tuple(found)

    @cached_property
    def planes_by_hdu(self) -> dict[int, list[Plane]]:
        """The planes of each HDU that has any: a file may hold thousands of spectra."""
        found: dict[int, list[Plane]] = {}
        for plane in self.planes:
            found.setdefault(plane.hdu, []).append(plane)
        return found

    @cached_property
    def measurements(self) -> list[Measurement]:
        """What the product measures.

        Raises
        ------
        RefusedProductError
            When it holds no pixels and no spectra, or is a calibration reference file.
        """
        kind = self.keyword("REFTYPE")
        if kind:
            raise RefusedProductError(
                self.name, f"is a CRDS reference file ({kind})", "perturb observations", "reference_file"
            )
        found = [item for item in find_measurements(self.planes) if item.sci.size]
        if self.keyword("DATAMODL") == _CUBE or _RESAMPLED.search(self.name.lower()):  # though it lacks its weights
            found = [item if item.sci.column else replace(item, resampled=True) for item in found]
        if not found:
            raise RefusedProductError(self.name, self._why_nothing(), "leave it out")
        return found

    def _why_nothing(self) -> str:
        """Say why no science array was found."""
        for block in self.scan.blocks:
            facts = hdu_facts(block)
            if facts.extname.upper() != "SCI":
                continue
            if facts.kind == "empty":
                return "its SCI extension holds no pixels"
            if card_value(block.header, "ZIMAGE") is True:
                return "its SCI extension is tile-compressed"
            return "its SCI extension is stored with BSCALE or BZERO"
        return "holds no pixels (SCI) and no spectra (flux and wavelength)"

    def plane(self, extname: str, extver: int = 1, column: str = "") -> NDArray[Any]:
        """Return one array as native numbers.

        Raises
        ------
        KeyError
            When there is none of that name.
        """
        for plane in self.planes:
            if (plane.extname, plane.extver, plane.column) == (extname, extver, column):
                return plane.read(self.payload)
        raise KeyError(f"{extname},{extver}" + (f"/{column}" if column else ""))

    def keyword(self, name: str) -> Any:
        """Return a keyword's value in the primary header, else in the first SCI header, else ``None``."""
        if name not in self._keywords:
            values = (card_value(block.header, name) for block in self._keyword_blocks)
            self._keywords[name] = next((value for value in values if value is not None), None)
        return self._keywords[name]

    @cached_property
    def _keywords(self) -> dict[str, Any]:
        """Keywords as far as they were asked for: effects ask for some anew with each block of pixels."""
        return {}

    @cached_property
    def _keyword_blocks(self) -> list[Block]:
        blocks = self.scan.blocks
        return [block for block in blocks if block.index == 0 or card_value(block.header, "EXTNAME") == "SCI"]

    def number(self, name: str) -> float | None:
        """Return a keyword that is a finite number, or ``None``."""
        value = self.keyword(name)
        if not isinstance(value, int | float) or isinstance(value, bool) or not abs(value) <= sys.float_info.max:
            return None
        return float(value)

    def count(self, name: str) -> int | None:
        """Return a keyword that counts from 1 (groups, integrations, columns), or ``None``.

        What it says becomes the length of arrays, so a number that no exposure has is taken for none.
        """
        value = self.number(name)
        return int(value) if value is not None and 1 <= value <= _MOST_COUNTED else None

    @cached_property
    def timing(self) -> Timing:
        """What was found out of its times, as far as it was asked for."""
        from hwosim_assets.perturb.times import Timing

        return Timing()

    @cached_property
    def stream_time(self) -> float | None:
        """Mid time of the exposure (MJD UTC), or ``None`` where the file does not say."""
        from hwosim_assets.catalog.products import stream_time
        from hwosim_assets.fits.describe import describe_scan

        return stream_time(describe_scan(self.scan, self.name))


def _image_plane(block: Block, facts: HduFacts) -> list[Plane]:
    """Return the plane of an image HDU; nothing when its numbers are scaled or compressed."""
    stored = _BITPIX[int(block.header["BITPIX"])]
    if card_value(block.header, "ZIMAGE") is True or facts.dtype not in (stored, _UNSIGNED.get(stored)):
        return []
    unit = str(card_value(block.header, "BUNIT") or "").strip()
    return [Plane(facts.index, facts.extname, facts.extver, "", facts.shape, facts.dtype, block.data_offset, 0, unit)]


def _columns(block: Block, facts: HduFacts) -> list[Plane]:
    """Return the numeric columns of a binary table."""
    if str(card_value(block.header, "XTENSION") or "").strip() != "BINTABLE":
        return []
    planes, offset, stride = [], block.data_offset, int(block.header["NAXIS1"])
    for column in facts.columns:
        form = _FORM.match(column.format)
        if form is None:
            return []
        repeat, letter = int(form[1] or 1), form[2]
        stored = _LETTERS.get(letter, "")
        if stored and facts.shape[0] and column.dtype in (stored, _UNSIGNED.get(stored)):
            cell = column.shape
            shape = (facts.shape[0], *cell)
            planes.append(
                Plane(
                    facts.index,
                    facts.extname,
                    facts.extver,
                    column.name,
                    shape,
                    column.dtype,
                    offset,
                    stride,
                    column.unit,
                )
            )
        offset += (repeat + 7) // 8 if letter == "X" else repeat * _WIDTHS[letter]
    return planes if offset - block.data_offset == stride else []
