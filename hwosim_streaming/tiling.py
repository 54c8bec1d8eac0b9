"""What a file's HDUs become: the pieces that fit into one message, from the layout alone.

Holds: :class:`Piece` and :func:`pieces`, which cut image HDUs into integrations, groups and tiles and
tables into blocks of rows. No pixel is read: a plan is made from what the manifest says of a file.
Keep out reading the pieces (``pixels``) and when they are sent (``plan``).

Which HDUs are streamed: SCI with the ERR, DQ and GROUPDQ of the same EXTVER and shape beside it, and
EXTRACT1D tables. A file that has neither (an odd real file, a reference file) sends every image and
table under its own name. All else is reached through the claim check on the products topic.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["LARGEST_PIECE", "Piece", "pieces"]

#: Bytes of a message's arrays before compression.
LARGEST_PIECE = 512 * 1024
#: HDUs that lie on the pixels of SCI.
BESIDE_SCI = ("ERR", "DQ", "GROUPDQ")
#: Three-dimensional products whose first axis is integrations; others are cubes.
STACKS = frozenset({"psfstack", "psfalign", "psfsub"})
#: An image of more axes is not cut.
MOST_AXES = 4


@dataclass(frozen=True)
class Piece:
    """What one message carries of a file.

    Attributes
    ----------
    kind : {"image", "table"}
        Pixels or rows.
    hdu, extname, extver
        The HDU it starts from.
    sources : tuple of (str, int)
        Name of each array and index of the HDU it lies in.
    integration, group : int or None
        From 1.
    tile, tiles : int
        Number of this piece among those of the same HDU, integration and group, from 0; how many.
    hdu_shape : tuple of int
        Shape of the HDU's array; (rows,) for a table.
    origin, shape : tuple of int
        First index and length on each axis of the HDU's array.
    size : int
        Bytes of all arrays before compression.
    """

    kind: str
    hdu: int
    extname: str
    extver: int
    sources: tuple[tuple[str, int], ...]
    integration: int | None
    group: int | None
    tile: int
    tiles: int
    hdu_shape: tuple[int, ...]
    origin: tuple[int, ...]
    shape: tuple[int, ...]
    size: int


def pieces(layout: Sequence[Mapping[str, Any]], product_type: str, largest: int = LARGEST_PIECE) -> Iterator[Piece]:
    """Cut a file into pieces.

    Parameters
    ----------
    layout : sequence of mapping
        The HDUs in order: index, extname, extver, kind, shape, dtype, columns (see ``fits.hdus.HduFacts``).
    product_type : str
        JWST product type: tells integrations from wavelengths.
    largest : int
        Bytes of a piece before compression.

    Yields
    ------
    Piece
        In the order of the file: by HDU, integration, group, tile.
    """
    main = [hdu for hdu in layout if _is_main(hdu)]
    for hdu in main or [hdu for hdu in layout if hdu["kind"] != "empty"]:
        if hdu["kind"] == "image" and hdu["dtype"] and len(hdu["shape"]) <= MOST_AXES and math.prod(hdu["shape"]):
            yield from _image_pieces(hdu, _beside(hdu, layout) if main else [hdu], product_type, largest)
        elif hdu["kind"] == "table" and math.prod(hdu["shape"]):
            yield from _table_pieces(hdu, largest)


def _is_main(hdu: Mapping[str, Any]) -> bool:
    return (hdu["kind"], hdu["extname"].upper()) in {("image", "SCI"), ("table", "EXTRACT1D")}


def _beside(sci: Mapping[str, Any], layout: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return SCI and the first HDU of each companion's name that lies on the same pixels."""
    found = {"SCI": sci}
    for hdu in layout:
        name = hdu["extname"].upper()
        same = hdu["kind"] == "image" and hdu["extver"] == sci["extver"] and list(hdu["shape"]) == list(sci["shape"])
        if name in BESIDE_SCI and same:
            found.setdefault(name, hdu)
    return list(found.values())


