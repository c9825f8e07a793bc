"""All checks, and how Django gets to know them."""

from __future__ import annotations

from twistserve.checks import configured, databases, files, proxies, site

TAG = "twistserve"
"""`manage.py check --tag twistserve` runs ours alone. None has Django's tag `database`, which has to be asked for."""
_CHECKS = (
    (files.static_can_be_served, ("staticfiles",)),
    (files.media_can_be_served, ("files",)),
    (files.media_hide_no_view, ("files", "security")),
    (site.debug_is_off, ("security",)),
    (site.hosts_can_match, ("security",)),
    (proxies.scheme_can_be_known, ("security",)),
    (databases.kept_connections_are_checked, ()),
    (databases.pools_have_a_connection_for_each_thread, ()),
    (configured.keys_are_known, ()),
    (configured.variables_are_known, ()),
    (configured.options_are_valid, ()),
)
_DEPLOYMENT_CHECKS = (
    (files.media_hide_no_documents, ("files", "security")),
    (proxies.scheme_can_be_known_by_default, ("security",)),
    (proxies.scheme_cannot_be_forged, ("security",)),
    (databases.pools_have_a_connection_for_each_default_thread, ()),
)
"""For `check --deploy`: what may be as it should, since only a command line or a proxy's configuration says so."""


def register_checks() -> None:
    """Register them with Django; done twice, it is as if done once."""
    from django.core.checks.registry import registry

    for checks, deploy in ((_CHECKS, False), (_DEPLOYMENT_CHECKS, True)):
        for check, tags in checks:
            registry.register(check, TAG, *tags, deploy=deploy)
