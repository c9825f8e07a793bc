"""TLS endpoints: the certificate by server name, and a renewed one without a restart."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.certificates import write_certificate
from tests.support.functional.harness import Serve, free_port, wait_for
from tests.support.functional.tls import get, served

VIEWS = """
from django.http import FileResponse, HttpResponse
from django.urls import path

def scheme(request):
    return HttpResponse(f"{request.scheme} {request.META['REMOTE_ADDR']}")

def big(request):
    return HttpResponse(b"x" * 3_000_000)

def file(request):
    return FileResponse(open(__file__, "rb"))

urlpatterns = [path("scheme/", scheme), path("big/", big), path("file/", file)]
"""


def test_tls_directory(serve: Serve, project: Callable[..., Path], tmp_path: Path) -> None:
    """Each name gets its certificate, small and large answers arrive, and a renewed certificate is taken up."""
    certificates = tmp_path / "certificates"
    certificates.mkdir()
    one = write_certificate(certificates / "one.pem", "one.example")
    two = write_certificate(certificates / "two.pem", "*.two.example")
    port = free_port()
    server = serve("--endpoint", f"tls:{certificates}:port={port}", "--probe-port", str(port + 1), cwd=project(VIEWS),
                   settings="site_settings", port=port)  # fmt: skip
    assert (served(port, "one.example"), served(port, "www.two.example")) == (one, two)
    assert served(port, "unknown.example") in (one, two)
    assert get(port, "/scheme/") == b"https 127.0.0.1"
    assert get(port, "/big/") == b"x" * 3_000_000
    assert get(port, "/file/") == (server.cwd / "site_urls.py").read_bytes()
    renewed = write_certificate(certificates / "one.pem", "one.example")
    wait_for(lambda: served(port, "one.example") == renewed, "the renewed certificate")
    assert served(port, "www.two.example") == two
    (certificates / "one.pem").write_text("half a certificate")
    (certificates / "two.pem").unlink()
    wait_for(lambda: served(port, "one.example") and "cannot be used" in server.stdout, "a warning")
    assert served(port, "one.example") == renewed
    assert server.terminate() == 0


@pytest.mark.parametrize("content", [None, "no certificate"])
def test_tls_without_certificates(
    serve: Serve, project: Callable[..., Path], tmp_path: Path, content: str | None
) -> None:
    """A directory that is missing or holds no pair is an error of the start that names it."""
    directory = tmp_path / "certificates"
    if content is not None:
        directory.mkdir()
        (directory / "some.pem").write_text(content)
    server = serve("--endpoint", f"tls:{directory}:port=1", cwd=project(VIEWS), settings="site_settings", until=None)
    assert server.wait() == 1
    [line] = server.stderr.splitlines()
    assert "--endpoint" in line
    assert str(directory) in line
