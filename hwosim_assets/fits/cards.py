"""Every header card of every HDU, in order, with its raw 80-byte image.

Holds: :class:`HeaderCard`, :func:`read_cards` and the way back, :func:`header_bytes`. Only headers are
read. Keep out the table the cards go to; that is ``catalog.cards``.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Iterator
from typing import BinaryIO, Literal, NamedTuple

from hwosim_assets.fits.blocks import BLOCK, CARD, Block, Scan, Source, card_value, scan
from hwosim_assets.fits.hdus import hdu_facts

__all__ = ["HeaderCard", "cards_of_scan", "header_bytes", "read_cards"]

_UNIT = re.compile(r"\s*\[([^\[\]]*[A-Za-z%µ°\"'][^\[\]]*)\]")
_INT64 = range(-(2**63), 2**63)
#: The cards that nearly all headers consist of (FITS 4.0, section 4.2); every other card goes to astropy.
#: Left out on purpose: quotes inside strings, "field: value" strings, exponents with D, HIERARCH.
_PLAIN = re.compile(
    r"(?P<keyword>[A-Z0-9_-]{1,8}) *= "
    r" *(?:'(?P<text>[ -&(-9;-~]*)'|(?P<truth>[TF])|(?P<whole>[+-]?[0-9]{1,18})"
    r"|(?P<number>[+-]?(?:[0-9]+\.[0-9]*|\.[0-9]+)(?:E[+-]?[0-9]{1,3})?))"
    r" *(?:/ *(?P<comment>[ -~]*))?"
)
_REMARK = re.compile(r"(COMMENT |HISTORY | {8})([ -~]*)")

Value = bool | int | float | str | None


class HeaderCard(NamedTuple):
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
    form : {"file", "image"}
        ``file`` as it stands in the file; ``image`` for the header that a tile-compressed image has
        when unpacked, whose cards follow those of the table that holds it.
    damaged : bool
        Whether the image breaks the standard so that no value can be read from it.
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
    form: Literal["file", "image"] = "file"
    damaged: bool = False


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
            cards = _cards_of_block(block, found.blocks[0])
        yield from cards


def header_bytes(cards: Iterable[HeaderCard | bytes]) -> bytes:
    """Return a header as it stands in a file: the cards' images, END, blanks to a whole block.

    Parameters
    ----------
    cards : iterable of HeaderCard or bytes
        The cards of one HDU in order, or their raw images; cards of form ``image`` are not in the
        file and are left out.
    """
    stored = (card if isinstance(card, bytes) else card.raw if card.form == "file" else b"" for card in cards)
    raw = b"".join(stored) + b"END".ljust(CARD)
    return raw.ljust(-(-len(raw) // BLOCK) * BLOCK)


def _cards_of_block(block: Block, primary: Block) -> list[HeaderCard]:
    """Return the cards of one HDU, then those of the image that is compressed in it."""
    facts = hdu_facts(block)
    place = (facts.index, facts.extname, facts.extver)
    images: list[tuple[bytes, Literal["file", "image"]]] = [
        (image, "file") for image in _images(block.raw[: block.end])
    ]
    if card_value(block.header, "ZIMAGE") is True:
        images += [(image, "image") for image in _images(_unpacked_header(block, primary))]
    cards = []
    for index, (image, form) in enumerate(images):
        keyword, value, comment, damaged = _parsed(image)
        unit = _UNIT.match(comment) if "[" in comment else None
        cards.append(HeaderCard(*place, index, keyword, value, unit[1] if unit else "", comment, image, form, damaged))
    return cards


def _unpacked_header(block: Block, primary: Block) -> bytes:
    """Return the header astropy gives a tile-compressed image, without END; nothing where it cannot.

    astropy takes the header for the whole file: the image's tiles are not needed for it.
    """
    from astropy.io import fits

    from hwosim_assets.fits.opening import astropy_errors

    before = primary.raw if block.index else b""
    try:
        with fits.HDUList.fromstring(before + block.raw) as hdus:
            unpacked: str = hdus[-1].header.tostring(endcard=False, padding=False)
    except astropy_errors():
        # a broken claim to be an image; the cards that stand in the file are kept all the same
        return b""
    return unpacked.encode("latin-1")


def _images(raw: bytes) -> Iterator[bytes]:
    """Split a header into card images; CONTINUE cards stay with the card they continue."""
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


def _parsed(image: bytes) -> tuple[str, Value, str, bool]:
    """Return keyword, value, comment and damage of a card image as astropy gives them."""
    text = image.decode("latin-1")
    if len(text) == CARD:
        remark = _REMARK.fullmatch(text)
        if remark:
            return remark[1].rstrip(), remark[2].rstrip(), "", False
        plain = _PLAIN.fullmatch(text) if text[8] == "=" else None
        if plain:
            return plain["keyword"], _plain_value(plain), (plain["comment"] or "").rstrip(), False
    return _parsed_by_astropy(image)


def _plain_value(plain: re.Match[str]) -> Value:
    """Return the value of a plain card."""
    if plain["text"] is not None:
        return plain["text"].rstrip()
    if plain["whole"] is not None:
        return int(plain["whole"])
    return float(plain["number"]) if plain["number"] is not None else plain["truth"] == "T"


def _parsed_by_astropy(image: bytes) -> tuple[str, Value, str, bool]:
    """Return keyword, value, comment and damage of any card image; what cannot be parsed is left out."""
    from astropy.io import fits

    fallback = image[:8].decode("latin-1").rstrip().upper()
    try:
        card = fits.Card.fromstring(image)
        keyword, value, comment = card.keyword, card.value, card.comment
    except (fits.VerifyError, ValueError, TypeError, LookupError, AttributeError):
        return fallback, None, "", True
    if isinstance(value, fits.card.Undefined):
        value = None
    elif isinstance(value, complex) or (isinstance(value, int) and not isinstance(value, bool) and value not in _INT64):
        value = str(value)
    return str(keyword), value, str(comment or ""), False
