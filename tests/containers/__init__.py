"""Images and pods as they run in a cluster, in real containers: `make test-containers`."""
