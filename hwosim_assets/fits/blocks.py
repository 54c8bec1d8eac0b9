"""The skeleton of a FITS file: where headers and data lie, found without reading or trusting data.

Holds: :func:`scan`, which walks a file header by header, checks that what each header claims can be
in the file, and keeps the raw header bytes. Everything that reads a FITS file here begins with it:
a header that claims terabytes, an endless header, a truncated file and a web page named ``.fits``
end as an :class:`UnreadableFitsError` before any memory is asked for. Keep out what headers mean.

Structure and limits after the FITS standard 4.0 (sections 3 and 4).
"""

from __future__ import annotations

import gzip
import io
import re
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from hwosim_assets.errors import BadInputError

if TYPE_CHECKING:
    from astropy.io.fits import Header

__all__ = [
    "BLOCK",
    "CARD",
    "Block",
    "Scan",
    "Source",
    "UnreadableFitsError",
    "byte_stream",
    "card_value",
    "primary_header",
    "scan",
]

BLOCK = 2880
CARD = 80
GZIP_MAGIC = b"\x1f\x8b"
#: A header of more than 200 000 cards is a lie or an accident; flight headers have below 1000.
MAX_HEADER_BYTES = 16_000_320
#: All headers of a file together; 2800 HDUs of three blocks, in memory some 300 MB.
MAX_HEADERS_BYTES = 24_192_000
#: gzip that unpacks to more than this (bytes), and more than so many times its size, is a bomb.
LARGE_UNPACKED_BYTES = 16 * 2**30
MAX_LARGE_RATIO = 100
#: Deflate cannot shrink anything more than this (zlib's "maximum compression factor").
MAX_DEFLATE_RATIO = 1032
#: The longest multi-slit products have some thousands of HDUs.
MAX_HDUS = 20_000
MAX_AXES = 999
#: Tile-compressed images: what a claim may exceed the stored bytes by, above a harmless size (bytes).
MAX_TILE_RATIO = 2000
HARMLESS_BYTES = 256 * 2**20
#: What is unpacked at once to get past data (bytes): a larger piece is memory that the system has to clear each time.
_CHUNK = 2**18
_NAME_BYTE = re.compile(rb"[A-Z0-9_-]")

Source = Path | bytes


class UnreadableFitsError(BadInputError):
    """A file that is not FITS, or not all of it, or lies about its size."""

    def __init__(self, thing: str, reason: str, mend: str = "fetch the file again or leave it out") -> None:
        super().__init__(thing, reason, mend)


@dataclass(frozen=True)
class Block:
    """One HDU as it lies in the file.

    Attributes
    ----------
    index : int
        From 0.
    header : astropy.io.fits.Header
        Parsed leniently; values of bad cards raise when read, see :func:`card_value`.
    raw : bytes
        The header as stored, whole blocks, padding included.
    end : int
        Position of the END card in ``raw``.
    header_offset, data_offset, data_bytes : int
        Bytes from the start of the (decompressed) file; ``data_bytes`` without padding.
    """

    index: int
    header: Header
    raw: bytes
    end: int
    header_offset: int
    data_offset: int
    data_bytes: int


