"""What a configuration does not use is not imported: it would be paid for in each start."""

from __future__ import annotations

import subprocess
import sys

from tests.functional.harness import free_port

HEAVY = [
    "treq",
    "twistserve.webhooks",
    "twistserve.posting",
    "twistserve.migrations",
    "twistserve.system_checks",
    "twistserve.probes.ready_made",
    "twistserve.probes.health_check",
    "twistserve.workers.composition",
    "twistserve.workers.supervisor",
    "twistserve.workers.process",
    "twistserve.workers.sums",
    "twistserve.web.tls",
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
from twistserve.ending import Ending
from twistserve.service import compose
twistserve.plugin.Options()
compose({"port": sys.argv[1]}, Ending())
print(" ".join(sys.modules))
"""


def test_a_start_with_one_process_imports_nothing_that_it_does_not_use() -> None:
    """Of what is heavy or for other configurations, composing the service for the defaults imports nothing."""
    done = subprocess.run(
        [sys.executable, "-c", STARTED, str(free_port())], capture_output=True, text=True, check=True, timeout=60
    )
    imported = set(done.stdout.split())
    assert "twistserve.composition" in imported
    assert imported.isdisjoint(HEAVY), sorted(imported.intersection(HEAVY))


def test_the_collector_waits_for_our_modules_and_goes_on() -> None:
    """What has been imported is not looked through again; afterwards garbage is collected as ever."""
    program = "import gc, twistserve.plugin; assert gc.isenabled() and gc.get_freeze_count() > 50_000"
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
