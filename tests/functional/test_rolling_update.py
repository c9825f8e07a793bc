"""A rolling update behind a real HAProxy, under load: not one request is lost.

HAProxy looks for readiness each second. Its retries are off, so that it hides nothing.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.functional.haproxy import CONNECTIONS, VIEWS, Load, haproxy
from tests.support.functional.harness import Serve, Server, free_port, wait_for

ENOUGH = 3000
"""Requests that must have been sent."""
COUNTED = ("stot", "hrsp_2xx", "hrsp_5xx", "econ", "eresp", "wretr", "wredis", "cli_abrt", "srv_abrt")
"""What is shown of HAProxy's statistics: requests, answers, errors of connections and answers, retries, aborts."""


@pytest.mark.parametrize("mode", CONNECTIONS)
def test_a_rolling_update_loses_no_request(
    serve: Serve, project: Callable[..., Path], tmp_path: Path, mode: str
) -> None:
    """Three instances are replaced under load, two by others beside them, one on its own port: no answer is missing."""
    directory = project(views=VIEWS)
    ports = {name: free_port() for name in ("old-1", "old-2", "both-3", "new-1", "new-2")}

    def start(name: str) -> Server:
        return serve(
            *("--port", str(ports[name]), "--drain-delay", "3", "--no-access-log"),
            cwd=directory,
            settings="site_settings",
            port=ports[name],
            until=None,
        )

    servers = {name: start(name) for name in ("old-1", "old-2", "both-3")}
    for server in servers.values():
        server.wait_until()
    with haproxy(tmp_path, ports, CONNECTIONS[mode]) as proxy:
        states = {"old-1": "UP", "old-2": "UP", "both-3": "UP", "new-1": "DOWN", "new-2": "DOWN"}
        wait_for(lambda: proxy.sees(states), "HAProxy to know its servers")
        with Load(proxy.port, keep_alive=mode.startswith("keep-alive")) as load:
            statuses = []
            for old, new in (("old-1", "new-1"), ("old-2", "new-2")):
                servers[new] = start(new).wait_until()
                statuses.append(servers[old].terminate())
            statuses.append(servers["both-3"].terminate())
            said = servers["both-3"].output
            servers["both-3"] = start("both-3").wait_until()
            wait_for(lambda: proxy.sees({"both-3": "UP"}), "HAProxy to believe the last one")
            wait_for(lambda: load.sent >= ENOUGH, f"{ENOUGH} requests to be sent")
        statistics = {name: {key: row[key] for key in COUNTED} for name, row in proxy.statistics().items()}
    # pytest shows this with a test that fails.
    sys.stdout.write(
        f"{mode}: {load}"
        + "".join(f"{name}: {counts}\n" for name, counts in statistics.items())
        + f"--- HAProxy\n{proxy.log_path.read_text()}\n--- the first on port {ports['both-3']}\n{said}\n"
    )
    assert statuses == [0, 0, 0]
    assert load.lost == 0, str(load)
    failures = {key: statistics["BACKEND"][key] for key in ("hrsp_5xx", "econ", "eresp", "wretr", "wredis")}
    assert set(failures.values()) == {"0"}, failures
    for output in (said, *(server.output for server in servers.values())):
        assert "cut off" not in output
        assert "Traceback" not in output
