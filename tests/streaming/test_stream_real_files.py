"""Real files: whatever astropy reads of what is streamed arrives bit for bit."""

from __future__ import annotations

import json
import warnings
from contextlib import ExitStack, suppress
from pathlib import Path

import numpy as np
import pyarrow as pa
from astropy.io import fits
from stream_data import FAULTY, manifest_row, scenario
from test_stream_round_trip import Bench

from hwosim_assets.errors import BadInputError
from hwosim_assets.lake.store import Lake
from hwosim_assets.perturb.product import Product
from hwosim_assets.perturb.run import apply
from hwosim_assets.settings import Settings
from hwosim_streaming import connect
from hwosim_streaming.compose import Composer
from hwosim_streaming.envelope import FAMILIES, LARGEST_VALUE, TOPIC_OF, Frame, decode
from hwosim_streaming.pixels import DeliveredFiles
from hwosim_streaming.plan import make_plan
from hwosim_streaming.topics import Topics

ENDINGS = (".fits", ".fits.gz", ".oifits")
#: One small real product of each type.
KINDS = (
    "jw00793001001_01101_00001_nis_uncal.fits",
    "jw42424001001_01101_00001_nrca5_uncal_dispersed_GRISMR_crossing_F356W_rate.fits.gz",
    "jw01185002001_01101_00001-seg006_nrca3_rateints_I01226.fits",
    "jw01093012001_03102_00001_nis_cal.fits",
    "jw01288015001_04101_00001_mirimage_i2d.fits",
    "jw02565007001_03101_00002_nrs2_s2d.fits",
    "jw02565007001_03101_00002_nrs2_x1d.fits",
    "det_image_seq1_MIRIFUSHORT_12SHORTexp1_s3d.fits",
)


def part(hdus: fits.HDUList, frame: Frame, name: str, number: int) -> np.ndarray:
    """The same pixels or rows as astropy gives them."""
    array = frame.arrays[name]
    if frame.kind == "table":
        column = np.asarray(hdus[number].data.field(name))[frame.origin[0] : frame.origin[0] + array.shape[0]]
        return np.char.encode(column, "ascii").astype(array.dtype) if column.dtype.kind == "U" else column
    numbered = (frame.integration is not None) + (frame.group is not None)
    lengths = (1,) * numbered + array.shape
    span = tuple(slice(at, at + length) for at, length in zip(frame.origin, lengths, strict=True))
    return np.asarray(hdus[number].data)[span].reshape(array.shape)


def test_real_files_are_streamed_bit_for_bit(real_data: Path, tmp_path: Path) -> None:
    lake = Lake((tmp_path / "lake").as_uri())
    streamed = 0
    for path in sorted((real_data / "jwst").iterdir()):
        if not path.name.endswith(ENDINGS):
            continue
        try:
            row = manifest_row(path.name, path.read_bytes(), lake)
        except BadInputError:
            continue
        plan = make_plan(pa.Table.from_pylist([row]), scenario())
        has_data = any(hdu["kind"] != "empty" and 0 not in hdu["shape"] for hdu in json.loads(row["layout_json"]))
        assert (plan.planned > 1) == has_data, path.name
        with warnings.catch_warnings(), DeliveredFiles(lake, plan, lambda _name: b"") as opened:
            warnings.simplefilter("ignore")
            composer = Composer(plan, opened, Topics(TOPIC_OF, dict.fromkeys(FAMILIES, 4)))
            with fits.open(path) as hdus:
                for index, planned in enumerate(plan.rows):
                    message = composer.compose(index)
                    assert len(message.value) <= LARGEST_VALUE
                    if planned["family"] != "frame":
                        continue
                    frame = Frame.from_record(decode(message.value).record)
                    assert sum(array.nbytes for array in frame.arrays.values()) == planned["size"], path.name
                    for name, number in zip(planned["arrays"], planned["array_hdus"], strict=True):
                        wanted = part(hdus, frame, name, number)
                        little = wanted.astype(wanted.dtype.newbyteorder("<"))
                        assert frame.arrays[name].dtype == little.dtype, (path.name, name)
                        assert frame.arrays[name].tobytes() == little.tobytes(), (path.name, name)
                    streamed += 1
    assert streamed > 100


def test_real_products_come_bit_for_bit_through_a_broker(
    real_data: Path, stream_settings: Settings, lake: Lake
) -> None:
    rows = []
    for path in sorted((real_data / "jwst").iterdir()):
        if path.name.endswith(ENDINGS) and 100_000 < path.stat().st_size < 1_000_000:
            with suppress(BadInputError):
                rows.append(manifest_row(path.name, path.read_bytes(), lake))
    bench = Bench(stream_settings, lake, pa.Table.from_pylist(rows), transport=FAULTY)
    assert came_whole(bench, real_data / "jwst") > 20


def test_perturbed_real_products_come_bit_for_bit_through_a_broker(
    real_data: Path, stream_settings: Settings, lake: Lake, tmp_path: Path
) -> None:
    """The planes of the perturbed files, and not those of the delivered ones."""
    rows = []
    for name in KINDS:
        delivered = Product.open(real_data / "jwst" / name)
        perturbed, truth = apply(delivered, "nominal_l2", seed=5)
        assert truth.record["out_sha256"] != truth.record["in_sha256"], name
        (tmp_path / name).write_bytes(perturbed.content)
        rows.append(manifest_row(name, perturbed.content, lake))
    bench = Bench(stream_settings, lake, pa.Table.from_pylist(rows))
    assert {row["product_type"] for row in rows} >= {
        "uncal",
        "rate",
        "rateints",
        "cal",
        "i2d",
        "s2d",
        "x1d",
    }
    frames = [row["product_name"] for row in bench.plan.rows if row["family"] == "frame"]
    assert set(frames) == set(KINDS)
    assert came_whole(bench, tmp_path) == len(frames)


def came_whole(bench: Bench, folder: Path) -> int:
    """Publish, consume, compare all arrays with the files as astropy reads them, return how many frames came."""
    assert bench.deliver().verification.verified
    with connect("hwosim.frames.v1", idle=0.5, settings=bench.settings) as stream:
        came = {frame.message_id: frame for frame in stream}
    due = [row for row in bench.plan.rows if row["family"] == "frame" and row["copies"]]
    assert set(came) == {row["message_id"] for row in due}
    with warnings.catch_warnings(), ExitStack() as opened:
        warnings.simplefilter("ignore")
        files = {name: opened.enter_context(fits.open(folder / name)) for name in bench.plan.products}
        for planned in due:
            frame = came[planned["message_id"]]
            assert set(frame.arrays) == set(planned["arrays"])
            for name, number in zip(planned["arrays"], planned["array_hdus"], strict=True):
                wanted = part(files[planned["product_name"]], frame, name, number)
                little = wanted.astype(wanted.dtype.newbyteorder("<"))
                assert frame.arrays[name].dtype == little.dtype, (planned["product_name"], name)
                assert frame.arrays[name].tobytes() == little.tobytes(), (planned["product_name"], name)
    return len(due)
