"""The rules of what the archive says and what came of it: ``mast/*`` and ``raw/fits_files``.

Holds: three suites. Keep out the rules of what the files themselves hold (``suites_catalog``).
"""

from __future__ import annotations

from hwosim_assets.quality.patterns import (
    CAOM_LEVELS,
    DATA_KINDS,
    PROGRAM,
    REFUSED_SHARE_FEW,
    REFUSED_SHARE_LIMIT,
    RIGHTS,
    SHA256,
    WAVELENGTH_NM,
)
from hwosim_assets.quality.rules import (
    Rule,
    Suite,
    at_least,
    at_most,
    between,
    equal,
    in_set,
    is_null,
    matches,
    not_null,
    ordered,
    unique,
)
from hwosim_assets.quality.sources import CAOM, JWST_NAMES, MAST_FIELDS, MAST_RIGHTS, OBSCORE

__all__ = ["MAST_OBSERVATIONS", "MAST_PRODUCTS", "RAW_FITS_FILES"]

# What MAST says of an observation it says of its products too.
_CALIB_LEVEL_KNOWN = Rule(
    "calib_level_known",
    "warning",
    "The calibration level is one of CAOM's.",
    in_set(CAOM_LEVELS, "calib_level"),
    source=CAOM,
)
_DATA_RIGHTS_KNOWN = Rule(
    "data_rights_known",
    "warning",
    "The data rights are ones MAST uses.",
    matches(RIGHTS, "dataRights"),
    source=MAST_RIGHTS,
)

MAST_OBSERVATIONS = Suite(
    "mast_observations",
    identify=("obs_id",),
    rules=(
        Rule(
            "observations_listed",
            "critical",
            "The archive lists at least one observation of the program.",
            at_least(1, "observations"),
            over="counts",
            source=MAST_FIELDS,
        ),
        Rule(
            "required_columns_not_null",
            "critical",
            "Every observation has its ids and program.",
            not_null("program", "obsid", "obs_id"),
            source=CAOM,
        ),
        Rule("obsid_unique", "critical", "An observation is listed once.", unique("obsid"), source=MAST_FIELDS),
        Rule("program_pattern", "critical", "The program is five digits.", matches(PROGRAM, "program")),
        Rule(
            "proposal_agrees",
            "warning",
            "The archive's proposal_id is the program asked for.",
            equal("program", "proposal_program"),
            source=MAST_FIELDS,
        ),
        Rule(
            "coordinates_in_range",
            "warning",
            "Right ascension lies in [0, 360) and declination in [-90, 90] degrees.",
            (*between(0, 360, "s_ra", below_high=True), *between(-90, 90, "s_dec")),
            source=MAST_FIELDS,
        ),
        Rule(
            "times_ordered",
            "warning",
            "An observation starts before it ends (MJD).",
            ordered("t_min", "t_max"),
            source=MAST_FIELDS,
        ),
        Rule(
            "exposure_time_not_negative",
            "warning",
            "Exposure times are not negative (s).",
            at_least(0, "t_exptime"),
            source=MAST_FIELDS,
        ),
        Rule(
            "wavelengths_ordered",
            "warning",
            "em_min does not exceed em_max, and both lie in JWST's 400 to 32000 nm.",
            (*ordered("em_min", "em_max"), *between(*WAVELENGTH_NM, "em_min", "em_max")),
            source=MAST_FIELDS,
        ),
        _CALIB_LEVEL_KNOWN,
        _DATA_RIGHTS_KNOWN,
        Rule(
            "collection_is_jwst",
            "info",
            "The observation belongs to JWST.",
            in_set(("JWST",), "obs_collection"),
            source=MAST_FIELDS,
        ),
        Rule(
            "instrument_known",
            "warning",
            "The instrument is one of JWST's, with its configuration behind a slash.",
            matches(r"^(?:NIRCAM|NIRSPEC|MIRI|NIRISS|FGS)(?:/[A-Z0-9-]+)*\Z", "instrument_name"),
            source=MAST_FIELDS,
        ),
        Rule(
            "intent_known",
            "warning",
            "The intent is science or calibration.",
            in_set(("science", "calibration"), "intentType"),
            source=CAOM,
        ),
        Rule(
            "data_kind_known",
            "warning",
            "The kind of data is one of CAOM's.",
            in_set(DATA_KINDS, "dataproduct_type"),
            source=CAOM,
        ),
        Rule(
            "footprint_pattern",
            "warning",
            "A footprint is a POLYGON or a CIRCLE (STC-S).",
            matches(r"(?i)^\s*(?:polygon|circle)\s", "s_region"),
            source=OBSCORE,
        ),
        Rule(
            "position_in_footprint",
            "warning",
            "The position lies within the footprint's circle, or a hundredth of a degree beside it.",
            at_most(0.01, "outside_deg"),
            source=OBSCORE,
        ),
        Rule(
            "rights_follow_release",
            "warning",
            "A public observation was released (t_obs_release is past).",
            is_null("public_before_release"),
            source=MAST_RIGHTS,
        ),
        Rule(
            "exposure_fits_span",
            "warning",
            "The exposure time is not longer than the time from start to end, an hour aside (s).",
            at_most(3600, "exposure_excess_s"),
            source=OBSCORE,
        ),
    ),
)

