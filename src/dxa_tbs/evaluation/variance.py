"""Variances of metrics, with their degrees of freedom. Numpy in, numbers out.

A metric is approximately its expected value plus a sum of small contributions, one per image: the influences. Summed by
patient and squared, they give the variance over patients. The spread of the metric over seeds gives the variance over
trainings.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import stats

CONFIDENCE = 0.95
ROUNDING = 1e-24  # smaller variances are rounding errors of a sum that is zero


@dataclass(frozen=True)
class Variance:
    """The variance of an estimate and its degrees of freedom; NaN if there are too few data to estimate them."""

    value: float
    df: float

    @property
    def half_width(self) -> float:
        """Return Student's t for a 95 % interval times the standard error."""
        return t_quantile(self.df) * math.sqrt(self.value)


def t_quantile(df: float, confidence: float = CONFIDENCE) -> float:
    return float(stats.t.ppf(0.5 + confidence / 2, df))


def add_variances(*parts: Variance) -> Variance:
    """Return the variance of a sum of independent terms; if all are zero, with the first term's degrees of freedom.

    Source: for the degrees of freedom, Satterthwaite, Biometrics Bulletin 2:110 (1946).
    """
    parts = tuple(Variance(0.0, part.df) if part.value <= ROUNDING else part for part in parts)
    value = sum(part.value for part in parts)
    if value == 0 or math.isnan(value):
        return Variance(value, parts[0].df)
    return Variance(value, value**2 / sum(part.value**2 / part.df for part in parts if part.value > 0))


def between_patients(
    influence: np.ndarray, labels: np.ndarray, patients: np.ndarray, *, num_folds: int = 1
) -> Variance:
    """Return the variance over patients at fixed class sizes; the images of a patient form one unit.

    Args:
        influence: shape (N,), centred within each class (and fold).
        labels: shape (N,), 0 or 1.
        patients: shape (N,), integers from 0, the patient of each image.
        num_folds: number of groups per class within which the influences were centred.

    Sources: with one image per patient, DeLong et al., Biometrics 44:837 (1988); with several, Obuchowski, Biometrics
    53:567 (1997), including the covariance term of patients with images of both classes.
    """
    num_patients = int(patients.max()) + 1
    parts, sums = [], []
    for label in np.unique(labels):
        of_class = labels == label
        count = len(np.unique(patients[of_class]))
        if count <= num_folds:
            return Variance(math.nan, math.nan)
        sums.append(np.bincount(patients[of_class], influence[of_class], minlength=num_patients))
        parts.append(Variance(count / (count - num_folds) * float(sums[-1] @ sums[-1]), count - num_folds))
    total = add_variances(*sorted(parts, key=lambda part: part.df))
    crossed = num_patients / (num_patients - num_folds) * 2 * float(sums[0] @ sums[-1]) if len(sums) == 2 else 0.0
    value = total.value + crossed
    return Variance(value if value > ROUNDING else 0.0, total.df)


def between_trainings(values: np.ndarray) -> Variance:
    """Return the variance that independent trainings add to the mean of a metric: s^2 / (S K), s^2 within folds.

    Args:
        values: shape (S, K), the metric for S >= 2 seeds and K folds.
    """
    num_seeds, num_folds = values.shape
    within = float(values.var(axis=0, ddof=1).mean())
    return Variance(within / values.size, num_folds * (num_seeds - 1))
