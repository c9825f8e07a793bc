"""--cpu-affinity auto: a busy process keeps to one core, lets go when that is wrong, and nothing else notices."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest

from tests.support.functional.harness import Serve, Server, fetch, lines_with, wait_for, write_project

ALL = os.sched_getaffinity(0)
VIEWS = """
import ctypes
import hashlib
import json
import multiprocessing
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from django.http import HttpResponse, JsonResponse
from django.urls import path


def allowed(text=None):
    lines = (text or Path("/proc/thread-self/status").read_text()).splitlines()
    return next(line.split()[1] for line in lines if line.startswith("Cpus_allowed_list:"))


def compute(request):
    end = time.thread_time() + 0.01
    while time.thread_time() < end:
        sum(range(2000))
    return HttpResponse("computed")


def hashed(request):
    hashlib.pbkdf2_hmac("sha256", b"password", b"salt", 60_000)
    return HttpResponse("hashed")


def in_subprocess():
    return allowed(subprocess.run(["cat", "/proc/self/status"], capture_output=True, text=True, check=True).stdout)


def by_nproc():
    return subprocess.run(["nproc"], capture_output=True, text=True, check=True).stdout.strip()


def in_fork():
    with multiprocessing.get_context("fork").Pool(1) as pool:
        return pool.apply(allowed)


def in_spawned():
    # Not a function of this module: that would have to be imported there.
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return ",".join(map(str, sorted(pool.apply(os.sched_getaffinity, (0,)))))


def in_system():
    target = Path(__file__).with_name("system")
    os.system(f"cat /proc/self/status > {target}")
    return allowed(target.read_text())


def in_thread_pool():
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(allowed).result()


def in_thread_of_a_thread():
    found = []

    def begin():
        inner = threading.Thread(target=lambda: found.append(allowed()))
        inner.start()
        inner.join()

    outer = threading.Thread(target=begin)
    outer.start()
    outer.join()
    return found[0]


def as_told():
    return ",".join(map(str, sorted(os.sched_getaffinity(0))))


def by_its_thread_id():
    return ",".join(map(str, sorted(os.sched_getaffinity(threading.get_native_id()))))


def start(request, name):
    end = time.monotonic() + 60
    while time.monotonic() < end:
        sum(range(2000))
        if allowed().isdigit():
            return HttpResponse(globals()[name]())
    return HttpResponse("never on one core", status=500)


libc = ctypes.CDLL(None)


def in_c(request):
    # A thread that no Python code knows of.
    end = time.monotonic() + 60
    while not allowed().isdigit():
        sum(range(2000))
        if time.monotonic() > end:
            return HttpResponse("never on one core", status=500)
    before, began = set(os.listdir("/proc/self/task")), time.monotonic()
    libc.pthread_create(ctypes.byref(ctypes.c_ulong()), None, libc.pause, None)
    [thread] = set(os.listdir("/proc/self/task")) - before
    status = Path(f"/proc/self/task/{thread}/status")
    while allowed(status.read_text()).isdigit() and time.monotonic() < end:
        sum(range(2000))
    return HttpResponse(allowed(status.read_text()))


def own(request):
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    return HttpResponse(allowed())


