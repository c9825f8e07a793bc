"""The soak: what its clients check, what counts as flat, and its report; no server runs here."""

from __future__ import annotations

import asyncio
import os
import random
from collections import Counter
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from benchmarks.soak import __main__ as command
from benchmarks.soak import contents, hostile, ordinary, phase, report, samples, verdict
from benchmarks.soak.link import Link, Reply
from benchmarks.soak.samples import Probe, Process, Sample
from benchmarks.soak.tally import EXAMPLES, CrossedError, LostError, Tally, WrongError

ROOT = Path(__file__).resolve().parents[1]
MEBIBYTE = 1 << 20
OK = b"HTTP/1.1 200 OK\r\nX-Number: 7\r\n"


class Writer:
    """Keeps what is written."""

    def __init__(self) -> None:
        self.written = b""

    def write(self, data: bytes) -> None:
        self.written += data

    async def drain(self) -> None:
        pass


def asked(received: bytes, method: str = "GET", before: float = 0.0, times: int = 1) -> Reply:
    """The reply of a server that has sent this and closed, to the last of so many requests."""

    async def ask() -> Reply:
        reader = asyncio.StreamReader()
        reader.feed_data(received)
        reader.feed_eof()
        writer: Any = Writer()
        link = Link(reader, writer)
        for _ in range(times - 1):
            await link.ask(method, "/echo?n=7&size=3")
        link._sent_at -= before
        return await link.ask(method, "/echo?n=7&size=3")

    return asyncio.run(ask())


