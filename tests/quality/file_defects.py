"""One defect for every rule about a file: a file of the sample archive, and what is done to it.

Holds: :data:`FILE_DEFECTS` and the making of the bytes. Keep out defects of tables (``table_defects``).
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits

__all__ = ["FILE_DEFECTS", "FileDefect"]

Spoil = Callable[[fits.HDUList], None]
SpoilBytes = Callable[[bytes], bytes]
CAL, UNCAL, I2D, X1D, INTS = (
    "*_00001_nrcb1_cal.fits",
    "*_00001_nrcb1_uncal.fits",
    "*_nis_i2d.fits",
    "*_nrs1_x1d.fits",
    "*_nrs1_rateints.fits",
)
NIS = "*_nis_cal.fits"
CARD = 80


@dataclass(frozen=True)
class FileDefect:
    """What is wrong with one file of the sample archive.

    Attributes
    ----------
    rule : str
        The rule that must say so.
    words : str
        The defect, for people.
    base : str
        Pattern of the sample file that is spoilt; the first that matches.
    spoil : callable, optional
        Changes the HDUs.
    spoil_bytes : callable, optional
        Changes the bytes of the written file.
    also : tuple of str
        Further rules that the same defect breaks: it is wrong in more than one way.
    rename : tuple of (str, str), optional
        What is replaced in the file's name.
    listed : str
        The program under which the archive lists the file, where not its own.
    doubled : bool
        Whether the archive lists another file of this name.
    stamped : bool
        Whether CHECKSUM and DATASUM are written before the bytes are spoilt.
    rotten : bool
        Whether the bytes in the lake are not those of the ingest.
    """

    rule: str
    words: str
    base: str = CAL
    spoil: Spoil | None = None
    spoil_bytes: SpoilBytes | None = None
    also: tuple[str, ...] = ()
    rename: tuple[str, str] | None = None
    listed: str = ""
    doubled: bool = False
    stamped: bool = False
    rotten: bool = False

    def made(self, sample: Path) -> tuple[str, bytes]:
        """Return name and bytes of the spoilt file."""
        source = sorted(sample.rglob(self.base))[0]
        with fits.open(source, memmap=False) as hdus, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for hdu in hdus:
                _ = hdu.data
                for keyword in ("CHECKSUM", "DATASUM"):
                    hdu.header.remove(keyword, ignore_missing=True)
            if self.spoil:
                self.spoil(hdus)
            buffer = io.BytesIO()
            hdus.writeto(buffer, output_verify="ignore", checksum=self.stamped)
        content = self.spoil_bytes(buffer.getvalue()) if self.spoil_bytes else buffer.getvalue()
        return source.name.replace(*self.rename) if self.rename else source.name, content


def head(index: int = 0, **cards: Any) -> Spoil:
    """Set header cards of an HDU; ``None`` removes one. Underscores at the end are cut, doubled ones are hyphens."""

    def spoil(hdus: fits.HDUList) -> None:
        for name, value in cards.items():
            keyword = name.replace("__", "-")
            if value is None:
                hdus[index].header.remove(keyword, ignore_missing=True)
            else:
                hdus[index].header[keyword] = value

    return spoil


def sci(**cards: Any) -> Spoil:
    return head(1, **cards)


def without(*names: str) -> Spoil:
    def spoil(hdus: fits.HDUList) -> None:
        for name in names:
            del hdus[name]

    return spoil


def plane(name: str, change: Callable[[np.ndarray], np.ndarray]) -> Spoil:
    def spoil(hdus: fits.HDUList) -> None:
        hdus[name].data = change(hdus[name].data)

    return spoil


def column(name: str, change: Callable[[np.ndarray], np.ndarray]) -> Spoil:
    def spoil(hdus: fits.HDUList) -> None:
        hdus[1].data[name][:] = change(hdus[1].data[name])

    return spoil


def columns(*kept: str, unit: str = "") -> Spoil:
    """Keep some columns of the spectrum, and say another unit of the first."""

    def spoil(hdus: fits.HDUList) -> None:
        found = [item for item in hdus[1].columns if item.name in kept]
        if unit:
            found[0].unit = unit
        hdus[1] = fits.BinTableHDU.from_columns(fits.ColDefs(found), header=hdus[1].header, name="EXTRACT1D")

    return spoil


def twice(name: str) -> Spoil:
    def spoil(hdus: fits.HDUList) -> None:
        hdus.append(hdus[name].copy())

    return spoil


def rows(name: str, count: int) -> Spoil:
    def spoil(hdus: fits.HDUList) -> None:
        place = hdus.index_of(name)
        hdus[place] = fits.BinTableHDU(hdus[place].data[:count], header=hdus[place].header, name=name)

    return spoil


def with_pixels(hdus: fits.HDUList) -> None:
    hdus[0].data = np.ones((4, 4), np.float32)


def packed_table(hdus: fits.HDUList) -> None:
    hdus[1].header["ZTABLE"] = True


def instead(old: bytes, new: bytes) -> SpoilBytes:
    def spoil(content: bytes) -> bytes:
        assert content.count(old), old
        return content.replace(old, new, 1)

    return spoil


def card(place: int, text: str) -> SpoilBytes:
    """Replace a card of the primary header by its place."""

    def spoil(content: bytes) -> bytes:
        return content[: place * CARD] + text.encode("latin-1").ljust(CARD) + content[(place + 1) * CARD :]

    return spoil


def swapped(first: int, second: int) -> SpoilBytes:
    def spoil(content: bytes) -> bytes:
        cards = [content[place * CARD : (place + 1) * CARD] for place in range(max(first, second) + 1)]
        cards[first], cards[second] = cards[second], cards[first]
        return b"".join(cards) + content[len(cards) * CARD :]

    return spoil


def one_pixel(array: np.ndarray, value: float) -> np.ndarray:
    """Return an array with one value that is valid replaced."""
    place = np.argwhere(np.isfinite(array))[len(np.argwhere(np.isfinite(array))) // 2]
    array[tuple(place)] = value
    return array


def flipped(content: bytes) -> bytes:
    """Flip a bit in the data of the first extension."""
    with fits.open(io.BytesIO(content)) as hdus:
        place = hdus[1].fileinfo()["datLoc"] + 401
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


def nan(array: np.ndarray) -> np.ndarray:
    return np.full_like(array, np.nan)


def mostly_nan(array: np.ndarray) -> np.ndarray:
    array.reshape(-1)[: int(array.size * 0.9)] = np.nan
    return array


def all_flagged(hdus: fits.HDUList) -> None:
    """Blank nine tenths of the pixels, and flag them."""
    mostly_nan(hdus["SCI"].data)
    hdus["DQ"].data = hdus["DQ"].data | np.isnan(hdus["SCI"].data).astype(np.uint32)


def blanked(hdus: fits.HDUList) -> None:
    """Blank one good pixel and leave its flags."""
    good = np.argwhere((hdus["DQ"].data == 0) & np.isfinite(hdus["SCI"].data))
    hdus["SCI"].data[tuple(good[len(good) // 2])] = np.nan


def unweighted(hdus: fits.HDUList) -> None:
    good = np.argwhere(hdus["WHT"].data > 0)
    hdus["SCI"].data[tuple(good[len(good) // 2])] = np.nan


def all_nan(hdus: fits.HDUList) -> None:
    hdus["SCI"].data = nan(hdus["SCI"].data)


def reserved_bit(hdus: fits.HDUList) -> None:
    hdus["DQ"].data[5, 5] |= np.uint32(256)


def broken_units(content: bytes) -> bytes:
    return content.replace(b"TUNIT1  = 'um      '", b"TUNIT1  = 'um   ' '7", 1)


def doubled_variance(hdus: fits.HDUList) -> None:
    hdus["ERR"].data = hdus["ERR"].data * np.float32(2)


FILE_DEFECTS: list[FileDefect] = [
    FileDefect("fits_structure", "the file ends early", spoil_bytes=lambda content: content[:-5760]),
    FileDefect(
        "fits_structure", "a web page in its place", spoil_bytes=lambda content: b"<html>404</html>".ljust(2880)
    ),
    FileDefect(
        "fits_structure",
        "a header that claims petabytes",
        spoil_bytes=instead(b"NAXIS1  =                   64", b"NAXIS1  =       64000000000000"),
    ),
    FileDefect(
        "fits_structure",
        "a git-lfs pointer in its place",
        spoil_bytes=lambda content: b"version https://git-lfs.github.com/spec/v1\n",
    ),
    FileDefect("fits_structure", "an empty file", spoil_bytes=lambda content: b""),
    FileDefect(
        "conforming",
        "SIMPLE = F",
        spoil_bytes=instead(b"SIMPLE  =                    T", b"SIMPLE  =                    F"),
    ),
    FileDefect(
        "fixed_format",
        "a mandatory value that is written free",
        spoil_bytes=instead(b"NAXIS   =                    0", b"NAXIS   = 0                   "),
    ),
    FileDefect(
        "logical_values",
        "logical values written as 0 and 1",
        X1D,
        lambda hdus: with_flags(hdus),
        instead(b"'B       '", b"'L       '"),
    ),
    FileDefect("checksum", "a bit that flipped after DATASUM was written", spoil_bytes=flipped, stamped=True),
    FileDefect("checksum", "bytes that rotted in the lake", rotten=True),
    FileDefect(
        "header_checksum",
        "a header edited after CHECKSUM was written",
        spoil_bytes=instead(b"'jwst_1462.pmap'", b"'jwst_9999.pmap'"),
        stamped=True,
    ),
    FileDefect("compressed_table", "a tile-compressed table", X1D, packed_table),
    FileDefect(
        "header_text",
        "a line break in a header",
        spoil_bytes=instead(b"'jwst_1462.pmap'", b"'jwst_1462.pma\n'"),
        also=("versions",),
    ),
    FileDefect(
        "header_value",
        "a value without its closing quote",
        spoil_bytes=instead(b"'jwst_1462.pmap'", b"'jwst_1462.pmap "),
        also=("versions",),
    ),
    FileDefect("keyword_name", "a keyword in small letters", spoil_bytes=instead(b"TITLE   =", b"Title   =")),
    FileDefect("keyword_order", "NAXIS before BITPIX", spoil_bytes=swapped(1, 2)),
    FileDefect("keyword_repeated", "PROGRAM twice", spoil_bytes=instead(b"TITLE   =", b"PROGRAM =")),
    FileDefect("padding", "the last block is not filled up", spoil_bytes=lambda content: content[:-100]),
    FileDefect(
        "trailing_bytes", "a block of zeros behind the last HDU", spoil_bytes=lambda content: content + b"\0" * 2880
    ),
    FileDefect("telescope", "no TELESCOP", spoil=head(TELESCOP=None)),
    FileDefect("telescope", "a file of HST", spoil=head(TELESCOP="HST")),
    FileDefect("reference_file", "a flat field of CRDS", spoil=head(REFTYPE="FLAT")),
    FileDefect("supporting_file", "an MSA configuration", rename=("nrcb1_cal", "nrcb1_msa")),
    FileDefect("community_product", "a product of the community", spoil=head(HLSPID="GLASS")),
    FileDefect("data_model", "no DATAMODL", spoil=head(DATAMODL=None)),
    FileDefect("data_model_known", "a data model that nobody knows", spoil=head(DATAMODL="NewModel")),
    FileDefect("exposure_type", "no EXP_TYPE", spoil=head(EXP_TYPE=None)),
    FileDefect("exposure_type_known", "an exposure type that nobody knows", spoil=head(EXP_TYPE="NRC_NEWMODE")),
    FileDefect("product_type", "a suffix that nobody knows", rename=("nrcb1_cal", "nrcb1_new")),
    FileDefect("instrument", "an instrument of HST", spoil=head(INSTRUME="WFPC2")),
    FileDefect("instrument_mode", "a mode of MIRI on NIRCam", spoil=head(EXP_TYPE="MIR_IMAGE")),
    FileDefect("detector", "a detector of NIRISS on NIRCam", spoil=head(DETECTOR="NIS")),
    FileDefect("detector_known", "a detector that nobody knows", NIS, head(DETECTOR="XYZ1"), also=("name_header",)),
    FileDefect("detector_arm", "module A with a detector of B", spoil=head(MODULE="A")),
    FileDefect("file_name", "FILENAME of another file", spoil=head(FILENAME="other.fits")),
    FileDefect(
        "name_scheme",
        "a name of one's own",
        rename=("jw97001001001_02101_00001_nrcb1_cal", "my_cal"),
        also=("file_name",),
    ),
    FileDefect(
        "name_header", "PROGRAM of another program", spoil=head(PROGRAM="01094"), also=("visit_id", "observation_id")
    ),
    FileDefect("program", "listed under another program", listed="97002"),
    FileDefect("visit_id", "VISIT_ID of another program", spoil=head(VISIT_ID="01094001001")),
    FileDefect("observation_id", "OBS_ID of another visit", spoil=head(OBS_ID="V97001001002P0000000002101")),
    FileDefect("repeated_name", "two files of one name", doubled=True),
    FileDefect("required_hdus", "no ERR and no DQ", spoil=without("ERR", "DQ")),
    FileDefect("usual_hdus", "no VAR_FLAT", INTS, without("VAR_RNOISE")),
    FileDefect("repeated_hdus", "AREA twice", spoil=twice("AREA")),
    FileDefect("primary_data", "pixels in the primary HDU", spoil=with_pixels),
    FileDefect(
        "random_groups",
        "a random-groups structure",
        spoil_bytes=lambda content: groups(content),
        also=("primary_data",),
    ),
    FileDefect("pixels_missing", "pixels that were removed", spoil=plane("SCI", lambda array: array[:1, :1])),
    FileDefect("axes", "a cube where an image belongs", spoil=plane("SCI", lambda array: np.stack([array, array]))),
    FileDefect("shapes", "a DQ plane that is smaller than SCI", spoil=plane("DQ", lambda array: array[:8])),
    FileDefect(
        "variance_shapes", "a variance plane that is smaller than SCI", spoil=plane("VAR_FLAT", lambda array: array[:8])
    ),
    FileDefect("subarray", "fewer pixels than SUBSIZE1", UNCAL, head(SUBSIZE1=2048)),
    FileDefect("groups", "a group that is missing", UNCAL, head(NGROUPS=7)),
    FileDefect("integrations", "an integration that is missing", INTS, head(INTEND=13)),
    FileDefect("integration_times", "INT_TIMES of half the integrations", INTS, rows("INT_TIMES", 6)),
    FileDefect("columns", "a spectrum without FLUX", X1D, columns("WAVELENGTH", "DQ")),
    FileDefect("number_types", "flags of 16 bits", spoil=plane("DQ", lambda array: array.astype(np.int16))),
    FileDefect("units", "BUNIT furlong", spoil=sci(BUNIT="furlong")),
    FileDefect("units", "no BUNIT", spoil=sci(BUNIT=None)),
    FileDefect("column_units", "wavelengths in Angstrom", X1D, columns("WAVELENGTH", "FLUX", unit="Angstrom")),
    FileDefect("no_start", "no date at all", spoil=lambda hdus: timeless(hdus)),
    FileDefect("no_end", "no end", spoil=lambda hdus: endless(hdus)),
    FileDefect("times", "an end before the start", spoil=head(EXPEND=60370.0)),
    FileDefect("mid_time", "a mid-time before the start", spoil=head(EXPMID=60000.0)),
    FileDefect("dates", "DATE-OBS of another year", spoil=head(DATE__OBS="2023-03-01")),
    FileDefect("before_launch", "an exposure of 2019", spoil=lambda hdus: moved(hdus, 58484.7, "2019-01-01")),
    FileDefect("future", "an exposure of 2119", spoil=lambda hdus: moved(hdus, 95008.7, "2119-01-01")),
    FileDefect("group_time", "TGROUP of twice the frames", spoil=head(TGROUP=0.10032)),
    FileDefect("integration_time", "EFFINTTM of half the groups", spoil=head(EFFINTTM=0.15048, EFFEXPTM=0.15048)),
    FileDefect("exposure_time", "EFFEXPTM of three integrations, NINTS of one", spoil=head(EFFEXPTM=0.90288)),
    FileDefect("duration", "DURATION shorter than EFFEXPTM", spoil=head(DURATION=0.1)),
    FileDefect("coordinates", "a declination of -123 degrees", spoil=head(TARG_DEC=-123.0)),
    FileDefect("footprint", "a footprint of half the sky", spoil=sci(S_REGION="POLYGON ICRS 0 0 90 0 90 80 0 80")),
    FileDefect("no_position", "no position at all", spoil=lambda hdus: nowhere(hdus)),
    FileDefect("footprint_wcs", "CRPIX in another corner", spoil=sci(CRPIX1=400.0)),
    FileDefect("footprint_wcs", "pixels of twice the size", spoil=sci(CDELT1=1e-4, CDELT2=1e-4)),
    FileDefect("pointing", "RA_REF on the other side of the sky", spoil=lambda hdus: pointed_away(hdus)),
    FileDefect("versions", "no CAL_VER", spoil=head(CAL_VER=None)),
    FileDefect("failed_steps", "a step that failed", spoil=head(S_FLAT="FAILED")),
    FileDefect("telemetry", "DATAPROB", spoil=head(DATAPROB=True)),
    FileDefect("engineering", "ENG_QUAL SUSPECT", spoil=head(ENG_QUAL="SUSPECT")),
    FileDefect(
        "unreadable_data",
        "a table card that cannot be read",
        X1D,
        spoil_bytes=lambda content: broken_units(content),
        also=("header_value", "column_units"),
    ),
    FileDefect("no_finite_data", "an image of NaN", spoil=all_nan),
    FileDefect("finite_fraction", "nine tenths of an image blank", spoil=all_flagged),
    FileDefect(
        "constant_data",
        "an image of one value",
        spoil=plane("SCI", lambda array: np.where(np.isfinite(array), np.float32(1), array)),
    ),
    FileDefect("errors", "a negative error", spoil=plane("ERR", lambda array: one_pixel(array, -1.0))),
    FileDefect("variances", "a negative variance", spoil=plane("VAR_POISSON", lambda array: one_pixel(array, -1.0))),
    FileDefect("variance_sum", "errors twice as large, variances as before", spoil=doubled_variance),
    FileDefect("dq_bits", "a flag with the reserved bit", spoil=reserved_bit),
    FileDefect("dq_blank", "a blank pixel without a flag", spoil=blanked),
    FileDefect("weights", "a pixel with weight and without a value", I2D, unweighted),
    FileDefect(
        "wavelengths",
        "wavelengths out of order",
        X1D,
        column("WAVELENGTH", lambda values: values[::-1].copy() * (1 + np.arange(values.size) % 2)),
    ),
]


def with_flags(hdus: fits.HDUList) -> None:
    """Add a column of bytes 0 and 1 to the spectrum."""
    flags = fits.Column("FLAG", "B", array=np.arange(len(hdus[1].data)) % 2)
    hdus[1] = fits.BinTableHDU.from_columns([*hdus[1].columns, flags], header=hdus[1].header, name="EXTRACT1D")


def timeless(hdus: fits.HDUList) -> None:
    endless(hdus)
    for keyword in ("EXPSTART", "MJD-BEG", "DATE-BEG", "DATE-OBS", "TIME-OBS", "EXPMID"):
        for hdu in hdus[:2]:
            hdu.header.remove(keyword, ignore_missing=True)


def endless(hdus: fits.HDUList) -> None:
    for keyword in ("EXPEND", "MJD-END", "DATE-END"):
        for hdu in hdus[:2]:
            hdu.header.remove(keyword, ignore_missing=True)


def moved(hdus: fits.HDUList, start: float, date: str) -> None:
    hdus[0].header["EXPSTART"], hdus[0].header["EXPMID"], hdus[0].header["EXPEND"] = start, start + 2e-6, start + 4e-6
    hdus[0].header["DATE-OBS"], hdus[0].header["DATE-BEG"] = date, f"{date}T16:48:00"


def nowhere(hdus: fits.HDUList) -> None:
    for keyword in ("S_REGION", "CRVAL1", "CRVAL2", "RA_REF", "DEC_REF", "TARG_RA", "TARG_DEC"):
        for hdu in hdus[:2]:
            hdu.header.remove(keyword, ignore_missing=True)


def pointed_away(hdus: fits.HDUList) -> None:
    hdus["SCI"].header["RA_REF"] = (hdus["SCI"].header["RA_REF"] + 180) % 360


def groups(content: bytes) -> bytes:
    """Make the primary header, which has no data, that of a random-groups structure of no group."""
    end = next(place for place in range(0, len(content), CARD) if content[place : place + CARD].rstrip() == b"END")
    cards = [content[place : place + CARD] for place in range(0, end, CARD)]
    text = ["NAXIS   =                    2", "NAXIS1  =                    0", "NAXIS2  =                    0"]
    text += ["GROUPS  =                    T"]
    made = b"".join([*cards[:2], *(line.encode().ljust(CARD) for line in text), *cards[3:], b"END".ljust(CARD)])
    data = -(-(end + CARD) // 2880) * 2880
    return made.ljust(-(-len(made) // 2880) * 2880) + content[data:]
