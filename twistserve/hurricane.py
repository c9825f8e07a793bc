"""Django-Hurricane's names of what is an option here: its environment variables, and its Django settings.

Their values come after those of our own sources. Notices say what each name is called here, and what means something
else here.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping

from twistserve.replaced import instead

Layer = dict[str, tuple[str, object]]
"""By option: where its value comes from, in words, and the value as it is there."""

_SAME = (
    *("STATIC", "MEDIA", "AUTORELOAD", "PORT", "METRICS", "LIVENESS_PROBE", "READINESS_PROBE", "STARTUP_PROBE"),
    *("PROBE_PORT", "REQ_QUEUE_LEN", "NO_PROBE", "NO_METRICS", "COMMAND", "CHECK_MIGRATIONS", "CHECK_MIGRATIONS_APPLY"),
    *("DEBUGGER", "DEBUGGER_PORT", "WEBHOOK_URL", "MAX_LIFETIME", "MAX_MEMORY", "STATIC_WATCH", "MAX_BODY_SIZE"),
)
_OPTIONS = {name: name.lower() for name in _SAME} | {"WORKERS": "threads"}

VARIABLES = {f"HURRICANE_{name}": option for name, option in {**_OPTIONS, "DEBUG": "debug"}.items()} | {
    "HURRICANE_VERSION": "app_version"
}
"""Environment variables, and the options that they set."""

SETTINGS = {**_OPTIONS, "HURRICANE_VERSION": "app_version", "LOG_PROBES": "log_probes"}
"""Django settings, and the options that they set. DEBUG, which was --debug there, is Django's own."""

DISTINCTIVE = (
    *("LIVENESS_PROBE", "READINESS_PROBE", "STARTUP_PROBE", "PROBE_PORT", "REQ_QUEUE_LEN", "NO_PROBE", "NO_METRICS"),
    *("CHECK_MIGRATIONS", "CHECK_MIGRATIONS_APPLY", "STATIC_WATCH", "LOG_PROBES", "HURRICANE_VERSION"),
)
"""Django settings that are hardly another program's."""

_FLAGS = frozenset(
    (
        *("static", "media", "autoreload", "no_probe", "no_metrics", "check_migrations", "check_migrations_apply"),
        *("debugger", "debug", "log_probes"),
    )
)
_BUFFER = "--max-body-size and --max-header-size bound what is kept of a request"
_WITHOUT_EFFECT = {"MAX_BUFFER_SIZE": _BUFFER} | {
    name: instead(name) or "" for name in ("PYCHARM_HOST", "PYCHARM_PORT")
}
"""Names that set nothing here, and what to know or use instead."""

AMQP = {f"AMQP_{name}": f"amqp_{name.lower()}" for name in ("HOST", "PORT", "VHOST", "USER", "PASSWORD")}
"""Django settings and environment variables of its consumer, and the options that they set."""

READ = (*SETTINGS, *_WITHOUT_EFFECT, "LOGGING")
"""The Django settings that are looked at."""


def command(raw: object) -> object:
    """One ``--command`` as text; there it is a list of words, of which the first may be several.

    There only the first is run; here the others are its arguments. What is no list of words is returned as it is.
    """
    if isinstance(raw, (list, tuple)) and raw and all(isinstance(word, str) for word in raw):
        return " ".join([raw[0], *map(shlex.quote, raw[1:])])
    return raw


def of_consumer(environ: Mapping[str, str], settings: Mapping[str, object]) -> list[Layer]:
    """What `AMQP` says in Django's settings and in an environment, the settings' first: they win there too."""
    return [
        {option: (_setting(name), settings[name]) for name, option in AMQP.items() if settings.get(name) is not None},
        {option: (_variable(name), environ[name]) for name, option in AMQP.items() if environ.get(name, "").strip()},
    ]


