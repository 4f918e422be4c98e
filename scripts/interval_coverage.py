"""Simulate studies: how often 95 % intervals cover the truth, and how often two equal architectures seem to differ.

    python scripts/interval_coverage.py intervals --sets 2000
    python scripts/interval_coverage.py comparisons --sets 1000

Each command prints a Markdown table; docs/statistics.md quotes both. Scores are normal within each class. 60 % of their
variance belongs to the patient, 20 % to the architecture and 20 % to the training. Trainings differ in the distance
between the classes, so that their AUC has the stated standard deviation. If that is not 0, they also differ in the
threshold, with standard deviation CUT_SD.
"""

from __future__ import annotations

import argparse
import itertools
import math
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor

import numpy as np
from scipy import stats

from dxa_tbs.evaluation.comparisons import compare
from dxa_tbs.evaluation.intervals import estimates
from dxa_tbs.evaluation.measured import Scored, build_scored
from dxa_tbs.evaluation.rates import METRICS, RATES

SIZES = ((42, 139), (15, 45))  # Degraded, Normal patients
AUCS = (0.75, 0.87, 0.97, 0.995)
SDS = (0.0, 0.02, 0.045)  # standard deviations of the AUC between trainings
PATIENT, ARCHITECTURE, TRAINING = 0.6, 0.2, 0.2
WITHIN_PATIENT = 0.5  # correlation between two images of a patient
CUT_SD = 0.25  # standard deviation of the threshold between trainings
TRUTHS = 100_000  # trainings drawn to compute the true value of an experiment


