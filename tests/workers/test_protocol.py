"""What parent and worker say arrives as it was said."""

from __future__ import annotations

import base64
import random
import sys

from tests.support.worker import Asked, Conversation
from twistserve.probes.checks import Result, Status
from twistserve.workers.protocol import (
    Begin,
    RunProbe,
)
from twistserve.workers.results import from_json


def test_the_configuration_arrives_whole() -> None:
    """Also one that is longer than a value in AMP may be, and that nothing makes shorter."""
    conversation = Conversation()
    noise = base64.b64encode(random.Random(1).randbytes(200_000)).decode()
    configuration = {"command": [f"shell -c 'print({number})'" for number in range(20_000)], "wsgi": f"bücher{noise}"}
    assert conversation.ask(Begin, configuration=configuration, path=sys.path, prepares=False) == {}
    assert conversation.configurations == [configuration]


def test_results_arrive_whole() -> None:
    """As many as there are, whatever they say."""
    randomness = random.Random(1)
    found = {
        f"shop.{number}": Result(Status.FAIL, output=base64.b64encode(randomness.randbytes(1500)).decode())
        for number in range(200)
    }
    conversation = Conversation(Asked(found))
    conversation.ask(Begin, configuration={}, path=sys.path, prepares=False)
    assert from_json(conversation.ask(RunProbe, probe="readiness")["results"]) == found
