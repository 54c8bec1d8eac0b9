import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from hwosim_assets.archive.schema import ARCHIVE_PRODUCTS, OBSERVATIONS
from hwosim_assets.catalog.cards import HEADER_CARDS
from hwosim_assets.catalog.products import PRODUCTS
from hwosim_assets.lake.ingest import RAW_FILES
from hwosim_assets.lake.rejections import QUARANTINE, Rejection, rejection_rows
from hwosim_assets.lake.spec import TableSpec
from hwosim_assets.lake.store import Lake
from hwosim_assets.lake.tables import Tables
from hwosim_assets.quality.inputs import read_input
from hwosim_assets.quality.run import run_suite
from hwosim_assets.settings import Settings

PROGRAM = "01093"
NAMES = ("jw01093001001_02101_00001_nrca1_cal.fits", "jw01093001001_02101_00001_nrca1_rate.fits")
BLANK: dict[pa.DataType, Any] = {pa.string(): "", pa.int64(): 0, pa.float64(): 0.0, pa.binary(): b""}


def _row(spec: TableSpec, values: dict[str, Any]) -> dict[str, Any]:
    required = {field.name: BLANK.get(field.type) for field in spec.schema if not field.nullable}
    return {**required, "program": PROGRAM, **values}


class Chain:
    """A program of two files that went well, to be spoilt one table at a time."""

    def __init__(self) -> None:
        self.lake = Lake.from_settings(Settings())
        self.tables = Tables.from_settings(Settings())
        observed = {"obsid": "1", "obs_id": "jw01093001001", "proposal_id": "1093", "dataRights": "PUBLIC"}
        self.fill(OBSERVATIONS, [observed])
        self.fill(ARCHIVE_PRODUCTS, [self.listed(name) for name in NAMES])
        self.fill(RAW_FILES, [self.raw(name) for name in NAMES])
        for name in NAMES:
            self.lake.write_new(self.raw(name)["key"], b"x" * 2880)
        self.fill(PRODUCTS, [self.product(name) for name in NAMES])
        self.fill(HEADER_CARDS, [card for name in NAMES for card in self.cards(name)])

    def fill(self, spec: TableSpec, rows: list[dict[str, Any]]) -> None:
        table = pa.Table.from_pylist([_row(spec, row) for row in rows], schema=spec.schema)
        self.tables.replace(spec, {"program": PROGRAM}, table)

    def refuse(self, *rejections: Rejection) -> None:
        for stage in {rejection.stage for rejection in rejections}:
            members = [rejection for rejection in rejections if rejection.stage == stage]
            self.tables.replace(QUARANTINE, {"program": PROGRAM, "stage": stage}, rejection_rows(PROGRAM, members))

    @staticmethod
    def listed(name: str, **changed: Any) -> dict[str, Any]:
        uri = f"mast:JWST/product/{name}"
        listed = {"dataURI": uri, "productFilename": name, "size": 2880, "obsID": "1", "parent_obsid": "1"}
        return {**listed, "proposal_id": "1093", "dataRights": "PUBLIC", "calib_level": 2, **changed}

    @staticmethod
    def raw(name: str, **changed: Any) -> dict[str, Any]:
        key = f"raw/jw01093/001/001/{name}/i1/{name}"
        named = {"product_name": name, "data_uri": f"mast:JWST/product/{name}"}
        return {
            **named,
            "key": key,
            "uri": f"file:///lake/{key}",
            "sha256": "a" * 64,
            "size_bytes": 2880,
            "ingest_id": "i1",
            "ingested_at": 0,
            **changed,
        }

    @staticmethod
    def product(name: str, **changed: Any) -> dict[str, Any]:
        raw = {key: value for key, value in Chain.raw(name).items() if key in PRODUCTS.schema.names}
        return {**raw, "product_type": "cal", "layout_json": "[]", "calib_level": 2, **changed}

    @staticmethod
    def cards(name: str, **changed: Any) -> list[dict[str, Any]]:
        shared = {"product_name": name, "sha256": "a" * 64, "hdu": 0, "raw": b" " * 80}
        simple = {**shared, "card_index": 0, "keyword": "SIMPLE", "value_bool": True}
        return [simple, {**shared, "card_index": 1, "keyword": "TELESCOP", "value_string": "JWST", **changed}]

    def broken(self, suite: str) -> dict[str, int]:
        read = read_input(suite, PROGRAM, self.lake, self.tables)
        found = run_suite(suite, read.rows, read.counts)
        return {rule.name: rule.unexpected for rule in found.rules if not rule.passed}


@pytest.fixture
def chain(state: Path) -> Chain:
    return Chain()


SUITES = ("mast_observations", "mast_products", "raw_fits_files", "header_cards", "products", "quarantine")


def test_a_program_that_went_well_breaks_no_rule(chain: Chain) -> None:
    assert {suite: chain.broken(suite) for suite in SUITES} == {
        **{suite: {} for suite in SUITES},
        "header_cards": {"files_stamped": 1},
    }


