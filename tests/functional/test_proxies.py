"""Behind real proxies: a request has one meaning, whatever its bytes.

Each request of a corpus goes through HAProxy, nginx, Apache, Varnish, Squid and Caddy, through chains of two of them,
and directly, each time on a connection of its own with a harmless marker after it. Each response of the application has
the number of the request that it is for: a request that a proxy takes as one and the application as two, or as none,
shows as a number that no client gets, or another client.
"""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import pytest

from tests.support.functional.harness import fetch, free_port, serving, write_project
from tests.support.functional.proxies import CHAINS, DIRECTIVES, KINDS, proxying
from tests.support.functional.proxy_readings import FIELD_CHANGES, REPAIRS, UNSERVED, Request
from tests.support.functional.raw_requests import ILLEGAL, LEGAL, MARKER, exchange

CORPUS = LEGAL | ILLEGAL
WAYS = [*KINDS, *CHAINS]

VIEWS = """
import hashlib, itertools
from collections import defaultdict
from django.http import HttpResponse, JsonResponse
from django.urls import re_path

numbers = itertools.count(1)
seen = defaultdict(list)


def record(request):
    meta = {name: value for name, value in request.META.items() if isinstance(value, str)}
    if request.path == "/seen":
        return JsonResponse(seen.pop(request.GET["port"], []), safe=False)
    number = next(numbers)
    seen[meta["SERVER_PORT"]].append([number, hashlib.sha256(request.body).hexdigest(), meta])
    text = f"{request.method} {request.path}".encode()
    # Varnish keeps for two minutes what does not say that it may not.
    headers = {"X-Number": str(number), "Content-Length": str(len(text)), "Cache-Control": "no-store"}
    return HttpResponse(text, headers=headers)


urlpatterns = [re_path("", record)]
"""

HEAD = re.compile(rb"HTTP/1\.[01] (?!100 )(\d{3}) [^\r]*\r\n((?:[^\r\n]+\r\n)*)\r\n")
NUMBER = re.compile(rb"^x-number: (\d+)\r$", re.IGNORECASE | re.MULTILINE)

HOP_BY_HOP = {
    *("HTTP_HOST", "HTTP_X_REQUEST_ID"),
    *("HTTP_CONNECTION", "HTTP_EXPECT", "HTTP_HTTP2_SETTINGS", "HTTP_KEEP_ALIVE", "HTTP_PROXY_CONNECTION", "HTTP_TE"),
    *("HTTP_TRAILER", "HTTP_UPGRADE"),
}
"""Fields that are for the next server alone (RFC 9110 section 7.6.1); Host is looked at with the target."""

ANSWERED_BY_THEMSELVES = {"OPTIONS *", "max forwards"}
"""Requests to the next server on the way, which is a proxy or ours (RFC 9110 sections 7.6.2 and 9.3.7)."""


@dataclass
class Outcome:
    """What came of a request: the responses, what the application saw, and the response to another client after it."""

    received: bytes
    seen: list[list[Any]]
    after: bytes = b""

    @property
    def heads(self) -> list[tuple[int, bytes]]:
        """Status and fields of each response, but for 100 Continue."""
        return [(int(status), fields) for status, fields in HEAD.findall(self.received)]

    @property
    def statuses(self) -> list[int]:
        return [status for status, _ in self.heads]

    @property
    def answered(self) -> list[int]:
        """The numbers of the requests that responses came for."""
        return [int(number) for _, fields in self.heads for number in NUMBER.findall(fields)]

    @property
    def numbers(self) -> list[int]:
        """The numbers of the requests that the application saw."""
        return [number for number, _, _ in self.seen]

    @property
    def requests(self) -> list[Request]:
        """What the application saw, without the marker."""
        found = []
        for _, body, meta in self.seen:
            target = meta["PATH_INFO"] + "?" * bool(meta["QUERY_STRING"]) + meta["QUERY_STRING"]
            # Where a client names no Host, some proxies name the server, with its port or without.
            host = re.sub(r"^127\.0\.0\.1:\d+$", "127.0.0.1", meta["HTTP_HOST"]) if "HTTP_HOST" in meta else None
            found.append(Request(meta["REQUEST_METHOD"], target, host, body))
        return [request for request in found if request.target != "/marker"]

    def __str__(self) -> str:
        return f"{self.received[:2000]!r}\nseen: {self.seen}\nafter: {self.after!r}"


Outcomes = dict[str, dict[str, Outcome]]


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> Outcomes:
    """What came of each request of the corpus, by the way that it went.

    One server has a port for each way. It trusts none of the proxies, so that their own ports are seen.
    """
    directory = tmp_path_factory.mktemp("proxies")
    numbers: set[int] = set()
    while len(numbers) <= len(WAYS):
        numbers.add(free_port())
    ports = dict(zip(("direct", *WAYS), numbers, strict=True))
    options = ["--forwarded-allow-ips", "192.0.2.1", "--header-timeout", "1", "--body-timeout", "1"]
    options += ["--threads", "2", "--no-access-log", "--probe-port", str(free_port())]
    for port in ports.values():
        options += ["--endpoint", f"tcp:{port}:interface=127.0.0.1"]

    def send(way: str, port: int) -> dict[str, Outcome]:
        found = {}
        for name, data in CORPUS.items():
            received = exchange(port, data + MARKER)
            # Over the connections that the proxy keeps to the server.
            after = b"" if way == "direct" else fetch(port, "/after").body
            seen = fetch(ports["direct"], f"/seen?port={ports[way]}").json()
            found[name] = Outcome(received, [each for each in seen if each[2]["PATH_INFO"] != "/after"], after)
        return found

    with ExitStack() as stack:
        project = write_project(directory / "project", VIEWS)
        arguments: dict[str, Any] = {"cwd": project, "logs": directory, "settings": "site_settings"}
        stack.enter_context(serving(*options, port=ports["direct"], **arguments))
        fronts = {"direct": ports["direct"]}
        for way in WAYS:
            fronts[way] = ports[way]
            for name in reversed(way.split(" > ")):
                # A proxy behind another one must not close what that one keeps.
                idle = 1 if way.startswith(name) else 60
                place = directory / f"{WAYS.index(way)}-{name}"
                front = proxying(name, place, fronts[way], DIRECTIVES[name], idle=idle)
                fronts[way] = stack.enter_context(front)
        with ThreadPoolExecutor(len(fronts)) as clients:
            return dict(zip(fronts, clients.map(send, fronts, fronts.values()), strict=True))


