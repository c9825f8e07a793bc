"""``python -m benchmarks.compare``: what an operator needs, tried with each server on the same project.

`groups.py` lists what is tried; each subject has a module of its own. A server runs as one process, or one worker below
the server's own parent process, with eight threads where it has such an option, on the first core. The clients have the
second one.
"""
