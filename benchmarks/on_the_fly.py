"""What perturbing on the fly adds between the lake and the stream, on products of 117 MB.

Holds: the run. It prints and asserts nothing. The same generated ``cal`` products of seven planes (2048 x 2048) are
published with their perturbed files stored and with ``store: none``, at the rate of the schedule. Of the latter the row
of the publication says what it would say of any: what perturbing took a product, from its bytes read to those that are
published, and how long the stream stood still for one. Lateness is sent minus due, of both, so that one run compares.

    python -m benchmarks.on_the_fly
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import pyarrow as pa

from benchmarks.brokers import PROGRAM, broker
from benchmarks.perturb import product_file
from hwosim_assets.catalog.products import PRODUCTS, product_row
from hwosim_assets.fits.describe import describe
from hwosim_assets.lake.layout import raw_key
from hwosim_assets.lake.store import Lake
from hwosim_assets.lake.tables import Tables
from hwosim_assets.perturb.dataset import perturb_program
from hwosim_assets.perturb.product import Product
from hwosim_assets.perturb.scenario import Scenario, load_scenario
from hwosim_assets.settings import Settings
from hwosim_streaming.pace import read_pace
from hwosim_streaming.publication import publish_program

#: Messages a second: a product has 129, and lasts 2.6 s.
RATE = 50.0


def main() -> int:
    """Publish both ways and print a line of each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--products", type=int, default=8)
    parser.add_argument("--scenario", default="nominal_l2")
    parser.add_argument("--rate", type=float, default=RATE)
    asked = parser.parse_args()
    with broker() as found, tempfile.TemporaryDirectory(prefix="hwosim-bench-") as folder:
        settings = Settings(  # type: ignore[call-arg]
            DAGSTER_HOME=Path(folder), HWOSIM_KAFKA_BOOTSTRAP_SERVERS=found.config["bootstrap.servers"]
        )
        lake, tables = Lake.from_settings(settings), Tables.from_settings(settings)
        _catalogue(lake, tables, asked.products)
        print(
            f"{found.name}; {asked.products} products of 117 MB under {asked.scenario}, {asked.rate:g} messages/s; ms"
        )
        for store in ("files", "none"):
            content = load_scenario(asked.scenario).content
            schedule = content.schedule.model_copy(update={"rate_per_s": asked.rate})
            content = content.model_copy(update={"store": store, "schedule": schedule})
            scenario = Scenario(f"bench_{store}", content)
            perturb_program(PROGRAM, scenario, lake, tables)
            row = publish_program(PROGRAM, scenario, lake, tables, settings).row
            pace = read_pace(lake, row["receipt_key"]).figures()
            took = "perturbed {perturbed:>3}  took p50 {perturb_p50_ms:>6.0f} p95 {perturb_p95_ms:>6.0f}".format_map(
                {name: value or 0 for name, value in row.items()}
            )
            waited = f"waited p95 {row['waited_p95_ms'] or 0:>6.0f}"
            late = f"late p50 {pace['late p50 ms']:>6.1f} p99 {row['late_p99_ms']:>6.1f} most {pace['latest ms']:>6.1f}"
            print(f"store: {store:<6} {took}  {waited}  {late}  verified {row['verified']}", flush=True)
    return 0


def _catalogue(lake: Lake, tables: Tables, count: int) -> None:
    """Put products into the lake and the catalog."""
    with tempfile.TemporaryDirectory(prefix="hwosim-bench-") as folder:
        path = Path(folder) / "x_cal.fits"
        product_file(path)
        content = path.read_bytes()
    rows = []
    for number in range(count):
        product = Product(f"jw{PROGRAM}001001_02101_{number + 1:05d}_nrca1_cal.fits", content)
        key = raw_key(product.name, PROGRAM, f"ingest{number}")
        lake.write_new(key, content)
        raw = {
            "program": PROGRAM, "product_name": product.name, "sha256": product.sha256, "size_bytes": len(content),
            "key": key, "uri": lake.uri_of(key), "data_uri": f"mast:JWST/product/{product.name}",
        }  # fmt: skip
        rows.append(product_row(raw, describe(content, product.name), []))
    tables.replace(PRODUCTS, {"program": PROGRAM}, pa.Table.from_pylist(rows, schema=PRODUCTS.schema))


if __name__ == "__main__":
    raise SystemExit(main())
