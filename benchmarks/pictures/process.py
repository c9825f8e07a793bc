"""docs/process.svg: the threads of one process, its sockets, and who is outside."""

from __future__ import annotations

from pathlib import Path

from benchmarks.drawing import arrow, box, document, lines, step, words

NAME = "process.svg"
WIDTH, HEIGHT = 480, 632
TITLE = "The threads of one process"
DESCRIPTION = (
    "Clients reach the web port through the ingress; the kubelet, Prometheus and people reach the probe port. Both"
    " belong to the reactor thread, which does HTTP, small files, probes, metrics and the status page, and never waits."
    " It puts requests into a queue. Request threads take them from there, call Django, which asks the database, and"
    " give responses back to the reactor. Each check has a thread of its own, file threads open large files. The main"
    " thread sets Django up and runs its signal handlers, the watchdog hears SIGTERM and bounds the end, the log thread"
    " writes to standard output and standard error."
)


def draw(target: Path) -> None:
    """Write the picture."""
    parts = [*_outside(), *_reactor(), *_request_threads(), *_checks_and_files(), *_others()]
    target.write_text(document(WIDTH, HEIGHT, TITLE, parts, description=DESCRIPTION))


def _outside() -> list[str]:
    return [
        *(box(12, 12, 220, 40), *lines(122, 36, ["clients, through the ingress"], anchor="middle")),
        *(box(248, 12, 220, 40), *lines(358, 36, ["kubelet, Prometheus, you"], anchor="middle")),
        *(arrow((122, 52), (122, 122), both=True), words(140, 76, "--port, 8000", "small")),
        *(arrow((358, 52), (358, 122), both=True), words(368, 76, "--probe-port, 8001", "small")),
        '<rect class="grid" x="12" y="92" width="456" height="464" rx="8" stroke-dasharray="6 4"/>',
        words(240, 110, "one process", "title", "middle"),
    ]


def _reactor() -> list[str]:
    return [
        box(24, 122, 432, 104),
        words(240, 143, "reactor thread: all sockets; it never waits", "title", "middle"),
        *lines(36, 166, ["connections, HTTP, limits,", "TLS, small files,", "access log, counters"]),
        *lines(258, 166, ["probes, metrics, status page,", "lifecycle and drain", ""]),
        *(step(104, 76, 1), step(216, 158, 2), step(195, 210, 6)),
    ]


def _request_threads() -> list[str]:
    squares = [
        f'<rect class="box s0" x="{36 + 24 * number}" y="340" width="18" height="18" rx="3"'
        ' style="stroke: var(--s0); stroke-width: 2"/>'
        for number in range(8)
    ]
    return [
        *(arrow((60, 226), (60, 256)), box(24, 256, 130, 30), words(36, 275, "queue")),
        *(arrow((60, 286), (60, 316)), step(136, 271, 3)),
        *(box(24, 316, 212, 106), words(36, 333, "request threads: --threads", "title"), *squares),
        *lines(36, 378, ["environ, middleware, views,", "templates, close(); all that", "Django does for a request"]),
        step(222, 378, 4),
        *(arrow((195, 316), (195, 226)), step(195, 286, 5)),
        *(arrow((236, 406), (244, 406), (244, 580), both=True), box(24, 580, 228, 38)),
        words(138, 603, "database, cache, other services", "", "middle"),
    ]


def _checks_and_files() -> list[str]:
    return [
        *(
            arrow((300, 226), (300, 256), both=True),
            box(252, 256, 204, 62),
            words(264, 274, "checks' threads", "title"),
        ),
        *lines(264, 292, ["one for each check, with a", "database connection of its own"], "small"),
        *(arrow((244, 226), (244, 372), (252, 372), both=True), box(252, 334, 204, 62)),
        *(
            words(264, 352, "file threads", "title"),
            *lines(264, 370, ["find, open and read files that", "are not in memory"], "small"),
        ),
    ]


def _others() -> list[str]:
    return [
        *(box(252, 412, 204, 62), words(264, 430, "main thread", "title")),
        *lines(264, 448, ["django.setup(), commands,", "your signal handlers"], "small"),
        *(box(24, 438, 204, 62), words(36, 456, "watchdog", "title")),
        *lines(36, 474, ["hears SIGTERM, and ends the", "process when its time is up"], "small"),
        *(
            box(252, 490, 204, 46),
            words(264, 508, "log thread", "title"),
            words(264, 526, "filters and writes log lines", "small"),
        ),
        *(arrow((370, 536), (370, 580)), box(272, 580, 184, 38)),
        words(364, 603, "stdout, stderr", "", "middle"),
    ]
