"""Header cards: all of them, in order, and the header put together again."""

from __future__ import annotations

import io
from itertools import groupby
from pathlib import Path
from unittest.mock import ANY

import numpy as np
import pytest
from astropy.io import fits
from hypothesis import given, settings
from hypothesis import strategies as st

from hwosim_assets.fits.blocks import UnreadableFitsError, scan
from hwosim_assets.fits.cards import HeaderCard, _parsed, _parsed_by_astropy, cards_of_scan, header_bytes, read_cards


def odd_header() -> fits.Header:
    header = fits.Header()
    header["EXPTIME"] = (12.5, "[s] exposure time")
    header["FILTER"] = "F480M"
    header["ALLOWED"] = True
    header["LONGINT"] = 2**62
    header["NOTHING"] = (None, "undefined")
    header["TITLE"] = ("a very long title " * 12, "with a comment")
    header["HIERARCH ESO DET NAME"] = "odd"
    header.add_comment("first remark")
    header.add_history("made")
    header.add_blank("a blank card with words")
    header.append(("FILTER", "F380M", "the second of two"), end=True)
    header.add_history("changed")
    header["COMPLEX"] = 1 + 2j
    return header


def odd_file() -> bytes:
    buffer = io.BytesIO()
    image = fits.ImageHDU(np.zeros((4, 4), np.int16), odd_header(), name="SCI")
    fits.HDUList([fits.PrimaryHDU(), image]).writeto(buffer)
    return buffer.getvalue()


def by_keyword(cards: list[HeaderCard], keyword: str) -> list[HeaderCard]:
    return [card for card in cards if card.keyword == keyword]


def test_values_keep_their_types_and_order() -> None:
    cards = [card for card in read_cards(odd_file()) if card.hdu == 1]
    assert [card.card_index for card in cards] == list(range(len(cards)))
    exposure = by_keyword(cards, "EXPTIME")[0]
    assert (exposure.value, exposure.unit, exposure.comment) == (12.5, "s", "[s] exposure time")
    assert [card.value for card in by_keyword(cards, "FILTER")] == ["F480M", "F380M"]
    assert by_keyword(cards, "ALLOWED")[0].value is True
    assert by_keyword(cards, "LONGINT")[0].value == 2**62
    assert by_keyword(cards, "NOTHING")[0].value is None
    assert by_keyword(cards, "COMPLEX")[0].value == "(1+2j)"
    assert by_keyword(cards, "ESO DET NAME")[0].value == "odd"
    assert [card.value for card in by_keyword(cards, "HISTORY")] == ["made", "changed"]
    assert by_keyword(cards, "COMMENT")[0].value == "first remark"
    title = by_keyword(cards, "TITLE")[0]
    assert title.value == ("a very long title " * 12).rstrip()
    assert len(title.raw) > 80
    assert len(title.raw) % 80 == 0
    assert {card.extname for card in cards} == {"SCI"}


def test_the_header_round_trips() -> None:
    content = odd_file()
    found = scan(content)
    for hdu, cards in groupby(cards_of_scan(found), key=lambda card: card.hdu):
        block = found.blocks[hdu]
        assert header_bytes(cards) == content[block.header_offset : block.data_offset]


def test_every_real_header_round_trips(real_data: Path) -> None:
    headers = 0
    for path in sorted(real_data.glob("**/*")):
        try:
            found = scan(path if path.is_file() else b"")
        except UnreadableFitsError:
            continue
        for hdu, cards in groupby(cards_of_scan(found), key=lambda card: card.hdu):
            assert header_bytes(cards) == found.blocks[hdu].raw, (path, hdu)
            headers += 1
    assert headers > 500


@pytest.mark.filterwarnings("ignore::astropy.utils.exceptions.AstropyUserWarning")
def test_every_real_card_is_read_as_astropy_reads_it(real_data: Path) -> None:
    cards = 0
    for path in sorted(real_data.glob("**/*")):
        try:
            found = read_cards(path) if path.is_file() else ()
            for card in found:
                assert _parsed_by_astropy(card.raw) == (card.keyword, ANY, card.comment, card.damaged), (path, card)
                assert repr(_parsed_by_astropy(card.raw)[1]) == repr(card.value), (path, card)
                cards += 1
        except UnreadableFitsError:
            continue
    assert cards > 50_000


@pytest.mark.filterwarnings("ignore::astropy.utils.exceptions.AstropyUserWarning")
@settings(max_examples=300, deadline=None)
@given(st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=70), st.sampled_from(["= ", "=", "  "]))
def test_any_card_is_read_as_astropy_reads_it(text: str, sign: str) -> None:
    image = f"KEYWORD {sign}{text}".encode().ljust(80)[:80]
    assert repr(_parsed(image)) == repr(_parsed_by_astropy(image))


@pytest.mark.filterwarnings("ignore::astropy.utils.exceptions.AstropyUserWarning")
@settings(max_examples=300, deadline=None)
@given(
    st.from_regex(r"[A-Z0-9_-]{1,8}", fullmatch=True),
    st.from_regex(
        r"('[ -~]{0,20}'|[+-]?[0-9]{1,20}|[+-]?[0-9]{0,3}\.[0-9]{0,3}([EDed][+-]?[0-9]{1,3})?|[TF])", fullmatch=True
    ),
    st.sampled_from(["", " / [s] seconds", "/none", " x"]),
)
def test_any_value_is_read_as_astropy_reads_it(keyword: str, value: str, comment: str) -> None:
    image = f"{keyword:8}= {value}{comment}".encode().ljust(80)[:80]
    assert repr(_parsed(image)) == repr(_parsed_by_astropy(image))


def test_a_compressed_image_gives_both_headers() -> None:
    buffer = io.BytesIO()
    image = fits.CompImageHDU(np.arange(400, dtype=np.int16).reshape(20, 20), odd_header(), name="SCI")
    fits.HDUList([fits.PrimaryHDU(), image]).writeto(buffer)
    cards = [card for card in read_cards(buffer.getvalue()) if card.hdu == 1]
    stored = [card for card in cards if card.form == "file"]
    with fits.open(io.BytesIO(buffer.getvalue())) as hdus:
        unpacked = hdus[1].header.copy()
    assert "ZIMAGE" in {card.keyword for card in stored}
    shown = b"".join(card.raw for card in cards if card.form == "image").decode()
    assert shown == unpacked.tostring(endcard=False, padding=False)
    assert [card.card_index for card in cards] == list(range(len(cards)))
    block = scan(buffer.getvalue()).blocks[1]
    assert header_bytes(cards) == block.raw


class CountingFile(io.BytesIO):
    """A file that remembers how many bytes were read from it."""

    count = 0

    def read(self, size: int | None = -1) -> bytes:
        data = super().read(size)
        self.count += len(data)
        return data


def test_no_pixel_is_read() -> None:
    buffer = io.BytesIO()
    planes = [fits.ImageHDU(np.zeros((500, 500), np.float32), name=name) for name in ("SCI", "ERR")]
    fits.HDUList([fits.PrimaryHDU(), *planes]).writeto(buffer)
    counting = CountingFile(buffer.getvalue())
    cards = list(read_cards(counting))
    assert len({card.hdu for card in cards}) == 3
    assert counting.count < 5 * 2880


def test_a_bad_card_keeps_its_image() -> None:
    content = odd_file().replace(b"EXPTIME =                 12.5", b"EXPTIME = 12.5.6.7 8          ")
    card = by_keyword(list(read_cards(content)), "EXPTIME")[0]
    assert card.value is None
    assert card.damaged
    assert card.raw.startswith(b"EXPTIME = 12.5.6.7 8")
