"""Bytes in, bytes out: containers, headers, sums, and files that are refused."""

from __future__ import annotations

import gzip
import io
from collections.abc import Callable

import numpy as np
import pytest
from astropy.io import fits
from hypothesis import given
from hypothesis import strategies as st

from hwosim_assets.errors import BadInputError
from hwosim_assets.fits.dq import DQ
from hwosim_assets.perturb import Product, Scenario, apply
from hwosim_assets.perturb.fitsfile import FitsFile, packed
from hwosim_assets.perturb.product import RefusedProductError

Make = Callable[..., Product]


def written(*hdus: fits.hdu.base._BaseHDU) -> bytes:
    buffer = io.BytesIO()
    fits.HDUList([fits.PrimaryHDU(), *hdus]).writeto(buffer)
    return buffer.getvalue()


@pytest.mark.parametrize("scenario", ["nominal_l2", "ground_segment_bad_day"])
@pytest.mark.parametrize("kind", ["cal", "uncal", "x1d"])
def test_checksums_hold_where_they_stood_and_stay_absent_elsewhere(make: Make, scenario: str, kind: str) -> None:
    out = apply(make(kind, checksum=True), scenario, severity=4)[0]
    assert out.content != make(kind, checksum=True).content
    with fits.open(io.BytesIO(out.content), checksum=True) as hdus:
        for hdu in hdus:
            assert "CHECKSUM" in hdu.header
            assert hdu.verify_datasum() == 1
            assert hdu.verify_checksum() == 1
    plain = apply(make(kind), scenario, severity=4)[0]
    assert b"CHECKSUM" not in plain.content
    assert b"DATASUM" not in plain.content


@pytest.mark.parametrize("kind", ["cal", "x1d"])
def test_gzip_stays_gzip_with_the_same_file_inside(make: Make, kind: str) -> None:
    out = apply(make(kind, packed=True), "nominal_l2", severity=3)[0]
    plain = apply(make(kind), "nominal_l2", severity=3)[0]
    assert out.content[:2] == b"\x1f\x8b"
    assert gzip.decompress(out.content) == plain.content
    assert b"nominal" not in out.content[:100]


@given(st.integers(0, 200_000))
def test_packing_is_gzip_of_any_length(size: int) -> None:
    content = bytes(size)
    assert gzip.decompress(packed(content, b"\x1f\x8b")) == content
    assert packed(content, b"SIMPLE") is content


def test_nothing_in_the_delivered_file_says_what_was_done(make: Make) -> None:
    product = make("cal")
    effects = [{"read_noise": {}}, {"packet_loss": {"loss": 0.5, "packet": 100}}]
    out = apply(product, Scenario.from_mapping("t", {"version": 1, "effects": effects}))[0]
    for block, before in zip(out.scan.blocks, product.scan.blocks, strict=True):
        if block.index:
            assert block.raw == before.raw
    first, second = out.scan.blocks[0].raw, product.scan.blocks[0].raw
    changed = [first[at : at + 80] for at in range(0, len(first), 80) if first[at : at + 80] != second[at : at + 80]]
    assert changed == [b"DATAPROB=                    T / comment of DATAPROB".ljust(80)]


def test_a_card_keeps_its_comment_when_its_value_changes(make: Make) -> None:
    product = make("cal")
    file = FitsFile(product.payload, product.scan)
    file.hdus[0].replace_value("TITLE", "'new'")
    card = fits.Card.fromstring(file.hdus[0].find("TITLE"))
    assert (card.value, card.comment) == ("new", "comment of TITLE")
    with pytest.raises(KeyError):
        file.hdus[0].replace_value("ABSENT", "1")


def test_bytes_after_the_last_hdu_stay(make: Make) -> None:
    product = Product("x_cal.fits", make("cal").content + b"\0" * 2880)
    out = apply(product, "ground_segment_bad_day", severity=5)[0]
    assert out.content.endswith(b"\0" * 2880)


# ------------------------------------------------------------------ refusals


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (written(), "no pixels"),
        (written(fits.ImageHDU(name="SCI")), "holds no pixels"),
        (written(fits.ImageHDU(np.zeros((4, 4), np.int16), name="SHUTTER_IMAGE")), "no pixels"),
        (written(fits.BinTableHDU.from_columns([fits.Column("ra", "D", array=[1.0])])), "no pixels"),
        (written(fits.CompImageHDU(np.ones((40, 40), np.float32), name="SCI")), "tile-compressed"),
        (b"", "empty"),
        (b"<html>", "HTML"),
    ],
)
def test_what_cannot_be_perturbed_says_why(content: bytes, reason: str) -> None:
    with pytest.raises(BadInputError, match=reason):
        apply(Product("x_cal.fits", content), "nominal_l2")


def test_scaled_integers_are_refused() -> None:
    hdu = fits.ImageHDU(np.zeros((8, 8), np.int16), name="SCI")
    hdu.header["BSCALE"] = 0.5
    with pytest.raises(RefusedProductError, match="BSCALE"):
        apply(Product("x_cal.fits", written(hdu)), "nominal_l2")


def test_reference_files_are_refused(make: Make) -> None:
    with fits.open(io.BytesIO(make("cal").content)) as hdus:
        hdus[0].header["REFTYPE"] = "FLAT"
        buffer = io.BytesIO()
        hdus.writeto(buffer)
    with pytest.raises(RefusedProductError, match="reference file"):
        apply(Product("x_flat.fits", buffer.getvalue()), "nominal_l2")


@pytest.mark.parametrize("fill", [np.nan, 0.0, np.inf, -1e30])
def test_degenerate_pixels_give_no_wrong_product(make: Make, fill: float) -> None:
    product = make("cal")
    payload = bytearray(product.content)
    for plane in product.planes:
        if plane.dtype == "float32":
            plane.raw(payload)[...] = fill
    filled = Product(product.name, bytes(payload))
    out, truth = apply(filled, "nominal_l2", severity=3)
    everything = Scenario.from_mapping("t", {"version": 1, "effects": ["read_noise", "background", "throughput"]})
    assert truth.record["effects"]
    lost = (out.plane("DQ") & (DQ.DROPOUT | DQ.DEAD)) != 0
    kept = out.plane("SCI")[~lost]
    if np.isnan(fill):
        assert np.isnan(kept).all()
    else:
        assert not np.isnan(kept).any()
    assert apply(filled, everything)[0].plane("SCI").shape == out.plane("SCI").shape


def test_two_tables_and_repeated_names_are_told_apart() -> None:
    rng = np.random.default_rng(1)
    pair = [
        fits.ImageHDU(rng.normal(5, 1, (30, 30)).astype(np.float32), name=name) for name in ("SCI", "ERR", "SCI", "ERR")
    ]
    product = Product("x.beams.fits", written(*pair))
    assert [(item.sci.hdu, item.err.hdu) for item in product.measurements if item.err] == [(1, 2), (3, 4)]
    out = apply(
        product, Scenario.from_mapping("t", {"version": 1, "effects": [{"missing_values": {"fraction": 0.3}}]})
    )[0]
    first, second = (np.isnan(item.sci.read(out.payload)) for item in out.measurements)
    assert (first != second).any()
