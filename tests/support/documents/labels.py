"""What a language promises of a block, as far as it can be told without running anything."""

from __future__ import annotations

import ast
import configparser
import json
import re
import tomllib
from collections.abc import Callable

import yaml

from tests.support.documents.kubernetes import object_faults
from tests.support.documents.shell import (
    NOT_HERE,
    SERVERS,
    commands,
    extras,
    installs,
    is_not_here,
    pip_requirements,
    serves,
)

DOCKERFILE = ("FROM", "RUN", "CMD", "ENTRYPOINT", "COPY", "ENV", "ARG", "HEALTHCHECK", "USER", "WORKDIR", "EXPOSE")


def of_shell(text: str) -> str | None:
    """Commands without prompts and output, which nothing hinders from running."""
    for command in commands(text):
        if command.startswith(("$ ", "# ", "> ")):
            return "a prompt: commands that run are written without one, and their output in a block of text"
        if installs(command):
            for requirement in pip_requirements(command):
                found = re.fullmatch(r"twistserve(?:\[([\w,]+)\])?(?:[=~>].*)?", requirement)
                if found and not set((found[1] or "").split(",")) - {""} <= extras():
                    return f"{requirement}: there are the extras {', '.join(sorted(extras()))}"
        elif is_not_here(command):
            return f"no test runs `{command}`: this is a block of `console`"
    for command in commands(text)[:-1]:
        if serves(command):
            return "a server that is started in the foreground ends its block"
    return None


def of_console(text: str) -> str | None:
    """A session on a machine or with a cluster that a test does not have: what it begins with cannot run in one."""
    prompted = [command[2:] for command in commands(text) if command.startswith("$ ")]
    first = (prompted or commands(text) or [""])[0]
    if not is_not_here(first):
        return f"a test can run `{first}`: this is a block of `sh`, and what it prints one of `text`"
    return None


def of_diff(text: str) -> str | None:
    """Lines that go and lines that come; what is there afterwards is in a language that can be read."""
    marks = {line[:1] for line in text.splitlines()}
    if not {"+", "-"} <= marks or marks - {"+", "-", " ", ""}:
        return "each line of it begins with +, - or a space"
    new = "".join(f"{line[1:]}\n" for line in text.splitlines() if not line.startswith("-"))
    return None if any(check(new) is None for check in READABLE) else "what comes is no language that can be read"


def of_text(text: str) -> str | None:
    """Output, a tree or a drawing: neither commands nor something that has a language."""
    for line in text.splitlines():
        if line.startswith(("$ ", *SERVERS, "python ", "pip ", "curl ", "export ", *(f"{name} " for name in NOT_HERE))):
            return "a command: `sh`, or `console` if it cannot run in a test"
    if _is_json(text):
        return "JSON"
    if _is_python(text):
        return "Python"
    if _is_yaml(text):
        return "YAML"
    return None


def of_python(text: str) -> str | None:
    """It compiles."""
    try:
        compile(text, "block", "exec", dont_inherit=True)
    except SyntaxError as error:
        return str(error)
    return None


def of_json(text: str) -> str | None:
    """It is JSON; a comment in the first line may name its file."""
    try:
        json.loads(re.sub(r"\A//.*", "", text))
    except ValueError as error:
        return str(error)
    return None


def of_yaml(text: str) -> str | None:
    """It is YAML without a key twice, and objects of Kubernetes are what its schemas have."""
    try:
        documents = list(yaml.load_all(text, Loader=_Strict))
    except yaml.YAMLError as error:
        return str(error)
    return "\n".join(fault for document in documents for fault in object_faults(document, text)) or None


def of_toml(text: str) -> str | None:
    """It is TOML."""
    try:
        tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        return str(error)
    return None


def of_ini(text: str) -> str | None:
    """It is what configparser reads; uWSGI and systemd have keys several times."""
    try:
        configparser.ConfigParser(interpolation=None, strict=False).read_string(text)
    except configparser.Error as error:
        return str(error)
    return None


def of_dockerfile(text: str) -> str | None:
    """Each line begins with an instruction, and lists of words are JSON."""
    for command in commands(text):
        if not command.startswith(DOCKERFILE):
            return f"no instruction: {command}"
        listed = re.search(r"\[.*\]$", command)
        if listed and (fault := of_json(listed[0])):
            return fault
    return None


READABLE = (of_python, of_json, of_yaml, of_toml, of_ini, of_dockerfile)
RUN_ELSEWHERE = {"nginx", "haproxy", "caddyfile", "apache", "vcl", "squid", "promql"}
"""Languages that their programs check, in tests/functional/test_code_blocks.py."""

CHECKS: dict[str, Callable[[str], str | None]] = {
    "sh": of_shell,
    "console": of_console,
    "text": of_text,
    "python": of_python,
    "yaml": of_yaml,
    "json": of_json,
    "toml": of_toml,
    "ini": of_ini,
    "diff": of_diff,
    "dockerfile": of_dockerfile,
}
"""What each returns is the fault of a block, or None."""


class _Strict(yaml.SafeLoader):
    """Refuses keys that are there twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[object, object]:
        keys = [key.value for key, _ in node.value]
        twice = {key for key in keys if keys.count(key) > 1}
        if twice:
            raise yaml.constructor.ConstructorError(None, None, f"twice: {', '.join(sorted(twice))}", node.start_mark)
        return super().construct_mapping(node, deep)


def _is_json(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict | list)
    except ValueError:
        return False


def _is_python(text: str) -> bool:
    try:
        tree = ast.parse(text)
    except SyntaxError:
        return False
    kinds = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Assign)
    return any(isinstance(statement, kinds) for statement in tree.body)


def _is_yaml(text: str) -> bool:
    try:
        found = yaml.safe_load(text)
    except yaml.YAMLError:
        return False
    return (
        isinstance(found, dict) and text.count("\n") > 1 and all(re.fullmatch(r"[\w./-]+", str(key)) for key in found)
    )