def test_a_program_of_which_nothing_is_known_breaks_the_rules_that_count(chain: Chain) -> None:
    for suite, rule in (
        ("mast_observations", "observations_listed"),
        ("mast_products", "products_listed"),
        ("raw_fits_files", "files_ingested"),
        ("header_cards", "cards_read"),
        ("products", "usable_products"),
    ):
        read = read_input(suite, "09999", chain.lake, chain.tables)
        found = run_suite(suite, read.rows, read.counts)
        assert [broken.name for broken in found.broken("critical")] == [rule]


def test_a_product_of_another_program_and_without_observation_is_seen(chain: Chain) -> None:
    stray = chain.listed(NAMES[1], proposal_id="2739", obsID="9", parent_obsid="9", size=0)
    chain.fill(ARCHIVE_PRODUCTS, [chain.listed(NAMES[0]), stray])
    assert chain.broken("mast_products") == {"products_have_observation": 1, "proposal_agrees": 1, "sizes_positive": 1}


def test_a_listed_file_that_is_nowhere_breaks_the_count_until_it_is_rejected(chain: Chain) -> None:
    chain.fill(RAW_FILES, [chain.raw(NAMES[0])])
    assert chain.broken("raw_fits_files") == {"counts_reconcile": 1}
    chain.refuse(Rejection(NAMES[1], "raw", "http_404", "not there", f"mast:JWST/product/{NAMES[1]}"))
    assert chain.broken("raw_fits_files") == {"few_files_rejected": 1}


def test_an_object_that_is_gone_or_short_is_seen(chain: Chain) -> None:
    chain.lake.delete(chain.raw(NAMES[0])["key"])
    assert chain.broken("raw_fits_files") == {"objects_present": 1}
    chain.fill(RAW_FILES, [chain.raw(name, size_bytes=5760) for name in NAMES])
    assert chain.broken("raw_fits_files") == {"objects_present": 1, "sizes_match_archive": 2}


def test_a_key_that_climbs_out_of_the_layout_is_seen(chain: Chain) -> None:
    chain.fill(RAW_FILES, [chain.raw(NAMES[0]), chain.raw(NAMES[1], key="raw/jw01093/../../x.fits")])
    assert "keys_follow_layout" in chain.broken("raw_fits_files")


def test_a_file_without_cards_and_cards_that_lie_are_seen(chain: Chain) -> None:
    chain.fill(HEADER_CARDS, chain.cards(NAMES[0], keyword="ORIGIN", value_long=3, raw=b" " * 79))
    assert chain.broken("header_cards") == {
        "counts_reconcile": 1,
        "one_value_per_card": 1,
        "raw_card_80_bytes": 1,
        "telescope_named": 1,
        "files_stamped": 1,
    }


def test_a_file_must_be_a_product_or_quarantined_and_not_both(chain: Chain) -> None:
    chain.fill(PRODUCTS, [chain.product(NAMES[0])])
    assert chain.broken("products") == {"counts_reconcile": 1}
    chain.refuse(Rejection(NAMES[1], "catalog", "fits_structure", "it ends early"))
    assert chain.broken("products") == {"few_files_quarantined": 1}
    assert chain.broken("quarantine") == {"nothing_quarantined": 1}
    chain.refuse(Rejection(NAMES[0], "catalog", "fits_structure", "it ends early"))
    assert chain.broken("quarantine") == {"not_catalogued_too": 1, "nothing_quarantined": 1}


def test_a_program_with_nothing_usable_is_stopped(chain: Chain) -> None:
    chain.fill(PRODUCTS, [])
    chain.refuse(*(Rejection(name, "catalog", "fits_structure", "it ends early") for name in NAMES))
    assert chain.broken("products") == {
        "usable_products": 1,
        "quarantined_share_below_limit": 1,
        "few_files_quarantined": 1,
    }


def test_a_refusal_without_words_or_of_an_unknown_file_is_seen(chain: Chain) -> None:
    chain.refuse(Rejection("other.fits", "catalog", "Bad Rule", ""))
    found = {"reasons_given": 1, "rules_named": 1, "files_known": 1, "nothing_quarantined": 1}
    assert chain.broken("quarantine") == found


def test_products_out_of_range_warn_and_stop_nothing(chain: Chain) -> None:
    odd = chain.product(NAMES[1], s_ra=361.0, t_min=2.0, t_max=1.0, em_min=600.0)
    chain.fill(PRODUCTS, [chain.product(NAMES[0]), odd])
    read = read_input("products", PROGRAM, chain.lake, chain.tables)
    found = run_suite("products", read.rows, read.counts)
    assert found.verdict == "warned"
    assert {rule.name for rule in found.broken("warning")} == {
        "coordinates_in_range",
        "times_ordered",
        "wavelengths_in_metres",
    }