@dataclass(frozen=True)
class Scan:
    """The skeleton of one file.

    Attributes
    ----------
    blocks : tuple of Block
        Every HDU in order.
    compressed : bool
        The bytes are gzip, whatever the name says.
    padding_missing : bool
        The last HDU's data are complete but not padded to a block.
    trailing_bytes : int or None
        Bytes behind the last HDU that belong to none; ``None`` in gzip files where not counted.
    """

    blocks: tuple[Block, ...]
    compressed: bool
    padding_missing: bool
    trailing_bytes: int | None

    @property
    def end(self) -> int:
        """Where the last HDU ends, padding included, in bytes of the decompressed file."""
        last = self.blocks[-1]
        return last.data_offset + -(-last.data_bytes // BLOCK) * BLOCK


def card_value(header: Header, keyword: str) -> Any:
    """Return the first value of a keyword; ``None`` when absent, undefined or not parsable."""
    from astropy.io import fits

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            value = header.get(keyword)
    except (fits.VerifyError, ValueError, TypeError):
        return None
    return None if isinstance(value, fits.card.Undefined) else value


@contextmanager
def byte_stream(source: Source | BinaryIO, name: str) -> Iterator[tuple[BinaryIO, int, bool]]:
    """Open a FITS file as plain bytes, through gzip where the first bytes say so.

    Parameters
    ----------
    source : pathlib.Path, bytes or binary file
        The file or its content; a binary file must be seekable and is closed at the end.
    name : str
        What to call it in errors.

    Yields
    ------
    stream : binary file
        Decompressed bytes.
    size : int
        Stored size in bytes.
    compressed : bool
        Whether the stored bytes are gzip.

    Raises
    ------
    UnreadableFitsError
        When the file is absent, a folder or may not be read, or its gzip stream is broken.
    """
    try:
        stored = source.open("rb") if isinstance(source, Path) else source
        stored = io.BytesIO(stored) if isinstance(stored, bytes) else stored
    except OSError as error:
        raise UnreadableFitsError(name, f"cannot be opened ({error.strerror})", "check path and rights") from error
    with stored:
        size = stored.seek(0, io.SEEK_END)
        stored.seek(0)
        compressed = stored.read(2) == GZIP_MAGIC
        stored.seek(0)
        if not compressed:
            yield stored, size, False
            return
        try:
            with gzip.GzipFile(fileobj=stored) as plain:
                yield cast("BinaryIO", plain), size, True
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise UnreadableFitsError(name, f"its gzip stream is broken or cut off ({error})") from error


def scan(source: Source | BinaryIO, name: str = "") -> Scan:
    """Walk a FITS file from header to header.

    Parameters
    ----------
    source : pathlib.Path, bytes or binary file
        The file or its content, plain or gzip.
    name : str, optional
        What to call it in errors; the path's name by default.

    Returns
    -------
    Scan
        All HDUs. Data are skipped, not read (gzip files are decompressed to get past them).

    Raises
    ------
    UnreadableFitsError
        When the bytes are not a whole FITS file, with the reason.
    """
    name = name or (source.name if isinstance(source, Path) else "FITS bytes")
    with byte_stream(source, name) as (stream, size, compressed):
        if size == 0:
            raise UnreadableFitsError(name, "is empty (0 bytes)")
        limit = _most_bytes(size) if compressed else size
        blocks: list[Block] = []
        start = stream.read(CARD)
        if not start.startswith(b"SIMPLE  ="):
            raise UnreadableFitsError(name, not_fits_reason(start + stream.read(400)))
        offset = header_bytes = 0
        while True:
            block = _read_block(stream, start, len(blocks), offset, name)
            _check_size(block, limit, compressed, name)
            blocks.append(block)
            header_bytes += len(block.raw)
            if header_bytes > MAX_HEADERS_BYTES:
                raise UnreadableFitsError(name, f"has more than {MAX_HEADERS_BYTES} bytes of headers")
            offset, padding_missing, start = _skip_data(stream, block, compressed, name)
            if not start.startswith(b"XTENSION"):
                _check_behind(start, block.index, name)
                break
            if len(blocks) >= MAX_HDUS:
                raise UnreadableFitsError(name, f"has more than {MAX_HDUS} HDUs")
        trailing = None if compressed else max(0, size - offset)
        return Scan(tuple(blocks), compressed, padding_missing, trailing)


def primary_header(source: Source | BinaryIO, name: str) -> Header:
    """Return the first header of a file, reading nothing behind it.

    Parameters
    ----------
    source : pathlib.Path, bytes or binary file
        As :func:`scan` takes it.
    name : str
        What to call it in errors.

    Raises
    ------
    UnreadableFitsError
        When the bytes do not begin with a whole FITS header.
    """
    with byte_stream(source, name) as (stream, _, _):
        start = stream.read(CARD)
        if not start.startswith(b"SIMPLE  ="):
            raise UnreadableFitsError(name, not_fits_reason(start + stream.read(400)))
        return _read_block(stream, start, 0, 0, name).header


def _most_bytes(size: int) -> int:
    """Return what a gzip file of a size may unpack to, in bytes."""
    return min(size * MAX_DEFLATE_RATIO, max(LARGE_UNPACKED_BYTES, size * MAX_LARGE_RATIO))


def _check_behind(start: bytes, index: int, name: str) -> None:
    """Refuse a file whose next HDU begins with a damaged card: the HDUs behind it would vanish unseen."""
    if len(start) == CARD and start.strip(b"\0 \n"):
        raise UnreadableFitsError(name, f"what follows HDU {index} is no extension (its XTENSION card is damaged)")


def not_fits_reason(start: bytes | bytearray) -> str:
    """Say what a file is that does not begin as FITS does, from its first bytes."""
    text = start.lstrip()[:200].lower()
    if b"\n" in start[: CARD + 2] and start.startswith((b"SIMPLE", b"XTENSION")):
        return "is a text dump of a header (lines instead of 80-byte cards), not FITS"
    if start.startswith(b"version https://git-lfs"):
        return "is a git-lfs pointer, not the file it points to"
    if text.startswith((b"<!doctype html", b"<html", b"<head")):
        return "is a web page (HTML), not FITS"
    if text.startswith((b"<?xml", b"<votable")):
        return "is XML, not FITS"
    if text.startswith((b"{", b"[")):
        return "is JSON, not FITS"
    if start.startswith(b"XTENSION"):
        return "begins with an extension: the primary header is missing"
    if start.startswith((b"PK\x03\x04", b"BZh", b"\xfd7zXZ", b"\x1f\x9d", b"(\xb5/\xfd")):
        return "is compressed in another way than gzip or fpack"
    if start.startswith(b"SIMPLE"):
        return "begins with a malformed SIMPLE card"
    if not start.strip(b"\0"):
        return "begins with zero bytes where the SIMPLE card should be"
    if all(byte in b"\t\n\r" or 32 <= byte < 127 for byte in start):
        return "is plain text, not FITS (no SIMPLE card)"
    return "is not FITS (no SIMPLE card)"


def _read_block(stream: BinaryIO, start: bytes, index: int, offset: int, name: str) -> Block:
    """Read one header to its END card; ``start`` is its first card, read before."""
    from astropy.io import fits

    raw = bytearray(start)
    looked_at = 0
    end = -1
    while end < 0:
        missing = BLOCK - len(raw) % BLOCK
        more = stream.read(missing)
        raw += more
        end = _end_card(raw, looked_at)
        looked_at = len(raw) - len(raw) % CARD
        if end < 0 and len(more) < missing:
            lines = index == 0 and b"\n" in raw[: CARD + 2]
            reason = not_fits_reason(raw[:400]) if lines else f"is truncated: the header of HDU {index} has no END card"
            raise UnreadableFitsError(name, reason)
        if end < 0 and len(raw) >= MAX_HEADER_BYTES:
            raise UnreadableFitsError(name, f"the header of HDU {index} has no END card in {MAX_HEADER_BYTES} bytes")
    if b"\0" in raw[:end]:
        raise UnreadableFitsError(name, f"the header of HDU {index} is damaged (zero bytes among its cards)")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        header = fits.Header.fromstring(bytes(raw[:end]))
    return Block(index, header, bytes(raw), end, offset, offset + len(raw), _data_bytes(header, index, name))


def _end_card(raw: bytearray, start: int) -> int:
    """Return the position of the END card in a header, or -1."""
    for position in range(start, len(raw) - 2, CARD):
        # an END card with rubbish behind it still ends a header, as in astropy
        if raw[position : position + 3] == b"END" and not _NAME_BYTE.match(raw, position + 3):
            return position
    return -1


def _integer(header: Header, keyword: str, default: int | None, index: int, name: str) -> int:
    """Return a mandatory non-negative integer of a header."""
    value = card_value(header, keyword) if keyword in header else default
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        shown = "missing" if keyword not in header else f"{value!r}"
        raise UnreadableFitsError(name, f"HDU {index} has no usable {keyword} ({shown})")
    return value


def _data_bytes(header: Header, index: int, name: str) -> int:
    """Return the size of an HDU's data from its header (FITS 4.0, equations 1 and 2), in bytes."""
    bitpix = card_value(header, "BITPIX")
    if bitpix not in (8, 16, 32, 64, -32, -64) or isinstance(bitpix, bool):
        raise UnreadableFitsError(name, f"HDU {index} has no valid BITPIX ({bitpix!r})")
    axes = _integer(header, "NAXIS", None, index, name)
    if max(axes, _integer(header, "TFIELDS", 0, index, name)) > MAX_AXES:
        raise UnreadableFitsError(name, f"HDU {index} claims more than {MAX_AXES} axes or columns")
    lengths = [_integer(header, f"NAXIS{axis}", None, index, name) for axis in range(1, axes + 1)]
    if not lengths:
        return 0
    groups = index == 0 and lengths[0] == 0 and card_value(header, "GROUPS") is True
    if index == 0 and not groups:
        parameters, group_count = 0, 1
    else:
        parameters = _integer(header, "PCOUNT", 0, index, name)
        group_count = _integer(header, "GCOUNT", 1, index, name)
    elements = 1
    for length in lengths[1:] if groups else lengths:
        elements *= length
    return abs(int(bitpix)) // 8 * group_count * (parameters + elements)


def _check_size(block: Block, limit: int, compressed: bool, name: str) -> None:
    """Refuse a header whose data cannot be in the file, or whose tile-compressed image is a bomb."""
    if block.data_offset + block.data_bytes > limit:
        has = "gzip could hold" if compressed else "the file holds"
        raise UnreadableFitsError(
            name,
            f"is truncated or lies: the header of HDU {block.index} claims {block.data_bytes} bytes of data, "
            f"{has} {max(0, limit - block.data_offset)}",
        )
    if card_value(block.header, "ZIMAGE") is True:
        axes = _integer(block.header, "ZNAXIS", 0, block.index, name)
        if axes > MAX_AXES:
            raise UnreadableFitsError(name, f"HDU {block.index} claims more than {MAX_AXES} axes")
        claimed = abs(_integer(block.header, "ZNAXIS1", 1, block.index, name)) * 8
        for axis in range(2, axes + 1):
            claimed *= _integer(block.header, f"ZNAXIS{axis}", None, block.index, name)
        if claimed > HARMLESS_BYTES and claimed > MAX_TILE_RATIO * max(block.data_bytes, 1):
            raise UnreadableFitsError(name, f"lies: compressed HDU {block.index} claims {claimed} bytes of pixels")


def _skip_data(stream: BinaryIO, block: Block, compressed: bool, name: str) -> tuple[int, bool, bytes]:
    """Go past an HDU's data; return the next offset, whether padding is missing, the next card."""
    padded = -(-block.data_bytes // BLOCK) * BLOCK
    end = block.data_offset + block.data_bytes
    if compressed:
        left = block.data_bytes
        while left:
            got = len(stream.read(min(left, _CHUNK)))
            if got == 0:
                raise UnreadableFitsError(name, f"is truncated: the data of HDU {block.index} lack {left} bytes")
            left -= got
    else:
        stream.seek(end)
    padding = stream.read(padded - block.data_bytes)
    return end + len(padding), len(padding) < padded - block.data_bytes, stream.read(CARD)
