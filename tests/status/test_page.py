"""The status page, made of dictionaries: what it tells, and that nothing in them can become HTML."""

from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser
from typing import Any

import pytest

from twistserve.status.charts import SPAN, charts
from twistserve.status.html import Html, duration, element, number
from twistserve.status.page import MOST_OVERDUE, POLICY, render, verdict_of

HOSTILE = "\"'><script>alert(1)</script><img src=x onerror=alert(1)>&lt;"


def check(name: str, status: str = "pass", output: str | None = None, observed: Any = None) -> dict[str, Any]:
    return {"name": name, "status": status, "seconds": 0.012, "observed": observed, "output": output}


def probe(name: str, *checks: dict[str, Any]) -> dict[str, Any]:
    statuses = [each["status"] for each in checks]
    status = "fail" if "fail" in statuses else "warn" if "warn" in statuses else "pass"
    return {"name": name, "path": f"/{name}", "status": status, "seconds": 0.012, "checks": list(checks)}


def request(path: str = "/", seconds: float = 0.5, stage: str = "running", **fields: Any) -> dict[str, Any]:
    return {"method": "GET", "path": path, "seconds": seconds, "stage": stage, "where": None, **fields}


COLUMNS = (
    "requests_per_second",
    "errors_per_second",
    "median_seconds",
    "p95_seconds",
    "in_flight",
    "queued",
    "threads_busy",
    "threads_stuck",
    "connections",
)


def worker(
    *requests: dict[str, Any], pid: int = 4711, samples: int = 3, **history: list[float | None]
) -> dict[str, Any]:
    ages = [2.0 * number for number in reversed(range(samples))]
    return {
        "number": pid - 99,
        "pid": pid,
        "seconds": 7384.0,
        "memory": 91 << 20,
        "answered": 123456,
        "in_flight": len(requests),
        "queued": 0,
        "threads": {"total": 8, "busy": 3, "stuck": 0, "limit": 2},
        "core": None,
        "connections": 12,
        "requests": list(requests),
        "more_requests": 0,
        "history": {"seconds_ago": ages, **{name: [1.0] * samples for name in COLUMNS}, **history},
    }


def status(*workers: dict[str, Any], state: str = "ready", **fields: Any) -> dict[str, Any]:
    return {
        "time": "2030-01-31T03:12:09Z",
        "host": "bookshop-1",
        "lifecycle": {
            "state": state,
            "since": "2030-01-31T00:08:54Z",
            "seconds": 11000.0,
            "reason": "start-up is complete",
        },
        "probes": [probe("readiness", check("database:default")), probe("liveness", check("reactor"))],
        "serves": True,
        "workers": list(workers),
        "services": [],
        "versions": {"twistserve": "1.0", "application": None, "django": "5.2"},
        "options": [
            {"option": "--port", "group": "Web server", "value": "8000", "source": "the command line"},
            {"option": "--threads", "group": "Web server", "value": "8", "source": "default"},
        ],
        **fields,
    }


class Reader(HTMLParser):
    """Reads a page as a browser does: its text, its elements, their attributes."""

    VOID = ("meta", "link")

    def __init__(self, page: bytes) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.words: list[str] = []
        self.feed(page.decode())
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not {"style", "script"}.intersection(self.open):
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def count(self, tag: str) -> int:
        return sum(name == tag for name, _ in self.elements)


def read(given: dict[str, Any]) -> Reader:
    return Reader(render(given))


def test_how_threads_are_let_at_work() -> None:
    """How many may be, and the core that they are kept on; not told where nobody knows, or they are not."""
    described = worker()
    assert "threads let at work 2 of 8" in read(status(described)).text
    assert "on core" not in read(status(described)).text
    described["core"], described["threads"]["limit"] = 5, None
    text = read(status(described)).text
    assert "on core 5" in text
    assert "let at work" not in text


def test_a_calm_page() -> None:
    """All is well: it says so, with the state, its age, the probes, options and versions."""
    reader = read(status(worker(request("/books/"))))
    for words in (
        "Ready",
        "2030-01-31 00:08:54 UTC",
        "3 h 3 min",
        "start-up is complete",
        "What is wrong Nothing.",
        "database:default",
        "12 ms",
        "GET /books/",
        "500 ms",
        "3 of 8 busy",
        "91 MB",
        "--port 8000 the command line",
        "At their defaults: 1",
        "twistserve 1.0",
    ):
        assert words in reader.text
    assert "application" not in reader.text


