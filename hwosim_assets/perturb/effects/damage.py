"""Files that are broken on purpose: cut short, with a zeroed block, with sums that do not hold.

Holds: effect F10. What it makes is no valid FITS file, so that a scenario must say ``valid_only: false``.
Keep out damage that leaves a valid file (``telemetry``, ``losses``, ``headers``) and damage to messages.
"""

from __future__ import annotations

from typing import Any

from hwosim_assets.perturb.effect import Effect
from hwosim_assets.perturb.parameters import Parameter
from hwosim_assets.perturb.registry import register
from hwosim_assets.perturb.spec import EffectSpec

__all__ = ["FileDamage"]

#: A FITS file consists of blocks of so many bytes (FITS standard 4.0, section 3.1).
BLOCK = 2880
_SUM = b"CHECKSUM= '"


@register(
    EffectSpec(
        name="file_damage",
        title="File damage",
        code="F10",
        steady="it belongs to the file",
        stage="file",
        model="the end of the file is missing, a run of its bytes is zero, or its first CHECKSUM states another sum",
        planes=("file",),
        parameters=(
            Parameter(
                "share",
                "share of the file's bytes that is missing or zero; a wrong checksum has no amount",
                severities=(0.0005, 0.005, 0.05, 0.2, 0.5),
                source="interrupted downloads and bad sectors; levels are a proposal",
            ),
            Parameter(
                "kind",
                "what is broken",
                default="truncation",
                choices=("truncation", "zero_block", "checksum"),
                source="what archives and disks are seen to do to files",
            ),
        ),
        source="FITS standard 4.0, sections 3.1 and 4.4.2.7",
        test="readers fail as recorded: bytes short of the claim, zeros at that place, a sum that does not hold",
        breaks_format=True,
    )
)
class FileDamage(Effect):
    """Damage to the finished file, after everything else."""

    def on_bytes(self, content: bytes) -> tuple[bytes, list[dict[str, Any]]]:
        """Break the bytes; a longer truncation or block holds every shorter one."""
        kind = self.task.word("kind")
        amount = min(len(content), max(1, round(self.task.number("share") * len(content))))
        if kind == "truncation":
            kept = len(content) - amount
            return content[:kept], [{"kind": kind, "bytes_before": len(content), "bytes_after": kept}]
        if kind == "checksum":
            return self._wrong_sum(content)
        # Behind the first block: a file whose first bytes are gone is no FITS file to anybody.
        if len(content) <= BLOCK:
            return content, [{"kind": kind, "not_applicable": "the file has nothing behind its first block"}]
        word = int(self.task.stream("file").bits(0, 0, 1)[0])
        centre = BLOCK + word % (len(content) - BLOCK)
        start = max(BLOCK, centre - amount // 2)
        end = min(len(content), start + amount)
        zeroed = content[:start] + bytes(end - start) + content[end:]
        return zeroed, [{"kind": kind, "offset": start, "bytes": end - start}]

    @staticmethod
    def _wrong_sum(content: bytes) -> tuple[bytes, list[dict[str, Any]]]:
        place = content.find(_SUM)
        if place < 0 or place % 80:
            return content, [{"kind": "checksum", "not_applicable": "the file has no CHECKSUM"}]
        at = place + len(_SUM)
        # Two letters change places where they differ; the sum of the file then is another.
        unlike = (at + step for step in range(15) if content[at + step] != content[at + step + 1])
        first = next(unlike, None)
        if first is None:
            return content, [{"kind": "checksum", "not_applicable": "the sum of its first HDU is not defined"}]
        pair = content[first : first + 2]
        event = {"kind": "checksum", "offset": first, "was": pair.decode("latin-1")}
        return content[:first] + pair[::-1] + content[first + 2 :], [event]