def draw_trainings(rng: np.random.Generator, auc: float, sd: float, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the distance between the classes and the threshold of each training, both (count,); mean AUC is `auc`."""
    spread = sd * math.sqrt(2) / stats.norm.pdf(stats.norm.ppf(auc))
    distance = stats.norm.ppf(auc) * math.sqrt(2 + spread**2)
    cuts = distance / 2 + (CUT_SD if sd else 0.0) * rng.normal(size=count)
    return distance + spread * rng.normal(size=count), cuts


def draw_study(
    rng: np.random.Generator, labels: np.ndarray, patients: np.ndarray, trainings: list[tuple[np.ndarray, np.ndarray]]
) -> list[Scored]:
    """Return one experiment per architecture on the same patients."""
    num_patients = int(patients.max()) + 1
    is_alone = num_patients == len(patients)

    def image_noise() -> np.ndarray:
        if is_alone:
            return rng.normal(size=len(patients))
        shared = rng.normal(size=num_patients)[patients]
        return math.sqrt(WITHIN_PATIENT) * shared + math.sqrt(1 - WITHIN_PATIENT) * rng.normal(size=len(patients))

    of_patient, found = image_noise(), []
    for distances, cuts in trainings:
        common = math.sqrt(PATIENT) * of_patient + math.sqrt(ARCHITECTURE) * image_noise()
        scores = [
            common + math.sqrt(TRAINING) * image_noise() + distance * labels - cut
            for distance, cut in zip(distances, cuts, strict=True)
        ]
        found.append(build_scored(labels, np.stack(scores), patients, threshold=0.0))
    return found


def expected(distances: np.ndarray, cuts: np.ndarray, ratio: float) -> dict[str, float]:
    """Return the mean of each metric over trainings, for infinitely many patients with this class ratio."""
    sensitivity, specificity = stats.norm.sf(cuts - distances), stats.norm.cdf(cuts)
    found = {name: float(np.nanmean(RATES[name](sensitivity, specificity, ratio))) for name in METRICS}
    return found | {"auc": float(stats.norm.cdf(distances / math.sqrt(2)).mean())}


def images(size: tuple[int, int], per_patient: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the label and the patient of each image."""
    labels = np.repeat([1, 0], size)
    return np.repeat(labels, per_patient), np.repeat(np.arange(len(labels)), per_patient)


def cover(cell: tuple[tuple[int, int], float, int, int, float, int]) -> tuple[dict[str, float], dict[str, float]]:
    """Return the shares of studies whose interval covers the truth of the experiment, and of its own trainings."""
    size, auc, per_patient, seeds, sd, num_sets = cell
    rng = np.random.default_rng([*size, round(1000 * auc), per_patient, seeds, round(1000 * sd)])
    labels, patients = images(size, per_patient)
    ratio = size[1] / size[0]
    truth = expected(*draw_trainings(rng, auc, sd, TRUTHS), ratio)
    covered, covered_own = dict.fromkeys(truth, 0), dict.fromkeys(truth, 0)
    for _ in range(num_sets):
        trainings = draw_trainings(rng, auc, sd, seeds)
        (scored,) = draw_study(rng, labels, patients, [trainings])
        own = expected(*trainings, ratio)
        for name, found in estimates(scored).items():
            is_defined = not math.isnan(found.value)  # precision is not defined without a positive call
            covered[name] += found.contains(truth[name]) or not is_defined
            covered_own[name] += found.contains(own[name]) or not is_defined
    return tuple({name: count / num_sets for name, count in of.items()} for of in (covered, covered_own))  # type: ignore[return-value]


def differ(cell: tuple[tuple[int, int], float, int, int, float, int]) -> dict[str, float]:
    """Return the share of studies in which two equal architectures have p below .05."""
    size, auc, per_patient, seeds, sd, num_sets = cell
    rng = np.random.default_rng([1, *size, round(1000 * auc), per_patient, seeds, round(1000 * sd)])
    labels, patients = images(size, per_patient)
    found = {"auc": 0, "f1": 0, "accuracy": 0}
    for _ in range(num_sets):
        trainings = [draw_trainings(rng, auc, sd, seeds) for _ in range(2)]
        for metric, comparison in compare(*draw_study(rng, labels, patients, trainings)).items():
            found[metric] += comparison.p < 0.05
    return {metric: count / num_sets for metric, count in found.items()}


def coverage_rows(num_sets: int) -> Iterator[list[str]]:
    metrics = ["auc", *METRICS]
    yield ["Degraded / Normal", "AUC", "images", "seeds", "SD", *metrics]
    cells = [
        (size, auc, per_patient, seeds, sd, num_sets)
        for size, auc, per_patient, seeds, sd in itertools.product(SIZES, AUCS, (1, 2), (1, 3, 5), SDS)
        if not (auc > 0.99 and sd > 0.03)  # an AUC with this mean cannot vary so much
    ]
    with ProcessPoolExecutor() as pool:
        for cell, (covered, own) in zip(cells, pool.map(cover, cells), strict=True):
            size, auc, per_patient, seeds, sd, _ = cell
            names = [f"{size[0]} / {size[1]}", f"{auc:g}", str(per_patient), str(seeds), f"{sd:g}"]
            yield names + [f"{100 * covered[name]:.1f}" for name in metrics]
            if seeds == 1 and sd:
                names[3] = "1, own"
                yield names + [f"{100 * own[name]:.1f}" for name in metrics]


def comparison_rows(num_sets: int) -> Iterator[list[str]]:
    yield ["Degraded / Normal", "AUC", "images", "seeds", "SD", "auc", "f1", "accuracy"]
    cells = [
        (size, auc, per_patient, seeds, sd, num_sets)
        for size, auc, per_patient, seeds, sd in itertools.product(SIZES, AUCS[:3], (1, 2), (2, 3, 5), SDS)
    ]
    with ProcessPoolExecutor() as pool:
        for cell, found in zip(cells, pool.map(differ, cells), strict=True):
            size, auc, per_patient, seeds, sd, _ = cell
            names = [f"{size[0]} / {size[1]}", f"{auc:g}", str(per_patient), str(seeds), f"{sd:g}"]
            yield names + [f"{100 * share:.1f}" for share in found.values()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("intervals", "comparisons"))
    parser.add_argument("--sets", type=int, default=1000, help="simulated studies per cell")
    arguments = parser.parse_args()
    rows = coverage_rows if arguments.what == "intervals" else comparison_rows
    for place, row in enumerate(rows(arguments.sets)):
        print("| " + " | ".join(row) + " |", flush=True)
        if place == 0:
            print("|" + " --- |" * len(row), flush=True)


if __name__ == "__main__":
    main()
