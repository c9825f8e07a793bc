"""The trees of services of the only process, of a parent of workers, and of a worker: the architecture, to read."""
