"""Stock twisted.web: Site, WSGIResource, File. Arguments: port, threads, and the directory of static files or nothing.

Logs each request to standard output, as `twistd -n web` does.
"""

from __future__ import annotations

import sys

from bench.wsgi import application
from twisted.internet import reactor
from twisted.python import log
from twisted.python.threadpool import ThreadPool
from twisted.web.resource import Resource
from twisted.web.server import Site
from twisted.web.static import File
from twisted.web.wsgi import WSGIResource


class Root(Resource):
    """Files below /static, Django everywhere else."""

    def __init__(self, django: WSGIResource) -> None:
        super().__init__()
        self._django = django

    def getChild(self, path: bytes, request: object) -> WSGIResource:
        request.prepath.pop()
        request.postpath.insert(0, path)
        return self._django


def main(port: str, threads: str, static: str | None = None) -> None:
    log.startLogging(sys.stdout, setStdout=False)
    pool = ThreadPool(int(threads), int(threads))
    root = Root(WSGIResource(reactor, pool, application))
    if static is not None:
        root.putChild(b"static", File(static))
    reactor.callWhenRunning(pool.start)
    reactor.addSystemEventTrigger("after", "shutdown", pool.stop)
    reactor.listenTCP(int(port), Site(root), backlog=1024, interface="127.0.0.1")
    reactor.run()


if __name__ == "__main__":
    main(*sys.argv[1:])
