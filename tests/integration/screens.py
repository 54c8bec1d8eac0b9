"""Pictures of the pages for the documentation, small enough to keep in a repository."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

from PIL import Image

#: Set it to a folder (docs/images) and the tests leave there what they looked at.
FOLDER = os.environ.get("HWOSIM_SCREENSHOTS")
LARGEST = 400_000


def keep(page: Any, name: str, *, clip: dict[str, float] | None = None) -> None:
    """Write a page as ``<name>.png`` if a folder is named: as many colours as 400 kB allow."""
    if not FOLDER:
        return
    shot = Image.open(io.BytesIO(page.screenshot(clip=clip, animations="disabled", caret="hide"))).convert("RGB")
    for colours in (256, 128, 64, 32):
        buffer = io.BytesIO()
        shot.quantize(colours, dither=Image.Dither.NONE).save(buffer, "PNG", optimize=True)
        if buffer.tell() <= LARGEST:
            break
    folder = Path(FOLDER)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.png").write_bytes(buffer.getvalue())
