"""The JWST core keywords that become columns, and their types.

Holds: :data:`CORE_KEYWORDS`, the part of ``stdatamodels``' core schema that people search and plot
by (names and types as there), plus the keywords of the science HDU. All other keywords, reference
files and step states among them, stay in the header cards. A keyword added here becomes a new
column of the product table; none may change its type.
"""

from __future__ import annotations

__all__ = ["CORE_KEYWORDS", "SCIENCE_KEYWORDS", "typed_value"]

Scalar = str | int | float | bool

_STRINGS = """
DATE ORIGIN TIMESYS TIMEUNIT FILENAME FILETYPE DATAMODL TELESCOP SDP_VER PRD_VER OSS_VER GSC_VER CAL_VER CAL_VCS
CRDS_VER CRDS_CTX ASNPOOL ASNTABLE TITLE PI_NAME CATEGORY SUBCAT SCICAT DATE-OBS TIME-OBS DATE-BEG DATE-END
OBS_ID VISIT_ID PROGRAM OBSERVTN VISIT VISITGRP SEQ_ID ACT_ID EXPOSURE TEMPLATE OBSLABEL ENG_QUAL ENGQLPTG VISITYPE
VSTSTART VISITSTA TARGPROP TARGNAME TARGTYPE TARGCAT TARGDESC SRCTYAPT INSTRUME DETECTOR MODULE CHANNEL FILTER PUPIL
GRATING BAND FXD_SLIT CORONMSK MSAMETFL LAMP OPMODE EXP_TYPE READPATT SUBARRAY PATTTYPE PRIDTYPE APERNAME PPS_APER
GDSTARID PCS_MODE GSACSTAT
"""
_INTEGERS = """
CONT_ID NEXPOSUR MSAMETID EXPCOUNT EXSEGNUM EXSEGTOT NINTS INTSTART INTEND NGROUPS NFRAMES GROUPGAP NRESETS NSAMPLES
SUBSTRT1 SUBSTRT2 SUBSIZE1 SUBSIZE2 FASTAXIS SLOWAXIS PATT_NUM NUMDTHPT SCA_NUM
"""
_FLOATS = """
TARG_RA TARG_DEC MU_RA MU_DEC PROP_RA PROP_DEC EXPSTART EXPMID EXPEND TSAMPLE TFRAME TGROUP EFFINTTM EFFEXPTM DURATION
XOFFSET YOFFSET BARTDELT HELIDELT GS_RA GS_DEC GS_MAG SCTARATE GAINFACT PRIMECRS EXTNCRS
"""
_BOOLEANS = "BKGDTARG TARGOOPP TSOVISIT CROWDFLD ZEROFRAM DATAPROB IS_PSF HGA_MOVE INTARGET EXP_ONLY"
_SCIENCE_STRINGS = "BUNIT SRCTYPE RADESYS S_REGION"
_SCIENCE_FLOATS = """
MJD-BEG MJD-AVG MJD-END TDB-BEG TDB-MID TDB-END XPOSURE TELAPSE PHOTMJSR PHOTUJA2 PIXAR_SR PIXAR_A2 CRVAL1 CRVAL2
RA_REF DEC_REF ROLL_REF V3I_YANG PA_APER RA_V1 DEC_V1 PA_V3 VA_SCALE JWST_X JWST_Y JWST_Z
"""


def _typed(names: str, kind: type[Scalar]) -> dict[str, type[Scalar]]:
    return dict.fromkeys(names.split(), kind)


#: Keywords of the science HDU (where absent there, the primary HDU is asked).
SCIENCE_KEYWORDS: dict[str, type[Scalar]] = _typed(_SCIENCE_STRINGS, str) | _typed(_SCIENCE_FLOATS, float)

#: Every keyword that becomes a column, with its type.
CORE_KEYWORDS: dict[str, type[Scalar]] = (
    _typed(_STRINGS, str) | _typed(_INTEGERS, int) | _typed(_FLOATS, float) | _typed(_BOOLEANS, bool) | SCIENCE_KEYWORDS
)


def typed_value(value: object, kind: type[Scalar]) -> Scalar | None:
    """Return a header value in the type its keyword should have, or ``None`` where it does not fit.

    Numbers become strings where strings belong (``PROGRAM = 1069``); a string is never read as a
    number (``EXPSTART = 'UNKNOWN'`` is no time). What is dropped here is still in the cards.
    """
    if value is None:
        return None
    if kind is str:
        return str(value).strip() if isinstance(value, str | int | float) else None
    if kind is bool:
        return value if isinstance(value, bool) else None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if kind is float:
        return float(value)
    fits_int64 = float(value).is_integer() and abs(value) < 2**63
    return int(value) if fits_int64 else None
