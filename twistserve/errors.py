"""The one error that users of the command see."""

from __future__ import annotations

import traceback


class StartError(Exception):
    """The service cannot start; the message says why and what to do, in one line, for a person."""

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.splitlines()))


class SettingsError(StartError):
    """The settings module cannot be imported, for now."""


def describe(error: BaseException) -> str:
    """Name an exception and the line of the project's code it came from, in one line without a traceback."""
    name = type(error).__name__
    text = f"{name}: {error}" if str(error) else name
    if isinstance(error, SyntaxError):
        return text
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not any(part in frame.filename for part in ("<frozen", "/importlib/", f"{__package__}/"))
    ]
    # Where the project's code called a library says more than where the library raised.
    frames = [frame for frame in frames if "/site-packages/" not in frame.filename] or frames
    return f"{text} ({frames[-1].filename}, line {frames[-1].lineno})" if frames else text
