"""Rows of an archive as rows of the tables."""

from __future__ import annotations

import subprocess
import sys

import pytest

from hwosim_assets.archive.client import ArchiveClient
from hwosim_assets.archive.schema import ARCHIVE_PRODUCTS, OBSERVATIONS, observation_rows, product_rows
from hwosim_assets.errors import BadInputError


def test_rows_have_the_closed_schema(client: ArchiveClient) -> None:
    observations = client.observations(program="01979")
    table = observation_rows("1979", [*reversed(observations)])
    assert table.schema == OBSERVATIONS.schema
    assert table["obsid"].to_pylist() == sorted(row["obsid"] for row in observations)
    assert set(table["program"].to_pylist()) == {"01979"}
    products = product_rows(1979, client.products(table.to_pylist()))
    assert products.schema == ARCHIVE_PRODUCTS.schema
    assert products.num_rows == 4
    assert len(OBSERVATIONS.schema) == 34
    assert len(ARCHIVE_PRODUCTS.schema) == 21


def test_asking_twice_gives_the_same_rows(client: ArchiveClient) -> None:
    asked = [observation_rows("01979", client.observations(program="01979")) for _ in range(2)]
    assert asked[0] == asked[1]


def test_rows_that_do_not_fit() -> None:
    assert observation_rows("1979", []).num_rows == 0
    assert observation_rows("1979", [{"obsid": "1", "further": 3}]).num_rows == 1
    with pytest.raises(BadInputError, match="have no obsid"):
        observation_rows("1979", [{"obs_id": "x"}])
    with pytest.raises(BadInputError, match="do not fit the table archive_products"):
        product_rows("1979", [{"dataURI": "mast:x", "size": "large"}])
    with pytest.raises(BadInputError, match="not a JWST program"):
        observation_rows("19790000", [])


def test_the_schema_is_light_to_import() -> None:
    """It is imported when the Dagster definitions load."""
    heavy = "astropy", "astroquery", "httpx", "starlette", "dagster"
    code = f"import sys, hwosim_assets.archive.schema; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
