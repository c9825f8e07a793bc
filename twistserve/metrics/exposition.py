"""What a scraper gets: a registry's metrics as Prometheus text or as OpenMetrics.

prometheus-client makes an object of every sample and sorts and escapes its labels, each time: 10 us a sample, which is
127 ms for 200 routes with three kinds of answers each. The `Counter` and `Histogram` of this module are for metrics
with that many series: they remember what the lines of a series look like, and only fill its labels in once and its
numbers at each scrape.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import accumulate
from typing import Any, Protocol

import prometheus_client
from prometheus_client import Metric, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.openmetrics.exposition import CONTENT_TYPE_LATEST as CONTENT_TYPE_OPENMETRICS
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics

from twistserve.http.negotiation import weight, weights

TEXT = CONTENT_TYPE_PLAIN_0_0_4
OPENMETRICS = CONTENT_TYPE_OPENMETRICS

_END = b"# EOF\n"
_ESCAPES = str.maketrans({"\\": r"\\", "\n": r"\n", '"': r"\"", "%": "%%"})


def line_template(name: str, labels: Mapping[str, str]) -> str:
    """A sample's line in both formats, with a %r in the place of its number; the labels' values are `escape`d."""
    pairs = ",".join([f'{label}="{value}"' for label, value in sorted(labels.items())])
    return f"{name}{{{pairs}}} %r\n" if pairs else f"{name} %r\n"


def escape(value: str) -> str:
    """A label's value as `line_template` wants it."""
    return value.translate(_ESCAPES)


class Family(Metric):
    """A metric at the time of a scrape that writes its lines itself; `samples` are made for who asks for them."""

    def __init__(self, metric: Metric, lines: Callable[[], str], collect: Callable[[], Iterable[Metric]]) -> None:
        super().__init__(metric.name, metric.documentation, metric.type)
        self.lines = lines
        self._collect = collect
        del self.samples

    def __getattr__(self, name: str) -> Any:
        if name != "samples":
            raise AttributeError(name)
        self.samples = [sample for metric in self._collect() for sample in metric.samples]
        return self.samples


class _ByTemplate(MetricWrapperBase):
    """What `Counter` and `Histogram` have in common; their series have no `_created` sample.

    `_numbers` of each has one series' numbers, in the order of its lines.
    """

    _template = ""
    """The lines of one series, a %r in each place of a number; made when they are first written."""
    _any_template = ""
    """The same of any series, with a number in braces for each label's value."""

    def collect(self) -> Iterable[Metric]:
        """One family."""
        return [Family(self._get_metric(), self.lines, super().collect)]

    def lines(self) -> str:
        """The lines of all series, the same in both formats; callable from any thread."""
        with self._lock:
            series: list[tuple[Sequence[str], Any]] = list(self._metrics.items())
        return "".join(
            [(child._template or self._describe(child, labels)) % child._numbers() for labels, child in series]
        )

    def _describe(self, child: Any, labels: Sequence[str]) -> str:
        self._any_template = self._any_template or self._describe_any(child)
        child._template = template = self._any_template.format(*map(escape, labels))
        return template

    def _describe_any(self, child: Any) -> str:
        # By characters that no line has: braces it has.
        places = {name: f"\0{place}\1" for place, name in enumerate(self._labelnames)}
        lines = [
            line_template(self._name + sample.name, places | sample.labels)
            for sample in child._child_samples()
            if sample.name != "_created"
        ]
        text = "".join(lines).replace("{", "{{").replace("}", "}}")
        return text.replace("\0", "{").replace("\1", "}")


class Counter(_ByTemplate, prometheus_client.Counter):
    """A counter with labels and many series."""

    def _numbers(self) -> tuple[float, ...]:
        return (self._value.get(),)


class Histogram(_ByTemplate, prometheus_client.Histogram):
    """A histogram with labels and many series."""

    def _numbers(self) -> tuple[float, ...]:
        buckets = [*accumulate([bucket.get() for bucket in self._buckets])]
        return (*buckets, buckets[-1], self._sum.get())


class _Alone:
    """A collector of one metric."""

    def __init__(self, metric: Metric) -> None:
        self._metric = metric

    def collect(self) -> list[Metric]:
        """The metric."""
        return [self._metric]


class Source(Protocol):
    """A registry, or what collects like one."""

    def collect(self) -> Iterable[Metric]:
        """The metrics now."""


def expose(source: Source, content_type: str) -> bytes:
    """The source's metrics in the format of `TEXT` or `OPENMETRICS`. Raises what a collector raises."""
    encode: Callable[[Any], bytes] = generate_openmetrics if content_type == OPENMETRICS else generate_latest
    written: list[bytes] = []
    for metric in source.collect():
        if isinstance(metric, Family):
            heading = Metric(metric.name, metric.documentation, metric.type)
            written += (encode(_Alone(heading)).removesuffix(_END), metric.lines().encode())
        else:
            written.append(encode(_Alone(metric)).removesuffix(_END))
    if content_type == OPENMETRICS:
        written.append(_END)
    return b"".join(written)


def choose_format(accept: str) -> str:
    """`OPENMETRICS` for a scraper that accepts it and likes text no better, else `TEXT` (RFC 9110 section 12.5.1)."""
    wanted = weights(accept)
    liked = weight(wanted, "application/openmetrics-text")
    return OPENMETRICS if liked and liked >= weight(wanted, "text/plain", "text/*", "*/*") else TEXT


def takes_gzip(accept_encoding: str) -> bool:
    """Whether gzip is accepted (RFC 9110 section 12.5.3)."""
    return weight(weights(accept_encoding), "gzip") > 0
