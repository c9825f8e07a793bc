"""The log: one queue, one thread that writes it, one format for every line.

`TextFormatter` and `JSONFormatter` can be named in a project's LOGGING.
"""

from __future__ import annotations

from twistserve.logs.formats import JSONFormatter, TextFormatter
from twistserve.logs.loggers import get_logger as get_logger

__all__ = ["JSONFormatter", "TextFormatter"]
