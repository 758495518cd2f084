"""vLLM's `/metrics` as signals: a pure function over Prometheus text.

Names as vLLM 0.32 writes them, with those of older versions beside (`gpu_cache_usage_perc`,
`time_per_output_token_seconds`). Whatever is missing stays unknown, whatever cannot be read is passed over, and several
engines behind one address are summed: counters and histograms are sums anyway, and the share of the KV cache is the
mean of equal engines.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from math import inf, isfinite, isnan
from typing import Final

from tokenguard.routing.signals import Signals

__all__ = ["Histogram", "Reading", "Scrape", "read_metrics", "read_signals"]

_LINE: Final = re.compile(r"(vllm:[a-z_]+)(?:\{(.*)\})?\s+(\S+)(?:\s+-?\d+)?\s*")
_LABEL: Final = re.compile(r'([a-zA-Z_]+)="((?:[^"\\]|\\.)*)"')
_LINE_MAX: Final = 8_192
_SMOOTHING: Final = 0.3
"""Weight of the newest reading in an average; readings come about once a second."""

_GAUGES: Final = {
    "vllm:num_requests_running": "running",
    "vllm:num_requests_waiting": "waiting",
    "vllm:kv_cache_usage_perc": "kv_usage",
    "vllm:gpu_cache_usage_perc": "kv_usage_old",
    "vllm:prefix_cache_queries_total": "queries",
    "vllm:prefix_cache_hits_total": "hits",
    "vllm:generation_tokens_total": "output_tokens",
    "vllm:admission_rejections_total": "rejections",
}
_HISTOGRAMS: Final = {
    "vllm:time_to_first_token_seconds": "ttft",
    "vllm:request_queue_time_seconds": "queue",
    "vllm:inter_token_latency_seconds": "token",
    "vllm:time_per_output_token_seconds": "token_old",
}


@dataclass(frozen=True, slots=True)
class Histogram:
    """A Prometheus histogram: how many were at most each bound, cumulated; their sum and their count."""

    buckets: Mapping[float, float] = field(default_factory=dict[float, float])
    sum: float = 0.0
    count: float = 0.0

    @property
    def mean(self) -> float | None:
        """Of what was counted; None: nothing."""
        return self.sum / self.count if self.count > 0 else None

    def since(self, before: Histogram) -> Histogram:
        """What came after an earlier state; all of it where the counters began anew."""
        if self.count < before.count:
            return self
        buckets = {bound: count - before.buckets.get(bound, 0.0) for bound, count in self.buckets.items()}
        return Histogram(buckets, self.sum - before.sum, self.count - before.count)

    def quantile(self, share: float) -> float | None:
        """The value below which a share of them is, by a line within its bucket; the last bound where it is beyond."""
        below, under, wanted = 0.0, 0.0, share * self.count
        for bound, count in sorted(self.buckets.items()):
            if count > 0 and count >= wanted:
                if bound == inf:
                    break
                return below + (bound - below) * (wanted - under) / max(count - under, 1e-9)
            below, under = (bound, count) if bound != inf else (below, under)
        return below if self.count > 0 and below > 0 else None


_NOTHING: Final = Histogram()


@dataclass(frozen=True, slots=True)
class Scrape:
    """One text, added up: gauges and counters by our names, histograms, and what the labels said."""

    numbers: Mapping[str, float]
    engines: Mapping[str, int]
    """How many engines told each number."""
    histograms: Mapping[str, Histogram]
    kv_tokens: int | None
    asleep: bool


@dataclass(frozen=True, slots=True)
class Reading:
    """A scrape and the signals that it makes with the one before."""

    scrape: Scrape
    signals: Signals


def read_signals(text: str, *, at_s: float, before: Reading | None = None) -> Reading:
    """Signals from a text and from the reading before it.

    Args:
        text: What `/metrics` answered; may be anything.
        at_s: When, on the monotonic clock.
        before: The endpoint's last reading; None: this is the first, and rates since then are unknown.
    """
    now = read_metrics(text)
    was = before.scrape if before else None
    averages = before.signals if before else None
    ttft, queue, token = (_since(now, was, name) for name in ("ttft", "queue", "token"))
    elapsed_s = at_s - averages.at_s if averages else 0.0
    queries, hits = _grown(now, was, "queries"), _grown(now, was, "hits")
    output_tokens = _grown(now, was, "output_tokens")
    usage = _mean(now, "kv_usage")
    signals = Signals(
        at_s=at_s,
        running=_whole(now, "running"),
        waiting=_whole(now, "waiting"),
        kv_usage=None if usage is None else min(1.0, max(0.0, usage)),
        kv_tokens=now.kv_tokens,
        ttft_s=_smoothed(averages.ttft_s if averages else None, ttft.mean),
        ttft_s_p50=ttft.quantile(0.5),
        ttft_s_p95=ttft.quantile(0.95),
        queue_s=queue.mean,
        token_s=_smoothed(averages.token_s if averages else None, token.mean),
        output_tps=output_tokens / elapsed_s if was and elapsed_s > 0 else None,
        hit_share=min(1.0, hits / queries) if queries > 0 else None,
        rejections=round(_grown(now, was, "rejections")) if was else 0,
        asleep=now.asleep,
    )
    return Reading(now, signals)


def read_metrics(text: str) -> Scrape:
    """Add a text up. Unknown names, broken lines and numbers that are none are passed over."""
    numbers: dict[str, float] = defaultdict(float)
    engines: dict[str, int] = defaultdict(int)
    buckets: dict[str, dict[float, float]] = defaultdict(lambda: defaultdict(float))
    totals: dict[str, float] = defaultdict(float)
    kv_tokens, awake, sleep_told = 0, 0.0, False
    for name, labels, value in _samples(text):
        base, _, part = name.rpartition("_")
        if name in _GAUGES:
            numbers[_GAUGES[name]] += value
            engines[_GAUGES[name]] += 1
        elif base in _HISTOGRAMS and part == "bucket":
            bound = _number(labels.get("le", ""))
            if bound is not None:
                buckets[_HISTOGRAMS[base]][bound] += value
        elif base in _HISTOGRAMS:
            totals[f"{_HISTOGRAMS[base]} {part}"] += value
        elif name == "vllm:cache_config_info":
            kv_tokens += _blocks(labels)
        elif name == "vllm:engine_sleep_state" and labels.get("sleep_state") == "awake":
            awake, sleep_told = awake + value, True
    _prefer_new_names(numbers, engines)
    histograms = {
        name: Histogram(dict(buckets[name]), totals[f"{name} sum"], totals[f"{name} count"])
        for name in _HISTOGRAMS.values()
        if f"{name} count" in totals
    }
    if "token" not in histograms and "token_old" in histograms:
        histograms["token"] = histograms["token_old"]
    return Scrape(dict(numbers), dict(engines), histograms, kv_tokens or None, sleep_told and awake == 0)


def _samples(text: str) -> Iterator[tuple[str, Mapping[str, str], float]]:
    """(name, labels, value) of each line of vLLM's that can be read."""
    for line in text.splitlines():
        if not line.startswith("vllm:") or len(line) > _LINE_MAX:
            continue
        found = _LINE.fullmatch(line)
        value = _number(found[3]) if found else None
        if found is None or value is None or not isfinite(value) or value < 0:
            continue
        yield found[1], dict(_LABEL.findall(found[2] or "")), value


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return None if isnan(value) else value


