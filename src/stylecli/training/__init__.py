"""Training: from one style image or several to a model file."""
