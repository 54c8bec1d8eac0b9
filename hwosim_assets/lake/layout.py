"""Where an object of the lake lies: every key is made here.

Holds: one function for each kind of object. Keep out what the objects contain. All keys are
relative, made of checked parts, and free for a new writer: each ends in an ingest id, a content
hash or the hash of a plan.

=====================================================  ==============================================
``raw/jw01093/012/001/…/<file>/<ingest id>/<file>``    as the archive gave it, under the mission's hierarchy
``raw/jw00000/other/<file>/<ingest id>/<file>``        files whose name follows no JWST scheme
``delivered/ab/<sha256>/<file>``                       what a stream points at
``truth/<scenario>/jw01093/<plan>/<file>``             masks and other arrays that truth records refer to
``plans/<scenario>/jw01093/<plan>.parquet``            messages and due times of a publication
``receipts/<scenario>/jw01093/<plan>/<attempt>.…``     what was published and what came back
``reports/<asset>/jw01093/<report>.html``              quality reports
``changes/jw01093/<file>/<before>-<after>.json``       what reprocessing changed in a file
``baskets/<name>/<sha256>.parquet``                    what a saved search found
``promotions/jw01093/<promotion>/<table>.parquet``     the rows that a promotion replaced
=====================================================  ==============================================
"""

from __future__ import annotations

import re

from hwosim_assets.errors import BadInputError
from hwosim_assets.fits.names import parse_name, program_key, safe_file_name

__all__ = [
    "FOLDERS",
    "basket_key",
    "changes_key",
    "delivered_key",
    "plan_key",
    "promotion_key",
    "raw_key",
    "receipt_key",
    "report_key",
    "truth_key",
]

#: The first parts of all keys.
FOLDERS = frozenset(
    {"raw", "delivered", "truth", "plans", "receipts", "reports", "changes", "baskets", "promotions", "tables"}
)
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._=-]{0,127}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


def raw_key(name: str, program: str, ingest_id: str) -> str:
    """Return the key of a file as the archive gave it.

    Parameters
    ----------
    name : str
        Archive file name. A JWST name places the file; any other lies under ``other`` of its program.
    program : str
        Five-digit program, used for names that say none.
    ingest_id : str
        Which ingest of this file it is; a changed file gets a new one and the old object stays.

    Returns
    -------
    str
        ``raw/<hierarchy>/<file>/<ingest id>/<file>``.

    Raises
    ------
    BadInputError
        If the name is not a plain file name or the program not a number.
    """
    file = safe_file_name(name)
    parsed = parse_name(file)
    hierarchy = parsed.hierarchy if parsed is not None else (f"jw{program_key(program)}", "other")
    return "/".join(("raw", *hierarchy, file, _plain(ingest_id), file))


def delivered_key(sha256: str, file_name: str) -> str:
    """Return the key of a delivered product: by content, since a claim-check path must not say what was done to it."""
    digest = _sha256(sha256)
    return f"delivered/{digest[:2]}/{digest}/{safe_file_name(file_name)}"


def truth_key(program: str, scenario: str, plan_sha256: str, file_name: str) -> str:
    """Return the key of the arrays beside the truth of one product (``<product>.npz`` for example)."""
    return f"truth/{_folder(program, scenario)}/{_sha256(plan_sha256)}/{safe_file_name(file_name)}"


def plan_key(program: str, scenario: str, plan_sha256: str, suffix: str = "parquet") -> str:
    """Return the key of a stream plan."""
    return f"plans/{_folder(program, scenario)}/{_sha256(plan_sha256)}.{_plain(suffix)}"


def receipt_key(program: str, scenario: str, plan_sha256: str, attempt: str, suffix: str = "parquet") -> str:
    """Return the key of a publication's receipt; a plan may be published again to a broker that forgot it."""
    return f"receipts/{_folder(program, scenario)}/{_sha256(plan_sha256)}/{_plain(attempt)}.{_plain(suffix)}"


def report_key(asset: str, program: str, report_id: str, suffix: str = "html") -> str:
    """Return the key of a quality report of an asset, given by its name with slashes (``catalog/products``)."""
    parts = "/".join(_plain(part) for part in asset.split("/"))
    return f"reports/{parts}/jw{program_key(program)}/{_plain(report_id)}.{_plain(suffix)}"


def changes_key(program: str, file_name: str, before: str, after: str) -> str:
    """Return the key of the report on what differs between two versions of a file, given their content hashes."""
    versions = f"{_sha256(before)[:16]}-{_sha256(after)[:16]}"
    return f"changes/jw{program_key(program)}/{safe_file_name(file_name)}/{versions}.json"


def basket_key(name: str, sha256: str) -> str:
    """Return the key of what a saved search found, by content: finding the same again needs no further object."""
    return f"baskets/{_plain(name)}/{_sha256(sha256)}.parquet"


def promotion_key(program: str, promotion: str, table: str) -> str:
    """Return the key of the rows of a table that a promotion of a program replaced."""
    return f"promotions/jw{program_key(program)}/{_plain(promotion)}/{_plain(table)}.parquet"


def _folder(program: str, scenario: str) -> str:
    return f"{_plain(scenario)}/jw{program_key(program)}"


def _plain(part: str) -> str:
    if not _PLAIN.fullmatch(part) or ".." in part:
        raise BadInputError(
            f"name {part[:100]!r}", "cannot be part of a lake key", "use letters, digits, '.', '_', '-'"
        )
    return part


def _sha256(digest: str) -> str:
    if not _SHA256.fullmatch(digest):
        raise BadInputError(f"hash {digest[:100]!r}", "is not a SHA-256 in lower-case hex", "pass the full digest")
    return digest
