"""``python -m tests.fuzz [SECONDS] [TARGET...]``: fuzz each target for so long; `make fuzz`.

What has been found, and the corpus that grows from run to run, are in build/fuzz. Ends with status 1 if something was.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.fuzz import seeds
from tests.fuzz.targets import FOUND, TARGETS

BUILD = Path(__file__).resolve().parents[2] / "build" / "fuzz"
PATIENCE = 600.0
"""Seconds for the start and the end of atheris, on a busy machine."""
MEMORY = 1024
"""MiB that a target may take."""
TOLD = 2000
"""Characters that are told of a failure."""


def main(argv: Sequence[str]) -> int:
    """Fuzz; the status to end with."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description="Fuzz what reads bytes of strangers.")
    parser.add_argument("seconds", nargs="?", type=int, default=60, help="for each target (default: 60)")
    parser.add_argument("targets", nargs="*", help=f"some of {', '.join(TARGETS)} (default: all)")
    arguments = parser.parse_args(argv)
    if unknown := set(arguments.targets) - set(TARGETS):
        parser.error(f"there is no target {', '.join(sorted(unknown))}: choose of {', '.join(TARGETS)}")
    return max([_fuzz(name, arguments.seconds) for name in arguments.targets or TARGETS])


def _fuzz(name: str, seconds: int) -> int:
    directory = BUILD / name
    corpus, log = prepare(name, directory), directory / "log"
    options = [
        f"-max_total_time={seconds}",
        f"-max_len={seeds.LONGEST}",
        "-timeout=600",
        f"-rss_limit_mb={MEMORY}",
        f"-artifact_prefix={directory}/",
        f"-dict={directory / 'dictionary'}",
    ]
    command = [sys.executable, "-m", "tests.fuzz.run", name, str(corpus), *options]
    with log.open("wb") as output:
        done = subprocess.run(command, stdout=output, stderr=subprocess.STDOUT, timeout=seconds + PATIENCE, check=False)
    text = log.read_text(errors="replace")
    if done.returncode == 0 and (runs := re.search(r"Done (\d+) runs in (\d+) second", text)):
        sys.stdout.write(f"{name}: {int(runs[1]):,} inputs in {runs[2]} s, nothing found\n")
        return 0
    sys.stdout.write(f"{name}: failed, see {log}; an input that fails is a file beside it\n{text[-TOLD:]}\n")
    return 1


def prepare(name: str, directory: Path) -> Path:
    """Write the seeds, what has been found before and the dictionary; the directory of the corpus."""
    corpus = directory / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    for number, data in enumerate(TARGETS[name].seeds.values()):
        (corpus / f"seed-{number}").write_bytes(data)
    for path in (FOUND / name).glob("*"):
        (corpus / f"found-{path.name}").write_bytes(path.read_bytes())
    (directory / "dictionary").write_text("".join(f'"{escaped(word)}"\n' for word in seeds.WORDS))
    return corpus


def escaped(word: bytes) -> str:
    """Bytes as a dictionary of libFuzzer has them."""
    return "".join(f"\\x{byte:02x}" for byte in word)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
