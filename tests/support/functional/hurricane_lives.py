"""How an instance of a project written for Django-Hurricane starts and ends, and which webhooks tell of it."""

from __future__ import annotations

import shutil
import signal
import socket
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

from tests.support.functional.harness import Server, free_port, refuses, wait_for
from tests.support.functional.hurricane import Side, again, serving
from tests.support.functional.hurricane_http import ask
from tests.support.functional.observations import NONE, Observations
from tests.support.functional.webhooks import Delivery, Receiver

SILENT = {
    ("twistserve", "/alive is asked first"),
    ("hurricane", "the process ends"),
}
"""Moments of which a server is known to tell nothing."""
SILENT_IN_HURRICANES = {(app, "the process ends") for app in ("hurricane", "twistserve")}
"""The same, where both send what Hurricane does."""
FAILING = {
    "a --command that fails": ("--command", "prepare fail"),
    "a --command that does not exist": ("--command", "nonsense"),
    "a --command that calls sys.exit(3)": ("--command", "prepare exit"),
    "an option that does not exist": ("--nonsense",),
    "an option of another kind": ("--req-queue-len", "many"),
}

RUNS_ON = (signal.SIGHUP, signal.SIGQUIT)
"""Signals that one of them does not end with."""


def ending(server: Server) -> str:
    """How a process ends that is to end."""
    return f"status {server.wait()}"


# Webhooks


def webhooks(side: Side) -> Observations:
    """The events of a life and of a failed start, in twistserve's own format, and in Hurricane's."""
    theirs = () if side.is_hurricane else ("--webhook-format", "hurricane")
    in_theirs = events_of_a_life(again(side, "its format"), theirs, SILENT_IN_HURRICANES)
    return events_of_a_life(side, (), SILENT) | {
        name.replace("the webhook", "in its format, the webhook"): value for name, value in in_theirs.items()
    }


def events_of_a_life(side: Side, format_: Sequence[str], silent: Collection[tuple[str, str]]) -> Observations:
    """The events of a life with a check that fails for a while; each is waited for, since Hurricane keeps no order."""
    with Receiver() as receiver:
        told = Told(receiver, side, silent)
        with serving(side, "--webhook-url", receiver.url, *format_, until=None) as server:
            probe_once(server, "/startup", 200)
            seen = told.when("the start is complete")
            probe_once(server, "/ready", 200)
            seen |= told.when("/ready is asked first")
            probe_once(server, "/alive", 200)
            seen |= told.when("/alive is asked first")
            for tag, path in (("readiness", "/ready"), ("liveness", "/alive")):
                (server.cwd / f"{tag}.fails").touch()
                probe_once(server, path, 500 if side.is_hurricane else 503)
                seen |= told.when(f"{path} fails")
                (server.cwd / f"{tag}.fails").unlink()
                probe_once(server, path, 200)
                seen |= told.when(f"{path} passes again")
            server.terminate()
            seen |= told.when("the process ends")
        fields = receiver.deliveries[0].fields
        seen |= {f"the webhook field {name}": "there" for name in fields}
        seen |= ended_with_webhook(side, receiver, format_)
    return seen


def probe_once(server: Server, path: str, status: int) -> None:
    """Ask until this is the status."""
    wait_for(lambda: server.answers(path, status), f"{path} to answer {status}\n{server.output}")


@dataclass
class Told:
    """The events that a receiver has got between one moment and the next."""

    receiver: Receiver
    side: Side
    silent: Collection[tuple[str, str]]
    before: int = 0

    def when(self, moment: str) -> Observations:
        """What came of this; that nothing comes is known of the server, and seen by what the next moment gets."""
        if (self.side.app, moment) not in self.silent:
            wait_for(lambda: len(self.receiver.deliveries) > self.before, f"an event when {moment}")
        new = self.receiver.deliveries[self.before :]
        self.before += len(new)
        return {f"the webhooks when {moment}": events(new)}


def events(deliveries: list[Delivery]) -> str:
    told = [f"{event.get('type') or event.get('event')} {event['status']}" for event in (d.fields for d in deliveries)]
    return ", ".join(told) or NONE


# Starts that fail, and ends


