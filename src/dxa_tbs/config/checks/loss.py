"""Checks of the sections loss and sampling."""

from __future__ import annotations

from collections.abc import Iterator

from dxa_tbs.config.checks.ranges import outside
from dxa_tbs.config.schema import BalancedSamplingConfig, Config, FocalConfig, WeightedConfig

BALANCED = "balanced"


def loss_problems(config: Config) -> Iterator[str]:
    """Yield a line for each setting of the loss and the sampling that cannot be used."""
    loss = config.loss
    if isinstance(loss, FocalConfig):
        yield from outside("loss.gamma", loss.gamma, 0)
    if not isinstance(loss, FocalConfig | WeightedConfig):
        return
    weights = loss.class_weights
    is_none = weights is None and isinstance(loss, FocalConfig)
    if not is_none and weights != BALANCED and not _are_weights(weights):
        yield f"loss.class_weights={weights}: must be {BALANCED}, or a list of numbers above 0, one per class"
    if weights == BALANCED and isinstance(config.sampling, BalancedSamplingConfig):
        yield (
            f"loss.class_weights={BALANCED}, sampling={config.sampling.name}: either one alone balances "
            "the classes, together they overweight the rare class: drop one, or give the weights as a list"
        )


def _are_weights(value: object) -> bool:
    if not isinstance(value, list) or not value:
        return False
    return all(isinstance(number, float) and number > 0 for number in value)
