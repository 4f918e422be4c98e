"""From a trabecular bone score to a class."""

from __future__ import annotations

import numpy as np
import pandas as pd

from dxa_tbs.config.choices import LabelRule
from dxa_tbs.errors import Refusal

NORMAL, DEGRADED = 0, 1  # Degraded is the positive class
MAX_ALONE = 0.05  # share of the images of such patients


def label_tbs(tbs: np.ndarray, *, rule: LabelRule, degraded_max: float, normal_min: float) -> np.ndarray:
    """Return the class of each score, float of the same shape: 0 Normal, 1 Degraded, NaN neither.

    Args:
        tbs: TBS; NaN if unknown, which gives NaN.
        rule: binary: every TBS above `degraded_max` is Normal, even if others call it partially degraded; extremes: a
            TBS between the two limits is neither class.
        degraded_max: the highest TBS of class Degraded; 1.200 in the paper.
        normal_min: the lowest TBS of class Normal under `extremes`.
    """
    lowest_normal = normal_min if rule is LabelRule.extremes else np.nextafter(degraded_max, np.inf)
    return np.select([tbs <= degraded_max, tbs >= lowest_normal], [float(DEGRADED), float(NORMAL)], default=np.nan)


def permute_labels(cohort: pd.DataFrame, *, seed: int) -> pd.DataFrame:
    """Return the cohort with its labels shuffled among patients, and without TBS: a control with nothing to learn.

    A patient exchanges the labels of all images with a patient of the same split who has as many images. Each split
    keeps its number of images of each class, and labels that belong to one patient stay together.

    Args:
        cohort: patient_id, label, split, tbs.

    Raises:
        Refusal: too many patients have a number of images that no other patient of their split has.

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
            f"labels.permuted_seed={seed}: {num_alone} of {len(cohort)} images belong to patients who cannot exchange "
            "labels, because no other patient of their split has as many images: drop it"
        )
    for _, alike in rows.groupby(kinds):
        for to, source in zip(alike, alike.iloc[rng.permutation(len(alike))], strict=True):
            labels.iloc[to] = cohort["label"].iloc[source].to_numpy()
    return cohort.assign(label=labels, tbs=np.nan)
