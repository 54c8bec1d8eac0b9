"""The rules on data: do checksums hold, can the data be read, is anything finite.

Holds: the rules that read data, in slabs, so that memory stays small whatever the file. Keep out
rules that headers can answer.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from hwosim_assets.catalog.finding import Finding, Subject
from hwosim_assets.catalog.rules_structure import main_hdus
from hwosim_assets.fits.blocks import byte_stream, card_value
from hwosim_assets.fits.opening import astropy_errors, open_fits

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from hwosim_assets.fits.blocks import Block
    from hwosim_assets.fits.hdus import HduFacts

__all__ = ["checksums", "data"]

_CHUNK = 2**22
_MODULUS = 0xFFFFFFFF


def checksums(subject: Subject) -> Iterator[Finding]:
    """Yield HDUs whose DATASUM or CHECKSUM does not hold (FITS 4.0, appendix J).

    Only files that carry such cards are read; JWST's own pipeline writes none.
    """
    stamped = [
        block
        for block in subject.scan.blocks
        if any(card_value(block.header, keyword) is not None for keyword in ("DATASUM", "CHECKSUM"))
    ]
    if not stamped:
        return
    with byte_stream(subject.path, subject.facts.file_name) as (stream, _, _):
        for block in stamped:
            stream.seek(block.data_offset)
            padded = -(-block.data_bytes // 2880) * 2880
            data_sum = ones_complement_sum(_chunks(stream, padded))
            yield from _stamp(block, data_sum)


def _chunks(stream: Any, size: int) -> Iterator[bytes]:
    """Yield the next bytes of a stream in pieces."""
    left = size
    while left:
        piece = stream.read(min(left, _CHUNK))
        if not piece:
            return
        left -= len(piece)
        yield piece


def ones_complement_sum(pieces: Iterator[bytes], start: int = 0) -> int:
    """Return the 32-bit ones' complement sum of bytes, big-endian, zero-padded to whole words."""
    total = start
    for piece in pieces:
        words = np.frombuffer(piece.ljust(-(-len(piece) // 4) * 4, b"\0"), dtype=">u4")
        total += int(words.sum(dtype=np.uint64))
    while total > _MODULUS:
        total = (total & _MODULUS) + (total >> 32)
    return total


def _stamp(block: Block, data_sum: int) -> Iterator[Finding]:
    """Compare one HDU with its cards; a header edited later is a warning, changed data are not."""
    where = f"HDU {block.index}"
    recorded = str(card_value(block.header, "DATASUM") or "").strip()
    if recorded.isdigit() and int(recorded) not in (data_sum, data_sum % _MODULUS):
        yield Finding(
            "checksum",
            "reject",
            f"the data of {where} sum to {data_sum}, DATASUM says {recorded}: they changed after they were written",
        )
    elif card_value(block.header, "CHECKSUM"):
        whole = ones_complement_sum(iter((block.raw,)), data_sum)
        if whole not in (0, _MODULUS):
            yield Finding("checksum", "warn", f"CHECKSUM of {where} does not hold: its header was edited afterwards")


def data(subject: Subject) -> Iterator[Finding]:
    """Yield what is wrong with the values of the measurement itself."""
    with open_fits(subject.path, subject.facts.file_name) as hdus, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        findings = _main_values(subject, hdus) or _errors(subject, hdus)
    yield from findings


def _main_values(subject: Subject, hdus: Any) -> list[Finding]:
    """Look for one finite value; slits and spectra beyond the first that has one are not read."""
    mains = main_hdus(subject)
    for item in mains:
        try:
            if any(_any_finite(piece) for piece in _values(hdus[item.index], item.kind)):
                return []
        except astropy_errors() as error:
            return [_unreadable(item, error)]
    return [Finding("no_finite_data", "reject", f"{mains[0].extname} holds no finite value")] if mains else []


def _values(hdu: Any, kind: str) -> Iterator[NDArray[Any]]:
    """Yield the values of an image plane by plane of its first axis, or the flux of a spectrum."""
    if kind == "table":
        yield np.asarray(hdu.data["FLUX"] if "FLUX" in hdu.columns.names else hdu.data.field(0))
        return
    section = hdu.section if hasattr(hdu, "section") else hdu.data
    rows = hdu.shape[0]
    step = max(1, _CHUNK // max(1, int(np.prod(hdu.shape[1:], dtype=np.int64)) * 8))
    for start in range(0, rows, step):
        yield np.asarray(section[start : start + step])


def _any_finite(values: NDArray[Any]) -> bool:
    return bool(values.size) and (values.dtype.kind not in "fc" or bool(np.isfinite(values).any()))


def _errors(subject: Subject, hdus: Any) -> list[Finding]:
    """Look for negative errors in the first ERR plane."""
    errors = next((item for item in subject.facts.hdus if item.extname == "ERR" and item.kind == "image"), None)
    if errors is None or not errors.dtype.startswith("float"):
        return []
    try:
        negative = sum(int((piece < 0).sum()) for piece in _values(hdus[errors.index], "image"))
    except astropy_errors() as error:
        return [_unreadable(errors, error)]
    return [Finding("errors", "warn", f"ERR holds {negative} negative values")] if negative else []


def _unreadable(hdu: HduFacts, error: Exception) -> Finding:
    reason = " ".join(str(error).split()) or type(error).__name__
    return Finding("unreadable_data", "reject", f"{hdu.extname},{hdu.extver} cannot be read: {reason}")
