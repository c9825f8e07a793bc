"""A real Prometheus server that scrapes one port of this machine, and is asked what it got."""

from __future__ import annotations

import json
import subprocess
import urllib.parse
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from tests.support.functional.harness import fetch, free_port, wait_for

PROMETHEUS = "/usr/bin/prometheus"
PROMTOOL = "/usr/bin/promtool"
CONFIGURATION = """
global:
  scrape_interval: 1s
  evaluation_interval: 1s
rule_files: {rules}
scrape_configs:
  - job_name: shop
    static_configs:
      - targets: ["127.0.0.1:{port}"]
        labels: {labels}
"""

Series = dict[tuple[str, ...], float]
T = TypeVar("T")


def promtool(*words: str | Path) -> str:
    """What promtool says; it must have nothing to complain of."""
    done = subprocess.run([PROMTOOL, *map(str, words)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


class Prometheus:
    """A Prometheus server of the test's own and its HTTP API; it evaluates the rules of these files.

    `labels` are added to what it scrapes, as those of a pod would be.
    """

    def __init__(self, target: int, directory: Path, *rules: Path, labels: Mapping[str, str] | None = None) -> None:
        self.port = free_port()
        self.log = directory / "prometheus.log"
        configuration = directory / "prometheus.yml"
        words = {"rules": json.dumps([str(path) for path in rules]), "labels": json.dumps(labels or {})}
        configuration.write_text(CONFIGURATION.format(port=target, **words))
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [
                    PROMETHEUS,
                    f"--config.file={configuration}",
                    f"--storage.tsdb.path={directory / 'prometheus'}",
                    f"--web.listen-address=127.0.0.1:{self.port}",
                    "--log.level=warn",
                ],
                cwd=directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def api(self, path: str, **parameters: str) -> Any:
        """The data that Prometheus answers with."""
        query = urllib.parse.urlencode(parameters)
        reply = fetch(self.port, f"/api/v1/{path}?{query}").json()
        assert reply["status"] == "success", reply
        return reply["data"]

    def query(self, expression: str, *labels: str) -> Series:
        """The value of each series an expression gives now, by the values of these labels."""
        result = self.api("query", query=expression)["result"]
        return {
            tuple(series["metric"].get(label, "") for label in labels): float(series["value"][1]) for series in result
        }

    def value(self, expression: str) -> float | None:
        """The value of an expression that gives one series, or None while it gives none."""
        series = self.query(expression)
        return series[()] if series else None

    def is_ready(self) -> bool:
        """Whether it answers queries."""
        assert self.process.poll() is None, f"Prometheus ended early\n{self.log.read_text()}"
        try:
            return fetch(self.port, "/-/ready").status == 200
        except OSError:
            return False

    def wait_until(self, condition: Callable[[], T | None], what: str) -> T:
        """Wait for something Prometheus is to see; a failure shows its log and how its scrapes went."""
        try:
            return wait_for(condition, what)
        except AssertionError as error:
            targets = json.dumps(self.api("targets")["activeTargets"], indent=1)
            raise AssertionError(f"{error}\n{self.log.read_text()}\n{targets}") from None

    def wait_until_up_is(self, value: int) -> None:
        """Wait for the last scrape to have succeeded (1) or failed (0)."""
        self.wait_until(lambda: self.value("up") == value, f"up to be {value}")

    def end(self) -> None:
        self.process.kill()
        self.process.wait()


Scrape = Callable[..., Prometheus]
"""The fixture `scrape`."""
