"""Files that are not what they claim: each is refused with its reason, none costs memory or time."""

from __future__ import annotations

import gzip
import io
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hwosim_assets.fits.blocks import scan
from hwosim_assets.fits.cards import read_cards
from hwosim_assets.fits.describe import describe
from hwosim_assets.fits.opening import UnreadableFitsError, open_fits


def card(keyword: str, value: object = None) -> bytes:
    return (keyword if value is None else f"{keyword:8}= {value!s:>20}").encode().ljust(80)


def header(**values: object) -> bytes:
    raw = b"".join(card(keyword, value) for keyword, value in values.items()) + card("END")
    return raw.ljust(-(-len(raw) // 2880) * 2880)


def extension(kind: str, **values: object) -> bytes:
    return PRIMARY + header(XTENSION=f"'{kind:8}'", **values)


START = card("SIMPLE", "T")
PRIMARY = header(SIMPLE="T", BITPIX=8, NAXIS=0)
TABLE = {"BITPIX": 8, "NAXIS": 2, "NAXIS1": 0, "NAXIS2": 0, "PCOUNT": 0, "GCOUNT": 1}
TILES = {"TFIELDS": 1, "ZIMAGE": "T", "ZBITPIX": -32, "ZNAXIS": 2, "ZNAXIS1": 100_000, "ZNAXIS2": 100_000}


def whole_file() -> bytes:
    table = fits.BinTableHDU.from_columns([fits.Column("FLUX", "4E", array=np.ones((5, 4))), fits.Column("N", "J")])
    image = fits.ImageHDU(np.arange(60, dtype=np.float32).reshape(6, 10), name="SCI")
    buffer = io.BytesIO()
    fits.HDUList([fits.PrimaryHDU(), image, table]).writeto(buffer)
    return buffer.getvalue()


WHOLE = whole_file()

LIES = {
    "claims": (extension("IMAGE", **TABLE | {"NAXIS1": 10**12, "NAXIS2": 10**12}), "claims"),
    "columns": (extension("BINTABLE", **TABLE, TFIELDS=2_000_000_000), "more than 999"),
    "axes": (header(SIMPLE="T", BITPIX=8, NAXIS=10**9), "more than 999"),
    "tiles": (extension("BINTABLE", **TABLE | {"NAXIS1": 8}, **TILES), "claims"),
    "negative": (header(SIMPLE="T", BITPIX=8, NAXIS=1, NAXIS1=-5), "no usable NAXIS1"),
    "bitpix": (header(SIMPLE="T", BITPIX=17, NAXIS=0), "no valid BITPIX"),
    "no end": (START * 36, "no END card"),
    "empty": (b"", "is empty"),
    "zeros": (bytes(5760), "zero bytes"),
    "pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n", "git-lfs pointer"),
    "web page": (b"<!DOCTYPE html><html><body>404 Not Found</body></html>", "web page"),
    "json": (b'{"asn_type": "image2"}', "JSON"),
    "text": (b"wavelength flux\n1.0 2.0\n" * 20, "plain text"),
    "dump": (b"SIMPLE  =                    T\nBITPIX  =                    8\nEND\n", "text dump"),
    "extension": (header(XTENSION="'IMAGE   '", BITPIX=8, NAXIS=0), "primary header is missing"),
    "zip": (b"PK\x03\x04" + bytes(500), "compressed in another way"),
    "cut": (WHOLE[: 5760 + 100], "truncated"),
    "cut header": (WHOLE[: 2880 + 1000], "truncated"),
    "cut gzip": (gzip.compress(WHOLE)[:-100], "cut off"),
    "damaged": (WHOLE.replace(b"XTENSION= 'BINTABLE'", b"XTENSIOM= 'BINTABLE'"), "XTENSION card is damaged"),
    "gzip that claims": (gzip.compress(header(SIMPLE="T", BITPIX=8, NAXIS=1, NAXIS1=9 * 10**12)), "claims"),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_lie_is_refused_with_its_reason(lie: str, tmp_path: Path) -> None:
    content, reason = LIES[lie]
    path = tmp_path / "jw01093012001_03102_00001_nis_cal.fits"
    path.write_bytes(content)
    tracemalloc.start()
    try:
        with pytest.raises(UnreadableFitsError, match=reason), open_fits(path):
            pass
        with pytest.raises(UnreadableFitsError, match=reason):
            describe(content, path.name)
        assert tracemalloc.get_traced_memory()[1] < 50e6
    finally:
        tracemalloc.stop()


def test_an_endless_header_ends() -> None:
    content = START + card("HISTORY again") * 300_000
    with pytest.raises(UnreadableFitsError, match="no END card in"):
        scan(content)


def test_a_whole_file_opens_however_it_is_packed(tmp_path: Path) -> None:
    content = WHOLE
    packed = tmp_path / "gzip_under_a_plain_name.fits"
    packed.write_bytes(gzip.compress(content))
    for source in (content, gzip.compress(content), packed):
        with open_fits(source, "x.fits") as hdus:
            assert [hdu.name for hdu in hdus] == ["PRIMARY", "SCI", ""]
            np.testing.assert_array_equal(hdus["SCI"].data, np.arange(60).reshape(6, 10))


def test_a_missing_padding_is_told_and_not_refused() -> None:
    content = WHOLE
    facts = scan(content[: scan(content).blocks[-1].data_offset + scan(content).blocks[-1].data_bytes])
    assert facts.padding_missing
    assert not scan(content).padding_missing
    assert scan(content + b"xy").trailing_bytes == 2


def test_an_error_of_the_reader_passes_through() -> None:
    with pytest.raises(KeyError, match="mine"), open_fits(WHOLE):
        raise KeyError("mine")


def test_a_gzip_bomb_behind_the_file_is_not_unpacked() -> None:
    bomb = gzip.compress(WHOLE + bytes(300_000_000), compresslevel=1)
    tracemalloc.start()
    try:
        with open_fits(bomb) as hdus:
            assert len(hdus) == 3
        assert tracemalloc.get_traced_memory()[1] < 50e6
    finally:
        tracemalloc.stop()


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(st.integers(0, len(WHOLE) - 1), st.integers(0, 255)), max_size=30), st.booleans())
def test_mangled_files_are_described_or_refused(changes: list[tuple[int, int]], packed: bool) -> None:
    mangled = bytearray(WHOLE)
    for position, value in changes:
        mangled[position] = value
    content = gzip.compress(bytes(mangled), compresslevel=1) if packed else bytes(mangled)
    try:
        list(read_cards(content))
        facts = describe(content, "x.fits")
        with open_fits(content) as hdus:
            assert len(hdus) == len(facts.hdus)
    except UnreadableFitsError as error:
        assert error.reason


def test_every_real_and_every_evil_file_is_described_or_refused(real_data: Path) -> None:
    refused = {}
    for path in sorted((*real_data.glob("jwst/**/*"), *real_data.glob("evil/**/*"))):
        if not path.is_file():
            continue
        try:
            facts = describe(path)
            with open_fits(path) as hdus:
                shapes = [tuple(hdu.shape) for hdu, item in zip(hdus, facts.hdus, strict=True) if item.kind == "image"]
            assert shapes == [item.shape for item in facts.hdus if item.kind == "image"], path
        except UnreadableFitsError as error:
            refused[path.name] = error.reason
    assert {name for name in refused if name.endswith((".fits", ".gz", ".fz"))} == {
        "header_unexpected_end.fits",
        "idcompspec.fits",
        "jw02739-o002_t001_miri_f770w_i2d.fits",
    }