def ended_with_webhook(side: Side, receiver: Receiver, format_: Sequence[str]) -> Observations:
    before = len(receiver.deliveries)
    failing = ("--command", "prepare fail", "--webhook-url", receiver.url, *format_)
    with serving(again(side, "webhook"), *failing, until=None) as one:
        status = ending(one)
    failed = receiver.deliveries[before:]
    fields = {f"the webhook field {name} of a failed start": "there" for name in failed[0].fields}
    return fields | {
        "a --command that fails, with --webhook-url: exit": status,
        "the webhooks when a start fails": events(failed),
    }


def failing_starts(side: Side) -> Observations:
    """Exit statuses, and what standard error says of a start that fails."""
    seen: Observations = {}
    for case, arguments in FAILING.items():
        with serving(again(side, case), *arguments, until=None) as server:
            seen[f"{case}: exit"] = ending_or_running_on(server)
            seen[f"{case}: standard error"] = shape(server.stderr)
    return seen


def names(side: Side) -> Observations:
    """Hurricane's own names: options, variables, settings, and one port for everything."""
    seen: Observations = {}
    options = ("--max-buffer-size", "1000000", "--req-queue-len", "0", "--liveness-probe", " veryalive ")
    with serving(again(side, "options"), *options) as server:
        for path in ("/ready", "/veryalive"):
            seen[f"{path} with --req-queue-len 0 and spaces: status"] = str(server.probe(path).status)
    with serving(again(side, "words"), "--command", "prepare", "tables", until=None) as server:
        seen["a --command of several words"] = ready_or_ended(server, "/startup")
    variables = {"HURRICANE_LIVENESS_PROBE": "veryalive", "HURRICANE_NO_METRICS": "1", "HURRICANE_MEDIA": "True"}
    with serving(again(side, "variables"), env=variables) as server:
        seen["the variable HURRICANE_LIVENESS_PROBE: status"] = str(server.probe("/veryalive").status)
        seen["the variable HURRICANE_NO_METRICS: status"] = str(server.probe("/metrics").status)
        seen["the variable HURRICANE_MEDIA: status"] = str(server.get("/media/note.txt").status)
    settings = again(side, "settings")
    settings.write(
        "TWISTSERVE = {'HURRICANE_SETTINGS': True}\n"
        "LIVENESS_PROBE = '/veryalive'\nCOMMAND = [['prepare tables']]\nMEDIA = True\n"
    )
    with serving(settings) as server:
        seen["the setting LIVENESS_PROBE: status"] = str(server.probe("/veryalive").status)
        seen["the setting COMMAND: ran"] = str((server.cwd / "tables").exists())
        seen["the setting MEDIA: status"] = str(server.get("/media/note.txt").status)
    port = free_port()
    with serving(again(side, "one port"), "--port", str(port), "--probe-port", str(port), port=port) as server:
        for path in ("/startup", "/ready", "/alive", "/metrics", "/", "/metrics/cpu"):
            seen[f"{path} with one port: status"] = str(server.get(path).status)
    return seen


def refused_projects(side: Side) -> Observations:
    """Projects that only one of them serves."""
    checked, rootless = again(side, "checked"), again(side, "rootless")
    checked.write()
    (checked.directory / "always.fails").touch()
    with serving(checked, until=None) as server:
        seen = {"a check tagged readiness that fails at the start": ready_or_ended(server, "/ready")}
    rootless.write("MEDIA_ROOT = ''\n")
    with serving(rootless, "--media", until=None) as server:
        seen["--media without MEDIA_ROOT"] = ready_or_ended(server, "/startup")
        if server.process.poll() is None:
            seen["--media without MEDIA_ROOT"] += f", /media/manage.py {server.get('/media/manage.py').status}"
    return seen


def ready_or_ended(server: Server, path: str) -> str:
    """How the process ended, or what a probe responds once the web port is open."""

    def told() -> str | None:
        if server.process.poll() is not None:
            return ending(server)
        return None if refuses(server.port) else f"{path} {server.probe(path).status}"

    return wait_for(told, "the start")


