"""``python -m benchmarks.consumers [MESSAGES]``: messages per second of consumers, as Markdown.

The handler does one query by Django's ORM, of SQLite. A real RabbitMQ has all messages, persistent, before the consumer
starts on one core; measured is the time in which the queue goes from nine tenths to one. Rounds are interleaved, and
their median is shown. Messages are acknowledged after they were handled. Run it in the environment of the tests.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import django
import pika

from benchmarks.arguments import positive
from benchmarks.environments import ROOT, InstallError, ensure
from benchmarks.machine import describe
from benchmarks.report import facts_list, plain_table
from tests.support.functional.harness import PATIENCE, wait_for, write_project
from tests.support.functional.rabbitmq import RabbitMQ, Talk, running

CORE = 0
ROUNDS = 3
DJANGO = f"django=={django.__version__}"
SETTINGS = """
INSTALLED_APPS = ["django.contrib.contenttypes", "{app}"]
DATABASES = {{
    "default": {{"ENGINE": "django.db.backends.sqlite3", "NAME": BASE_DIR / "db.sqlite3", "CONN_MAX_AGE": None}}
}}
"""
QUERY = """
def query():
    from django.contrib.contenttypes.models import ContentType

    ContentType.objects.filter(app_label="shop", model="order").exists()

"""
HANDLERS = {
    "twistserve": QUERY + "from twistserve.amqp import Handler\n\nclass Query(Handler):\n"
    "    def handle(self, message):\n        query()\n",
    "hurricane": QUERY + "from hurricane.amqp.basehandler import TopicHandler\n\nclass Query(TopicHandler):\n"
    "    def on_message(self, channel, deliver, properties, body):\n"
    "        query()\n        self.acknowledge_message(deliver.delivery_tag)\n",
    "celery": QUERY + "import django\nfrom celery import Celery\n\n"
    "app = Celery('bench')\napp.conf.update(task_acks_late=True, task_ignore_result=True, broker_url='{url}',\n"
    "    task_default_queue='bench')\n\n"
    "@app.task(name='query')\ndef task():\n    query()\n",
}


@dataclass(frozen=True)
class Consumer:
    """A consumer to measure: its environment's requirements, and its words after the programs' directory."""

    name: str
    kind: str
    requirements: tuple[str, ...]
    words: Callable[[RabbitMQ], Sequence[str]]
    durable: bool = True


def _ours(*options: str) -> Callable[[RabbitMQ], Sequence[str]]:
    words = ("python", "manage.py", "consume", "handlers.Query", "--queue", "bench", "--log-level", "WARNING")
    return lambda broker: (*words, "--amqp-url", broker.url, "--no-probe", *options)


def _theirs(broker: RabbitMQ) -> Sequence[str]:
    words = ("python", "manage.py", "consume", "handlers.Query", "--queue", "bench", "--exchange", "bench-exchange")
    return (*words, "--amqp-host", "127.0.0.1", "--amqp-port", str(broker.port), "--no-probe")


def _celery(broker: RabbitMQ) -> Sequence[str]:
    return ("celery", "-A", "handlers", "worker", "--concurrency", "1")


CONSUMERS = (
    Consumer("twistserve", "twistserve", (str(ROOT), "pika>=1.4", DJANGO), _ours()),
    Consumer("twistserve, --prefetch 100", "twistserve", (str(ROOT), "pika>=1.4", DJANGO), _ours("--prefetch", "100")),
    Consumer("Celery", "celery", ("celery", DJANGO), _celery),
    Consumer("Django-Hurricane", "hurricane", ("django-hurricane==1.6.2", DJANGO), _theirs, durable=False),
)


def fill(broker: RabbitMQ, consumer: Consumer, messages: int) -> Talk:
    """Have the messages in the queue, as the consumer declares it and reads them."""
    talk = Talk(broker)
    talk.channel.queue_delete("bench")
    talk.channel.queue_declare("bench", durable=consumer.durable)
    channel = talk.connection.channel()
    channel.tx_select()
    for _ in range(messages):
        name = str(uuid4())
        headers = {"lang": "py", "task": "query", "id": name, "root_id": name, "argsrepr": "()", "kwargsrepr": "{}"}
        properties = pika.BasicProperties(
            "application/json", "utf-8", headers, 2, correlation_id=name, reply_to=name, priority=0
        )
        body = json.dumps([[], {}, {"callbacks": None, "errbacks": None, "chain": None, "chord": None}])
        channel.basic_publish("", "bench", body.encode(), properties)
    channel.tx_commit()
    return talk


def rate(broker: RabbitMQ, consumer: Consumer, programs: Path, directory: Path, messages: int) -> float:
    """Messages per second, from nine tenths of them to one."""
    talk = fill(broker, consumer, messages)
    words = consumer.words(broker)
    environ = {**os.environ, "DJANGO_SETTINGS_MODULE": "site_settings", "C_FORCE_ROOT": "1"}
    if consumer.kind == "hurricane":
        # Its handlers run on an event loop, where Django refuses queries otherwise.
        environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"
    log = directory / "consumer.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            ["taskset", "-c", str(CORE), str(programs / words[0]), *words[1:]],
            cwd=directory,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    try:

        def reaches(share: float) -> float:
            def look() -> bool:
                assert process.poll() is None, log.read_text()
                return talk.waiting("bench") <= messages * share

            wait_for(look, lambda: log.read_text()[-2000:])
            return time.perf_counter()

        begin = reaches(0.9)
        return 0.8 * messages / (reaches(0.1) - begin)
    finally:
        process.terminate()
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        talk.connection.close()


def prepare(consumer: Consumer, broker: RabbitMQ, scratch: Path) -> tuple[Path, Path]:
    """The programs of a consumer's environment, and its project. Raises `InstallError`."""
    programs = ensure(ROOT / "build" / "benchmarks" / "environments" / f"{consumer.kind}-amqp", consumer.requirements)
    directory = scratch / consumer.kind
    if not directory.exists():
        app = consumer.kind if consumer.kind != "celery" else "django.contrib.auth"
        write_project(directory, settings=SETTINGS.format(app=app))
        (directory / "handlers.py").write_text(HANDLERS[consumer.kind].replace("{url}", broker.url))
        subprocess.run([programs / "python", "manage.py", "migrate", "-v0"], cwd=directory, check=True)
    return programs, directory


def main(argv: Sequence[str]) -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.consumers", description="Rates of consumers.")
    parser.add_argument("messages", nargs="?", type=positive, default=4000, help="in each round (default: 4000)")
    arguments = parser.parse_args(argv)
    rates: dict[str, list[float]] = {consumer.name: [] for consumer in CONSUMERS}
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        facts = describe(shlex.join(("python", "-m", "benchmarks.consumers", *argv)), [], scratch)
        (scratch / "broker").mkdir()
        with running(scratch / "broker") as broker:
            try:
                prepared = {consumer: prepare(consumer, broker, scratch) for consumer in CONSUMERS}
            except InstallError as error:
                raise SystemExit(f"benchmarks: {error}") from error
            for _ in range(ROUNDS):
                for consumer, (programs, directory) in prepared.items():
                    rates[consumer.name].append(rate(broker, consumer, programs, directory, arguments.messages))
    rows = [
        (name, f"{statistics.median(found):,.0f}", f"{min(found):,.0f} to {max(found):,.0f}")
        for name, found in rates.items()
    ]
    sys.stdout.write(plain_table(("consumer", "messages/s", "of the rounds"), rows) + "\n" + facts_list(facts))


if __name__ == "__main__":
    main(sys.argv[1:])
