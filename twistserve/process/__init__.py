"""The process: signals, children, the first process of a container, the limit of open files, and its end."""
