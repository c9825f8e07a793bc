"""What may be shown of a value, or of a text that may hold one, in logs, errors and on the status page."""

from __future__ import annotations

import re
import shlex


def redacted(text: str) -> str:
    """A text without the credentials of URLs and of keywords such as password=."""
    if "@" in text:
        text = re.sub(r"//.*@", "//…@", text)
    # A password that the URL ends with, for want of a host; http's have a host, and a port that is wrong.
    text = re.sub(r"(?<!http:)(?<!https:)(//[^/\s:@\[]*):(?!\d{1,5}(?!\w))[^\s'\"]+", r"\1:…", text)
    return _SECRET.sub(r"\1…", text)


# password=x, DB_PASSWORD = 'x y', "password": "x", --password x; what is said of a password after a space stays.
KEYWORDS = "password|passphrase|passwd|pwd|secret|token|api[_-]?key"
"""A pattern of words after which a secret follows."""
_SECRET = re.compile(
    rf"""((?:--[\w-]{{0,40}}(?:{KEYWORDS})\s+|(?:{KEYWORDS})["']?\s*[=:]\s*)(?!…))(?:"[^"]*"|'[^']*'|[^\s'"]+)""",
    re.IGNORECASE,
)


def without_directories(text: str) -> str:
    """A text in which absolute paths have lost their directories: "no such file: …/shop.conf"."""
    return _URL_OR_DIRECTORIES.sub(lambda match: match[1] or "…/", text)


_URL_OR_DIRECTORIES = re.compile(r"""((?<!\w)\w{1,30}://[^\s/'"][^\s'"]*)|(?<![\w./-])/+(?:[^\s/'"]+/+)+""")


def check_name(value: object) -> str:
    """A ready-made check without its argument."""
    kind, equals, _ = str(value).partition("=")
    return kind + "=…" * bool(equals)


def without_credentials(value: object) -> str:
    """As it is, but of a URL only the host: the rest may hold passwords and keys."""
    text = f"{value:g}" if isinstance(value, float) else str(value)
    return re.sub(r"(\w[\w+.-]*://)(?:\S*@)?([^/?#\s]*)(\S*)", lambda url: url[1] + url[2] + "/…" * bool(url[3]), text)


def hidden(value: object) -> str:
    """Nothing but that there is one."""
    return "set, but not shown"


def without_arguments(value: object) -> str:
    """The name of a management command."""
    name, *arguments = shlex.split(str(value))
    return name + " …" * bool(arguments)


def without_paths(value: object) -> str:
    """A directory, or an endpoint with its paths left out."""
    return re.sub(r"/[^:]*", "…", str(value))


def short_size(value: object) -> str:
    """Bytes, as they are typed."""
    assert isinstance(value, int)
    shift, unit = next((each for each in ((30, "G"), (20, "M"), (10, "K")) if not value % (1 << each[0])), (0, ""))
    return f"{value >> shift}{unit}"
