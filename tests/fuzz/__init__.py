"""Fuzzing of what reads bytes of strangers: `make fuzz` (docs/soak.md).

A target is a function of bytes that raises where something is wrong. atheris feeds it what it makes of the seeds;
`test_targets` feeds it the seeds, and what has ever made a target fail (`found/`), without atheris.
"""