def _image_pieces(
    hdu: Mapping[str, Any], stack: Sequence[Mapping[str, Any]], product_type: str, largest: int
) -> Iterator[Piece]:
    shape = tuple(int(length) for length in hdu["shape"])
    pixel = sum(np.dtype(each["dtype"]).itemsize for each in stack)
    numbered = _numbered_axes(shape, product_type)
    tile = _tile_shape(shape[numbered:], max(1, largest // pixel))
    corners = itertools.product(*(range(0, length, step) for length, step in zip(shape[numbered:], tile, strict=True)))
    spans = [
        (corner, tuple(min(step, length - at) for step, length, at in zip(tile, shape[numbered:], corner, strict=True)))
        for corner in corners
    ]
    sources = tuple((_array_name(each), int(each["index"])) for each in stack)
    for numbers in itertools.product(*(range(length) for length in shape[:numbered])):
        for number, (corner, size) in enumerate(spans):
            yield Piece(
                kind="image",
                hdu=int(hdu["index"]),
                extname=hdu["extname"],
                extver=int(hdu["extver"]),
                sources=sources,
                integration=numbers[0] + 1 if numbered else None,
                group=numbers[1] + 1 if numbered > 1 else None,
                tile=number,
                tiles=len(spans),
                hdu_shape=shape,
                origin=(*numbers, *corner),
                shape=(1,) * numbered + size,
                size=math.prod(size) * pixel,
            )


def _array_name(hdu: Mapping[str, Any]) -> str:
    return hdu["extname"].upper() or f"HDU{hdu['index']}"


def _numbered_axes(shape: tuple[int, ...], product_type: str) -> int:
    """Return how many leading axes are integrations and groups; the others are tiled."""
    if len(shape) == MOST_AXES:
        return 2
    is_stack = product_type.endswith("ints") or product_type in STACKS
    return 1 if len(shape) == 3 and is_stack else 0


def _tile_shape(shape: tuple[int, ...], pixels: int) -> tuple[int, ...]:
    """Return the largest tile of at most so many pixels: planes of a cube are kept whole, then sides are halved."""
    tile = list(shape)
    if len(tile) == 3:
        tile[0] = max(1, min(tile[0], pixels // (tile[1] * tile[2])))
    while math.prod(tile) > pixels:
        longest = max(range(len(tile)), key=lambda axis: (tile[axis], -axis))
        tile[longest] = -(-tile[longest] // 2)
    return tuple(tile)


def _table_pieces(hdu: Mapping[str, Any], largest: int) -> Iterator[Piece]:
    columns = [column for column in hdu["columns"] if _column_bytes(column)]
    row = sum(_column_bytes(column) for column in columns)
    names = {column["name"] for column in columns}
    # A row above the limit, or columns that cannot be told apart, are left to the claim check.
    if not columns or row > largest or "" in names or len(names) < len(columns):
        return
    rows = int(hdu["shape"][0])
    block = max(1, largest // row)
    starts = range(0, rows, block)
    for number, start in enumerate(starts):
        count = min(block, rows - start)
        yield Piece(
            kind="table",
            hdu=int(hdu["index"]),
            extname=hdu["extname"],
            extver=int(hdu["extver"]),
            sources=tuple((column["name"], int(hdu["index"])) for column in columns),
            integration=None,
            group=None,
            tile=number,
            tiles=len(starts),
            hdu_shape=(rows,),
            origin=(start,),
            shape=(count,),
            size=count * row,
        )


def _column_bytes(column: Mapping[str, Any]) -> int:
    """Return the bytes of one cell as numpy holds it; 0 for what a message cannot carry."""
    dtype, cells = str(column["dtype"]), math.prod(column["shape"])
    if dtype == "str":
        # Characters are sent as bytes: 20A of a binary table, A20 of an ASCII table.
        width = re.match(r"(\d*)A(\d*)", str(column["format"]))
        return int(width[1] or width[2] or 1) if width else 0
    if dtype in ("", "variable", "bit") or not hasattr(np, dtype):
        return 0
    return int(np.dtype(dtype).itemsize * cells)
