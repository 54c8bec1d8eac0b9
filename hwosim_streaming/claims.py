"""Claim checks: from a message about a product to the product's file.

Holds: :func:`fetch`. Keep out where files lie in the lake (``hwosim_assets.lake``).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from hwosim_assets.errors import BadInputError

if TYPE_CHECKING:
    from hwosim_assets.lake.store import Lake

__all__ = ["fetch"]


def fetch(record: Mapping[str, Any], lake: Lake) -> bytes:
    """Return the file that a product message speaks of.

    Parameters
    ----------
    record : mapping
        Record of a message of ``hwosim.products.v1``.
    lake : Lake
        The lake of the installation that published it.

    Raises
    ------
    BadInputError
        If the file is kept nowhere, lies in another lake, or is not the one that was announced.
    HwosimError
        If the lake cannot be read.
    """
    name, uri = str(record["product"]), record["uri"]
    if uri is None:
        raise BadInputError(name, "is kept nowhere (its scenario says store: none)", "read its frames instead")
    content = lake.read(lake.key_of(uri))
    if len(content) != record["size_bytes"] or hashlib.sha256(content).hexdigest() != record["sha256"]:
        raise BadInputError(name, f"at {uri} is not the file that was announced", "run hwosim lake verify there")
    return content
