"""The tasks of a network: what it predicts, its loss, its scores, and the metric shown in training."""
