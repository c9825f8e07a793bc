"""What runs have found, kept as JSON, so that a part can be measured again."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.compare.group import Found


@dataclass(frozen=True)
class Described:
    """A server as the document describes it."""

    title: str
    version: str
    command: str


@dataclass
class Results:
    """All there is to show."""

    found: dict[str, dict[str, Found]] = field(default_factory=dict)
    """By group and server."""
    servers: dict[str, Described] = field(default_factory=dict)
    facts: dict[str, str] = field(default_factory=dict)
    """Of the machine, as the last run saw it."""
    dates: dict[str, str] = field(default_factory=dict)
    """When each group was measured."""

    def add(self, group: str, date: str, found: dict[str, Found]) -> None:
        """Put results in, in place of earlier ones of the same servers."""
        self.found.setdefault(group, {}).update(found)
        self.dates[group] = date

    def save(self, file: Path) -> None:
        """Raises OSError."""
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(self, default=vars, indent=1) + "\n")

    @classmethod
    def load(cls, file: Path) -> Results:
        """Nothing where there is no such file."""
        if not file.exists():
            return cls()
        kept = json.loads(file.read_text())
        found = {
            group: {name: Found(tuple(one["cells"]), tuple(one["details"])) for name, one in of_group.items()}
            for group, of_group in kept["found"].items()
        }
        servers = {name: Described(**one) for name, one in kept["servers"].items()}
        return cls(found, servers, kept["facts"], kept["dates"])