MAST_PRODUCTS = Suite(
    "mast_products",
    identify=("productFilename",),
    rules=(
        Rule(
            "products_listed",
            "critical",
            "The archive lists at least one FITS product of the program.",
            at_least(1, "products"),
            over="counts",
            source=MAST_FIELDS,
        ),
        Rule(
            "required_columns_not_null",
            "critical",
            "Every product has a file name and a data URI.",
            not_null("program", "productFilename", "dataURI"),
            source=MAST_FIELDS,
        ),
        Rule(
            "data_uri_unique",
            "critical",
            "A file is listed once, though MAST repeats it under every parent.",
            unique("dataURI"),
            source=MAST_FIELDS,
        ),
        Rule("program_pattern", "critical", "The program is five digits.", matches(PROGRAM, "program")),
        Rule(
            "products_have_observation",
            "warning",
            "Every product belongs to a listed observation.",
            at_most(0, "products_without_observation"),
            over="counts",
            source=CAOM,
        ),
        Rule(
            "proposal_agrees",
            "warning",
            "The archive's proposal_id is the program asked for.",
            equal("program", "proposal_program"),
            source=MAST_FIELDS,
        ),
        Rule(
            "file_name_safe",
            "warning",
            "A file name has no path separator, no control character and no leading dot.",
            matches(r"^[^./\\\x00-\x1f\x7f][^/\\\x00-\x1f\x7f]{0,254}\Z", "productFilename"),
        ),
        Rule(
            "file_is_fits",
            "warning",
            "A product is a FITS file, plain or compressed.",
            matches(r"(?i)\.fits(?:\.gz|\.fz)?\Z", "productFilename"),
            source=MAST_FIELDS,
        ),
        Rule(
            "data_uri_pattern",
            "warning",
            "A data URI is one of MAST's.",
            matches(r"^mast:[A-Za-z0-9_-]+/.+", "dataURI"),
            source=MAST_FIELDS,
        ),
        Rule(
            "sizes_positive",
            "warning",
            "The archive states a size of at least one byte.",
            at_least(1, "size"),
            source=MAST_FIELDS,
        ),
        _CALIB_LEVEL_KNOWN,
        _DATA_RIGHTS_KNOWN,
        Rule(
            "uri_names_file",
            "warning",
            "The data URI ends in the file name.",
            equal("productFilename", "uri_file"),
            source=MAST_FIELDS,
        ),
        Rule(
            "name_names_program",
            "warning",
            "A file name of JWST's scheme names the program asked for.",
            equal("program", "name_program"),
            source=JWST_NAMES,
        ),
        Rule(
            "level_fits_suffix",
            "warning",
            "The calibration level is that of the file name's suffix.",
            equal("calib_level", "suffix_level"),
            source="jwst: Stages",
        ),
        Rule(
            "observations_have_products",
            "info",
            "Every observation that was executed lists a FITS product.",
            at_most(0, "observations_without_product"),
            over="counts",
            source=CAOM,
        ),
    ),
)

RAW_FITS_FILES = Suite(
    "raw_fits_files",
    identify=("product_name",),
    rules=(
        Rule(
            "files_ingested",
            "critical",
            "At least one file of the program is in the lake.",
            at_least(1, "ingested"),
            over="counts",
        ),
        Rule(
            "counts_reconcile",
            "critical",
            "Every listed file is either in the lake or rejected with a reason.",
            equal("listed", "accounted"),
            over="counts",
        ),
        Rule(
            "rejected_share_below_limit",
            "critical",
            f"At most {REFUSED_SHARE_LIMIT:.0%} of the listed files were rejected.",
            at_most(REFUSED_SHARE_LIMIT, "rejected_share"),
            over="counts",
        ),
        Rule(
            "few_files_rejected",
            "warning",
            f"At most {REFUSED_SHARE_FEW:.0%} of the listed files were rejected.",
            at_most(REFUSED_SHARE_FEW, "rejected_share"),
            over="counts",
        ),
        Rule(
            "objects_present",
            "critical",
            "Every row's object is in the store, with the row's size.",
            at_most(0, "objects_absent"),
            over="counts",
        ),
        Rule(
            "required_columns_not_null",
            "critical",
            "Every file has a name, a source, a hash, a size and a key.",
            not_null("program", "product_name", "data_uri", "sha256", "size_bytes", "key", "uri"),
        ),
        Rule("data_uri_unique", "critical", "A file is in the lake under one row.", unique("data_uri")),
        Rule("sha256_pattern", "critical", "The content hash is a SHA-256.", matches(SHA256, "sha256")),
        Rule("sizes_positive", "critical", "A file has at least one byte.", at_least(1, "size_bytes")),
        Rule(
            "keys_follow_layout",
            "critical",
            "The key follows the mission hierarchy.",
            matches(r"^raw/jw[0-9]{5}/(?:[^/.][^/]*/)+[^/]+\Z", "key"),
        ),
        Rule("program_pattern", "critical", "The program is five digits.", matches(PROGRAM, "program")),
        Rule(
            "sizes_match_archive",
            "warning",
            "A file has the size that the archive lists now.",
            equal("size_bytes", "listed_size"),
            source=MAST_FIELDS,
        ),
        Rule(
            "name_agrees_with_uri",
            "warning",
            "A file is called as its data URI says.",
            equal("product_name", "uri_file"),
            source=MAST_FIELDS,
        ),
        Rule("key_names_program", "critical", "The key lies in the program's folder.", equal("program", "key_program")),
        Rule("key_names_file", "critical", "The key ends in the file's name.", equal("product_name", "key_file")),
        Rule(
            "listed_now",
            "warning",
            "Every file of the lake is one that the archive lists.",
            at_most(0, "unlisted"),
            over="counts",
            source=MAST_FIELDS,
        ),
        Rule("ingest_named", "critical", "Every file names the ingest that brought it.", matches(r"\S", "ingest_id")),
    ),
)
