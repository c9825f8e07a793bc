"""What to use in place of options of Django-Hurricane that do not exist here."""

from __future__ import annotations

_PYCHARM = (
    "use --debugger, which PyCharm attaches to from version 2025.3 on (run configuration 'Attach to DAP'); for its"
    " Python Debug Server, have the project call pydevd_pycharm.settrace()"
)
_INSTEAD = {"pycharm-host": _PYCHARM, "pycharm-port": _PYCHARM}


def instead(word: str) -> str | None:
    """What to use in place of an option, written as on the command line, in the environment or in the setting."""
    return _INSTEAD.get(word.lower().replace("_", "-"))
