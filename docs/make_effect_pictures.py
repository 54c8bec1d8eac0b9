"""``make pictures``: what each effect does to a generated product, at three severities, for docs/images/effects.

Holds: choosing a product on which the effect shows, and drawing it. Keep out the pages that show the
pictures (``make_pages``).

    python docs/make_effect_pictures.py [EFFECT ...]
"""

from __future__ import annotations

import io
import sys
import tempfile
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from hwosim_assets.archive.sample import write_sample
from hwosim_assets.errors import BadInputError
from hwosim_assets.perturb import Product, Scenario, apply
from hwosim_assets.perturb.effect import Earlier
from hwosim_assets.perturb.registry import effect_specs
from hwosim_assets.perturb.spec import EffectSpec

__all__ = ["FOLDER", "draw"]

FOLDER = Path(__file__).parent / "images" / "effects"
SEVERITIES = (1, 3, 5)
#: Tried in this order; the first on which an effect changes pixels is shown.
KINDS = ("_cal.fits", "_rateints.fits", "_uncal.fits", "_s3d.fits")
#: Signals and states whose story is in time.
IN_TIME = ("transit", "eclipse", "flare", "tilt_event", "pedestal_drift", "dark_decay", "persistence_deficit")
#: Steps of grey that are seen, and the share of pixels below which a change by so many is not.
SEEN, FEW = 20, 0.003
SIDE, GAP, TEXT = 192, 6, 14
#: What is too large or too rare for the frames of the sample, and a detector, side and time for it.
WIDE = {"wisps": ("NRCB4", 2048, 300.0), "snowballs": ("NRCB4", 384, 2000.0), "showers": ("MIRIMAGE", 1024, 300.0)}
INK, PAPER = (40, 40, 40), (255, 255, 255)


def perturbed(product: Product, spec: EffectSpec, severity: float) -> NDArray[np.float64] | None:
    """Return (frames, rows, columns) of SCI under an effect; ``None`` where it has no meaning for the product."""
    choice = {spec.name: {"severity": severity}}
    sections = {"version": 1, "seed": 7, "valid_only": not spec.breaks_format, "effects": [choice]}
    # What a detector remembers is the same field, exposed a few minutes before.
    earlier = [Earlier(product, (product.number("EXPSTART") or 0.0) - 0.005)]
    out, truth = apply(product, Scenario.from_mapping("picture", sections), earlier=earlier)
    notes = truth.record["effects"][0]["measurements"] if truth.record["effects"] else []
    if notes and all("not_applicable" in note for note in notes):
        return None
    try:
        return frames(out)
    except BadInputError:
        return None


def frames(product: Product) -> NDArray[np.float64]:
    """Return the last group of each frame of the first measurement."""
    item = product.measurements[0]
    plane = item.sci.read(product.payload).reshape(item.frames, item.groups, *item.frame)[:, -1]
    return np.asarray(plane, dtype=np.float64)


def even_light(detector: str, side: int, seconds: float) -> Product:
    """Return a large frame of even light and its noise, for what lies at few places of a detector."""
    from astropy.io import fits

    shape, light, gain = (side, side), 2.0, 500.0
    noise = np.random.default_rng(1).standard_normal(shape)
    planes = {"SCI": light + (light / gain) ** 0.5 * noise, "ERR": np.full(shape, (light / gain) ** 0.5)}
    planes |= {"VAR_POISSON": planes["SCI"] / gain, "VAR_RNOISE": np.full(shape, 1e-6)}
    hdus: list[fits.hdu.base._BaseHDU] = [fits.PrimaryHDU()]
    times = {"EXPSTART": 60000.0, "EXPEND": 60000.1, "EFFINTTM": seconds, "EFFEXPTM": seconds, "NGROUPS": 10}
    instrument = "MIRI" if detector == "MIRIMAGE" else "NIRCAM"
    hdus[0].header.update({"INSTRUME": instrument, "DETECTOR": detector, **times})
    hdus += [fits.ImageHDU(plane.astype(np.float32), name=name) for name, plane in planes.items()]
    buffer = io.BytesIO()
    fits.HDUList(hdus).writeto(buffer)
    return Product("even_cal.fits", buffer.getvalue())


def draw(spec: EffectSpec, products: list[Product]) -> Image.Image | None:
    """Return the picture of an effect; ``None`` where it changes no image."""
    for product in products:
        if len(product.measurements[0].frame) != 2:
            continue
        before = frames(product)
        after = [perturbed(product, spec, severity) for severity in SEVERITIES]
        shown = [each for each in after if each is not None and each.shape == before.shape]
        if len(shown) == len(SEVERITIES) and not np.array_equal(shown[-1], before, equal_nan=True):
            if spec.name in IN_TIME and before.shape[0] > 4:
                return curves(before, shown)
            if spec.name not in IN_TIME:
                return panels(before, shown)
    return None


