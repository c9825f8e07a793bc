"""Imports run one way: a room of the package knows those before it in this order, and no room knows a later one.

The tests mirror the package.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

TESTS = Path(__file__).resolve().parent
PACKAGE = TESTS.parent / "twistserve"
ORDER = (
    *("__init__", "collector", "server_thread", "errors", "values", "redaction", "logs", "replaced", "hurricane"),
    *(
        "options",
        "broker_url",
        "consumer_options",
        "combinations",
        "resolution",
        "in_force",
        "command_line",
        "lifecycle",
    ),
    *("allocator", "backoff", "periodic", "load", "net", "http", "threads", "metrics", "recycling", "process", "files"),
    *("wsgi", "checks"),
    *("project", "resources", "websocket", "webhooks", "probes", "kubernetes"),
    *("services", "amqp", "status", "development", "server", "workers", "composition", "service"),
)
"""Each subject's room, the lowest first."""
ENTRIES = ("plugin", "management", "middleware", "apps", "workers.__main__", "probes.__main__", "development.__main__")
"""What is started from outside; nothing imports these."""
WITHOUT_TESTS = {
    # Functional tests start them, in a process of their own.
    "development/__main__.py",
    "probes/__main__.py",
    "workers/__main__.py",
}
"""Modules without a test file of their own, beside the `__init__` of packages."""


def modules() -> dict[str, Path]:
    """The package's modules by their names in it."""
    found = {path: path.relative_to(PACKAGE).with_suffix("").parts for path in PACKAGE.rglob("*.py")}
    return {".".join(parts).removesuffix(".__init__"): path for path, parts in found.items()}


def imports(path: Path, names: set[str]) -> Iterator[str]:
    """The modules of the package that a module imports, in functions and for type checkers too."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "twistserve":
            base = (node.module or "").partition(".")[2]
            for alias in node.names:
                full = f"{base}.{alias.name}".lstrip(".")
                yield full if full in names else base or "__init__"
        elif isinstance(node, ast.Import):
            yield from (
                alias.name.removeprefix("twistserve.") for alias in node.names if alias.name.startswith("twistserve.")
            )


def room(module: str) -> str:
    return next((entry for entry in ENTRIES if f"{module}.".startswith(f"{entry}.")), module.partition(".")[0])


def graph() -> dict[str, set[str]]:
    found = modules()
    return {name: set(imports(path, set(found))) for name, path in found.items()}


def test_every_room_has_its_place() -> None:
    """A new one is put into the order by whoever makes it; none is there twice or in vain."""
    assert sorted({room(module) for module in modules()}) == sorted((*ORDER, *ENTRIES))


def test_imports_run_one_way() -> None:
    """From the entries down."""
    place = {name: number for number, name in enumerate((*ORDER, *ENTRIES))}
    wrong = [
        f"{module} imports {imported}"
        for module, all_imported in graph().items()
        for imported in all_imported
        if room(imported) != room(module) and (place[room(imported)] > place[room(module)] or room(imported) in ENTRIES)
    ]
    assert wrong == []


def test_no_module_is_in_a_circle() -> None:
    """Within a room either; a CycleError names the modules."""
    TopologicalSorter({name: imported - {name} for name, imported in graph().items()}).prepare()


# The tests


def test_every_module_has_its_tests_at_the_same_place() -> None:
    """Those of net/tls.py are in tests/net/test_tls.py; no exception is there in vain."""
    paths = [path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py") if path.name != "__init__.py"]
    missing = {str(path) for path in paths if not (TESTS / path.parent / f"test_{path.name}").exists()}
    assert missing == WITHOUT_TESTS


def test_no_module_of_tests_imports_another() -> None:
    """What they share is in tests/support; fixtures come from conftest by themselves."""
    wrong = [
        f"{path.relative_to(TESTS)} imports {name}"
        for path in TESTS.rglob("*.py")
        for name in imported_tests(path)
        if any(part == "conftest" or part.startswith("test_") for part in name.split("."))
    ]
    assert wrong == []


def imported_tests(path: Path) -> Iterator[str]:
    """What a module imports from tests, by full names."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.level or (node.module or "").partition(".")[0] == "tests"):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.startswith("tests."))
