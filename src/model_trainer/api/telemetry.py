"""Prometheus: one collector that reads the store at scrape, and this process' HTTP requests."""

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

import model_trainer
from model_trainer.api.streams import Streams
from model_trainer.container import Container
from model_trainer.core.contracts.inference import INFERENCE_QUEUE
from model_trainer.core.errors import AppError
from model_trainer.core.logging import get_logger

PREFIX = "model_trainer"
BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0)

logger = get_logger(__name__)


class Telemetry:
    """Metrics of one app, in a registry of their own."""

    content_type = CONTENT_TYPE_LATEST

    def __init__(self, container: Container, streams: Streams) -> None:
        self._registry = CollectorRegistry(auto_describe=False)
        self._requests = Counter(
            f"{PREFIX}_http_requests_total",
            "Answered HTTP requests.",
            ["route", "method", "code"],
            registry=self._registry,
        )
        self._seconds = Histogram(
            f"{PREFIX}_http_request_duration_seconds",
            "Time to the end of the answer; event streams last as long as their readers stay.",
            ["route", "method"],
            buckets=BUCKETS,
            registry=self._registry,
        )
        self._registry.register(_ServiceCollector(container, streams))

    def observe(self, *, route: str, method: str, status: int, seconds: float) -> None:
        """Counts one answered request."""
        self._requests.labels(route, method, str(status)).inc()
        self._seconds.labels(route, method).observe(seconds)

    def exposition(self) -> bytes:
        """Everything in Prometheus' text format."""
        return generate_latest(self._registry)


class _ServiceCollector(Collector):
    def __init__(self, container: Container, streams: Streams) -> None:
        self._container = container
        self._streams = streams

    def collect(self) -> Iterable[Metric]:
        info = GaugeMetricFamily(f"{PREFIX}_build_info", "What runs here.", labels=["version"])
        info.add_metric([model_trainer.__version__], 1)
        disk = GaugeMetricFamily(f"{PREFIX}_artifacts_free_bytes", "Free space where artifacts go.")
        disk.add_metric([], self._container.artifacts.free_bytes())
        streams = GaugeMetricFamily(f"{PREFIX}_event_streams", "Open event streams of this process.")
        streams.add_metric([], self._streams.num_open)
        store_up = GaugeMetricFamily(f"{PREFIX}_store_up", "Whether the store answered this scrape.")
        try:
            of_store = self._of_store()
        except AppError as error:
            logger.warning("metrics_store_unavailable", error_code=error.code.value)
            of_store = []
        store_up.add_metric([], 1 if of_store else 0)
        return [info, disk, streams, store_up, *of_store]

    def _of_store(self) -> list[Metric]:
        runs = GaugeMetricFamily(f"{PREFIX}_runs", "Runs by kind and status.", labels=["kind", "status"])
        for (kind, status), number in sorted(self._container.runs.status_counts().items()):
            runs.add_metric([kind, status], number)
        workers = GaugeMetricFamily(f"{PREFIX}_workers", "Live workers.", labels=["queue"])
        depth = GaugeMetricFamily(f"{PREFIX}_queue_depth", "Jobs and questions waiting.", labels=["queue"])
        alive = self._container.workers.alive()
        for queue in (self._container.settings.rq.queue_name, self._container.settings.rq.short_queue_name):
            workers.add_metric([queue], sum(worker.queue == queue for worker in alive))
            depth.add_metric([queue], self._container.queue.depth(queue))
        workers.add_metric([INFERENCE_QUEUE], sum(worker.queue == INFERENCE_QUEUE for worker in alive))
        depth.add_metric([INFERENCE_QUEUE], self._container.inference.depth())
        return [runs, workers, depth]
