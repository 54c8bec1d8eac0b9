"""What goes onto Kafka and what comes back: the second Dagster code location.

``from hwosim_streaming import connect`` is what a reader of the stream needs. It is loaded when asked
for, so that importing this package costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hwosim_streaming.reader import connect

__all__ = ["connect"]


def __getattr__(name: str) -> Any:
    if name == "connect":
        from hwosim_streaming.reader import connect

        return connect
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
