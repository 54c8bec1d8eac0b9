"""Rows of product lists: which of them are files of ours, and one row for each file.

Holds: the choice of FITS science products and :func:`unique_products`. Keep out asking for the lists
(``client``) and keeping them (``listing``).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from hwosim_assets.archive.schema import PRODUCT_COLUMNS

__all__ = ["is_fits_science", "unique_products"]

_ENDINGS = ("fits", "fits.gz", "fits.fz")


def is_fits_science(row: Mapping[str, Any]) -> bool:
    """Tell whether a row lists a science product in FITS form that can be downloaded."""
    name = str(row.get("productFilename") or "").lower()
    return row.get("productType") == "SCIENCE" and bool(row.get("dataURI")) and name.endswith(_ENDINGS)


def unique_products(rows: Iterable[Mapping[str, Any]]) -> tuple[list[dict[str, Any]], list[str]]:
    """Return each file once, in order of ``dataURI``, and the files that are listed with several sizes.

    Parameters
    ----------
    rows : iterable of mapping
        Product rows; MAST repeats a file under every parent. The row of its own observation stands.

    Returns
    -------
    rows : list of dict
        In the columns of :data:`~hwosim_assets.archive.schema.PRODUCT_COLUMNS`. Where rows of one file
        disagree about its size it is ``None``: the reply to the download decides.
    contradicting : list of str
        ``dataURI`` of those.
    """
    best: dict[str, Mapping[str, Any]] = {}
    sizes: dict[str, set[Any]] = {}
    for row in rows:
        uri = str(row["dataURI"])
        if row.get("size") is not None:
            sizes.setdefault(uri, set()).add(row["size"])
        if uri not in best or _preference(row) < _preference(best[uri]):
            best[uri] = row
    contradicting = sorted(uri for uri, said in sizes.items() if len(said) > 1)
    doubtful = set(contradicting)
    return [
        {name: best[uri].get(name) for name in PRODUCT_COLUMNS} | ({"size": None} if uri in doubtful else {})
        for uri in sorted(best)
    ], contradicting


def _preference(row: Mapping[str, Any]) -> tuple[bool, str]:
    """Order the rows of one file: its own observation first, then the lowest parent."""
    return row.get("obsID") != row.get("parent_obsid"), str(row.get("parent_obsid"))
