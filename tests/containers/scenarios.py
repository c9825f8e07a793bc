"""What happens to pods in a cluster, each with the row that it comes to; whatever should not be raises."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.containers.clients import PAGES, Clients
from tests.containers.kubelet import LIVENESS, READINESS, Probe
from tests.containers.pods import PROPAGATION, Pod, Rendered, pods, render
from tests.support.functional.haproxy import CONNECTIONS, KEEP_ALIVE, NO_RETRIES, HAProxy, Load, haproxy
from tests.support.functional.harness import wait_for
from tests.support.functional.postgresql import Cluster
from tests.support.functional.processes import children

COMPUTING = {path: text for path, text in PAGES.items() if "slow" not in path}
"""Those that do not wait."""
THREADS = 8
"""--threads, by default."""
RETRIES = "retries 3\n    option redispatch"
"""What HAProxy and most ingresses do by default: where no connection can be made, another pod is tried."""
STEADY = ("--check-migrations-apply", "--forwarded-allow-ips", "private")
MAX_MEMORY = 150
"""--max-memory: the manifest's limit is 256Mi with it."""


@dataclass(frozen=True)
class World:
    """Where a scenario happens."""

    project: Path
    directory: Path
    database: Cluster

    @contextmanager
    def pods(
        self, rendered: Sequence[Rendered], later: Sequence[Rendered] = (), retries: str = NO_RETRIES
    ) -> Iterator[tuple[HAProxy, list[Pod]]]:
        """A Service, and pods in it that are ready; `later` are those that the block may start."""
        places = {each.name: each.port for each in (*rendered, *later)}
        with (
            haproxy(self.directory, places, CONNECTIONS[KEEP_ALIVE], "disabled", retries) as service,
            pods(rendered, service, self.directory) as started,
        ):
            for pod in started:
                pod.wait_until_open()
            yield service, started


@dataclass(frozen=True)
class Row:
    """What a scenario came to."""

    requests: int
    lost: int
    restarts: int
    pods: Sequence[Pod]
    note: str

    def cells(self) -> list[str]:
        """The cells of the table."""
        worst = [
            max((pod.answers[name] for pod in self.pods), key=lambda found: max(found.seconds, default=0))
            for name in (READINESS, LIVENESS)
        ]
        return [f"{self.requests:,}", f"{self.lost:,}", str(self.restarts), *map(str, worst), self.note]


def row(
    load: Clients | Load,
    started: Sequence[Pod],
    note: str,
    restarts: int = 0,
    lost: int | None = 0,
    by_kernel: bool = False,
) -> Row:
    """The row, once it is sure: no probe late, and as many restarts and lost requests as expected; None for any number.

    `by_kernel` says that the kernel may have ended a process for its memory.
    """
    for pod in started:
        for name, answers in pod.answers.items():
            assert answers.late == 0, f"{name} of {pod.rendered.name} was late {answers.late} times: {answers}"
        assert by_kernel or pod.oom_kills == 0
    found = sum(pod.restarts for pod in started)
    assert found == restarts, [pod.kubelet.reasons for pod in started]
    assert lost is None or load.lost == lost, str(load)
    return Row(load.sent, load.lost, found, started, note)


def probed(pod: Pod, name: str, times: int) -> Callable[[], bool]:
    """A condition: the kubelet has asked a probe so often from now on."""
    before = pod.kubelet.counts[name]
    return lambda: pod.kubelet.counts[name] >= before + times


def start(world: World) -> Row:
    """An empty database: migrations, a command, and the time until the traffic goes there."""
    began = time.monotonic()
    with world.pods([render(world.project, "start", *STEADY, "--command", "seed")]) as (service, [pod]):
        took = time.monotonic() - began
        with Clients(service.port, 1) as load:
            wait_for(probed(pod, LIVENESS, 1), "a liveness probe")
        return row(load, [pod], f"migrates, and serves {took:.1f} s after it is applied")


def overload(world: World) -> Row:
    """Four times as many requests as threads."""
    with world.pods([render(world.project, "overload", *STEADY)]) as (service, [pod]):
        load = loaded(service, pod, PAGES)
        return row(load, [pod], f"{4 * THREADS} requests at a time for {THREADS} threads")


def half_a_cpu(world: World) -> Row:
    """As many that compute, on half a CPU."""
    with world.pods([render(world.project, "half", *STEADY, cpu_limit="500m")]) as (service, [pod]):
        load = loaded(service, pod, COMPUTING)
        throttled, periods = pod.throttled()
        # How much depends on what else the machine does; the table tells it.
        assert throttled, (throttled, periods)
        share = f"suspended in {100 * throttled / periods:.0f} % of its periods"
        return row(load, [pod], f"the same with `limits.cpu: 500m`, which the manifest does not have: {share}")


def loaded(service: HAProxy, pod: Pod, pages: Mapping[str, bytes]) -> Clients:
    """Four times as many requests as threads, for two liveness probes."""
    with Clients(service.port, 4 * THREADS, pages) as load:
        wait_for(probed(pod, LIVENESS, 2), "two liveness probes")
    assert pod.closings == 0
    return load


