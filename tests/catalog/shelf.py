"""An archive's products as rows of the tables, put there without files, for tests of what searches find."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa

from hwosim_assets.archive.schema import ARCHIVE_PRODUCTS
from hwosim_assets.catalog.products import PRODUCTS
from hwosim_assets.lake.ingest import RAW_FILES
from hwosim_assets.lake.store import Lake
from hwosim_assets.lake.tables import Tables
from hwosim_assets.lake.versions import record_versions


def name_of(program: str, observation: str, exposure: int = 1) -> str:
    return f"jw{program}{observation}001_03102_{exposure:05d}_nis_cal.fits"


def uri_of(name: str) -> str:
    return f"mast:JWST/product/{name}"


@dataclass
class Shelf:
    """What the lake holds: content and rights by product name."""

    home: Path
    products: dict[str, tuple[str, str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.lake = Lake((self.home / "lake").as_uri())
        self.tables = Tables(f"sqlite:///{self.home / 'catalog.db'}", (self.home / "lake/tables").as_uri())

    def put(self, *names: str, content: str = "1.17.1", rights: str = "PUBLIC") -> None:
        """Bring products into the lake, or replace them; the content is their CAL_VER as well."""
        for name in names:
            self.products[name] = (content, rights)
        self.write({name[2:7] for name in names})

    def drop(self, name: str) -> None:
        del self.products[name]
        self.write({name[2:7]})

    def write(self, programs: set[str]) -> None:
        for program in programs:
            rows = [self._row(name) for name in sorted(self.products) if name[2:7] == program]
            listed = [
                {"program": program, "dataURI": row["data_uri"], "dataRights": self.products[row["product_name"]][1]}
                for row in rows
            ]
            for spec, some in ((ARCHIVE_PRODUCTS, listed), (RAW_FILES, rows), (PRODUCTS, rows)):
                kept = [{key: value for key, value in row.items() if key in spec.schema.names} for row in some]
                self.tables.replace(spec, {"program": program}, pa.Table.from_pylist(kept, schema=spec.schema))
            record_versions(program, self.tables, lambda _key: (None, None))

    def _row(self, name: str) -> dict[str, Any]:
        content = f"{name} {self.products[name][0]}".encode()
        digest = hashlib.sha256(content).hexdigest()
        key = f"raw/{name}/{digest[:16]}/{name}"
        if self.lake.head(key) is None:
            self.lake.write_new(key, content)
        return {
            "program": name[2:7], "product_name": name, "sha256": digest, "size_bytes": len(content), "key": key,
            "uri": self.lake.uri_of(key), "data_uri": uri_of(name), "product_type": "cal", "layout_json": "[]",
            "extractor_version": 1, "kw_observtn": name[7:10], "kw_cal_ver": self.products[name][0],
            "instrument_name": "NIRISS/IMAGE", "ingest_id": digest[:16], "ingested_at": datetime.now(UTC),
        }  # fmt: skip
