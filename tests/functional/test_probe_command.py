"""`manage.py probe` and `python -m twistserve.probes`: for people, exec probes and HEALTHCHECK."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.functional.harness import (
    PATIENCE,
    Serve,
    Server,
    free_port,
    present,
    serving,
    wait_for,
    write_project,
)

START = 20.0
"""Seconds that Python, Django and the project may take to be imported on a busy machine."""

SHOP = """
import time
from pathlib import Path

from django.core.checks import Error, Warning, register

HERE = Path(__file__).resolve().parent


@register("readiness", deploy=True)
def shelves(**kwargs):
    while (HERE / "hangs").exists():
        time.sleep(0.01)
    if (HERE / "creaks").exists():
        return [Warning("The shelves creak.", id="shop.W001")]
    return [Error("The shelves are empty.", id="shop.E001")] if (HERE / "empty").exists() else []


@register("shop")
def never_asked(**kwargs):
    raise RuntimeError("manage.py probe runs no check")
"""
SETTINGS = 'INSTALLED_APPS += ["shop"]\n'


@dataclass
class Said:
    """How a command ended, and what it said."""

    status: int
    out: str
    err: str
    seconds: float


def run(*words: str, cwd: Path, **variables: str) -> Said:
    """Run a command of Python's in a directory, with nothing of ours in the environment but these variables."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(("TWISTSERVE_", "DJANGO_"))}
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, *words],
        cwd=cwd,
        env=env | variables,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    return Said(done.returncode, done.stdout, done.stderr, time.monotonic() - began)


def manage(*words: str, cwd: Path, **variables: str) -> Said:
    """`manage.py probe`."""
    return run("manage.py", "probe", *words, cwd=cwd, **variables)


def module(*words: str, cwd: Path, **variables: str) -> Said:
    """`python -m twistserve.probes`."""
    return run("-m", "twistserve.probes", *words, cwd=cwd, **variables)


WAYS = [pytest.param(manage, id="manage"), pytest.param(module, id="module")]
Probe = Callable[..., Said]


def assert_one_line(said: Said, *parts: str) -> None:
    """It failed, and said why in one line."""
    assert (said.status, said.out) == (1, "")
    assert said.err.startswith("twistserve: ")
    assert said.err.count("\n") == 1
    for part in parts:
        assert part in said.err


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A shop with one check."""
    directory = write_project(tmp_path_factory.mktemp("command") / "project", settings=SETTINGS, shop=SHOP)
    with serving("--check-timeout", "30", cwd=directory, logs=directory, settings="site_settings") as server:
        yield server


# A server that runs


@pytest.mark.parametrize("probe", WAYS)
@pytest.mark.parametrize("words", [(), ("ready",), ("startup",), ("alive",)])
def test_a_probe_that_passes(shop: Server, probe: Probe, words: tuple[str, ...]) -> None:
    """Status 0, and what was looked at; without a word it is readiness."""
    said = probe(*words, "--port", str(shop.port), cwd=shop.cwd)
    assert (said.status, said.err) == (0, "")
    assert said.out.startswith("pass\n")
    looked_at = {"startup": "pass startup\n", "alive": "pass reactor\n"}
    assert looked_at.get("".join(words), "pass shop.shelves (0.") in said.out


@pytest.mark.parametrize("probe", WAYS)
def test_a_probe_that_fails(shop: Server, probe: Probe) -> None:
    """Status 1, and the reasons."""
    with present(shop, "empty"):
        said = probe("--probe-port", str(shop.probe_port), cwd=shop.cwd)
        assert (said.status, said.err) == (1, "")
        assert said.out.startswith("fail\n")
        assert "\nfail shop.shelves: (shop.E001) The shelves are empty. (0." in said.out
        assert probe("alive", "--probe-port", str(shop.probe_port), cwd=shop.cwd).status == 0


@pytest.mark.parametrize("probe", WAYS)
def test_a_probe_that_warns(shop: Server, probe: Probe) -> None:
    """A warning is told with status 0."""
    with present(shop, "creaks"):
        said = probe("--port", str(shop.port), cwd=shop.cwd)
        assert said.status == 0
        assert "\nwarn shop.shelves: (shop.W001) The shelves creak." in said.out


@pytest.mark.parametrize("probe", WAYS)
def test_a_probe_that_does_not_answer_in_time(shop: Server, probe: Probe) -> None:
    """After --timeout seconds it is status 1, and a line that says so."""
    with present(shop, "hangs"):
        said = probe("--port", str(shop.port), "--timeout", "0.5", cwd=shop.cwd)
        assert_one_line(said, f"no answer from 127.0.0.1:{shop.probe_port}/ready within 0.5 s")
        assert said.seconds < START
    shop.wait_until("/ready")


def test_a_service_that_starts(serve: Serve, project: Callable[..., Path]) -> None:
    """Until the service is ready, the startup probe's step is the reason."""
    directory = project(settings=SETTINGS, shop=SHOP)
    (directory / "site_wsgi.py").write_text(
        "import time\n"
        "from pathlib import Path\n"
        "while not Path('gate').exists():\n"
        "    time.sleep(0.01)\n" + (directory / "site_wsgi.py").read_text()
    )
    server = serve(cwd=directory, settings="site_settings", until=None)
    server.wait_until("/startup", 503)
    wait_for(lambda: "WSGI" in server.probe("/startup").text, "the step")
    said = manage("startup", "--port", str(server.port), cwd=directory)
    assert said.status == 1
    assert "fail startup" in said.out
    assert "loading the WSGI application" in said.out
    (directory / "gate").touch()
    server.wait_until("/ready")
    assert manage("startup", "--port", str(server.port), cwd=directory).status == 0


