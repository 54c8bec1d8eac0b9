"""Opening a FITS file that may be anything.

Holds: :func:`open_fits`, astropy's ``open`` behind the checks of ``blocks``. Use it wherever pixels
or columns are read; where headers are enough, ``describe`` and ``cards`` read less.
"""

from __future__ import annotations

import io
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from hwosim_assets.fits.blocks import UnreadableFitsError, byte_stream, scan

if TYPE_CHECKING:
    from astropy.io.fits import HDUList

    from hwosim_assets.fits.blocks import Scan

__all__ = ["UnreadableFitsError", "astropy_errors", "open_fits"]


def astropy_errors() -> tuple[type[Exception], ...]:
    """Return what astropy raises on damaged headers, columns and data."""
    from astropy.io import fits

    return (
        fits.VerifyError,
        ArithmeticError,
        AssertionError,
        AttributeError,
        LookupError,
        MemoryError,
        OSError,
        TypeError,
        ValueError,
        zlib.error,
    )


@contextmanager
def open_fits(source: Path | bytes, name: str = "", *, memmap: bool | None = None) -> Iterator[HDUList]:
    """Open a FITS file with astropy, after proving that it is one and whole.

    Parameters
    ----------
    source : pathlib.Path or bytes
        A file, plain, gzip (by its first bytes, whatever the name) or fpack, or its content.
    name : str, optional
        What to call it in errors; the path's name by default.
    memmap : bool, optional
        Whether arrays are mapped into memory; as astropy chooses by default.

    Yields
    ------
    astropy.io.fits.HDUList
        All HDUs, data not read yet.

    Raises
    ------
    UnreadableFitsError
        When it is empty, truncated, not FITS, or claims more data than it can hold. Errors of
        the caller's own block pass through.
    """
    name = name or (source.name if isinstance(source, Path) else "FITS bytes")
    hdus = _open(source, name, scan(source, name), memmap)
    try:
        yield hdus
    finally:
        hdus.close()


def _open(source: Path | bytes, name: str, found: Scan, memmap: bool | None) -> HDUList:
    """Open with astropy and build every HDU, so that no structural error waits for the reader."""
    from astropy.io import fits

    if isinstance(source, bytes):
        with byte_stream(source, name) as (stream, _, _):
            # what lies behind the last HDU is not decompressed: it may be endless
            content: Path | io.BytesIO = io.BytesIO(stream.read(found.end) if found.compressed else source)
    else:
        content = source
    hdus = None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            hdus = fits.open(content, memmap=memmap)
            seen = len(hdus)  # reads all headers
    except astropy_errors() as error:
        if hdus is not None:
            hdus.close()
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UnreadableFitsError(name, f"astropy cannot read its structure ({reason})") from error
    if seen != len(found.blocks):
        hdus.close()
        raise UnreadableFitsError(
            name, f"is ambiguous: astropy reads {seen} HDUs where {len(found.blocks)} headers stand, so one is damaged"
        )
    return hdus
