"""Training: a painting in, a model file out."""
