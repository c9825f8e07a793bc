"""What the options of the log change: its level, its format, and whether probes are in it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.functional.harness import PROMPT, raw
from tests.support.functional.logs import VIEWS, Launch, ends, launching_with_streams, lines_of, the_line

Project = Callable[..., Path]


@pytest.fixture
def launch(tmp_path: Path) -> Iterator[Launch]:
    with launching_with_streams(tmp_path) as launcher:
        yield launcher


@pytest.mark.parametrize("form", ["text", "json"])
@pytest.mark.parametrize("runner", ["twistd", "twist", "manage"])
def test_factories_and_ports_at_debug(launch: Launch, project: Project, runner: str, form: str) -> None:
    """They are there with --log-level DEBUG, at that level."""
    server = launch("--log-format", form, "--log-level", "DEBUG", cwd=project(VIEWS), runner=runner)
    ends(server, PROMPT)
    found = [line for line in lines_of(server, form) if re.search(r"starting on|Port \d+ Closed", line["message"])]
    assert found
    assert {line["level"] for line in found} == {"DEBUG"}


@pytest.mark.parametrize("form", ["text", "combined", "json"])
@pytest.mark.parametrize("workers", ["1", "2"])
def test_probes_are_not_logged(launch: Launch, project: Project, workers: str, form: str) -> None:
    """Requests of the probe port leave no line, whatever their response is."""
    server = launch("--log-format", form, "--workers", workers, cwd=project(VIEWS))
    for path in ("/ready", "/alive", "/startup", "/metrics", "/", "/nope"):
        server.probe(path)
    server.get("/")
    ends(server, PROMPT)
    lines = lines_of(server, form)
    assert len([line for line in lines if line["logger"] == "twistserve.access"]) == 1
    assert not [line.text for line in lines if "GET /alive" in line.text or '"/alive"' in line.text]


@pytest.mark.parametrize("form", ["text", "combined", "json"])
@pytest.mark.parametrize("workers", ["1", "2"])
def test_probes_are_logged_on_request(launch: Launch, project: Project, workers: str, form: str) -> None:
    """With --log-probes they have lines like other requests, in the same format, and with the same levels."""
    server = launch("--log-format", form, "--workers", workers, "--log-probes", cwd=project(VIEWS))
    for path in ("/alive?one", "/metrics?two", "/nope?three"):
        server.probe(path)
    ends(server, PROMPT)
    lines = lines_of(server, form)
    for words, level in (("alive?one", "INFO"), ("metrics?two", "INFO"), ("nope?three", "WARNING")):
        line = the_line(lines, words)
        assert form == "combined" or line["level"] == level
        assert "probe" in line["logger"] or "access" in line["logger"]


# Levels


@pytest.mark.parametrize("form", ["text", "combined", "json"])
@pytest.mark.parametrize("level", ["WARNING", "ERROR"])
def test_the_level_sifts_access_lines(launch: Launch, project: Project, level: str, form: str) -> None:
    """With --log-level WARNING only requests with 4xx and 5xx are logged, with ERROR only those with 5xx."""
    server = launch("--log-format", form, "--log-level", level, cwd=project(VIEWS))
    for path in ("/", "/nope", "/fail/"):
        server.get(path)
    raw(server.port, b"nonsense\r\n\r\n")
    ends(server, PROMPT)
    lines = lines_of(server, form)
    access = [line for line in lines if line["logger"] == "twistserve.access"]
    statuses = sorted(
        int(line["status"]) if "status" in line else int(line["message"].split('" ')[1][:3]) for line in access
    )
    assert statuses == ([400, 404, 500] if level == "WARNING" else [500])
    assert not [line.text for line in lines if line["level"] in ("INFO", "DEBUG") and form != "combined"]


# Options


@pytest.mark.parametrize(("source", "value"), [("line", "xml"), ("environment", "JSON5"), ("settings", "tex")])
@pytest.mark.parametrize("runner", ["twistd", "twist", "manage"])
def test_a_format_that_does_not_exist(launch: Launch, project: Project, runner: str, source: str, value: str) -> None:
    """It ends the start with status 1 and one line that names the option, its value, and what would be right."""
    settings = f"TWISTSERVE = {{'LOG_FORMAT': '{value}'}}\n" if source == "settings" else ""
    server = launch(
        *(("--log-format", value) if source == "line" else ()),
        cwd=project(VIEWS, settings=settings),
        runner=runner,
        env={"TWISTSERVE_LOG_FORMAT": value} if source == "environment" else {},
        until=None,
    )
    assert server.wait() == 1, server.output
    said = [line for line in server.stderr.splitlines() if value in line]
    assert len(said) == 1, server.output
    assert all(word in said[0] for word in ("text", "combined", "json")), said
    assert "Traceback" not in server.output


@pytest.mark.parametrize("source", ["environment", "settings"])
@pytest.mark.parametrize("runner", ["twistd", "twist", "manage"])
@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_format_from_elsewhere(launch: Launch, project: Project, runner: str, source: str, workers: str) -> None:
    """The environment and the settings can choose the format of every line too, the first one's included."""
    settings = "TWISTSERVE = {'LOG_FORMAT': 'json'}\n" if source == "settings" else ""
    env = {"TWISTSERVE_LOG_FORMAT": "json"} if source == "environment" else {}
    server = launch("--workers", workers, cwd=project(VIEWS, settings=settings), runner=runner, env=env)
    server.get("/")
    ends(server, PROMPT)
    access = [line for line in lines_of(server) if line["logger"] == "twistserve.access"]
    assert [line["path"] for line in access] == ["/"]
