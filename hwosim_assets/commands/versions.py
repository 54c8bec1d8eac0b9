"""``hwosim lake versions`` and ``hwosim lake changes``: what was reprocessed, and what that changed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from hwosim_assets.commands.question import program_option
from hwosim_assets.console import json_option, print_json, print_table, say
from hwosim_assets.errors import BadInputError

if TYPE_CHECKING:
    from hwosim_assets.lake.tables import Tables

__all__ = ["changes", "versions"]


@click.command()
@click.argument("name", required=False)
@program_option
@json_option
def versions(name: str | None, program: str | None, as_json: bool) -> None:
    """List every version of products: which is current, when it was seen, hash, CAL_VER, CRDS_CTX, size.

    NAME is a product's file name. The bytes of earlier versions stay in the lake; the uri that --json gives opens
    in hwosim headers and wherever a FITS file does.

    \b
    Examples:
      hwosim lake versions jw01093012001_03102_00001_nis_cal.fits
      hwosim lake versions --program 1093 --json
    """
    from hwosim_assets.lake.versions import versions_of

    rows = versions_of(_tables(), program, name)
    if name is not None and not rows:
        raise BadInputError(f"product {name}", "was never in this lake", "hwosim search says what is there")
    if as_json:
        print_json(rows)
        return
    print_table(
        "",
        ["product", "version", "current", "seen", "sha256", "CAL_VER", "CRDS_CTX", "bytes"],
        (
            [
                row["product_name"], row["version"], "current" if row["current"] else None,
                row["seen_at"].strftime("%Y-%m-%d %H:%M"), row["sha256"][:12], row["cal_ver"], row["crds_ctx"],
                row["size_bytes"],
            ]
            for row in rows
        ),
    )  # fmt: skip
    say(f"{len(rows)} versions of {len({row['data_uri'] for row in rows})} products")


@click.command()
@click.argument("name", required=False)
@program_option
@json_option
def changes(name: str | None, program: str | None, as_json: bool) -> None:
    """Say what reprocessing changed: cards with both values, and statistics of the pixels that differ.

    Without NAME one line for each new version; with it every card and plane. --json gives all of both.

    \b
    Examples:
      hwosim lake changes --program 1093
      hwosim lake changes jw01093012001_03102_00001_nis_cal.fits
    """
    from hwosim_assets.catalog.changes import PRODUCT_CHANGES, report_of
    from hwosim_assets.lake.store import Lake
    from hwosim_assets.settings import Settings

    where = {column: value for column, value in (("program", program), ("product_name", name)) if value}
    rows = _tables().scan(PRODUCT_CHANGES, where or None).to_pylist()
    lake = Lake.from_settings(Settings())
    if as_json:
        print_json([report_of(row, lake) | {"seen_at": row["seen_at"]} for row in rows])
        return
    if name is not None:
        for row in rows:
            _print_report(report_of(row, lake))
    elif rows:
        columns = ["product", "version", "CAL_VER", "CRDS_CTX", "cards", "planes", "most changed", "of it"]
        print_table("", columns, map(_summary, rows))
    say(f"{len(rows)} new versions" + ("" if name or not rows else "; every card and plane: hwosim lake changes NAME"))


def _summary(row: dict[str, Any]) -> list[object]:
    start = [
        row["product_name"],
        f"{row['version'] - 1} > {row['version']}",
        _both(row["cal_ver_before"], row["cal_ver"]),
        _both(row["crds_ctx_before"], row["crds_ctx"]),
    ]
    if row["not_comparable"]:
        return [*start, None, None, row["not_comparable"], None]
    cards = f"+{row['cards_added']} -{row['cards_removed']} ~{row['cards_changed']}"
    share = None if row["largest_share"] is None else _percent(row["largest_share"])
    return [*start, cards, row["planes_changed"], row["most_changed_plane"], share]


def _both(before: str | None, after: str | None) -> str | None:
    return after if before == after else f"{before or '-'} > {after or '-'}"


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"


def _print_report(report: dict[str, Any]) -> None:
    before, after, found = report["before"], report["after"], report["differences"]
    title = f"{report['product_name']}  version {before['version']} > {after['version']}"
    if found is None:
        say(f"{title}: cannot be compared, since one of them {report['not_comparable']}")
        return
    cards = [[card[name] for name in ("hdu", "keyword", "change", "before", "after")] for card in found["cards"]]
    print_table(title, ["HDU", "keyword", "card", "before", "after"], cards)
    if found["planes"]:
        columns = ["plane", "changed", "of", "share", "least", "greatest", "rms", "became NaN", "were NaN"]
        print_table("", columns, map(_plane, found["planes"]))
    for refused in found["not_compared"]:
        say(f"{refused['plane']} was not compared: {refused['reason']}")
    for what in ("added", "removed"):
        if found[f"hdus_{what}"]:
            say(f"HDUs {what}: {', '.join(found[f'hdus_{what}'])}")
    left = found["cards_left_out"] + found["planes_left_out"]
    say(f"{found['planes_same']} planes are the same" + (f"; {left} more differences are not listed" if left else ""))


def _plane(plane: dict[str, Any]) -> list[object]:
    numbers = [None if plane[name] is None else f"{plane[name]:.4g}" for name in ("min", "max", "rms")]
    shares = [plane["plane"], plane["changed"], plane["elements"], _percent(plane["share"])]
    return [*shares, *numbers, plane["became_nan"], plane["were_nan"]]


def _tables() -> Tables:
    from hwosim_assets.lake.tables import Tables
    from hwosim_assets.settings import Settings

    return Tables.from_settings(Settings())
