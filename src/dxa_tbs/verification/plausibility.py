"""Whether the records of a run of version 0.1.0, which carry no digests, agree with one another.

Only what such a run wrote twice, or what can be computed again, is checked. An age or the loss of an epoch can be
edited without being noticed, which is why these runs are called unverified.
"""

from __future__ import annotations

import csv
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from dxa_tbs.evaluation.metrics import best_f1_threshold, binary_auc
from dxa_tbs.evaluation.rates import counts, metrics_of_counts
from dxa_tbs.runs.files import CONFIG_YAML, METRICS_JSON, read_json
from dxa_tbs.runs.identity import read_config

Records = Mapping[str, Any]  # what each file holds, by name; of a CSV the columns, as text
Kinds = Mapping[str, tuple[type, ...]]  # by key, the types that its value may have

TEXT, NUMBER, WHOLE, SEVERAL = (str,), (int, float), (int,), (list,)
MAYBE = (int, type(None))
SETTINGS: dict[str, Kinds] = {  # of every run, whatever its network, data or split
    "": {"name": TEXT, "seed": WHOLE},
    "model": {"name": TEXT, "input_mean": SEVERAL, "input_std": SEVERAL},
    "approach": {"name": TEXT},
    "dataset": {"name": TEXT, "subgroups": SEVERAL},
    "split": {"name": TEXT},
    "augmentation": {"name": TEXT, "copies_per_normal": NUMBER, "copies_per_degraded": NUMBER}
    | {"flip_probability": NUMBER, "max_rotation_deg": NUMBER, "interpolation": TEXT}
    | {"min_brightness_change": NUMBER, "max_brightness_change": NUMBER},
    "optimizer": {"name": TEXT, "lr": NUMBER, "weight_decay": NUMBER},
    "labels": {"rule": TEXT, "degraded_max_tbs": NUMBER, "normal_min_tbs": NUMBER},
    "preprocessing": {"fit": TEXT},
    "trainer": {"epochs": WHOLE, "patience": MAYBE, "batch_size": WHOLE, "micro_batch_size": MAYBE}
    | {"test_epoch": TEXT, "device": TEXT, "precision": TEXT},
    "evaluation": {"threshold": NUMBER},
}
OF_FOLDS: Kinds = {"folds": WHOLE, "fold": WHOLE}
OF_PRETRAINED: Kinds = {"weights": TEXT, "architecture": TEXT, "dropout": NUMBER, "backbone_dropout": NUMBER}
OF_NETWORK = {"adhoc": {"filters": SEVERAL, "fc_widths": SEVERAL}, "full": OF_PRETRAINED, "head": OF_PRETRAINED}
FACTS: Kinds = {
    "data_sha256": TEXT,
    "weights_sha256": (str, type(None)),
    "synthetic": (bool,),
    "initialisation": (str, type(None)),
    "trainable_parameters": WHOLE,
    "num_images": (dict,),
    "warnings": SEVERAL,
}
COLUMNS = {  # that a table has at least
    "split.csv": {"image_id", "patient_id", "split", "label", "tbs", "origin", "sha256"},
    "predictions.csv": {"image_id", "split", "label", "score"},
    "history.csv": {"epoch", "train_loss", "val_loss", "val_auc", "lr", "train_s", "val_s"},
    "layers.csv": {"layer", "kind", "output_shape", "parameters"},
    "measures.csv": {"image_id", "grey", "variogram_slope", "vertebrae_grey", "background_grey", "background_slope"},
    "errors.csv": {"image_id", "kind", "place", "score", "file"},
}
CLASSES = ("normal", "degraded")
TOLERANCE = 1e-9


def find_contradiction(run_dir: Path, facts: Mapping[str, Any]) -> str | None:
    """Return the first thing that is wrong with the records of a run, in a few words that begin with the file.

    Args:
        facts: what metrics.json holds.
    """
    found: dict[str, Mapping[str, Any]] = {METRICS_JSON: facts}
    for name, check in CHECKS.items():
        if name not in found and not (run_dir / name).is_file():
            if name in REQUIRED:
                return f"{name} is missing"
            continue
        try:
            if name not in found:
                found[name] = _read(run_dir / name)
            wrong = next(check(found), None)
        except (ValueError, LookupError, TypeError, AttributeError, csv.Error) as error:
            wrong = f"cannot be read ({type(error).__name__})"
        if wrong:
            return f"{name} {wrong}"
    return None


