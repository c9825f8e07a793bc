"""What manage.py of a project gets: a module for each command, by its name."""
