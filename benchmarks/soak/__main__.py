"""``python -m benchmarks.soak [SECONDS]``: serve for so long under mixed and hostile load, and check everything.

Half of the time workers are replaced, by bounds and by signals. Half of it they stay, so that lost memory shows.
Ends with status 1 if a request was lost or wrong, something was not flat, a probe failed or the log has a fault.
Loopback only; everything it starts ends with it.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.arguments import file, positive
from benchmarks.soak import phase, report, service

RATE = 200.0
"""Requests a second, beside what needs a connection of its own."""


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="python -m benchmarks.soak", description="A soak, as Markdown.")
    made.add_argument("seconds", nargs="?", type=positive, default=600, help="of all phases together (default: 600)")
    made.add_argument("--workers", type=positive, default=2, help="1 serves in one process (default: 2)")
    made.add_argument("--no-recycling", action="store_true", help="workers stay, all the time; so with --workers 1")
    made.add_argument("--rate", type=float, default=RATE, help=f"requests a second (default: {RATE:g})")
    made.add_argument(
        "--bin", type=Path, default=Path(sys.executable).parent, help="where twistd is (default: beside this Python)"
    )
    made.add_argument("--output", type=file, help="a file for the report, in Markdown (default: standard output)")
    made.add_argument(
        "--document", type=file, help="a document whose figures are replaced: docs/soak.md, with the plot beside it"
    )
    made.add_argument("--plot", type=file, help="a file for the plot, in SVG")
    made.add_argument("--keep", type=Path, help="a directory for the server's logs, which stay there")
    return made


def main(argv: Sequence[str]) -> int:
    """Run all phases, and print; the status to end with."""
    arguments = parser().parse_args(argv)
    if not (arguments.bin / "twistd").exists():
        raise SystemExit(f"benchmarks: there is no twistd in {arguments.bin}: give --bin")
    recycled = arguments.workers > 1 and not arguments.no_recycling
    names = ("replaced", "staying") if recycled else ("staying",)
    phases = []
    with tempfile.TemporaryDirectory(prefix="soak-") as scratch:
        directory = arguments.keep or Path(scratch)
        directory.mkdir(parents=True, exist_ok=True)
        for name in names:
            try:
                phases.append(
                    phase.run(
                        name,
                        arguments.bin,
                        arguments.seconds / len(names),
                        arguments.workers,
                        name == "replaced",
                        arguments.rate,
                        directory.absolute(),
                    )
                )
            except service.StartError as error:
                raise SystemExit(f"benchmarks: {error}") from error
    text = report.markdown(phases, argv)
    if arguments.output is not None:
        arguments.output.write_text(text)
    if arguments.document is not None:
        shown = "" if arguments.plot is None else f"![{report.DESCRIPTION}]({arguments.plot.name})\n\n"
        arguments.document.write_text(report.inserted(arguments.document.read_text(), shown + text))
    if arguments.output is arguments.document is None:
        sys.stdout.write(text)
    if arguments.plot is not None:
        arguments.plot.write_text(report.plot(phases))
    complaints = [f"{each.name}: {complaint}" for each in phases for complaint in each.complaints]
    sys.stderr.writelines(f"soak: {complaint}\n" for complaint in complaints)
    return 1 if complaints else 0


if __name__ == "__main__":
    for number in (signal.SIGINT, signal.SIGTERM):
        # So that everything ends in order; and shells have background processes ignore SIGINT.
        signal.signal(number, signal.default_int_handler)
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
