"""From a trabecular bone score to a class."""

from __future__ import annotations

import numpy as np
import pandas as pd

from dxa_tbs.config.choices import LabelRule
from dxa_tbs.errors import Refusal

NORMAL, DEGRADED = 0, 1  # Degraded is the positive class
MAX_ALONE = 0.05  # of the images


def label_tbs(tbs: np.ndarray, *, rule: LabelRule, degraded_max: float, normal_min: float) -> np.ndarray:
    """Return the class of each score, float of the same shape: 0 Normal, 1 Degraded, NaN left out.

    Args:
        tbs: TBS, NaN where unknown (and then NaN in the result).
        rule: binary: all above `degraded_max` is Normal, what others call partially degraded included; extremes: what
            lies between the two limits is left out.
        degraded_max: the highest TBS that is Degraded; 1.200 in the paper.
        normal_min: the lowest TBS that is Normal under `extremes`.
    """
    lowest_normal = normal_min if rule is LabelRule.extremes else np.nextafter(degraded_max, np.inf)
    return np.select([tbs <= degraded_max, tbs >= lowest_normal], [float(DEGRADED), float(NORMAL)], default=np.nan)


def permute_labels(cohort: pd.DataFrame, *, seed: int) -> pd.DataFrame:
    """Return the cohort with its labels shuffled among patients, and no TBS: a control that has nothing to learn.

    Patients exchange the labels of all their images, with others of their split who have as many: each split keeps its
    images of each class, and a patient's images their likeness.

    Args:
        cohort: patient_id, label, split, tbs.

    Raises:
        Refusal: many patients have a number of images that nobody else has, and could exchange with nobody.

    Source: Ojala and Garriga, J Mach Learn Res 11:1833 (2010); blocks: Winkler et al., NeuroImage 123:253 (2015).
    """
    rng = np.random.default_rng(seed)
    labels = cohort["label"].copy()
    rows = pd.Series(list(cohort.groupby("patient_id").indices.values()))
    kinds = rows.map(lambda own: f"{cohort['split'].iloc[own[0]]} {len(own)}")
    alone = kinds.map(kinds.value_counts()) == 1
    num_alone = rows[alone].map(len).sum()
    if num_alone > MAX_ALONE * len(cohort):
        raise Refusal(
            f"labels.permuted_seed={seed}: {num_alone} of {len(cohort)} images belong to patients with a number of "
            "images that nobody else of their split has, who can exchange labels with nobody: drop it"
        )
    for _, alike in rows.groupby(kinds):
        for to, source in zip(alike, alike.iloc[rng.permutation(len(alike))], strict=True):
            labels.iloc[to] = cohort["label"].iloc[source].to_numpy()
    return cohort.assign(label=labels, tbs=np.nan)
