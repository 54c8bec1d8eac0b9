"""What every asset says of itself, whatever its stage: owner, columns and where they come from, links to its code.

Holds: :func:`described`, which completes the assets of a location. Keep out what only one asset can say (its
description, kinds and code version stand with it), what a materialization says (``metadata``) and the
declarations between columns (``column_lineage``).
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from importlib.metadata import metadata as package_metadata
from pathlib import Path
from typing import Any

import dagster as dg

from hwosim_assets.column_lineage import Columns, column_lineage
from hwosim_assets.metadata import column_schema

__all__ = ["OWNERS", "code_references", "described"]

#: Who answers for the assets; Dagster shows it on every page.
OWNERS = ("team:hwosim",)
_CODE = "dagster/code_references"
_ROOT = Path(__file__).resolve().parents[1]


def described(assets: Sequence[dg.AssetsDefinition | dg.AssetSpec], tables: Mapping[str, Columns]) -> list[Any]:
    """Complete the assets of a location.

    Parameters
    ----------
    assets : sequence of AssetsDefinition or AssetSpec
        As they stand in the modules of their stages.
    tables : mapping of str to Columns
        The table of each asset that has one, by the asset's name or by its group.

    Returns
    -------
    list of AssetsDefinition or AssetSpec
        The same with owners, links to the code on this machine and in the repository, and for tables the
        column schema and lineage.
    """
    with warnings.catch_warnings():  # beta: pinned, and tested here
        warnings.simplefilter("ignore", dg.BetaWarning)
        linked = dg.with_source_code_references(assets)
    return list(dg.map_asset_specs(lambda spec: _described(spec, tables), linked))  # type: ignore[arg-type]


def _described(spec: dg.AssetSpec, tables: Mapping[str, Columns]) -> dg.AssetSpec:
    said: dict[str, Any] = {}
    found = spec.metadata.get(_CODE)
    if isinstance(found, dg.CodeReferencesMetadataValue):
        here = [place for place in found.code_references if isinstance(place, dg.LocalFileCodeReference)]
        said[_CODE] = code_references(*((place.file_path, place.line_number) for place in here))
    columns = tables.get(spec.key.to_user_string()) or tables.get(spec.key.path[0])
    if columns is not None:
        said["dagster/table_name"] = f"hwosim.{columns.spec.name}"
        said["dagster/column_schema"] = column_schema(columns.spec)
        said["dagster/column_lineage"] = column_lineage(columns, spec.key.path[-1])
    return spec.merge_attributes(metadata=said, owners=list(OWNERS))


def code_references(*places: tuple[str, int | None]) -> dg.CodeReferencesMetadataValue:
    """Return links to places of our code: the file on this machine, and the same lines in the repository.

    Parameters
    ----------
    places : tuple of str and int
        Path of a file of this checkout or installation, and a line, ``None`` for its beginning.
    """
    links: list[dg.LocalFileCodeReference | dg.UrlCodeReference] = []
    with warnings.catch_warnings():  # beta: pinned, and tested here
        warnings.simplefilter("ignore", dg.BetaWarning)
        for file, line in places:
            path = Path(file).resolve()
            links.append(dg.LocalFileCodeReference(file_path=str(path), line_number=line))
            if path.is_relative_to(_ROOT):
                url = f"{_repository()}/blob/main/{path.relative_to(_ROOT).as_posix()}{f'#L{line}' if line else ''}"
                links.append(dg.UrlCodeReference(url=url, label="in the repository"))
        return dg.CodeReferencesMetadataValue(code_references=links)


def _repository() -> str:
    """Return the address of the repository, as the package's metadata say it."""
    urls: dict[str, str] = dict(
        entry.split(", ", 1) for entry in package_metadata("hwosim-platform").get_all("Project-URL") or []
    )
    return urls["Documentation"].partition("/tree/")[0]
