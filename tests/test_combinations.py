"""Defaults that follow from other options, and what does not go together."""

from __future__ import annotations

import pytest

from tests.support.options import error, resolved


def test_probe_address_follows_the_web_address() -> None:
    """The probe port is the next one, on the same host, unless it is given."""
    config = resolved("--host", "127.0.0.1", "--port", "9000")
    assert (config.probe_host, config.probe_port) == ("127.0.0.1", 9001)
    assert resolved("--probe-port", "7", "--probe-host", "::1").probe_port == 7
    assert "--probe-port" in error("--port", "65535")
    assert resolved("--port", "65535", "--no-probe").port == 65535


def test_probes_on_the_web_port() -> None:
    """Without the status page, whatever was said of it, for that would be in the place of the site."""
    config = resolved("--probe-port", "8000", environ={"TWISTSERVE_NO_STATUS_PAGE": "false"})
    assert (config.probes_on_web_port, config.probe_port, config.no_status_page) == (True, 8000, True)
    assert config.source("no_status_page") == "default with --probe-port on the web port"
    assert not resolved().probes_on_web_port
    assert resolved("--probe-port", "8000", "--metrics", "status.json").metrics == "/status.json"
    without = resolved("--probe-port", "8000", "--no-probe", "--workers", "2")
    assert not without.probes_on_web_port
    assert not without.no_status_page


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--workers", "2"], "each worker could tell of itself alone"),
        (["--endpoint", "tcp:9000"], "which --endpoint takes the place of"),
        (["--endpoint", "tcp:9000", "--endpoint", "tls:/c:port=443"], "probes are not served with TLS"),
        (["--endpoint", "ssl:443:privateKey=/k"], "probes are not served with TLS"),
        (["--probe-host", "127.0.0.1"], "which is at the address of --host"),
    ],
)
def test_what_probes_on_the_web_port_cannot_go_with(words: list[str], said: str) -> None:
    """In one sentence, with the remedy."""
    told = error("--probe-port", "8000", *words)
    assert said in told
    assert told.endswith("give the probes a port of their own")
    assert resolved("--probe-port", "8001", *words).probe_port == 8001


def test_a_debugger_beside_probes_on_the_web_port() -> None:
    """It needs another port, which the error calls by its name."""
    assert "5678 is the web port too" in error("--port", "5678", "--probe-port", "5678", "--debugger")


def test_paths_of_the_probe_port_differ() -> None:
    """Two probes cannot have one path; metrics that are off do not count."""
    assert "--liveness-probe" in error("--liveness-probe", "ready")
    assert "--metrics" in error("--metrics", "/alive")
    assert resolved("--metrics", "/alive", "--no-metrics").no_metrics


def test_the_status_page_has_a_path_of_its_own() -> None:
    """Nothing else can be at /status.json, unless there is no such page."""
    said = error("--metrics", "status.json")
    assert "--metrics: '/status.json' is the path of the status page's JSON too" in said
    assert resolved("--metrics", "status.json", "--no-status-page").metrics == "/status.json"


def test_one_path_for_readiness_and_liveness() -> None:
    """It takes the place of both, and needs a path of its own like them."""
    config = resolved("--probe", "health/")
    assert (config.probe, config.readiness_probe, config.liveness_probe) == ("/health", "/health", "/health")
    assert config.startup_probe == "/startup"
    assert resolved("--probe", "/alive", "--metrics", "/ready").probe == "/alive"
    assert "--probe: '/startup' is the path of --startup-probe too" in error("--probe", "/startup")
    assert "--metrics: '/metrics' is the path of --probe too" in error("--probe", "/metrics")
    assert "--probe: '/status.json' is the path of the status page's JSON too" in error("--probe", "/status.json")
    assert resolved("--probe", "/startup", "--no-probe").no_probe, "as for the other paths, there is nothing to ask"


@pytest.mark.parametrize("word", ["readiness-probe", "liveness-probe"])
def test_one_path_beside_another_is_refused(word: str) -> None:
    """Wherever either comes from, which the error tells, and even if the paths are the same."""
    key = word.replace("-", "_").upper()
    assert error(f"--{word}", "/alive", environ={"TWISTSERVE_PROBE": "/alive"}) == (
        "--probe from the environment variable TWISTSERVE_PROBE is the one path of readiness and liveness,"
        f" but there is --{word} from the command line: leave one of them out"
    )
    assert f"from the environment variable TWISTSERVE_{key}:" in error(
        "--probe", "/x", environ={f"TWISTSERVE_{key}": "/y"}
    )
    assert f"from the setting TWISTSERVE['{key}']:" in error("--probe", "/x", setting={key: "/y"})


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--workers", "2"], "--debugger: with --workers 2 "),
        (["--port", "5678"], "--debugger-port: 5678 is the web port too"),
        (["--probe-port", "5678"], "--debugger-port: 5678 is the probe port too"),
        (["--port", "5677"], "--debugger-port: 5678 is the probe port too"),
        (["--no-probe", "--port", "5678"], "is the web port too"),
    ],
)
def test_a_debugger_needs_one_process_and_a_port_of_its_own(words: list[str], said: str) -> None:
    """The port of the debugger is looked at only where there is one, and the others only where they are opened."""
    assert said in error("--debugger", *words)
    resolved(*words)


def test_ports_that_are_not_opened_are_the_debuggers_to_take() -> None:
    """--endpoint opens others than --port, --no-probe none."""
    assert resolved("--debugger", "--port", "5678", "--endpoint", "tcp:8000").debugger_port == 5678
    assert resolved("--debugger", "--probe-port", "5678", "--no-probe").debugger


def test_static_watch_needs_static_and_one_process() -> None:
    """The refusal names the other option."""
    assert error("--static-watch", ".") == "--static-watch renews what --static serves: give --static as well"
    message = error("--static", "--static-watch", ".", "--workers", "2")
    assert message.startswith("--static-watch is for development with one process, and --workers is 2")
    assert len(resolved("--static", "--static-watch", ".", "--static-watch", "..").static_watch) == 2


def test_one_process_is_reloaded() -> None:
    """Wherever both were said; the line says what to do."""
    assert "--workers is 2: give --workers 1 with it" in error("--autoreload", "--workers", "2")
    assert error("--autoreload", setting={"WORKERS": 2}).startswith("--autoreload: one process is reloaded")
    assert resolved("--autoreload", "--workers", "1").autoreload


def test_a_preloaded_application_is_for_workers() -> None:
    """One process has nothing to fork, and says what to give."""
    assert resolved("--preload", "--workers", "2").preload
    assert "--workers is 1: give --workers 2 or more, or leave it out" in error("--preload")


def test_mounts_have_paths_of_their_own() -> None:
    """Neither another's nor, with probes on the web port, a probe's."""
    assert resolved("--mount", "/a/=x.y", "--mount", "b=x:z").mount == ("/a=x.y", "/b=x.z")
    assert "'/a' is given to x.y and to x.z: give each" in error("--mount", "/a=x.y", "--mount", "a=x.z")
    assert "the path of --readiness-probe too" in error("--mount", "/ready=x.y", "--probe-port", "8000")
    assert resolved("--mount", "/ready=x.y").mount == ("/ready=x.y",)
