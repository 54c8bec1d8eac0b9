"""No asset keeps to itself what it is, whose, where it lives, what made it, and which columns came from which."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path

import dagster as dg
import pytest

from hwosim_assets.column_lineage import ASSETS_COLUMNS, Columns
from hwosim_streaming.assets import STREAM_COLUMNS

DECLARED = {**ASSETS_COLUMNS, **STREAM_COLUMNS}


@cache
def specs() -> dict[str, dg.AssetSpec]:
    from hwosim_assets.definitions import build_defs as assets
    from hwosim_streaming.definitions import build_defs as streaming

    # The second location knows the keys of the first, and nothing else of them.
    found = [spec for part in (streaming(), assets()) for spec in part.resolve_all_asset_specs()]
    return {spec.key.to_user_string(): spec for spec in found}


def columns_of(name: str) -> Columns | None:
    return DECLARED.get(name) or DECLARED.get(name.split("/", 1)[0])


def sources_of(name: str) -> dict[str, list[tuple[str, str]]]:
    """Return asset and column that each column of an asset was made from, as Dagster has it."""
    lineage = specs()[name].metadata["dagster/column_lineage"]
    assert isinstance(lineage, dg.TableColumnLineage)
    return {
        column: [(source.asset_key.to_user_string(), source.column_name) for source in sources]
        for column, sources in lineage.deps_by_column.items()
    }


def made() -> Iterator[tuple[str, dg.AssetSpec]]:
    """Yield the assets that this graph makes: the topics are others'."""
    yield from ((name, spec) for name, spec in specs().items() if not name.startswith("kafka/"))


def test_every_asset_says_whose_it_is_where_it_belongs_and_what_it_is() -> None:
    assert len(specs()) > 30
    for name, spec in specs().items():
        assert spec.owners == ["team:hwosim"], name
        assert spec.kinds, name
        assert spec.group_name == name.split("/", 1)[0], name
        assert spec.description, name


def test_every_asset_that_is_made_here_has_a_code_version_and_says_where_it_lives_and_what_passed_means() -> None:
    for name, spec in made():
        assert spec.code_version, name
        said = " ".join((spec.description or "").split())
        assert any(word in said for word in ("Lies in", "lie in the lake", "lie in the Iceberg table")), name
        assert "Passed means:" in said, name
        if columns_of(name) is not None:
            assert "Iceberg table" in said, name


def test_every_asset_leads_to_its_code_here_and_in_the_repository() -> None:
    for name, spec in specs().items():
        found = spec.metadata["dagster/code_references"]
        assert isinstance(found, dg.CodeReferencesMetadataValue), name
        [here] = [place for place in found.code_references if isinstance(place, dg.LocalFileCodeReference)]
        [there] = [place for place in found.code_references if isinstance(place, dg.UrlCodeReference)]
        assert Path(here.file_path).is_file(), name
        assert there.url.startswith("https://"), name
        assert (
            f"/blob/main/hwosim_{'streaming' if name.split('/')[0] in ('stream', 'kafka', 'report') else 'assets'}/"
            in there.url
        )
        lines = Path(here.file_path).read_text().splitlines()
        assert here.line_number is None or here.line_number <= len(lines), name


def test_every_table_says_its_columns_and_what_each_was_made_from() -> None:
    tables = [name for name, _ in made() if columns_of(name) is not None]
    assert {name for name, _ in made()} - set(tables) == {"report/data_quality"}
    for name in tables:
        spec, columns = specs()[name], columns_of(name)
        assert columns is not None
        assert spec.metadata["dagster/table_name"] == f"hwosim.{columns.spec.name}"
        schema = spec.metadata["dagster/column_schema"]
        assert isinstance(schema, dg.TableSchema)
        assert [column.name for column in schema.columns] == columns.spec.schema.names, name
        assert set(sources_of(name)) == set(columns.spec.schema.names), name


def _above(name: str) -> set[str]:
    found: set[str] = set()
    for dep in specs()[name].deps:
        above = dep.asset_key.to_user_string()
        found |= {above} | _above(above)
    return found


def test_columns_are_made_from_columns_that_exist_in_assets_upstream() -> None:
    looked_at = 0
    for name, _ in made():
        if columns_of(name) is None:
            continue
        upstream = _above(name)
        for column, sources in sources_of(name).items():
            for asset, above in sources:
                assert asset in upstream, (name, column, asset)
                known = columns_of(asset)
                assert known is not None, (name, column, asset)
                assert above in known.spec.schema.names, (name, column, asset, above)
                looked_at += 1
    assert looked_at > 500


@pytest.mark.parametrize("name", sorted(set(DECLARED) - {"mast/observations"}))
def test_most_columns_have_a_source_and_all_that_are_declared_exist(name: str) -> None:
    columns = DECLARED[name]
    declared = {*columns.made, *(column for copied in columns.copied.values() for column in copied)}
    assert declared <= set(columns.spec.schema.names)
    assert not set(columns.made) & {column for copied in columns.copied.values() for column in copied}
    with_source = [column for column, sources in columns.sources().items() if sources]
    assert len(with_source) > len(columns.spec.schema.names) / 2


def test_the_lineage_of_a_perturbed_product_goes_back_to_the_archives_address() -> None:
    """Walk in the graph of columns from the delivered file's hash."""
    reached: set[tuple[str, str]] = set()
    todo = [("perturbed/clean", "out_sha256")]
    while todo:
        at = todo.pop()
        if at in reached:
            continue
        reached.add(at)
        todo += sources_of(at[0])[at[1]]
    assert {("catalog/products", "key"), ("raw/fits_files", "key"), ("mast/products", "productFilename")} <= reached
    assert ("mast/observations", "obsid") in reached
