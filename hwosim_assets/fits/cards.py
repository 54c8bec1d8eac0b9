"""Every header card of every HDU, in order, with its raw 80-byte image.

Holds: :class:`HeaderCard`, :func:`read_cards` and the way back, :func:`header_bytes`. Only headers are
read. Keep out the table the cards go to; that is ``catalog.cards``.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

from hwosim_assets.fits.blocks import BLOCK, CARD, Block, Scan, Source, scan
from hwosim_assets.fits.hdus import hdu_facts

__all__ = ["HeaderCard", "cards_of_scan", "header_bytes", "read_cards"]

_UNIT = re.compile(r"\s*\[([^\[\]]*[A-Za-z%µ°\"'][^\[\]]*)\]")
_INT64 = range(-(2**63), 2**63)

Value = bool | int | float | str | None


@dataclass(frozen=True)
class HeaderCard:
    """One card.

    Attributes
    ----------
    hdu, card_index : int
        Place in the file and in the header, from 0.
    extname, extver : str, int
        Of the HDU, see :class:`hwosim_assets.fits.hdus.HduFacts`.
    keyword : str
        Upper case as astropy gives it; the words behind HIERARCH; ``""`` for blank cards, ``COMMENT``
        and ``HISTORY`` for theirs.
    value : bool, int, float, str or None
        Typed value; the text of COMMENT, HISTORY and blank cards; the whole string of CONTINUE
        cards; ``None`` when undefined or not parsable (then ``raw`` still has it). Complex numbers
        and integers beyond 64 bits come as text.
    unit : str
        From ``[unit]`` at the start of the comment, else ``""``.
    comment : str
        Without change.
    raw : bytes
        The card's image, 80 bytes; a multiple of 80 with CONTINUE cards.
    """

    hdu: int
    extname: str
    extver: int
    card_index: int
    keyword: str
    value: Value
    unit: str
    comment: str
    raw: bytes


def read_cards(source: Source | BinaryIO, name: str = "") -> Iterator[HeaderCard]:
    """Read the header cards of a FITS file.

    Parameters
    ----------
    source : pathlib.Path, bytes or binary file
        The file; only headers are read from it.
    name : str, optional
        What to call it in errors.

    Yields
    ------
    HeaderCard
        In file order, the END card left out.

    Raises
    ------
    UnreadableFitsError
        When it is not a whole FITS file.
    """
    yield from cards_of_scan(scan(source, name))


def cards_of_scan(found: Scan) -> Iterator[HeaderCard]:
    """Read the header cards of a file that was scanned already."""
    for block in found.blocks:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            cards = _cards_of_block(block)
        yield from cards


def header_bytes(cards: Iterable[HeaderCard | bytes]) -> bytes:
    """Return a header as it stands in a file: the cards' images, END, blanks to a whole block.

    Parameters
    ----------
    cards : iterable of HeaderCard or bytes
        The cards of one HDU in order, or their raw images.
    """
    raw = b"".join(card if isinstance(card, bytes) else card.raw for card in cards) + b"END".ljust(CARD)
    return raw.ljust(-(-len(raw) // BLOCK) * BLOCK)


def _cards_of_block(block: Block) -> list[HeaderCard]:
    """Return the cards of one HDU."""
    facts = hdu_facts(block)
    cards = []
    for index, image in enumerate(_images(block)):
        keyword, value, comment = _parsed(image)
        unit = _UNIT.match(comment)
        cards.append(
            HeaderCard(
                facts.index, facts.extname, facts.extver, index, keyword, value, unit[1] if unit else "", comment, image
            )
        )
    return cards


def _images(block: Block) -> Iterator[bytes]:
    """Split a raw header into card images; CONTINUE cards stay with the card they continue."""
    raw = block.raw[: block.end]
    current = raw[:CARD]
    for start in range(CARD, len(raw), CARD):
        image = raw[start : start + CARD]
        if image.startswith(b"CONTINUE"):
            current += image
        else:
            yield current
            current = image
    if current:
        yield current


def _parsed(image: bytes) -> tuple[str, Value, str]:
    """Return keyword, value and comment of a card image; what cannot be parsed is left out."""
    from astropy.io import fits

    fallback = image[:8].decode("latin-1").rstrip().upper()
    try:
        card = fits.Card.fromstring(image)
        keyword, value, comment = card.keyword, card.value, card.comment
    except (fits.VerifyError, ValueError, TypeError, LookupError, AttributeError):
        return fallback, None, ""
    if isinstance(value, fits.card.Undefined):
        value = None
    elif isinstance(value, complex) or (isinstance(value, int) and not isinstance(value, bool) and value not in _INT64):
        value = str(value)
    return str(keyword), value, str(comment or "")
