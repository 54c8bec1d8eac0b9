"""What an effect finds out of a whole frame once, for all bands of it.

Holds: :class:`FrameCache`. Keep out what is found, which the effects know.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from threading import Lock
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from hwosim_assets.perturb.block import Block

__all__ = ["FrameCache"]

Found = TypeVar("Found")
#: Frames that are kept: bands of one follow each other, and with several threads a few frames are under way.
_KEPT = 4


class FrameCache(Generic[Found]):
    """What was found of the last few frames; threads may share it.

    Parameters
    ----------
    find : callable
        Finds it, from any block of a frame.
    """

    def __init__(self, find: Callable[[Block], Found]) -> None:
        self._find = find
        self._frames: OrderedDict[tuple[int, int], Found] = OrderedDict()
        self._lock = Lock()

    def of(self, block: Block) -> Found:
        """Return what there is to know of a block's frame."""
        key = id(block.measurement), block.frame
        with self._lock:
            if key not in self._frames:
                while len(self._frames) >= _KEPT:
                    self._frames.popitem(last=False)
                self._frames[key] = self._find(block)
            return self._frames[key]
