"""Photos and folders on disk: knows nothing of networks."""
