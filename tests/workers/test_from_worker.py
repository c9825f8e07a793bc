"""What a worker tells its parent reaches what the parent has for it."""

from __future__ import annotations

from tests.support.worker import Conversation
from twistserve.lifecycle import State
from twistserve.workers.from_worker import FromWorker


def test_each_command_has_its_function() -> None:
    """In the order in which they were sent."""
    conversation = Conversation()
    parent = conversation.parent
    parent.follow(conversation.lifecycle)
    conversation.lifecycle.at_step("loading")
    parent.prepared()
    parent.run_once(["feed"])
    parent.ask_for_replacement("age", "it is old")
    conversation.lifecycle.enter(State.READY, "a test")
    conversation.deliver()
    assert conversation.told == [
        ("loading", ""),
        ("prepared",),
        ("once", ["feed"]),
        ("replace", "age", "it is old"),
        ("ready",),
    ]


def test_the_process_of_a_service_prepares_nothing_and_leaves_nothing() -> None:
    """So that its parent need not have functions for that."""
    commands = FromWorker(lambda step, detail: None, lambda: None, lambda message: None, lambda cause, reason: None)
    answers: list[object] = [commands.prepared()]
    for answer in (commands.run_once(["feed"]), commands.may_start()):
        answer.addCallback(answers.append)
    assert answers == [{}, {}, {}]
