"""The comparison with other servers: the corpus and its judgement, the figures, the document; no server runs here."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from benchmarks.compare import contenders, groups, malformed, probing, rates, scraped, uploads
from benchmarks.compare.contenders import Contender
from benchmarks.compare.corpus import Case, Reply, cases, refused, right
from benchmarks.compare.document import BEGIN, END, measured, replaced
from benchmarks.compare.draining import status_text
from benchmarks.compare.figures import duration, percentile
from benchmarks.compare.group import Column, Found, Group
from benchmarks.compare.http import Answer, Response, read_response
from benchmarks.compare.results import Described, Results
from benchmarks.compare.rollout import reason
from benchmarks.rounds import Measured, Sample
from benchmarks.servers import PEERS, Launch, Server
from benchmarks.serving import RefusedError, Stage
from benchmarks.workloads import WORKLOADS
from tests.support.http1 import Lab
from twistserve.http.request import Request
from twistserve.http.response import Response as Ours
from twistserve.http.response import content_length

OK = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b"


def echoed(body: str = "", field: str | None = None) -> bytes:
    """The application's response to a request that it has seen like this."""
    content = json.dumps({"path": "/echo", "body": body, "Host": "x", "X-A": field}).encode()
    return OK % (len(content), content)


def case(*, tolerated: tuple[dict[str, object], ...] = (), expected: dict[str, object] | None = None) -> Case:
    return Case("a case", "RFC 9112 1", b"", tolerated, expected)


class TestCorpus:
    def test_each_case_is_there_once(self) -> None:
        """And says what demands it."""
        found = cases()
        assert len({one.name for one in found}) == len({one.data for one in found}) == len(found) >= 100
        assert all(one.section.startswith(("RFC 911", "security")) for one in found)

    @pytest.mark.parametrize("one", cases(), ids=lambda one: one.name)
    def test_ours_does_as_it_must(self, one: Case) -> None:
        """With an application that says what it sees, as that of the benchmarks does."""
        lab = Lab(handler=respond)
        connection = lab.connect()
        connection.feed(one.data)
        assert right(one, Reply(connection.sent, connection.closed)), connection.sent

    def test_ours_refuses_every_malformed_one(self) -> None:
        """Nothing of what is tolerated: the application sees none of them."""
        for one in cases():
            connection = Lab(handler=respond).connect()
            connection.feed(one.data)
            assert one.expected is not None or refused(Reply(connection.sent, connection.closed)), one.name


def respond(request: Request) -> None:
    """What the view `echo` of the benchmarks sends, and its `stream` and `hello`."""
    assert request.body is not None
    fields = {name.decode().lower(): value.decode("latin-1") for name, value in request.fields}
    seen = {
        "path": request.target.decode().removeprefix("http://x"),
        "body": request.body.read().decode("latin-1"),
        "Host": fields.get("host"),
        "X-A": fields.get("x-a"),
    }
    content = b"" if request.method == b"HEAD" else json.dumps(seen).encode()
    request.connection.respond(Ours(200, [content_length(len(content))], content))