def ports_in_use(side: Side) -> Observations:
    """A port that another process has."""
    seen: Observations = {}
    for case, offset in {"the web port is in use": 0, "the probe port is in use": 1}.items():
        taken = free_port()
        with socket.create_server(("", taken + offset)):
            arguments = ("--port", str(taken))
            with serving(again(side, case), *arguments, port=taken, until=None) as server:
                seen[f"{case}: exit"] = ending(server) if offset else ending_or_running_on(server)
                seen[f"{case}: standard error"] = shape(server.stderr)
    return seen


def signals(side: Side) -> Observations:
    """What ends an instance, and what becomes of a request in flight."""
    seen: Observations = {}
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
        with serving(again(side, number.name)) as server:
            server.signal(number)
            seen[f"{number.name}: exit"] = wait_for(partial(ended_or_told, server, number), number.name)
    with serving(again(side, "in flight")) as server, ThreadPoolExecutor(1) as client:
        response = client.submit(ask, server.port, "GET /hold", exact=True)
        wait_for((server.cwd / "held").exists, "the request to arrive")
        server.signal(signal.SIGTERM)
        wait_for(lambda: "SIGTERM" in server.output, "SIGTERM to be heard")
        (server.cwd / "go").touch()
        seen |= {
            name.replace("/hold", "/hold in flight at SIGTERM"): value for name, value in response.result().items()
        }
        seen["a request in flight at SIGTERM: exit"] = ending(server)
    return seen


def ended_or_told(server: Server, number: signal.Signals) -> str | None:
    """How the process ended, or that it serves on although it has heard a signal."""
    if server.process.poll() is not None:
        return ending(server)
    return "runs on" if number in RUNS_ON and number.name in server.output and server.answers("/alive") else None


def recycling(side: Side) -> Observations:
    """What becomes of an instance that has reached a bound."""
    with serving(again(side, "lifetime"), "--max-lifetime", "1") as server:
        for _ in range(3):
            ask(server.port, "GET /")
        seen = {"--max-lifetime reached": wait_for(lambda: ended_or_refused(server), "the bound")}
    with serving(again(side, "memory"), "--max-memory", "1", until=None) as server:
        restarts = "Restarting. Current memory usage"
        told = wait_for(lambda: restarts in server.output or server.process.poll() is not None, "the bound")
        assert told
        anew = restarts in server.output
        seen["--max-memory reached"] = "the process starts itself anew" if anew else ending(server)
    return seen


def ended_or_refused(server: Server) -> str | None:
    if server.process.poll() is not None:
        return ending(server)
    try:
        status = server.probe("/alive").status
    except OSError:
        return None
    return None if status == 200 else f"runs on, /alive {status}"


def migrations(side: Side) -> Observations:
    """What is awaited before the service is ready, and in which order."""
    without = again(side, "lost")
    without.write()
    shutil.rmtree(without.directory / "data")
    with serving(without, "--check-migrations", until=None) as server:
        seen = {"--check-migrations without a database": wait_for(lambda: ready_or_waiting(server), "the migrations")}
    with serving(again(side, "apply"), "--check-migrations-apply", "--command", "prepare tables") as server:
        seen["--check-migrations-apply: a --command finds the tables"] = (server.cwd / "tables").read_text()
    with serving(again(side, "no probe"), "--no-probe", until=None) as server:
        wait_for(lambda: not refuses(server.port), "the web port")
        seen["--no-probe: the probe port"] = "refused" if refuses(server.probe_port) else "accepted"
    return seen


def ready_or_waiting(server: Server) -> str | None:
    if server.process.poll() is not None:
        return ending(server)
    try:
        reply = server.probe("/startup")
    except OSError:
        return None
    return "ready" if reply.status == 200 else "waits" if "database" in reply.text else None


def ending_or_running_on(server: Server) -> str:
    """How a process ends; one whose error has been told and that probes find starting is not going to."""

    def ended() -> str | None:
        if server.process.poll() is not None:
            return ending(server)
        failed = "in use" in server.output or (server.cwd / "exited").exists()
        return "runs on" if failed and not refuses(server.probe_port) and server.answers("/startup", 400) else None

    return wait_for(ended, lambda: f"an end\n{server.output}")


def shape(text: str) -> str:
    if "Traceback" in text:
        return "a traceback"
    return {0: NONE, 1: "one line"}.get(len(text.splitlines()), "usage and error")
