"""Every rule that a file is judged by: its name, what follows, what it says and who promises it.

Holds: :data:`FILE_RULES`. A rule has one severity: what quarantines a file and what is only told are two
rules. Add a rule here before a ``rules_*`` module reports it; ``found`` knows no other. Keep out how a
rule is judged (``rules_*``) and the rules about tables (``quality.suites``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

__all__ = ["FILE_RULES", "GROUPS", "FileRule", "Group", "Verdict"]

#: ``reject`` puts the file into quarantine, ``warn`` lets it be a product that carries a warning.
Verdict = Literal["reject", "warn"]
#: What rules are about; each group of warnings is one check of ``catalog/products``.
Group = Literal["fits", "identity", "layout", "types", "time", "sky", "provenance", "values"]


@dataclass(frozen=True)
class FileRule:
    """One thing that JWST or FITS promises of a file.

    Attributes
    ----------
    name : str
        Snake case.
    severity : {"reject", "warn"}
        What follows where the promise is broken.
    group : str
        What the rule is about.
    doc : str
        What should hold, as one sentence, with units.
    source : str
        Who promises it.
    """

    name: str
    severity: Verdict
    group: Group
    doc: str
    source: str


#: The groups, and what holds of a file that breaks no rule of them.
GROUPS: Mapping[Group, str] = MappingProxyType(
    {
        "fits": "The file keeps the FITS standard",
        "identity": "Name and headers say the same of what the file is",
        "layout": "The HDUs are those that its product type promises, in shapes that agree",
        "types": "Numbers have the types and units that its product type promises",
        "time": "Times and the arithmetic of the exposure agree",
        "sky": "Position, footprint and world coordinates agree",
        "provenance": "Calibration and telemetry can be traced and were in order",
        "values": "Values, errors, variances and data-quality flags agree",
    }
)

_FITS = "FITS standard 4.0"
_SCHEMA = "stdatamodels core.schema"
_LAYOUT = "jwst: Science products"
_NAMES = "jwst: File naming"
_DQ = "stdatamodels dqflags.py"
_RAMP = "jwst: ramp_fitting, output products"
_TIME = "JDox: Understanding exposure times"
_STC = "IVOA STC-S; jwst: assign_wcs"

_ALL: tuple[FileRule, ...] = (
    FileRule("fits_structure", "reject", "fits", "The file is FITS, and whole.", f"{_FITS}, 3.1 and 4.4.1"),
    FileRule(
        "conforming", "reject", "fits", "SIMPLE is T: the file says that it keeps the standard.", f"{_FITS}, 4.4.1.1"
    ),
    FileRule(
        "checksum",
        "reject",
        "fits",
        "The bytes are those that were ingested, and the data of every HDU sum to its DATASUM.",
        f"{_FITS}, 4.4.2.7 and J",
    ),
    FileRule("compressed_table", "reject", "fits", "No table is tile-compressed.", f"{_FITS}, 10.3; {_LAYOUT}"),
    FileRule(
        "header_checksum",
        "warn",
        "fits",
        "Every CHECKSUM holds, so that no header was edited afterwards.",
        f"{_FITS}, 4.4.2.7 and J",
    ),
    FileRule("header_text", "warn", "fits", "Headers hold printable ASCII only.", f"{_FITS}, 4.1.1 and 4.1.2.1"),
    FileRule(
        "header_value",
        "warn",
        "fits",
        "Every card with a value indicator holds a value of a FITS type.",
        f"{_FITS}, 4.2",
    ),
    FileRule(
        "keyword_name",
        "warn",
        "fits",
        "Keyword names are upper-case letters, digits, hyphens and underscores.",
        f"{_FITS}, 4.1.2.1",
    ),
    FileRule("keyword_order", "warn", "fits", "The mandatory keywords come first, in their order.", f"{_FITS}, 4.4.1"),
    FileRule(
        "fixed_format",
        "warn",
        "fits",
        "The mandatory keywords have their values in fixed format, which ends in column 30.",
        f"{_FITS}, 4.2 and 4.4.1",
    ),
    FileRule(
        "logical_values", "warn", "fits", "Logical columns of tables hold T, F or a zero byte.", f"{_FITS}, 7.3.3.1"
    ),
    FileRule("keyword_repeated", "warn", "fits", "A keyword has one value in a header.", f"{_FITS}, 4.1.2.1"),
    FileRule("padding", "warn", "fits", "The last block is filled up to 2880 bytes.", f"{_FITS}, 3.1"),
    FileRule("trailing_bytes", "warn", "fits", "Nothing follows the last HDU.", f"{_FITS}, 3.5"),
    FileRule(
        "random_groups", "warn", "fits", "The primary HDU is no random-groups structure.", f"{_FITS}, 6 (deprecated)"
    ),
    FileRule("telescope", "reject", "identity", "TELESCOP is JWST.", _SCHEMA),
    FileRule(
        "reference_file",
        "reject",
        "identity",
        "The file is an observation and no CRDS reference file.",
        "CRDS: REFTYPE, USEAFTER, PEDIGREE",
    ),
    FileRule(
        "supporting_file", "reject", "identity", "The file holds an observation and no MSA configuration.", _NAMES
    ),
    FileRule(
        "community_product",
        "reject",
        "identity",
        "The file comes from JWST's pipeline and not from the community.",
        "MAST: HLSP contribution guide",
    ),
    FileRule("data_model", "reject", "identity", "DATAMODL is there; the pipeline always writes it.", _SCHEMA),
    FileRule("data_model_known", "warn", "identity", "DATAMODL is one of the product models.", "stdatamodels: models"),
    FileRule("exposure_type", "reject", "identity", "EXP_TYPE is there.", _SCHEMA),
    FileRule("exposure_type_known", "warn", "identity", "EXP_TYPE is one of JWST's exposure types.", _SCHEMA),
    FileRule(
        "product_type",
        "reject",
        "identity",
        "Name or headers tell which kind of JWST product it is.",
        "jwst: Product types",
    ),
    FileRule("instrument", "reject", "identity", "INSTRUME is one of JWST's instruments.", _SCHEMA),
    FileRule("instrument_mode", "reject", "identity", "EXP_TYPE is a mode of INSTRUME.", _SCHEMA),
    FileRule("detector", "reject", "identity", "DETECTOR belongs to INSTRUME.", _SCHEMA),
    FileRule("detector_known", "warn", "identity", "DETECTOR is there and one of JWST's.", _SCHEMA),
    FileRule(
        "detector_arm",
        "warn",
        "identity",
        "MODULE and CHANNEL of NIRCam are those of its detector.",
        f"{_SCHEMA}; JDox: NIRCam detectors",
    ),
    FileRule("file_name", "warn", "identity", "FILENAME is the file's name.", _SCHEMA),
    FileRule("name_scheme", "warn", "identity", "The name follows one of the archive's schemes.", _NAMES),
    FileRule(
        "name_header",
        "reject",
        "identity",
        "Program, observation, visit, exposure, segment and detector of the name are those of the header.",
        _NAMES,
    ),
    FileRule(
        "program",
        "reject",
        "identity",
        "The program of name and header is the one under which the archive lists the file.",
        "CAOM: proposal_id",
    ),
    FileRule("visit_id", "warn", "identity", "VISIT_ID is PROGRAM, OBSERVTN and VISIT.", _SCHEMA),
    FileRule(
        "observation_id",
        "warn",
        "identity",
        "OBS_ID names the program, observation and visit of PROGRAM, OBSERVTN and VISIT.",
        f"{_SCHEMA}: V<visit id>P<parallel program><parallel observation><group, sequence, activity>",
    ),
    FileRule("repeated_name", "warn", "identity", "The archive lists one file of this name.", "CAOM: productFilename"),
    FileRule("required_hdus", "reject", "layout", "Every HDU that all products of the kind hold is there.", _LAYOUT),
    FileRule("usual_hdus", "warn", "layout", "Every HDU that current builds write is there.", _LAYOUT),
    FileRule("repeated_hdus", "warn", "layout", "EXTNAME and EXTVER name one HDU.", f"{_FITS}, 4.4.2.6"),
    FileRule("primary_data", "warn", "layout", "The primary HDU has no data.", _LAYOUT),
    FileRule(
        "pixels_missing",
        "reject",
        "layout",
        "The measurement has its pixels or rows.",
        f"{_SCHEMA}: SUBSIZE1, SUBSIZE2",
    ),
    FileRule("axes", "reject", "layout", "The measurement has the number of axes of its kind.", _LAYOUT),
    FileRule("shapes", "reject", "layout", "ERR, DQ, GROUPDQ, WHT and PIXELDQ have the shape of SCI.", _LAYOUT),
    FileRule("variance_shapes", "warn", "layout", "The variance planes have the shape of SCI.", _LAYOUT),
    FileRule("subarray", "warn", "layout", "SCI has SUBSIZE1 x SUBSIZE2 pixels.", f"{_SCHEMA}: SUBSIZE1, SUBSIZE2"),
    FileRule("groups", "warn", "layout", "SCI has NGROUPS groups.", f"{_SCHEMA}: NGROUPS"),
    FileRule(
        "integrations",
        "warn",
        "layout",
        "SCI has NINTS integrations, or those of INTSTART to INTEND.",
        f"{_SCHEMA}: NINTS, INTSTART, INTEND",
    ),
    FileRule(
        "integration_times", "warn", "layout", "INT_TIMES has one row for each integration.", f"{_LAYOUT}: INT_TIMES"
    ),
    FileRule("columns", "reject", "layout", "A spectrum has the columns WAVELENGTH and FLUX.", f"{_LAYOUT}: x1d, c1d"),
    FileRule(
        "number_types",
        "warn",
        "types",
        "Planes have the number types of their kind (float32; DQ uint32, GROUPDQ uint8; uncal uint16).",
        _LAYOUT,
    ),
    FileRule("units", "warn", "types", "BUNIT is there and a unit of the kind of product.", "jwst: Stages; photom"),
    FileRule("column_units", "warn", "types", "WAVELENGTH is in um and FLUX in Jy.", f"{_LAYOUT}: x1d, c1d"),
    FileRule("no_start", "warn", "time", "The start of the exposure is known.", f"{_SCHEMA}: EXPSTART"),
    FileRule("no_end", "warn", "time", "The end of the exposure is known.", f"{_SCHEMA}: EXPEND"),
    FileRule(
        "times", "reject", "time", "The exposure starts before it ends (MJD UTC).", f"{_SCHEMA}: EXPSTART, EXPEND"
    ),
    FileRule("mid_time", "warn", "time", "EXPMID lies between EXPSTART and EXPEND.", f"{_SCHEMA}: EXPMID"),
    FileRule(
        "dates",
        "warn",
        "time",
        "DATE-OBS and DATE-BEG are the days of EXPSTART.",
        f"{_SCHEMA}: DATE-OBS, DATE-BEG, EXPSTART",
    ),
    FileRule(
        "before_launch", "warn", "time", "The exposure lies after JWST's launch, 2021-12-25.", "JDox: Timeline of JWST"
    ),
    FileRule("future", "warn", "time", "The exposure lies in the past.", f"{_SCHEMA}: EXPSTART"),
    FileRule(
        "group_time",
        "warn",
        "time",
        "TGROUP is TFRAME times frames and gap of a group (s).",
        f"{_SCHEMA}: TGROUP, TFRAME, NFRAMES, GROUPGAP; {_TIME}",
    ),
    FileRule(
        "integration_time",
        "warn",
        "time",
        "EFFINTTM is the time of NGROUPS groups (s), with or without the last gap.",
        f"{_SCHEMA}: EFFINTTM; {_TIME}",
    ),
    FileRule(
        "exposure_time",
        "warn",
        "time",
        "EFFEXPTM of one exposure is NINTS times EFFINTTM (s), with or without frames between.",
        f"{_SCHEMA}: EFFEXPTM; {_TIME}",
    ),
    FileRule(
        "duration",
        "warn",
        "time",
        "EFFEXPTM fits into DURATION, and DURATION of one exposure between start and end (s).",
        f"{_SCHEMA}: DURATION, EFFEXPTM; {_TIME}",
    ),
    FileRule(
        "coordinates",
        "reject",
        "sky",
        "Target and reference positions lie on the sky (deg ICRS).",
        f"{_SCHEMA}: TARG_RA, RA_REF",
    ),
    FileRule("footprint", "warn", "sky", "S_REGION can be read and spans no more than 10 degrees.", _STC),
    FileRule("no_position", "warn", "sky", "The position is known.", f"{_SCHEMA}: S_REGION, RA_REF, TARG_RA"),
    FileRule(
        "footprint_wcs",
        "warn",
        "sky",
        "The WCS puts the image where S_REGION says, to a third of its size.",
        f"{_FITS}, 8; {_STC}",
    ),
    FileRule(
        "pointing",
        "warn",
        "sky",
        "RA_REF and DEC_REF lie within a degree of the footprint.",
        f"{_SCHEMA}: RA_REF; {_STC}",
    ),
    FileRule(
        "versions", "warn", "provenance", "CAL_VER and CRDS_CTX name the calibration.", f"{_SCHEMA}: CAL_VER, CRDS_CTX"
    ),
    FileRule("failed_steps", "warn", "provenance", "No pipeline step says FAILED.", f"{_SCHEMA}: S_*"),
    FileRule(
        "telemetry",
        "warn",
        "provenance",
        "DATAPROB is not set: the science telemetry had no problem.",
        f"{_SCHEMA}: DATAPROB",
    ),
    FileRule("engineering", "warn", "provenance", "ENG_QUAL is OK.", f"{_SCHEMA}: ENG_QUAL"),
    FileRule("unreadable_data", "reject", "values", "The data can be read.", f"{_FITS}, 5 to 7 and 10"),
    FileRule("no_finite_data", "reject", "values", "The measurement holds a finite value.", _LAYOUT),
    FileRule("finite_fraction", "warn", "values", "At least a fifth of the measurement is finite.", _LAYOUT),
    FileRule("constant_data", "warn", "values", "The measurement does not hold one value alone.", _LAYOUT),
    FileRule("errors", "warn", "values", "Errors are not negative.", _LAYOUT),
    FileRule("variances", "warn", "values", "Variances are not negative.", _RAMP),
    FileRule(
        "variance_sum",
        "warn",
        "values",
        "The variance planes sum to ERR squared, within 1 % for nine tenths of the pixels.",
        _RAMP,
    ),
    FileRule("dq_bits", "warn", "values", "Data-quality flags use known bits only.", _DQ),
    FileRule(
        "dq_blank",
        "warn",
        "values",
        "A pixel without a value is flagged DO_NOT_USE.",
        f"{_DQ}; jwst: invalid values and DO_NOT_USE",
    ),
    FileRule(
        "weights", "warn", "values", "A resampled pixel has a value exactly where it has weight.", "jwst: resample, WHT"
    ),
    FileRule(
        "wavelengths", "warn", "values", "Wavelengths of a spectrum are positive and ordered.", f"{_LAYOUT}: x1d, c1d"
    ),
)

#: The rules of a file by name, in the order in which they are asked.
FILE_RULES: Mapping[str, FileRule] = MappingProxyType({rule.name: rule for rule in _ALL})
