"""The table of options.

`Configuration` is the table: each of its fields is one option, with its default, its validator and its help.
The options of twistd, the arguments of ``manage.py serve``, the environment variables ``TWISTSERVE_<NAME>``
and the keys of the Django setting ``TWISTSERVE`` are all derived from it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, ClassVar, NamedTuple, Self

from twistserve import redaction, values

STATUS_PAGE, STATUS_JSON = "/", "/status.json"
"""Where the probe port has the page for people, and the same as JSON."""


class Kind(NamedTuple):
    """The kind of an option's values.

    `parse` turns text into a value or raises ValueError saying what would be right; `shown` turns a value into
    what may be shown of it.
    """

    metavar: str | None
    parse: Callable[[str], object]
    shown: Callable[[object], str] = redaction.without_credentials


_FLAG = Kind(None, values.boolean)
_HOST = Kind("HOST", values.host)
_PORT = Kind("PORT", values.port)
_PATH = Kind("PATH", values.path)
_POSITIVE = Kind("N", values.positive_integer)
_FROM_ZERO = Kind("N", values.whole_number)
_SECONDS = Kind("SECONDS", values.seconds)
_POSITIVE_SECONDS = Kind("SECONDS", values.positive_seconds)
_SIZE = Kind("SIZE", values.size, redaction.short_size)


@dataclasses.dataclass(frozen=True)
class Option:
    """One row of the table."""

    group: str
    help: str
    kind: Kind
    default: object
    default_text: str | None
    name: str = ""

    @property
    def flag(self) -> bool:
        """Whether the option takes no value."""
        return self.kind.metavar is None

    @property
    def negatable(self) -> bool:
        """Whether there is a flag to turn it off: it is on by default."""
        return self.default is True

    @property
    def repeatable(self) -> bool:
        """Whether it may be given several times."""
        return self.default == ()

    @property
    def word(self) -> str:
        """The option as it is typed, without the dashes."""
        return self.name.replace("_", "-")

    @property
    def key(self) -> str:
        """The option as it is written in the environment (after the prefix) and in the Django setting."""
        return self.name.upper()

    @property
    def full_help(self) -> str:
        """The help text with the default."""
        if self.default_text is not None:
            return f"{self.help} (default: {self.default_text})"
        if self.flag:
            return f"{self.help} (default: {'on' if self.default else 'off'})"
        return self.help if self.default in (None, ()) else f"{self.help} (default: {self.default})"

    def show(self, value: object) -> str:
        """A value in force, as it may be shown."""
        if value is None or value == ():
            return self.default_text or "none"
        if self.flag:
            return "on" if value else "off"
        return ", ".join(map(self.kind.shown, value)) if isinstance(value, tuple) else self.kind.shown(value)

    def export(self, value: object) -> object:
        """A value in force as JSON has it, with text as it may be shown."""
        if isinstance(value, tuple):
            return [self.kind.shown(each) for each in value]
        return self.kind.shown(value) if isinstance(value, str) else value


def row(
    group: str,
    help: str,  # noqa: A002
    kind: Kind = _FLAG,
    default: object = False,
    default_text: str | None = None,
) -> Any:
    """The field of an option: a row of the table."""
    return dataclasses.field(default=default, metadata={"option": Option(group, help, kind, default, default_text)})


_django = partial(row, "Django")
_web = partial(row, "Web server")
_files = partial(row, "Static and media files")
_probes = partial(row, "Probes and metrics")
_startup = partial(row, "Start-up")
_services = partial(row, "Other services")
_webhooks = partial(row, "Webhooks")
_ending = partial(row, "Draining and recycling")
_logging = partial(row, "Logging")
_development = partial(row, "Development")
_hurricane = partial(row, "Moving from Django-Hurricane")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Configuration:
    """The values in force, one field an option; made by `resolve` and read by `service.makeService`."""

    table: ClassVar[tuple[Option, ...]]
    """The options that it has values of."""
    serves: ClassVar[bool] = True
    """Whether there is a web port."""

    settings: str | None = _django(
        "the Django settings module",
        Kind("MODULE", values.dotted),
        None,
        default_text="the environment variable DJANGO_SETTINGS_MODULE",
    )
    pythonpath: str | None = _django(
        "a directory to import the project from; the current directory is importable in any case",
        Kind("DIR", values.directory, redaction.without_paths),
        None,
    )
    wsgi: str | None = _django(
        "the WSGI application",
        Kind("DOTTED", values.dotted_attribute),
        None,
        default_text="the setting WSGI_APPLICATION",
    )

    host: str | None = _web("address or name to serve on", _HOST, None, default_text="all interfaces, IPv4 and IPv6")
    port: int = _web("port to serve on", _PORT, 8000)
    endpoint: tuple[str, ...] = _web(
        "a Twisted server endpoint to serve on instead of --host and --port: tcp, tls, ssl, unix, systemd or haproxy;"
        " repeat the option for more",
        Kind("DESC", values.endpoint, redaction.without_paths),
        (),
    )
    backlog: int = _web("connections the kernel holds until they are accepted", _POSITIVE, 1024)
    threads: int = _web("threads that run requests", _POSITIVE, 8)
    cpu_affinity: str = _web(
        "auto keeps a process's threads on one core while they share the GIL, and frees them when that does not help;"
        " not the default, because C code that counts processors itself, as OpenMP does, may then see only one",
        Kind("none|auto", values.cpu_affinity),
        "none",
    )
    workers: int = _web("processes that serve requests; 1 serves in this process", _POSITIVE, 1)
    preload: bool = _web(
        "with --workers, import the application once, in a process that the workers are forked from: they share its"
        " memory and are ready at once; for applications that start no thread and open no connection while they are"
        " imported"
    )
    request_timeout: float = _web(
        "seconds a request may take from its last byte; then its client gets 504, and its thread is replaced until"
        " it returns; 0 for as long as it takes",
        _SECONDS,
        0.0,
        default_text="0, off",
    )
    max_queue: int = _web("requests that may wait for a thread; more get 503 with Retry-After at once", _POSITIVE, 1000)
    max_body_size: int = _web("largest request body; larger ones get 413", _SIZE, 100 << 20, default_text="100M")
    max_header_size: int = _web("largest head of a request; larger ones get 431", _SIZE, 64 << 10, default_text="64K")
    header_timeout: float = _web("seconds to receive the head of a request", _POSITIVE_SECONDS, 15.0)
    body_timeout: float = _web("seconds of silence allowed while a body is received", _POSITIVE_SECONDS, 30.0)
    keep_alive_timeout: float = _web("seconds a connection may be idle between requests", _POSITIVE_SECONDS, 75.0)
    max_connections: int = _web("connections served at the same time; more of them wait", _POSITIVE, 10_000)
    forwarded_allow_ips: tuple[str, ...] = _web(
        "proxies whose X-Forwarded-For and -Proto are believed, and whose -Host and -Port reach Django: addresses,"
        " networks, and the words loopback, private (RFC 1918, 4193 and 6598), unix (the peers of Unix sockets) and"
        " * (all), with commas between",
        Kind("LIST", values.peers),
        ("127.0.0.1", "::1"),
        default_text="127.0.0.1,::1",
    )

    static: bool = _files(
        "serve STATIC_URL from STATIC_ROOT; with DEBUG and django.contrib.staticfiles from where the"
        " finders find them, so that collectstatic is not needed"
    )
    media: bool = _files("serve MEDIA_URL from MEDIA_ROOT")
    media_scripts: bool = _files(
        "with --media, send HTML, XHTML, SVG and XML without Content-Security-Policy: sandbox, so that what users"
        " upload may run scripts on the site's own origin"
    )

    mount: tuple[str, ...] = _files(
        "put a resource of twisted.web beside Django: DOTTED names one, or what returns one without arguments, such as"
        " a Klein application; it has all paths below PATH; repeat the option for more",
        Kind("/PATH=DOTTED", values.mount),
        (),
    )

    probe_host: str | None = _probes("address or name to serve probes on", _HOST, None, default_text="as --host")
    probe_port: int = _probes(
        "port to serve probes and metrics on; that of --port has them on the web port, without the status page",
        _PORT,
        0,
        default_text="--port plus one",
    )
    probe: str | None = _probes(
        "one path for readiness and liveness in place of theirs; it responds as readiness does, so a database outage"
        " restarts pods",
        _PATH,
        None,
        default_text="off",
    )
    startup_probe: str = _probes("path of the startup probe", _PATH, "/startup")
    readiness_probe: str = _probes("path of the readiness probe", _PATH, "/ready")
    liveness_probe: str = _probes("path of the liveness probe", _PATH, "/alive")
    metrics: str = _probes("path of the Prometheus metrics", _PATH, "/metrics")
    no_probe: bool = _probes("do not open the probe port: neither probes nor metrics nor the status page are served")
    no_metrics: bool = _probes("neither count nor serve metrics")
    no_status_page: bool = _probes("do not serve the page for people, / and /status.json on the probe port")
    req_queue_len: int = _probes(
        "requests waiting for a thread at which the readiness probe fails; with 0 it always fails", _FROM_ZERO, 100
    )
    check_timeout: float = _probes("seconds a check may take before its probe fails", _POSITIVE_SECONDS, 5.0)
    check: tuple[str, ...] = _probes(
        "a ready-made check for readiness: caches, storage, migrations, disk=PATH:SIZE, broker=URL or health-check;"
        " repeat the option for more",
        Kind("NAME[=ARGUMENT]", values.check, redaction.check_name),
        (),
    )

    system_checks: bool = _startup(
        "before anything else, run Django's system checks as runserver does: an error ends the start, a warning is"
        " logged; manage.py serve runs them unless --skip-checks is given",
        default_text="off; on with manage.py serve",
    )
    command: tuple[str, ...] = _startup(
        "a management command with its arguments to run before serving, such as 'migrate --noinput';"
        " repeat the option for more, which run in order",
        Kind('"NAME ARGS"', values.command, redaction.without_arguments),
        (),
    )
    check_migrations: bool = _startup("before serving, wait until no migration is unapplied on any database")
    check_migrations_apply: bool = _startup(
        "before serving, apply unapplied migrations, under a lock of the database: of several instances one"
        " applies them and the others wait"
    )

    service: tuple[str, ...] = _services(
        "a Twisted service that starts before requests are served and stops after them: an IService, or a class or"
        " function that makes one; repeat the option for more",
        Kind("[NAME=]DOTTED", values.service),
        (),
    )

    webhook_url: tuple[str, ...] = _webhooks(
        "a URL that lifecycle events are POSTed to; repeat the option for more", Kind("URL", values.http_url), ()
    )
    webhook_secret: str | None = _webhooks(
        "the key that events are signed with; better given by the environment variable TWISTSERVE_WEBHOOK_SECRET,"
        " since others can read a command line",
        Kind("SECRET", values.secret, redaction.hidden),
        None,
    )
    webhook_format: str = _webhooks(
        "what the events hold: twistserve; or hurricane, for receivers of those that Django-Hurricane sends",
        Kind("FORMAT", values.webhook_format),
        "twistserve",
    )
    app_version: str | None = _webhooks(
        "the project's version, told in every event", Kind("VERSION", values.line), None
    )

    drain_delay: float = _ending(
        "seconds between failing readiness and closing the port, so that load balancers can notice",
        _SECONDS,
        0.0,
        default_text="0; 5 inside Kubernetes",
    )
    graceful_timeout: float = _ending("seconds granted to requests in flight once the port is closed", _SECONDS, 25.0)
    max_lifetime: int = _ending(
        "drain and end after this many requests, and up to a tenth more, so that instances do not end together;"
        " 0 for never",
        _FROM_ZERO,
        0,
        default_text="0, off",
    )
    max_age: float = _ending(
        "drain and end after being ready for this many seconds, and up to a tenth more, so that instances do not end"
        " together; 0 for never",
        _SECONDS,
        0.0,
        default_text="0, off",
    )
    max_memory: int = _ending(
        "drain and end when more than this many megabytes are resident; 0 for never",
        Kind("MB", values.whole_number),
        0,
        default_text="0, off",
    )

    log_level: str = _logging(
        "least level of twistserve's own log lines",
        Kind("LEVEL", values.level),
        "INFO",
        default_text="INFO; DEBUG with --debug",
    )
    access_log: bool = _logging("log every request", default=True)
    log_format: str = _logging(
        "text, one prefix for every line; combined, the same with bare lines of the access log, for tools that"
        " parse them; or json, one object for every line",
        Kind("FORMAT", values.log_format),
        "text",
    )
    log_probes: bool = _logging("log the requests for probes and metrics too")

    autoreload: bool = _development(
        "serve in a process that is replaced when a file of the project changes: code, templates, translations and"
        " those of --autoreload-watch; requests wait meanwhile, and while the project does not start they get the error"
    )
    autoreload_watch: tuple[str, ...] = _development(
        "a file that --autoreload watches too, such as .env, or a directory with all that is below; repeat the option"
        " for more",
        Kind("PATH", values.existing, redaction.without_paths),
        (),
    )
    static_watch: tuple[str, ...] = _development(
        "with --static, a file or directory with sources of static files: collectstatic runs at the start and when"
        " something changes there; not needed with DEBUG and django.contrib.staticfiles, where files are served from"
        " where the finders find them; repeat the option for more",
        Kind("PATH", values.existing, redaction.without_paths),
        (),
    )
    debugger: bool = _development(
        "listen for a debugger: a client of the Debug Adapter Protocol such as VS Code or PyCharm; needs"
        " twistserve[debug]"
    )
    debugger_host: str = _development(
        "address or name to listen for a debugger on; whoever reaches it can run code", _HOST, "127.0.0.1"
    )
    debugger_port: int = _development("port to listen for a debugger on", _PORT, 5678)
    debug: bool = _development(
        "the server's own diagnostics: log callbacks that hold the reactor and the slowest imports of the start, send"
        " Server-Timing with the application's responses; Django's DEBUG is the settings'"
    )

    hurricane_settings: bool = _hurricane(
        "have Django settings that Django-Hurricane reads, such as PORT and COMMAND, count after TWISTSERVE"
    )
    max_buffer_size: int | None = _hurricane(
        "without effect: --max-body-size and --max-header-size bound what is kept of a request", _SIZE, None
    )

    sources: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """Where each value came from, by field name; what is not in it has its default."""
    defaults: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """Where defaults that differ from the table come from, by field name."""
    notices: tuple[str, ...] = ()
    """What to say at the start of values in force that may not be what is meant."""

    @property
    def probes_on_web_port(self) -> bool:
        """Whether the web port has the probes too, and there is no probe port."""
        return self.serves and not self.no_probe and self.probe_port == self.port

    def source(self, name: str) -> str:
        """Where the value of a field came from, in words; of defaults they begin with "default"."""
        return self.sources.get(name) or self.defaults.get(name, "default")

    def values(self) -> dict[str, Any]:
        """The values by field name, as JSON can say them."""
        return {option.name: getattr(self, option.name) for option in self.table}

    @classmethod
    def of_values(cls, values: Mapping[str, Any]) -> Self:
        """The configuration whose `values` these are, after JSON has made lists of tuples."""
        restored: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in values.items()
        }
        return cls(**restored)


def options_of(configuration: type[Configuration]) -> tuple[Option, ...]:
    """The options that a class has fields for, in the order of these."""
    return tuple(
        dataclasses.replace(field.metadata["option"], name=field.name)
        for field in dataclasses.fields(configuration)
        if "option" in field.metadata
    )


TABLE = Configuration.table = options_of(Configuration)
