"""The tasks of a network: what it predicts, its loss, its scores, and the figure of merit shown in training."""