def database_outage(world: World) -> Row:
    """The database goes, for as long as liveness takes to restart a pod, and comes back."""
    with world.pods([render(world.project, "outage", *STEADY)]) as (service, [pod]):
        readiness, liveness = pod.rendered.probes[READINESS], pod.rendered.probes[LIVENESS]
        with Clients(service.port, THREADS, COMPUTING) as load:
            wait_for(lambda: load.sent > 100, "the load")
            assert load.lost == 0, str(load)
            world.database.stop()
            began = time.monotonic()
            try:
                wait_for(lambda: not pod.open, "the traffic to be closed")
                closed = time.monotonic() - began
                assert closed <= noticed(readiness), closed
                wait_for(probed(pod, LIVENESS, liveness.failures), "as many liveness probes as would restart it")
                assert not pod.open
            finally:
                world.database.start()
            began = time.monotonic()
            wait_for(lambda: pod.open, "the traffic to come back")
            opened = time.monotonic() - began
        with Clients(service.port, THREADS, COMPUTING) as after:
            wait_for(lambda: after.sent > 100, "the load")
        assert after.lost == 0, str(after)
        errors = sum(count for outcome, count in load.outcomes.items() if ": 500" in outcome)
        note = (
            f"closed {closed:.1f} s after it goes, {errors} responses with 500 until then, 503 by the proxy later; open"
            f" {opened:.1f} s after it is back"
        )
        return row(load, [pod], note, lost=None)


def noticed(probe: Probe) -> float:
    """Seconds until the traffic follows a readiness that fails, at the latest."""
    return probe.period * probe.failures + probe.timeout + PROPAGATION


def memory(world: World) -> Row:
    """A leak in one of two pods: it ends by --max-memory, before the kernel ends it, and the other one serves."""
    rendered = [render(world.project, f"memory-{each}", *STEADY, "--max-memory", str(MAX_MEMORY)) for each in (1, 2)]
    with world.pods(rendered) as (service, [leaking, other]):
        load, highest = leak(service, leaking)
        assert leaking.statuses == [0]
        assert leaking.oom_kills == 0
        assert "MB resident, at most" in leaking.log()
        note = f"one of two pods leaks: {highest} MiB at its end by `--max-memory {MAX_MEMORY}`, limit {limit(leaking)}"
        return row(load, [leaking, other], note, restarts=1)


def memory_without(world: World) -> Row:
    """The same without the option: the kernel ends it, and what it had in hand is lost."""
    with world.pods([render(world.project, f"kernel-{each}", *STEADY) for each in (1, 2)]) as (
        service,
        [leaking, other],
    ):
        load, _ = leak(service, leaking)
        assert leaking.statuses == [137]
        assert load.lost
        note = f"the same without it: the kernel ends the process at {limit(leaking)}"
        return row(load, [leaking, other], note, restarts=1, lost=None, by_kernel=True)


def leak(service: HAProxy, pod: Pod) -> tuple[Clients, int]:
    """A load that makes a pod leak until it has been started again; what came of it, and its highest memory in MiB."""
    highest = 0

    def again() -> bool:
        nonlocal highest
        highest = max(highest, resident(pod))
        return pod.kubelet.starts == 2

    with Clients(service.port, 4, {f"/leak/?port={pod.rendered.port}": b"leaked", **PAGES}) as load:
        wait_for(again, "the pod to end")
        wait_for(lambda: not pod.open, "the traffic to be closed")
        pod.wait_until_open()
    return load, highest >> 20


def limit(pod: Pod) -> str:
    """The memory limit of its manifest."""
    [container] = pod.rendered.manifest["spec"]["template"]["spec"]["containers"]
    return str(container["resources"]["limits"]["memory"])


def resident(pod: Pod) -> int:
    """Bytes that the pod's server has resident; 0 once it has ended."""
    try:
        [server] = children(pod.pid)
        return int(Path(f"/proc/{server}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        return 0


def killed(world: World) -> Row:
    """SIGKILL to the server of one of two pods: it is started again, and only what it had in hand is lost."""
    rendered = [render(world.project, f"killed-{number}", *STEADY) for number in (1, 2)]
    with world.pods(rendered, retries=RETRIES) as (service, [victim, other]):
        with Clients(service.port, 2 * THREADS) as load:
            wait_for(lambda: load.sent > 100, "the load")
            assert load.lost == 0, str(load)
            [server] = children(victim.pid)
            os.kill(server, signal.SIGKILL)
            wait_for(lambda: victim.kubelet.starts == 2, "the container to be started again")
            wait_for(lambda: not victim.open, "the traffic to be closed")
            victim.wait_until_open()
            sent = load.sent
            wait_for(lambda: load.sent > sent + 100, "the load")
        assert victim.kubelet.reasons == ["status 137"]
        assert load.lost <= 2 * THREADS, str(load)
        return row(
            load,
            [victim, other],
            f"one of two pods, with {2 * THREADS} requests at a time; the requests it had are lost",
            restarts=1,
            lost=None,
        )


def roll_out(world: World) -> Row:
    """Three replicas are replaced, one more at a time, under a load of keep-alive connections."""
    old = [render(world.project, f"old-{number}", *STEADY) for number in (1, 2, 3)]
    new = [render(world.project, f"new-{number}", *STEADY) for number in (1, 2, 3)]
    # Of three pods, 25 % is one, since a surge is rounded up.
    assert new[0].manifest["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": "25%", "maxUnavailable": 0}
    with world.pods(old, new) as (service, started):
        with Load(service.port, keep_alive=True, below="/load/") as load:
            began = time.monotonic()
            for leaving, each in zip(tuple(started), new, strict=True):
                started.append(Pod(each, service, world.directory))
                started[-1].wait_until_ready()
                leaving.delete()
            wait_for(lambda: all(pod.is_gone for pod in started[:3]), "the old pods to end")
            took = time.monotonic() - began
        for pod in started:
            assert pod.statuses in ([0], [])
            assert "cut off" not in pod.log()
            assert "Traceback" not in pod.log()
        return row(load, started, f"3 pods in {took:.0f} s, one more at a time")


SCENARIOS = {
    "start": start,
    "overload": overload,
    "half a CPU": half_a_cpu,
    "database outage": database_outage,
    "memory": memory,
    "memory, no bound": memory_without,
    "SIGKILL": killed,
    "roll-out": roll_out,
}
