"""Call the project's WSGI application without a server; runs in a server's environment, not in ours.

`direct.py prepare` creates the database, `direct.py answer METHOD PATH LENGTH` writes the body of the right answer to
standard output, `direct.py time METHOD PATH LENGTH SECONDS` writes the CPU seconds a request takes.
"""

from __future__ import annotations

import io
import sys
import time
from datetime import UTC, datetime


def prepare() -> None:
    from django.core.management import call_command
    from django.db import connection

    call_command("migrate", run_syncdb=True, verbosity=0)
    from bench.models import Article, Comment

    published = datetime(2026, 1, 1, tzinfo=UTC)
    Article.objects.all().delete()
    Article.objects.bulk_create(
        Article(pk=number, title=f"Article {number}", text="some text " * 20, published=published)
        for number in range(1, 1001)
    )
    Comment.objects.bulk_create(
        Comment(pk=number, article_id=number % 1000 + 1, author=f"Reader {number % 7}", text="some <words> " * 20)
        for number in range(1, 4001)
    )
    if connection.vendor == "postgresql":  # before the first query is planned
        with connection.cursor() as cursor:
            cursor.execute("VACUUM ANALYZE")


def request(method: str, path: str, body: bytes) -> tuple[str, bytes]:
    """Run one request as wrk sends it, up to and including close(), and return its status and body."""
    from bench.wsgi import application

    path, _, query = path.partition("?")
    environ = {
        "REQUEST_METHOD": method,
        "SCRIPT_NAME": "",
        "PATH_INFO": path,
        "QUERY_STRING": query,
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": "8000",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "127.0.0.1",
        "HTTP_HOST": "127.0.0.1:8000",
        "CONTENT_LENGTH": str(len(body)) if body else "",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(body),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }
    statuses: list[str] = []
    response = application(environ, lambda status, headers, exc_info=None: statuses.append(status))
    try:
        return statuses[0], b"".join(response)
    finally:
        response.close()


def cpu_seconds_per_request(method: str, path: str, body: bytes, seconds: float) -> float:
    """Call the application in a loop for so long, after a fifth of that as warm-up."""
    loop_for(method, path, body, seconds / 5)
    before = time.process_time()
    requests = loop_for(method, path, body, seconds)
    return (time.process_time() - before) / requests


def loop_for(method: str, path: str, body: bytes, seconds: float) -> int:
    deadline = time.monotonic() + seconds
    requests = 0
    while time.monotonic() < deadline:
        request(method, path, body)
        requests += 1
    return requests


def main(action: str, *arguments: str) -> None:
    import django

    django.setup()
    if action == "prepare":
        prepare()
        return
    method, path, length, *rest = arguments
    body = b"x" * int(length)
    if action == "time":
        sys.stdout.write(repr(cpu_seconds_per_request(method, path, body, float(rest[0]))))
        return
    status, answer = request(method, path, body)
    if not status.startswith("200 "):
        raise SystemExit(f"{method} {path} answers {status}")
    sys.stdout.buffer.write(answer)


if __name__ == "__main__":
    main(*sys.argv[1:])
