"""A cohort of phantom patients, and its export as PNG files and a table, in the form hospitals provide."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
from PIL import Image
from tqdm import tqdm

from dxa_tbs.data.phantom.population import recorded_tbs
from dxa_tbs.data.phantom.render import Candidate, read_frame
from dxa_tbs.errors import Refusal
from dxa_tbs.workers import worker_processes

SCANNER = "phantom"  # value of the column scanner, which marks an exported cohort as synthetic
GIVE_UP_AFTER = 100  # candidates per requested patient


def phantom_cohort(
    *,
    seed: int,
    num_normal: int,
    num_degraded: int,
    label: Callable[[np.ndarray], np.ndarray],
    has_signal: bool,
    tbs_reader_sd: float,
    psf_cv: float,
    thickness_sd_cm: float,
    **_: object,
) -> pd.DataFrame:
    """Return the table of a cohort (columns: see `dxa_tbs.data.cohort`) without rendering images.

    Candidates are taken in the order of their index until each class is full.

    Args:
        seed: of the cohort.
        num_normal, num_degraded: numbers of patients.
        label: maps TBS to class, as `dxa_tbs.data.labels.label_tbs` does.
        has_signal: whether recorded TBS and image belong to the same patient.
        tbs_reader_sd: standard deviation of the recorded TBS around the true one.
        psf_cv, thickness_sd_cm: see conf/dataset/phantom.yaml.

    Raises:
        Refusal: a class is too rare under `label` to be filled.
    """
    missing = [num_normal, num_degraded]
    rows = []
    num_candidates = GIVE_UP_AFTER * sum(missing)
    for index in range(num_candidates):
        if not any(missing):
            break
        candidate = Candidate(seed, index, psf_cv, thickness_sd_cm)
        patient = candidate.patient()
        tbs = recorded_tbs(candidate.stream("record"), patient, has_signal=has_signal, reader_sd=tbs_reader_sd)
        group = label(np.array(tbs)).item()
        if np.isnan(group) or not missing[int(group)]:
            continue
        missing[int(group)] -= 1
        name = f"P{seed}-{index:06d}"
        roi = dict(zip(("roi_x0", "roi_y0", "roi_x1", "roi_y1"), patient.spine.roi_px(), strict=True))
        rows.append(
            {
                "image_id": name,
                "patient_id": name,
                "tbs": tbs,
                "label": int(group),
                **roi,
                "age": round(patient.age, 1),
                "bmi": round(patient.bmi, 1),
                "scanner": SCANNER,
                "source": candidate,
            }
        )
    if any(missing):
        raise Refusal(
            f"labels: {missing[0]} Normal and {missing[1]} Degraded phantom patients could not be found among "
            f"{num_candidates}: set labels.degraded_max_tbs closer to 1.2"
        )
    return pd.DataFrame(rows)


def export_cohort(table: pd.DataFrame, folder: Path) -> Path:
    """Write all frames as 8-bit PNG files to `folder`/images and the table to `folder`/cohort.csv; return its path."""
    images = folder / "images"
    images.mkdir(parents=True)
    table = table.assign(path=[f"images/{image_id}.png" for image_id in table["image_id"]])
    jobs = (joblib.delayed(_write_frame)(row.source, folder / row.path) for row in table.itertuples())
    written = worker_processes(n_jobs=-1, return_as="generator_unordered")(jobs)
    for _ in tqdm(written, total=len(table), desc="phantom", unit="image", disable=None):
        pass
    csv = folder / "cohort.csv"
    first = ["image_id", "patient_id", "path", "tbs"]
    rest = [name for name in table.columns if name not in (*first, "label", "source")]
    table[first + rest].to_csv(csv, index=False)
    return csv


def _write_frame(candidate: Candidate, path: Path) -> None:
    Image.fromarray(read_frame(candidate)).save(path)
