"""The response to all requests while the project does not serve, and the probes meanwhile."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from typing import Any

import pytest

from tests.support.composition import configuration
from tests.support.requests import make_request
from twistserve.development.error_page import WAITS, ErrorPage, failing_probes
from twistserve.http.response import Response

HTML = "text/html,application/xhtml+xml,*/*;q=0.8"
MESSAGE, TRACEBACK = "ValueError: <b>&", 'Traceback:\n  File "views.py"\nValueError: <b>&\n'


def waits_of(page: ErrorPage) -> str:
    """What a page accepts that waits for this one's end."""
    found = re.search(re.escape(WAITS) + r"\w+", ask(page, HTML).body.decode())
    assert found is not None
    return found[0]


def ask(handler: Any, accept: str = "", method: bytes = b"GET", target: bytes = b"/shop") -> Any:
    """The connection of a request, which has its response if there is one."""
    fields = [(b"Accept", accept.encode())] if accept else []
    request = make_request(target, *fields, method=method)
    handler(request)
    return request.connection


def fields(response: Response) -> dict[bytes, bytes]:
    return {field.name: field.value for field in response.fields}


# The error


@pytest.mark.parametrize("accept", ["", "*/*", "application/json"])
def test_programs_get_text(accept: str) -> None:
    """What is wrong, and the traceback."""
    connection = ask(ErrorPage(MESSAGE, TRACEBACK), accept)
    assert connection.response.status == 500
    assert connection.body.decode() == f"The project does not serve.\n\n{MESSAGE}\n\n{TRACEBACK}"
    assert fields(connection.response)[b"cache-control"] == b"no-store"
    assert fields(connection.response)[b"content-type"].startswith(b"text/plain")


def test_browsers_get_a_page() -> None:
    """Nothing in it can become markup, and nobody may keep it."""
    connection = ask(ErrorPage(MESSAGE, TRACEBACK), HTML)
    page = connection.body.decode()
    assert connection.response.status == 500
    assert fields(connection.response)[b"content-type"] == b"text/html; charset=utf-8"
    assert fields(connection.response)[b"cache-control"] == b"no-store"
    assert "<h1>ValueError: &lt;b&gt;&amp;</h1>" in page
    assert "<b>" not in page
    assert "File &quot;views.py&quot;" in page


def test_the_page_may_do_what_it_does_and_nothing_else() -> None:
    """Its own style and script, by their hashes, and requests to its own site."""
    connection = ask(ErrorPage(MESSAGE, TRACEBACK), HTML)
    policy = fields(connection.response)[b"content-security-policy"].decode()
    for element, directive in (("style", "style-src"), ("script", "script-src")):
        [text] = re.findall(rf"<{element}>(.*?)</{element}>", connection.body.decode(), re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{directive} 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy
    assert "connect-src 'self'" in policy
    assert f'"{WAITS}' in connection.body.decode()


def test_a_form_is_not_sent_again() -> None:
    """The page of a POST says so, and does not load itself anew."""
    page = ask(ErrorPage(MESSAGE, ""), HTML, b"POST").body.decode()
    assert "Send the form again" in page
    assert "<script>" not in page


def test_an_error_without_a_traceback() -> None:
    """A process that was killed has none."""
    page = ErrorPage("killed by SIGKILL", "")
    assert ask(page).body == b"The project does not serve.\n\nkilled by SIGKILL\n"
    assert "<pre>" not in ask(page, HTML).body.decode()


@pytest.mark.parametrize("accept", ["", HTML])
def test_what_cannot_be_encoded(accept: str) -> None:
    """Half a surrogate pair is written as Python would."""
    body = ask(ErrorPage("cannot import '\udcff'", "line '\udcff'"), accept).body
    assert body.count(rb"\udcff") >= 2


# Waiting


def test_a_page_waits_for_a_change() -> None:
    """It is told when there is one, and only then."""
    page = ErrorPage(MESSAGE, TRACEBACK)
    waits = waits_of(page)
    first, second = ask(page, waits, b"HEAD"), ask(page, waits, b"HEAD")
    assert (first.response, second.response) == (None, None)
    page.release()
    assert (first.response.status, second.response.status) == (200, 200)
    page.release()


def test_a_page_that_is_no_longer_true_is_told_at_once() -> None:
    """A browser may show one from before, or ask over a connection that is about to be closed."""
    before, page = ErrorPage(MESSAGE, TRACEBACK), ErrorPage(MESSAGE, TRACEBACK)
    assert ask(page, waits_of(before), b"HEAD").response.status == 200
    page.release()
    assert ask(page, waits_of(page), b"HEAD").response.status == 200


def test_a_page_that_was_closed_meanwhile() -> None:
    """Nobody is told then."""
    page = ErrorPage(MESSAGE, TRACEBACK)
    request = make_request(b"/", (b"Accept", waits_of(page).encode()), method=b"HEAD")
    page(request)
    assert request.pending is not None
    request.pending.given_up()
    page.release()
    connection: Any = request.connection
    assert connection.response is None


# Probes


@pytest.mark.parametrize(("path", "status"), [(b"/startup", 503), (b"/ready", 503), (b"/alive", 200)])
def test_probes_while_the_project_does_not_start(path: bytes, status: int) -> None:
    """It is not started, not ready, and no reason to restart anything."""
    connection = ask(failing_probes(configuration(), "password=secret: \udcff"), target=path)
    assert connection.response.status == status
    found = json.loads(connection.body)
    if status == 503:
        [check] = found["checks"]["project"]
        assert check["output"].startswith("does not start: ")
        assert "secret" not in check["output"]


def test_probes_have_the_paths_of_the_options() -> None:
    """And nothing else is there."""
    probes = failing_probes(configuration(readiness_probe="/up"), "no")
    assert ask(probes, target=b"/up").response.status == 503
    for path in (b"/ready", b"/metrics", b"/"):
        assert ask(probes, target=path).response.status == 404


def test_one_probe_is_readiness() -> None:
    """As it is while the project serves: it does not pass while no page can be had."""
    probes = failing_probes(configuration(probe="/alive"), "no")
    assert ask(probes, target=b"/alive").response.status == 503
