"""A Structured Streaming job: the frames' topic into the lake's Iceberg tables, each frame once (extra ``spark``).

Holds: the table ``stream_statistics``, :func:`session` and :func:`run`. For those whose stream outgrows one machine:
Spark's workers read the topic's partitions side by side. Keep out reading Kafka and describing a frame
(``spark_source``), and where the tables lie (``spark_catalog``).

Each frame once, whatever dies and whenever: frames are merged by run and message id, so that a batch that is done
again, a message that came twice, and even a job that lost its checkpoint add nothing; the statistics of a
window are a function of the frames that lie in the table, computed anew for every window that a batch touched. The two
tables are two commits; a job that dies between them does the same batch again, and the second follows.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from hwosim_assets.errors import BackendAbsentError, BadInputError, HwosimError
from hwosim_assets.lake.spec import TableSpec
from hwosim_streaming.spark_catalog import CATALOG, catalog_properties, packages

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

    from hwosim_assets.settings import Settings

__all__ = ["STREAM_STATISTICS", "Batch", "run", "session"]

#: What a window's statistics are told apart by, besides program, run and window.
GROUPS = ("product_type", "instrument", "detector", "extname", "unit")

STREAM_STATISTICS = TableSpec(
    name="stream_statistics",
    schema=pa.schema(
        [
            pa.field("program", pa.string(), nullable=False),
            pa.field("run_id", pa.string(), nullable=False),
            *(pa.field(name, pa.string()) for name in GROUPS),
            pa.field("window_start", pa.timestamp("us", "UTC"), nullable=False),
            pa.field("window_seconds", pa.int64(), nullable=False),
            pa.field("frames", pa.int64(), nullable=False),
            pa.field("pixels", pa.int64(), nullable=False),
            pa.field("invalid", pa.int64(), nullable=False),
            pa.field("mean", pa.float64()),
            pa.field("stddev", pa.float64()),
            pa.field("minimum", pa.float64()),
            pa.field("maximum", pa.float64()),
        ]
    ),
    scope=("program",),
    key=("run_id", *GROUPS, "window_start", "window_seconds"),
    doc="The pixels of all image frames that were taken in a window of time, by detector and kind of product: finite "
    "pixels, not finite ones, mean, standard deviation (of the population), least and greatest.",
)


@dataclass(frozen=True)
class Batch:
    """What one micro-batch held.

    Attributes
    ----------
    number : int
        Spark's number of it; the same when it is done again.
    messages, frames, refused : int
        Read, among them frames, among them what could not be used.
    reason : str
        Why one of the refused ones was refused.
    """

    number: int
    messages: int
    frames: int
    refused: int
    reason: str


def session(settings: Settings, master: str, jars: Path | None = None) -> SparkSession:
    """Start Spark with the lake's catalog under the name ``hwosim``.

    Parameters
    ----------
    settings : Settings
        Which lake and catalog.
    master : str
        Spark's master, for example ``local[2]``.
    jars : pathlib.Path, optional
        Folder of the jars (``spark_catalog.packages``); Spark fetches them from Maven Central by default.

    Raises
    ------
    BackendAbsentError
        If Spark or Java is not there, or does not start.
    BadInputError
        If Spark cannot write to the configured catalog or lake.
    """
    catalog, needed = catalog_properties(settings), ",".join(packages(settings))
    try:
        from pyspark.errors import PySparkRuntimeError
        from pyspark.sql import SparkSession
    except ImportError as error:
        raise BackendAbsentError("Spark", "is not installed", "install the extra spark") from error
    if shutil.which("java") is None and "JAVA_HOME" not in os.environ:
        raise BackendAbsentError("Java", "is not installed, and Spark needs it", "install Java 17 or later")
    found = sorted(str(jar) for jar in jars.glob("*.jar")) if jars is not None else []
    properties = {
        "spark.sql.extensions": "org.apache.iceberg.spark.extensions.IcebergSparkSessionExtensions",
        "spark.sql.session.timeZone": "UTC",
        **({"spark.jars.packages": needed} if jars is None else {"spark.jars": ",".join(found)}),
    }
    if master.startswith("local"):
        here = {"spark.driver.bindAddress": "127.0.0.1", "spark.driver.host": "127.0.0.1"}
        here["spark.ui.showConsoleProgress"] = "false"
        properties |= {**here, "spark.ui.enabled": "false", "spark.sql.shuffle.partitions": "4"}
        # Spark knows no other way; without it the workers are the first python3 on the path.
        os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    builder = SparkSession.builder.appName("hwosim-stream").master(master)
    for name, value in properties.items():
        builder = builder.config(name, value)
    try:
        spark = builder.getOrCreate()
    except PySparkRuntimeError as error:
        mend = "see its words above; it needs Java 17 and, the first time, Maven Central (or --jars FOLDER)"
        raise BackendAbsentError("Spark", "does not start", mend) from error
    spark.sparkContext.setLogLevel("ERROR")
    for name, value in catalog.items():
        # Not at the start: what is set there stands in the command line of Java, and one is a password.
        spark.conf.set(f"spark.sql.catalog.{CATALOG}{name}", value)
    return spark


def run(
    settings: Settings,
    *,
    master: str,
    once: bool,
    every_seconds: float,
    window_seconds: int,
    checkpoint: Path | None = None,
    jars: Path | None = None,
    on_batch: Callable[[Batch], None] = lambda _batch: None,
) -> None:
    """Run the job: until it is interrupted, or until what lies on the topic now is in the tables.

    Parameters
    ----------
    settings : Settings
        Which broker, lake and catalog.
    master : str
        Spark's master.
    once : bool
        End when all that was on the topic at the start is in the tables.
    every_seconds : float
        Time from one micro-batch to the next.
    window_seconds : int
        Length of the windows; they begin at multiples of it since 1970.
    checkpoint : pathlib.Path, optional
        Where the job remembers how far it has come; by default a folder of its own for each broker, below the
        state folder. On a cluster all its machines must see it.
    jars : pathlib.Path, optional
        See :func:`session`.
    on_batch : callable, optional
        Told of each micro-batch.

    Raises
    ------
    BackendAbsentError
        If there is no broker, no Spark, or no lake.
    BadInputError
        If there is no topic, or Spark cannot write to the configured catalog or lake.
    HwosimError
        If the job fails; it can be started again and goes on where it stopped.
    """
    from hwosim_assets.lake.tables import Tables

    topic, usual = _topic(settings)
    remembered = usual if checkpoint is None else checkpoint.absolute()
    spark = session(settings, master, jars)
    try:
        tables = Tables.from_settings(settings)
        for spec in (_frames_spec(), STREAM_STATISTICS):
            tables.ensure(spec)
        _stream(spark, settings.namespace, topic, remembered, once, every_seconds, window_seconds, on_batch)
    finally:
        spark.stop()


def _topic(settings: Settings) -> tuple[str, Path]:
    """Return the frames' topic, and where a job on this broker keeps its place."""
    from hwosim_streaming.broker import bootstrap_servers, broker_id
    from hwosim_streaming.clients import client_config
    from hwosim_streaming.topics import existing_topics, topic_name

    servers = bootstrap_servers(settings, start=False)
    topic = topic_name("frame", settings.topic_prefix)
    if "frame" not in existing_topics(client_config(settings, servers), settings.topic_prefix).names:
        raise BadInputError(f"topic {topic}", "is not on this broker", "publish first: hwosim stream publish")
    return topic, settings.home / "spark" / broker_id(settings, servers) / topic


