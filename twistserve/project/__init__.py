"""The Django project before it serves: settings, set-up, commands, migrations."""
