"""Tells twistd and twist about ``djangoserve`` and the reactor it runs on; names them and imports nothing of them."""

from twisted.application.reactors import Reactor
from twisted.application.service import ServiceMaker

djangoserve = ServiceMaker(
    "djangoserve",
    "twistserve.plugin",
    "Serve a Django project, its static files, Kubernetes probes and Prometheus metrics.",
    "djangoserve",
)

reactor = Reactor(
    "twistserve",
    "twistserve.net.reactor",
    "epoll(7) without Twisted's logging context; what djangoserve uses unless another is chosen.",
)