def _stream(
    spark: SparkSession,
    namespace: str,
    topic: str,
    checkpoint: Path,
    once: bool,
    every_seconds: float,
    window_seconds: int,
    on_batch: Callable[[Batch], None],
) -> None:
    from pyspark.errors import PySparkException

    from hwosim_streaming.spark_source import FrameSource

    spark.dataSource.register(FrameSource)

    def take(rows: DataFrame, number: int) -> None:
        on_batch(write_batch(rows, number, f"{CATALOG}.{namespace}", window_seconds))

    rhythm = {"availableNow": True} if once else {"processingTime": f"{every_seconds} seconds"}
    try:
        stream = spark.readStream.format(FrameSource.name()).option("topic", topic).load().writeStream
        stream = stream.foreachBatch(take).option("checkpointLocation", checkpoint.as_uri())
        stream.trigger(**rhythm).start().awaitTermination()
    except PySparkException as error:
        reason = " ".join(str(error).split())[:500]
        raise HwosimError("Spark job", f"failed: {reason}", "mend that and start it again; it goes on there") from error


def write_batch(rows: DataFrame, number: int, namespace: str, window_seconds: int) -> Batch:
    """Put a micro-batch into the tables; doing it again changes nothing.

    Parameters
    ----------
    rows : pyspark.sql.DataFrame
        Of :class:`hwosim_streaming.spark_source.FrameSource`.
    number : int
        Of the micro-batch.
    namespace : str
        Catalog and namespace of the tables.
    window_seconds : int
        Length of the windows.
    """
    from pyspark.sql import functions as sql

    rows = rows.persist()
    try:
        refused = sql.count("refused").alias("refused")
        counted = rows.agg(sql.count(sql.lit(1)).alias("messages"), refused, sql.first("refused", True)).first()
        frames = rows.filter("refused IS NULL").drop("refused")
        add_frames(frames, f"{namespace}.{_frames_spec().name}")
        update_statistics(frames, namespace, window_seconds)
    finally:
        rows.unpersist()
    messages, bad, reason = counted or (0, 0, None)
    return Batch(number, messages, messages - bad, bad, reason or "")