class TestJudgement:
    @pytest.mark.parametrize(
        ("data", "closed", "expected"),
        [
            (b"HTTP/1.1 400 Bad Request\r\n\r\n", True, True),
            (b"HTTP/1.1 501 Not Implemented\r\n\r\n", False, True),
            (b"", True, True),
            (b"", False, True),
            (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 400 Bad Request\r\n\r\n", True, True),
            (b"HTTP/1.1 404 Not Found\r\n\r\n", True, False),
            (echoed(), True, False),
            (echoed() + b"HTTP/1.1 400 Bad Request\r\n\r\n", True, False),
        ],
    )
    def test_what_refuses_a_request(self, data: bytes, closed: bool, expected: bool) -> None:
        """An error, a close or silence; not the application's 404, nor an error after a response."""
        assert refused(Reply(data, closed)) is expected
        assert right(case(), Reply(data, closed)) is expected

    def test_what_is_tolerated_is_seen_by_the_application(self) -> None:
        """Any of several; where a fold stands for spaces, their number does not matter."""
        folded = case(tolerated=({"field": "b c"}, {"field": ""}))
        assert right(folded, Reply(echoed(field="b   c"), closed=False))
        assert right(folded, Reply(echoed(), closed=False))
        assert not right(folded, Reply(echoed(field="b"), closed=False))

    def test_a_connection_that_has_to_end(self) -> None:
        """After that one response."""
        closing = case(tolerated=({"body": "", "closes": True},))
        assert right(closing, Reply(echoed(), closed=True))
        assert not right(closing, Reply(echoed(), closed=False))
        assert not right(closing, Reply(echoed() * 2, closed=True))
        assert not right(closing, Reply(echoed(body="hello"), closed=True))

    def test_a_right_request_is_to_be_taken(self) -> None:
        """As it is: an error and silence are wrong."""
        taken = case(expected={"body": "hello"})
        assert right(taken, Reply(echoed(body="hello"), closed=False))
        for wrong in (echoed(), b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", OK % (2, b"ok"), OK % (4, b"{[]}")):
            assert not right(taken, Reply(wrong, closed=True))

    def test_wrong_ones_are_told_by_what_demands_another_treatment(self) -> None:
        wrong = [Case(name, section, b"", (), None) for name, section in (("a", "1"), ("b", "2"), ("c", "1"))]
        assert malformed.named(wrong) == "1: a; c. 2: b"

    def test_a_response_without_content_or_coding(self) -> None:
        assert right(case(expected={"empty": True}), Reply(OK % (13, b""), closed=True))
        assert not right(case(expected={"empty": True}), Reply(OK % (2, b"ok"), closed=True))
        chunked = b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
        assert not right(case(expected={"uncoded": True}), Reply(chunked, closed=True))
        assert right(case(expected={"uncoded": True}), Reply(OK % (2, b"ok"), closed=True))
        assert not right(
            case(expected={"uninvited": True}), Reply(b"HTTP/1.1 100 Continue\r\n\r\n" + echoed(), closed=True)
        )
        assert right(case(expected={"uninvited": True}), Reply(echoed(), closed=True))


class TestResponses:
    def read(self, data: bytes) -> Response:
        async def read() -> Response:
            reader = asyncio.StreamReader()
            reader.feed_data(data)
            reader.feed_eof()
            return await read_response(reader)

        return asyncio.run(read())

    def test_each_way_a_body_ends(self) -> None:
        chunks = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;a=b\r\nok\r\n0\r\nX-A: b\r\n\r\n"
        for data, persistent in ((OK % (2, b"ok"), True), (chunks, True), (b"HTTP/1.1 200 OK\r\n\r\nok", False)):
            response = self.read(data)
            assert (response.status, response.body, response.persistent) == (200, b"ok", persistent)

    def test_interim_responses_come_before(self) -> None:
        response = self.read(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\nConnection: Close\r\n\r\n")
        assert (response.status, response.interim, response.persistent) == (204, (100,), False)

    @pytest.mark.parametrize("data", [b"", b"HTTP/1.1 200 OK\r\n", (OK % (3, b"ok")), b"SSH-2.0\r\n\r\n"])
    def test_what_is_no_response(self, data: bytes) -> None:
        with pytest.raises((EOFError, ValueError)):
            self.read(data)


class TestFigures:
    @pytest.mark.parametrize(
        ("seconds", "text"),
        [(0.0012, "1 ms"), (0.0994, "99 ms"), (0.0996, "0.10 s"), (0.5, "0.50 s"), (12.34, "12.3 s")],
    )
    def test_durations(self, seconds: float, text: str) -> None:
        assert duration(seconds) == text

    def test_a_percentile_is_a_value_that_was_seen(self) -> None:
        assert percentile([3.0, 1.0, 2.0], 0.95) == 3.0
        assert percentile([float(number) for number in range(1, 21)], 0.95) == 19.0

    def test_a_response_in_time_may_say_anything(self) -> None:
        """But there has to be one."""
        answers = [Answer(0.1, 503), Answer(0.2, 200), Answer(1.1, 200), Answer(0.1, None)]
        assert [one.within(1) for one in answers] == [True, True, False, False]
        assert probing.shown(answers) == ("1.1 s", "over 1.1 s", "2 of 4")

    def test_how_a_server_ends(self) -> None:
        assert [status_text(status) for status in (0, 1, -9)] == ["status 0", "status 1", "SIGKILL"]

    @pytest.mark.parametrize(
        ("error", "word"),
        [
            (ConnectionRefusedError(), "refused"),
            (ConnectionResetError(), "reset"),
            (TimeoutError(), "no response"),
            (EOFError(), "closed"),
        ],
    )
    def test_why_a_request_is_lost(self, error: Exception, word: str) -> None:
        assert reason(error) == word

    def test_metrics_of_the_runtime_do_not_count(self) -> None:
        text = (
            "# TYPE python_info gauge\n# TYPE a_seconds histogram\n# TYPE a_seconds_created gauge\n# TYPE b counter\n"
        )
        assert scraped.exposed(text) == scraped.Exposed(2, durations=True)
        assert scraped.exposed(text.replace("histogram", "gauge")).durations is False
        assert sorted(scraped.keys({"a": 1, "b": [{"c": 2}, {"c": 3}]})) == ["a", "c", "c"]

    def test_an_upload_in_chunks_is_the_same_body(self) -> None:
        assert uploads.chunks().endswith(b"\r\n0\r\n\r\n")
        assert uploads.chunks("X: 1\r\n").endswith(b"\r\n0\r\nX: 1\r\n\r\n")
        assert len(uploads.chunks()) > len(uploads.BODY)


def contender(name: str) -> Contender:
    plan = next(plan for plan in contenders.PLANS if plan.name == name)
    return Contender(plan, Server(name, plan.command, Path("bin"), options=plan.options))


class TestContenders:
    def test_each_has_a_peer_that_is_installed(self) -> None:
        requirements = {peer.requirement for peer in PEERS}
        assert {plan.package for plan in contenders.PLANS} - {"twistserve"} <= requirements

    @pytest.mark.parametrize("name", contenders.NAMES)
    def test_options_of_a_row_replace_those_in_production(self, name: str, tmp_path: Path) -> None:
        """The last one of an option counts, and there is one port."""
        one = contender(name)
        limited = one.with_options(*([one.plan.deadline.format(3)] if one.plan.deadline else []))
        words = limited.server.words(8000, None, tmp_path)
        assert sum("8000" in word for word in words) == 1
        if one.plan.deadline:
            option = one.plan.deadline.format("")
            assert [word for word in words if word.startswith(option)][-1] == f"{option}3"

    def test_a_reader_can_repeat_its_command(self, tmp_path: Path) -> None:
        """No path of this machine is in it, and no port that was free by chance."""
        shown = contender("twistserve").shown(tmp_path)
        assert shown.startswith("twistd --nodaemon")
        assert " --port=8000 --probe-port=8001 " in shown

    def test_workers_are_those_of_the_server(self, tmp_path: Path) -> None:
        plans = [plan for plan in contenders.PLANS if plan.workers]
        for plan in plans:
            words = plan.command(Launch(Path("bin"), 8000, None, tmp_path, workers=2))
            assert {"--workers=2", "--processes=2"} & {*words}, plan.name


def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path, tmp_path, (0,), (1,), 1, 1, 1)


class TestGroups:
    def test_a_server_that_fails_keeps_its_row(self, tmp_path: Path) -> None:
        """And the others are tried."""

        def measure(stage: Stage, one: Contender) -> Found:
            if one.name == "granian":
                raise RefusedError("no compiler")
            return Found(("yes", "no"))

        group = Group("a", "A", "", (Column("b"), Column("c")), measure, together=True)
        found = group.run(stage(tmp_path), [contender("twistserve"), contender("granian")])
        assert found["twistserve"] == Found(("yes", "no"))
        assert found["granian"] == Found(("failed", ""), ("RefusedError: no compiler",))

    def test_names_differ(self) -> None:
        assert len(set(groups.NAMES)) == len(groups.NAMES)

    def test_rates_are_ratios_to_ours(self) -> None:
        """With p99, and errors as details; a workload that was not measured has no figures."""
        hello = WORKLOADS[0]
        samples = {
            "twistserve": [Sample(100.0, 1.0, 0.001, 0.002, 0), Sample(200.0, 1.0, 0.001, 0.004, 0)],
            "granian": [Sample(200.0, 1.0, 0.001, 0.001, 0), Sample(200.0, 1.0, 0.001, 0.001, 7)],
        }
        servers = [contender(name) for name in ("twistserve", "granian", "daphne")]
        found = rates.cells([hello], [Measured(hello, samples)], servers)
        assert found["twistserve"].cells == ("150/s", "3.0 ms", "-", "-", "-", "-")
        assert found["granian"] == Found(("1.50", "1.0 ms", *"----"), ("errors with hello: 7 in 1 of 2 rounds",))
        assert found["daphne"].cells == tuple("------")


RESULTS = Results(
    {"drain": {"twistserve": Found(("yes", "status 0", "1 s")), "granian": Found(("no", "a|b", ""), ("it hung <x>",))}},
    {"twistserve": Described("twistserve", "0.1", "twistd"), "granian": Described("Granian", "2.8", "granian app")},
    {"machine": "two cores"},
    {"drain": "2026-11-26"},
)


class TestDocument:
    def test_an_overview_and_a_table_for_each_group(self) -> None:
        """With a column, and a row, for each server; a footnote tells how."""
        lines = measured(RESULTS).splitlines()
        assert lines[0] == "|  | twistserve | Granian |"
        assert "| SIGTERM: the request in flight is finished [^drain] | yes | no |" in lines
        assert "| Granian | no | a\\|b |  |" in lines
        assert "- Granian: it hung &lt;x>" in lines
        assert sum(line.startswith("[^drain]: ") for line in lines) == 1
        assert "- servers: twistserve 0.1, Granian 2.8" in lines
        assert "- `granian app`" in lines

    def test_nothing_is_wider_than_a_page_but_tables_and_commands(self) -> None:
        assert all(len(line) <= 120 for line in measured(RESULTS).splitlines() if not line.startswith("|"))

    def test_it_replaces_what_is_between_the_markers(self) -> None:
        document = f"before\n\n{BEGIN}\nold\n{END}\n\nafter\n"
        once = replaced(document, "new\n")
        assert once == f"before\n\n{BEGIN}\n\nnew\n\n{END}\n\nafter\n"
        assert replaced(once, "new\n") == once
        with pytest.raises(ValueError, match="there is no"):
            replaced("nothing", "new")

    def test_results_are_kept(self, tmp_path: Path) -> None:
        """Later ones take the place of those of the same servers."""
        file = tmp_path / "build" / "results.json"
        assert Results.load(file) == Results()
        RESULTS.save(file)
        kept = Results.load(file)
        assert kept == RESULTS
        kept.add("drain", "2026-11-27", {"granian": Found(("yes", "", ""))})
        assert kept.found["drain"]["granian"].cells[0] == "yes"
        assert kept.found["drain"]["twistserve"] == RESULTS.found["drain"]["twistserve"]