# Where to ask


@pytest.mark.parametrize("probe", WAYS)
def test_options_of_the_instance(serve: Serve, project: Callable[..., Path], probe: Probe) -> None:
    """The setting and the environment say where to ask, as they told the server, and the command line beats them."""
    port = free_port()
    setting = f'TWISTSERVE = {{"PORT": {port}, "READINESS_PROBE": "health/ready", "HOST": "0.0.0.0"}}\n'
    directory = project(settings=SETTINGS + setting, shop=SHOP)
    serve(cwd=directory, settings="site_settings", port=port, until="/health/ready")
    variables = {"DJANGO_SETTINGS_MODULE": "site_settings"}
    assert probe(cwd=directory, **variables).status == 0
    said = probe(cwd=directory, **variables, TWISTSERVE_READINESS_PROBE="/nowhere")
    assert_one_line(said, f"127.0.0.1:{port + 1}/nowhere", "status 404", "--readiness-probe")
    words = ("--readiness-probe", "/health/ready")
    assert probe(*words, cwd=directory, **variables, TWISTSERVE_READINESS_PROBE="/nowhere").status == 0
    said = probe("--probe-port", str(free_port()), cwd=directory, **variables)
    assert_one_line(said, "nothing listens on 127.0.0.1:")


@pytest.mark.parametrize("probe", WAYS)
def test_an_instance_with_one_probe(serve: Serve, project: Callable[..., Path], probe: Probe) -> None:
    """Both readiness and liveness are asked at --probe, as the server was told by the same setting."""
    port = free_port()
    setting = f'TWISTSERVE = {{"PORT": {port}, "PROBE": "/health"}}\n'
    directory = project(settings=SETTINGS + setting, shop=SHOP)
    serve(cwd=directory, settings="site_settings", port=port, until="/health")
    for which in ("startup", "ready", "alive"):
        assert probe(which, cwd=directory, DJANGO_SETTINGS_MODULE="site_settings").status == 0
    said = probe("alive", "--probe", "/alive", cwd=directory, DJANGO_SETTINGS_MODULE="site_settings")
    assert_one_line(said, f"127.0.0.1:{port + 1}/alive", "status 404", "another --probe")


def test_without_settings(shop: Server, tmp_path: Path) -> None:
    """Outside the project the module needs no settings where options or the environment say enough."""
    assert module("--probe-port", str(shop.probe_port), cwd=tmp_path).status == 0
    assert module("alive", cwd=tmp_path, TWISTSERVE_PROBE_PORT=str(shop.probe_port)).status == 0
    words = ("--settings", "site_settings", "--pythonpath", str(shop.cwd), "--port", str(shop.port))
    assert module(*words, cwd=tmp_path).status == 0


def test_with_settings_that_cannot_be_imported(shop: Server, tmp_path: Path) -> None:
    """Those of the environment do not keep the module from asking where it is told to; it says that it has none."""
    for name in ("--probe-port", "--port"):
        port = shop.probe_port if name == "--probe-port" else shop.port
        said = module("alive", name, str(port), cwd=tmp_path, DJANGO_SETTINGS_MODULE="site_settings")
        assert (said.status, said.out.partition("\n")[0]) == (0, "pass")
        assert said.err.startswith("twistserve: asking without the setting TWISTSERVE: the settings module")
    assert module("alive", cwd=tmp_path, DJANGO_SETTINGS_MODULE="site_settings").status == 1
    words = ("--settings", "site_settings", "--port", str(shop.port))
    assert_one_line(module(*words, cwd=tmp_path), "site_settings", "cannot be imported")


