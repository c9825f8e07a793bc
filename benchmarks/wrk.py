"""One run of wrk, and reading what it printed."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

TIMEOUT = 10
"""Seconds after which wrk counts a request as timed out."""

TIMES = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
COUNTS = {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9}
_TIME = r"([\d.]+)(us|ms|s|m|h)"
_COUNT = r"([\d.]+)([kMG]?)"


class WrkError(Exception):
    """wrk could not run or said something that is not a result."""


@dataclass(frozen=True)
class Result:
    """What one run of wrk measured. Times are in seconds."""

    answers: int
    """Complete answers with a good status: an error page is quickly sent, and no answer."""
    seconds: float
    p50: float
    p99: float
    socket_errors: int
    bad_statuses: int

    @property
    def rate(self) -> float:
        """Good answers a second."""
        return self.answers / self.seconds if self.seconds else 0.0

    @property
    def errors(self) -> int:
        return self.socket_errors + self.bad_statuses


def run(url: str, *, core: int | str, connections: int, seconds: int, script: Path | None = None) -> Result:
    """Drive `url` from one thread on one core, or on several as taskset takes them. Raises `WrkError`."""
    command = [
        *("taskset", "--cpu-list", str(core), "wrk", "--latency", "--threads=1", f"--connections={connections}"),
        *(f"--duration={seconds}s", f"--timeout={TIMEOUT}s"),
        *(("--script", str(script)) if script else ()),
        url,
    ]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 3 * TIMEOUT, check=False)
    except subprocess.TimeoutExpired as error:
        raise WrkError(f"wrk did not end within {error.timeout:g} s") from error
    if done.returncode:
        raise WrkError((done.stderr or done.stdout).strip())
    return parse(done.stdout)


def parse(output: str) -> Result:
    """Read wrk's report, `--latency` included. Raises `WrkError` where something is missing."""
    complete = re.search(rf"{_COUNT} requests in {_TIME}", output)
    rate = re.search(rf"Requests/sec: +{_COUNT}\s", output)
    p50, p99 = (re.search(rf"^ +{share}% +{_TIME}\s*$", output, re.MULTILINE) for share in (50, 99))
    if complete is None or rate is None or p50 is None or p99 is None:
        raise WrkError(f"not a report of wrk: {output.strip()[:500]!r}")
    requests = round(_count(complete[1], complete[2]))
    # wrk rounds the time to hundredths, of minutes even; the rate it prints is more exact.
    requests_per_second = _count(rate[1], rate[2])
    seconds = requests / requests_per_second if requests_per_second else _time(complete[3], complete[4])
    broken = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", output)
    refused = re.search(r"Non-2xx or 3xx responses: (\d+)", output)
    bad_statuses = int(refused[1]) if refused else 0
    return Result(
        answers=requests - bad_statuses,
        seconds=seconds,
        p50=_time(p50[1], p50[2]),
        p99=_time(p99[1], p99[2]),
        socket_errors=sum(map(int, broken.groups())) if broken else 0,
        bad_statuses=bad_statuses,
    )


def _time(number: str, unit: str) -> float:
    return float(number) * TIMES[unit]


def _count(number: str, unit: str) -> float:
    return float(number) * COUNTS[unit]
