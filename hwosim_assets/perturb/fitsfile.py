"""A FITS file in memory: its HDUs as byte ranges, its headers as cards, and a writer that changes nothing else.

Holds: :class:`FitsFile`, card edits, CHECKSUM and DATASUM, the gzip container. The bytes of a file
are the truth here: what is not edited stays as it was, byte for byte. Keep out what the arrays
mean (``perturb.planes``, ``perturb.measurements``).
"""

from __future__ import annotations

import gzip
import io
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np

from hwosim_assets.fits.blocks import BLOCK, CARD, GZIP_MAGIC, Block, Scan, scan
from hwosim_assets.fits.cards import header_bytes
from hwosim_assets.perturb.transfer import Kept, Views, fill

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from hwosim_assets.perturb.measurements import Measurement
    from hwosim_assets.perturb.planes import Plane

__all__ = ["BandedViews", "FitsFile", "Hdu", "Pieces", "packed", "unpacked", "written"]

_GZIP_HEADER = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
_STORED = 65535


class Pieces(NamedTuple):
    """Data that are made when they are written, since those of a large frame would fill the memory.

    Attributes
    ----------
    size : int
        Bytes of all pieces.
    make : callable
        Yields the pieces, the same each time.
    """

    size: int
    make: Callable[[], Iterator[bytes]]

    @classmethod
    def of(cls, content: bytes) -> Self:
        """Return data that are there already."""
        return cls(len(content), lambda: iter([content]))

    def padded(self) -> Iterator[bytes]:
        """Yield the pieces, and what fills the last block."""
        yield from self.make()
        yield bytes(-self.size % BLOCK)


#: Bytes of a file, of which some are made when they are written.
Part = bytes | memoryview | Pieces


def written(parts: list[Part]) -> Iterator[bytes | memoryview]:
    """Yield the bytes of parts."""
    for part in parts:
        yield from part.padded() if isinstance(part, Pieces) else [part]


@dataclass
class Hdu:
    """One HDU of a file.

    Attributes
    ----------
    index : int
        From 0.
    cards : list of bytes
        Card images in order; CONTINUE cards stay with the card they continue.
    header_offset, data_offset, data_bytes : int
        Where it lies in the input.
    removed : list of bytes
        Card images that were taken out.
    new_data : Pieces or None
        Data of another size in place of its own, without padding; the header must say so too.
    """

    index: int
    cards: list[bytes]
    header_offset: int
    data_offset: int
    data_bytes: int
    edited: bool = False
    touched: bool = False
    removed: list[bytes] = field(default_factory=list)
    new_data: Pieces | None = None

    def keywords(self) -> list[str]:
        """Return the keyword of each card (``""`` for blank cards)."""
        return [card[:8].decode("latin-1").rstrip() for card in self.cards]

    def find(self, keyword: str) -> bytes | None:
        """Return the first card of a keyword, or ``None``."""
        return next((card for card in self.cards if _keyword(card) == keyword), None)

    def remove(self, keyword: str) -> list[bytes]:
        """Take out every card of a keyword and return their images."""
        gone = [card for card in self.cards if _keyword(card) == keyword]
        self.cards = [card for card in self.cards if _keyword(card) != keyword]
        self.removed += gone
        self.edited = self.edited or bool(gone)
        return gone

    def replace_value(self, keyword: str, value: str) -> None:
        """Set the value of the first card of a keyword, keeping its comment.

        Parameters
        ----------
        keyword : str
            Of a card that is present and whose value needs no CONTINUE.
        value : str
            As it stands in a card: ``T``, ``'text'``, ``12``.
        """
        for place, card in enumerate(self.cards):
            if _keyword(card) == keyword:
                comment = _comment(card)
                body = value.ljust(20) if value.startswith("'") else value.rjust(20)
                text = f"{keyword:<8}= {body}" + (f" / {comment}" if comment else "")
                self.cards[place] = text.encode("latin-1")[:CARD].ljust(CARD)
                self.edited = True
                return
        raise KeyError(keyword)

    def add(self, card: bytes) -> None:
        """Add a card behind all others; of at most 80 bytes, blanks come by themselves."""
        self.cards.append(card.ljust(CARD))
        self.edited = True

    def put(self, keyword: str, value: str, comment: str) -> None:
        """Set the value of a card as :meth:`replace_value`, or add the card where there is none."""
        if self.find(keyword) is None:
            self.add(f"{keyword:<8}= {'':20} / {comment}".encode("latin-1"))
        self.replace_value(keyword, value)


