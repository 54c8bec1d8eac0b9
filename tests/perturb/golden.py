"""The pixels that every machine makes: a program for a fresh process, and the hashes it prints."""

from __future__ import annotations

#: (severity, hash); a changed hash needs a new ENGINE.
HASHES = [(2.5, "6db67c75cac3e793ae27035f11667658"), (5, "771b777f612be9c09a8e71ad0068a556")]

PROGRAM = """
import hashlib, io
import numpy as np
from astropy.io import fits
from hwosim_assets.perturb import Product, Scenario, apply

ramp = (np.arange(300 * 400) * 7919 % 10007).reshape(300, 400).astype(np.float32)
planes = {"SCI": 4 + ramp / 1024, "VAR_POISSON": (4 + ramp / 1024) / 256, "VAR_RNOISE": 0.03125 + ramp / 2**20}
planes["ERR"] = np.sqrt(planes["VAR_POISSON"] + planes["VAR_RNOISE"])
hdus = [fits.PrimaryHDU(), *(fits.ImageHDU(data.astype(np.float32), name=name) for name, data in planes.items())]
hdus.append(fits.ImageHDU(np.zeros((300, 400), np.uint32), name="DQ"))
buffer = io.BytesIO()
fits.HDUList(hdus).writeto(buffer)
effects = ["throughput", "background", "read_noise", {"missing_values": {"severity": 3, "mechanism": "mnar"}}]
effects.append({"packet_loss": {"severity": 5, "packet": 100}})
scenario = Scenario.from_mapping("golden", {"version": 1, "seed": 3, "effects": effects})
scenario = scenario.with_overrides(severity=SEVERITY)
out, _ = apply(Product("x_cal.fits", buffer.getvalue()), scenario, threads=THREADS)
names = ("SCI", "ERR", "DQ", "VAR_POISSON", "VAR_RNOISE")
little = [out.plane(name).astype(out.plane(name).dtype.newbyteorder("<")).tobytes() for name in names]
print(hashlib.sha256(b"".join(little)).hexdigest()[:32])
"""


def program(severity: float, threads: int) -> str:
    """Return the program for a severity and a number of threads."""
    return PROGRAM.replace("SEVERITY", str(severity)).replace("THREADS", str(threads))
