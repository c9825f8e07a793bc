"""The public names are those of docs/api.md, and are called as it says."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import subprocess
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

import twistserve
from tests.support.documents.tables import DOCS, code, codes, rows
from twistserve.amqp import Handler, Message
from twistserve.http.deadlines import Deadline
from twistserve.services.lifecycle import ServiceLifecycle

ROOT = DOCS.parent
MODULES = [name for name in twistserve.__all__ if not name.startswith("_")]


def listed(module: str) -> list[str]:
    """The names of a module, with their parameters where they have any: the headings of its section."""
    section = (DOCS / "api.md").read_text().partition(f"\n## `twistserve.{module}`\n")[2].partition("\n## ")[0]
    return re.findall(r"^### `(.+)`$", section, re.MULTILINE)


def imported(name: str) -> ModuleType:
    return importlib.import_module(f"twistserve.{name}")


def parameters(function: Callable[..., Any]) -> list[tuple[str, str, object]]:
    """The name, kind and default of each, but for `self`."""
    found = inspect.signature(function).parameters.values()
    return [(each.name, str(each.kind), each.default) for each in found if each.name != "self"]


def described(signature: str) -> list[tuple[str, str, object]]:
    """The same of a signature as it is written."""
    names: dict[str, Any] = {}
    exec(compile(ast.parse(f"def function({signature}): ..."), "api.md", "exec"), names)
    return parameters(names["function"])


def test_the_public_modules_are_those_of_the_page() -> None:
    """Each has a table, and there is no other; importing all of them works, and the version is one."""
    for name in MODULES:
        assert listed(name)
    namespace: dict[str, Any] = {}
    exec("from twistserve import *", namespace)
    assert {name for name in namespace if name != "__builtins__"} == set(twistserve.__all__)
    assert re.fullmatch(r"\d+\.\d+\.\d+\S*", namespace["__version__"])


@pytest.mark.parametrize("module", MODULES)
def test_the_public_names_of_a_module_are_those_of_its_table(module: str) -> None:
    """And they are there."""
    names = {signature.partition("(")[0].partition(".")[0] for signature in listed(module)}
    assert names == set(imported(module).__all__)
    assert [name for name in names if not hasattr(imported(module), name)] == []


@pytest.mark.parametrize(
    ("module", "signature"), [(module, signature) for module in MODULES for signature in listed(module)]
)
def test_signatures(module: str, signature: str) -> None:
    """Names and order of parameters, their defaults, and which are by keyword alone."""
    name, _, rest = signature.partition("(")
    function: Any = imported(module)
    for part in name.split("."):
        function = getattr(function, part)
    if not rest:
        # An exception or a formatter, of whose base class it has its parameters, or what nobody makes.
        assert inspect.isclass(function)
        return
    actual = parameters(function)
    if name == "Consumer":
        # What the command gives itself is not for others.
        actual = [each for each in actual if each[0] in ("handler", "lifecycle", "options")]
    if name.endswith("Handler"):
        # object's: nothing.
        actual = []
    assert actual == described(rest.removesuffix(")"))


def test_attributes() -> None:
    """Of messages and handlers."""
    names = {name for row in rows("api.md", "### `Message`") for name in codes(row["attribute"])}
    public = {name for name, value in vars(Message).items() if isinstance(value, property)}
    assert names == public | {
        name
        for name in re.findall(r"self\.(\w+)\b[^\n=]*=", inspect.getsource(Message.__init__))
        if not name.startswith("_")
    }
    assert [name for name in ("queue", "exchange", "exchange_type", "durable") if not hasattr(Handler, name)] == []


@pytest.mark.parametrize(
    ("heading", "kind"),
    [("### The deadline of a request", Deadline), ("### The lifecycle, for a service", ServiceLifecycle)],
)
def test_what_applications_are_given(heading: str, kind: type) -> None:
    """Has these methods."""
    for row in rows("api.md", heading):
        name, _, rest = code(row["name"]).partition("(")
        if rest:
            assert parameters(getattr(kind, name)) == described(rest.removesuffix(")"))
        else:
            assert hasattr(kind, name.partition(".")[0])


def test_importing_the_package_imports_nothing() -> None:
    """twistd loads it to list its plugins."""
    program = "import sys; before = set(sys.modules); import twistserve; print(*set(sys.modules) - before)"
    done = subprocess.run([sys.executable, "-S", "-c", program], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.stdout.split() == ["twistserve"], done.stderr
