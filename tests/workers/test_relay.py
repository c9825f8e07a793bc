"""Texts on their way to another process."""

from __future__ import annotations

from typing import Any

import pytest
from prometheus_client import REGISTRY
from twisted.internet.defer import Deferred

from twistserve.workers import relay
from twistserve.workers.relay import Relay


def test_what_a_process_does_not_take_is_bounded(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """In order while there is room; dropped, counted and told once while there is none; a process that is gone, too."""
    monkeypatch.setattr(relay, "MOST_UNTAKEN", 10)
    name = "twistserve_websocket_texts_dropped_total"
    before = REGISTRY.get_sample_value(name) or 0.0
    asked: list[list[str]] = []
    answers: list[Deferred[Any]] = []

    def ask(message: list[str]) -> Deferred[Any]:
        asked.append(message)
        answers.append(Deferred())
        return answers[-1]

    one = Relay(ask, "worker 2")
    for text in ("01234", "56789", "a", "b"):
        one.send("news", text)
    assert asked == [["news", "01234"], ["news", "56789"]]
    assert REGISTRY.get_sample_value(name) == before + 2
    assert caplog.text.count("on the way to worker 2, which does not take them: 10 characters wait") == 1
    answers[0].callback({})
    one.send("news", "c")
    assert asked[-1] == ["news", "c"]
    answers[1].errback(ConnectionError())
    one.send("news", "defgh")
    assert asked[-1] == ["news", "defgh"]
