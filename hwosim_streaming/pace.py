"""How a publication kept its pace, by its receipt: planned against actual times, as numbers and as a picture.

Holds: :class:`Pace` and :func:`read_pace`. Keep out what a receipt is (``receipts``) and where it is shown
(``hwosim_assets.metadata``).
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from hwosim_assets.lake.store import Lake

__all__ = ["Pace", "read_pace"]

#: Pixels of the picture; room on the left and below for what stands on the axes.
WIDTH, HEIGHT, EDGE = 440, 240, 36
#: Most points of its line.
POINTS = 2000
GREY, BLUE, BLACK, WHITE = (150, 150, 150), (31, 119, 180), (60, 60, 60), (255, 255, 255)

Seconds = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Pace:
    """When messages were due and when they went out.

    Attributes
    ----------
    due_s, sent_s : numpy.ndarray
        One number per message sent by the latest attempt, float64, seconds from its start, in the order of the plan.
    """

    due_s: Seconds
    sent_s: Seconds

    def figures(self) -> dict[str, float]:
        """Return rates (messages/s) as planned and as they were, and how late messages went out (ms)."""
        if not self.due_s.size:
            return {}
        late = (self.sent_s - self.due_s) * 1e3
        found = {f"late p{part} ms": float(np.percentile(late, part)) for part in (50, 99)}
        found["latest ms"] = float(late.max())
        for name, times in (("messages per s, planned", self.due_s), ("messages per s", self.sent_s)):
            span = float(times.max() - times.min())
            if span > 0:
                found[name] = (times.size - 1) / span
        return found

    def png(self) -> bytes | None:
        """Draw actual over planned time, blue, with what would be on time in grey; ``None`` where nothing was sent."""
        from PIL import Image, ImageDraw

        if not self.due_s.size:
            return None
        sheet = Image.new("RGB", (WIDTH, HEIGHT), WHITE)
        pen = ImageDraw.Draw(sheet)
        most = max(float(self.due_s.max()), float(self.sent_s.max()), 1e-3)
        left, bottom, right, top = EDGE, HEIGHT - EDGE, WIDTH - 8, 8
        pen.line([(left, top), (left, bottom), (right, bottom)], fill=BLACK)
        pen.line([(left, bottom), (right, top)], fill=GREY)
        step = max(1, -(-self.due_s.size // POINTS))
        along = left + self.due_s[::step] / most * (right - left)
        up = bottom - self.sent_s[::step] / most * (bottom - top)
        places = list(zip(along.tolist(), up.tolist(), strict=True))
        pen.line(places, fill=BLUE)
        pen.point(places, fill=BLUE)
        pen.text((left + 4, top), f"sent, 0 to {most:.4g} s", fill=BLACK)
        pen.text((left, bottom + 6), f"planned, 0 to {most:.4g} s", fill=BLACK)
        buffer = io.BytesIO()
        sheet.save(buffer, format="PNG", optimize=True)
        return buffer.getvalue()


def read_pace(lake: Lake, receipt_key: str) -> Pace:
    """Return the pace of the attempt that wrote a receipt.

    Raises
    ------
    NotStoredError
        If the lake no longer has it.
    """
    from hwosim_streaming.receipts import sent_times

    due_ns, sent_ns = sent_times(lake, receipt_key)
    return Pace(due_ns / 1e9, sent_ns / 1e9)
