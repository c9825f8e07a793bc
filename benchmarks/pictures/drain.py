"""docs/drain.svg: a drain in time, drawn from a real one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmarks.drawing import document, words
from benchmarks.pictures.drain_run import BEFORE, DELAY, EVERY, LONG, Run, measure

NAME = "drain.svg"
WIDTH = 480
LEFT, RIGHT = 12, 468
TOP = 64
"""Where the first row begins, below the names of the moments."""
ROW = 44
TITLE = "A drain in time, as clients see it"


def draw(target: Path) -> None:
    """Make a server drain, and write the picture of that."""
    target.write_text(drawn(measure()))


def drawn(run: Run) -> str:
    """The picture of a run."""
    rows = [
        ("/ready", _statuses(run.readiness)),
        ("/alive", _statuses(run.liveness)),
        ("a connection for each request", _statuses(run.new)),
        ("requests on a kept connection (square: with Connection: close)", _kept(run.kept)),
        ("a kept connection that is silent, until it is closed", [_bar(*run.idle, "faint")]),
        (f"a request of {LONG:g} seconds: {run.long[2]}", [_bar(*run.long[:2], "good")]),
        (f"the process: exit status {run.exit_status}", [_bar(-BEFORE, run.ended, "s0")]),
    ]
    bottom = TOP + ROW * len(rows)
    parts = _moments(run, bottom)
    for number, (title, marks) in enumerate(rows):
        parts.append(words(LEFT, TOP + ROW * number + 14, title))
        parts += [f'<g transform="translate(0 {TOP + ROW * number + 28})">', *marks, "</g>"]
    parts += _axis(run, bottom)
    return document(WIDTH, bottom + 76, TITLE, parts, description=_described(run))


def across(moment: float) -> float:
    """The place of a moment."""
    span = BEFORE + DELAY + 5.4
    return LEFT + (moment + BEFORE) / span * (RIGHT - LEFT)


def _moments(run: Run, bottom: float) -> list[str]:
    parts = []
    moments = ((0, "SIGTERM", "middle", 20), (run.port_closed, "the port closes", "middle", 20))
    for moment, name, anchor, y in (*moments, (run.ended, "last response, then exit", "middle", 40)):
        x = across(moment)
        parts.append(words(x, y, name, "title", anchor))
        parts.append(f'<path class="grid" stroke-dasharray="4 3" d="M{x:.1f} {y + 6}V{bottom}"/>')
    return parts


def _axis(run: Run, bottom: float) -> list[str]:
    parts = [f'<path class="grid" d="M{LEFT} {bottom}H{RIGHT}"/>']
    for second in range(-3, int(run.ended) + 1):
        parts.append(words(across(second), bottom + 16, str(second), "small", "middle"))
    parts.append(words((LEFT + RIGHT) / 2, bottom + 34, "seconds from SIGTERM", "small", "middle"))
    legend = ((_mark(LEFT + 6, "good", 200), "200"), (_mark(LEFT + 66, "bad", 503), "503"))
    y = bottom + 58
    for number, (mark, name) in enumerate((*legend, (_mark(LEFT + 126, "bad", 0), "connection refused"))):
        parts += [f'<g transform="translate(0 {y})">{mark}</g>', words(LEFT + 16 + 60 * number, y + 4, name, "small")]
    return parts


def _statuses(asked: Sequence[tuple[float, int]]) -> list[str]:
    return [_mark(across(moment), "good" if status == 200 else "bad", status) for moment, status in asked]


def _kept(asked: Sequence[tuple[float, int, bool]]) -> list[str]:
    return [
        _square(across(moment)) if closes else _mark(across(moment), "good" if status else "bad", status)
        for moment, status, closes in asked
    ]


def _mark(x: float, kind: str, status: int) -> str:
    """A dot for a response, a cross for none, a ring for a failure: they differ without colours too."""
    if status <= 0:
        return f'<path class="line thin {kind}" d="M{x - 3:.1f} -3l6 6m0 -6l-6 6"/>'
    if status == 200:
        return f'<circle class="dot {kind}" cx="{x:.1f}" cy="0" r="3.5"/>'
    return f'<circle class="line thin {kind}" cx="{x:.1f}" cy="0" r="3"/>'


def _square(x: float) -> str:
    return f'<rect class="dot good" x="{x - 3.5:.1f}" y="-3.5" width="7" height="7"/>'


def _bar(begin: float, end: float, kind: str) -> str:
    x = across(max(begin, -BEFORE))
    return f'<rect class="dot {kind}" x="{x:.1f}" y="-4" width="{across(end) - x:.1f}" height="8" rx="2"/>'


def _described(run: Run) -> str:
    failed = next(moment for moment, status in run.readiness if status != 200)
    return (
        f"Requests every {EVERY:g} s. Readiness fails from {failed:.1f} s after SIGTERM on; liveness passes until the"
        f" process ends. New connections are served until the port closes at {run.port_closed:.1f} s; from SIGTERM on"
        f" responses carry Connection: close. The silent connection is closed at {run.idle[1]:.1f} s. The long request"
        f" has its response, status {run.long[2]}, at {run.long[1]:.1f} s. The process ends at {run.ended:.1f} s, with"
        f" status {run.exit_status}."
    )
