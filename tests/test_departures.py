"""What differs between two experiments, in words. Needs no runs."""

from __future__ import annotations

from typing import Any

import pytest

from dxa_tbs.report.departures import differences, value_text
from dxa_tbs.report.nearest import papers_settings
from dxa_tbs.report.paper import RESULTS

OPERATIONS = [{"name": "flip", "probability": 0.5}, {"name": "rotate", "max_deg": 10.0, "interpolation": "bilinear"}]
THEIRS = {
    "loss.name": "cross_entropy",
    "schedule.name": "constant",
    "schedule.warmup_epochs": 0,
    "augmentation.name": "paper",
    "augmentation.operations": OPERATIONS,
    "optimizer.lr": 1e-3,
    "trainer.epochs": 200,
    "trainer.patience": 15,
    "trainer.ema_decay": None,
    "model.name": "model3",
    "model.filters": [8, 16, 32],
    "preprocessing.size_px": 224,
    "labels.normal_min_tbs": 1.35,
}


@pytest.mark.parametrize(
    ("ours", "full"),
    [
        ({}, []),
        ({"optimizer.lr": 0.01}, ["learning rate 0.01 instead of 0.001"]),
        ({"trainer.epochs": 2}, ["2 epochs instead of 200"]),
        ({"trainer.patience": None}, ["patience none instead of 15"]),
        ({"trainer.ema_decay": 0.99}, ["averaged weights (decay 0.99)"]),
        ({"trainer.ema_decay": "none"}, []),
        ({"preprocessing.size_px": 320}, ["images of 320 pixels instead of 224"]),
        ({"labels.normal_min_tbs": 1.3}, ["labels normal min tbs 1.3 instead of 1.35"]),
        ({"model.filters": [4, 8]}, ["filters [4, 8] instead of [8, 16, 32]"]),
        ({"loss.name": "focal", "loss.gamma": 2.0}, ["loss focal instead of cross_entropy (gamma 2)"]),
        (
            {"schedule.name": "cosine", "schedule.warmup_epochs": 5},
            ["schedule cosine instead of constant (5 warm-up epochs)"],
        ),
        (
            {"model.name": "efficientnet_b0", "model.architecture": "efficientnet_b0", "model.filters": None},
            ["network efficientnet_b0 instead of model3"],
        ),
        (
            {"model.name": "timm_vit_tiny", "model.architecture": "vit_tiny", "model.weights": "pretrained"},
            ["network timm_vit_tiny instead of model3 (weights pretrained)"],
        ),
        (
            {"model.name": "tiny", "model.width": 8, "optimizer.lr": 1.0},
            ["learning rate 1 instead of 0.001", "network tiny instead of model3 (width 8)"],
        ),
        (
            {"model.name": "custom", "model.factory": "mine.nets:build", "model.settings.depth": 3},
            ["network custom instead of model3 (factory mine.nets:build, settings depth 3)"],
        ),
        ({"augmentation.name": "epoch", "augmentation.when": "epoch"}, ["augmentation epoch instead of paper"]),
        (
            {"augmentation.operations": [OPERATIONS[0], OPERATIONS[1] | {"max_deg": 20}]},
            ["other operations rotate (max deg 20, interpolation bilinear)"],
        ),
        (
            {"augmentation.operations": [OPERATIONS[1], {"name": "noise", "sd": 0.1}]},
            ["other operations noise (sd 0.1) and without flip"],
        ),
        ({"augmentation.operations": OPERATIONS[::-1]}, ["other operations in the order rotate, flip"]),
        (
            {"augmentation.operations": [{"name": "noise"}, *OPERATIONS[::-1]]},
            ["other operations noise and in the order noise, rotate, flip"],
        ),
        (
            {"augmentation.operations": [*OPERATIONS, OPERATIONS[0]]},
            ["other operations in the order flip, rotate, flip"],
        ),
        ({"augmentation.operations": []}, ["operations none"]),
        ({"sampling.name": "balanced"}, []),  # a setting that the other side does not have
    ],
)
def test_a_difference_is_said_in_words(ours: dict[str, Any], full: list[str]) -> None:
    assert [one.full for one in differences(THEIRS | ours, THEIRS)] == full


def test_a_name_holds_only_the_settings_that_the_other_option_does_not_have() -> None:
    ours = THEIRS | {"schedule.name": "plateau", "schedule.warmup_epochs": 2, "schedule.factor": 0.1}
    (found,) = differences(ours, THEIRS)
    assert found.text == "schedule plateau (factor 0.1)"
    assert found.short == "schedule plateau (factor 0.1, 2 warm-up epochs)"


def test_a_setting_that_another_kind_lacks_is_no_difference() -> None:
    ours = {key: value for key, value in THEIRS.items() if key != "model.filters"} | {"model.name": "tiny"}
    (found,) = differences(ours, THEIRS)
    assert (found.key, found.short, found.num_settings) == ("model.name", "network tiny", 1)


def test_a_different_option_counts_with_its_settings_and_a_network_once() -> None:
    ours = THEIRS | {"loss.name": "focal", "loss.gamma": 2, "loss.alpha": 0.5, "model.name": "tiny", "model.width": 4}
    assert {one.key: one.num_settings for one in differences(ours, THEIRS)} == {"loss.name": 3, "model.name": 1}


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "none"),
        ("", "none"),
        (True, "yes"),
        (0, "0"),
        (0.1 + 0.2, "0.3"),
        (1e-5, "1e-05"),
        ("/home/anna.miller/weights/best.pt", "best.pt"),
        ("C:\\Users\\anna\\best.pt", "best.pt"),
        ("Pr\u00fcfung", "Pr\\xfcfung"),
        ([{"name": "flip"}], "flip"),
        ({"gamma": 2, "alpha": None}, "gamma 2, alpha none"),
    ],
)
def test_a_value_is_written_in_plain_ascii_without_folders(value: object, text: str) -> None:
    assert value_text(value) == text


def test_each_of_the_fourteen_is_nearest_to_itself_alone() -> None:
    places = [(table.approach, model) for table in RESULTS for model in table.rows]
    for place in places:
        alike = [other for other in places if not differences(papers_settings(*place), papers_settings(*other))]
        assert alike == [place]
