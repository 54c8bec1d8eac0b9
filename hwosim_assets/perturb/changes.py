"""What differs between two files: arrays element by element, headers card by card.

Holds: :func:`compare` and its result, used both to write the truth and to check it. Keep out what
ought to differ; that is ``perturb.truth``.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from hwosim_assets.fits.hdus import hdu_facts
from hwosim_assets.perturb.fitsfile import FitsFile

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from hwosim_assets.fits.blocks import Block
    from hwosim_assets.perturb.product import Product

#: Elements that are compared at once: whole bytes of bits.
_PIECE = 1 << 18

__all__ = ["Difference", "HeaderChange", "PlaneChange", "compare"]


@dataclass(frozen=True)
class PlaneChange:
    """An array that differs.

    Attributes
    ----------
    hdu : int
        Index of its HDU.
    name : str
        ``SCI,1`` or ``EXTRACT1D,1/FLUX``.
    elements : int
        How many elements differ, bit by bit.
    where : str
        BLAKE2b-128 of the packed bit mask of the elements that differ, hex.
    """

    hdu: int
    name: str
    elements: int
    where: str


@dataclass(frozen=True)
class HeaderChange:
    """Cards that differ in one header; sums that merely follow from other changes are left out."""

    hdu: int
    removed: tuple[str, ...]
    added: tuple[str, ...]


@dataclass(frozen=True)
class Difference:
    """Everything that differs between two files.

    Attributes
    ----------
    planes : tuple of PlaneChange
        Arrays that differ.
    headers : tuple of HeaderChange
        Headers that differ.
    other : tuple of str
        HDUs that were added or lost, and data that differ outside of numeric arrays.
    """

    planes: tuple[PlaneChange, ...]
    headers: tuple[HeaderChange, ...]
    other: tuple[str, ...]

    def record(self) -> dict[str, Any]:
        """Return it for JSON."""
        return asdict(self)


def compare(before: Product, after: Product) -> Difference:
    """Return what differs between two products.

    Parameters
    ----------
    before, after : Product
        Of any structure; where the structure differs, that is what is reported.
    """
    pairs, other = _pairs(before, after)
    planes: list[PlaneChange] = []
    for old, new in pairs:
        first, second = _data(before, old), _data(after, new)
        if first.size == second.size and _equal(first, second):
            before.release()
            after.release()
            continue
        planes += _planes(before, after, old.index, new.index)
        if first.size != second.size:
            other.append(f"data of HDU {old.index} changed their size")
        elif not _same_rest(before, old.index, first, second):
            other.append(f"data of HDU {old.index} differ outside the numeric arrays")
    return Difference(tuple(planes), _headers(before, after, pairs), tuple(other))


def _pairs(before: Product, after: Product) -> tuple[list[tuple[Block, Block]], list[str]]:
    """Return which HDUs are compared, and what is to be said of those that have no partner.

    Of as many HDUs each is compared with the one in its place. Where some were added or lost, an HDU's partner is the
    first, second, … of its EXTNAME and EXTVER.
    """
    old, new = before.scan.blocks, after.scan.blocks
    if len(old) == len(new):
        return list(zip(old, new, strict=True)), []
    places = dict(zip(_names(new), new, strict=True))
    pairs, gone = [], Counter[str]()
    for name, block in zip(_names(old), old, strict=True):
        partner = places.pop(name, None)
        if partner is None:
            gone[name[0]] += 1
        else:
            pairs.append((block, partner))
    added = Counter(name for name, _, _ in places)
    said = [f"HDUs gone: {count} {name}" for name, count in sorted(gone.items())]
    said += [f"HDUs added: {count} {name}" for name, count in sorted(added.items())]
    return pairs, [f"{len(old)} HDUs became {len(new)}", *said]


def _names(blocks: Sequence[Block]) -> list[tuple[str, int, int]]:
    """Return (EXTNAME, EXTVER, which of that name it is) of each HDU."""
    seen = Counter[tuple[str, int]]()
    names = []
    for facts in map(hdu_facts, blocks):
        seen[facts.extname, facts.extver] += 1
        names.append((facts.extname, facts.extver, seen[facts.extname, facts.extver]))
    return names


def _equal(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> bool:
    """Return whether bytes are the same, without a mask of all of them."""
    for start in range(0, first.size, _PIECE):
        if not np.array_equal(first[start : start + _PIECE], second[start : start + _PIECE]):
            return False
    return True


def _data(product: Product, block: Block) -> NDArray[np.uint8]:
    return np.frombuffer(product.payload, np.uint8, block.data_bytes, block.data_offset)


def _planes(before: Product, after: Product, hdu: int, partner: int) -> list[PlaneChange]:
    found = []
    after_planes = {plane.name: plane for plane in after.planes_by_hdu.get(partner, ())}
    for old in before.planes_by_hdu.get(hdu, ()):
        new = after_planes.get(old.name)
        if new is None or old.shape != new.shape or old.dtype != new.dtype:
            continue
        bits = np.dtype(f"u{old.stored.itemsize}")
        first, second = (plane.raw(x.payload).view(bits) for plane, x in ((old, before), (new, after)))
        count, where = 0, hashlib.blake2b(digest_size=16)
        for mask in _differing(first, second):
            count += int(np.count_nonzero(mask))
            where.update(np.packbits(mask).tobytes())
            before.release()
            after.release()
        if count:
            found.append(PlaneChange(hdu, old.name, count, where.hexdigest()))
    return found


def _differing(first: NDArray[Any], second: NDArray[Any]) -> Iterator[NDArray[np.bool_]]:
    """Yield which elements differ, flat and in pieces of whole bytes of bits."""
    if first.flags.c_contiguous and second.flags.c_contiguous:
        flat = first.reshape(-1), second.reshape(-1)
        for start in range(0, first.size, _PIECE):
            yield flat[0][start : start + _PIECE] != flat[1][start : start + _PIECE]
    else:
        yield np.ascontiguousarray(first != second).reshape(-1)


def _same_rest(product: Product, hdu: int, first: NDArray[np.uint8], second: NDArray[np.uint8]) -> bool:
    """Return whether the bytes of an HDU that lie in none of its numeric arrays are the same."""
    start = product.scan.blocks[hdu].data_offset
    planes = product.planes_by_hdu.get(hdu, [])
    if len(planes) == 1 and not planes[0].row_stride:
        low = planes[0].offset - start
        high = low + planes[0].size * planes[0].stored.itemsize
        return np.array_equal(first[:low], second[:low]) and np.array_equal(first[high:], second[high:])
    rest = np.ones(first.size, bool)
    for plane in planes:
        width = plane.stored.itemsize
        if not plane.row_stride:
            rest[plane.offset - start : plane.offset - start + plane.size * width] = False
            continue
        cell = plane.size // plane.shape[0] * width
        table = rest[: plane.shape[0] * plane.row_stride].reshape(plane.shape[0], plane.row_stride)
        table[:, plane.offset - start : plane.offset - start + cell] = False
    return np.array_equal(first[rest], second[rest])


def _headers(before: Product, after: Product, pairs: list[tuple[Block, Block]]) -> tuple[HeaderChange, ...]:
    changes = []
    old_hdus, new_hdus = (FitsFile(x.payload, x.scan).hdus for x in (before, after))
    for old, new in pairs:
        first, second = (
            [card for card in hdu.cards if not card.startswith((b"CHECKSUM", b"DATASUM"))]
            for hdu in (old_hdus[old.index], new_hdus[new.index])
        )
        if first == second:
            continue
        removed, added = list(first), []
        for card in second:
            if card in removed:
                removed.remove(card)
            else:
                added.append(card)
        changes.append(HeaderChange(old.index, _text(removed), _text(added)))
    return tuple(changes)


def _text(cards: list[bytes]) -> tuple[str, ...]:
    return tuple(card.decode("latin-1").rstrip() for card in cards)