def panels(before: NDArray[np.float64], after: list[NDArray[np.float64]]) -> Image.Image:
    """Return the frame that changes most, before and at the severities, in one stretch."""
    change = np.nan_to_num(np.abs(after[-1] - before)).sum(axis=(1, 2)) + np.isnan(after[-1]).sum(axis=(1, 2))
    frame = int(change.argmax())
    low, high = np.nanpercentile(before[frame], [1, 99.5])
    names = ["before", *(f"severity {level}" for level in SEVERITIES)]
    if np.mean(np.abs(_grey(after[-1][frame], low, high) - _grey(before[frame], low, high)) > SEEN) < FEW:
        # What is not seen beside the scene is shown without it.
        after = [cube - before for cube in after]
        low, high = np.nanpercentile(after[-1][frame], [0.1, 99.9])
        before, names = np.zeros_like(before), ["nothing", *(f"change at {level}" for level in SEVERITIES)]
    titled = zip(names, (before, *after), strict=True)
    canvas = Image.new("RGB", (4 * SIDE + 5 * GAP, SIDE + 2 * GAP + TEXT), PAPER)
    pen = ImageDraw.Draw(canvas)
    for place, (title, cube) in enumerate(titled):
        left = GAP + place * (SIDE + GAP)
        pen.text((left, GAP // 2), title, fill=INK)
        canvas.paste(_panel(cube[frame], low, high), (left, GAP + TEXT))
    return canvas


def _grey(image: NDArray[np.float64], low: float, high: float) -> NDArray[np.float64]:
    return np.sqrt(np.clip((np.nan_to_num(image) - low) / max(high - low, 1e-30), 0, 1)) * 255


def _panel(image: NDArray[np.float64], low: float, high: float) -> Image.Image:
    """Return an image in grey, what is lost in red."""
    grey = _grey(image, low, high)
    rgb = np.repeat(grey.astype(np.uint8)[::-1, :, None], 3, axis=2)
    rgb[np.isnan(image)[::-1]] = (200, 40, 40)
    return Image.fromarray(rgb).resize((SIDE, SIDE), Image.Resampling.NEAREST)


def curves(before: NDArray[np.float64], after: list[NDArray[np.float64]]) -> Image.Image:
    """Return the sums of the frames over time, before (grey) and at the severities (dark to light)."""
    sums = [np.nansum(cube, axis=(1, 2)) for cube in (before, *after)]
    scale = sums[0].mean()
    lines = [each / scale for each in sums]
    low, high = min(map(np.min, lines)), max(map(np.max, lines))
    width, height = 4 * SIDE, SIDE
    canvas = Image.new("RGB", (width + 2 * GAP, height + 2 * GAP + TEXT), PAPER)
    pen = ImageDraw.Draw(canvas)
    colours = ((170, 170, 170), (30, 60, 120), (60, 120, 200), (200, 80, 40))
    names = ("before", *(f"severity {level}" for level in SEVERITIES))
    for number, (line, colour) in enumerate(zip(lines, colours, strict=True)):
        x = GAP + np.arange(len(line)) * width / max(1, len(line) - 1)
        y = GAP + TEXT + (high - line) / max(high - low, 1e-12) * (height - 1)
        pen.line(list(zip(x.tolist(), y.tolist(), strict=True)), fill=colour, width=2)
        pen.text((GAP + number * 90, GAP // 2), names[number], fill=colour)
    pen.text((width - 190, GAP // 2), f"sum of a frame, {low:.4f} to {high:.4f}", fill=INK)
    return canvas


def main(names: list[str]) -> None:
    """Draw the effects of these names, all by default."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        write_sample(Path(folder))
        files = sorted(Path(folder).rglob("*.fits"))
        products = [Product.open(path) for kind in KINDS for path in files if path.name.endswith(kind)]
    for spec in effect_specs():
        if names and spec.name not in names:
            continue
        picture = draw(spec, [even_light(*WIDE[spec.name])] if spec.name in WIDE else products)
        if picture is None:
            click.echo(f"{spec.name}: changes no image")
            (FOLDER / f"{spec.name}.png").unlink(missing_ok=True)
        else:
            picture.quantize(64).save(FOLDER / f"{spec.name}.png", optimize=True)


if __name__ == "__main__":
    main(sys.argv[1:])
