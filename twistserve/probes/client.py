"""Asks the probes of a running instance, for people, exec probes and Docker's HEALTHCHECK."""

from __future__ import annotations

import argparse
import re
import socket
import time
from collections.abc import Mapping
from typing import Any

from twistserve import command_line, options, values
from twistserve.errors import StartError
from twistserve.options import Configuration
from twistserve.resolution import LoadSettings, ReadSettings, resolve

PROBES = {"startup": "startup_probe", "ready": "readiness_probe", "alive": "liveness_probe"}
"""What may be asked, and the options that have the paths."""
OPTIONS = frozenset(
    ("host", "port", "probe_host", "probe_port", "probe", *PROBES.values(), "check_timeout", "hurricane_settings")
)
"""Those of the table that matter here."""
MARGIN = 1.0
"""Seconds that an answer may come later than the deadline of its checks."""
LOOPBACK = {None: "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}
"""Where to ask who listens on every interface."""
LARGEST = 1 << 20
"""Bytes of an answer that are read."""

DESCRIPTION = (
    "Asks a probe of a running instance and exits with status 0 if it passes, else with 1 and the reasons. Where to"
    " ask follows from the same options, TWISTSERVE_* environment variables and setting TWISTSERVE that the instance"
    " was started with."
)


def add_arguments(parser: argparse.ArgumentParser, *more: str) -> None:
    """Give a parser the options that matter here, and these of the table beside them."""
    # Its destination is not that of --probe.
    parser.add_argument("asked", nargs="?", choices=list(PROBES), default="ready", help="the probe (default: ready)")
    parser.add_argument("--timeout", metavar="SECONDS", help="seconds to wait (default: --check-timeout plus one)")
    command_line.add_arguments(
        parser, but=[each.name for each in options.TABLE if each.name not in OPTIONS.union(more)]
    )


def ask(
    arguments: Mapping[str, Any],
    environ: Mapping[str, str],
    load_settings: LoadSettings,
    read_settings: ReadSettings = lambda names: {},
) -> tuple[bool, str]:
    """Whether the probe passes, and its answer as text. Raises `StartError` where there is none."""
    configuration = resolve(command_line.given(arguments), environ, load_settings, read_settings=read_settings)
    if configuration.no_probe:
        raise StartError("there is no probe port to ask: --no-probe is in force")
    seconds = _seconds(arguments["timeout"], configuration)
    option = PROBES[arguments["asked"]]
    host = LOOPBACK.get(configuration.probe_host, configuration.probe_host)
    where = f"[{host}]:{configuration.probe_port}" if ":" in str(host) else f"{host}:{configuration.probe_port}"
    path = getattr(configuration, option)
    if configuration.probe is not None and option != "startup_probe":
        option = "probe"
    try:
        head, body = _fetch(str(host), configuration.probe_port, path, where, seconds)
    except ConnectionRefusedError:
        raise StartError(
            f"nothing listens on {where}: the server does not run, or has another --probe-port or --probe-host"
        ) from None
    except TimeoutError:
        raise StartError(f"no answer from {where}{path} within {seconds:g} s") from None
    except UnicodeError:
        raise StartError(f"{where} cannot be asked: {str(host)!r} is no host name") from None
    except OSError as error:
        raise StartError(f"{where} cannot be asked: {error.strerror or error}") from None
    status = re.match(rb"HTTP/1\.[01] (\d{3}) ", head)
    found = body.partition("\n")[0]
    if status is None or found not in ("pass", "warn", "fail"):
        said = f"status {status[1].decode()}" if status is not None else "something else than HTTP"
        raise StartError(
            f"no probe answers at {where}{path}, but {said}:"
            f" is another program there, or another --{option.replace('_', '-')} in force?"
        )
    return status[1] == b"200" and found != "fail", body


def _seconds(timeout: str | None, configuration: Configuration) -> float:
    if timeout is None:
        return configuration.check_timeout + MARGIN
    try:
        return values.positive_seconds(timeout)
    except ValueError as error:
        raise StartError(f"--timeout: {timeout!r} is not valid: {error}") from error


def _fetch(host: str, port: int, path: str, where: str, seconds: float) -> tuple[bytes, str]:
    """The head and the body of the answer; http.client would take longer to import, and know no deadline."""
    deadline = time.monotonic() + seconds
    with socket.create_connection((host, port), seconds) as connection:
        connection.sendall(
            f"GET {path}?verbose HTTP/1.1\r\nHost: {where}\r\nAccept: text/plain\r\nConnection: close\r\n\r\n".encode()
        )
        received = b""
        while len(received) < LARGEST:
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError
            connection.settimeout(left)
            data = connection.recv(65536)
            if not data:
                break
            received += data
    head, _, body = received.partition(b"\r\n\r\n")
    return head, body.decode(errors="replace")
