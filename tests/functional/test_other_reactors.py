"""Applications that install a reactor of their own while they are imported: ours stays, and everything works on it."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.certificates import write_certificate
from tests.support.functional.harness import Serve, free_port, lines_with
from tests.support.functional.tls import get
from tests.support.functional.webhooks import Receiver

VIEWS = """
import sys, threading
from django.http import HttpResponse
from django.urls import path
from twisted.internet import reactor
from twisted.internet.threads import blockingCallFromThread

def where(request):
    from twisted.internet import reactor as present
    names = {type(each).__module__ for each in (reactor, present, sys.modules["twisted.internet.reactor"])}
    name = blockingCallFromThread(reactor, lambda: threading.current_thread().name)
    return HttpResponse(f"{' '.join(names)} {name}")

urlpatterns = [path("where/", where), path("big/", lambda request: HttpResponse(b"x" * 10_000_000))]
"""
LIKE_DAPHNE = """
import sys
import twisted.internet.reactor
del sys.modules["twisted.internet.reactor"]
from twisted.internet import selectreactor
selectreactor.install()
from django.apps import AppConfig

class Config(AppConfig):
    name = "installing"
"""
INSTALLS_ONE = LIKE_DAPHNE.replace('del sys.modules["twisted.internet.reactor"]\n', "").replace(
    "import twisted.internet.reactor\n", ""
)
USES_ONE = """
import asyncio, sys
from twisted.internet import asyncioreactor
asyncioreactor.install(asyncio.new_event_loop())
from twisted.internet import reactor
reactor.callLater(0.1, open("called", "w").close)
from django.apps import AppConfig

class Config(AppConfig):
    name = "installing"
"""

Project = Callable[..., Path]


@pytest.mark.parametrize(
    ("runner", "words", "lines"),
    [
        ("twistd", [], 1),
        ("twist", [], 1),
        ("manage", [], 1),
        ("twistd", ["--workers", "2", "--command", "check"], 2),
    ],
    ids=["twistd", "twist", "manage", "workers"],
)
def test_daphne_in_installed_apps(
    serve: Serve, project: Project, tmp_path: Path, runner: str, words: list[str], lines: int
) -> None:
    """Webhooks are delivered, large answers over TLS arrive, blockingCallFromThread() returns; one line a process."""
    directory, port = project(VIEWS, "INSTALLED_APPS.insert(0, 'daphne')\n"), free_port()
    certificates = tmp_path / "certificates"
    certificates.mkdir()
    write_certificate(certificates / "one.pem", "one.example")
    with Receiver() as receiver:
        server = serve(
            *("--webhook-url", receiver.url, "--endpoint", f"tls:{certificates}:port={port}"),
            *("--probe-port", str(port + 1), *words),
            runner=runner,
            cwd=directory,
            settings="site_settings",
            port=port,
        )
        receiver.wait_for("startup", "succeeded")
        assert get(port, "/where/") == b"twistserve.net.reactor reactor"
        assert get(port, "/big/") == b"x" * 10_000_000
        assert server.terminate() == 0
        receiver.wait_for("draining", "draining")
    found = lines_with(server.output, "AsyncioSelectorReactor")
    assert all(" WARNING " in line and "twistserve.net.reactor.Reactor" in line for line in found), server.output
    # With workers, those that were ready before the end.
    assert len(found) == lines or (words and len(found) == lines - 1), server.output
    assert "UserWarning" not in server.output


@pytest.mark.parametrize("installing", [LIKE_DAPHNE, INSTALLS_ONE], ids=["like-daphne", "as-twisted-says"])
@pytest.mark.parametrize("runner", ["twistd", "manage"])
def test_another_reactor(serve: Serve, project: Project, runner: str, installing: str) -> None:
    """Any other reactor that an application installs is treated likewise, though Twisted's own guard would raise."""
    directory = project(VIEWS, "INSTALLED_APPS.insert(0, 'installing.Config')\n", installing=installing)
    server = serve(runner=runner, cwd=directory, settings="site_settings")
    assert server.get("/where/").text == "twistserve.net.reactor reactor"
    assert server.terminate() == 0
    [line] = lines_with(server.stdout, "SelectReactor")
    assert re.search(r"(installing installs another|has installed another) reactor", line)


def test_a_reactor_that_is_used_already_stays(serve: Serve, project: Project) -> None:
    """Under manage.py an application may have given another reactor something to do: it runs, and a line says so."""
    directory = project(VIEWS, "INSTALLED_APPS.insert(0, 'installing.Config')\n", installing=USES_ONE)
    server = serve(runner="manage", cwd=directory, settings="site_settings")
    assert server.get("/where/").text == "twisted.internet.asyncioreactor MainThread"
    assert (directory / "called").exists()
    assert server.terminate() == 0
    [line] = lines_with(server.stdout, "AsyncioSelectorReactor")
    assert "uses it already: it stays" in line
