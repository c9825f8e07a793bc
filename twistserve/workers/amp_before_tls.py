"""Imported before AMP is: parent and worker speak it over pipes, and need no TLS for that."""

from __future__ import annotations

from twistserve.net.late_tls import AMP, import_before_tls

import_before_tls(AMP)
