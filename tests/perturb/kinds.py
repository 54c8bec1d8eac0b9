"""Small products of every kind, with the noise that their planes claim.

Holds: :func:`hdus_of` and :func:`content_of`. They stand apart from ``conftest``, of which each folder has one.
"""

from __future__ import annotations

import gzip
import io

import numpy as np
from astropy.io import fits

K = 150.0
SKY = 2.0


def _image(data: np.ndarray, name: str, ver: int = 1, unit: str = "") -> fits.ImageHDU:
    hdu = fits.ImageHDU(data, name=name, ver=ver)
    if unit:
        hdu.header["BUNIT"] = unit
    return hdu


def _primary(**extra: object) -> fits.PrimaryHDU:
    hdu = fits.PrimaryHDU()
    cards = {
        "TELESCOP": "JWST", "INSTRUME": "NIRCAM", "CHANNEL": "SHORT", "DETECTOR": "NRCA1", "FILTER": "F200W",
        "EXPSTART": 60000.0, "EXPMID": 60000.5, "EXPEND": 60001.0, "EFFINTTM": 300.0, "EFFEXPTM": 300.0,
        "FASTAXIS": -1, "SLOWAXIS": 2, "DATAPROB": False, "TARGNAME": "M-31", "TITLE": "It's a title / with a slash",
    }  # fmt: skip
    for keyword, value in {**cards, **extra}.items():
        hdu.header[keyword] = (value, f"comment of {keyword}")
    hdu.header["LONGTEXT"] = "long " * 30
    return hdu


def _planes(shape: tuple[int, ...], seed: int, ver: int = 1, flags: bool = True) -> list[fits.ImageHDU]:
    rng = np.random.default_rng(seed)
    signal = np.full(shape, SKY)
    signal[..., : shape[-1] // 8] *= 20
    poisson, read = signal / K, np.full(shape, 0.02)
    flat = (0.003 * signal) ** 2
    sci = signal + np.sqrt(poisson + read) * rng.standard_normal(shape)
    dq = np.zeros(shape, np.uint32)
    bad = rng.random(shape) < 0.005
    dq[bad] = 1 | 2**31
    err = np.sqrt(poisson + read + flat)
    found = {"SCI": sci, "ERR": err, "VAR_POISSON": poisson, "VAR_RNOISE": read, "VAR_FLAT": flat}
    hdus = []
    for name, data in found.items():
        data = data.astype(np.float32)
        data[bad] = np.nan
        hdus.append(_image(data, name, ver, "MJy/sr" if name in ("SCI", "ERR") else ""))
    if flags:
        hdus.insert(2, _image(dq, "DQ", ver))
    hdus[0].header["CRPIX1"], hdus[0].header["CTYPE1"], hdus[0].header["CRVAL1"] = 10.0, "RA---TAN", 12.5
    return hdus


def _spectrum(rows: int, per_row: int = 0) -> fits.BinTableHDU:
    rng = np.random.default_rng(5)
    shape = (rows, per_row) if per_row else (rows,)
    form = f"{per_row}D" if per_row else "D"
    flux = 3.0 + 0.1 * rng.standard_normal(shape)
    columns = [fits.Column("WAVELENGTH", form, "um", array=np.broadcast_to(np.linspace(1, 5, shape[-1]), shape))]
    values = {"FLUX": flux, "FLUX_ERROR": np.full(shape, 0.1), "FLUX_VAR_POISSON": np.full(shape, 0.006),
              "FLUX_VAR_RNOISE": np.full(shape, 0.004), "FLUX_VAR_FLAT": np.zeros(shape), "SURF_BRIGHT": flux * 2,
              "SB_ERROR": np.full(shape, 0.2), "BACKGROUND": np.full(shape, 0.5)}  # fmt: skip
    columns += [fits.Column(name, form, "Jy", array=data) for name, data in values.items()]
    dq_form = f"{per_row}J" if per_row else "J"
    columns.append(fits.Column("DQ", dq_form, bzero=2**31, array=np.zeros(shape, np.uint32)))
    columns.append(fits.Column("NOTE", "5A", array=np.array(["abc"] * rows)))
    return fits.BinTableHDU.from_columns(columns, name="EXTRACT1D")


def hdus_of(kind: str) -> list[fits.hdu.base._BaseHDU]:
    """Return the HDUs of a kind of product."""
    if kind == "cal":
        return [_primary(), *_planes((96, 128), 1)]
    if kind == "big":
        return [_primary(NOUTPUTS=4), *_planes((600, 512), 2)]
    if kind == "calints":
        return [_primary(), *_planes((3, 40, 64), 3)]
    if kind == "multislit":
        return [_primary(), *_planes((20, 60), 4), *_planes((24, 50), 5, ver=2)]
    if kind == "uncal":
        rng = np.random.default_rng(6)
        ramp = 1000 + 40 * np.arange(6)[None, :, None, None] + rng.normal(0, 5, (2, 6, 32, 40))
        return [_primary(TGROUP=50.0), _image(np.rint(ramp).astype(np.uint16), "SCI", unit="DN")]
    if kind == "s3d":
        sci, err, dq = _planes((30, 20, 24), 7)[:3]
        weight = np.where(np.isnan(sci.data), 0, 1).astype(np.float32)
        sci.header.update({"CTYPE3": "WAVE", "CUNIT3": "um", "CRVAL3": 5.0, "CRPIX3": 1.0, "CDELT3": 0.01})
        return [_primary(), sci, err, dq, _image(weight, "WMAP")]
    if kind == "i2d":
        planes = _planes((64, 80), 8, flags=False)
        weight = np.where(np.isnan(planes[0].data), 0, 1).astype(np.float32)
        for plane in planes:
            plane.data[weight == 0] = 0
        return [_primary(), *planes, _image(weight, "WHT"), _image(weight.astype(np.int32)[None], "CON")]
    if kind == "x1d":
        return [_primary(), _spectrum(900)]
    if kind == "x1dints":
        return [_primary(), _spectrum(12, 200)]
    if kind == "bare":
        return [_primary(), _planes((64, 80), 9)[0]]
    raise KeyError(kind)


def content_of(kind: str, *, checksum: bool = False, packed: bool = False) -> bytes:
    """Return the bytes of a kind of product."""
    buffer = io.BytesIO()
    fits.HDUList(hdus_of(kind)).writeto(buffer, checksum=checksum)
    content = buffer.getvalue()
    return gzip.compress(content, mtime=0) if packed else content
