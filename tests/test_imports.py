"""What a configuration does not use is not imported: it would be paid for in each start."""

from __future__ import annotations

import os
import subprocess
import sys

from tests.support.functional.harness import UNTRACED, free_port

HEAVY = [
    "OpenSSL",
    "cryptography",
    "h2",
    "importlib.metadata",
    "treq",
    "twisted.application.internet",
    "twisted.internet.endpoints",
    "twisted.web.http",
    "twistserve.http.http2",
    "twistserve.webhooks.outbox",
    "twistserve.webhooks.client",
    "twistserve.webhooks.formats",
    "twistserve.project.migrations",
    "twistserve.project.system_checks",
    "twistserve.probes.builtin_checks",
    "twistserve.probes.health_check",
    "twistserve.composition.parent",
    "twistserve.workers.supervisor",
    "twistserve.workers.worker_process",
    "twistserve.workers.worker_state",
    "twistserve.net.tls",
    "twisted.protocols.amp",
    "prometheus_client.multiprocess",
    "xml.dom.minidom",
    "django.core.management",
    "django.test",
]
STARTED = """
import sys
from django.conf import settings
settings.configure(ROOT_URLCONF="urls")
import twistserve.plugin
from twistserve.process.ending import Ending
from twistserve.service import compose
twistserve.plugin.Options()
compose({"port": sys.argv[1]}, Ending())
print(" ".join(sys.modules))
"""


def test_a_start_with_one_process_imports_nothing_that_it_does_not_use() -> None:
    """Of what is heavy or for other configurations, composing the service for the defaults imports nothing."""
    command, environment = [sys.executable, "-c", STARTED, str(free_port())], {**os.environ, **UNTRACED}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=60)
    imported = set(done.stdout.split())
    assert "twistserve.composition.one_process" in imported
    assert imported.isdisjoint(HEAVY), sorted(imported.intersection(HEAVY))
