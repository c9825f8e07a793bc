"""Manifests for Kubernetes, made of the options in force and nothing else: probes and options cannot disagree."""
