"""One defect for every rule about tables: a good program, and what is changed so that one rule breaks.

Holds: :data:`GOOD` (rows and counts of every suite that break no rule), :data:`TABLE_DEFECTS`. Keep out defects of
files (``file_defects``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from hwosim_assets.catalog.file_rules import GROUPS

SHA, OTHER = "a" * 64, "b" * 64
NAMES = ["jw01093001001_02101_00001_nrca1_cal.fits", "jw01093001001_02101_00002_nrca1_cal.fits"]
URIS = [f"mast:JWST/product/{name}" for name in NAMES]
KEYS = [f"raw/jw01093/001/001/{name}/i1/{name}" for name in NAMES]
NOTHING = pa.array([None, None], pa.string())

#: Two rows of every suite; what is null in one row is looked at by no rule but those that forbid it.
GOOD: dict[str, dict[str, Any]] = {
    "mast_observations": {
        "program": ["01093"] * 2, "proposal_program": ["01093"] * 2, "obsid": ["1", "2"],
        "obs_id": ["jw01093-o001", "jw01093-o002"], "s_ra": [0.0, 359.9], "s_dec": [-90.0, 90.0],
        "t_min": [60000.0, 60001.0], "t_max": [60000.5, 60001.0], "t_exptime": [100.0, 0.0],
        "em_min": [600.0, 4662.0], "em_max": [2300.0, 4977.0], "calib_level": [3, -1],
        "dataRights": ["PUBLIC", "exclusive_access"], "obs_collection": ["JWST"] * 2,
        "instrument_name": ["NIRCAM/IMAGE", "MIRI/IFU"], "intentType": ["science", "calibration"],
        "dataproduct_type": ["image", "cube"], "s_region": ["POLYGON ICRS 0 -90 1 -90 1 -89", "CIRCLE 359.9 90 1"],
        "outside_deg": [0.0, None], "public_before_release": NOTHING, "exposure_excess_s": [-43100.0, 0.0],
    },
    "mast_products": {
        "program": ["01093"] * 2, "proposal_program": ["01093"] * 2, "productFilename": NAMES, "dataURI": URIS,
        "uri_file": NAMES, "name_program": ["01093"] * 2, "suffix_level": [2, 2], "calib_level": [2, 2],
        "size": [2880, 5760], "dataRights": ["PUBLIC", "RESTRICTED"],
    },
    "raw_fits_files": {
        "program": ["01093"] * 2, "product_name": NAMES, "data_uri": URIS, "uri_file": NAMES, "sha256": [SHA, OTHER],
        "size_bytes": [2880, 5760], "listed_size": [2880, 5760], "key": KEYS, "key_file": NAMES,
        "key_program": ["01093"] * 2, "uri": [f"file:///lake/{key}" for key in KEYS], "ingest_id": ["i1", "i2"],
    },
    "header_cards": {
        "program": ["01093"] * 2, "product_name": [NAMES[0]] * 2, "sha256": [SHA] * 2, "hdu": [0, 0],
        "card_index": [0, 1], "keyword": ["SIMPLE", "TELESCOP"], "raw": [b" " * 80, b" " * 160],
        "raw_remainder": [0, 0], "values": [1, 1], "damaged_card": NOTHING,
    },
    "products": {
        "program": ["01093"] * 2, "product_name": NAMES, "sha256": [SHA, OTHER], "size_bytes": [2880, 5760],
        "key": KEYS, "uri": KEYS, "data_uri": URIS, "layout_json": ["[]"] * 2, "calib_level": [2, 2],
        "obs_id": ["a", "b"], "listed_obs_id": ["a", None], "listed_level": [2, None],
        "listed_start_apart": [0.0, None], "s_ra": [0.0, 359.9], "s_dec": [-90.0, 90.0], "t_exptime": [10.0, None],
        "t_min": [60000.0, 60001.0], "t_max": [60000.5, 60001.0], "stream_time_mjd": [60000.25, 60001.0],
        "em_min": [6e-7, 4.6e-6], "em_max": [2.3e-6, 4.9e-6], **{f"against_{group}": NOTHING for group in GROUPS},
    },
    "quarantine": {
        "program": ["01093"] * 2, "stage": ["raw", "catalog"], "product_name": NAMES,
        "rule": ["size_mismatch", "fits_structure"], "reason": ["it is short", "it ends early"],
    },
    "perturbed": {
        "program": ["01093"] * 2, "scenario": ["late"] * 2, "scope_scenario": ["late"] * 2, "product_name": NAMES,
        "in_sha256": [SHA, SHA], "out_sha256": [OTHER, SHA], "plan_sha256": [SHA, SHA], "catalog_sha256": [SHA, SHA],
        "seed": [1, 1], "scale": ["2026.1"] * 2, "engine": ["3"] * 2, "changed": [True, False],
        "bytes_differ": [True, False], "key_folder": [f"delivered/bb/{OTHER}", f"delivered/aa/{SHA}"],
        "hash_folder": [f"delivered/bb/{OTHER}", f"delivered/aa/{SHA}"], "size_bytes": [2880, 2880],
        "snr_loss": [0.1, None], "stream_time_mjd": [60000.25, None], "catalog_time": [60000.25, None],
        "changed_by_nothing": NOTHING, "unaccounted": NOTHING, "inconsistent": NOTHING, "off_plan": NOTHING,
    },
    "stream": {
        "run_id": ["r1", "r2"], "plan_sha256": [SHA, OTHER], "planned": [100, 4], "lost": [0, 0],
        "duplicated": [0, 0], "published": [100, 4], "expected": [100, 4], "consumed": [100, 4],
        "verified": [True, True], "bytes": [1000, 10], "seconds": [1.5, 0.0], "longest_seconds": [32.0, 30.0],
        "lost_share": [0.0, 0.0], "discrepancies": [0, 0], "out_of_order": [0, 0], "truths": [4, 1],
        "products": [4, 1], "first_offset": [0, None], "last_offset": [99, None], "late_p99_ms": [3.0, None],
        "waited_p95_ms": [8.0, None], "plan_key": ["plans/p.parquet"] * 2, "receipt_key": ["receipts/r.parquet"] * 2,
    },
    "report": {
        "program": ["01093"] * 2, "asset": ["raw/fits_files", "catalog/products"], "suite": ["a", "b"],
        "verdict": ["passed", "failed"], "due_verdict": ["passed", "failed"], "rows": [2, 2], "rules": [17, 24],
        "broken": [0, 1], "named_broken": [0, 1], "html_key": ["a.html", "b.html"], "json_key": ["a.json", "b.json"],
        "unknown_rules": NOTHING, "misplaced": NOTHING,
    },
}  # fmt: skip

#: The counts about a program that go with them.
COUNTS: dict[str, dict[str, float]] = {
    "mast_observations": {"observations": 2},
    "mast_products": {"products": 2, "products_without_observation": 0, "observations_without_product": 0},
    "raw_fits_files": {
        "listed": 2, "ingested": 2, "accounted": 2, "rejected_share": 0.0, "objects_absent": 0, "unlisted": 0,
    },
    "header_cards": {
        "files": 1, "files_without_cards": 0, "files_not_simple": 0, "files_without_telescope": 0,
        "files_without_checksum": 0, "files_without_primary": 0,
    },
    "products": {"usable": 2, "files": 2, "accounted": 2, "quarantined_share": 0.0},
    "quarantine": {"quarantined": 0, "quarantined_and_usable": 0, "files_unknown": 0},
    "perturbed": {
        "perturbed": 2, "usable": 2, "accounted": 2, "without_truth": 0, "changed_products": 1, "objects_absent": 0,
        "compared": 2,
    },
    "stream": {"publications": 1},
    "report": {"reports": 2, "stages_without_report": 0, "pages_absent": 0, "failed_stages": 0},
}  # fmt: skip


@dataclass(frozen=True)
class TableDefect:
    """What is changed in a good program: cells of the first row by column, or counts by name.

    Attributes
    ----------
    suite, rule : str
        Which rule must break.
    words : str
        The defect, for people.
    changed : dict
        New values.
    also : tuple of str
        Further rules of the suite that the same defect must break: it is wrong in two ways.
    """

    suite: str
    rule: str
    words: str
    changed: dict[str, Any]
    also: tuple[str, ...] = ()

    def rows(self) -> pa.Table:
        """Return the rows with the defect in the first of them."""
        good = GOOD[self.suite]
        columns = {
            name: pa.array([self.changed[name], *_values(values)[1:]], _type(values))
            if name in self.changed
            else values
            for name, values in good.items()
        }
        return pa.table(columns)

    def counts(self) -> dict[str, float]:
        """Return the counts with the defect."""
        return {name: self.changed.get(name, value) for name, value in COUNTS[self.suite].items()}


def _values(column: Any) -> list[Any]:
    return list(column.to_pylist() if isinstance(column, pa.Array) else column)


def _type(column: Any) -> pa.DataType:
    return column.type if isinstance(column, pa.Array) else pa.array(column).type


def _of(suite: str, *rows: tuple[Any, ...]) -> list[TableDefect]:
    return [TableDefect(suite, *row) for row in rows]


TABLE_DEFECTS: list[TableDefect] = [
    *_of(
        "mast_observations",
        ("observations_listed", "the archive lists no observation", {"observations": 0}),
        ("required_columns_not_null", "an observation without obs_id", {"obs_id": None}),
        ("obsid_unique", "an observation listed twice", {"obsid": "2"}),
        ("program_pattern", "a program of four digits", {"program": "1093", "proposal_program": None}),
        ("proposal_agrees", "an observation of another program", {"proposal_program": "02739"}),
        ("coordinates_in_range", "a right ascension of 400 degrees", {"s_ra": 400.0}),
        ("times_ordered", "an observation that ends before it starts", {"t_min": 60001.0}),
        ("exposure_time_not_negative", "an exposure time of -1 s", {"t_exptime": -1.0}),
        ("wavelengths_ordered", "wavelengths in metres instead of nm", {"em_min": 6e-7}),
        ("calib_level_known", "calibration level 5", {"calib_level": 5}),
        ("data_rights_known", "data rights PUBLICITY", {"dataRights": "PUBLICITY"}),
        ("collection_is_jwst", "an observation of HST", {"obs_collection": "HST"}),
        ("instrument_known", "instrument WFC3/UVIS", {"instrument_name": "WFC3/UVIS"}),
        ("intent_known", "intent engineering", {"intentType": "engineering"}),
        ("data_kind_known", "kind of data picture", {"dataproduct_type": "picture"}),
        ("footprint_pattern", "a footprint that is a RECTANGLE", {"s_region": "RECTANGLE 0 0 1 1"}),
        ("position_in_footprint", "a position half a degree beside its footprint", {"outside_deg": 0.5}),
        ("rights_follow_release", "PUBLIC before its release", {"public_before_release": "released 99999.0"}),
        ("exposure_fits_span", "a day of exposure in half a day", {"exposure_excess_s": 43200.0}),
    ),
    *_of(
        "mast_products",
        ("products_listed", "the archive lists no product", {"products": 0}),
        ("required_columns_not_null", "a product without a name", {"productFilename": None, "uri_file": None}),
        ("data_uri_unique", "a file listed twice", {"dataURI": URIS[1]}),
        (
            "program_pattern",
            "a program with a line break",
            {"program": "01093\n", "proposal_program": None, "name_program": None},
        ),
        ("products_have_observation", "a product of no listed observation", {"products_without_observation": 1}),
        ("proposal_agrees", "a product of another program", {"proposal_program": "02739"}),
        ("file_name_safe", "a name that climbs out of its folder", {"productFilename": "../x.fits", "uri_file": None}),
        ("file_is_fits", "a preview among the products", {"productFilename": "x.jpg", "uri_file": None}),
        ("data_uri_pattern", "a data URI that is a path", {"dataURI": "/etc/passwd"}),
        ("sizes_positive", "a listed size of 0 bytes", {"size": 0}),
        ("calib_level_known", "calibration level 7", {"calib_level": 7, "suffix_level": None}),
        ("data_rights_known", "no word for the rights", {"dataRights": ""}),
        ("uri_names_file", "a URI that names another file", {"uri_file": NAMES[1]}),
        ("name_names_program", "a file of another program by its name", {"name_program": "02739"}),
        ("level_fits_suffix", "a _cal that is listed as level 3", {"calib_level": 3}),
        (
            "observations_have_products",
            "an executed observation without a product",
            {"observations_without_product": 1},
        ),
    ),
    *_of(
        "raw_fits_files",
        ("files_ingested", "nothing was ingested", {"ingested": 0}),
        ("counts_reconcile", "a listed file is neither there nor rejected", {"accounted": 1}),
        ("rejected_share_below_limit", "19 of 20 files rejected", {"rejected_share": 0.95}, ("few_files_rejected",)),
        ("few_files_rejected", "one of five files rejected", {"rejected_share": 0.2}),
        ("objects_present", "an object is gone from the store", {"objects_absent": 1}),
        ("required_columns_not_null", "a file without an address", {"uri": None}),
        ("data_uri_unique", "a file under two rows", {"data_uri": URIS[1]}),
        ("sha256_pattern", "an MD5 for a SHA-256", {"sha256": "a" * 32}),
        ("sizes_positive", "a file of 0 bytes", {"size_bytes": 0, "listed_size": None}),
        ("keys_follow_layout", "a key that climbs out", {"key": "raw/jw01093/../../x.fits"}),
        ("program_pattern", "a program of four digits", {"program": "1093", "key_program": None}),
        ("sizes_match_archive", "a file shorter than listed", {"listed_size": 5760}),
        ("name_agrees_with_uri", "a file called otherwise than its URI", {"uri_file": NAMES[1]}),
        ("key_names_program", "a key in another program's folder", {"key_program": "02739"}),
        ("key_names_file", "a key that ends in another name", {"key_file": NAMES[1]}),
        ("listed_now", "a file that the archive no longer lists", {"unlisted": 1}),
        ("ingest_named", "a file without the id of its ingest", {"ingest_id": ""}),
    ),
    *_of(
        "header_cards",
        ("cards_read", "no card was read", {"files": 0}),
        ("counts_reconcile", "a file without cards that nobody rejected", {"files_without_cards": 1}),
        ("required_columns_not_null", "a card without a keyword", {"keyword": None}),
        ("card_position_unique", "two cards at one place", {"card_index": 1}),
        ("raw_card_80_bytes", "a card of 79 bytes", {"raw_remainder": 79}),
        ("one_value_per_card", "a card that is number and text", {"values": 2}),
        ("sha256_pattern", "a hash in capitals", {"sha256": "A" * 64}),
        ("program_pattern", "a program in words", {"program": "Cycle"}),
        ("starts_with_simple", "a file that begins otherwise", {"files_not_simple": 1}),
        ("telescope_named", "a file without TELESCOP", {"files_without_telescope": 1}),
        ("files_stamped", "a file without CHECKSUM", {"files_without_checksum": 1}),
        ("cards_undamaged", "a damaged card", {"damaged_card": "EXPSTART"}),
        ("primary_first", "a file of which the primary header is missing", {"files_without_primary": 1}),
    ),
    *_of(
        "products",
        ("usable_products", "no product is usable", {"usable": 0}),
        ("counts_reconcile", "a file is neither a product nor quarantined", {"accounted": 1}),
        (
            "quarantined_share_below_limit",
            "19 of 20 files quarantined",
            {"quarantined_share": 0.95},
            ("few_files_quarantined",),
        ),
        ("few_files_quarantined", "one of five files quarantined", {"quarantined_share": 0.2}),
        ("required_columns_not_null", "a product without a layout", {"layout_json": None}),
        ("product_name_unique", "a product twice", {"product_name": NAMES[1]}),
        ("sha256_pattern", "a hash that is cut off", {"sha256": "a" * 63}),
        ("sizes_positive", "a product of 0 bytes", {"size_bytes": 0}),
        ("calib_level_known", "a planned observation as a product", {"calib_level": -1, "listed_level": None}),
        ("coordinates_in_range", "a declination of -91 degrees", {"s_dec": -91.0}),
        ("times_ordered", "a mid-time before the start", {"stream_time_mjd": 59999.0}),
        ("wavelengths_in_metres", "wavelengths in nm", {"em_min": 600.0, "em_max": 2300.0}),
        ("exposure_time_not_negative", "an exposure time of -10 s", {"t_exptime": -10.0}),
        ("archive_names_agree", "a file under another observation", {"listed_obs_id": "c"}),
        ("archive_levels_agree", "a level that the archive lists otherwise", {"listed_level": 3}),
        ("archive_times_agree", "a start two days from the archive's", {"listed_start_apart": 2.0}),
        *(
            (f"files_keep_{group}", f"a product that breaks a rule about {group}", {f"against_{group}": "rule: reason"})
            for group in GROUPS
        ),
    ),
    *_of(
        "quarantine",
        ("program_pattern", "a refusal of program 1093", {"program": "1093"}),
        ("reasons_given", "a refusal without a reason", {"reason": "bad"}),
        ("rules_named", "a refusal whose rule is a sentence", {"rule": "It is bad"}),
        ("stages_known", "a refusal by an unknown stage", {"stage": "moon"}),
        (
            "rows_unique",
            "a file refused twice by one rule",
            {"stage": "catalog", "product_name": NAMES[1], "rule": "fits_structure"},
        ),
        ("not_catalogued_too", "a file quarantined and usable", {"quarantined_and_usable": 1}),
        ("files_known", "a refused file that the archive does not list", {"files_unknown": 1}),
        ("nothing_quarantined", "one file quarantined", {"quarantined": 1}),
    ),
    *_of(
        "perturbed",
        ("datasets_made", "nothing was perturbed", {"perturbed": 0}),
        ("counts_reconcile", "a usable product is neither perturbed nor rejected", {"accounted": 1}),
        ("truth_recorded", "a product without its truth", {"without_truth": 1}),
        ("required_columns_not_null", "a dataset without a seed", {"seed": None}),
        ("product_name_unique", "a product perturbed twice", {"product_name": NAMES[1]}),
        ("sha256_pattern", "a plan named by a word", {"plan_sha256": "plan"}),
        ("input_file_current", "made from a file that was replaced since", {"catalog_sha256": OTHER}),
        ("change_matches_hashes", "called unchanged though its bytes differ", {"changed": False}),
        ("keys_say_nothing", "an address that says the scenario", {"key_folder": "delivered/late"}),
        ("sizes_positive", "a delivered file of 0 bytes", {"size_bytes": 0}),
        ("snr_not_gained", "signal to noise that grew by half", {"snr_loss": -0.5}),
        ("some_product_changed", "no product changed", {"changed_products": 0}),
        ("truth_accounts", "a difference that no truth explains", {"unaccounted": "12 elements of SCI"}),
        ("severity_achieved", "a throughput that is not the plan's", {"off_plan": "0.80 and not 0.99"}),
        ("planes_consistent", "lost pixels that are not flagged", {"inconsistent": "7 pixels"}),
        ("products_compared", "no product was compared", {"compared": 0}),
        ("objects_present", "a delivered file is gone", {"objects_absent": 1}),
        ("identity_kept", "the clean scenario changed a product", {"changed_by_nothing": "its plan has no effect"}),
        ("scenario_named", "a row under another scenario", {"scope_scenario": "early"}),
        ("times_kept", "a stream time that is not the catalog's", {"catalog_time": 60001.0}),
    ),
    *_of(
        "stream",
        ("publication_recorded", "no publication", {"publications": 0}),
        ("required_columns_not_null", "a publication without its plan", {"plan_sha256": None}),
        ("every_message_reconciled", "a message that was not reconciled", {"verified": False}),
        ("counts_reconcile", "one message fewer came back", {"consumed": 99}),
        ("plan_published", "one message more went out", {"published": 101}),
        ("messages_planned", "an empty plan", {"planned": 0}),
        ("plan_sha256_pattern", "a plan named by a number", {"plan_sha256": "1"}),
        ("bytes_positive", "messages without bytes", {"bytes": 0}),
        ("time_taken_not_negative", "a clock that ran backwards", {"seconds": -1.0}),
        ("lost_share_small", "six of ten messages lost", {"lost_share": 0.6}),
        ("nothing_lost", "a lost message", {"lost": 1}),
        ("nothing_duplicated", "a message twice", {"duplicated": 1}),
        ("no_discrepancy", "a message with other bytes", {"discrepancies": 1}),
        ("order_kept", "a message that overtook another", {"out_of_order": 1}),
        ("truth_published", "no truth on its topic", {"truths": 0}),
        ("products_named", "a publication of no product", {"products": 0}),
        ("offsets_ordered", "a last offset before the first", {"last_offset": -1}),
        ("lag_small", "messages that went out a minute late", {"late_p99_ms": 60_000.0}),
        ("files_ready", "files perturbed more slowly than sent", {"waited_p95_ms": 1500.0}),
        ("rate_kept", "a publication that took an hour too long", {"seconds": 3600.0}),
        ("receipt_kept", "no receipt", {"receipt_key": ""}),
    ),
    *_of(
        "report",
        ("assets_reported", "no report", {"reports": 0}),
        ("stages_reported", "no report of the stream", {"stages_without_report": 1}),
        ("required_columns_not_null", "a report without its page", {"html_key": None}),
        ("asset_unique", "two latest reports of one asset", {"asset": "catalog/products"}),
        ("program_pattern", "a report of program 1093", {"program": "1093"}),
        ("verdict_known", "a verdict that is good", {"verdict": "good", "due_verdict": None}),
        ("verdict_follows_counts", "passed though a critical rule is broken", {"due_verdict": "failed"}),
        ("counts_reconcile", "a broken rule that is not named", {"named_broken": 1}),
        ("broken_rules_known", "a broken rule that no suite has", {"unknown_rules": "lunar"}),
        ("rules_judged", "a report that judged no rule", {"rules": 0}),
        ("pages_present", "a page that is gone", {"pages_absent": 1}),
        ("pages_in_place", "a page in another program's folder", {"misplaced": "reports/x"}),
        ("nothing_failed", "a stage that failed", {"failed_stages": 1}),
    ),
]
