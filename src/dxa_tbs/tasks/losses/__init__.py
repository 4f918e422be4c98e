"""Loss functions: they take outputs (B, K) and targets (B,), and return the mean loss of the images.

Each is a mean over images of one term per image, because micro-batches and the loss of an epoch are put together from
means over parts of the images. A weighted mean, divided by the sum of the weights, would not be.
"""

from dxa_tbs.tasks.losses.entropy import cross_entropy

__all__ = ["cross_entropy"]
