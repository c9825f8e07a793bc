"""Pods: a rendered Deployment, played by podman, in the care of a kubelet of the tests.

`podman play kube` takes the manifest as `manage.py kubernetes` prints it, but for

- `ports:`, since all share the machine's network; named ports of probes become numbers,
- the probes and restarts, which are this kubelet's,
- the name of the volume, since an emptyDir is one of podman's, which pods with the same name share,
- KUBERNETES_SERVICE_HOST, which every kubelet adds to the environment, and by which --drain-delay is 5.
"""

from __future__ import annotations

import http.client
import os
import queue
import select
import statistics
import subprocess
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tests.containers.images import IMAGE, PODMAN, environ, run
from tests.containers.kubelet import LIVENESS, READINESS, Act, Kubelet, Probe
from tests.containers.project import SETTINGS_MODULE
from tests.support.functional.haproxy import HAProxy
from tests.support.functional.harness import PATIENCE, free_port, wait_for
from tests.support.functional.manifests import objects, print_manifests

PROPAGATION = 1.0
"""Seconds from a change of readiness until the traffic follows: twistserve/kubernetes/times.py counts on no more."""
OOM_FILES = ("memory.events", "memory.oom_control")
"""Where versions 2 and 1 of cgroups count them."""
OBSERVED_EVERY = 0.2
"""Seconds between two requests for each probe, beside the kubelet's own, which are few."""


@dataclass(frozen=True)
class Rendered:
    """What `manage.py kubernetes` printed of a pod."""

    name: str
    port: int
    manifest: dict[str, Any]
    """The Deployment, as podman can play it."""
    probes: dict[str, Probe]
    grace: int


def render(project: Path, name: str, *options: str, cpu_limit: str | None = None) -> Rendered:
    """Print the manifests with a port of this pod's own. Only `cpu_limit` asks for what they do not have."""
    port = free_port()
    words = ("--settings", SETTINGS_MODULE, "--image", IMAGE, "--port", str(port), "--set", f"name={name}")
    done = print_manifests(*words, "--static", *options, cwd=project)
    assert done.returncode == 0, done.stderr
    deployment = objects(done.stdout)["Deployment"]
    spec = deployment["spec"]["template"]["spec"]
    [container] = spec["containers"]
    ports = {each["name"]: each["containerPort"] for each in container.pop("ports")}
    probes = {name: Probe.of(container.pop(f"{name}Probe"), ports) for name in ("startup", "readiness", "liveness")}
    container["env"].append({"name": "KUBERNETES_SERVICE_HOST", "value": "127.0.0.1"})
    spec["restartPolicy"] = "Never"
    for volume in (*spec["volumes"], *container["volumeMounts"]):
        volume["name"] += f"-{name}"
    if cpu_limit is not None:
        container["resources"]["limits"]["cpu"] = cpu_limit
    return Rendered(name, port, deployment, probes, spec["terminationGracePeriodSeconds"])


@dataclass
class Answers:
    """What came of a probe's requests: seconds each, and those that came late or never."""

    seconds: list[float] = field(default_factory=list)
    late: int = 0

    def __str__(self) -> str:
        if len(self.seconds) < 2:
            return "-"
        found = statistics.quantiles(self.seconds, n=20, method="inclusive")
        return " / ".join(f"{1000 * each:.0f}" for each in (found[9], found[18], max(self.seconds)))


