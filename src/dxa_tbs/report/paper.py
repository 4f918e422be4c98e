"""The paper's printed values, and the protocols behind them (Gonzalez et al., Tables I to V)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Architecture:
    """One column of Table II."""

    filters: tuple[int, ...]
    fc_widths: tuple[int, ...]  # without the last, of one neuron


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
    auc: float
    time_10_epochs_s: float

    @property
    def auc_is_hard(self) -> bool:
        """Return whether the AUC is that of the calls, (sensitivity + specificity) / 2 up to rounding."""
        return abs((self.tp / (self.tp + self.fn) + self.tn / (self.tn + self.fp)) / 2 - self.auc) <= 0.001


@dataclass(frozen=True)
class ResultsTable:
    number: str
    title: str
    approach: str
    rows: dict[str, PrintedRow]


TABLE_II = {
    "model1": Architecture((8, 16, 32, 64, 128), (1000, 100)),
    "model2": Architecture((8, 16, 32), (500, 100)),
    "model3": Architecture((8, 16, 32), (100,)),
    "model4": Architecture((8, 28, 36), (1000,)),
}
TABLE_II_PARAMETERS = {"model1": "3.400e6", "model2": "1.087e7", "model3": "2.169e6", "model4": "2.434e7"}
TABLE_I = {
    "train": {"normal_original": 979, "degraded_original": 148, "normal_augmented": 225, "degraded_augmented": 563},
    "val": {"normal_original": 140, "degraded_original": 21, "normal_augmented": 32, "degraded_augmented": 80},
    "test": {"normal_original": 139, "degraded_original": 42, "normal_augmented": 0, "degraded_augmented": 0},
}
RESULTS = (
    ResultsTable(
        "III",
        "Results of testing pretrained models, retrained whole (approach 1)",
        "full",
        {
            "resnet18": PrintedRow(30, 9, 130, 12, 0.884, 0.714, 0.935, 0.741, 0.816, 83.69),
            "alexnet": PrintedRow(31, 14, 125, 11, 0.862, 0.738, 0.899, 0.713, 0.815, 60.49),
            "vgg16": PrintedRow(29, 17, 122, 13, 0.834, 0.690, 0.878, 0.659, 0.784, 400.03),
            "densenet121": PrintedRow(30, 13, 126, 12, 0.862, 0.714, 0.906, 0.706, 0.810, 220.43),
            "squeezenet": PrintedRow(33, 12, 127, 9, 0.884, 0.786, 0.914, 0.759, 0.828, 86.18),
        },
    ),
    ResultsTable(
        "IV",
        "Results of testing pretrained models, last layer retrained (approach 2)",
        "head",
        {
            "resnet18": PrintedRow(22, 10, 129, 20, 0.834, 0.524, 0.928, 0.594, 0.726, 39.25),
            "alexnet": PrintedRow(25, 14, 125, 17, 0.829, 0.595, 0.899, 0.617, 0.747, 28.14),
            "vgg16": PrintedRow(19, 6, 133, 23, 0.840, 0.452, 0.957, 0.567, 0.705, 148.20),
            "densenet121": PrintedRow(25, 9, 130, 17, 0.856, 0.595, 0.935, 0.658, 0.765, 93.59),
            "squeezenet": PrintedRow(21, 2, 137, 21, 0.873, 0.500, 0.986, 0.646, 0.743, 44.73),
        },
    ),
    ResultsTable(
        "V",
        "Results of testing ad hoc architecture models (approach 3)",
        "adhoc",
        {
            "model1": PrintedRow(28, 6, 133, 14, 0.889, 0.667, 0.957, 0.737, 0.934, 41.00),
            "model2": PrintedRow(29, 14, 125, 13, 0.850, 0.690, 0.899, 0.682, 0.888, 44.62),
            "model3": PrintedRow(23, 7, 132, 19, 0.856, 0.548, 0.950, 0.639, 0.828, 36.80),
            "model4": PrintedRow(31, 10, 129, 11, 0.884, 0.738, 0.928, 0.747, 0.936, 55.61),
        },
    ),
)
CLASSES = ("normal", "degraded")
TASK = "binary"
_EVERYWHERE = {
    "task.name": TASK,
    "loss.name": "cross_entropy",
    "labels.rule": "binary",
    "labels.degraded_max_tbs": 1.2,
    "preprocessing.fit": "crop",
    "preprocessing.size_px": 224,
    "channels.name": "grey",
    "split.name": "table1",
    **{f"split.{split}.{name}": TABLE_I[split][f"{name}_original"] for split in TABLE_I for name in CLASSES},
    "augmentation.name": "paper",
    "augmentation.copies_per_normal": 0.2298,
    "augmentation.copies_per_degraded": 3.804,
    "augmentation.when": "copies",
    "augmentation.operations": [
        {"name": "flip", "probability": 0.5},
        {"name": "rotate", "max_deg": 10.0, "interpolation": "bilinear"},
        {"name": "brightness", "min_change": 0.1, "max_change": 0.4},
    ],
    "sampling.name": "shuffle",
    "optimizer.name": "sgd",
    "optimizer.lr": 1e-4,
    "optimizer.momentum": 0.9,
    "optimizer.weight_decay": 0.0,
    "schedule.name": "constant",
    "trainer.batch_size": 24,
    "trainer.test_epoch": "best",
    "trainer.watched": "all",
    "trainer.ema_decay": None,
    "evaluation.threshold": 0.5,
}
_PRETRAINED = {
    "model.weights": "imagenet",
    "model.dropout": 0.4,
    "model.backbone_dropout": 0.0,
    "model.input_mean": [0.485, 0.456, 0.406],
    "model.input_std": [0.229, 0.224, 0.225],
    "trainer.patience": None,
}
_APPROACHES: dict[str, dict[str, Any]] = {
    "full": _PRETRAINED | {"trainer.epochs": 50},
    "head": _PRETRAINED | {"trainer.epochs": 20, "approach.frozen_bn": "eval"},
    "adhoc": {
        "model.input_mean": [0.0, 0.0, 0.0],
        "model.input_std": [1.0, 1.0, 1.0],
        "trainer.epochs": 200,
        "trainer.patience": 15,
    },
}
_MODELS: dict[str, dict[str, Any]] = {  # where they are not those of everywhere
    "alexnet": {"model.backbone_dropout": 0.5},
    "vgg16": {"model.backbone_dropout": 0.5},
    "model1": {"optimizer.lr": 1e-3, "optimizer.momentum": 0.6},
    "model2": {"optimizer.momentum": 0.7},
    "model3": {"optimizer.lr": 1e-3},
    "model4": {"trainer.batch_size": 48},
}


def protocol(approach: str, model: str) -> dict[str, Any]:
    """Return the settings of one of the paper's experiments by key; the design fills in what the paper leaves open."""
    return _EVERYWHERE | _APPROACHES[approach] | _MODELS.get(model, {})


def is_papers_experiment(approach: str, model: dict[str, Any]) -> bool:
    """Return whether the paper has this network, with these layers, in this approach."""
    name = model["name"]
    if not any(table.approach == approach and name in table.rows for table in RESULTS):
        return False
    if name not in TABLE_II:
        return model.get("architecture") == name and "backbone_dropout" in model  # not of another library
    return (tuple(model.get("filters", ())), tuple(model.get("fc_widths", ()))) == (
        TABLE_II[name].filters,
        TABLE_II[name].fc_widths,
    )
