"""Pixels lost on the way from the detector to the archive."""

from __future__ import annotations

from hwosim_assets.perturb.effect import Effect
from hwosim_assets.perturb.parameters import Parameter
from hwosim_assets.perturb.registry import EffectSpec, register

__all__ = ["MissingValues", "PacketLoss"]


@register(
    EffectSpec(
        name="missing_values",
        title="Missing values",
        code="F3",
        stage="loss",
        model="pixels are lost at random: all alike (mcar), more in later rows (mar), more where it is bright (mnar)",
        planes=("SCI", "ERR", "VAR_POISSON", "VAR_RNOISE", "DQ"),
        parameters=(
            Parameter(
                "fraction",
                "share of the pixels that is lost",
                severities=(1e-4, 1e-3, 1e-2, 5e-2, 0.2),
                high=0.5,
                source="severity table 2026.1; levels are a proposal",
            ),
            Parameter(
                "mechanism",
                "what the loss depends on: nothing, the row, the flux",
                default="mcar",
                choices=("mcar", "mar", "mnar"),
                source="Rubin (1976), the classes of missing data",
            ),
        ),
        source="JWST's rule for invalid pixels: NaN in SCI, ERR and VAR, DO_NOT_USE in DQ",
        test="lost fraction; correlation of mask and flux is 0 for mcar, above 0 for mnar",
        dq=True,
    )
)
class MissingValues(Effect):
    """Single pixels that never arrived."""


@register(
    EffectSpec(
        name="packet_loss",
        title="Packet loss",
        code="F1",
        stage="loss",
        model="a two-state Gilbert-Elliott chain over packets of consecutive pixels in readout order",
        planes=("SCI", "ERR", "VAR_POISSON", "VAR_RNOISE", "DQ", "header"),
        parameters=(
            Parameter(
                "loss",
                "share of the packets that is lost",
                severities=(1e-5, 1e-4, 1e-3, 1e-2, 1e-1),
                high=0.9,
                source="severity table 2026.1; levels are a proposal",
            ),
            Parameter(
                "burst",
                "mean length of a run of lost packets",
                unit="packets",
                low=1.0,
                high=1e4,
                default=8.0,
                source="bursts of 1 to 50 packets; the default is a proposal",
            ),
            Parameter(
                "packet",
                "pixels in one packet",
                unit="px",
                low=1,
                high=1 << 20,
                default=1024,
                whole=True,
                source="CCSDS: a transfer frame of at most 2048 bytes is dropped whole, so 1024 pixels of 16 bits",
            ),
        ),
        source="Gilbert (1960), Elliott (1963); CCSDS 132.0-B; DQ bit DROPOUT of stdatamodels",
        test="lost fraction; geometric run lengths; alignment to packet boundaries",
        dq=True,
    )
)
class PacketLoss(Effect):
    """Runs of packets that never arrived."""
