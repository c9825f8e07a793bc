"""HTML of the status page: what is text is escaped, wherever it stands."""

from __future__ import annotations

import pytest

from twistserve.status.html import Html, badge, duration, element, facts, join, number, table, time

HOSTILE = "<script>alert('x')</script>\"&"
ESCAPED = "&lt;script&gt;alert(&#x27;x&#x27;)&lt;/script&gt;&quot;&amp;"


def test_text_is_escaped_and_html_is_not() -> None:
    """In content and in attributes; what is None is left out."""
    assert element("p", HOSTILE, element("b", "x"), None, title=HOSTILE, id=None) == (
        f'<p title="{ESCAPED}">{ESCAPED}<b>x</b></p>'
    )
    assert join([HOSTILE, [Html("<br>"), None], []]) == f"{ESCAPED}<br>"


def test_names_of_attributes() -> None:
    """Those that Python has for itself, and those with a dash."""
    assert element("p", _class="quiet", aria_label="x") == '<p class="quiet" aria-label="x"></p>'


@pytest.mark.parametrize(
    "made",
    [
        table(HOSTILE, {HOSTILE: HOSTILE}, [[element("td", HOSTILE)]]),
        facts({HOSTILE: HOSTILE}),
        badge(HOSTILE),
        badge("ok", HOSTILE),
        time(HOSTILE),
    ],
)
def test_nothing_that_is_shown_can_be_a_script(made: str) -> None:
    """A request's path and a thread's name are what somebody has sent."""
    assert "<script" not in made
    assert isinstance(made, Html)


def test_a_table() -> None:
    """It has a caption, a head and a row for each that is given."""
    assert table("Workers", {"No.": "number", "State": None}, [element("td", "1")]) == (
        '<table><caption>Workers</caption><thead><tr><th scope="col" class="number">No.</th>'
        '<th scope="col">State</th></tr></thead><tbody><tr><td>1</td></tr></tbody></table>'
    )


def test_a_moment() -> None:
    """For people and for programs."""
    assert time("2030-01-31T12:00:00Z") == '<time datetime="2030-01-31T12:00:00Z">2030-01-31 12:00:00 UTC</time>'


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, ""),
        (0.0, "0 ms"),
        (0.01234, "12.3 ms"),
        (0.9994, "999 ms"),
        (0.9996, "1.0 s"),
        (99.94, "99.9 s"),
        (99.96, "1 min 40 s"),
        (3599.4, "59 min 59 s"),
        (3599.6, "1 h 0 min"),
        (48 * 3600 - 1, "47 h 59 min"),
        (48 * 3600, "2 d 0 h"),
    ],
)
def test_durations(seconds: float | None, text: str) -> None:
    """In the units that a person would use, rounded so that none is full."""
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0"), (3.0, "3"), (0.1234, "0.123"), (99.5, "99.5"), (1234.5, "1,234"), (1e6, "1,000,000")]
)
def test_numbers(value: float, text: str) -> None:
    """As exact as anybody wants to read them."""
    assert number(value) == text
