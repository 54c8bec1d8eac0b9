"""Files of the sample archive as those of another program, spoilt in ways that a rule must find."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from astropy.io import fits

__all__ = ["FlawedFile", "displaced", "ended_early", "flawed_copy"]


@dataclass(frozen=True)
class FlawedFile:
    """A file that no pipeline made."""

    name: str
    content: bytes


def flawed_copy(source: Path, program: str, exposure: str, spoil: Callable[[fits.HDUList], None]) -> FlawedFile:
    """Return a copy under another program and exposure, spoilt."""
    old = source.name.split("_")
    name = "_".join([f"jw{program}{old[0][7:]}", old[1], exposure, *old[3:]])
    with fits.open(source, memmap=False) as hdus:
        for hdu in hdus:
            _ = hdu.data
            for keyword in ("CHECKSUM", "DATASUM"):
                hdu.header.remove(keyword, ignore_missing=True)
        head = hdus[0].header
        head["PROGRAM"], head["FILENAME"], head["EXPOSURE"] = program, name, exposure
        for keyword, at in (("VISIT_ID", 0), ("OBS_ID", 1)):
            head[keyword] = head[keyword][:at] + program + head[keyword][at + 5 :]
        spoil(hdus)
        buffer = io.BytesIO()
        hdus.writeto(buffer)
    return FlawedFile(name, buffer.getvalue())


def displaced(hdus: fits.HDUList) -> None:
    """Let the reference pixel lie in another corner than S_REGION says."""
    hdus[1].header["CRPIX1"] += 400.0


def ended_early(hdus: fits.HDUList) -> None:
    """Let the exposure end a day before it started."""
    hdus[0].header["EXPEND"] = hdus[0].header["EXPSTART"] - 1.0