def _keyword(card: bytes) -> str:
    return card[:8].decode("latin-1").rstrip()


def _comment(card: bytes) -> str:
    """Return the comment of a card as it stands behind the slash."""
    text = card[10:CARD].decode("latin-1")
    start = 0
    if text.lstrip().startswith("'"):
        start = text.index("'") + 1
        while start < len(text):
            if text[start] == "'":
                if text[start + 1 : start + 2] != "'":
                    break
                start += 1
            start += 1
    slash = text.find("/", start)
    return text[slash + 1 :].strip() if slash >= 0 else ""


def _cards(block: Block) -> list[bytes]:
    cards: list[bytes] = []
    for start in range(0, block.end, CARD):
        image = block.raw[start : start + CARD]
        if image.startswith(b"CONTINUE") and cards:
            cards[-1] += image
        else:
            cards.append(image)
    return cards


class FitsFile:
    """The bytes of a FITS file with edits to its headers and arrays.

    The images of a measurement that is worked on are written band by band, and what else there is when it is first
    looked at: each byte is written once where that can be, and takes no memory before.

    Parameters
    ----------
    content : bytes or memoryview
        A plain FITS file.
    found : Scan
        Its skeleton.
    """

    def __init__(self, content: bytes | memoryview, found: Scan) -> None:
        self.content = content
        self.hdus = [
            Hdu(block.index, _cards(block), block.header_offset, block.data_offset, block.data_bytes)
            for block in found.blocks
        ]
        offsets = [hdu.header_offset for hdu in self.hdus[1:]] + [len(content)]
        self._ends = {hdu.index: end for hdu, end in zip(self.hdus, offsets, strict=True)}
        self._order = list(self.hdus)
        self._new: io.BytesIO | None = None
        self._bands: dict[int, int] = {}  # offset of each image that is written band by band, and its end
        self._dropped = False

    @cached_property
    def _blank(self) -> memoryview:
        """The bytes of the copy before they are written; of a large file the system gives memory as that happens."""
        self._new = io.BytesIO(bytes(len(self.content)))
        return self._new.getbuffer()

    @cached_property
    def data(self) -> memoryview:
        """The bytes of the copy, to write arrays into; what no band writes is copied now."""
        start = 0
        for band, end in sorted(self._bands.items()):
            self._copy(start, band)
            start = end
        self._copy(start, len(self.content))
        return self._whole()

    def _whole(self) -> memoryview:
        """Return the bytes of the copy when all are written."""
        return self._blank

    def _copy(self, start: int, stop: int) -> None:
        """Write a part of the input as it is."""
        self._blank[start:stop] = memoryview(self.content)[start:stop]

    def views(self, item: Measurement) -> Views:
        """Return the arrays of a measurement, to be read and written."""
        images = [plane for plane in item.planes() if not plane.row_stride and plane.offset not in self._bands]
        self._bands |= {plane.offset: plane.offset + plane.size * plane.stored.itemsize for plane in images}
        return self._views(item, {plane.offset for plane in images})

    def _views(self, item: Measurement, whole: set[int]) -> Views:
        """Return the arrays of a measurement, of which those that begin at some offsets are written wholly."""
        return _Copied(self, self._blank, item, whole)

    def release(self) -> None:
        """Give back memory, where that is possible without losing what was written."""

    def insert(self, before: Hdu, cards: list[bytes], data: bytes) -> Hdu:
        """Add an HDU before another; its header must describe ``data``, END comes by itself.

        ``hdus`` stays the list of those of the input, so that a number names the same HDU to everyone.
        """
        new = Hdu(-1 - len(self._order), cards, 0, 0, len(data), edited=True, new_data=Pieces.of(data))
        self._order.insert(self._order.index(before), new)
        return new

    def drop(self, hdu: Hdu) -> None:
        """Leave out an HDU."""
        self._order = [other for other in self._order if other is not hdu]
        self._dropped = True

    def changed(self) -> bool:
        """Return whether any array may have been written or any card was edited."""
        return self._new is not None or self._dropped or any(hdu.edited for hdu in self._order)

    def assemble(self) -> bytes:
        """Return the edited file; CHECKSUM and DATASUM are set anew where they stood and no longer hold."""
        if not self.changed():
            return bytes(self.content)
        body = memoryview(self.content) if self._new is None else self.data
        parts = self.parts(body)
        if self._new is None or not self.in_place(parts, body):
            return b"".join(written(parts))
        # Without views of it, the stream gives its bytes away instead of a copy of them.
        del body, parts
        self._blank.release()
        return self._new.getvalue()

    def parts(self, body: memoryview) -> list[Part]:
        """Return header and data of each HDU in turn, ``body`` being the bytes of the file with its arrays written."""
        parts: list[Part] = []
        for hdu in self._order:
            data: Part = body[hdu.data_offset : self._ends.get(hdu.index, hdu.data_offset)]
            summed: Part = body[hdu.data_offset : hdu.data_offset + -(-hdu.data_bytes // BLOCK) * BLOCK]
            if hdu.new_data is not None:
                data = summed = hdu.new_data
                hdu.data_bytes = hdu.new_data.size
            if hdu.edited or hdu.touched:
                _set_sums(hdu, summed)
            parts += [header_bytes(hdu.cards) if hdu.edited else body[hdu.header_offset : hdu.data_offset], data]
        return parts

    def in_place(self, parts: list[Part], body: memoryview) -> bool:
        """Write edited headers over the old ones, where every HDU is as long as it was."""
        plain = not self._dropped and all(hdu.index >= 0 and hdu.new_data is None for hdu in self._order)
        headers = list(written(parts[::2]))
        if not plain or any(
            len(header) != hdu.data_offset - hdu.header_offset for hdu, header in zip(self._order, headers, strict=True)
        ):
            return False
        for hdu, header in zip(self._order, headers, strict=True):
            if hdu.edited:
                body[hdu.header_offset : hdu.data_offset] = header
        return True


class BandedViews(Views, ABC):
    """Arrays of a file and its copy: some are read from the one and written to the other, the others lie in the copy.

    Parameters
    ----------
    file : FitsFile
        The file and its copy.
    measurement : Measurement
        What is measured.
    whole : set of int
        Offsets of the planes that are written wholly, part by part.
    """

    def __init__(self, file: FitsFile, measurement: Measurement, whole: set[int]) -> None:
        super().__init__(file.content, measurement)
        self._whole = whole
        for plane in measurement.planes():
            if plane.offset not in whole:
                self._arrays[plane.offset] = plane.raw(file.data).reshape(self.shape)

    def put(self, plane: Plane, frame: int, part: slice, values: NDArray[Any], kept: Kept | None) -> None:
        """Write values of a part of a frame, but for those that are kept."""
        if plane.offset in self._whole:
            self._put(plane, frame, part, values, kept)
        else:
            super().put(plane, frame, part, values, kept)

    @abstractmethod
    def _put(self, plane: Plane, frame: int, part: slice, values: NDArray[Any], kept: Kept | None) -> None:
        """Write values of a plane that lies in the input."""


class _Copied(BandedViews):
    """Arrays of a file in memory and of its copy."""

    def __init__(self, file: FitsFile, copy: memoryview, measurement: Measurement, whole: set[int]) -> None:
        super().__init__(file, measurement, whole)
        planes = [plane for plane in measurement.planes() if plane.offset in whole]
        self._targets = {plane.offset: plane.raw(copy).reshape(self.shape) for plane in planes}

    def _put(self, plane: Plane, frame: int, part: slice, values: NDArray[Any], kept: Kept | None) -> None:
        fill(plane, self._targets[plane.offset][frame, :, part], values, kept)

    def keep(self, plane: Plane, frame: int, part: slice) -> None:
        if plane.offset in self._whole:
            self._targets[plane.offset][frame, :, part] = self[plane][frame, :, part]


def _set_sums(hdu: Hdu, data: Part) -> None:
    """Set DATASUM and CHECKSUM of an HDU that has them."""
    if hdu.find("DATASUM") is None and hdu.find("CHECKSUM") is None:
        return
    total, rest = 0, b""
    for piece in written([data]):
        words = rest + piece if rest else piece
        whole = len(words) - len(words) % 4
        total, rest = _sum32(words[:whole], total), bytes(words[whole:])
    if hdu.find("DATASUM") is not None:
        hdu.replace_value("DATASUM", f"'{total}'")
    if hdu.find("CHECKSUM") is not None:
        hdu.replace_value("CHECKSUM", f"'{'0' * 16}'")
        hdu.replace_value("CHECKSUM", f"'{_encoded(~_sum32(header_bytes(hdu.cards), total) & 0xFFFFFFFF)}'")


def _sum32(data: bytes | memoryview, start: int = 0) -> int:
    """Return the 32-bit ones' complement sum of big-endian words (FITS 4.0, section 4.4.2.7)."""
    whole = len(data) - len(data) % 4
    total = start + int(np.frombuffer(data[:whole], ">u4").sum(dtype=np.uint64))
    total += int.from_bytes(bytes(data[whole:]).ljust(4, b"\0"), "big") if whole < len(data) else 0
    while total >> 32:
        total = (total & 0xFFFFFFFF) + (total >> 32)
    return total


def _encoded(value: int) -> str:
    """Return a checksum in the ASCII coding of FITS 4.0, appendix J."""
    excluded = {*range(0x3A, 0x41), *range(0x5B, 0x61)}
    columns: list[list[int]] = []
    for byte in value.to_bytes(4, "big"):
        quarter, rest = divmod(byte, 4)
        four = [quarter + rest + 0x30, *([quarter + 0x30] * 3)]
        while any(character in excluded for character in four):
            for pair in (0, 2):
                if four[pair] in excluded or four[pair + 1] in excluded:
                    four[pair] += 1
                    four[pair + 1] -= 1
        columns.append(four)
    text = "".join(chr(columns[byte][place]) for place in range(4) for byte in range(4))
    return text[-1] + text[:-1]


def unpacked(content: bytes, name: str) -> tuple[bytes, Scan]:
    """Return the plain bytes of a file that may be gzip, and its skeleton.

    Raises
    ------
    UnreadableFitsError
        When it is not a whole FITS file.
    """
    found = scan(content, name)
    return (gzip.decompress(content) if found.compressed else content), found


def packed(content: bytes, like: bytes) -> bytes:
    """Return a file in the container of its input: gzip where the input was gzip.

    The gzip stream holds stored, uncompressed blocks, no name and no time, because compressed
    bytes differ between zlib versions and these must not.
    """
    if not like.startswith(GZIP_MAGIC):
        return content
    parts = [_GZIP_HEADER]
    for start in range(0, max(len(content), 1), _STORED):
        piece = content[start : start + _STORED]
        last = start + _STORED >= len(content)
        length = len(piece)
        parts += [bytes([last]), length.to_bytes(2, "little"), (length ^ 0xFFFF).to_bytes(2, "little"), piece]
    parts += [zlib.crc32(content).to_bytes(4, "little"), (len(content) & 0xFFFFFFFF).to_bytes(4, "little")]
    return b"".join(parts)
