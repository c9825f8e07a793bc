"""Behind a real nginx: what it forwards is what the application sees, and what it refuses is refused here too.

Each request of a corpus, valid, ambiguous and malicious, goes once to nginx and once directly to the server, on
connections of their own, with a harmless marker after it on the same connection.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from tests.support.functional.harness import PATIENCE, Server, fetch, free_port, serving, wait_for, write_project
from tests.support.functional.raw_requests import HOSTILE, MARKER, VALID, exchange

NGINX = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")

VIEWS = """
import json
from django.http import HttpResponse, JsonResponse
from django.urls import re_path

seen = []


def record(request):
    path = request.META["PATH_INFO"]
    if path == "/seen":
        answer, seen[:] = list(seen), []
        return JsonResponse(answer, safe=False)
    seen.append([request.method, path, request.META["QUERY_STRING"], request.body.decode("latin-1")])
    return HttpResponse(b"recorded")


urlpatterns = [re_path("", record)]
"""

CONFIGURATION = """
{user}
worker_processes 1;
pid {directory}/nginx.pid;
error_log {directory}/error.log info;
events {{ worker_connections 256; }}
http {{
    log_format record escape=json '{{"method": "$request_method", "uri": "$request_uri", "status": $status, '
                                  '"upstream": "$upstream_status", "body": "$request_body"}}';
    access_log {directory}/access.log record;
    client_body_temp_path {directory}/client;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    client_header_timeout 1s;
    client_body_timeout 1s;
    keepalive_timeout 2s;
    upstream application {{
        server 127.0.0.1:{backend};
        keepalive 1;
    }}
    server {{
        listen 127.0.0.1:{port};
        server_name nginx.example;
        location / {{
            proxy_pass http://application;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host $http_host;
        }}
    }}
}}
"""

CORPUS = VALID | HOSTILE

MORE_LENIENT = {
    "%00 in the target": "RFC 3986 allows it in a path; WSGI passes it on decoded, and views judge it",
    "bad escape": "what does not decode is passed on as it is, as other WSGI servers do",
    "above the root": "a server that maps no path to files has no need to resolve dots",
}
"""Cases that nginx answers 400 and the server may answer 2xx, each with the reason why that is right."""


@dataclass
class Outcome:
    """What became of a request: the statuses that came back, nginx's log of it, the application's record."""

    received: bytes
    log: list[dict[str, Any]]
    seen: list[list[str]]
    after: int = 0
    """The status of a request by another client, over the connections that nginx keeps to the server."""

    @property
    def statuses(self) -> list[int]:
        statuses = [int(status) for status in re.findall(rb"HTTP/1\.[01] (\d{3}) ", self.received)]
        return [status for status in statuses if status != 100]


class Proxy:
    """A running nginx and the lines of its access log that nobody has read yet."""

    def __init__(self, directory: Path, port: int) -> None:
        self.log = directory / "access.log"
        self.port = port
        self._read = 0
        self._asked = 0

    def get(self, path: str) -> int:
        return fetch(self.port, path).status

    def lines(self) -> list[dict[str, Any]]:
        """The new lines, complete up to a request of our own, which is left out."""
        self._asked += 1
        end = f"/log-{self._asked}"
        self.get(end)
        wait_for(lambda: f'"{end}"' in self.log.read_text(), "nginx's log")
        lines = [json.loads(each) for each in self.log.read_text().splitlines()]
        new, self._read = lines[self._read :], len(lines)
        return [each for each in new if each["uri"] != end]


@contextmanager
def proxying(directory: Path, backend: int) -> Iterator[Proxy]:
    """An nginx in front of a server, for as long as the block runs; ended by its process id."""
    assert NGINX is not None, "nginx is not installed"
    port = free_port()
    configuration = directory / "nginx.conf"
    user = "user root;" if os.geteuid() == 0 else ""
    configuration.write_text(CONFIGURATION.format(user=user, directory=directory, backend=backend, port=port))
    errors = directory / "error.log"
    words = [NGINX, "-p", str(directory), "-c", str(configuration), "-e", str(errors), "-g", "daemon off;"]
    with (directory / "output").open("wb") as output:
        process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=output, stderr=output)

    def listens() -> bool:
        assert process.poll() is None, (directory / "output").read_text()
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=PATIENCE):
            return True
        return False

    try:
        wait_for(listens, "nginx to listen")
        yield Proxy(directory, port)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def seen(server: Server) -> list[list[str]]:
    """What the application has recorded since it was last asked, without what this test asked for itself."""
    records: list[list[str]] = server.get("/seen").json()
    return [record for record in records if not re.match(r"/(log|after)-?\d*$", record[1])]


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Outcome, Outcome]]:
    """What became of each request of the corpus through nginx, and directly."""
    directory = tmp_path_factory.mktemp("nginx")
    project = write_project(directory / "project", VIEWS)
    options = ["--threads", "1", "--header-timeout", "1", "--body-timeout", "1", "--keep-alive-timeout", "30"]
    results = {}
    with (
        serving(*options, cwd=project, logs=directory, settings="site_settings") as server,
        proxying(directory, server.port) as nginx,
    ):
        nginx.lines()
        seen(server)
        for name, data in CORPUS.items():
            received = exchange(nginx.port, data + MARKER)
            after = nginx.get("/after")
            log = [each for each in nginx.lines() if each["uri"] != "/after"]
            forwarded = Outcome(received, log, seen(server), after)
            results[name] = forwarded, Outcome(exchange(server.port, data + MARKER), [], seen(server))
    return results


Outcomes = dict[str, tuple[Outcome, Outcome]]


@pytest.mark.parametrize("name", CORPUS)
def test_the_application_sees_what_nginx_forwarded(outcomes: Outcomes, name: str) -> None:
    """Each request that nginx forwarded with success is seen, with its path and body, and nothing else is."""
    forwarded, _ = outcomes[name]
    expected = []
    for entry in forwarded.log:
        assert entry["upstream"] in ("", "-") or re.fullmatch(r"\d{3}", entry["upstream"]), f"tried twice: {entry}"
        if entry["upstream"] == "200":
            path, _, query = entry["uri"].partition("?")
            expected.append([entry["method"], unquote(path), query, entry["body"]])
    assert forwarded.seen == expected, forwarded
    assert not any(path == "/smuggled" for _, path, _, _ in forwarded.seen), forwarded


@pytest.mark.parametrize("name", CORPUS)
def test_the_next_client_of_nginx_is_not_disturbed(outcomes: Outcomes, name: str) -> None:
    """The connections that nginx keeps to the server stay in step: another client's request gets its own answer."""
    forwarded, _ = outcomes[name]
    assert forwarded.after == 200, forwarded
    assert not {502, 504} & set(forwarded.statuses), forwarded


