"""What twistd and twist load for ``djangoserve``."""

from __future__ import annotations

from twistserve import collector

# isort: split
import twistserve.net.late_tls

# isort: split
import twistserve.metrics.single_process  # noqa: F401

# isort: split
from twistserve.service import Options, makeService

__all__ = ["Options", "makeService"]

collector.resume()
