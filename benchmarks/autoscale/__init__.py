"""A simulation of the autoscaler of Kubernetes in front of twistserve: `python -m benchmarks.autoscale --help`."""
