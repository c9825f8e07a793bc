"""Resources of twisted.web beside Django, and WebSockets; imported only with --mount."""
