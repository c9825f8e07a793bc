"""The status page: what `status` knows, as one self-contained HTML page. Pure functions."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from twistserve.in_force import is_default
from twistserve.options import STATUS_JSON
from twistserve.status.charts import charts
from twistserve.status.html import Content, Html, badge, duration, element, facts, number, quiet, section, table, time

_HERE = Path(__file__).parent
_STYLE = Html((_HERE / "page.css").read_text())
_SCRIPT = Html((_HERE / "page.js").read_text())


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


CONTENT_TYPE = b"text/html; charset=utf-8"
POLICY = (
    f"default-src 'none'; style-src {_hash(_STYLE)}; script-src {_hash(_SCRIPT)}; connect-src 'self'; img-src data:;"
    " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""The Content-Security-Policy: this style and this script, and nothing that somebody got into the page."""

MOST_OVERDUE = 5
"""Requests past their deadline that are told on top; all are in the table."""

STAGES = {
    "overdue": "past its deadline",
    "waiting": "waiting for a thread",
    "opening": "opening its file",
    "abandoned": "client gone",
    "closing": "answered, closing",
}

Described = dict[str, Any]


def render(status: Described) -> bytes:
    """The page."""
    verdict, kind = verdict_of(status)
    workers = status["workers"]
    main = element(
        "main",
        _state(status, verdict, kind),
        _problems(status["probes"], workers, status["serves"]),
        [_load(worker, alone=len(workers) == 1) for worker in workers],
        _requests(workers) if status["serves"] else None,
        _services(status["services"]) if status["services"] else None,
        _probes(status["probes"]),
        _options(status["options"]),
        _versions(status["versions"]),
    )
    page = element(
        "html",
        element(
            "head",
            Html('<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'),
            element("title", f"{verdict}: {status['host']}"),
            Html(f'<link rel="icon" href="{_ICONS[kind]}">'),
            element("style", _STYLE),
        ),
        element(
            "body", element("p", id="notice", role="status", hidden=""), main, _footer(), element("script", _SCRIPT)
        ),
        lang="en",
    )
    # A check may say anything; half a surrogate pair cannot be encoded.
    return f"<!doctype html>\n{page}\n".encode(errors="backslashreplace")


def _icon(colour: str, sign: str) -> str:
    svg = (
        f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'><circle cx='8' cy='8' r='8' fill='{colour}'/>"
        f"<path d='{sign}' fill='none' stroke='white' stroke-width='2'/></svg>"
    )
    return f"data:image/svg+xml,{quote(svg)}"


_ICONS = {
    "pass": _icon("#17692f", "M4 8l3 3 5-6"),
    "warn": _icon("#855400", "M8 3v6M8 11v2"),
    "fail": _icon("#b3151d", "M5 5l6 6M11 5l-6 6"),
}


def _footer() -> Html:
    return element(
        "footer",
        element("p", "The same as JSON: ", element("a", STATUS_JSON, href=STATUS_JSON)),
        element("noscript", element("p", "Without JavaScript, the page is refreshed by loading it again.")),
        _class="quiet",
    )


# What is the matter


def verdict_of(status: Described) -> tuple[str, str]:
    """In a word or two, and whether that is a pass, a warn or a fail."""
    state = status["lifecycle"]["state"]
    ready = state == "ready"
    # While it starts or drains, startup and readiness fail as they should.
    statuses = {probe["status"] for probe in status["probes"] if ready or probe["name"] == "liveness"}
    if "fail" in statuses:
        return "Failing" if ready else f"{state.capitalize()}, failing", "fail"
    if not ready:
        return state.capitalize(), "warn"
    if _overdue(status["workers"]):
        return "Ready, requests stuck", "warn"
    return ("Ready, warnings", "warn") if "warn" in statuses else ("Ready", "pass")


def _overdue(workers: Sequence[Described]) -> list[Described]:
    return [request for worker in workers for request in worker["requests"] if request["stage"] == "overdue"]


def _state(status: Described, verdict: str, kind: str) -> Html:
    lifecycle = status["lifecycle"]
    return element(
        "section",
        element("p", element("b", status["host"]), " ", time(status["time"]), _class="top quiet"),
        element("h1", verdict),
        element(
            "p",
            f"Lifecycle: {lifecycle['state']} since ",
            time(lifecycle["since"]),
            f", for {duration(lifecycle['seconds'])}; {lifecycle['reason']}",
        ),
        element(
            "ul",
            [element("li", f"{probe['name'].capitalize()} ", badge(probe["status"])) for probe in status["probes"]],
        ),
        id="state",
        _class=kind,
    )


def _problems(probes: Sequence[Described], workers: Sequence[Described], serves: bool) -> Html:
    """The reasons for the verdict: checks that fail, requests past their deadline, checks that warn."""
    overdue = sorted(_overdue(workers), key=lambda request: -request["seconds"])
    items = _worrying(probes, "fail") + [
        _problem(
            "fail",
            f"Past its deadline: {request['method']} {request['path']}, for {duration(request['seconds'])}",
            _place(request),
        )
        for request in overdue[:MOST_OVERDUE]
    ]
    if len(overdue) > MOST_OVERDUE:
        items.append(_problem("fail", f"{len(overdue) - MOST_OVERDUE} more requests are past their deadline", None))
    if serves and not workers:
        items.append(_problem("fail", "No process serves", None))
    items += _worrying(probes, "warn")
    found = element("ul", items, _class="problems") if items else quiet("Nothing.")
    return section("problems", "What is wrong", found)


