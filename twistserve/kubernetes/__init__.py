"""Kubernetes manifests, generated from the options in force alone, so that probes and options cannot disagree."""
