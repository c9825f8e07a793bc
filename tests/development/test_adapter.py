"""The process that debugpy starts."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator

import pytest

from twistserve.development import adapter as module
from twistserve.development.adapter import Adapter, find_adapter
from twistserve.development.port_holder import Holder


@pytest.fixture
def process() -> Iterator[subprocess.Popen[bytes]]:
    """A process that only ends when it is ended."""
    with subprocess.Popen(["/bin/sleep", "600"]) as started:
        yield started
        started.kill()


def test_it_is_ended(process: subprocess.Popen[bytes]) -> None:
    """The end is seen though it is no child; ending it once more does nothing."""
    adapter = Adapter(process.pid)
    assert not adapter.wait(0)
    adapter.end()
    assert adapter.wait(60)
    assert process.wait() == -signal.SIGTERM
    adapter.end()
    adapter.close()


def test_it_is_found_at_its_port(monkeypatch: pytest.MonkeyPatch, process: subprocess.Popen[bytes]) -> None:
    """Nothing else that listens there is taken for it, nor a process that has ended."""
    words: tuple[str, ...] = ("python3", "/lib/debugpy/adapter")
    monkeypatch.setattr(module, "find_holder", lambda port: Holder(process.pid, "python3", words))
    found = find_adapter(5678)
    assert found is not None
    assert found.pid == process.pid
    found.close()
    process.kill()
    process.wait()
    assert find_adapter(5678) is None
    words = ("nginx",)
    assert find_adapter(5678) is None
    monkeypatch.setattr(module, "find_holder", lambda port: None)
    assert find_adapter(5678) is None