class Pod:
    """A pod that runs, is probed, and is opened to the traffic of `service` while it is ready."""

    def __init__(self, rendered: Rendered, service: HAProxy, directory: Path) -> None:
        self.rendered = rendered
        self.kubelet = Kubelet(rendered.probes)
        self.answers = {READINESS: Answers(), LIVENESS: Answers()}
        self.open = False
        """Whether the traffic goes to it."""
        self.closings = 0
        """How often it was closed to the traffic before it was deleted."""
        self.statuses: list[int] = []
        """Those that its container has ended with."""
        self.pid = 0
        self.oom_kills = 0
        """Processes of its container that the kernel ended for their memory."""
        self._service = service
        self._file = directory / f"{rendered.name}.yaml"
        self._file.write_text(yaml.safe_dump(rendered.manifest))
        self._pod = self._container = ""
        self._descriptor = -1
        self._cgroups: list[Path] = []
        self._stop: subprocess.Popen[bytes] | None = None
        self._changes: deque[tuple[float, bool]] = deque()
        self._results: queue.SimpleQueue[tuple[str, bool, int]] = queue.SimpleQueue()
        self._over = threading.Event()
        self._error: BaseException | None = None
        observed = [threading.Thread(target=self._observe, args=(name,), daemon=True) for name in self.answers]
        self._threads = [threading.Thread(target=self._run, daemon=True), *observed]
        for thread in self._threads:
            thread.start()

    def wait_until_ready(self) -> None:
        """Wait until its probes say so, as a Deployment does, whether the traffic has followed or not."""
        wait_for(lambda: self.kubelet.is_ready or self._failed(), f"{self.rendered.name} to be ready")

    def wait_until_open(self) -> None:
        """Wait until the traffic goes to it."""
        wait_for(lambda: self.open or self._failed(), f"{self.rendered.name} to be open")

    def delete(self) -> None:
        """Delete it: its address leaves the Service while SIGTERM is sent."""
        self.kubelet.delete()

    @property
    def is_gone(self) -> bool:
        """Whether it has ended after `delete`."""
        return self._failed() or (self.kubelet.deleted and not self._running)

    @property
    def restarts(self) -> int:
        return self.kubelet.starts - 1

    def throttled(self) -> tuple[int, int]:
        """In how many of its periods of 100 ms the container used up its limit of CPU, and how many there were."""
        found = read(self._cgroups, "cpu.stat")
        return found["nr_throttled"], found["nr_periods"]

    def log(self) -> str:
        if not self._container:
            return ""
        return run(*PODMAN, "logs", self._container, stderr=subprocess.STDOUT)

    def remove(self) -> None:
        """End what still runs, without grace."""
        self._over.set()
        for thread in self._threads:
            thread.join(PATIENCE)
        if self._stop is not None:
            self._stop.kill()
            self._stop.wait()
        if self._pod:
            run(*PODMAN, "pod", "rm", "--force", "--time", "0", self._pod)
        if self._error is not None:
            raise AssertionError(f"the kubelet of {self.rendered.name} failed") from self._error

    # The kubelet's thread

    @property
    def _running(self) -> bool:
        return self._descriptor >= 0

    def _failed(self) -> bool:
        if self._error is not None:
            raise AssertionError(f"the kubelet of {self.rendered.name} failed") from self._error
        return False

    def _run(self) -> None:
        try:
            while not self._over.is_set():
                self._turn(time.monotonic())
                self._collect()
        except BaseException as error:
            self._error = error

    def _turn(self, now: float) -> None:
        """Do what is due now."""
        # podman tells of the first process alone. What the cgroup counts goes with it soon after the end.
        self.oom_kills = max(self.oom_kills, *(read(self._cgroups, name).get("oom_kill", 0) for name in OOM_FILES))
        if self._running and select.select([self._descriptor], [], [], 0)[0]:
            self._has_ended(now)
        action = self.kubelet.act(now)
        if action is Act.START:
            self._start()
        elif action is Act.STOP:
            self.kubelet.stopping()
            stop = [*PODMAN, "stop", "--time", str(self.rendered.grace), self._container]
            self._stop = subprocess.Popen(stop, stdout=subprocess.DEVNULL, env=environ())
        for name in self.kubelet.due(now):
            threading.Thread(target=self._probe, args=(name, self.kubelet.starts), daemon=True).start()
        wanted = self.kubelet.is_ready
        if wanted != (self._changes[-1][1] if self._changes else self.open):
            self._changes.append((now + PROPAGATION, wanted))
        while self._changes and self._changes[0][0] <= now:
            self._set_open(self._changes.popleft()[1])

    def _collect(self) -> None:
        """Take what probes have found, as it comes, for a moment."""
        with suppress(queue.Empty):
            self.kubelet.probed(*self._results.get(timeout=0.02))

    def _start(self) -> None:
        if self._container:
            # podman stops the pod's own container after the last of the others, which may be just now.
            wait_for(self._start_again, "podman to start the container again")
        else:
            printed = run(*PODMAN, "play", "kube", "--network", "host", self._file).split()
            self._pod, self._container = printed[1], printed[3]
        self.pid = int(self._inspect("{{.State.Pid}}"))
        self._cgroups = cgroups(self.pid)
        self._descriptor = os.pidfd_open(self.pid)
        self.kubelet.started(time.monotonic())

    def _start_again(self) -> bool:
        with suppress(subprocess.CalledProcessError):
            run(*PODMAN, "start", self._container)
            return True
        return False

    def _has_ended(self, now: float) -> None:
        os.close(self._descriptor)
        self._descriptor = -1
        self.statuses.append(int(run(*PODMAN, "wait", self._container)))
        self.kubelet.ended(self.statuses[-1], now)

    def _set_open(self, wanted: bool) -> None:
        said = self._service.tell(f"set server instances/{self.rendered.name} state {'ready' if wanted else 'drain'}")
        assert not said.strip(), said
        self.closings += self.open and not wanted and not self.kubelet.deleted
        self.open = wanted

    def _inspect(self, form: str) -> str:
        return run(*PODMAN, "inspect", "--format", form, self._container).strip()

    # Threads of probes

    def _probe(self, name: str, start: int) -> None:
        self._results.put((name, self._ask(name) == "passes", start))

    def _observe(self, name: str) -> None:
        """Ask often, for figures; the kubelet does not hear of it."""
        while not self._over.wait(OBSERVED_EVERY):
            if self._running:
                self._ask(name)

    def _ask(self, name: str) -> str:
        """Ask once as a kubelet does, and note how long it took."""
        probe, began = self.rendered.probes[name], time.monotonic()
        connection = http.client.HTTPConnection("127.0.0.1", probe.port, timeout=probe.timeout)
        answers = self.answers.get(name, Answers())
        try:
            connection.request("GET", probe.path, headers={"User-Agent": "kube-probe/1.37", "Connection": "close"})
            response = connection.getresponse()
            response.read()
        except TimeoutError:
            answers.late += 1
            return "is late"
        except (OSError, http.client.HTTPException):
            return "does not respond"
        finally:
            connection.close()
        took = time.monotonic() - began
        answers.seconds.append(took)
        answers.late += took > probe.timeout
        return "passes" if 200 <= response.status < 400 and took <= probe.timeout else "fails"


