"""A project with handlers of messages, and consumers of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.support.functional.harness import Server, free_port, write_project

HANDLERS = '''
import os, time
from pathlib import Path
from django.db import connection
from twistserve.amqp import Consumer, Handler, TopicHandler


def note(*words):
    """One line, in one write: several threads and processes may write."""
    file = os.open("seen", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(file, (" ".join(map(str, words)) + "\\n").encode())
    os.close(file)


def wait(name):
    while not os.path.exists(name):
        time.sleep(0.02)


class Notes(Handler):
    """Does what the body says."""

    queue = "notes"

    def handle(self, message):
        note(message.text, int(message.redelivered), message.failures)
        match message.text.split():
            case ["raise", *_]:
                raise ValueError("it was asked to")
            case ["json"]:
                message.json()
            case ["exit"]:
                raise SystemExit(3)
            case ["wait", name]:
                wait(name)
                note("waited", name)
            case ["publish", queue]:
                wait("go")
                message.publish("", queue, "published", message_id="copy")
                note("published")
            case ["query"]:
                with connection.cursor() as cursor:
                    cursor.execute("SELECT 42")
                    note(cursor.fetchone()[0])


class Topic(TopicHandler):
    """As those that are written for Django-Hurricane."""

    def on_message(self, channel, deliver, properties, body):
        note(deliver.routing_key, body.decode())
        if body == b"no":
            self.reject_message(deliver.delivery_tag)
        else:
            self.acknowledge_message(deliver.delivery_tag)

    def get_routing_keys(self, queue_name):
        return [queue_name.rsplit(".", 1)[0]]


class NoHandler:
    pass


def beside(lifecycle):
    return Consumer(Notes(), lifecycle, queue="beside")
'''

DATABASE = (
    "DATABASES = {'default': {'ENGINE': 'django.db.backends.sqlite3', 'NAME': BASE_DIR / 'data' / 'db.sqlite3',"
    " 'CONN_MAX_AGE': None}}\n"
)

Consume = Callable[..., Server]
"""Starts a consumer with these words: `consume("handlers.Notes", "--queue", "notes")`."""


def consuming_project(directory: Path) -> Path:
    """A project whose database is in `data`."""
    write_project(directory, settings=DATABASE, handlers=HANDLERS)
    (directory / "data").mkdir()
    return directory


def make_consume(serve: Any, project: Path) -> Consume:
    """What starts consumers of a project; they end with the test."""

    def consume(*words: str, until: str | None = "/ready", **options: Any) -> Server:
        port = free_port()
        probes = ("--probe-port", str(port + 1))
        keywords = {"cwd": project, "runner": "consume", "settings": "site_settings", "port": port, **options}
        server: Server = serve(*words, *probes, until=until, **keywords)
        return server

    return consume


def seen(project: Path) -> list[str]:
    """What handlers have noted."""
    path = project / "seen"
    return path.read_text().splitlines() if path.exists() else []
