"""The rules of what the archive says and what came of it: ``mast/*`` and ``raw/fits_files``.

Holds: three suites. Keep out the rules of what the files themselves hold (``suites_catalog``).
"""

from __future__ import annotations

from hwosim_assets.quality.patterns import (
    CAOM_LEVELS,
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
    matches,
    not_null,
    ordered,
    unique,
)

__all__ = ["MAST_OBSERVATIONS", "MAST_PRODUCTS", "RAW_FITS_FILES"]

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
        ),
        Rule(
            "required_columns_not_null",
            "critical",
            "Every observation has its ids and program.",
            not_null("program", "obsid", "obs_id"),
        ),
        Rule("obsid_unique", "critical", "An observation is listed once.", unique("obsid")),
        Rule("program_pattern", "critical", "The program is five digits.", matches(PROGRAM, "program")),
        Rule(
            "proposal_agrees",
            "warning",
            "The archive's proposal_id is the program asked for.",
            equal("program", "proposal_program"),
        ),
        Rule(
            "coordinates_in_range",
            "warning",
            "Right ascension lies in [0, 360) and declination in [-90, 90] degrees.",
            (*between(0, 360, "s_ra", below_high=True), *between(-90, 90, "s_dec")),
        ),
        Rule("times_ordered", "warning", "An observation starts before it ends (MJD).", ordered("t_min", "t_max")),
        Rule("exposure_time_not_negative", "warning", "Exposure times are not negative (s).", at_least(0, "t_exptime")),
        Rule(
            "wavelengths_ordered",
            "warning",
            "em_min does not exceed em_max, and both lie in JWST's 400 to 32000 nm.",
            (*ordered("em_min", "em_max"), *between(*WAVELENGTH_NM, "em_min", "em_max")),
        ),
        Rule(
            "calib_level_known",
            "warning",
            "The calibration level is one of CAOM's.",
            in_set(CAOM_LEVELS, "calib_level"),
        ),
        Rule("data_rights_known", "warning", "The data rights are ones MAST uses.", matches(RIGHTS, "dataRights")),
        Rule("collection_is_jwst", "info", "The observation belongs to JWST.", in_set(("JWST",), "obs_collection")),
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
        ),
        Rule(
            "required_columns_not_null",
            "critical",
            "Every product has a file name and a data URI.",
            not_null("program", "productFilename", "dataURI"),
        ),
        Rule(
            "data_uri_unique",
            "critical",
            "A file is listed once, though MAST repeats it under every parent.",
            unique("dataURI"),
        ),
        Rule("program_pattern", "critical", "The program is five digits.", matches(PROGRAM, "program")),
        Rule(
            "products_have_observation",
            "warning",
            "Every product belongs to a listed observation.",
            at_most(0, "products_without_observation"),
            over="counts",
        ),
        Rule(
            "proposal_agrees",
            "warning",
            "The archive's proposal_id is the program asked for.",
            equal("program", "proposal_program"),
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
        ),
        Rule(
            "data_uri_pattern",
            "warning",
            "A data URI is one of MAST's.",
            matches(r"^mast:[A-Za-z0-9_-]+/.+", "dataURI"),
        ),
        Rule("sizes_positive", "warning", "The archive states a size of at least one byte.", at_least(1, "size")),
        Rule(
            "calib_level_known",
            "warning",
            "The calibration level is one of CAOM's.",
            in_set(CAOM_LEVELS, "calib_level"),
        ),
        Rule("data_rights_known", "warning", "The data rights are ones MAST uses.", matches(RIGHTS, "dataRights")),
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
        ),
    ),
)
