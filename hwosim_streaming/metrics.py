"""The stream in Prometheus's words: totals, rates, lag.

Holds: :func:`metrics_text`. Keep out gathering the numbers (``live``, ``lag``) and serving them (``report_server``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4 as CONTENT_TYPE
from prometheus_client.registry import Collector

from hwosim_assets.errors import HwosimError
from hwosim_streaming.lag import Lag

__all__ = ["CONTENT_TYPE", "metrics_text"]


def metrics_text(seen: dict[str, Any], lags: Callable[[], list[Lag]]) -> bytes:
    """Return the metrics in Prometheus's text format.

    Parameters
    ----------
    seen : dict
        :meth:`hwosim_streaming.live.LiveStream.snapshot`.
    lags : callable
        Asks the broker how far groups are behind; where it fails, ``hwosim_stream_up`` is 0 and no lag is told.
    """
    registry = CollectorRegistry()
    registry.register(_Stream(seen, lags))
    return generate_latest(registry)


class _Stream(Collector):
    """The numbers of one question."""

    def __init__(self, seen: dict[str, Any], lags: Callable[[], list[Lag]]) -> None:
        self._seen, self._lags = seen, lags

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics."""
        seen = self._seen
        messages = CounterMetricFamily("hwosim_stream_messages", "Data messages seen, by key.", labels=["key"])
        for key, count in seen["by_key"].items():
            messages.add_metric([key], count)
        yield messages
        yield CounterMetricFamily("hwosim_stream_bytes", "Bytes of their values.", value=seen["bytes"])
        faults = CounterMetricFamily("hwosim_stream_faults", "Messages damaged, or come again.", labels=["kind"])
        for kind, count in seen["faults"].items():
            faults.add_metric([kind], count)
        yield faults
        missing = "hwosim_stream_missing", "Sequence numbers that have not come, between the first and the latest."
        yield GaugeMetricFamily(*missing, value=seen["missing"])
        rate = "hwosim_stream_messages_per_second", "Data messages a second, over the last ten seconds."
        yield GaugeMetricFamily(*rate, value=seen["messages_per_s"])
        yield GaugeMetricFamily("hwosim_stream_bytes_per_second", "Bytes a second.", value=seen["bytes_per_s"])
        try:
            found = self._lags()
        except HwosimError:
            found = None
        yield GaugeMetricFamily("hwosim_stream_up", "Whether the broker answers.", value=float(found is not None))
        behind = GaugeMetricFamily(
            "hwosim_stream_lag", "Messages that a group has not processed.", labels=["group", "topic", "partition"]
        )
        for lag in found or []:
            behind.add_metric([lag.group, lag.topic, str(lag.partition)], lag.behind)
        yield behind
