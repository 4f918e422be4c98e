"""The values the paper prints, as printed (Gonzalez et al., Tables I, II and V)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Protocol:
    """One column of Table II, and what section III says of augmentation, split and training."""

    filters: tuple[int, ...]
    fc_widths: tuple[int, ...]  # without the last, of one neuron
    batch_size: int
    lr: float
    momentum: float


TABLE_II = {
    "model1": Protocol((8, 16, 32, 64, 128), (1000, 100), 24, 0.001, 0.6),
    "model2": Protocol((8, 16, 32), (500, 100), 24, 0.0001, 0.7),
    "model3": Protocol((8, 16, 32), (100,), 24, 0.001, 0.9),
    "model4": Protocol((8, 28, 36), (1000,), 48, 0.0001, 0.9),
}
ADHOC_EPOCHS, ADHOC_PATIENCE = 200, 15


@dataclass(frozen=True)
class PrintedRow:
    """One row of a results table: counts at threshold 0.5 on 42 Degraded and 139 Normal test images, times in s."""

    tp: int
    fp: int
    tn: int
    fn: int
    accuracy: float
    sensitivity: float
    specificity: float
    f1: float
    auc: float  # of the scores in Table V; (sensitivity + specificity) / 2 would be 0.812, 0.795, 0.749, 0.833
    time_10_epochs_s: float


TABLE_V = {
    "model1": PrintedRow(28, 6, 133, 14, 0.889, 0.667, 0.957, 0.737, 0.934, 41.00),
    "model2": PrintedRow(29, 14, 125, 13, 0.850, 0.690, 0.899, 0.682, 0.888, 44.62),
    "model3": PrintedRow(23, 7, 132, 19, 0.856, 0.548, 0.950, 0.639, 0.828, 36.80),
    "model4": PrintedRow(31, 10, 129, 11, 0.884, 0.738, 0.928, 0.747, 0.936, 55.61),
}
