"""Imports run one way: a room of the package knows those before it in this order, and no room knows a later one."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1] / "twistserve"
ORDER = (
    *("__init__", "collector", "errors", "values", "redaction", "logs", "options", "command_line", "lifecycle"),
    *("backoff", "load", "net", "http", "threads", "metrics", "recycling", "process", "files", "wsgi", "project"),
    *("webhooks", "probes", "status", "server", "workers", "composition", "service"),
)
"""Each subject's room, the lowest first."""
ENTRIES = ("plugin", "management", "middleware", "workers.__main__", "probes.__main__")
"""What is started from outside; nothing imports these."""


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
