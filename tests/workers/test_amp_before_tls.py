"""What parent and worker say to each other is said without TLS."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize("module", ["protocol", "worker_process", "worker_service"])
def test_amp_is_imported_without_tls(module: str) -> None:
    """Whichever of its users comes first, in the parent or in a worker."""
    program = (
        f"import sys; import twistserve.net.late_tls, twistserve.workers.{module}\n"
        "assert 'twisted.protocols.amp' in sys.modules\n"
        "sys.exit('OpenSSL' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
