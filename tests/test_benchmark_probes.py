"""Probes under load: what is asked, the container's configuration, and the tables; no server runs here."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks import probes, wrk
from benchmarks.container import configured
from benchmarks.probed import APPLICATION, LOADS

DEFAULT: dict[str, Any] = {
    "process": {"terminal": True, "args": ["sh"], "capabilities": {"bounding": ["CAP_KILL"]}, "rlimits": []},
    "root": {"path": "rootfs", "readonly": False},
    "mounts": [{"destination": "/proc"}],
    "linux": {"resources": {"devices": []}, "namespaces": [{"type": "pid"}, {"type": "network"}]},
}
"""What matters here of what `runc spec` gives."""


def rows(container: bool, seconds: float) -> dict[str, list[str]]:
    """The row of each probe when every answer took so long."""
    answers = {probe: [probes.Answer(seconds, 200)] * 20 for probe in probes.PROBES}
    result = wrk.Result(10, 1.0, 0.1, 0.2, 0, 0)
    loaded = probes.Loaded("hash", "twistserve", answers, [0.0], result, used=0.5, others=0.0, container=container)
    lines = probes.answers_table([loaded]).splitlines()[2:]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {row[2]: row for row in cells}


@pytest.mark.parametrize(
    ("container", "seconds", "reached"),
    [
        (False, 0.060, {"/alive": "yes", "/ready": "yes", "/metrics": "yes"}),
        (False, 0.061, {"/alive": "**no**", "/ready": "yes", "/metrics": "yes"}),
        (False, 0.121, {"/alive": "**no**", "/ready": "**no**", "/metrics": "**no**"}),
        (True, 0.150, {"/alive": "yes", "/ready": "yes", "/metrics": "yes"}),
        (True, 0.200, {"/alive": "**no**", "/ready": "yes", "/metrics": "yes"}),
    ],
)
def test_goals_depend_on_the_container(container: bool, seconds: float, reached: dict[str, str]) -> None:
    """60 and 120 ms at p95; with half a CPU 150 and 250."""
    assert {path: row[-1] for path, row in rows(container, seconds).items()} == reached


def test_every_load_is_a_view() -> None:
    """The project has one of its name."""
    for load in LOADS:
        assert f"def {load}(request):" in APPLICATION


def test_loads_are_chosen_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = probes.parser().parse_args(["5", "--container", "--loads", "hash,nap"])
    assert (arguments.seconds, arguments.container, arguments.loads) == (5, True, ("hash", "nap"))
    with pytest.raises(SystemExit):
        probes.parser().parse_args(["--loads", "sleep"])
    assert "'sleep' is not one of wait, nap" in capsys.readouterr().err


def test_a_container_has_half_a_cpu_and_the_network_of_the_machine() -> None:
    """It may write in its own directory alone, and has no capabilities."""
    made = configured(DEFAULT, ["twistd", "-n"], ["/usr", "/etc"], "/scratch", {"HOME": "/root"})
    assert made["linux"]["resources"] == {"devices": [], "cpu": {"quota": 50_000, "period": 100_000}}
    assert made["linux"]["namespaces"] == [{"type": "pid"}]
    assert made["root"]["readonly"]
    assert made["process"] == {
        "terminal": False,
        "args": ["twistd", "-n"],
        "env": ["HOME=/root"],
        "cwd": "/scratch",
        "rlimits": [],
        "capabilities": {},
        "noNewPrivileges": True,
    }
    writable = [mount["source"] for mount in made["mounts"] if "rw" in mount.get("options", ())]
    assert writable == ["/scratch"]
    assert DEFAULT["mounts"] == [{"destination": "/proc"}]


def test_servers_are_chosen_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert probes.parser().parse_args([]).servers == probes.COMPARED
    assert probes.parser().parse_args(["--servers", "gunicorn"]).servers == ("gunicorn",)
    with pytest.raises(SystemExit):
        probes.parser().parse_args(["--servers", "nginx"])
    assert "'nginx' is not one of hurricane" in capsys.readouterr().err


def test_a_server_without_a_probe_port_is_probed_at_views() -> None:
    """Those of the project, at the paths of the probes that are plotted."""
    for probe in probes.PROBES[:2]:
        assert f"def {probe.path[1:]}(request):" in APPLICATION


def test_the_plot_has_each_response_of_liveness_and_readiness() -> None:
    """By load and server; one that is not 200 counts as none, and /metrics is left out."""
    good, bad = probes.Answer(0.02, 200), probes.Answer(0.3, 503)
    alive, ready, metrics = probes.PROBES
    result = wrk.Result(10, 1.0, 0.1, 0.2, 0, 0)
    answers = {alive: [good, good], ready: [bad], metrics: [good]}
    loaded = probes.Loaded("hash", "gunicorn", answers, [0.0], result, used=0.5, others=0.0)
    drawn = probes.plot([loaded])
    assert drawn.count("<circle") == 2
    assert f"{LOADS['hash']}, gunicorn: 20 to 20 ms, 1 without response" in drawn