def test_an_observation_that_contradicts_itself_is_seen(chain: Chain) -> None:
    """Its position lies off its footprint, it is public before its release, and it lasted longer than it took."""
    odd = {
        "obsid": "1", "obs_id": "jw01093001001", "proposal_id": "1093", "dataRights": "PUBLIC",
        "s_region": "CIRCLE 80.0 -70.0 0.1", "s_ra": 80.0, "s_dec": -60.0, "t_obs_release": 99999.0,
        "t_min": 60000.0, "t_max": 60000.1, "t_exptime": 86400.0,
    }  # fmt: skip
    chain.fill(OBSERVATIONS, [odd])
    found = {"position_in_footprint": 1, "rights_follow_release": 1, "exposure_fits_span": 1}
    assert chain.broken("mast_observations") == found
    chain.fill(OBSERVATIONS, [{**odd, "s_dec": -69.95, "t_obs_release": 60100.0, "t_exptime": 8640.0}])
    assert chain.broken("mast_observations") == {}


def test_a_listing_whose_names_and_levels_contradict_each_other_is_seen(chain: Chain) -> None:
    moved = chain.listed(NAMES[0], dataURI=f"mast:JWST/product/{NAMES[1]}", calib_level=3)
    other = chain.listed("jw02739001001_02101_00001_nrca1_cal.fits")
    chain.fill(ARCHIVE_PRODUCTS, [moved, other])
    found = {"uri_names_file": 1, "name_names_program": 1, "level_fits_suffix": 1}
    assert chain.broken("mast_products") == found


def test_an_executed_observation_without_a_product_is_remarked(chain: Chain) -> None:
    executed = {"obsid": "2", "obs_id": "jw01093002001", "proposal_id": "1093", "dataRights": "PUBLIC"}
    there = {**executed, "obsid": "1", "obs_id": "jw01093001001", "calib_level": 2}
    chain.fill(OBSERVATIONS, [there, {**executed, "calib_level": 2}])
    assert chain.broken("mast_products") == {"observations_have_products": 1}
    chain.fill(OBSERVATIONS, [there, {**executed, "calib_level": -1}])
    assert chain.broken("mast_products") == {}


def test_a_raw_file_under_another_name_program_or_listing_is_seen(chain: Chain) -> None:
    key = f"raw/jw02739/001/001/{NAMES[1]}/i1/other.fits"
    chain.lake.write_new(key, b"x" * 2880)
    moved = chain.raw(NAMES[1], key=key, data_uri="mast:JWST/product/gone.fits")
    chain.fill(RAW_FILES, [chain.raw(NAMES[0]), moved])
    assert chain.broken("raw_fits_files") == {
        "counts_reconcile": 1,
        "name_agrees_with_uri": 1,
        "key_names_program": 1,
        "key_names_file": 1,
        "listed_now": 1,
    }


def test_damaged_cards_and_files_without_a_primary_header_are_seen(chain: Chain) -> None:
    good, bad = chain.cards(NAMES[0]), chain.cards(NAMES[1], damaged=True)
    chain.fill(HEADER_CARDS, [*good, *bad])
    assert chain.broken("header_cards") == {"cards_undamaged": 1, "files_stamped": 1}
    chain.fill(HEADER_CARDS, [*good, *({**card, "hdu": 1} for card in chain.cards(NAMES[1]))])
    found = {"primary_first": 1, "starts_with_simple": 1, "telescope_named": 1, "files_stamped": 1}
    assert chain.broken("header_cards") == found


def test_products_that_the_archive_lists_otherwise_are_seen(chain: Chain) -> None:
    chain.fill(ARCHIVE_PRODUCTS, [chain.listed(name, obs_id="jw01093001001") for name in NAMES])
    observed = {"obsid": "1", "obs_id": "jw01093001001", "proposal_id": "1093", "dataRights": "PUBLIC"}
    chain.fill(OBSERVATIONS, [{**observed, "t_min": 60000.0}])
    good = chain.product(NAMES[0], obs_id="jw01093001001", t_min=60000.5)
    chain.fill(PRODUCTS, [good, chain.product(NAMES[1], obs_id="jw01093009009", calib_level=3, t_min=60003.0)])
    found = {"archive_names_agree": 1, "archive_levels_agree": 1, "archive_times_agree": 1}
    assert chain.broken("products") == found


def test_what_files_break_is_told_by_group_with_rule_and_reason(chain: Chain) -> None:
    said = [
        {"rule": "footprint_wcs", "severity": "warn", "reason": "12 arcsec apart"},
        {"rule": "a_rule_of_old", "severity": "warn", "reason": "gone since"},
    ]
    chain.fill(PRODUCTS, [chain.product(NAMES[0]), chain.product(NAMES[1], warnings=json.dumps(said))])
    assert chain.broken("products") == {"files_keep_sky": 1, "files_keep_identity": 1}
    read = read_input("products", PROGRAM, chain.lake, chain.tables)
    assert read.rows["against_sky"].to_pylist()[1] == "footprint_wcs: 12 arcsec apart"
