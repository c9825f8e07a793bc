"""A project that gunicorn serves is served the same without a change, as docs/from-gunicorn.md says."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.functional.harness import BIN, ROOT, Reply, Serve, fetch, free_port, wait_for

VIEWS = """
from django.http import HttpResponse, JsonResponse
from django.urls import include, path

def page(request):
    return HttpResponse("<h1>A page</h1>" * 100)

def echo(request):
    words = {"secure": request.is_secure(), "body": request.body.decode(), "host": request.get_host()}
    return JsonResponse({**words, "address": request.META["REMOTE_ADDR"]})

def healthz(request):
    return HttpResponse("ok")

urlpatterns = [
    path("", page), path("echo", echo), path("healthz", healthz), path("", include("django_prometheus.urls")),
]
"""
SETTINGS = """
INSTALLED_APPS += ["django.contrib.staticfiles", "django_prometheus"]
MIDDLEWARE = [
    "django_prometheus.middleware.PrometheusBeforeMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django_prometheus.middleware.PrometheusAfterMiddleware",
]
STATIC_URL = "/static/"
STATIC_ROOT = BASE_DIR / "static_root"
"""
FORWARDED = {"X-Forwarded-For": "192.0.2.7", "X-Forwarded-Proto": "https", "Host": "www.example.com"}


@contextmanager
def gunicorn(project: Path) -> Iterator[int]:
    """The port of a gunicorn that serves the project for as long as the block runs."""
    port, log = free_port(), project.parent / "gunicorn.log"
    options = ["--no-control-socket", f"--bind=127.0.0.1:{port}", "--workers=2", "--threads=2"]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [BIN / "gunicorn", *options, "site_wsgi"],
            cwd=project,
            env=os.environ | {"DJANGO_SETTINGS_MODULE": "site_settings"},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )

    def answers() -> bool:
        assert process.poll() is None, log.read_text()
        try:
            return fetch(port, "/healthz").status == 200
        except OSError:
            return False

    try:
        wait_for(answers, log.read_text)
        yield port
    finally:
        process.kill()
        process.wait()


def replies(port: int) -> dict[str, Reply]:
    """What a visitor of the site gets."""
    return {
        "page": fetch(port, "/"),
        "echo": fetch(port, "/echo", method="POST", body=b"a body", headers=FORWARDED),
        "static": fetch(port, "/static/style.css"),
        "missing": fetch(port, "/nothing"),
        "healthz": fetch(port, "/healthz"),
    }


@pytest.fixture
def shop(project: Callable[..., Path]) -> Path:
    """A project as people have it under gunicorn, with its static files collected."""
    directory = project(VIEWS, SETTINGS)
    (directory / "static_root").mkdir()
    (directory / "static_root" / "style.css").write_text("body { color: black }\n")
    return directory


def test_the_same_project_gives_the_same_responses(shop: Path, serve: Serve) -> None:
    """Pages, bodies, static files and the scheme of a proxy are as under gunicorn; REMOTE_ADDR is the client's."""
    with gunicorn(shop) as port:
        before = replies(port)
    [words] = re.findall(
        r"^twistd .* djangoserve (.*)$", (ROOT / "docs" / "from-gunicorn.md").read_text(), re.MULTILINE
    )
    options = words.replace("--settings mysite.settings", "--settings site_settings").replace(
        "--workers 4", "--workers 1"
    )
    server = serve(*options.split(), cwd=shop, settings=None)
    after = replies(server.port)
    assert {name: reply.status for name, reply in after.items()} == {
        name: reply.status for name, reply in before.items()
    }
    assert before["static"].status == 200
    for name in ("page", "static", "healthz"):
        assert after[name].body == before[name].body
        assert after[name].headers["Content-Type"] == before[name].headers["Content-Type"]
    said, says = before["echo"].json(), after["echo"].json()
    assert said["secure"] is True
    assert (said.pop("address"), says.pop("address")) == ("127.0.0.1", "192.0.2.7")
    assert says == said
    assert "django_http_requests_total_by_method_total" in server.probe("/metrics").text
