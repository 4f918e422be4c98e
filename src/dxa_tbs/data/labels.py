"""From a trabecular bone score to a class."""

from __future__ import annotations

import numpy as np

from dxa_tbs.config import LabelRule

NORMAL, DEGRADED = 0, 1  # Degraded is the positive class
CLASS_NAMES = ("Normal", "Degraded")


def label_tbs(tbs: np.ndarray, *, rule: LabelRule, degraded_max: float, normal_min: float) -> np.ndarray:
    """Return the class of each score, float of the same shape: 0 Normal, 1 Degraded, NaN left out.

    Args:
        tbs: TBS, NaN where unknown (and then NaN in the result).
        rule: binary: all above `degraded_max` is Normal, what others call partially degraded included; extremes: what
            lies between the two limits is left out.
        degraded_max: the highest TBS that is Degraded; 1.200 in the paper.
        normal_min: the lowest TBS that is Normal under `extremes`.
    """
    assert rule is not LabelRule.three_class, "refused before any data is read"
    lowest_normal = normal_min if rule is LabelRule.extremes else np.nextafter(degraded_max, np.inf)
    return np.select([tbs <= degraded_max, tbs >= lowest_normal], [float(DEGRADED), float(NORMAL)], default=np.nan)