def matches(outcome: Outcome) -> bool:
    """Whether the responses are those for the requests that the application saw, one each, in order."""
    return outcome.answered == outcome.numbers


@pytest.mark.parametrize("way", WAYS)
def test_each_response_is_for_the_request_that_was_seen(outcomes: Outcomes, way: str) -> None:
    """What a proxy takes as one request, the application sees once, and the client gets the response to it."""
    wrong = {name: str(outcome) for name, outcome in outcomes[way].items() if not matches(outcome)}
    if way == "apache":
        # A response of HTTP/0.9 has no head.
        assert wrong.pop("no version").startswith("b'GET /case'\nseen: [[")
    assert wrong == {}


@pytest.mark.parametrize("way", WAYS)
def test_the_application_sees_what_was_sent(outcomes: Outcomes, way: str) -> None:
    """It sees the requests that it sees directly, or the first of them; or those of a repair that is listed."""
    proxies, wrong = {way, *way.split(" > ")}, {}
    for name, outcome in outcomes[way].items():
        repairs = [repair for repair in REPAIRS if repair.name == name and not repair.proxies.isdisjoint(proxies)]
        readings = [outcomes["direct"][name].requests] + [list(repair.requests) for repair in repairs]
        right = [reading for reading in readings if outcome.requests == reading[: len(outcome.requests)]]
        if name in LEGAL and not any((proxy, name) in UNSERVED for proxy in proxies):
            right = [reading for reading in right if reading == outcome.requests]
        if not right:
            wrong[name] = f"{outcome}\ndirectly {outcomes['direct'][name]}"
    assert wrong == {}


@pytest.mark.parametrize("way", ["direct", *WAYS])
def test_a_refusal_is_an_error_for_the_client(outcomes: Outcomes, way: str) -> None:
    """Where the application sees nothing, the client gets an error, or the end of the connection."""
    wrong = {
        name: str(outcome)
        for name, outcome in outcomes[way].items()
        if not outcome.requests and not all(status >= 400 for status in outcome.statuses[:1])
    }
    if way.startswith("caddy"):
        # When it has waited in vain for a body, it writes nothing, and that is 200 without a body to Go's server.
        wrong.pop("chunk 32 bits", None)
    assert wrong.keys() <= ANSWERED_BY_THEMSELVES, wrong


@pytest.mark.parametrize("way", WAYS)
def test_the_next_client_is_not_disturbed(outcomes: Outcomes, way: str) -> None:
    """The connections that a proxy keeps to the server stay in step: another client gets its own response."""
    wrong = {name: str(outcome) for name, outcome in outcomes[way].items() if outcome.after != b"GET /after"}
    assert wrong == {}


@pytest.mark.parametrize("way", KINDS)
def test_fields_arrive_as_they_were_sent(outcomes: Outcomes, way: str) -> None:
    """Django sees the fields that it sees directly, but for those that a proxy adds or that are for the next server."""
    wrong = {}
    for name in LEGAL:
        free = HOP_BY_HOP | FIELD_CHANGES[way, ""] | FIELD_CHANGES.get((way, name), set())
        for (_, _, meta), (_, _, sent) in zip(outcomes[way][name].seen, outcomes["direct"][name].seen, strict=False):
            if meta["PATH_INFO"] != sent["PATH_INFO"]:
                continue
            named = sent.get("HTTP_CONNECTION", "").upper().replace("-", "_").split(",")
            kept = free | {f"HTTP_{field.strip()}" for field in named}
            if fields(meta, kept) != fields(sent, kept):
                wrong[name] = fields(meta, kept), fields(sent, kept)
    assert wrong == {}


def fields(meta: dict[str, str], leave_out: set[str]) -> dict[str, str]:
    """The fields of a request, their lists in one spelling."""
    return {
        name: value.replace(", ", ",")
        for name, value in meta.items()
        if name.startswith(("HTTP_", "CONTENT_")) and name not in leave_out
    }


def test_directly_each_success_is_one_request(outcomes: Outcomes) -> None:
    """Without a proxy, the application sees as many requests as responses come for, and none after a refusal."""
    for name, direct in outcomes["direct"].items():
        assert matches(direct), (name, direct)
        assert all(status < 400 for status in direct.statuses[:-1]), (name, direct)
        assert name in ILLEGAL or direct.statuses[-1] < 400, (name, direct)


@pytest.mark.parametrize("way", WAYS)
def test_connections_to_the_server_are_shared(outcomes: Outcomes, way: str) -> None:
    """The corpus proves something only because proxies send requests of many clients over one connection."""
    ports = [meta["REMOTE_PORT"] for outcome in outcomes[way].values() for _, _, meta in outcome.seen]
    assert len(ports) > 150
    assert len(set(ports)) < len(ports) / 2