urlpatterns = [
    path("compute", compute),
    path("hashed", hashed),
    path("own", own),
    path("c", in_c),
    path("start/<name>", start),
]
"""
NEIGHBOUR = "import os, sys; os.sched_setaffinity(0, {int(sys.argv[1])})\nwhile True: pass"
FORBIDDEN = """
import ctypes, os, platform, struct, sys
number = {"x86_64": 203, "aarch64": 122}[platform.machine()]
seccomp = ((0x20, 0, 0, 0), (0x15, 0, 1, number), (6, 0, 0, 0x00050000 | 1), (6, 0, 0, 0x7FFF0000))
program = b"".join(struct.pack("HBBI", *instruction) for instruction in seccomp)
libc = ctypes.CDLL(None, use_errno=True)
PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2
code = ctypes.create_string_buffer(program)
filters = ctypes.create_string_buffer(struct.pack("HP", len(seccomp), ctypes.addressof(code)))
assert libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
assert libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, filters, 0, 0) == 0, ctypes.get_errno()
os.execvp(sys.argv[1], sys.argv[1:])
"""


def kept_on(pid: int) -> int | None:
    """The core that threads of a process are kept on."""
    for task in Path(f"/proc/{pid}/task").iterdir():
        try:
            found = re.search(r"Cpus_allowed_list:\s+(\d+)\n", (task / "status").read_text())
        except (FileNotFoundError, ProcessLookupError):
            continue
        if found:
            return int(found[1])
    return None


@contextmanager
def load(server: Server, path: str = "compute", clients: int = 4) -> Iterator[None]:
    """Clients that send one request after another as long as the block runs."""
    enough = Event()

    def send() -> None:
        while not enough.is_set():
            fetch(server.port, f"/{path}")

    threads = [Thread(target=send) for _ in range(clients)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        enough.set()
        for thread in threads:
            thread.join()


@contextmanager
def neighbour(core: int) -> Iterator[None]:
    """A process that needs all of a core."""
    process = subprocess.Popen([sys.executable, "-c", NEIGHBOUR, str(core)])
    try:
        yield
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def busy(serve: Serve, tmp_path: Path) -> Any:
    """Starts servers of a project whose views compute."""
    write_project(tmp_path / "project", VIEWS)

    def starter(*args: str, **kwargs: Any) -> Server:
        given = {"cwd": tmp_path / "project", "settings": "site_settings", **kwargs}
        return serve("--cpu-affinity", "auto", *args, **given)

    return starter


def sample(server: Server, name: str) -> float:
    """The value of a metric, of all its labels together."""
    found = re.findall(rf"^{name}(?:{{.*}})? (\S+)$", server.probe("/metrics").text, re.MULTILINE)
    return sum(map(float, found))


def wait_until_kept(server: Server) -> int:
    """Wait until the process keeps to a core."""
    [core] = wait_for(
        lambda: [core] if (core := kept_on(server.process.pid)) is not None else None, "threads to be kept on one core"
    )
    return core


def wait_until_free(server: Server) -> None:
    wait_for(lambda: kept_on(server.process.pid) is None, "threads to be let go")


@pytest.mark.parametrize("options", [(), ("--no-metrics", "--no-status-page")], ids=["usual", "nothing wakes it"])
def test_a_busy_process_keeps_to_a_core_until_it_is_idle(busy: Any, options: tuple[str, ...]) -> None:
    """Also where no timer of another part wakes the reactor."""
    server = busy(*options)
    assert kept_on(server.process.pid) is None
    with load(server):
        assert wait_until_kept(server) in ALL
    wait_until_free(server)


def test_the_status_page_and_the_metrics_tell(busy: Any) -> None:
    """Which core it is, how many threads are let at work, how often that changed."""
    server = busy()
    with load(server):
        [described] = wait_for(
            lambda: [each for each in server.probe("/status.json").json()["workers"] if each["core"] is not None],
            "/status.json to tell the core",
        )
        page = wait_for(lambda: text if "on core" in (text := server.probe("/").text) else "", "the page to tell it")
    assert described["core"] in ALL
    assert 1 <= described["threads"]["limit"] <= described["threads"]["total"]
    assert "threads let at work" in page
    assert sample(server, "twistserve_core_changes_total") >= 1


def test_a_neighbour_gets_its_core(busy: Any) -> None:
    """Who can run nowhere else has it for himself: the process goes to another."""
    server = busy()
    with load(server):
        core = wait_until_kept(server)
        with neighbour(core):
            wait_for(lambda: kept_on(server.process.pid) in ALL - {core}, "threads to be kept on another core")


def test_what_works_without_the_gil_is_let_go(busy: Any) -> None:
    """Though the process was on one core while it did something else."""
    server = busy()
    with load(server):
        wait_until_kept(server)
    with load(server, "hashed"):
        free: list[bool] = []

        def is_let_alone() -> bool:
            free.append(kept_on(server.process.pid) is None)
            return len(free) >= 25 and all(free[-25:])

        wait_for(is_let_alone, "threads to be free for half a second")


def test_two_workers_are_on_different_cores(busy: Any) -> None:
    """Each is a process of its own."""
    server = busy("--workers", "2")

    def workers() -> list[int]:
        return [each["pid"] for each in server.probe("/status.json").json()["workers"]]

    wait_for(lambda: len(workers()) == 2, "both workers")
    first, second = workers()
    seen: set[int] = set()

    def look() -> bool:
        """Others may need both cores: so the workers need not be kept at the same moment."""
        seen.update(pid for pid in (first, second) if kept_on(pid) is not None)
        return len(seen) == 2

    def parted() -> bool:
        cores = [kept_on(first), kept_on(second)]
        return None in cores or cores[0] != cores[1]

    with load(server, clients=8):
        wait_for(look, "each worker to be kept")
        wait_for(parted, "them to part, if it was on the same core")
    wait_for(lambda: sample(server, "twistserve_core_changes_total") >= 2, "the metric of both")


def test_with_one_core_there_is_nothing_to_do(busy: Any) -> None:
    """The option has no effect then, and nothing is said of it."""
    server = busy(prefix=["taskset", "-c", str(min(ALL))])
    with load(server):
        wait_for(lambda: sample(server, "twistserve_http_requests_total") > 100, "a hundred requests")
    assert sample(server, "twistserve_core_changes_total") == 0
    assert lines_with(server.output, "cpu-affinity") == []


def test_where_the_system_forbids_it_nothing_is_lost(busy: Any) -> None:
    """One line says so."""
    server = busy(prefix=[sys.executable, "-c", FORBIDDEN])
    with load(server):
        wait_for(lambda: "--cpu-affinity auto has no effect" in server.output, "the line")
        assert server.get("/compute").text == "computed"
    [line] = lines_with(server.output, "--cpu-affinity auto has no effect")
    assert "Operation not permitted" in line
    assert sample(server, "twistserve_core_changes_total") == 0


def test_the_affinity_that_the_application_sets_stays(busy: Any) -> None:
    """Nobody is kept any more from then on; one line says so."""
    server = busy()
    with load(server):
        wait_until_kept(server)
        assert server.get("/own").text == str(min(ALL))
        before = sample(server, "twistserve_core_changes_total")
        answered = sample(server, "twistserve_http_requests_total")
        wait_for(lambda: sample(server, "twistserve_http_requests_total") > answered + 50, "more requests")
    assert sample(server, "twistserve_core_changes_total") <= before + 1
    assert len(lines_with(server.output, "--cpu-affinity auto has no effect", "os.sched_setaffinity")) == 1


EVERY_CORE = (
    *("in_subprocess", "in_fork", "in_spawned", "in_system", "in_thread_pool", "in_thread_of_a_thread"),
    *("as_told", "by_its_thread_id"),
)


def test_what_a_view_starts_may_use_every_core(busy: Any) -> None:
    """Programs, processes and threads, started by a thread that is on one core; and that is what the view is told."""
    server = busy()
    with load(server):
        said = {name: server.get(f"/start/{name}") for name in (*EVERY_CORE, "by_nproc")}
    assert {name: reply.status for name, reply in said.items() if reply.status != 200} == {}
    assert said.pop("by_nproc").text == str(len(ALL))
    for name, reply in said.items():
        assert cores(reply.text) == ALL, name


def test_a_thread_that_c_code_starts_is_let_go(busy: Any) -> None:
    """It has inherited the core, and no event tells of it."""
    server = busy()
    with load(server):
        assert cores(server.get("/c").text) == ALL


def cores(text: str) -> set[int]:
    """What a list such as `0-2,5` names."""
    parts = [part.partition("-") for part in text.split(",")]
    return {core for first, _, last in parts for core in range(int(first), int(last or first) + 1)}
