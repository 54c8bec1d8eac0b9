"""What one file is, from its headers and its name: the facts that archive, catalog and stream share.

Holds: :func:`describe` and :class:`Description`. No pixel is read. Keep out judgement: a file with
odd facts is described all the same; ``catalog.validate`` says what is wrong with it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hwosim_assets.fits.bands import wavelength_range
from hwosim_assets.fits.blocks import Block, Scan, UnreadableFitsError, card_value, scan
from hwosim_assets.fits.hdus import ColumnFacts, HduFacts, hdu_facts
from hwosim_assets.fits.keywords import CORE_KEYWORDS, SCIENCE_KEYWORDS, typed_value
from hwosim_assets.fits.names import NO_PROGRAM, ProductName, parse_name, program_in_name
from hwosim_assets.fits.product_types import PRODUCT_TYPES
from hwosim_assets.fits.sky import MAX_FOOTPRINT_RADIUS, in_degrees, region_centre, region_radius

if TYPE_CHECKING:
    from astropy.io.fits import Header

__all__ = ["ColumnFacts", "Description", "HduFacts", "UnreadableFitsError", "describe", "describe_scan", "iso_mjd"]

#: DATAMODL values that name one kind of product each.
_MODEL_TYPES = {
    "Level1bModel": "uncal",
    "RampModel": "ramp",
    "IFUCubeModel": "s3d",
    "MultiSpecModel": "x1d",
    "SpecModel": "x1d",
    "TSOMultiSpecModel": "x1dints",
    "CombinedSpecModel": "c1d",
    "MultiCombinedSpecModel": "c1d",
    "MultiExposureModel": "cal",
    "SegmentationMapModel": "segm",
    "AmiOIModel": "ami-oi",
}
_TIME_SERIES = frozenset({"NRC_TSIMAGE", "NRC_TSGRISM", "NRS_BRIGHTOBJ", "NIS_SOSS", "MIR_LRS-SLITLESS"})
_SPECTRA = _TIME_SERIES - {"NRC_TSIMAGE"} | {
    "MIR_LRS-FIXEDSLIT", "MIR_MRS", "MIR_WFSS", "NIS_WFSS", "NRC_GRISM", "NRC_WFSS", "NRS_AUTOWAVE", "NRS_FIXEDSLIT",
    "NRS_IFU", "NRS_LAMP", "NRS_MSASPEC",
}  # fmt: skip
#: EXP_TYPE to the configuration that MAST writes behind the instrument's name.
_CONFIGURATIONS = {
    "MIR_4QPM": "CORON", "MIR_LYOT": "CORON", "MIR_CORONCAL": "CORON", "MIR_MRS": "IFU",
    "MIR_LRS-FIXEDSLIT": "SLIT", "MIR_LRS-SLITLESS": "SLITLESS", "MIR_TACQ": "TARGACQ", "MIR_TACONFIRM": "TARGACQ",
    "NIS_AMI": "AMI", "NIS_SOSS": "SOSS", "NIS_WFSS": "WFSS", "NIS_TACQ": "TARGACQ",
    "NRC_CORON": "CORON", "NRC_GRISM": "GRISM", "NRC_TSGRISM": "GRISM", "NRC_WFSS": "GRISM", "NRC_TACQ": "TARGACQ",
    "NRS_BRIGHTOBJ": "SLIT", "NRS_FIXEDSLIT": "SLIT", "NRS_IFU": "IFU", "NRS_MSASPEC": "MSA", "NRS_MSATA": "TARGACQ",
    "NRS_WATA": "TARGACQ", "NRS_TACQ": "TARGACQ",
}  # fmt: skip


@dataclass(frozen=True)
class Description:
    """The facts of one file. Text facts are ``""`` and numbers ``None`` where the file does not say.

    Attributes
    ----------
    file_name : str
        As given.
    name : ProductName or None
        The parsed name; ``None`` when it follows no archive scheme.
    program : str
        Five digits: from the name, else from the header, else ``00000``.
    obs_id : str
        CAOM ``obs_id``; the name without its ending where the name does not parse.
    product_type : str
        Suffix of :data:`PRODUCT_TYPES`, from the name, the FILENAME card or the data model.
    calib_level : int or None
        CAOM level 1, 2 or 3.
    dms_level : str
        ``1b``, ``2a``, ``2b``, ``2c`` or ``3``.
    dataproduct_type : str
        ObsCore word.
    instrument, instrument_name, detector : str
        ``NIRCAM``; ``NIRCAM/IMAGE`` as in MAST; ``NRCA1``.
    filters : str
        FILTER, PUPIL and GRATING joined by ``;`` as in MAST.
    exp_type, target_name, s_region, bunit, cal_ver, crds_ctx, date_obs : str
        As in the headers; ``s_region`` is that of the science HDU, left out when impossible.
    s_ra, s_dec : float or None
        Centre of the footprint, else the WCS reference, else the target, deg ICRS.
    t_min, t_max : float or None
        Start and end, MJD UTC.
    t_exptime : float or None
        Effective exposure time, s.
    em_min, em_max : float or None
        Wavelengths, nm.
    keywords : dict
        Every keyword of :data:`CORE_KEYWORDS` that is present and has its type.
    hdus : tuple of HduFacts
        In order.
    """

    file_name: str
    name: ProductName | None
    program: str
    obs_id: str
    product_type: str
    calib_level: int | None
    dms_level: str
    dataproduct_type: str
    instrument: str
    instrument_name: str
    detector: str
    filters: str
    exp_type: str
    target_name: str
    s_ra: float | None
    s_dec: float | None
    s_region: str
    t_min: float | None
    t_max: float | None
    t_exptime: float | None
    em_min: float | None
    em_max: float | None
    bunit: str
    cal_ver: str
    crds_ctx: str
    date_obs: str
    keywords: dict[str, str | int | float | bool]
    hdus: tuple[HduFacts, ...]


def describe(source: Path | bytes, name: str = "") -> Description:
    """Return the facts of one FITS file from its headers and its name.

    Parameters
    ----------
    source : pathlib.Path or bytes
        The file or its content.
    name : str, optional
        Archive file name; the path's name by default.

    Returns
    -------
    Description
        For any FITS file, JWST's or not.

    Raises
    ------
    UnreadableFitsError
        When it is not a whole FITS file.
    """
    name = name or (source.name if isinstance(source, Path) else "")
    return describe_scan(scan(source, name), name)


def describe_scan(found: Scan, name: str) -> Description:
    """Return the facts of a file that was scanned already."""
    hdus = tuple(hdu_facts(block) for block in found.blocks)
    primary = found.blocks[0].header
    science = _science_header(found.blocks, hdus)
    parsed = parse_name(name)
    keywords = _keywords(primary, science)

    def text(keyword: str) -> str:
        return str(keywords.get(keyword, "")).strip()

    product_type = _product_type(parsed, name, text("FILENAME"), text("DATAMODL"), primary)
    calib_level, dms_level = _levels(product_type, parsed, text("FILENAME"), text("ASNTABLE"))
    instrument = text("INSTRUME").upper() or (parsed.instrument if parsed else "")
    elements = tuple(part for part in (text("FILTER"), text("PUPIL"), text("GRATING")) if part and part != "N/A")
    band = wavelength_range(instrument, elements, text("CHANNEL"), text("BAND"))
    region = _region(text("S_REGION"))
    ra, dec = _position(region, keywords, science)
    start, end = _times(keywords)
    return Description(
        file_name=name,
        name=parsed,
        program=_program(parsed, name, text("PROGRAM")),
        obs_id=parsed.obs_id if parsed else re.sub(r"\.fits(\.gz|\.fz)?$", "", name),
        product_type=product_type,
        calib_level=calib_level,
        dms_level=dms_level,
        dataproduct_type=_dataproduct_type(product_type, text("EXP_TYPE"), keywords.get("TSOVISIT") is True),
        instrument=instrument,
        instrument_name=_instrument_name(instrument, text("EXP_TYPE"), text("DETECTOR")),
        detector=text("DETECTOR").upper() or (parsed.detector.upper() if parsed else ""),
        filters=";".join(elements),
        exp_type=text("EXP_TYPE"),
        target_name=text("TARGNAME") or text("TARGPROP"),
        s_ra=ra,
        s_dec=dec,
        s_region=region,
        t_min=start,
        t_max=end,
        t_exptime=_number(keywords, "EFFEXPTM", "XPOSURE", "DURATION"),
        em_min=band[0] if band else None,
        em_max=band[1] if band else None,
        bunit=text("BUNIT"),
        cal_ver=text("CAL_VER"),
        crds_ctx=text("CRDS_CTX"),
        date_obs=text("DATE-OBS"),
        keywords=keywords,
        hdus=hdus,
    )


def _science_header(blocks: tuple[Block, ...], hdus: tuple[HduFacts, ...]) -> Header:
    """Return the header of the first SCI (or spectrum) HDU, else of the first HDU after the primary."""
    for names in ({"SCI"}, {"EXTRACT1D", "COMBINE1D"}):
        for block, facts in zip(blocks, hdus, strict=True):
            if facts.extname in names:
                return block.header
    return blocks[min(1, len(blocks) - 1)].header


def _keywords(primary: Header, science: Header) -> dict[str, str | int | float | bool]:
    """Return the typed core keywords of a file."""
    found: dict[str, str | int | float | bool] = {}
    for keyword, kind in CORE_KEYWORDS.items():
        order = (science, primary) if keyword in SCIENCE_KEYWORDS else (primary, science)
        for header in order:
            value = typed_value(card_value(header, keyword) if keyword in header else None, kind)
            if value is not None:
                found[keyword] = value
                break
    return found


def _number(keywords: dict[str, Any], *names: str) -> float | None:
    """Return the first of several keywords that is a positive number."""
    for name in names:
        value = keywords.get(name)
        if isinstance(value, float) and 0 < value < float("inf"):
            return value
    return None


def _program(parsed: ProductName | None, name: str, header_program: str) -> str:
    """Return the program that the name tells, else the header, else none."""
    if parsed:
        return parsed.program
    if re.fullmatch(r"[0-9]{1,5}", header_program):
        return header_program.zfill(5)
    return program_in_name(name) or NO_PROGRAM


def _suffix(name: str) -> str:
    """Return the last part of a file name that is a product suffix (``…_rateints_I01226.fits``)."""
    stem = re.sub(r"\.fits(\.gz|\.fz)?$", "", name)
    for part in reversed(re.split(r"_", stem)):
        if part in PRODUCT_TYPES:
            return part
    return ""


def _product_type(parsed: ProductName | None, name: str, filename_card: str, model: str, primary: Header) -> str:
    """Return the product suffix: from the name, the FILENAME card, or the data model and steps."""
    if parsed:
        return parsed.product_type
    suffix = _suffix(name) or _suffix(filename_card)
    if suffix:
        return suffix
    if model in _MODEL_TYPES:
        return _MODEL_TYPES[model]
    calibrated = any(card_value(primary, step) == "COMPLETE" for step in ("S_FLAT", "S_PHOTOM", "S_EXTR2D", "S_SRCTYP"))
    resampled = card_value(primary, "S_RESAMP") == "COMPLETE"
    if model in {"SlitModel", "MultiSlitModel"}:
        return "s2d" if resampled else "cal"
    if model in {"ImageModel", "IFUImageModel"}:
        return ("i2d" if resampled else "cal") if calibrated else "rate"
    if model == "CubeModel":
        return "calints" if calibrated else "rateints"
    return ""


def _levels(product_type: str, parsed: ProductName | None, filename_card: str, table: str) -> tuple[int | None, str]:
    """Return CAOM and DMS level: the kind's own, or 3 when made from an association of stage 3."""
    kind = PRODUCT_TYPES.get(product_type)
    if kind is None:
        return None, ""
    named = parsed or parse_name(filename_card)
    stage3 = named.stage == "stage3" if named else bool(re.search(r"_(image|spec|tso|coron|ami)3_|l3asn", table))
    if stage3 and kind.dms_level in {"2b", "3"}:
        return 3, "3"
    return kind.calib_level, kind.dms_level