def _worrying(probes: Sequence[Described], status: str) -> list[Html]:
    return [
        _problem(status, f"{probe['name'].capitalize()}: {check['name']}", check["output"])
        for probe in probes
        for check in probe["checks"]
        if check["status"] == status
    ]


def _problem(status: str, what: str, why: Content) -> Html:
    return element("li", badge(status), element("div", element("b", what), _note(why)))


def _note(content: Content) -> Html | None:
    return element("span", content, _class="note") if content else None


def _place(request: Described) -> Html | None:
    return element("code", request["where"]) if request["where"] else None


# What there is to do


def _load(worker: Described, alone: bool) -> Html:
    title = "Load" if alone else f"Worker {worker['number']}"
    process = {
        "pid": str(worker["pid"]),
        "up": duration(worker["seconds"]),
        "memory": f"{worker['memory'] >> 20:,} MB",
        "requests answered": number(worker["answered"]),
    }
    if (limit := worker["threads"]["limit"]) is not None:
        process["threads let at work"] = f"{limit} of {worker['threads']['total']}"
    if worker["core"] is not None:
        process["on core"] = str(worker["core"])
    return section(
        f"load-{worker['pid']}",
        [title, element("small", " now, and over the last five minutes")],
        facts(process),
        element("div", charts(worker), _class="charts"),
    )


def _requests(workers: Sequence[Described]) -> Html:
    found = [(request, worker["number"]) for worker in workers for request in worker["requests"]]
    found.sort(key=lambda each: (each[0]["stage"] != "overdue", -each[0]["seconds"]))
    more = sum(worker["more_requests"] for worker in workers)
    rows = [
        (
            element("td", duration(request["seconds"]), _class="number"),
            element(
                "td",
                element("code", f"{request['method']} {request['path']}"),
                " ",
                _stage(request["stage"]),
                element("small", f", worker {worker}") if len(workers) > 1 else None,
                _note(_place(request)),
            ),
        )
        for request, worker in found
    ]
    columns = {"age": "number", "request": None}
    return section(
        "requests",
        "Requests",
        table("In flight, or answered and still at a thread", columns, rows) if rows else quiet("None is in flight."),
        quiet(f"And {number(more)} more.") if more else None,
    )


def _stage(stage: str) -> Html:
    text = STAGES.get(stage, stage)
    return badge("fail", text) if stage == "overdue" else element("small", text)


def _services(services: Sequence[Described]) -> Html:
    rows: list[Content] = [
        (
            element("td", element("b", each["name"]), element("small", f" {each['dotted']}"), _note(each["where"])),
            element("td", duration(each["seconds"]), _class="number"),
            element("td", badge("pass" if each["up"] else "warn", each["state"]), _class="short"),
        )
        for each in services
    ]
    columns = {"service": None, "for": "number", "state": "short"}
    return section("services", "Other services", table("What runs beside the web service", columns, rows))


# What is asked, and what is set


def _probes(probes: Sequence[Described]) -> Html:
    rows: list[Content] = []
    for probe in probes:
        title = element("b", probe["name"].capitalize()), element("small", f" {probe['path']}")
        rows.append(_probe_row(title, probe))
        rows += [_probe_row(_check(check), check, "check") for check in probe["checks"]]
    columns = {"probe, and its checks": None, "took": "number", "status": "short"}
    return section("probes", "Probes", table("What each would answer now", columns, rows))


def _probe_row(title: Content, found: Described, kind: str | None = None) -> Content:
    return (
        element("td", title, _class=kind),
        element("td", duration(found["seconds"]), _class="number"),
        element("td", badge(found["status"]), _class="short"),
    )


def _check(check: Described) -> Content:
    """Its name, what was seen, and why that does not do."""
    observed = None if check["observed"] is None else element("small", f" {check['observed']}")
    return check["name"], observed, _note(check["output"])


def _options(options: Sequence[Described]) -> Html:
    given = [option for option in options if not is_default(option)]
    others = [option for option in options if is_default(option)]
    summary = element("summary", f"At their defaults: {len(others)}")
    return section(
        "options",
        "Options",
        _option_table("Set", given) if given else quiet("All have their defaults."),
        element("details", summary, _option_table("Defaults", others), id="defaults"),
    )


def _option_table(caption: str, options: Sequence[Described]) -> Html:
    rows: list[Content] = [
        (
            element("td", element("code", option["option"])),
            element("td", element("code", option["value"])),
            element("td", option["source"]),
        )
        for option in options
    ]
    return element("div", table(caption, {"option": None, "value": None, "from": None}, rows), _class="options")


def _versions(versions: dict[str, str | None]) -> Html:
    known = {name: version for name, version in versions.items() if version is not None}
    return section("versions", "Versions", facts(known))