def _read(path: Path) -> dict[str, Any]:
    if path.name == CONFIG_YAML:
        return read_config(path.parent)
    if path.suffix == ".json":
        return read_json(path)
    with path.open(encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    if lacking := COLUMNS[path.name] - set(header):
        raise KeyError(f"{path.name} lacks {lacking}")
    columns = zip(*rows, strict=True) if rows else [()] * len(header)
    return dict(zip(header, columns, strict=True))


def _check_config(found: Records) -> Iterator[str]:
    config = found[CONFIG_YAML]
    for section, kinds in SETTINGS.items():
        yield from _of_wrong_kind(config[section] if section else config, kinds)
    yield from _of_wrong_kind(config["model"], OF_NETWORK.get(config["approach"]["name"], {}))
    if config["split"]["name"] == "kfold" or config["split"].keys() & OF_FOLDS.keys():
        yield from _of_wrong_kind(config["split"], OF_FOLDS)
    if config["evaluation"]["threshold"] != found[METRICS_JSON]["thresholds"]["fixed"]:
        yield "has another threshold than metrics.json"


def _of_wrong_kind(values: Mapping[str, Any], kinds: Kinds) -> Iterator[str]:
    for key, allowed in kinds.items():
        if key not in values or type(values[key]) not in allowed:
            yield f"has no usable {key}"


def _check_split(found: Records) -> Iterator[str]:
    table = found["split.csv"]
    if len(set(table["image_id"])) < len(table["image_id"]):
        yield "holds an image twice"
    if not set(table["split"]) <= {"train", "val", "test"} or not set(table["label"]) <= {"0", "1"}:
        yield "holds a split or a label that is none"
    if len(set(zip(table["patient_id"], table["split"], strict=True))) > len(set(table["patient_id"])):
        yield "has a patient on two sides of the split"
    rows = zip(table["split"], table["label"], table["origin"], strict=True)
    kinds = Counter(
        (split, f"{CLASSES[int(label)]}_{'augmented' if origin else 'original'}") for split, label, origin in rows
    )
    told = found[METRICS_JSON]["num_images"]
    if kinds != +Counter({(split, kind): count for split, of_kind in told.items() for kind, count in of_kind.items()}):
        yield "holds other numbers of images than metrics.json says"
    _numbers(text or "nan" for text in table["tbs"])


def _check_predictions(found: Records) -> Iterator[str]:
    table, who = found["predictions.csv"], found["split.csv"]
    told, expected = (sorted(zip(part["image_id"], part["split"], part["label"], strict=True)) for part in (table, who))
    if told != [row for row in expected if row[1] != "train"]:
        yield "has other images, splits or labels than split.csv"
    scores = _numbers(table["score"])
    if not ((scores >= 0) & (scores <= 1)).all():
        yield "holds a score that is not between 0 and 1"


def _check_metrics(found: Records) -> Iterator[str]:
    facts, table = found[METRICS_JSON], found["predictions.csv"]
    yield from _of_wrong_kind(facts, FACTS)
    in_split, labels, scores = np.array(table["split"]), np.array(table["label"]).astype(int), _numbers(table["score"])
    for split in ("val", "test"):
        chosen = in_split == split
        if chosen.any() != (split in facts):
            yield f"and predictions.csv do not both have {split} images"
        elif chosen.any():
            yield from _other_metrics(facts, split, labels[chosen], scores[chosen])
    is_val = in_split == "val"
    if "evaluated_run" not in facts and labels[is_val].any():
        told, again = facts["thresholds"]["val_f1"], best_f1_threshold(labels[is_val], scores[is_val])
        if not math.isclose(told, again, abs_tol=TOLERANCE):
            yield f"has the threshold val_f1 {told:g}, predictions.csv gives {again:g}"


def _other_metrics(facts: Mapping[str, Any], split: str, labels: np.ndarray, scores: np.ndarray) -> Iterator[str]:
    """Yield the metrics of a split that predictions.csv does not give."""
    auc = binary_auc(labels, scores)
    for rule, threshold in facts["thresholds"].items():
        cells = counts(labels, (scores >= threshold)[None])
        again = {name: float(value[0]) for name, value in {**cells, **metrics_of_counts(cells)}.items()} | {"auc": auc}
        for name, value in facts[split][f"at_{rule}"].items():
            told = math.nan if value is None else float(value)
            if name in again and not np.isclose(told, again[name], rtol=0, atol=TOLERANCE, equal_nan=True):
                yield f"has {split} {name} {told:g}, predictions.csv gives {again[name]:g}"


def _check_environment(found: Records) -> Iterator[str]:
    if not isinstance(found["environment.json"].get("weights", {}), Mapping):
        yield "says nothing of the weights"


def _check_history(found: Records) -> Iterator[str]:
    table, facts = found["history.csv"], found[METRICS_JSON]
    for column in table.values():
        _numbers(text or "nan" for text in column)
    if _numbers(table["epoch"]).tolist() != list(range(1, facts["epochs"] + 1)):
        yield "has other epochs than metrics.json says"
    if not 1 <= facts["tested_epoch"] <= facts["epochs"]:
        yield "has no epoch such as metrics.json says was tested"


def _check_timing(found: Records) -> Iterator[str]:
    timing = found["timing.json"]
    if not all(value is None or isinstance(value, int | float) for value in timing.values()):
        yield "holds what is no time"
    if timing.get("train_10_epochs_s") is not None and "history.csv" in found:
        train_s = _numbers(found["history.csv"]["train_s"][:10]).sum()
        needed_s = timing["prepare_s"] + timing["compile_s"] + train_s
        if not np.allclose([timing["train_10_epochs_s"], timing["time_10_epochs_s"]], [train_s, needed_s], rtol=1e-6):
            yield "has another time of ten epochs than history.csv gives"


def _check_layers(found: Records) -> Iterator[str]:
    table = found["layers.csv"]
    if any(int(size) < 1 for shape in table["output_shape"] for size in shape.split("x")):
        yield "holds a shape that is none"
    trainable, total = found[METRICS_JSON]["trainable_parameters"], sum(map(int, table["parameters"]))
    is_whole = "frozen_bn" not in found[CONFIG_YAML]["approach"]
    if trainable > total or (is_whole and trainable != total):
        yield "has other parameters than metrics.json says"


def _check_measures(found: Records) -> Iterator[str]:
    table, who = found["measures.csv"], found["split.csv"]
    originals = [name for name, origin in zip(who["image_id"], who["origin"], strict=True) if not origin]
    if sorted(table["image_id"]) != sorted(originals):
        yield "has other images than split.csv"
    for name in table.keys() - {"image_id"}:
        _numbers(text or "nan" for text in table[name])


def _check_errors(found: Records) -> Iterator[str]:
    table, scored = found["errors.csv"], found["predictions.csv"]
    scores = dict(zip(scored["image_id"], _numbers(scored["score"]), strict=True))
    if [scores[name] for name in table["image_id"]] != _numbers(table["score"]).tolist():
        yield "has other scores than predictions.csv"
    if not all(file.startswith("errors/") for file in table["file"]):
        yield "names files that are no thumbnails"


def _numbers(texts: Iterable[str]) -> np.ndarray:
    return np.array([float(text) for text in texts])


REQUIRED = (CONFIG_YAML, "split.csv", "predictions.csv")
CHECKS = {  # in this order: later ones rely on what earlier ones have checked
    CONFIG_YAML: _check_config,
    "split.csv": _check_split,
    "predictions.csv": _check_predictions,
    METRICS_JSON: _check_metrics,
    "environment.json": _check_environment,
    "history.csv": _check_history,
    "timing.json": _check_timing,
    "layers.csv": _check_layers,
    "measures.csv": _check_measures,
    "errors.csv": _check_errors,
}