def _blocks(labels: Mapping[str, str]) -> int:
    """Tokens of one engine's KV cache, from the labels that state it; 0: it does not say."""
    blocks, size = _number(labels.get("num_gpu_blocks", "")), _number(labels.get("block_size", ""))
    if blocks is None or size is None or not isfinite(blocks * size):
        return 0
    return max(0, int(blocks * size))


def _prefer_new_names(numbers: dict[str, float], engines: dict[str, int]) -> None:
    if "kv_usage" not in engines and "kv_usage_old" in engines:
        numbers["kv_usage"], engines["kv_usage"] = numbers["kv_usage_old"], engines["kv_usage_old"]


def _whole(scrape: Scrape, name: str) -> int:
    return round(scrape.numbers.get(name, 0.0))


def _mean(scrape: Scrape, name: str) -> float | None:
    """Over the engines that told it."""
    told = scrape.engines.get(name, 0)
    return scrape.numbers[name] / told if told else None


def _since(now: Scrape, was: Scrape | None, name: str) -> Histogram:
    """What a histogram counted since the last scrape; all of it at the first."""
    later = now.histograms.get(name, _NOTHING)
    return later.since(was.histograms.get(name, _NOTHING)) if was else later


def _grown(now: Scrape, was: Scrape | None, name: str) -> float:
    """By how much a counter grew; all of it where it began anew."""
    later, earlier = now.numbers.get(name, 0.0), was.numbers.get(name, 0.0) if was else 0.0
    return later - earlier if later >= earlier else later


def _smoothed(average: float | None, newest: float | None) -> float | None:
    """An average that follows the newest readings; what is unknown changes nothing."""
    if average is None or newest is None:
        return average if newest is None else newest
    return average + _SMOOTHING * (newest - average)