class TestClients:
    def test_a_response_with_a_length(self) -> None:
        reply = asked(OK + b"Content-Length: 3\r\n\r\nabc")
        assert (reply.status, reply.body, reply.fields["x-number"]) == (200, b"abc", "7")

    def test_a_response_in_chunks(self) -> None:
        assert asked(OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n").body == b"abc"

    def test_a_response_to_head(self) -> None:
        assert asked(OK + b"Content-Length: 3\r\n\r\n", method="HEAD").body == b""

    @pytest.mark.parametrize(
        "received",
        [
            b"",
            b"HTTP/1.1 2",
            OK + b"Content-Length: 3\r\n\r\nab",
            OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n",
        ],
    )
    def test_a_request_without_a_complete_response_is_lost(self, received: bytes) -> None:
        with pytest.raises(LostError) as raised:
            asked(received)
        assert not isinstance(raised.value, CrossedError)

    def test_a_request_on_a_connection_that_was_idle_crosses_its_end(self) -> None:
        """Clients have to ask again; but not on a connection that was in use, nor after a part of the response."""
        first = OK + b"Content-Length: 0\r\n\r\n"
        with pytest.raises(CrossedError):
            asked(first, before=1.5, times=2)
        for received, before in ((first, 0.5), (first + b"HTTP/1.1 2", 1.5)):
            with pytest.raises(LostError) as raised:
                asked(received, before=before, times=2)
            assert not isinstance(raised.value, CrossedError)

    @pytest.mark.parametrize(
        "received",
        [
            b"NOTHTTP\r\n\r\n",
            OK + b"\r\nabc",
            OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\nabc\r\n0\r\n\r\n",
            OK + b"Transfer-Encoding: chunked\r\n\r\n0\r\nX: a\r\n\r\n",
        ],
    )
    def test_a_malformed_response_is_wrong(self, received: bytes) -> None:
        with pytest.raises(WrongError):
            asked(received)

    def test_a_swapped_response_is_noticed(self) -> None:
        """By its number, and by its content, which no other request has."""
        reply = Reply(200, {"x-number": "7"}, contents.text(7, 20))
        ordinary.expect(reply, 200, contents.text(7, 20), 7)
        for status, body, own in ((200, None, 8), (200, contents.text(8, 20), 7), (404, None, None)):
            with pytest.raises(WrongError):
                ordinary.expect(reply, status, body, own)

    def test_contents(self) -> None:
        """They have the size, and are those of one number."""
        assert [len(contents.text(12, size)) for size in (0, 1, 1000)] == [0, 1, 1000]
        assert contents.text(12, 1000) != contents.text(13, 1000)
        assert {len(contents.static_file(size)) for size in contents.FILES.values()} == set(contents.FILES.values())

    def test_every_hostile_client_may_meet_something(self) -> None:
        assert all(rate > 0 and expected for rate, expected in hostile.DOES.values())


class TestTally:
    def test_failures(self) -> None:
        """Lost and wrong requests are, and what a hostile client should not meet; what has crossed is not."""
        tally = Tally()
        for error in (None, WrongError("a"), LostError("b"), CrossedError("c")):
            tally.note("page", error)
        tally.note_hostile("garbage", "400", True)
        tally.note_hostile("garbage", "200", False)
        assert (tally.sent, tally.failures()) == (4, 3)
        assert tally.ordinary["page"] == Counter(right=1, wrong=1, lost=1, crossed=1)
        assert len(tally.examples) == 3

    def test_examples_are_bounded(self) -> None:
        tally = Tally()
        for _ in range(2 * EXAMPLES):
            tally.note("page", LostError("a"))
        assert len(tally.examples) == EXAMPLES


def sample(at: float, memory: dict[int, int], descriptors: int = 50) -> Sample:
    """Processes with so many MiB."""
    titles = {1: "twistserve: parent"}
    found = {
        pid: Process(titles.get(pid, f"twistserve: worker {pid - 1}"), size * MEBIBYTE, descriptors, 10)
        for pid, size in memory.items()
    }
    probes = tuple(Probe(path, 0.01, 200) for path in samples.PROBES)
    return Sample(at, found, probes, {'a_total{b="c"}': 1.0, 'a_total{b="d"}': 2.0})


class TestVerdict:
    def test_slope(self) -> None:
        """That of a line; a few wild points do not move it."""
        line = [(float(x), 5 + 2.0 * x) for x in range(100)]
        assert verdict.slope(line) == pytest.approx(2)
        wild = [(x, y if x % 10 else 10_000.0) for x, y in line]
        assert verdict.slope(wild) == pytest.approx(2, abs=0.05)
        assert verdict.slope([]) == verdict.slope([(1.0, 5.0)]) == 0

    def test_long_series_are_thinned(self) -> None:
        long = [(float(x), float(x)) for x in range(5000)]
        assert len(verdict.thinned(long)) <= verdict.MOST_POINTS
        assert verdict.slope(long) == pytest.approx(1)

    def test_what_grows_by_its_second_half(self) -> None:
        """Warm-up does not count; growth beyond the bound does."""
        warm = [(float(x), min(x, 150) * 1.0) for x in range(300)]
        assert verdict.judge("a", warm, (2, 0), 300).flat
        grows = verdict.judge("a", [(float(x), 0.1 * x) for x in range(300)], (2, 0), 300)
        assert not grows.flat
        assert grows.growth == pytest.approx(14.9)
        assert grows.highest == pytest.approx(29.9)
        assert verdict.judge("a", [(float(x), 1000 + 0.1 * x) for x in range(300)], (2, 0.1), 300).flat

    def test_noise_is_flat(self) -> None:
        chosen = random.Random(1)
        assert abs(verdict.judge("a", [(float(x), chosen.gauss(100, 10)) for x in range(600)], (0, 0), 600).growth) < 5

    def test_what_is_too_short_is_not_judged(self) -> None:
        short = verdict.judge("a", [(float(x), float(x)) for x in range(60)], (2, 0), 60)
        assert (short.too_short, short.flat) == (True, True)

    def test_workers_that_stay_are_judged_one_by_one(self) -> None:
        """Of workers that are replaced the sum is."""
        found = [sample(float(at), {1: 50, 2: 80, 3: 80 + at // 10}) for at in range(300)]
        staying = {each.what: each.flat for each in verdict.judgements(found, 300, 1, recycling=False)}
        assert [what for what, flat in staying.items() if not flat] == ["worker 2: memory, MiB"]
        assert {"parent: threads", "worker 1: descriptors", "processes"} <= set(staying)
        replaced = [each.what for each in verdict.judgements(found, 300, 1, recycling=True)]
        assert [what for what in replaced if what.startswith("worker")] == []
        assert "all: memory, MiB" in replaced


class TestSamples:
    def test_metrics(self) -> None:
        text = '# HELP a b\na_total{b="c"} 1.0\na_total{b="d"} 2.5e+01\nb 3\nc NaN\n'
        found = samples.parsed(text)
        assert (found['a_total{b="d"}'], found["b"]) == (25.0, 3.0)
        assert Sample(0, {}, (), found).sum("a_total") == 26.0

    def test_processes(self) -> None:
        """Our own is there, with what it has."""
        found = dict(samples.processes(os.getpid()))[os.getpid()]
        assert found.memory > MEBIBYTE
        assert found.threads >= 1
        assert found.descriptors >= 3


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ('{"level": "INFO", "message": "a"}', False),
        ('{"level": "ERROR", "message": "Internal Server Error: /fail"}', False),
        ('{"level": "ERROR", "message": "request timed out after 5.0 s: GET /hang?n=1; its thread stands at"}', False),
        ('{"level": "ERROR", "message": "GET /stream?n=1&blocks=320 500"}', False),
        ('{"level": "ERROR", "message": "Internal Server Error: /page"}', True),
        ("Traceback (most recent call last):", True),
    ],
)
def test_faults_of_the_log(line: str, fault: bool) -> None:
    """Errors that no view makes on purpose, and what is no record."""
    assert phase.is_fault(line) is fault


def made(name: str = "staying", **changed: Any) -> phase.Phase:
    """A phase of ten minutes that is well, but for what is changed."""
    tally = Tally()
    tally.note("page")
    tally.note_hostile("garbage", "400", True)
    parts: dict[str, Any] = {
        "seconds": 600.0,
        "workers": 2,
        "recycling": name == "replaced",
        "samples": [sample(float(at), {1: 50, 2: 80, 3: 80}) for at in range(600)],
        "first": 1,
        "tally": tally,
        "unrest": {},
        "restarts": Counter(lifetime=3),
        "faults": [],
        "status": 0,
        "left": 0,
    }
    return phase.Phase(name, **parts | changed)


class TestReport:
    def test_a_phase_that_is_well(self) -> None:
        assert made().complaints == []
        text = report.markdown([made("replaced"), made()], ["600"])
        assert "1 requests of clients that behave" in text
        assert "| garbage | 400: 1 | 0 |" in text
        assert "**no**" not in text

    @pytest.mark.parametrize(
        ("changed", "complaint"),
        [
            ({"status": 1}, "the server ended with 1"),
            ({"left": 2}, "2 processes are left"),
            ({"faults": ["a"]}, "1 faults in the log"),
            ({"unrest": {"connections": 3.0}}, "connections is 3 at rest"),
            (
                {"samples": [sample(float(at), {1: 50 + at // 10}) for at in range(600)]},
                "parent: memory, MiB is not flat",
            ),
        ],
    )
    def test_complaints(self, changed: dict[str, Any], complaint: str) -> None:
        """Each has its words, and is in the report."""
        assert complaint in made(**changed).complaints
        assert complaint in report.markdown([made(**changed)], [])

    def test_its_place_in_a_document(self) -> None:
        """What stood there is replaced, and the rest stays."""
        before = f"a\n{report.BEGINS}\nold\n{report.ENDS}\nb\n"
        after = report.inserted(before, "new\n")
        assert after == f"a\n{report.BEGINS}\nnew\n{report.ENDS}\nb\n"
        assert report.inserted(after, "new\n") == after
        with pytest.raises(ValueError, match="there is no"):
            report.inserted("a", "new")
        assert report.BEGINS in (ROOT / "docs" / "soak.md").read_text()

    def test_the_plot(self, tmp_path: Path) -> None:
        """Four charts of each phase, one line for each process."""
        text = report.plot([made("replaced"), made()])
        root = ElementTree.fromstring(text)
        assert len(root.findall(".//{http://www.w3.org/2000/svg}g")) == 8
        assert "nan" not in text

    def test_signals_are_spread(self) -> None:
        assert phase._reloads(20) == []
        assert phase._reloads(120) == [40, 80]
        assert len(phase._reloads(3600)) == phase.RELOADS


def test_the_command_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    arguments = command.parser().parse_args([])
    assert (arguments.seconds, arguments.workers, arguments.no_recycling) == (600, 2, False)
    with pytest.raises(SystemExit, match="there is no twistd in"):
        command.main(["--bin", str(tmp_path)])