def cgroups(pid: int) -> list[Path]:
    """The directories of a process's cgroups, of version 1 or 2."""
    lines = (line.split(":", 2) for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines())
    # The one hierarchy of version 2 has no name.
    return [Path("/sys/fs/cgroup", controllers, path.lstrip("/")) for _, controllers, path in lines]


def read(directories: Sequence[Path], name: str) -> dict[str, int]:
    """The numbers in a file of cgroups, in whichever directory has it; none if none has."""
    for directory in directories:
        with suppress(OSError):
            pairs = (line.split() for line in (directory / name).read_text().splitlines())
            return {key: int(value) for key, value in pairs}
    return {}


@contextmanager
def pods(rendered: Sequence[Rendered], service: HAProxy, directory: Path) -> Iterator[list[Pod]]:
    """Pods for as long as the block runs, with the list to which more may be added; they end with it."""
    started: list[Pod] = []
    try:
        for each in rendered:
            started.append(Pod(each, service, directory))
        yield started
    except BaseException:
        for pod in started:
            print(f"--- {pod.rendered.name}: {pod.kubelet.reasons}\n{pod.log()}", flush=True)  # noqa: T201
        raise
    finally:
        with ThreadPoolExecutor() as removers:
            for removal in [removers.submit(pod.remove) for pod in started]:
                removal.result()
