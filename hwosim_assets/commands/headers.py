"""``hwosim headers``: header cards of a file or a stored object; only headers are read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, BinaryIO

import click

from hwosim_assets.console import json_option, print_json
from hwosim_assets.errors import BadInputError

if TYPE_CHECKING:
    from pathlib import Path

    from hwosim_assets.fits.cards import HeaderCard

__all__ = ["headers"]

#: Bytes of one ranged request to a store: most headers fit.
_REQUEST = 2**16


@click.command()
@click.argument("file_or_uri")
@click.option("--hdu", type=click.IntRange(0), help="Only this HDU, counted from 0.")
@click.option("--key", "keyword", help="Only this keyword.")
@json_option
def headers(file_or_uri: str, hdu: int | None, keyword: str | None, as_json: bool) -> None:
    """Print the header cards of a FITS file, reading only its headers.

    FILE_OR_URI is a path, a file:// URI, or the URI of an object in the lake.

    \b
    Example:
      hwosim headers jw01093012001_03102_00001_nis_cal.fits --hdu 1 --key BUNIT
    """
    from hwosim_assets.fits.cards import read_cards

    cards = list(read_cards(_opened(file_or_uri), file_or_uri))
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
        print_json([_as_dict(card) for card in found])
    else:
        _print(found)


def _opened(file_or_uri: str) -> Path | BinaryIO:
    """Return a path, or a lake object as a file."""
    import io
    from pathlib import Path
    from urllib.parse import unquote, urlsplit

    if "://" not in file_or_uri:
        return Path(file_or_uri)
    parts = urlsplit(file_or_uri)
    if parts.scheme == "file":
        return Path(unquote(parts.path))

    from hwosim_assets.catalog.stored_file import StoredFile
    from hwosim_assets.lake.store import Lake
    from hwosim_assets.settings import Settings

    lake = Lake.from_settings(Settings())
    key = lake.key_of(file_or_uri)
    stored = lake.head(key)
    if stored is None:
        raise BadInputError(file_or_uri, "is not in the lake", "find its URI with `hwosim search`")
    return io.BufferedReader(StoredFile(lake, key, stored.size), _REQUEST)


def _as_dict(card: HeaderCard) -> dict[str, Any]:
    from dataclasses import asdict

    return asdict(card) | {"raw": card.raw.decode("latin-1")}


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