def add_frames(frames: DataFrame, table: str) -> None:
    """Insert the frames that the table does not have, each once."""
    from pyspark.sql import Window
    from pyspark.sql import functions as sql

    # A duplicate has its original's key and so its partition: the first is the one at the lower offset.
    turn = sql.row_number().over(Window.partitionBy("run_id", "message_id").orderBy("kafka_offset"))
    new = frames.withColumn("turn", turn).filter("turn = 1").drop("turn").alias("new")
    stored = table.rpartition(".")[2]
    same = sql.col(f"{stored}.program").isin(_programs(frames))  # a constant: only these programs' files are looked at
    for name in ("program", "run_id", "message_id"):
        same = same & (sql.col(f"{stored}.{name}") == sql.col(f"new.{name}"))
    new.mergeInto(table, same).whenNotMatched().insertAll().merge()


def update_statistics(frames: DataFrame, namespace: str, window_seconds: int) -> None:
    """Compute the windows that these frames lie in anew, from all frames of the table."""
    from pyspark.sql import functions as sql

    spark = frames.sparkSession
    start = sql.expr(f"timestamp_seconds(floor(unix_timestamp(taken_at) / {window_seconds}) * {window_seconds})")
    which = ["program", "run_id", "window_start"]
    touched = frames.withColumn("window_start", start).select(*which).distinct()
    stored = spark.table(f"{namespace}.{_frames_spec().name}").filter(sql.col("program").isin(_programs(frames)))
    images = stored.filter("kind = 'image' AND pixels IS NOT NULL").withColumn("window_start", start)
    new = _statistics(images.join(touched, which, "left_semi"), [*which, *GROUPS])
    new = new.withColumn("window_seconds", sql.lit(window_seconds).cast("long")).alias("new")
    name = STREAM_STATISTICS.name
    same = sql.lit(True)
    for column in (*which, *GROUPS, "window_seconds"):
        same = same & sql.col(f"{name}.{column}").eqNullSafe(sql.col(f"new.{column}"))
    merge = new.mergeInto(f"{namespace}.{name}", same).whenMatched().updateAll().whenNotMatched().insertAll()
    merge.merge()


def _statistics(images: DataFrame, by: list[str]) -> DataFrame:
    """Return the statistics of all pixels of each group, from those of its frames.

    The sum of squared deviations from the mean of all is that of each frame from its own mean plus what the frame's
    mean is off, for each of its pixels (Chan, Golub and LeVeque 1983, The American Statistician 37, 242); nothing
    cancels as in the difference of two large sums.
    """
    from pyspark.sql import Window
    from pyspark.sql import functions as sql

    group = Window.partitionBy(*by)
    total = sql.sum("pixels").over(group)
    mean_of_all = sql.sum(sql.col("pixels") * sql.col("mean")).over(group) / sql.nullif(total, sql.lit(0))
    off = sql.col("pixels") * sql.pow(sql.col("mean") - sql.col("mean_of_all"), sql.lit(2))
    return (
        images.withColumn("mean_of_all", mean_of_all)
        .groupBy(*by)
        .agg(
            sql.count(sql.lit(1)).alias("frames"),
            sql.sum("pixels").alias("pixels"),
            sql.sum("invalid").alias("invalid"),
            sql.first("mean_of_all").alias("mean"),
            sql.sqrt(sql.sum(sql.col("squared_deviations") + off) / sql.nullif(sql.sum("pixels"), sql.lit(0))).alias(
                "stddev"
            ),
            sql.min("minimum").alias("minimum"),
            sql.max("maximum").alias("maximum"),
        )
    )


def _programs(frames: DataFrame) -> list[str]:
    return [row.program for row in frames.select("program").distinct().collect()]


def _frames_spec() -> TableSpec:
    """Return the table of frames; its module needs Spark."""
    from hwosim_streaming.spark_source import STREAM_FRAMES

    return STREAM_FRAMES
