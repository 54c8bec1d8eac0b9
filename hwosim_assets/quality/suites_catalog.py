"""The rules of what the files hold: ``catalog/header_cards``, ``catalog/products``, ``catalog/quarantine``.

Holds: three suites. Keep out the validation that quarantines a file (``catalog.validate``): a rule here
asks whether that was done, not whether a file is good.
"""

from __future__ import annotations

from hwosim_assets.catalog.file_rules import GROUPS
from hwosim_assets.quality.patterns import (
    CAOM_LEVELS,
    PROGRAM,
    REFUSED_SHARE_FEW,
    REFUSED_SHARE_LIMIT,
    SHA256,
    WAVELENGTH_M,
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
from hwosim_assets.quality.sources import CAOM, FITS, FITS_SUMS, JWST_NAMES, MAST_FIELDS, OBSCORE

__all__ = ["HEADER_CARDS", "PRODUCTS", "QUARANTINE"]

#: One check for each group of rules that a product may break and still be one; the files that break a rule that
#: rejects are in quarantine.
FILE_GROUPS = tuple(
    Rule(
        f"files_keep_{group}",
        "warning",
        f"{said}, in every product.",
        is_null(f"against_{group}"),
        source="the rules about files of this group, each with its own",
    )
    for group, said in GROUPS.items()
)

HEADER_CARDS = Suite(
    "header_cards",
    identify=("product_name", "hdu", "card_index"),
    rules=(
        Rule("cards_read", "critical", "Cards of at least one file were read.", at_least(1, "files"), over="counts"),
        Rule(
            "counts_reconcile",
            "critical",
            "Every file of the lake has cards or was rejected with a reason.",
            at_most(0, "files_without_cards"),
            over="counts",
        ),
        Rule(
            "required_columns_not_null",
            "critical",
            "Every card names its file, HDU, place and keyword.",
            not_null("program", "product_name", "sha256", "hdu", "card_index", "keyword", "raw"),
        ),
        Rule(
            "card_position_unique",
            "critical",
            "One card stands at one place of one HDU.",
            unique("product_name", "sha256", "hdu", "card_index"),
        ),
        Rule(
            "raw_card_80_bytes",
            "critical",
            "The raw image is whole cards of 80 bytes.",
            in_set((0,), "raw_remainder"),
            source=FITS,
        ),
        Rule(
            "one_value_per_card", "critical", "A card has at most one typed value.", at_most(1, "values"), source=FITS
        ),
        Rule(
            "sha256_pattern",
            "critical",
            "The content hash is a SHA-256.",
            matches(SHA256, "sha256"),
        ),
        Rule("program_pattern", "critical", "The program is five digits.", matches(PROGRAM, "program")),
        Rule(
            "starts_with_simple",
            "warning",
            "The first card of a file is SIMPLE.",
            at_most(0, "files_not_simple"),
            over="counts",
            source=FITS,
        ),
        Rule(
            "telescope_named",
            "warning",
            "Every file names its TELESCOP in the primary header.",
            at_most(0, "files_without_telescope"),
            over="counts",
            source=FITS,
        ),
        Rule(
            "files_stamped",
            "info",
            "Every file carries CHECKSUM and DATASUM cards in some HDU; JWST's own pipeline leaves them out.",
            at_most(0, "files_without_checksum"),
            over="counts",
            source=FITS_SUMS,
        ),
        Rule(
            "cards_undamaged",
            "warning",
            "No card is damaged; a damaged one is kept as it was found.",
            is_null("damaged_card"),
            source=FITS,
        ),
        Rule(
            "primary_first",
            "warning",
            "Every file has cards of its primary HDU.",
            at_most(0, "files_without_primary"),
            over="counts",
            source=FITS,
        ),
    ),
)

PRODUCTS = Suite(
    "products",
    identify=("product_name",),
    rules=(
        Rule(
            "usable_products",
            "critical",
            "At least one product of the program is usable.",
            at_least(1, "usable"),
            over="counts",
        ),
        Rule(
            "counts_reconcile",
            "critical",
            "Every file of the lake is either a product or quarantined with a reason.",
            equal("files", "accounted"),
            over="counts",
        ),
        Rule(
            "quarantined_share_below_limit",
            "critical",
            f"At most {REFUSED_SHARE_LIMIT:.0%} of the files were quarantined.",
            at_most(REFUSED_SHARE_LIMIT, "quarantined_share"),
            over="counts",
        ),
        Rule(
            "few_files_quarantined",
            "warning",
            f"At most {REFUSED_SHARE_FEW:.0%} of the files were quarantined.",
            at_most(REFUSED_SHARE_FEW, "quarantined_share"),
            over="counts",
        ),
        Rule(
            "required_columns_not_null",
            "critical",
            "Every product has a name, a hash, a size, an address and a layout.",
            not_null("program", "product_name", "sha256", "size_bytes", "key", "uri", "data_uri", "layout_json"),
        ),
        Rule("product_name_unique", "critical", "A product has one row.", unique("product_name")),
        Rule("sha256_pattern", "critical", "The content hash is a SHA-256.", matches(SHA256, "sha256")),
        Rule("sizes_positive", "critical", "A file has at least one byte.", at_least(1, "size_bytes")),
        Rule(
            "calib_level_known",
            "critical",
            "The calibration level is one of CAOM's.",
            in_set(CAOM_LEVELS[1:], "calib_level"),
            source=CAOM,
        ),
        Rule(
            "coordinates_in_range",
            "warning",
            "Right ascension lies in [0, 360) and declination in [-90, 90] degrees.",
            (*between(0, 360, "s_ra", below_high=True), *between(-90, 90, "s_dec")),
            source=OBSCORE,
        ),
        Rule(
            "times_ordered",
            "warning",
            "An exposure starts before it ends (MJD), and its mid-time lies between.",
            (*ordered("t_min", "t_max"), *ordered("t_min", "stream_time_mjd"), *ordered("stream_time_mjd", "t_max")),
            source=OBSCORE,
        ),
        Rule(
            "wavelengths_in_metres",
            "warning",
            "em_min does not exceed em_max, and both lie in JWST's 0.4 to 32 um, in metres.",
            (*ordered("em_min", "em_max"), *between(*WAVELENGTH_M, "em_min", "em_max")),
            source=OBSCORE,
        ),
        Rule(
            "exposure_time_not_negative",
            "warning",
            "Exposure times are not negative (s).",
            at_least(0, "t_exptime"),
            source=OBSCORE,
        ),
        Rule(
            "archive_names_agree",
            "warning",
            "The observation of a file is the one under which the archive lists it.",
            equal("obs_id", "listed_obs_id"),
            source=JWST_NAMES,
        ),
        Rule(
            "archive_levels_agree",
            "warning",
            "The calibration level is the one that the archive lists.",
            equal("calib_level", "listed_level"),
            source=CAOM,
        ),
        Rule(
            "archive_times_agree",
            "warning",
            "An exposure starts within a day of what the archive lists (days).",
            at_most(1, "listed_start_apart"),
            source=MAST_FIELDS,
        ),
        *FILE_GROUPS,
    ),
)

QUARANTINE = Suite(
    "quarantine",
    identify=("product_name", "stage", "rule"),
    rules=(
        Rule("program_pattern", "critical", "The program is five digits.", matches(PROGRAM, "program")),
        Rule(
            "reasons_given",
            "critical",
            "Every refused file has a reason in words.",
            (*not_null("reason"), *matches(r"\S+\s+\S+", "reason")),
        ),
        Rule("rules_named", "critical", "Every refusal names its rule.", matches(r"^[a-z][a-z0-9_]*\Z", "rule")),
        Rule(
            "stages_known",
            "critical",
            "A stage of the chain refused it.",
            matches(r"^(?:raw|catalog|perturbed(?:/[a-z0-9_-]+)?)\Z", "stage"),
        ),
        Rule(
            "rows_unique", "critical", "A stage refuses a file once per rule.", unique("stage", "product_name", "rule")
        ),
        Rule(
            "not_catalogued_too",
            "critical",
            "No file is both quarantined by the catalog and a product of it.",
            at_most(0, "quarantined_and_usable"),
            over="counts",
        ),
        Rule(
            "files_known",
            "warning",
            "Every refused file is one that the archive lists.",
            at_most(0, "files_unknown"),
            over="counts",
        ),
        Rule(
            "nothing_quarantined",
            "info",
            "No file of the program was refused.",
            at_most(0, "quarantined"),
            over="counts",
        ),
    ),
)
