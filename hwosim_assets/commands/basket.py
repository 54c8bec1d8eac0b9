"""``hwosim basket``: saved searches, their history, and who is told of new products."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from hwosim_assets.console import json_option, print_json, print_table, progress, say
from hwosim_assets.errors import BadInputError, HwosimError
from hwosim_assets.settings import redacted

if TYPE_CHECKING:
    from hwosim_assets.lake.store import Lake
    from hwosim_assets.lake.tables import Tables
    from hwosim_assets.settings import Settings

__all__ = ["basket"]


@click.group()
def basket() -> None:
    """Run saved searches again, see what they found when, and be told of new products.

    \b
    Example:
      hwosim search --instrument MIRI --product-type i2d --save miri-images
      hwosim basket run miri-images
      hwosim basket subscribe miri-images --to events.jsonl
      hwosim basket deliver
    """


@basket.command("list")
@json_option
def list_baskets(as_json: bool) -> None:
    """List the saved searches, each as it was found last.

    \b
    Example:
      hwosim basket list --json
    """
    from hwosim_assets.catalog.baskets import basket_names, history

    _, _, tables = _places()
    runs = [history(tables, name)[-1] for name in basket_names(tables)]
    if as_json:
        print_json(list(map(_told, runs)))
        return
    if runs:
        columns = ["basket", "runs", "last run", "products", "MB", "asks for"]
        print_table("", columns, ([run["basket"], run["run"], *_cells(run), _asked(run)] for run in runs))
    say(f"{len(runs)} baskets")


@basket.command()
@click.argument("name")
@click.option("--run", "number", type=click.IntRange(min=1), help="What this run found; the last by default.")
@json_option
def show(name: str, number: int | None, as_json: bool) -> None:
    """Show the history of a saved search, and the products that a run of it found.

    \b
    Example:
      hwosim basket show miri-images
      hwosim basket show miri-images --run 1 --json
    """
    from hwosim_assets.catalog.baskets import found_by, history, run_numbered

    _, lake, tables = _places()
    runs = history(tables, name)
    run = run_numbered(runs, number)
    products = found_by(run, lake).to_pylist()
    if as_json:
        print_json({"history": list(map(_told, runs)), "run": run["run"], "products": products})
        return
    say(f"{name}: {_asked(run)}")
    columns = ["run", "at", "products", "MB", "added", "gone", "reprocessed"]
    print_table("", columns, ([one["run"], *_cells(one), *_differences(one)] for one in runs))
    columns = ["program", "product", "sha256", "CAL_VER", "CRDS_CTX", "bytes"]
    print_table(f"found by run {run['run']}", columns, map(_product, products))


@basket.command("run")
@click.argument("name")
@json_option
def run_again(name: str, as_json: bool) -> None:
    """Run a saved search again, and add what it finds to its history.

    \b
    Example:
      hwosim basket run miri-images
    """
    from hwosim_assets.catalog.baskets import run_basket

    _, lake, tables = _places()
    run = run_basket(name, lake, tables)
    if as_json:
        print_json(_told(run))
        return
    added, gone, reprocessed = _differences(run)
    say(
        f"{name}, run {run['run']}: {run['products']} products, {added} added, {gone} gone, {reprocessed} reprocessed "
        f"since the run before"
    )


@basket.command()
@click.argument("name")
def drop(name: str) -> None:
    """Forget a saved search, its history and its subscriptions. Products stay.

    \b
    Example:
      hwosim basket drop miri-images
    """
    from hwosim_assets.catalog.baskets import drop_basket
    from hwosim_assets.catalog.subscriptions import subscriptions, unsubscribe

    _, lake, tables = _places()
    rows = subscriptions(tables, name)
    for row in rows:
        unsubscribe(row, tables)
    runs = drop_basket(name, lake, tables)
    say(f"{name} is forgotten, with {runs} runs and {len(rows)} subscriptions")


@basket.command()
@click.argument("name")
@click.option(
    "--to", "address", required=True, metavar="TARGET", help="A file of JSON lines, http(s)://..., or kafka:TOPIC."
)
@click.option(
    "--event", "kinds", multiple=True, type=click.Choice(["new", "first", "reprocessed", "public"]),
    help="Only this kind of event; may be given again. All by default.",
)  # fmt: skip
@json_option
def subscribe(name: str, address: str, kinds: tuple[str, ...], as_json: bool) -> None:
    """Be told of products of a saved search: each event once, as a CloudEvent in JSON.

    new: a product that was not there. first: the first product of an observation. reprocessed: a further
    version of a product. public: exclusive access ended. What is there now is no event. Events go out with
    hwosim basket deliver.

    \b
    Example:
      hwosim basket subscribe miri-images --to events.jsonl --event new --event reprocessed
      hwosim basket subscribe miri-images --to http://127.0.0.1:8080/events
      hwosim basket subscribe miri-images --to kafka:hwosim.events.v1
    """
    from pathlib import Path

    from hwosim_assets.catalog.subscriptions import KINDS
    from hwosim_assets.catalog.subscriptions import subscribe as begin
    from hwosim_assets.catalog.targets import target_of

    settings, lake, tables = _places()
    if ":" not in address:
        address = Path(address).absolute().as_uri()  # a later delivery may start in another folder
    target_of(address, settings)  # refuses what nothing serves
    row = begin(name, address, kinds or KINDS, lake, tables)
    if as_json:
        print_json(_subscription(row))
    else:
        say(f"subscription {row['subscription']}: {row['kinds']} of {name} go to {redacted(address)}")


@basket.command("subscriptions")
@click.argument("name", required=False)
@json_option
def list_subscriptions(name: str | None, as_json: bool) -> None:
    """List the subscriptions of a saved search, or all.

    \b
    Example:
      hwosim basket subscriptions
    """
    from hwosim_assets.catalog.subscriptions import subscriptions

    rows = [_subscription(row) for row in subscriptions(_places()[2], name)]
    if as_json:
        print_json(rows)
        return
    if rows:
        columns = ["subscription", "basket", "kinds", "target", "since"]
        began = [f"{row['began_at']:%Y-%m-%d %H:%M}" for row in rows]
        print_table("", columns, ([*map(row.get, columns[:-1]), at] for row, at in zip(rows, began, strict=True)))
    say(f"{len(rows)} subscriptions")


@basket.command("unsubscribe")
@click.argument("subscription")
def end_subscription(subscription: str) -> None:
    """End a subscription.

    \b
    Example:
      hwosim basket unsubscribe 1f0c93ab
    """
    from hwosim_assets.catalog.subscriptions import subscriptions, unsubscribe

    _, _, tables = _places()
    rows = [row for row in subscriptions(tables) if row["subscription"] == subscription]
    if not rows:
        raise BadInputError(f"subscription {subscription}", "is none", "hwosim basket subscriptions lists them")
    unsubscribe(rows[0], tables)
    say(f"subscription {subscription} of {rows[0]['basket']} has ended")


@basket.command("deliver")
@click.argument("name", required=False)
@json_option
def deliver_events(name: str | None, as_json: bool) -> None:
    """Send the events that happened since the last delivery, of one saved search or all.

    One that cannot be delivered stays for the next time and does not stop the others; the status is then 1.

    \b
    Example:
      hwosim basket deliver
      */10 * * * * hwosim basket deliver
    """
    from hwosim_assets.catalog.subscriptions import deliver, subscriptions
    from hwosim_assets.catalog.targets import target_of

    settings, lake, tables = _places()
    rows = subscriptions(tables, name)
    done: list[dict[str, Any]] = []
    with progress() as bars:
        for row in bars.track(rows, description="deliver"):
            told = {"subscription": row["subscription"], "basket": row["basket"], "sent": 0, "trouble": None}
            try:
                told["sent"] = deliver(row, target_of(row["target"], settings), lake, tables, settings.home)
            except HwosimError as error:
                told["trouble"] = str(error)
            done.append(told)
    if as_json:
        print_json(done)
    elif done:
        print_table("", list(done[0]), ([*told.values()] for told in done))
    else:
        say("there is no subscription: hwosim basket subscribe NAME --to TARGET")
    failed = [told["subscription"] for told in done if told["trouble"]]
    if failed:
        raise HwosimError(
            f"subscription {', '.join(failed)}", "could not be delivered", "see above, then deliver again"
        )


def _places() -> tuple[Settings, Lake, Tables]:
    from hwosim_assets.lake.store import Lake
    from hwosim_assets.lake.tables import Tables
    from hwosim_assets.settings import Settings

    settings = Settings()
    return settings, Lake.from_settings(settings), Tables.from_settings(settings)


def _asked(run: dict[str, Any]) -> str:
    """Return the criteria of a question that were given, in one line."""
    import json

    given = {name: value for name, value in json.loads(run["question_json"]).items() if value not in (None, [])}
    return ", ".join(f"{name} {_words(value)}" for name, value in given.items()) or "everything"


def _words(value: Any) -> str:
    if isinstance(value, dict):
        return " ".join(_words(item) for item in value.values())
    return " ".join(map(_words, value)) if isinstance(value, list) else str(value)


def _told(run: dict[str, Any]) -> dict[str, Any]:
    """Return a run for JSON, with its question as such."""
    import json

    rest = {name: value for name, value in run.items() if name not in ("program", "question_json")}
    return rest | {"question": json.loads(run["question_json"])}


def _cells(run: dict[str, Any]) -> list[object]:
    return [f"{run['ran_at']:%Y-%m-%d %H:%M}", run["products"], round(run["size_bytes"] / 1e6, 1)]


def _differences(run: dict[str, Any]) -> list[int]:
    return [run[name] for name in ("added", "gone", "reprocessed")]


def _product(row: dict[str, Any]) -> list[object]:
    facts = [row[name] for name in ("kw_cal_ver", "kw_crds_ctx", "size_bytes")]
    return [row["program"], row["product_name"], row["sha256"][:12], *facts]


def _subscription(row: dict[str, Any]) -> dict[str, Any]:
    """Return a subscription as it may be shown."""
    return {name: value for name, value in row.items() if name != "program"} | {"target": redacted(row["target"])}
