"""All that is tried, in the order of the document."""

from __future__ import annotations

from benchmarks.compare import deadlines, draining, malformed, memory, probing, rates, rollout, scraped, slow, uploads
from benchmarks.compare.group import Group

GROUPS: tuple[Group | rates.Rates, ...] = (
    probing.WAITING,
    probing.COMPUTING,
    probing.HUNG,
    rollout.GROUP,
    draining.GROUP,
    deadlines.GROUP,
    slow.GROUP,
    malformed.GROUP,
    uploads.GROUP,
    scraped.GROUP,
    memory.GROUP,
    rates.GROUP,
)
NAMES = tuple(group.name for group in GROUPS)
