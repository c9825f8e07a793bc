"""The kubelet of tests/containers decides as the real one does, by times that the test tells."""

from __future__ import annotations

import pytest

from tests.containers.kubelet import LIVENESS, READINESS, STARTUP, Act, Kubelet, Probe

STARTUP_ONLY = {STARTUP: Probe("/startup", 8001, period=2, failures=3)}
PROBES = {
    STARTUP: Probe("/startup", 8001, period=2, failures=150),
    READINESS: Probe("/ready", 8001, period=2, failures=2),
    LIVENESS: Probe("/alive", 8001, period=10, failures=3),
}


def running(probes: dict[str, Probe] = PROBES, now: float = 0.0) -> Kubelet:
    kubelet = Kubelet(probes)
    assert kubelet.act(now) is Act.START
    kubelet.started(now)
    return kubelet


def ask(kubelet: Kubelet, now: float, **answers: bool) -> list[str]:
    """Run the probes that are due, with these results; those that are not named succeed."""
    due = kubelet.due(now)
    for name in due:
        kubelet.probed(name, answers.get(name, True), kubelet.starts)
    return due


def ready() -> Kubelet:
    """A container that is ready at 0; liveness and readiness are due at 2 and 10 next."""
    kubelet = running()
    assert ask(kubelet, 0) == [STARTUP]
    assert sorted(ask(kubelet, 0)) == [LIVENESS, READINESS]
    assert kubelet.is_ready
    return kubelet


def test_a_manifest_s_probe() -> None:
    """A named port is looked up, and what is not said is Kubernetes' default."""
    manifest = {"httpGet": {"path": "/ready", "port": "probes"}, "periodSeconds": 2, "timeoutSeconds": 6}
    assert Probe.of(manifest, {"probes": 8001}) == Probe("/ready", 8001, 2, 6, 3, 1, 0)
    assert Probe.of({"httpGet": {"path": "/", "port": 8000}}, {}) == Probe("/", 8000, 10, 1, 3, 1, 0)


def test_the_startup_probe_comes_first() -> None:
    """The others wait until it has succeeded, and then it is over."""
    kubelet = running()
    assert [ask(kubelet, now, startup=False) for now in (0, 1, 2, 3)] == [[STARTUP], [], [STARTUP], []]
    assert not kubelet.is_started
    assert ask(kubelet, 4) == [STARTUP]
    assert kubelet.is_started
    assert not kubelet.is_ready
    assert sorted(ask(kubelet, 4.1)) == [LIVENESS, READINESS]
    assert kubelet.is_ready
    assert ask(kubelet, 6.1) == [READINESS]


def test_a_start_that_takes_too_long() -> None:
    """The container is stopped after so many failures, and started again at once."""
    kubelet = running(STARTUP_ONLY)
    for now in (0, 2):
        ask(kubelet, now, startup=False)
        assert kubelet.act(now) is None
    ask(kubelet, 4, startup=False)
    assert kubelet.act(4) is Act.STOP
    kubelet.stopping()
    assert kubelet.act(5) is None
    assert ask(kubelet, 6) == []
    kubelet.ended(0, 6)
    assert kubelet.act(6) is Act.START
    assert kubelet.reasons == ["startup failed"]


def test_readiness_fails_and_comes_back() -> None:
    """Two failures in a row close the traffic, one success opens it; nothing is restarted for it."""
    kubelet = ready()
    ask(kubelet, 2, readiness=False)
    assert kubelet.is_ready
    ask(kubelet, 4)
    ask(kubelet, 6, readiness=False)
    assert kubelet.is_ready
    ask(kubelet, 8, readiness=False)
    assert not kubelet.is_ready
    assert kubelet.act(8) is None
    ask(kubelet, 10)
    assert kubelet.is_ready
    assert kubelet.reasons == []


def test_more_than_one_success_may_be_wanted() -> None:
    """Readiness with a successThreshold of two."""
    kubelet = running({READINESS: Probe("/ready", 8001, period=2, successes=2)})
    assert kubelet.is_started
    ask(kubelet, 0)
    assert not kubelet.is_ready
    ask(kubelet, 2)
    assert kubelet.is_ready


def test_liveness_fails() -> None:
    """The third failure in a row stops the container, which stays in the Service while its readiness passes."""
    kubelet = ready()
    for now in (10, 20):
        ask(kubelet, now, liveness=False)
        assert kubelet.act(now) is None
    ask(kubelet, 30, liveness=False)
    assert kubelet.act(30) is Act.STOP
    kubelet.stopping()
    assert ask(kubelet, 42) == [READINESS]
    assert kubelet.is_ready
    kubelet.ended(0, 43)
    assert not kubelet.is_ready
    assert kubelet.act(43) is Act.START
    kubelet.started(43)
    assert ask(kubelet, 43) == [STARTUP]
    assert kubelet.reasons == ["liveness failed"]


def test_a_probe_does_not_overlap_itself() -> None:
    """While one runs the next is not begun; those that follow keep their times."""
    kubelet = ready()
    assert kubelet.due(2) == [READINESS]
    assert kubelet.due(4) == []
    kubelet.probed(READINESS, True, 1)
    assert kubelet.due(5) == [READINESS]
    kubelet.probed(READINESS, True, 1)
    assert kubelet.due(5.9) == []
    assert kubelet.due(6) == [READINESS]


def test_the_initial_delay() -> None:
    """No probe runs before it is over."""
    kubelet = running({LIVENESS: Probe("/alive", 8001, initial_delay=5)})
    assert kubelet.due(4.9) == []
    assert kubelet.due(5) == [LIVENESS]


def test_the_result_of_a_container_that_is_gone() -> None:
    """It says nothing of the one that runs now."""
    kubelet = running()
    kubelet.due(0)
    kubelet.ended(1, 1)
    kubelet.started(1)
    kubelet.probed(STARTUP, True, 1)
    assert not kubelet.is_started


def test_pauses_before_starts() -> None:
    """None for the first, then from 10 seconds to 300, and none after ten minutes without an end."""
    kubelet = running()
    now = 0.0
    for pause in (0, 10, 20, 40, 80, 160, 300, 300):
        kubelet.ended(1, now)
        assert pause == 0 or kubelet.act(now + pause - 0.1) is None
        now += pause
        assert kubelet.act(now) is Act.START
        kubelet.started(now)
    kubelet.ended(137, now + 600)
    assert kubelet.act(now + 600) is Act.START
    assert kubelet.reasons == ["status 1"] * 8 + ["status 137"]


@pytest.mark.parametrize("name", [STARTUP, LIVENESS])
def test_a_pod_that_is_deleted(name: str) -> None:
    """It is not ready any more at once; readiness alone is still asked, and the container does not come back."""
    kubelet = running() if name == STARTUP else ready()
    kubelet.delete()
    assert not kubelet.is_ready
    assert kubelet.act(10) is Act.STOP
    kubelet.stopping()
    assert name not in kubelet.due(10)
    kubelet.ended(0, 12)
    assert kubelet.act(1000) is None
    assert kubelet.reasons == []
