"""A small program as the streaming modules see it: FITS files in a lake, manifest and truth rows."""

from __future__ import annotations

import hashlib
import io
import json
from contextlib import closing
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from astropy.io import fits

from hwosim_assets.errors import BackendAbsentError
from hwosim_assets.fits.describe import describe
from hwosim_assets.fits.hdus import layout
from hwosim_assets.lake.layout import delivered_key
from hwosim_assets.lake.store import Lake
from hwosim_assets.perturb.scenario import Scenario
from hwosim_streaming.clients import low_offsets, read_between
from hwosim_streaming.sink import KafkaSink, Outgoing
from hwosim_streaming.topics import Topics

PROGRAM = "01093"


def scenario(**sections: Any) -> Scenario:
    """A scenario of these sections that streams fast."""
    content = {"version": 1, "schedule": {"mode": "constant", "rate_per_s": 1e6}, **sections}
    return Scenario.from_mapping("windy", content)


FAULTY = {"loss": {"severity": 5}, "duplicate": {"severity": 5}, "reorder": {"severity": 5}}


def fits_bytes(*hdus: Any) -> bytes:
    buffer = io.BytesIO()
    fits.HDUList([fits.PrimaryHDU(), *hdus]).writeto(buffer)
    return buffer.getvalue()


def calints(seed: int, integrations: int = 4, side: int = 300) -> bytes:
    rng = np.random.default_rng(seed)
    shape = (integrations, side, side)
    sci = rng.normal(size=shape).astype(np.float32)
    sci[0, 0, 0] = np.nan
    images = {"SCI": sci, "ERR": np.abs(sci), "DQ": rng.integers(0, 2**31, shape).astype(np.uint32)}
    hdus = [fits.ImageHDU(data, name=name) for name, data in images.items()]
    hdus[0].header["BUNIT"] = "MJy/sr"
    return fits_bytes(*hdus, fits.ImageHDU(np.ones((5, 5)), name="VAR_POISSON"))


def spectrum(seed: int, rows: int = 500) -> bytes:
    rng = np.random.default_rng(seed)
    columns = [
        fits.Column("WAVELENGTH", "D", unit="um", array=np.linspace(1, 5, rows)),
        fits.Column("FLUX", "D", unit="Jy", array=rng.normal(size=rows)),
        fits.Column("DQ", "J", bzero=2**31, array=rng.integers(0, 2**32, rows).astype(np.uint32)),
        fits.Column("NOTE", "6A", array=np.array([f"r{row}" for row in range(rows)])),
        fits.Column("VECTOR", "3E", array=rng.normal(size=(rows, 3))),
        fits.Column("ODD", "PE()", array=np.array([np.ones(row % 4) for row in range(rows)], dtype=object)),
    ]
    return fits_bytes(fits.BinTableHDU.from_columns(columns, name="EXTRACT1D"))


def files() -> dict[str, bytes]:
    """Two detectors, a spectrum, and an odd file without SCI or EXTRACT1D."""
    odd = fits.HDUList([fits.PrimaryHDU(np.arange(12, dtype=np.int16).reshape(3, 4))])
    buffer = io.BytesIO()
    odd.writeto(buffer)
    return {
        "jw01093001001_03101_00001_nrca1_calints.fits": calints(1),
        "jw01093001001_03101_00002_nrca1_calints.fits": calints(2),
        "jw01093001001_03101_00001_nis_calints.fits": calints(3),
        "jw01093001001_03101_00001_nis_x1d.fits": spectrum(4),
        "somebody_else.fits": buffer.getvalue(),
    }


def manifest_row(name: str, content: bytes, lake: Lake, scenario_id: str = "windy") -> dict[str, Any]:
    said = describe(content, name)
    digest = hashlib.sha256(content).hexdigest()
    key = delivered_key(digest, name)
    if lake.head(key) is None:
        lake.write_new(key, content)
    detector = "NRCA1" if "nrca1" in name else "NIS" if "nis" in name else None
    return {
        "program": PROGRAM,
        "scenario": scenario_id,
        "product_name": name,
        "in_sha256": "0" * 64,
        "out_sha256": digest,
        "plan_sha256": "1" * 64,
        "key": key,
        "uri": lake.uri_of(key),
        "size_bytes": len(content),
        "layout_json": json.dumps(layout(said.hdus)),
        "product_type": said.product_type,
        "detector": detector,
        "instrument_name": "NIRCAM/IMAGE" if detector == "NRCA1" else "NIRISS/SOSS" if detector else None,
        "obs_id": said.obs_id,
        "stream_time_mjd": 59800.0 + int("00002" in name) / 1440 if detector else None,
    }


def manifest(lake: Lake, contents: dict[str, bytes] | None = None, scenario_id: str = "windy") -> pa.Table:
    return pa.Table.from_pylist(
        [manifest_row(name, content, lake, scenario_id) for name, content in (contents or files()).items()]
    )


def truth(rows: pa.Table) -> list[dict[str, Any]]:
    return [
        {**{name: row[name] for name in ("product_name", "in_sha256", "out_sha256", "plan_sha256")}, **PART}
        for row in rows.to_pylist()
    ]


def send_after_another_took_over(config: dict[str, Any], topics: Topics, messages: int) -> tuple[str, set[bytes]]:
    """Send in a transaction that another producer has ended; return what is told, and the keys that lie there."""
    one, topic = topics.names["frame"], topics.names["frame"]

    def send(sink: KafkaSink, count: int, key: bytes = b"old") -> None:
        for number in range(count):
            sink.send(Outgoing(topic, number % 2, key, bytes(1000), (), None), lambda _offset, _refused: None)

    with closing(KafkaSink(config, one)) as old:
        send(old, 1)
        old.flush()
        with closing(KafkaSink(config, one)) as new:
            with pytest.raises(BackendAbsentError) as told:
                send(old, messages)
                old.flush()
                old.commit()
            old.abandon()
            send(new, 1, b"new")
            new.commit()
    there = read_between(config, low_offsets(config, topics.places("frame")), None)
    return str(told.value), {message.key() for message in there}


PART = {"record_json": '{"effects": []}', "side_key": None}
