"""What goes onto Kafka, one asset per scenario; the topics themselves; the report at the end.

Holds: the factory of group ``stream``, the topics as external assets, ``report/data_quality``. Keep
out planning, publishing and proving (the modules beside this one that know nothing of Dagster).
"""

from collections.abc import Mapping, Sequence

import dagster as dg

from hwosim_assets import metadata
from hwosim_assets.assets.perturbed import perturbed_key, truth_key
from hwosim_assets.column_lineage import Columns
from hwosim_assets.lineage import code_references
from hwosim_assets.partitions import jwst_program
from hwosim_assets.perturb.scenario import Scenario
from hwosim_assets.resources import LakeResource
from hwosim_assets.settings import Settings
from hwosim_streaming import topics
from hwosim_streaming.publication import PUBLICATIONS
from hwosim_streaming.topics import topic_name

__all__ = ["REPORT_KEY", "STREAM_COLUMNS", "report_asset", "stream_asset", "stream_key", "topic_assets"]

REPORT_KEY = dg.AssetKey(["report", "data_quality"])

_MADE, _TRUE = "perturbed/{scenario}", "truth/{scenario}"
#: The table of group ``stream``. What was planned, published and read back follows from what the products hold.
STREAM_COLUMNS: Mapping[str, Columns] = {
    "stream": Columns(
        PUBLICATIONS,
        rest=((_MADE, "layout_json"), (_MADE, "out_sha256")),
        copied={_MADE: ("program", "scenario")},
        made={
            "plan_sha256": ((_MADE, "product_name"), (_MADE, "out_sha256"), (_MADE, "stream_time_mjd")),
            "products": ((_MADE, "product_name"),),
            "truths": ((_TRUE, "product_name"),),
            **dict.fromkeys(("run_id", "broker_id", "topic", "published_at"), ()),
        },
    )
}

#: What a reader finds on each topic.
TOPIC_DESCRIPTIONS = {
    "frame": "Pixels and table columns: a tile, an integration or a block of rows per message, in Avro.",
    "product": "One message per product: metadata and a claim-check URI of the whole file.",
    "truth": "What was done to each product, by product and message id. Models under test do not read it.",
    "control": "Runs started and finished, and the checkpoints a publisher resumes from.",
    "prediction": "What models answer to frames, by message id. Written by readers, not by this graph.",
}


def stream_key(scenario: str) -> dg.AssetKey:
    """Return the key of a scenario's publications."""
    return dg.AssetKey(["stream", scenario])


def stream_asset(scenario: Scenario) -> dg.AssetsDefinition:
    """Return the asset ``stream/<scenario>``: one verified publication per program."""

    @dg.asset(
        key=stream_key(scenario.name),
        group_name="stream",
        deps=[perturbed_key(scenario.name), truth_key(scenario.name)],
        partitions_def=jwst_program,
        kinds={"kafka", "avro"},
        pool="kafka",
        code_version=scenario.stream_sha256[:16],
        description=f"The program's products under `{scenario.name}`, planned, published to Kafka and read back: "
        "frames and products on the data topics, truth on a topic of its own. Receipts lie in the Iceberg table "
        "`publications`. "
        "Passed means: planned - lost + duplicated = consumed, each message reconciled by its id.",
    )
    def publish(context: dg.AssetExecutionContext, lake: LakeResource) -> dg.MaterializeResult:
        from hwosim_streaming.pace import read_pace
        from hwosim_streaming.publication import publish_program

        settings = Settings()
        result = publish_program(context.partition_key, scenario, lake.lake(), lake.tables(), settings)
        pace = read_pace(lake.lake(), result.row["receipt_key"])
        return dg.MaterializeResult(
            data_version=dg.DataVersion(result.row["plan_sha256"]),
            metadata=metadata.publication(
                result.row,
                already=result.already,
                pace=pace.figures(),
                plot=pace.png(),
                readers=_readers(settings),
            ),
        )

    return publish


def _readers(settings: Settings) -> list[dict[str, object]]:
    """Return how far each group of readers is behind on our topics."""
    from dataclasses import asdict

    from hwosim_streaming.broker import bootstrap_servers
    from hwosim_streaming.clients import client_config
    from hwosim_streaming.lag import lags
    from hwosim_streaming.topics import existing_topics

    config = client_config(settings, bootstrap_servers(settings))
    return [asdict(each) for each in lags(config, existing_topics(config, settings.topic_prefix))]


def topic_assets(scenarios: Sequence[Scenario], settings: Settings) -> list[dg.AssetSpec]:
    """Return the Kafka topics as external assets, so that the lineage ends where the stream begins."""
    published: list[dg.CoercibleToAssetDep] = [stream_key(scenario.name) for scenario in scenarios]
    frames = dg.AssetKey(["kafka", topic_name("frame", settings.topic_prefix)])
    return [
        dg.AssetSpec(
            ["kafka", topic_name(family, settings.topic_prefix)],
            group_name="kafka",
            deps=[frames] if family == "prediction" else published,
            kinds={"kafka"},
            description=f"{description} Lives on the broker of HWOSIM_KAFKA_BOOTSTRAP_SERVERS; nothing here makes or "
            "checks it, the proof of what went onto it stands with `stream/<scenario>`.",
            metadata={"dagster/code_references": code_references((topics.__file__, None))},
        )
        for family, description in TOPIC_DESCRIPTIONS.items()
    ]


def report_asset(scenarios: Sequence[Scenario]) -> dg.AssetsDefinition:
    """Return ``report/data_quality``: is this program good, over all stages."""

    @dg.asset(
        key=REPORT_KEY,
        group_name="report",
        deps=[dg.AssetKey(["catalog", "quarantine"]), *(stream_key(scenario.name) for scenario in scenarios)],
        partitions_def=jwst_program,
        kinds={"html"},
        code_version="1",
    )
    def data_quality(context: dg.AssetExecutionContext, lake: LakeResource) -> dg.MaterializeResult:
        """One page per program over all stages: what was checked, found and refused.

        Lies in the lake under ``reports/`` and is served at ``HWOSIM_REPORT_URL``. Passed means: no number that is
        followed over time left its level with this program; whether the program itself is good is what the page says.
        """
        from hwosim_assets.quality.report import write_summary

        written = write_summary(lake.lake(), lake.tables(), context.partition_key)
        return dg.MaterializeResult(
            data_version=dg.DataVersion(written.sha256),
            metadata={"report": dg.MetadataValue.url(written.url), "dagster/uri": written.uri},
        )

    return data_quality
