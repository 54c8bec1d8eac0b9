"""What of a run lies on the topics: ids, places and checksums, without decoding a value.

Holds: :class:`Arrival` and :func:`arrivals`. Both resuming a run (``checkpoint``) and proving it
(``verify``) start from here. Keep out decoding for people who use the data (``reader``).
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from hwosim_streaming.clients import Place, read_between
from hwosim_streaming.envelope import Header

__all__ = ["Arrival", "arrivals", "text_headers"]


@dataclass(frozen=True)
class Arrival:
    """One record of a run as it lies on a topic.

    Attributes
    ----------
    place : (str, int)
        Topic and partition.
    offset : int
        Offset in it.
    message_id : str
        Id from the headers; empty where they have none.
    sequence : str
        Sequence number from the headers.
    stated_crc : str
        CRC-32 from the headers, hexadecimal.
    crc : int
        CRC-32 of the value as it was read.
    size : int
        Bytes of the value.
    """

    place: Place
    offset: int
    message_id: str
    sequence: str
    stated_crc: str
    crc: int
    size: int


def arrivals(
    config: dict[str, Any], run_id: str, starts: Mapping[Place, int], ends: Mapping[Place, int]
) -> Iterator[Arrival]:
    """Read the records of a run between offsets.

    Parameters
    ----------
    config : dict
        See :func:`hwosim_streaming.clients.client_config`.
    run_id : str
        Records of other runs are passed over.
    starts, ends : mapping of (topic, partition) to offset
        First offset, and the offset after the last.

    Raises
    ------
    BackendAbsentError
        If the broker falls silent before all is read.
    """
    for message in read_between(config, starts, ends):
        said = text_headers(message)
        if said.get(Header.RUN) == run_id:
            value = message.value() or b""
            yield Arrival(
                place=(message.topic(), message.partition()),
                offset=message.offset(),
                message_id=said.get(Header.ID, ""),
                sequence=said.get(Header.SEQUENCE, ""),
                stated_crc=said.get(Header.CRC, ""),
                crc=zlib.crc32(value),
                size=len(value),
            )


def text_headers(message: Any) -> dict[str, str]:
    """Return the headers of a message as text; bytes that are none are replaced, the last of a name wins."""
    return {name: (value or b"").decode("utf-8", "replace") for name, value in message.headers() or ()}