def _dataproduct_type(product_type: str, exp_type: str, time_series: bool) -> str:
    """Return the ObsCore word: the kind's own, refined by the exposure type for detector images."""
    kind = PRODUCT_TYPES.get(product_type)
    if kind is None:
        return ""
    if kind.dataproduct_type != "image":
        return kind.dataproduct_type
    if exp_type in _TIME_SERIES or (time_series and not exp_type.startswith("FGS")):
        return "timeseries"
    return "spectrum" if exp_type in _SPECTRA else "image"


def _instrument_name(instrument: str, exp_type: str, detector: str) -> str:
    """Return the instrument with its configuration as MAST writes it, for example ``NIRSPEC/MSA``."""
    if instrument == "FGS":
        number = detector[-1:] if detector[-1:] in {"1", "2"} else ""
        return f"FGS/FGS{number}" if number else "FGS"
    if not instrument or not exp_type or exp_type in {"N/A", "ANY"}:
        return instrument
    return f"{instrument}/{_CONFIGURATIONS.get(exp_type, 'IMAGE')}"


def _region(text: str) -> str:
    """Return a footprint with single blanks; none when it spans more sky than any JWST product, or is no area."""
    radius = region_radius(text)
    return "" if radius is None or not 0 < radius <= MAX_FOOTPRINT_RADIUS else " ".join(text.split())