@pytest.mark.parametrize(
    ("given", "verdict"),
    [
        (status(worker()), ("Ready", "pass")),
        (status(worker(), state="starting"), ("Starting", "warn")),
        (status(worker(), state="draining"), ("Draining", "warn")),
        (status(worker(request(stage="overdue"))), ("Ready, requests stuck", "warn")),
        (status(worker(), probes=[probe("readiness", check("a", "warn"))]), ("Ready, warnings", "warn")),
        (status(worker(), probes=[probe("readiness", check("a", "fail"))]), ("Failing", "fail")),
        (status(worker(), state="draining", probes=[probe("readiness", check("a", "fail"))]), ("Draining", "warn")),
        (status(state="starting", probes=[probe("liveness", check("a", "fail"))]), ("Starting, failing", "fail")),
    ],
)
def test_the_verdict(given: dict[str, Any], verdict: tuple[str, str]) -> None:
    """One look tells how it is; while it starts or drains, readiness fails as it should."""
    assert verdict_of(given) == verdict
    reader = read(given)
    assert f"{verdict[0]} Lifecycle: {given['lifecycle']['state']} since" in reader.text
    assert ("section", {"id": "state", "class": verdict[1]}) in reader.elements


def test_what_is_wrong_comes_on_top_with_its_reasons() -> None:
    """Failing checks, then stuck requests, then warnings, before everything else."""
    stuck = [request(f"/stuck/{number}/", 30 + number, "overdue", where="views.py:41 fetch") for number in range(7)]
    checks = probe("readiness", check("creaks", "warn", "it creaks"), check("burns", "fail", "it burns"))
    text = read(status(worker(*stuck), probes=[checks])).text
    order = ["fail Readiness: burns it burns", "fail Past its deadline: GET /stuck/6/, for 36.0 s views.py:41 fetch"]
    order += [f"fail {7 - MOST_OVERDUE} more requests", "warn Readiness: creaks it creaks", "Load now"]
    positions = [text.index(words) for words in order]
    assert positions == sorted(positions)


def test_services_have_a_line_each() -> None:
    """Where there are any: what runs, where, for how long, and what does not run any more."""
    feed = {"name": "feed", "dotted": "prices.Feed", "state": "running", "seconds": 75.0, "up": True}
    timer = {"name": "restock", "dotted": "stock.restock", "state": "stopped", "seconds": 3.0, "up": False}
    places = [{**feed, "where": "process 4711", "values": {}}, {**timer, "where": "worker 2", "values": {}}]
    text = read(status(worker(), services=places)).text
    for words in ("feed prices.Feed process 4711 75.0 s running", "restock stock.restock worker 2 3.0 s stopped"):
        assert words in text
    assert "Other services" not in read(status(worker())).text


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_any_number_of_workers(workers: int) -> None:
    """Each has its load; their requests are in one table, the oldest first; none at all is a failure."""
    pids = range(100, 100 + workers)
    reader = read(status(*(worker(request(f"/of/{pid}/", pid), pid=pid) for pid in pids)))
    assert reader.count("svg") == 6 * workers
    assert ("No process serves" in reader.text) is (workers == 0)
    assert ("Worker 2 now" in reader.text) is (workers == 3)
    assert [int(pid) for pid in re.findall(r"GET /of/(\d+)/", reader.text)] == sorted(pids, reverse=True)
    identifiers = [attributes["id"] for _, attributes in reader.elements if "id" in attributes]
    assert len(identifiers) == len(set(identifiers))


def test_a_process_that_consumes() -> None:
    """It has no requests, and nobody misses those who would serve them."""
    text = read(status(serves=False)).text
    assert "No process serves" not in text
    assert "Requests" not in text
    assert "Requests" in read(status(worker())).text


def test_more_requests_than_are_shown_are_counted() -> None:
    """What the list leaves out is told as a number."""
    assert "And 1,900 more." in read(status({**worker(request()), "more_requests": 1900})).text


