"""The rules of the FITS standard itself, on headers as they are stored.

Holds: the rules that any FITS file must keep, whoever made it; they are asked first, so that a damaged
file says so whether it is JWST's or not. Keep out what ends the reading of a file
(``fits.blocks.scan``), checksums (``rules_checksum``) and everything JWST promises.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING

from hwosim_assets.catalog.finding import Finding, Subject, found
from hwosim_assets.fits.blocks import CARD, card_value

if TYPE_CHECKING:
    from hwosim_assets.fits.blocks import Block

__all__ = ["standard"]

#: Most HDUs that a reason names.
_NAMED = 5
#: Bytes that no header may hold (FITS 4.0, 4.1.1): all but 0x20 to 0x7E.
_NOT_TEXT = re.compile(rb"[^\x20-\x7e]")
_KEYWORD = re.compile(rb"[A-Z0-9_-]*\Z")
#: A value of FITS 4.0, 4.2 (string, logical, number, complex number or none) and a comment.
_VALUE = re.compile(
    rb" *(?:'(?:[^']|'')*'|[TF]|[+-]?(?:\d+\.?\d*|\.\d+)(?:[ED][+-]?\d+)?"
    rb"|\( *[+-]?[\d.]+(?:[ED][+-]?\d+)? *, *[+-]?[\d.]+(?:[ED][+-]?\d+)? *\)|) *(?:/.*)?\Z"
)
#: A logical or an integer that ends in column 30.
_FIXED = re.compile(rb" {19}[TF](?: |/|\Z)|(?=.{19}\d) *[+-]?\d+(?: |/|\Z)")
#: Keywords that may stand in a header more than once, or that carry no value.
_COMMENTARY = frozenset({b"COMMENT", b"HISTORY", b"CONTINUE", b"HIERARCH", b""})


def standard(subject: Subject) -> Iterator[Finding]:
    """Yield what of the standard a file does not keep."""
    if subject.scan.padding_missing:
        yield found("padding", "the last block is not filled up to 2880 bytes")
    if subject.scan.trailing_bytes:
        yield found("trailing_bytes", f"{subject.scan.trailing_bytes} bytes follow the last HDU")
    if card_value(subject.scan.blocks[0].header, "SIMPLE") is not True:
        yield found("conforming", "SIMPLE is not T: the file says itself that it does not keep the standard")
    if card_value(subject.scan.blocks[0].header, "GROUPS") is True and _axes(subject.scan.blocks[0])[:1] in ([0], []):
        yield found("random_groups", "the primary HDU is a random-groups structure, or says so by GROUPS")
    packed = [block.index for block in subject.scan.blocks if card_value(block.header, "ZTABLE") is True]
    if packed:
        yield found("compressed_table", f"{_hdus(packed)} is a tile-compressed table, which JWST never writes")
    for rule, judge in _HEADER_RULES.items():
        told = [(block.index, said) for block in subject.scan.blocks if (said := judge(block))]
        if told:
            shown = "; ".join(f"HDU {index}: {said}" for index, said in islice(told, _NAMED))
            more = f"; and {len(told) - _NAMED} more HDUs" if len(told) > _NAMED else ""
            yield found(rule, shown + more)


def _hdus(numbers: list[int]) -> str:
    return "HDU " + ", ".join(str(number) for number in numbers[:_NAMED])


def _cards(block: Block) -> list[bytes]:
    return [block.raw[place : place + CARD] for place in range(0, block.end, CARD)]


def _keyword(card: bytes) -> bytes:
    return card[:8].rstrip(b" ")


def _axes(block: Block) -> list[int]:
    count = card_value(block.header, "NAXIS")
    return [int(card_value(block.header, f"NAXIS{axis}") or 0) for axis in range(1, int(count or 0) + 1)]


def _text(block: Block) -> str:
    strange = _NOT_TEXT.findall(block.raw)
    return f"{len(strange)} bytes are no printable ASCII, the first is 0x{strange[0][0]:02x}" if strange else ""


def _names(block: Block) -> str:
    odd = [_keyword(card) for card in _cards(block) if not _KEYWORD.match(_keyword(card))]
    return f"{_shown(odd)} is no keyword" if odd else ""


def _values(block: Block) -> str:
    """Look at the cards with a value indicator; a value that goes on in CONTINUE cards ends in ``&'``."""
    odd = [
        _keyword(card)
        for card in _cards(block)
        if card[8:10] == b"= " and _keyword(card) not in _COMMENTARY and not _VALUE.match(card[10:])
    ]
    return f"{_shown(odd)} holds no value of a FITS type" if odd else ""


def _repeated(block: Block) -> str:
    names = Counter(_keyword(card) for card in _cards(block) if card[8:10] == b"= ")
    odd = [name for name, count in names.items() if count > 1 and name not in _COMMENTARY]
    return f"{_shown(odd)} stands there more than once" if odd else ""


def _order(block: Block) -> str:
    """Compare the first cards with the mandatory ones; a table's further ones come anywhere."""
    axes = [b"NAXIS%d" % number for number in range(1, len(_axes(block)) + 1)]
    first = b"XTENSION" if block.index else b"SIMPLE"
    due = [first, b"BITPIX", b"NAXIS", *axes, *((b"PCOUNT", b"GCOUNT") if block.index else ())]
    there = [_keyword(card) for card in _cards(block)[: len(due)]]
    wrong = next(((name, said) for name, said in zip(due, there, strict=False) if name != said), None)
    if wrong is None and len(there) == len(due):
        return ""
    name, said = wrong or (due[len(there)], b"END")
    return f"{_shown([said])} stands where {name.decode()} must"


def _fixed(block: Block) -> str:
    """Look at the cards of the mandatory keywords: T in column 30, integers that end there, strings from column 11."""
    cards = {_keyword(card): card for card in reversed(_cards(block)) if card[8:10] == b"= "}
    names = [b"SIMPLE", b"BITPIX", b"NAXIS", *(b"NAXIS%d" % axis for axis in range(1, len(_axes(block)) + 1))]
    there = [name for name in (*names, b"PCOUNT", b"GCOUNT") if name in cards]
    odd = [name for name in there if not _FIXED.match(cards[name][10:])]
    if block.index and not cards.get(b"XTENSION", b"").startswith(b"XTENSION= '"):
        odd.insert(0, b"XTENSION")
    return f"{_shown(odd)} is not written in fixed format" if odd else ""


def _shown(names: list[bytes]) -> str:
    return ", ".join(name.decode("latin-1") or "a blank card" for name in names[:_NAMED])


_HEADER_RULES = {
    "header_text": _text,
    "keyword_name": _names,
    "header_value": _values,
    "keyword_order": _order,
    "fixed_format": _fixed,
    "keyword_repeated": _repeated,
}
