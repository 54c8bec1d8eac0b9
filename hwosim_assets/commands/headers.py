"""``hwosim headers``: header cards of a file or a stored object; only headers are read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from hwosim_assets.console import json_option, print_json
from hwosim_assets.errors import BadInputError

if TYPE_CHECKING:
    from hwosim_assets.fits.cards import HeaderCard

__all__ = ["headers"]


@click.command()
@click.argument("file_or_uri")
@click.option("--hdu", type=click.IntRange(0), help="Only this HDU, counted from 0.")
@click.option("--key", "keyword", help="Only this keyword.")
@json_option
def headers(file_or_uri: str, hdu: int | None, keyword: str | None, as_json: bool) -> None:
    """Print the header cards of a FITS file, reading only its headers.

    FILE_OR_URI is a path, or a file://, s3://, http(s):// or mast: address. With --json the answer
    says how many requests and bytes were needed.

    \b
    Examples:
      hwosim headers jw01093012001_03102_00001_nis_cal.fits --hdu 1 --key BUNIT
      hwosim headers mast:JWST/product/jw01093012001_03102_00001_nis_cal.fits --json
    """
    from hwosim_assets.catalog.remote import opened
    from hwosim_assets.fits.cards import read_cards
    from hwosim_assets.settings import Settings

    with opened(file_or_uri, Settings()) as file:
        cards = list(read_cards(file.stream, file.name))
        cost = file.cost
    if hdu is not None and hdu > cards[-1].hdu:
        raise BadInputError(file_or_uri, f"has HDUs 0 to {cards[-1].hdu}, not {hdu}", "ask for one of them")
    found = [
        card
        for card in cards
        if (hdu is None or card.hdu == hdu) and (keyword is None or card.keyword == keyword.upper())
    ]
    if keyword is not None and not found:
        where = "" if hdu is None else f" in HDU {hdu}"
        mend = "look at all cards without --key" if hdu is None else "ask without --hdu, or look at all without --key"
        raise BadInputError(file_or_uri, f"has no card {keyword.upper()}{where}", mend)
    if as_json:
        print_json({"cost": cost, "cards": [_as_dict(card) for card in found]})
    else:
        _print(found)


def _as_dict(card: HeaderCard) -> dict[str, Any]:
    return card._asdict() | {"raw": card.raw.decode("latin-1")}


def _print(cards: list[HeaderCard]) -> None:
    """Print cards as they stand in the file, a line each, under a line for their HDU."""
    current = None
    for card in cards:
        if card.hdu != current:
            current = card.hdu
            click.echo(f"# HDU {card.hdu} {card.extname},{card.extver}")
        for start in range(0, len(card.raw), 80):
            click.echo(_printable(card.raw[start : start + 80]))


def _printable(image: bytes) -> str:
    """Return a card for a terminal: control bytes become dots, so that a file cannot steer it."""
    return "".join(chr(byte) if 32 <= byte < 127 else "." for byte in image).rstrip()
