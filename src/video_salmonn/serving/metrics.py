"""Prometheus metrics: vLLM's names with this package's prefix, and the seconds of every stage of media."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

PREFIX = "video_salmonn:"
_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 80, 160, 320)
_TOKENS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000)
STAGES = ("read", "decode", "features", "encode", "connect")


class Metrics:
    """The metrics of one server, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._gauges: dict[str, Gauge] = {}
        self.first_token = self._histogram("time_to_first_token_seconds", "From request to first token.")
        self.token_gap = self._histogram("inter_token_latency_seconds", "Between tokens of one answer.")
        self.latency = self._histogram("e2e_request_latency_seconds", "From request to end of answer.")
        self.queued = self._histogram("request_queue_time_seconds", "From submission until the model begins.")
        self.prefill = self._histogram("request_prefill_time_seconds", "The language model's pass over the prompt.")
        self.decode = self._histogram("request_decode_time_seconds", "Writing of the answer.")
        self.stage = {
            name: self._histogram(f"media_{name}_seconds", f"Stage {name!r} of a request's media.") for name in STAGES
        }
        self.batch = Histogram(
            f"{PREFIX}iteration_batch_size", "Requests answered together.", registry=self.registry, buckets=_TOKENS[:8]
        )
        self.prompt_size = Histogram(
            f"{PREFIX}request_prompt_tokens", "Prompt tokens, media included.", registry=self.registry, buckets=_TOKENS
        )
        self.prompt_tokens = self._counter("prompt_tokens", "Prompt tokens, media included.")
        self.media_tokens = self._counter("media_tokens", "Tokens that media took.")
        self.new_tokens = self._counter("generation_tokens", "Tokens written.")
        self.success = self._counter("request_success", "Answers made, by how they ended.", "finished_reason")
        self.rejections = self._counter("admission_rejections", "Requests refused at once, by reason.", "reason")
        self.responses = self._counter("http_responses", "Responses by route and status.", "route", "status")
        self.cache_queries = self._counter("mm_cache_queries", "Media looked up among those kept.")
        self.cache_hits = self._counter("mm_cache_hits", "Media found there.")

    def _histogram(self, name: str, text: str) -> Histogram:
        return Histogram(f"{PREFIX}{name}", text, registry=self.registry, buckets=_SECONDS)

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"{PREFIX}{name}", text, labels, registry=self.registry)

    def gauge(self, name: str, text: str, value: Callable[[], float]) -> None:
        """A value that is read when asked for. Named again (two apps of one service), the later function counts."""
        if name not in self._gauges:
            self._gauges[name] = Gauge(f"{PREFIX}{name}", text, registry=self.registry)
        self._gauges[name].set_function(value)

    def text(self) -> bytes:
        """All of them, in Prometheus' text format."""
        return generate_latest(self.registry)
