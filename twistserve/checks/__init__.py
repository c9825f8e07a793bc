"""Django system checks: what in a project's settings does not go with how twistserve serves it."""
