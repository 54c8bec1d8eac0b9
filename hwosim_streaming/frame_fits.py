"""A frame as a FITS file, for those whose tools take files.

Holds: :func:`to_hdulist`, and :func:`write_fits` into a folder. Keep out the frame itself
(``envelope``). Making FITS costs a hundred times what decoding a frame does; a model should take the arrays.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

    from hwosim_streaming.envelope import Frame

__all__ = ["file_name", "to_hdulist", "write_fits"]

#: Primary keywords (JWST's names where it has one), the attributes of a frame they tell, comments where there is room.
_KEYWORDS = (
    ("PROGRAM", "program", "JWST program"),
    ("FILENAME", "product", ""),
    ("OBS_ID", "obs_id", ""),
    ("INSTRUME", "instrument", "instrument"),
    ("DETECTOR", "detector", "detector"),
    ("MJD-EXP", "exposed_mjd", "[d] end of group or integration, else mid time"),
    ("HWORUN", "run_id", "run"),
    ("HWOMSG", "message_id", "message"),
    ("HWOSEQ", "sequence", "running number within the key"),
    ("HWOHDU", "hdu", "index of the HDU in the product"),
    ("HWOINT", "integration", "integration, from 1"),
    ("HWOGROUP", "group", "group, from 1"),
    ("HWOTILE", "tile", "tile, from 0"),
    ("HWOTILES", "tiles", "how many tiles there are"),
)


def to_hdulist(frame: Frame) -> Any:
    """Return a frame as FITS: an image HDU for each array, or one table HDU.

    Parameters
    ----------
    frame : Frame
        From a reader.

    Returns
    -------
    astropy.io.fits.HDUList
        Where an HDU covers a part of the product's array, LTV1 and LTV2 say where in it: pixel p
        here is pixel p - LTV there (both from 1, IRAF's convention).
    """
    from astropy.io import fits

    primary = fits.PrimaryHDU()
    for keyword, attribute, comment in _KEYWORDS:
        value = getattr(frame, attribute)
        if value is not None:
            primary.header[keyword] = (value, comment)
    if frame.kind == "table":
        return fits.HDUList([primary, _table(frame)])
    hdus = [primary]
    for name, array in frame.arrays.items():
        image = fits.ImageHDU(array, name=name, ver=frame.extver)
        if name in frame.units:
            image.header["BUNIT"] = frame.units[name]
        for axis in range(min(2, array.ndim, len(frame.origin))):
            image.header[f"LTV{axis + 1}"] = (-float(frame.origin[-1 - axis]), "offset to the product's pixels")
        hdus.append(image)
    return fits.HDUList(hdus)


def _table(frame: Frame) -> Any:
    from astropy.io import fits
    from astropy.table import Table

    table = fits.BinTableHDU(Table(frame.data), name=frame.extname or None, ver=frame.extver)
    for number, name in enumerate(frame.arrays, start=1):
        if name in frame.units:
            table.header[f"TUNIT{number}"] = frame.units[name]
    table.header["HWOROW"] = (int(np.int64(frame.origin[0])) + 1, "first row, in the product's table")
    return table


def file_name(frame: Frame) -> str:
    """Return a file name that tells the product and the message."""
    stem = frame.product.removesuffix(".gz").removesuffix(".fits")
    return f"{stem}_{frame.message_id}.fits"


def write_fits(frame: Frame, folder: Path) -> Path:
    """Write a frame into a folder, whole or not at all, and return the file.

    Raises
    ------
    BadInputError
        If the product's name is none that a file can have.
    HwosimError
        If the folder cannot be written.
    """
    from hwosim_assets.errors import HwosimError
    from hwosim_assets.fits.names import safe_file_name

    path = folder / safe_file_name(file_name(frame))
    part = path.with_suffix(".part")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with part.open("wb") as file:
            to_hdulist(frame).writeto(file)
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        reason = f"cannot be written ({error.strerror or error})"
        raise HwosimError(f"file {path}", reason, "choose another folder, or free space") from error
    return path
