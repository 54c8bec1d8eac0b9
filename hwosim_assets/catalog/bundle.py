"""Handing out what a search found: a ZIP, a cURL script, a manifest with checksums.

Holds: :func:`entries` (what is in a bundle, and what may not be handed out), :func:`manifest`,
:func:`curl_script` and :func:`write_zip`. Keep out searching (``catalog.search``).

Names from archives and headers end up in paths and in a shell script: a name that is no plain file
name is refused, every word of the script is quoted.
"""

from __future__ import annotations

import json
import shlex
import zipfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from hwosim_assets.errors import HwosimError
from hwosim_assets.fits.names import safe_file_name

if TYPE_CHECKING:
    import pyarrow as pa

    from hwosim_assets.lake.store import Lake
    from hwosim_assets.lake.tables import Tables

__all__ = ["Entry", "curl_script", "entries", "manifest", "write_zip"]

#: Columns of the products table that a bundle needs.
COLUMNS = ["program", "product_name", "sha256", "size_bytes", "key", "uri", "data_uri", "kw_cal_ver", "kw_crds_ctx"]
#: Bytes of a file in memory at once.
PIECE = 8 * 1024 * 1024
#: Every entry of a ZIP gets this time, so that the same bundle has the same bytes.
EPOCH = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True)
class Entry:
    """One product of a bundle.

    Attributes
    ----------
    path : str
        Program and file name, with a slash.
    sha256, size : str, int
        Of the file.
    key, data_uri : str
        In the lake and in the archive.
    rights : str
        ``PUBLIC``, ``EXCLUSIVE_ACCESS``, ``RESTRICTED``, or ``UNKNOWN`` where the archive said nothing.
    facts : dict
        What else the manifest says.
    """

    path: str
    sha256: str
    size: int
    key: str
    data_uri: str
    rights: str
    facts: dict[str, Any]

    @property
    def is_public(self) -> bool:
        """Whether everybody may have it."""
        return self.rights == "PUBLIC"


def entries(rows: pa.Table, tables: Tables) -> list[Entry]:
    """Return what a search found as entries of a bundle, with the archive's rights.

    Parameters
    ----------
    rows : pyarrow.Table
        Columns :data:`COLUMNS` of the products table.
    tables : Tables
        Where the archive's product lists are.

    Raises
    ------
    BadInputError
        If a product's name is no plain file name.
    """
    from hwosim_assets.archive.schema import ARCHIVE_PRODUCTS

    rights: dict[str, str] = {}
    for program in sorted(set(rows["program"].to_pylist())):
        listed = tables.scan(ARCHIVE_PRODUCTS, {"program": program}, ["dataURI", "dataRights"])
        rights |= {row["dataURI"]: (row["dataRights"] or "UNKNOWN").upper() for row in listed.to_pylist()}
    return [
        Entry(
            path=f"{row['program']}/{safe_file_name(row['product_name'])}",
            sha256=row["sha256"],
            size=row["size_bytes"],
            key=row["key"],
            data_uri=row["data_uri"],
            rights=rights.get(row["data_uri"], "UNKNOWN"),
            facts={"uri": row["uri"], "cal_ver": row["kw_cal_ver"], "crds_ctx": row["kw_crds_ctx"]},
        )
        for row in rows.to_pylist()
    ]


def manifest(bundle: Iterable[Entry], withheld: Iterable[Entry]) -> dict[str, Any]:
    """Return what is in a bundle and what is not handed out, for ``manifest.json``."""

    def told(entry: Entry) -> dict[str, Any]:
        same = {"path": entry.path, "size_bytes": entry.size, "sha256": entry.sha256, "data_rights": entry.rights}
        return {**same, "data_uri": entry.data_uri, **entry.facts}

    return {"files": [told(entry) for entry in bundle], "withheld": [told(entry) for entry in withheld]}