@pytest.mark.parametrize("name", CORPUS)
def test_what_nginx_refuses_is_refused_directly(outcomes: Outcomes, name: str) -> None:
    """A request that nginx answers 400 gets no 2xx here either."""
    forwarded, direct = outcomes[name]
    if forwarded.statuses[:1] == [400] and name not in MORE_LENIENT:
        assert not any(200 <= status < 300 for status in direct.statuses[:1]), direct


@pytest.mark.parametrize("name", CORPUS)
def test_directly_each_success_is_one_request(outcomes: Outcomes, name: str) -> None:
    """Without nginx, the application sees as many requests as are answered 200, and none after a refusal."""
    _, direct = outcomes[name]
    assert direct.statuses, "no answer"
    assert direct.statuses.count(200) == len(direct.seen), direct
    assert all(status == 200 for status in direct.statuses[:-1]), direct


@pytest.mark.parametrize("name", VALID)
def test_valid_requests_are_served_both_ways(outcomes: Outcomes, name: str) -> None:
    """A valid request is answered 200 through nginx and directly, and the application sees the same of it."""
    forwarded, direct = outcomes[name]
    assert set(forwarded.statuses) == set(direct.statuses) == {200}, (forwarded, direct)
    assert forwarded.seen[0] == direct.seen[0]