def _position(region: str, keywords: dict[str, Any], science: Header) -> tuple[float | None, float | None]:
    """Return right ascension and declination, deg: footprint centre, WCS reference or target."""
    centre = region_centre(region)
    if centre:
        return centre
    pairs = [("RA_REF", "DEC_REF"), ("TARG_RA", "TARG_DEC")]
    if str(card_value(science, "CTYPE1") or "").startswith("RA--"):
        pairs.insert(0, ("CRVAL1", "CRVAL2"))
    for ra_name, dec_name in pairs:
        position = in_degrees(keywords.get(ra_name), keywords.get(dec_name))
        if position and position != (0.0, 0.0):
            return position
    return None, None


def _times(keywords: dict[str, Any]) -> tuple[float | None, float | None]:
    """Return start and end, MJD UTC: exposure keywords, science HDU keywords, or ISO dates."""
    start = _number(keywords, "EXPSTART", "MJD-BEG") or iso_mjd(keywords.get("DATE-BEG"))
    end = _number(keywords, "EXPEND", "MJD-END") or iso_mjd(keywords.get("DATE-END"))
    if start is None:
        date, time = str(keywords.get("DATE-OBS", "")), str(keywords.get("TIME-OBS", ""))
        start = iso_mjd(date if "T" in date or not time else f"{date}T{time}")
    return start, end


def iso_mjd(value: object) -> float | None:
    """Return an ISO 8601 date (UTC unless it says otherwise) as MJD; ``None`` when it is not one."""
    from datetime import UTC, datetime

    try:
        moment = datetime.fromisoformat(str(value))
    except ValueError:
        return None
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
    return (moment - datetime(1858, 11, 17, tzinfo=UTC)).total_seconds() / 86400
