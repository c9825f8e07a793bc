"""File systems that a server alone sees."""

from __future__ import annotations

import os


def namespaced(script: str) -> list[str]:
    """The words that let a command see mounts of its own, which `script` makes first."""
    alone = ["unshare", "-m"] if os.geteuid() == 0 else ["unshare", "-r", "-m"]
    return [*alone, "sh", "-e", "-c", f'{script}\nexec "$@"', "sh"]
