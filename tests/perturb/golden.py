"""The pixels that every machine makes: a program for a fresh process, and the hashes it must print.

Holds: :func:`made`, every effect on products made of arithmetic alone, and :data:`GOLDEN`, its hashes as stored beside
this file. Written anew by ``python tests/perturb/golden.py``; a changed hash needs a new ``ENGINE``.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]
STORED = Path(__file__).with_suffix(".json")
GOLDEN: dict[str, str] = json.loads(STORED.read_text()) if STORED.exists() else {}

PROGRAM = """
import hashlib, io, json, sys
import numpy as np
from astropy.io import fits
from hwosim_assets.perturb import Product, Scenario, apply
from hwosim_assets.perturb.effect import Earlier
from hwosim_assets.perturb.registry import effect_specs

CARDS = {"TELESCOP": "JWST", "INSTRUME": "MIRI", "DETECTOR": "MIRIMAGE", "FILTER": "F1000W", "TARGNAME": "M-31",
         "EXPSTART": 60000.0, "EXPMID": 60000.5, "EXPEND": 60001.0, "EFFINTTM": 300.0, "EFFEXPTM": 1200.0,
         "TGROUP": 50.0, "NGROUPS": 6, "FASTAXIS": 1, "SLOWAXIS": 2, "PIXAR_A2": 0.0121, "PHOTMJSR": 0.5}

def product(kind, hdus, **cards):
    primary = fits.PrimaryHDU()
    primary.header.update({**CARDS, **cards})
    buffer = io.BytesIO()
    fits.HDUList([primary, *hdus]).writeto(buffer)
    return Product(f"jw01234001001_02101_00001_mirimage_{kind}.fits", buffer.getvalue())

def planes(*shape):
    ramp = (np.arange(np.prod(shape)) * 7919 % 10007).reshape(shape)
    found = {"SCI": 4 + ramp / 1024, "VAR_POISSON": (4 + ramp / 1024) / 256, "VAR_RNOISE": 0.03125 + ramp / 2**20}
    found["ERR"] = np.sqrt(found["VAR_POISSON"] + found["VAR_RNOISE"])
    hdus = [fits.ImageHDU(data.astype(np.float32), name=name) for name, data in found.items()]
    hdus[0].header.update({"CRPIX1": 10.0, "CRPIX2": 20.0})
    return [*hdus, fits.ImageHDU(np.zeros(shape, np.uint32), name="DQ")]

rows = np.arange(600)
spectrum = fits.BinTableHDU.from_columns([
    fits.Column("WAVELENGTH", "D", "um", array=1 + rows / 512), fits.Column("FLUX", "D", "Jy", array=3 + rows / 1024),
    fits.Column("FLUX_ERROR", "D", "Jy", array=0.125 + 0 * rows),
    fits.Column("FLUX_VAR_POISSON", "D", array=0.0078125 + 0 * rows),
    fits.Column("FLUX_VAR_RNOISE", "D", array=0.0078125 + 0 * rows)], name="EXTRACT1D")
ramps = 1000 + 40 * np.arange(6)[None, :, None, None] + np.arange(2 * 6 * 64 * 80).reshape(2, 6, 64, 80) * 31 % 97
products = [product("cal", planes(200, 256), INSTRUME="NIRCAM", DETECTOR="NRCA1", FILTER="F200W", NOUTPUTS=4),
            product("rateints", planes(6, 64, 80), NINTS=6), product("x1d", [spectrum]),
            product("uncal", [fits.ImageHDU(ramps.astype(np.uint16), name="SCI")])]

def cards(item):
    headers = b"".join(item.payload[block.header_offset : block.data_offset] for block in item.scan.blocks)
    return {headers[start : start + 80] for start in range(0, len(headers), 80)}

def digest(chosen):
    parts, acted = [], False
    for item in products:
        out, _ = apply(item, chosen, threads=int(sys.argv[1]), earlier=[Earlier(item, 59999.99)])
        acted = acted or out.content != item.content
        for plane in out.planes:
            values = plane.read(out.payload)
            parts.append(values.astype(values.dtype.newbyteorder("<")).tobytes() if values.dtype.kind != "S" else b"")
        parts += sorted(cards(out) - cards(item))
    return hashlib.sha256(b"".join(parts)).hexdigest()[:32] if acted else "nothing"

found = {}
for spec in effect_specs():
    if not spec.breaks_format:
        body = {"version": 1, "seed": 3, "effects": [{spec.name: {"severity": 5}}]}
        found[spec.name] = digest(Scenario.from_mapping("golden", body))
found["everything_s3"] = digest("everything_s3")
print(json.dumps(found))
"""


def made(threads: int, features: str, python: Sequence[str] = (sys.executable,), before: str = "") -> dict[str, str]:
    """Return the hash of each effect's pixels, made by a fresh process.

    Parameters
    ----------
    threads : int
        That work at one product.
    features : str
        Vector instructions that numpy leaves out, by numpy's names for them.
    python : sequence of str
        The command that starts Python.
    before : str
        What it does first.

    Raises
    ------
    RuntimeError
        When the process failed.
    """
    environment = {**os.environ, "NPY_DISABLE_CPU_FEATURES": features, "PYTHONWARNINGS": "ignore"}
    environment["PYTHONPATH"] = str(ROOT)
    command = [*python, "-c", before + PROGRAM, str(threads)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        raise RuntimeError(done.stderr)
    return dict(json.loads(done.stdout))


if __name__ == "__main__":
    STORED.write_text(json.dumps(made(1, ""), indent=1, sort_keys=True) + "\n")
