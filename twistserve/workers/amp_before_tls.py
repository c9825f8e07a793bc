"""Imported before AMP, so that AMP is imported without TLS: parent and worker use it over pipes."""

from __future__ import annotations

from twistserve.net.late_tls import AMP, import_before_tls

import_before_tls(AMP)