class Hurricane:
    """What Django-Hurricane's names say in an environment and in Django's settings; `settings` has those of `READ`."""

    def __init__(self, environ: Mapping[str, str], settings: Mapping[str, object]) -> None:
        self._environ = environ
        self._settings = settings

    def layers(self, with_settings: bool) -> list[Layer]:
        """The values, the settings' first: they win there too."""
        variables: Layer = {
            option: (_variable(name), self._environ[name].strip())
            for name, option in VARIABLES.items()
            if self._environ.get(name, "").strip()
        }
        settings: Layer = {
            option: (_setting(name), self._settings[name])
            for name, option in SETTINGS.items()
            if self._settings.get(name) is not None
        }
        return [settings, variables] if with_settings else [variables]

    def notices(self, won: Layer, with_settings: bool | None) -> Iterator[str]:
        """What to say of these names, and of what means something else there.

        `won` are the values in force of all sources; `with_settings` is None where no source says whether the
        settings count.
        """
        yield from self._of_variables(won)
        if with_settings:
            yield from self._of_settings(won)
        elif with_settings is None:
            yield from self._of_unread_settings(won)
        if "max_buffer_size" in won:
            yield f"--max-buffer-size from {won['max_buffer_size'][0]} has no effect: {_BUFFER}"
        yield from _of_commands(won)
        yield from self._of_workers(won, with_settings)

    def _of_variables(self, won: Layer) -> Iterator[str]:
        for name, option in VARIABLES.items():
            if not self._environ.get(name, "").strip():
                continue
            source = _variable(name)
            if won[option][0] != source:
                yield f"{source} is Django-Hurricane's, and has no effect beside {_winner(won, option)}: remove it"
                continue
            why = ", since --workers are processes" if name == "HURRICANE_WORKERS" else ""
            said = f"{source} is Django-Hurricane's, and sets --{_word(option)} here{why}"
            yield f"{said}: name it TWISTSERVE_{option.upper()}{_differently(won, option)}"
        for name, remedy in _WITHOUT_EFFECT.items():
            if self._environ.get(f"HURRICANE_{name}"):
                yield f"{_variable(f'HURRICANE_{name}')} is Django-Hurricane's, and has no effect: {remedy}"

    def _of_settings(self, won: Layer) -> Iterator[str]:
        for name, option in SETTINGS.items():
            if option in won and won[option][0] == _setting(name) and (hint := _differently(won, option)):
                yield f"{_setting(name)} sets --{_word(option)}{hint}"
        for name, remedy in _WITHOUT_EFFECT.items():
            if self._settings.get(name) is not None:
                yield f"{_setting(name)}, which Django-Hurricane reads, has no effect: {remedy}"

    def _of_unread_settings(self, won: Layer) -> Iterator[str]:
        # There the setting won over them: it is not to be removed for them.
        variables = {_variable(name) for name in VARIABLES}
        for name in DISTINCTIVE:
            option = SETTINGS[name]
            if self._settings.get(name) is None:
                continue
            source = f"{_setting(name)}, which Django-Hurricane reads, has no effect"
            if option in won and won[option][0] not in variables:
                yield f"{source} beside {_winner(won, option)}: remove it"
            else:
                yield (
                    f"{source}: write TWISTSERVE = {{'{option.upper()}': ...}}, or have all such settings count with"
                    " TWISTSERVE = {'HURRICANE_SETTINGS': True}"
                )

    def _of_workers(self, won: Layer, with_settings: bool | None) -> Iterator[str]:
        """That workers are processes, if --workers was typed without --threads and may be meant as threads."""
        source, number = won.get("workers", ("", None))
        threads = won.get("threads", ("", None))[0]
        theirs = {_variable("HURRICANE_WORKERS"), _setting("WORKERS"), ""}
        if source == "the command line" and threads in theirs and self._was_in_use(won, with_settings):
            yield (
                f"--workers: {number} from {source} are processes, where Django-Hurricane's are threads: give"
                f" --threads {number} for these, or --threads as well if processes are meant"
            )

    def _was_in_use(self, won: Layer, with_settings: bool | None) -> bool:
        """Whether anything tells that the project has been served by Django-Hurricane."""
        logging = self._settings.get("LOGGING")
        loggers = logging.get("loggers") if isinstance(logging, Mapping) else ()
        return (
            bool(with_settings or "max_buffer_size" in won)
            or not self._environ.keys().isdisjoint((*VARIABLES, *(f"HURRICANE_{name}" for name in _WITHOUT_EFFECT)))
            or any(self._settings.get(name) is not None for name in DISTINCTIVE)
            # Its documentation asks for one.
            or any(
                str(name).partition(".")[0] == "hurricane" for name in (loggers if isinstance(loggers, Mapping) else ())
            )
            or _is_installed()
        )


def _of_commands(won: Layer) -> Iterator[str]:
    source, raw = won.get("command", ("", None))
    for each in raw if isinstance(raw, (list, tuple)) else ():
        if isinstance(each, (list, tuple)) and len(each) > 1:
            yield (
                f"--command from {source}: {str(command(each)).split()[0]} is run with all the words that follow, which"
                " Django-Hurricane leaves out: write a command and its arguments as one text, in quotes"
            )


def _is_installed() -> bool:
    # Imported here: with what it imports it takes 0.8 MiB, and only those who move from Django-Hurricane need it.
    from importlib import metadata

    try:
        metadata.distribution("django-hurricane")
    except metadata.PackageNotFoundError:
        return False
    return True


def _differently(won: Layer, option: str) -> str:
    """What to say of a value that means something else here."""
    raw = won[option][1]
    if option == "webhook_url" and "webhook_format" not in won:
        return "; events have twistserve's format: --webhook-format hurricane sends what Django-Hurricane sent"
    # There a flag is on for every text but 0.
    if option in _FLAGS and isinstance(raw, str) and raw.strip().lower() in ("false", "no", "off"):
        return f"; {raw.strip()!r} turns it off, where Django-Hurricane took every word for on"
    return ""


def _variable(name: str) -> str:
    return f"the environment variable {name}"


def _setting(name: str) -> str:
    return f"the Django setting {name}"


def _winner(won: Layer, option: str) -> str:
    return f"--{_word(option)} from {won[option][0]}"


def _word(option: str) -> str:
    return option.replace("_", "-")
