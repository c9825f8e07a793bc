"""Tells twistd and twist about ``djangoserve``; names it and imports nothing of it."""

from twisted.application.service import ServiceMaker

djangoserve = ServiceMaker(
    "djangoserve",
    "twistserve.service",
    "Serve a Django project, its static files, Kubernetes probes and Prometheus metrics.",
    "djangoserve",
)
