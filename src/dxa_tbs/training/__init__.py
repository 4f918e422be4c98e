"""Fitting a network and scoring images with it. Knows tensors, not files or patients."""
