"""A frame of 8192 x 8192 pixels (1.9 GB in seven planes) is perturbed within 1.5 GB of memory."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.integration

SIDE = 8192
NAME = "jw01234001001_02101_00001_nrca1_cal.fits"
PROGRAM = """
import json, sys
from pathlib import Path
from hwosim_assets.perturb.files import open_in_place, perturb_file
from hwosim_assets.perturb.plan import make_plan
from hwosim_assets.perturb.scenario import load_scenario

source, target = Path(sys.argv[1]), Path(sys.argv[2])
product = open_in_place(source)
truth = perturb_file(source, target, make_plan(load_scenario("nominal_l2"), product.name, product.stream_time))
# Not ru_maxrss, which a process inherits from the one that started it.
peak = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(json.dumps({"peak_mib": peak / 1024, "changed": sorted(x["name"] for x in truth.record["changes"]["planes"])}))
"""


def large_product(path: Path) -> None:
    """Write a product whose planes repeat the same 64 rows."""
    import numpy as np
    from astropy.io import fits

    rows = 64
    signal = np.full((rows, SIDE), 2.0, np.float32)
    signal[:, : SIDE // 8] *= 20
    poisson, read = signal / 150, np.full_like(signal, 0.02)
    noise = np.random.default_rng(1).standard_normal(signal.shape, np.float32)
    planes = {"SCI": signal + np.sqrt(poisson + read) * noise, "ERR": np.sqrt(poisson + read), "AREA": signal * 0 + 1,
              "VAR_POISSON": poisson, "VAR_RNOISE": read, "VAR_FLAT": signal * 0}  # fmt: skip
    primary = fits.PrimaryHDU()
    primary.header.update({"TELESCOP": "JWST", "INSTRUME": "NIRCAM", "CHANNEL": "SHORT", "DETECTOR": "NRCA1",
                           "EXPSTART": 60000.0, "EXPMID": 60000.005, "EXPEND": 60000.01, "EFFINTTM": 900.0,
                           "EFFEXPTM": 900.0, "FASTAXIS": -1, "SLOWAXIS": 2})  # fmt: skip
    with path.open("wb") as out:
        out.write(primary.header.tostring().encode())
        for name, data in planes.items():
            header = fits.ImageHDU(data, name=name).header
            header["NAXIS2"] = SIDE
            out.write(header.tostring().encode())
            for _ in range(SIDE // rows):
                out.write(data.astype(">f4").tobytes())
            out.write(bytes(-SIDE * SIDE * 4 % 2880))
        header = fits.ImageHDU(np.zeros((rows, SIDE), np.uint32), name="DQ").header
        header["NAXIS2"] = SIDE
        out.write(header.tostring().encode())
        for _ in range(SIDE // rows):
            out.write(b"\x80\0\0\0" * (rows * SIDE))  # 0 of an unsigned plane
        out.write(bytes(-SIDE * SIDE * 4 % 2880))


def test_a_large_frame_is_perturbed_in_bands(tmp_path: Path) -> None:
    if shutil.disk_usage(tmp_path).free < 6 * 2**30:
        pytest.skip("needs 6 GB of disk")
    source, target = tmp_path / NAME, tmp_path / "out.fits"
    try:
        large_product(source)
        assert source.stat().st_size > 1.8e9
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, str(source), str(target)], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        found = json.loads(done.stdout)
        assert found["peak_mib"] < 1536
        assert found["changed"] == [
            f"{name},1" for name in ("DQ", "ERR", "SCI", "VAR_FLAT", "VAR_POISSON", "VAR_RNOISE")
        ]
        assert target.stat().st_size == source.stat().st_size
    finally:
        source.unlink(missing_ok=True)
        target.unlink(missing_ok=True)