def test_the_module_loads_no_apps(shop: Server, project: Callable[..., Path]) -> None:
    """An app that cannot be imported does not keep it from asking."""
    directory = project(settings='INSTALLED_APPS += ["shop"]\n', shop="raise RuntimeError('not now')\n")
    said = module("--port", str(shop.port), cwd=directory, DJANGO_SETTINGS_MODULE="site_settings")
    assert said.status == 0


@pytest.mark.parametrize("host", ["0.0.0.0", "127.0.0.1", "localhost"])
def test_hosts(shop: Server, host: str) -> None:
    """All interfaces are asked at the loopback address."""
    assert module("--host", host, "--port", str(shop.port), cwd=shop.cwd).status == 0
    assert module("--probe-host", host, "--port", str(shop.port), cwd=shop.cwd).status == 0


@pytest.mark.parametrize("host", ["::", "::1"])
def test_hosts_of_ipv6(shop: Server, host: str) -> None:
    """So they are in IPv6, where the machine has that."""
    said = module("--probe-host", host, "--port", str(shop.port), cwd=shop.cwd)
    assert said.status == (0 if Path("/proc/net/if_inet6").exists() else 1)


# What can be wrong


@pytest.mark.parametrize("probe", WAYS)
def test_nothing_listens(shop: Server, probe: Probe) -> None:
    """One line says where nothing listens."""
    port = free_port()
    said = probe("--port", str(port), cwd=shop.cwd)
    assert_one_line(said, f"nothing listens on 127.0.0.1:{port + 1}", "--probe-port")


@pytest.mark.parametrize("probe", WAYS)
def test_no_probe_port(shop: Server, probe: Probe) -> None:
    """Where the instance has none, there is nothing to ask."""
    assert_one_line(probe("--port", str(shop.port), cwd=shop.cwd, TWISTSERVE_NO_PROBE="1"), "--no-probe")


@pytest.mark.parametrize("probe", WAYS)
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("readiness",), "choose from"),
        (("--timeout", "0"), "--timeout: '0' is not valid: give seconds, a number above 0"),
        (("--timeout", "soon"), "--timeout: 'soon' is not valid"),
        (("--timeout", "99999999999999999999"), "1,000,000,000"),
        (("--probe-host", "a..b"), "'a..b' is no host name"),
        (("--port", "x"), "--port: 'x' from the command line is not valid"),
        (("--probe-prt=1",), "did you mean --probe-port?"),
        (("--static",), "unrecognized arguments: --static (which is the server's alone)"),
    ],
)
def test_bad_usage(shop: Server, probe: Probe, words: tuple[str, ...], said: str) -> None:
    """One line, and status 1 as for everything else."""
    assert_one_line(probe(*words, cwd=shop.cwd), said)


@contextmanager
def listening(answer: Callable[[socket.socket], None]) -> Iterator[int]:
    """A port of something that is no probe port: it does this with a connection."""

    def accept() -> None:
        try:
            connection, _ = server.accept()
        except OSError:
            return
        with connection:
            answer(connection)

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=accept)
        thread.start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
    thread.join()


def _ask_first(connection: socket.socket) -> None:
    connection.recv(65536)


def _no_http(connection: socket.socket) -> None:
    connection.recv(65536)
    connection.sendall(b"220 mail.example ESMTP\r\n")


def _another_site(connection: socket.socket) -> None:
    connection.recv(65536)
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n<h1>pass</h1>\n")


@pytest.mark.parametrize("answer", [_ask_first, _no_http, _another_site])
def test_something_else_listens(shop: Server, answer: Callable[[socket.socket], None]) -> None:
    """What is no answer of a probe passes for none, whatever its status."""
    with listening(answer) as port:
        assert_one_line(module("--probe-port", str(port), cwd=shop.cwd), "no probe answers at", "another program")


def test_something_that_hangs(shop: Server) -> None:
    """A port that takes connections and says nothing is given up after --check-timeout plus one."""

    def hang(connection: socket.socket) -> None:
        while connection.recv(65536):
            pass

    with listening(hang) as port:
        said = module("--probe-port", str(port), "--check-timeout", "0.5", cwd=shop.cwd)
    assert_one_line(said, "within 1.5 s")
    assert said.seconds < START


def test_something_that_never_ends(shop: Server) -> None:
    """The deadline is that of the whole answer: who sends a byte now and then does not put it off."""
    stop = threading.Event()

    def drip(connection: socket.socket) -> None:
        try:
            while not stop.wait(0.1):
                connection.sendall(b"x")
        except OSError:
            pass

    with listening(drip) as port:
        said = module("--probe-port", str(port), "--timeout", "1", cwd=shop.cwd)
        stop.set()
    assert_one_line(said, "within 1 s")
    assert said.seconds < START
