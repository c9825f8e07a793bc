"""`make test-manifests`: what `manage.py kubernetes` prints and what the chart makes, by helm, kubectl and schemas."""

from __future__ import annotations

from tests.manifests import consumers, features, kustomize, programs, refusals, same


def main() -> None:
    """Fetch what is needed, and check all of it."""
    programs.fetch()
    same.check()
    consumers.check()
    features.check()
    refusals.check()
    kustomize.check()


if __name__ == "__main__":
    main()