def test_nothing_that_others_say_becomes_html() -> None:
    """Whatever text is hostile, the page has the same elements and attributes, and shows the text."""

    def made_of(text: str) -> Reader:
        options = [{"option": text, "group": text, "value": text, "source": text}]
        lifecycle = {"state": text, "since": text, "seconds": 1.0, "reason": text}
        checks = {**probe("readiness", check(text, "fail", text, text)), "name": text, "path": text}
        given = status(
            worker(request(text, method=text, stage=text, where=text), request(text, stage="overdue", where=text)),
            worker(),
            time=text,
            host=text,
            lifecycle=lifecycle,
            probes=[checks],
            options=[*options, {**options[0], "source": "default"}],
            versions={text: text},
        )
        return read(given)

    harmless, hostile = made_of("harmless"), made_of(HOSTILE)
    shapes = [[(tag, set(attributes)) for tag, attributes in reader.elements] for reader in (harmless, hostile)]
    assert shapes[0] == shapes[1]
    assert hostile.text.count(HOSTILE) > 20
    assert hostile.count("script") == 1


def test_text_that_cannot_be_encoded_is_shown_all_the_same() -> None:
    """Half a surrogate pair in what a check says does not cost the page."""
    checks = probe("readiness", check("strange", "fail", "half \udc80 of a pair"))
    assert "half \\udc80 of a pair" in read(status(worker(), probes=[checks])).text


def test_escaping() -> None:
    """Text is escaped as content and in attributes, HTML is not, and None is nothing."""
    made = element("p", "<b>", Html("<i></i>"), None, ["&", ("'",)], _class='"x', title=None)
    assert made == '<p class="&quot;x">&lt;b&gt;<i></i>&amp;&#x27;</p>'


def test_the_policy_allows_this_style_and_script_and_nothing_else() -> None:
    """The hashes are of what the page has, and the page needs nothing from elsewhere."""
    page = render(status(worker())).decode()
    for tag in ("style", "script"):
        (text,) = re.findall(f"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}';" in POLICY
    assert POLICY.startswith("default-src 'none';")
    assert "unsafe" not in POLICY
    assert not re.search(r" (style|on\w+)=", page.partition("</style>")[2].partition("<script>")[0])
    addresses = re.findall(r"(?:src|href|action)=\"([^\"]*)", page)
    assert [address for address in addresses if not address.startswith("data:")] == ["/status.json"]


def test_charts() -> None:
    """A line from five minutes ago to now, up to the highest value, with a gap where nothing is known."""
    ages = [SPAN, SPAN / 2, 4.0, 2.0, 0.0]
    history: dict[str, Any] = {
        "seconds_ago": ages,
        "p95_seconds": [0.1, 0.4, None, 0.2, None],
        "median_seconds": [None] * 5,
    }
    drawn = charts(worker(samples=5, **history, threads_stuck=[0] * 5))
    requests, latency, threads = drawn[:3]
    assert 'd="M0.0,0.0 150.0,0.0 296.0,0.0 298.0,0.0 300.0,0.0"' in requests
    assert 'd="M0.0,45.0 150.0,0.0M298.0,30.0m-2 0h4"' in latency
    assert "p95 about 200 ms" in latency
    assert "median unknown" in latency
    assert latency.count("<path") == 2
    # One of eight threads is busy, and none was ever stuck.
    assert 'd="M0.0,52.5 ' in threads
    assert 'class="bad"' not in threads
    assert "0 stuck" in threads


def test_charts_without_samples() -> None:
    """A process that has just begun has empty ones."""
    for chart in charts(worker(samples=0)):
        assert chart.count("<path") == 1
        assert 'd=""' in chart


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, ""),
        (0.00042, "0.42 ms"),
        (0.0123, "12.3 ms"),
        (0.9999, "1.0 s"),
        (31.04, "31.0 s"),
        (131.2, "2 min 11 s"),
        (11010, "3 h 3 min"),
        (300000, "3 d 11 h"),
    ],
)
def test_durations(seconds: float | None, text: str) -> None:
    """In the units a person would use."""
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0"), (0.123, "0.123"), (12.34, "12.3"), (1234.6, "1,235"), (7.0, "7")]
)
def test_numbers(value: float, text: str) -> None:
    """As exact as anybody wants to read them."""
    assert number(value) == text
