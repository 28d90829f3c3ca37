"""Networks, losses and model files: knows nothing of the command line."""
