"""Making HTML: text becomes HTML in `join` and `element`, which escape everything that is not HTML already.

twisted.web.template does that too, in three times the time: 7 ms for a table of 100 requests, on the reactor thread.
"""

from __future__ import annotations

from collections.abc import Iterable
from html import escape


class Html(str):
    """Text that is HTML."""


Content = str | Iterable["Content"] | None


def element(name: str, *content: Content, **attributes: str | None) -> Html:
    """An element; what is None is left out. `_class` stands for class, `aria_label` for aria-label."""
    fields = "".join(
        f' {name.lstrip("_").replace("_", "-")}="{escape(value)}"'
        for name, value in attributes.items()
        if value is not None
    )
    return Html(f"<{name}{fields}>{join(content)}</{name}>")


def join(content: Content) -> Html:
    """Pieces of text and HTML as one."""
    if content is None:
        return Html()
    if isinstance(content, str):
        return content if isinstance(content, Html) else Html(escape(content))
    return Html("".join(map(join, content)))


def quiet(*content: Content) -> Html:
    """A paragraph in grey."""
    return element("p", *content, _class="quiet")


def section(name: str, title: Content, *content: Content) -> Html:
    """A section below its title; `name` is its id."""
    return element("section", element("h2", title), *content, id=name)


def table(caption: Content, columns: dict[str, str | None], rows: Iterable[Content]) -> Html:
    """A table; `columns` tells the CSS class of each by its title, and a row is its cells."""
    titles = [element("th", title, scope="col", _class=kind) for title, kind in columns.items()]
    return element(
        "table",
        element("caption", caption),
        element("thead", element("tr", titles)),
        element("tbody", [element("tr", row) for row in rows]),
    )


def facts(facts: dict[str, str]) -> Html:
    """Names and what they stand for."""
    pairs = [element("div", element("dt", name), element("dd", value)) for name, value in facts.items()]
    return element("dl", pairs, _class="facts")


def time(moment: str) -> Html:
    """A moment of the form 2030-01-31T12:00:00Z."""
    return element("time", f"{moment[:10]} {moment[11:19]} UTC", datetime=moment)


def badge(status: str, text: str | None = None) -> Html:
    """A word in the colour of a status."""
    return element("span", text or status, _class=f"badge {status}")


def duration(seconds: float | None) -> str:
    """Seconds, in the units a person would use."""
    if seconds is None:
        return ""
    if seconds < 0.9995:
        return f"{seconds * 1000:.3g} ms"
    if seconds < 99.95:
        return f"{seconds:.1f} s"
    minutes = round(seconds) // 60
    if minutes < 60:
        return f"{minutes} min {round(seconds) % 60} s"
    if minutes < 48 * 60:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{minutes // 1440} d {minutes // 60 % 24} h"


def number(value: float) -> str:
    """A number, rounded to be read."""
    return f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:.3g}"
