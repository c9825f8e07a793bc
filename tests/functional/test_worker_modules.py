"""What a process that serves has imported, and that what it imports late works."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.support.certificates import write_certificate
from tests.support.functional.harness import Serve

VIEWS = """
import os, sys
from django.http import HttpResponse
from django.urls import path

def modules(request):
    return HttpResponse("\\n".join(sys.modules))

def metrics(request):
    return HttpResponse("\\n".join(os.listdir(os.environ["PROMETHEUS_MULTIPROC_DIR"])))

def ask(request):
    import treq
    from twisted.internet import reactor
    from twisted.internet.ssl import trustRootFromCertificates, Certificate
    from twisted.internet.threads import blockingCallFromThread
    from twisted.web.client import Agent, BrowserLikePolicyForHTTPS
    trusted = trustRootFromCertificates([Certificate.loadPEM(open("one.pem").read())])
    client = treq.client.HTTPClient(Agent(reactor, BrowserLikePolicyForHTTPS(trusted)))
    url = f"https://localhost:{request.GET['port']}/"
    def get():
        return client.get(url).addCallback(treq.text_content)
    return HttpResponse(blockingCallFromThread(reactor, get))

urlpatterns = [path("modules/", modules), path("metrics/", metrics), path("ask/", ask)]
"""

UNUSED = {
    "OpenSSL",
    "cryptography",
    "h2",
    "importlib.metadata",
    "prometheus_client.multiprocess",
    "treq",
    "twisted.application.internet",
    "twisted.internet.endpoints",
    "twisted.internet.ssl",
    "twisted.protocols.tls",
    "twisted.web.client",
    "twisted.web.http",
    "twistserve.composition.one_process",
    "twistserve.composition.outside",
    "twistserve.composition.parent",
    "twistserve.development.slow_imports",
    "twistserve.http.http2",
    "twistserve.net.proxy_protocol",
    "twistserve.probes.handlers",
    "twistserve.probes.web_port",
    "twistserve.status.page",
    "twistserve.status.report",
    "twistserve.webhooks.outbox",
    "twistserve.workers.aggregate",
    "twistserve.workers.supervisor",
    "twistserve.workers.worker_process",
    "twistserve.workers.worker_service",
    "twistserve.workers.worker_state",
}
"""What a worker needs for other options than the defaults, or not at all."""


def test_what_a_worker_need_not_import_it_does_not(serve: Serve, project: Callable[..., Path]) -> None:
    """Each module costs memory in every worker: those of TLS, of HTTP/2, and what only the parent is there for."""
    server = serve("--workers", "2", cwd=project(VIEWS), settings="site_settings")
    imported = set(server.get("/modules/").text.split())
    assert "twistserve.composition.worker" in imported
    assert imported.isdisjoint(UNUSED), sorted(imported & UNUSED)


def test_metrics_are_declared_when_it_is_known_whose_they_are(serve: Serve, project: Callable[..., Path]) -> None:
    """A module that declares them earlier has files by the process's id beside those by the worker's number."""
    server = serve("--workers", "2", cwd=project(VIEWS), settings="site_settings")

    files = [name for name in server.get("/metrics/").text.split() if name.endswith(".db")]
    assert files
    assert {name.rpartition("_")[2] for name in files} <= {"1.db", "2.db"}


@pytest.fixture
def secure(tmp_path: Path) -> Iterator[Callable[[Path], int]]:
    """Serve over TLS with a certificate for localhost, from a PEM file to write: its port."""
    servers: list[HTTPServer] = []

    class Hello(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "6")
            self.end_headers()
            self.wfile.write(b"secure")

        def log_message(self, *words: Any) -> None:
            pass

    def begin(path: Path) -> int:
        write_certificate(path, "localhost")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(path)
        server = HTTPServer(("127.0.0.1", 0), Hello)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return server.server_port

    yield begin
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_view_asks_another_server_over_tls(
    serve: Serve, project: Callable[..., Path], secure: Callable[[Path], int], workers: str
) -> None:
    """With treq, in a process that serves no TLS itself; the certificate is verified."""
    directory = project(VIEWS)
    port = secure(directory / "one.pem")
    server = serve("--workers", workers, cwd=directory, settings="site_settings")
    assert "OpenSSL" not in server.get("/modules/").text.split()
    assert server.get(f"/ask/?port={port}").text == "secure"
