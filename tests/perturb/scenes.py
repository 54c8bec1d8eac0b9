"""Products with a chosen signal and the noise that their planes claim, for statistics of effects."""

from __future__ import annotations

import io
from collections.abc import Mapping

import numpy as np
from astropy.io import fits

from hwosim_assets.perturb import Product, Scenario, apply

#: Electrons per science unit.
K = 1000.0
READ = 1e-8
CARDS = {
    "TELESCOP": "JWST", "INSTRUME": "NIRCAM", "CHANNEL": "SHORT", "DETECTOR": "NRCA1", "FILTER": "F200W",
    "EXPSTART": 60000.0, "EXPMID": 60000.25, "EXPEND": 60000.5, "EFFINTTM": 300.0, "EFFEXPTM": 300.0, "NGROUPS": 10,
    "FASTAXIS": -1, "SLOWAXIS": 2, "PCS_MODE": "FINEGUIDE",
}  # fmt: skip


def scene(
    signal: np.ndarray, *, noise: bool = False, read: float = READ, name: str = "cal", **cards: object
) -> Product:
    """Return a product of a mean signal, float32 planes, with or without the photon noise that they claim."""
    poisson = np.maximum(signal, 1e-3) / K
    sci = signal + np.sqrt(poisson) * np.random.default_rng(5).standard_normal(signal.shape) * noise
    primary = fits.PrimaryHDU()
    primary.header.update({**CARDS, **cards})
    planes = {"SCI": sci, "ERR": np.sqrt(poisson + read), "VAR_POISSON": poisson, "VAR_RNOISE": np.full_like(sci, read)}
    hdus = [primary, *(fits.ImageHDU(data.astype(np.float32), name=key) for key, data in planes.items())]
    hdus[1].header.update({"CRPIX1": 10.0, "CRPIX2": 20.0})
    hdus.append(fits.ImageHDU(np.zeros(signal.shape, np.uint32), name="DQ"))
    return _product(hdus, name)


def ramp(rate: np.ndarray, groups: int = 10, **cards: object) -> Product:
    """Return an integration of noiseless floating groups (DN) that gather a rate, each pixel on its own bias."""
    bias = 1000.0 + np.random.default_rng(6).uniform(0, 500, rate.shape)
    data = bias + rate * np.arange(groups)[:, None, None]
    primary = fits.PrimaryHDU()
    primary.header.update({**CARDS, "TGROUP": 10.0, **cards})
    return _product([primary, fits.ImageHDU(data[None].astype(np.float64), name="SCI")], "ramp")


def _product(hdus: list[fits.hdu.base._BaseHDU], name: str) -> Product:
    buffer = io.BytesIO()
    fits.HDUList(hdus).writeto(buffer)
    return Product(f"jw01234001001_02101_00001_nrca1_{name}.fits", buffer.getvalue())


def columns(rows: int, width: int, low: float, high: float) -> np.ndarray:
    """Return a signal that grows geometrically from the left to the right."""
    return np.broadcast_to(np.geomspace(low, high, width), (rows, width)).copy()


def star(side: int, fwhm: float, flux: float, sky: float = 0.0) -> np.ndarray:
    """Return a Gaussian star in the middle, sampled at the centres of pixels."""
    y, x = np.mgrid[:side, :side] - side // 2
    sigma = fwhm / np.sqrt(8 * np.log(2))
    profile = np.exp(-(x * x + y * y) / (2 * sigma * sigma))
    return np.asarray(sky + flux * profile / profile.sum())


def perturbed(product: Product, seed: int = 11, **chosen: Mapping[str, object]) -> tuple[Product, dict[str, object]]:
    """Return (output, what the only effect noted of the first measurement)."""
    content = {"version": 1, "seed": seed, "effects": [{name: options} for name, options in chosen.items()]}
    out, truth = apply(product, Scenario.from_mapping("test", content))
    return out, truth.record["effects"][0]["measurements"][0]


def values(product: Product, name: str = "SCI") -> np.ndarray:
    """Return a plane in double precision."""
    return np.asarray(product.plane(name), dtype=float)


def with_asdf(product: Product, tree: bytes) -> Product:
    """Return a product with an ASDF extension of which only a part of the tree matters."""
    with fits.HDUList.fromstring(product.content) as hdus:
        column = fits.Column("ASDF_METADATA", f"{len(tree)}B", array=np.frombuffer(tree, np.uint8)[None])
        return _product([*hdus, fits.BinTableHDU.from_columns([column], name="ASDF")], product.name.split("_")[-1][:-5])


def events_of(product: Product, **chosen: Mapping[str, object]) -> list[dict[str, object]]:
    """Return the events that the record has of the only effect."""
    content = {"version": 1, "seed": 11, "effects": [{name: options} for name, options in chosen.items()]}
    _, truth = apply(product, Scenario.from_mapping("test", content))
    events: list[dict[str, object]] = truth.record["effects"][0]["events"]
    return events