def curl_script(bundle: Iterable[Entry], archive_url: str) -> str:
    """Return a shell script that downloads a bundle from the archive.

    It goes on where it stopped: a file that is there with the right checksum is left alone, a part of one
    is continued. The token is taken from the environment of who runs it.

    Parameters
    ----------
    bundle : iterable of Entry
        What to download.
    archive_url : str
        The archive; a user and password in it stay here, since the script is handed out.
    """
    parts = urlsplit(archive_url)
    archive_url = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
    lines = [
        "#!/bin/sh",
        "# Downloads JWST products. Run it again to go on where it stopped; MAST_API_TOKEN is used where it is set.",
        "set -u",
        "failed=0",
        "get() {  # path, sha256, address",
        '  echo "$2  $1" | sha256sum --check --status 2>/dev/null && return',
        '  mkdir -p "$(dirname "$1")"',
        '  if [ -n "${MAST_API_TOKEN:-}" ]; then set -- "$1" "$2" "$3" -H "Authorization: token $MAST_API_TOKEN"; fi',
        "  path=$1 sum=$2 address=$3; shift 3",
        '  if curl --fail --location --retry 5 --continue-at - --output "$path.part" "$@" "$address"; then',
        '    echo "$sum  $path.part" | sha256sum --check --status && mv "$path.part" "$path" && return',
        '    rm -f "$path.part"  # whole, but not what was asked for: the next run begins anew',
        "  fi",
        '  echo "failed: $path" >&2',
        "  failed=1",
        "}",
    ]
    for entry in bundle:
        address = f"{archive_url}/api/v0.1/Download/file?uri={quote(entry.data_uri, safe=':/')}"
        lines.append(f"get {shlex.quote(entry.path)} {entry.sha256} {shlex.quote(address)}")
    return "\n".join([*lines, "exit $failed", ""])


def write_zip(
    path: Path, bundle: list[Entry], withheld: list[Entry], lake: Lake, on_file: Callable[[str], None] | None = None
) -> None:
    """Write a bundle as a ZIP of stored files, with ``manifest.json`` and ``SHA256SUMS``; whole or not at all.

    Parameters
    ----------
    path : pathlib.Path
        Where to; replaced if it is there.
    bundle, withheld : list of Entry
        What goes in, and what the manifest only names.
    lake : Lake
        Where the files lie.
    on_file : callable, optional
        Called with the path of each file that is in.

    Raises
    ------
    HwosimError
        If the lake lost a file or has other bytes, or the ZIP cannot be written.
    """
    part = path.with_name(path.name + ".part")
    try:
        with zipfile.ZipFile(part, "w", zipfile.ZIP_STORED, allowZip64=True) as target:
            for entry in bundle:
                _copy(entry, lake, target)
                if on_file is not None:
                    on_file(entry.path)
            _note(target, "SHA256SUMS", "".join(f"{entry.sha256}  {entry.path}\n" for entry in bundle))
            _note(target, "manifest.json", json.dumps(manifest(bundle, withheld), indent=2))
        part.replace(path)
    except OSError as error:
        reason = f"cannot be written ({error.strerror or error})"
        raise HwosimError(f"file {path}", reason, "free space there, or choose another place") from error
    finally:
        part.unlink(missing_ok=True)


def _copy(entry: Entry, lake: Lake, target: zipfile.ZipFile) -> None:
    import hashlib

    digest = hashlib.sha256()
    header = zipfile.ZipInfo(entry.path, EPOCH)
    header.file_size = entry.size
    with target.open(header, "w", force_zip64=entry.size > 2**31 - 1) as file:
        for start in range(0, entry.size, PIECE):
            piece = lake.read_range(entry.key, start, min(PIECE, entry.size - start))
            digest.update(piece)
            file.write(piece)
    if digest.hexdigest() != entry.sha256:
        raise HwosimError(entry.path, "is not what was stored", "fetch it again: hwosim lake verify --mend")


def _note(target: zipfile.ZipFile, name: str, text: str) -> None:
    target.writestr(zipfile.ZipInfo(name, EPOCH), text)
