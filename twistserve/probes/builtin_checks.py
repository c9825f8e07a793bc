"""The ready-made checks of --check: caches, the default storage, migrations, disk space, a message broker.

Each blocks, and raises what goes wrong.
"""

from __future__ import annotations

import shutil
import socket
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from functools import partial
from typing import Any
from uuid import uuid4

from twistserve.probes.checks import PASSED, Result, Status
from twistserve.probes.databases import own_connections
from twistserve.project.migrations import migrated_databases, plan
from twistserve.redaction import short_size
from twistserve.values import Broker, Disk, parsed_check

Function = Callable[[], Result]

LIFETIME = 60
"""Seconds after which a cache forgets what a check has left in it because it was interrupted."""
NAMED = 3
"""Unapplied migrations that are named; of more, the number says enough."""


def ready_made(chosen: Sequence[str], seconds: float) -> dict[str, Function]:
    """The checks that these values of --check stand for, by their names in answers; Django is set up and loaded.

    `seconds` is their deadline. Raises `StartError` where django-health-check is not as it should be.
    """
    functions: dict[str, Function] = {}
    named: Counter[str] = Counter()
    # The same one twice is one.
    for kind, argument in dict.fromkeys(map(parsed_check, chosen)):
        for name, function in _of(kind, argument, seconds):
            # A path and a host must not be shown, so another of the same kind gets a number.
            named[name] += 1
            functions[f"{name}-{named[name]}" if named[name] > 1 else name] = function
    return functions


def _of(kind: str, argument: str | Disk | Broker, seconds: float) -> Iterator[tuple[str, Function]]:
    if isinstance(argument, Disk):
        yield "disk", partial(_check_disk, argument)
    elif isinstance(argument, Broker):
        yield f"broker:{argument.scheme}", partial(_check_broker, argument, seconds)
    elif kind == "caches":
        yield from _caches()
    elif kind == "storage":
        yield "storage", _check_storage
    elif kind == "migrations":
        yield from ((f"migrations:{alias}", Migrations(alias)) for alias in migrated_databases())
    else:
        # Imported here: django-health-check need not be installed.
        from twistserve.probes.health_check import health_checks

        yield from health_checks(argument, seconds)


def _caches() -> Iterator[tuple[str, Function]]:
    from django.core.cache import caches

    return ((f"cache:{alias}", partial(_check_cache, alias)) for alias in caches)


def _check_cache(alias: str) -> Result:
    """Write to a cache and read it back, over a connection made for it."""
    from django.core.cache import caches
    from django.core.cache.backends.dummy import DummyCache

    key, written = f"twistserve.probe.{uuid4().hex}", uuid4().hex
    with own_connections(), closing(caches.create_connection(alias)) as cache:
        if isinstance(cache, DummyCache):
            return Result(Status.PASS, "keeps nothing, as configured")
        cache.set(key, written, LIFETIME)
        found = cache.get(key)
        cache.delete(key)
    return PASSED if found == written else Result(Status.FAIL, output="what was written could not be read back")


def _check_storage() -> Result:
    """Save a file in the default storage, read it back and delete it."""
    from django.core.files.base import ContentFile
    from django.core.files.storage import default_storage

    written = uuid4().hex.encode()
    with own_connections():
        name = default_storage.save(f"twistserve-probe-{uuid4().hex}", ContentFile(written))
        try:
            with default_storage.open(name) as file:
                found = file.read()
        finally:
            default_storage.delete(name)
    return PASSED if found == written else Result(Status.FAIL, output="what was written could not be read back")


class Migrations:
    """Fails while a migration is unapplied on a database.

    The files are read once; what is applied is asked each time, and compared again only when it has changed.
    """

    def __init__(self, alias: str) -> None:
        self._alias = alias
        self._applied: frozenset[Any] | None = None
        self._result = PASSED

    def __call__(self) -> Result:
        """Ask the database."""
        from django.db import connections
        from django.db.migrations.recorder import MigrationRecorder

        with own_connections():
            applied = frozenset(MigrationRecorder(connections[self._alias]).applied_migrations())
            if applied != self._applied:
                self._result, self._applied = _judge(plan(self._alias)), applied
        return self._result


def _judge(unapplied: list[str]) -> Result:
    if not unapplied:
        return PASSED
    number, more = len(unapplied), ", …" * (len(unapplied) > NAMED)
    return Result(Status.FAIL, number, f"{number} unapplied: {', '.join(unapplied[:NAMED])}{more}")


def _check_disk(disk: Disk) -> Result:
    """Fail with less free than asked for, warn with less than twice that."""
    try:
        free = shutil.disk_usage(disk.path).free
    except FileNotFoundError:
        output = "there is no such directory"
        return Result(Status.FAIL, output=output, detail=f"{disk.path}: {output}")
    if free >= 2 * disk.least:
        return Result(Status.PASS, free)
    status, limit = (Status.FAIL, "less than the") if free < disk.least else (Status.WARN, "less than twice the")
    output = f"{free / (1 << 20):.0f}M free, {limit} {short_size(disk.least)} asked for"
    return Result(status, free, output, detail=f"{disk.path}: {output}")


def _check_broker(broker: Broker, seconds: float) -> Result:
    """Open a TCP connection, and close it."""
    try:
        socket.create_connection((broker.host, broker.port), timeout=seconds).close()
    except OSError as error:
        reason = f"no connection: {error.strerror or type(error).__name__}"
        return Result(Status.FAIL, output=reason, detail=f"{broker.host}:{broker.port}: {reason}")
    return PASSED
