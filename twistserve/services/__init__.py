"""Other Twisted services in the process, under the lifecycle of the web service: --service."""
