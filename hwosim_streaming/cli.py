"""``hwosim stream``: plan, publish, consume, watch, lag, verify, broker.

Holds: the commands, what they print and their exit status. Keep out what they do; each stands in the
module of its name.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from hwosim_assets.console import json_option, out, print_json, print_table, progress, say, severity_option
from hwosim_assets.errors import HwosimError

if TYPE_CHECKING:
    from hwosim_assets.perturb.scenario import Scenario
    from hwosim_assets.settings import Settings

__all__ = ["stream"]

F = TypeVar("F", bound=Callable[..., Any])


@click.group()
def stream() -> None:
    """Plan a stream, publish it, read it, look at it running, prove what arrived."""


def _what(command: F) -> F:
    """Add the options that say which stream."""
    scenario = click.option(
        "--scenario", "scenario_name", required=True, help="Name of a scenario, or a scenario file."
    )
    program = click.option("--program", required=True, help="JWST program.")
    return program(scenario(command))


def _chosen(scenario_name: str, program: str, settings: Settings) -> tuple[Scenario, str]:
    from hwosim_assets.fits.names import program_key
    from hwosim_assets.perturb.scenario import load_scenario

    return load_scenario(scenario_name, settings.scenario_folders()), program_key(program)


def _config(settings: Settings, *, start: bool = False) -> dict[str, Any]:
    from hwosim_streaming.broker import bootstrap_servers
    from hwosim_streaming.clients import client_config

    return client_config(settings, bootstrap_servers(settings, start=start))


@stream.command()
@_what
@click.option(
    "--output", type=click.Path(path_type=Path, dir_okay=False), help="Write every message to a Parquet file."
)
@json_option
def plan(program: str, scenario_name: str, output: Path | None, as_json: bool) -> None:
    """Plan a stream without publishing it: every message, its due time, its faults.

    \b
    Example:
      hwosim stream plan --program 1093 --scenario nominal_l2 --output plan.parquet
    """
    from hwosim_assets.lake.tables import Tables
    from hwosim_assets.settings import Settings
    from hwosim_streaming.publication import plan_program
    from hwosim_streaming.receipts import plan_table

    settings = Settings()
    scenario, key = _chosen(scenario_name, program, settings)
    made = plan_program(key, scenario, Tables.from_settings(settings))
    if output is not None:
        import pyarrow.parquet as pq

        pq.write_table(plan_table(made), output)
    said = {
        "program": made.program,
        "scenario": made.scenario,
        "plan_sha256": made.plan_sha256,
        "run_id": made.run_id,
        "products": len(made.products),
        "planned": made.planned,
        "lost": made.lost,
        "duplicated": made.duplicated,
        "reordered": sum(amount > 0 for amount in made.overtaken),
        "bytes_before_compression": sum(row["size"] or 0 for row in made.rows),
        "seconds": made.seconds,
    }
    _print_one(said, as_json)


@stream.command()
@_what
@severity_option("Of every effect and transport fault, which changes the identity")
@click.option("--seed", type=click.IntRange(min=0), help="Root seed; changes the identity.")
@click.option("--rate", "rate_per_s", type=float, help="Messages per second; changes the identity.")
@click.option("--time-scale", type=float, help="Exposure seconds per second; changes the identity.")
@json_option
def publish(program: str, scenario_name: str, as_json: bool, **overrides: float | None) -> None:
    """Publish a program's perturbed products, read them back and prove every message.

    Publishes nothing where this plan lies verified on this broker. With overrides the products of the
    derived scenario must have been made before.

    \b
    Example:
      hwosim stream publish --program 1093 --scenario nominal_l2
    """
    from hwosim_assets.lake.store import Lake
    from hwosim_assets.lake.tables import Tables
    from hwosim_assets.settings import Settings
    from hwosim_streaming.publication import publish_program

    settings = Settings()
    scenario, key = _chosen(scenario_name, program, settings)
    scenario = scenario.with_overrides(**overrides)  # type: ignore[arg-type]
    lake, tables = Lake.from_settings(settings), Tables.from_settings(settings)
    with progress() as bars:
        task = bars.add_task(f"{key} {scenario.id}", total=None)
        result = publish_program(
            key,
            scenario,
            lake,
            tables,
            settings,
            on_message=lambda done, total: bars.update(task, completed=done, total=total),
        )
    _print_one({"published_now": not result.already, **result.row}, as_json)
    if not result.row["verified"]:
        reason = f"{result.row['discrepancies']} messages do not reconcile"
        raise HwosimError(f"{key} {scenario.id}", reason, f"see {result.row['receipt_key']} in the lake")


@stream.command()
@click.option("--topic", default="hwosim.frames.v1", show_default=True, help="Topic, without the configured prefix.")
@click.option("--group", help="Consumer group; without one everything is read from the beginning.")
@click.option("--count", type=click.IntRange(min=1), help="Stop after so many messages.")
@click.option(
    "--idle", type=float, default=5.0, show_default=True, help="Stop after so many seconds without a message."
)
@click.option(
    "--fits",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    help="Also write each frame as a FITS file into this folder.",
)
@json_option
def consume(topic: str, group: str | None, count: int | None, idle: float, folder: Path | None, as_json: bool) -> None:
    """Read messages and print one line each (one JSON object each with --json).

    \b
    Example:
      hwosim stream consume --count 10
      hwosim stream consume --count 10 --fits frames/
      hwosim stream consume --topic hwosim.truth.v1 --json
    """
    from hwosim_streaming.envelope import Frame
    from hwosim_streaming.frame_fits import write_fits
    from hwosim_streaming.reader import connect
    from hwosim_streaming.watch import describe_frame

    number = 0
    with connect(topic, group=group, idle=idle) as messages:
        for number, found in enumerate(messages, start=1):
            if isinstance(found, Frame):
                if folder is not None:
                    write_fits(found, folder)
                out.print_json(data=_frame_record(found), indent=None) if as_json else out.print(describe_frame(found))
            elif as_json:
                out.print_json(data=found.record, indent=None, default=str)
            else:
                record = found.record
                out.print(
                    found.family,
                    record.get("event") or record.get("product"),
                    record.get("message_id", record["run_id"]),
                )
            if number == count:
                break
        missing = len(messages.gaps.missing())
        told = f"{messages.duplicates} duplicates left out, {messages.refused} refused, {missing} missing by sequence"
        say(f"{number} messages, {told}")


@stream.command()
@click.option("--once", is_flag=True, help="Print what lies on the topics now and stop.")
@click.option("--seconds", type=float, help="Stop after so many seconds.")
@json_option
def watch(once: bool, seconds: float | None, as_json: bool) -> None:
    """Look at the stream running: rate, messages by topic, the newest frame. Ctrl-C ends it.

    \b
    Example:
      hwosim stream watch
      hwosim stream watch --once --json
    """
    from rich.live import Live

    from hwosim_assets.settings import Settings
    from hwosim_streaming.registry import Registry
    from hwosim_streaming.topics import existing_topics
    from hwosim_streaming.watch import Watcher, describe_frame, snapshot

    settings = Settings()
    config, registry = _config(settings), Registry.configured(settings)
    if once or as_json:
        now = snapshot(config, existing_topics(config, settings.topic_prefix), registry=registry)
        newest = None if now.newest is None else _frame_record(now.newest)
        if as_json:
            print_json({"counts": now.counts, "newest": newest})
        else:
            print_table("", ["topic", "messages"], now.counts.items())
            out.print("no frame yet" if now.newest is None else describe_frame(now.newest))
        return
    until = time.monotonic() + (seconds if seconds is not None else float("inf"))
    with (
        Watcher(config, settings.topic_prefix, registry) as watcher,
        Live(watcher.view(), console=out, auto_refresh=False) as live,
    ):
        while time.monotonic() < until:
            watcher.step()
            live.update(watcher.view(), refresh=True)


@stream.command()
@click.option("--group", help="Only this consumer group.")
@json_option
def lag(group: str | None, as_json: bool) -> None:
    """Show how far readers are behind, by group and partition.

    \b
    Example:
      hwosim stream lag --group my-model
    """
    from hwosim_assets.settings import Settings
    from hwosim_streaming.lag import lags
    from hwosim_streaming.topics import existing_topics

    settings = Settings()
    config = _config(settings)
    found = lags(config, existing_topics(config, settings.topic_prefix), group)
    if as_json:
        print_json([{**vars(each), "behind": each.behind} for each in found])
    else:
        rows = [(each.group, each.topic, each.partition, each.committed, each.end, each.behind) for each in found]
        print_table("", ["group", "topic", "partition", "committed", "end", "behind"], rows)


@stream.command()
@_what
@json_option
def verify(program: str, scenario_name: str, as_json: bool) -> None:
    """Read a publication back once more and prove every message against its receipt.

    \b
    Example:
      hwosim stream verify --program 1093 --scenario nominal_l2
    """
    from hwosim_assets.lake.store import Lake
    from hwosim_assets.lake.tables import Tables
    from hwosim_assets.settings import Settings
    from hwosim_streaming.publication import prove_again

    settings = Settings()
    scenario, key = _chosen(scenario_name, program, settings)
    proofs = prove_again(key, scenario.id, Lake.from_settings(settings), Tables.from_settings(settings), settings)
    names = ("planned", "lost", "duplicated", "consumed", "truths_planned", "truths_consumed", "verified")
    said = [
        {"plan_sha256": sha256, **{name: getattr(proof, name) for name in names}} for sha256, proof in proofs.items()
    ]
    problems = [each for proof in proofs.values() for each in proof.discrepancies]
    if as_json:
        print_json({"publications": said, "discrepancies": [vars(each) for each in problems]})
    else:
        print_table("", ["plan", *names], [[row["plan_sha256"][:12], *(row[name] for name in names)] for row in said])
        for each in problems:
            out.print(each.kind, each.message_id, each.detail)
    if problems or not all(proof.verified for proof in proofs.values()):
        raise HwosimError(
            f"{key} {scenario.id}", f"{len(problems)} discrepancies", "publish it again, or look into the broker"
        )


@stream.command()
@click.option("--once", is_flag=True, help="End when all that lies on the topic now is in the tables.")
@click.option("--every", type=click.FloatRange(min=0.1), default=10.0, show_default=True, help="Seconds per batch.")
@click.option("--window", type=click.IntRange(min=1), default=600, show_default=True, help="Seconds per window.")
@click.option("--master", default="local[2]", show_default=True, help="Spark's master.")
@click.option("--checkpoint", type=click.Path(file_okay=False, path_type=Path), help="Where the job keeps its place.")
@click.option(
    "--jars",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder of Iceberg's and the catalog's jars; by default Spark fetches them from Maven Central.",
)
@json_option
def spark(
    once: bool, every: float, window: int, master: str, checkpoint: Path | None, jars: Path | None, as_json: bool
) -> None:
    """Put the frames' metadata and statistics over windows of time into the lake's tables, each frame once.

    A Structured Streaming job of Apache Spark (extra spark, Java 17) for streams that outgrow one machine. It
    fills stream_frames and stream_statistics; killed and started again it goes on where it stopped.

    \b
    Example:
      hwosim stream spark --once
      hwosim sql "SELECT detector, window_start, frames, mean, stddev FROM stream_statistics"
    """
    from hwosim_assets.settings import Settings
    from hwosim_streaming.spark import Batch, run

    def told(batch: Batch) -> None:
        if as_json:
            out.print_json(data=vars(batch), indent=None)
        else:
            reason = f" ({batch.reason})" if batch.refused else ""
            say(f"batch {batch.number}: {batch.frames} frames, {batch.refused} refused{reason}")

    how = {"master": master, "once": once, "every_seconds": every, "window_seconds": window}
    run(Settings(), **how, checkpoint=checkpoint, jars=jars, on_batch=told)  # type: ignore[arg-type]


@stream.group()
def broker() -> None:
    """Run the embedded broker of this DAGSTER_HOME (memory only, this machine only)."""


@broker.command()
@json_option
def start(as_json: bool) -> None:
    """Start the embedded broker in the background, or find it running.

    \b
    Example:
      hwosim stream broker start
    """
    from hwosim_assets.settings import Settings
    from hwosim_streaming.broker import launch

    state = launch(Settings().home)
    _print_one({"servers": state.servers, **vars(state)}, as_json)


@broker.command()
@json_option
def status(as_json: bool) -> None:
    """Say whether the embedded broker runs; exit status 1 if it does not.

    \b
    Example:
      hwosim stream broker status --json
    """
    from hwosim_assets.settings import Settings
    from hwosim_streaming.broker import running

    state = running(Settings().home)
    if state is None:
        raise HwosimError("embedded broker", "does not run", "start it with: hwosim stream broker start")
    _print_one({"servers": state.servers, **vars(state)}, as_json)


@broker.command()
def stop() -> None:
    """Stop the embedded broker; its messages are gone, and what was published will be published again.

    \b
    Example:
      hwosim stream broker stop
    """
    from hwosim_assets.settings import Settings
    from hwosim_streaming import broker as embedded

    say("stopped" if embedded.stop(Settings().home) else "was not running")


@broker.command()
def run() -> None:
    """Run the embedded broker until Ctrl-C.

    \b
    Example:
      hwosim stream broker run
    """
    from hwosim_assets.settings import Settings
    from hwosim_streaming import broker as embedded

    home = Settings().home
    state = embedded.launch(home)
    say(f"broker {state.servers}, Ctrl-C stops it")
    try:
        while embedded.running(home) == state:
            time.sleep(1.0)
    finally:
        embedded.stop(home)


def _print_one(said: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(said)
    else:
        print_table("", ["", ""], said.items())


def _frame_record(frame: Any) -> dict[str, Any]:
    """Return a frame as JSON can say it: everything but the pixels."""
    arrays = {name: {"dtype": array.dtype.str, "shape": array.shape} for name, array in frame.arrays.items()}
    return {**{name: value for name, value in vars(frame).items() if name != "arrays"}, "arrays": arrays}
