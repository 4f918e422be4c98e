"""Experiments of the user's own: their names, the nearest of the paper's, and the table that compares them with it."""

from __future__ import annotations

import math
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import toys.loss
import toys.network
from conftest import SMALL, composed, defaults_of
from golden_runs import stored_runs
from scipy import stats
from sklearn import metrics
from test_kinds import SEARCHPATH
from test_tables import numbers, rebuild, store_metrics, store_own_run, store_run
from test_verification import add_digests

from dxa_tbs.pipeline.experiment import run_experiment
from dxa_tbs.report.build import write_report
from dxa_tbs.report.labels import label
from dxa_tbs.report.nearest import find_nearest
from dxa_tbs.report.outputs import find_experiments
from dxa_tbs.runs.files import CONFIG_YAML, METRICS_JSON, read_csv, read_json, write_csv, write_json, write_yaml
from dxa_tbs.runs.identity import read_config

EFFICIENTNET = {"name": "efficientnet_b0", "architecture": "efficientnet_b0"}


def own_table(root: Path) -> pd.DataFrame:
    return numbers(root, "own_experiments").set_index("experiment")


def printed(root: Path) -> str:
    return (root / "tables/own_experiments.md").read_text(encoding="utf-8")


def nearest_of(root: Path, model: str, approach: str) -> tuple[str, str, str | None, list[str]]:
    """Return approach and model of the nearest, the folder that stands for it, and the differences in words."""
    experiments = find_experiments(root).experiments
    (one,) = (one for one in experiments if (one.model, one.approach) == (model, approach))
    found = find_nearest(one, experiments)
    folder = None if found.experiment is None else found.experiment.folder
    return found.approach, found.model, folder, [difference.full for difference in found.differences]


def test_the_nearest_of_equal_ones_is_the_first_in_the_papers_order_or_the_one_on_the_same_images(
    tmp_path: Path,
) -> None:
    store_own_run(tmp_path, "model=squeezenet", "approach=full", model=EFFICIENTNET)
    network = "network efficientnet_b0 instead of {}"
    assert nearest_of(tmp_path, "efficientnet_b0", "full") == ("full", "resnet18", None, [network.format("resnet18")])
    store_run(tmp_path, "model=densenet121", "approach=full", "dataset.name=elsewhere", data="e")
    assert nearest_of(tmp_path, "efficientnet_b0", "full")[:2] == ("full", "resnet18")
    folder = "runs/phantom/full/squeezenet/seed0"
    store_run(tmp_path, "model=squeezenet", "approach=full", "seed=1")  # seed0 holds the network of the user's own
    found = nearest_of(tmp_path, "efficientnet_b0", "full")
    assert found == ("full", "squeezenet", folder.replace("seed0", "seed1"), [network.format("squeezenet")])


def test_a_network_is_nearest_to_the_one_whose_recipe_it_has_and_a_papers_network_to_itself(tmp_path: Path) -> None:
    wide = {"name": "wide", "filters": [8, 28], "fc_widths": [1000]}
    store_own_run(tmp_path, "model=model4", "augmentation=none", model=wide)
    assert nearest_of(tmp_path, "wide", "adhoc")[:2] == ("adhoc", "model4")
    store_run(tmp_path, "model=model2", "optimizer.lr=0.001", "optimizer.momentum=0.9")  # those of model3
    assert nearest_of(tmp_path, "model2", "adhoc") == (
        "adhoc", "model2", None, ["learning rate 0.001 instead of 0.0001", "momentum 0.9 instead of 0.7"],
    )  # fmt: skip


def test_an_unknown_approach_has_a_nearest_too(tmp_path: Path) -> None:
    store_own_run(tmp_path, "model=vgg16", "approach=full", approach={"name": "partly", "layers": 3})
    assert nearest_of(tmp_path, "vgg16", "partly") == (
        "full", "vgg16", None, ["approach partly instead of full (layers 3)"],
    )  # fmt: skip


def test_experiments_of_a_network_are_called_by_what_differs(tmp_path: Path) -> None:
    store_run(tmp_path, "model=model3", "name=ours")
    for typed in (
        ["optimizer.lr=0.01"],
        ["optimizer=adamw", "optimizer.lr=0.1"],
        ["optimizer=adamw", "optimizer.lr=0.2"],
        ["model.filters=[4,8]"],
        ["trainer.micro_batch_size=4"],
        ["optimizer.lr=0.02", "trainer.epochs=3", "trainer.batch_size=8", "trainer.watched=originals",
         "evaluation.threshold=0.3"],
    ):  # fmt: skip
        store_run(tmp_path, "model=model3", "name=ours", *typed)
    store_run(tmp_path, "model=model3", "name=other")
    store_run(tmp_path, "model=model1", "trainer.epochs=2")
    names = [label(one) for one in find_experiments(tmp_path).experiments]
    assert len(names) == len(set(names)) == 9
    assert set(names) == {
        "model1 adhoc",
        "model3 adhoc",
        "model3 adhoc, study ours",
        "model3 adhoc, micro batch size 4",
        "model3 adhoc, filters [4, 8]",
        "model3 adhoc, learning rate 0.01",
        "model3 adhoc, optimizer adamw (learning rate 0.1, weight decay 0.01)",
        "model3 adhoc, optimizer adamw (learning rate 0.2, weight decay 0.01)",
        "model3 adhoc, learning rate 0.02, batches of 8, watched validation images originals and 2 more",
    }


def test_table_2_has_the_settings_nearest_to_the_papers_whatever_else_was_tried(tmp_path: Path) -> None:
    """A variation may have another number of parameters, and its folder may come first."""
    papers = store_run(tmp_path, "model=model3", "seed=3")
    other = store_run(tmp_path, "model=model3", "preprocessing.fit=resize", "optimizer.lr=0.5")
    write_json(other / METRICS_JSON, read_json(other / METRICS_JSON) | {"trainable_parameters": 7})
    rebuild(tmp_path)
    row = numbers(tmp_path, "table_ii").set_index("model").loc["model3"]
    assert (row["lr"], row["trainable_parameters"]) == (0.001, read_json(papers / METRICS_JSON)["trainable_parameters"])
    assert other.name < papers.name


def test_what_all_experiments_of_a_network_share_is_not_in_their_names(tmp_path: Path) -> None:
    for typed in (["optimizer.lr=0.1"], ["optimizer.lr=0.2"]):
        store_run(tmp_path, "model=model3", "trainer.epochs=2", *typed)
    for width in (8, 16):
        tiny = {"name": "tiny", "width": width, "factory": "my.nets:tiny"}
        store_own_run(tmp_path, "model=model3", f"seed={width}", model=tiny)
    assert sorted(label(one) for one in find_experiments(tmp_path).experiments) == [
        "model3 adhoc, learning rate 0.1", "model3 adhoc, learning rate 0.2", "tiny adhoc", "tiny adhoc, width 8",
    ]  # fmt: skip


def test_names_show_no_folder_and_tell_own_code_and_evaluations_apart(tmp_path: Path) -> None:
    for seed, folder in enumerate(("/home/anna.miller/a", "/home/anna.miller/b")):
        store_own_run(tmp_path, "model=model3", f"seed={seed}", dataset={"root": folder})
    for seed, code in enumerate(("c0ffee00", "decade00")):
        run_dir = store_own_run(tmp_path, "model=model3", f"seed={seed + 5}", model={"name": "mine"})
        facts = read_json(run_dir / METRICS_JSON)
        write_json(run_dir / METRICS_JSON, facts | {"code_sha256": {"model.factory": f"{code}1234"}})
    for seed in (7, 8):
        run_dir = store_run(tmp_path, "model=model1", f"seed={seed}")
        facts = read_json(run_dir / METRICS_JSON)
        write_json(run_dir / METRICS_JSON, facts | {"weights_sha256": f"{seed}", "evaluated_run": f"seed{seed}"})
    assert [label(one) for one in find_experiments(tmp_path).experiments] == [
        "model1 adhoc", "model1 adhoc, seed 8", "model3 adhoc", "model3 adhoc (2)",
        "mine adhoc", "mine adhoc, code of model factory decade00",
    ]  # fmt: skip


def delta_of_f1(labels: np.ndarray, calls: np.ndarray) -> np.ndarray:
    """Return the influence of each image on F1 = 2 tp / (tp + fp + number of positives)."""
    is_positive = labels == 1
    tp, fp, positives = (calls & is_positive).sum(), (calls & ~is_positive).sum(), is_positive.sum()
    total = tp + fp + positives
    by_tp, by_fp = 2 * (fp + positives) / total**2, -2 * tp / total**2
    return np.where(is_positive, by_tp * positives * calls, by_fp * (len(labels) - positives) * calls)


def placements(labels: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Return DeLong's placement of each image: the share of the other class that it is on the right side of."""
    wins = (scores[labels == 1][:, None] > scores[labels == 0]) + 0.5 * (
        scores[labels == 1][:, None] == scores[labels == 0]
    )
    found = np.zeros(len(labels))
    found[labels == 1], found[labels == 0] = wins.mean(axis=1), wins.mean(axis=0)
    return found


def test_every_number_is_recomputed_and_agrees_with_the_comparisons(tmp_path: Path) -> None:
    """Once the experiment of the user's own comes second in the tables of comparisons, once first."""
    papers = store_run(tmp_path, "model=model3")
    later = store_run(tmp_path, "model=model3", "optimizer.lr=0.01")
    own = {"model3 adhoc, learning rate 0.01": (later, papers)}
    earlier = store_own_run(tmp_path, "model=squeezenet", "approach=full", approach={"name": "zeta"})
    own["squeezenet zeta"] = (earlier, store_run(tmp_path, "model=squeezenet", "approach=full", "seed=1"))
    write_report(tmp_path, figures=())
    table = own_table(tmp_path)
    assert list(table.index) == list(own)
    for name, runs in own.items():
        row = table.loc[name]
        assert row["nearest_run"] == runs[1].relative_to(tmp_path).as_posix()
        assert row["is_compared"]
        scored = [pd.read_csv(run / "predictions.csv").query("split == 'test'") for run in runs]
        labels = scored[0]["label"].to_numpy()
        scores = [one["score"].to_numpy() for one in scored]
        for metric, value, influence in (
            ("auc", metrics.roc_auc_score, placements),
            ("f1", lambda labels, scores: metrics.f1_score(labels, scores >= 0.5),
             lambda labels, scores: delta_of_f1(labels, scores >= 0.5)),
        ):  # fmt: skip
            reached = [value(labels, one) for one in scores]
            difference = reached[0] - reached[1]
            assert row[metric] == pytest.approx(reached[0])
            assert row[f"{metric}_difference"] == pytest.approx(difference)
            apart = influence(labels, scores[0]) - influence(labels, scores[1])
            error = math.sqrt(sum(apart[labels == k].var(ddof=1) / (labels == k).sum() for k in (0, 1)))
            pair = numbers(tmp_path, f"comparison_{metric}").set_index(["first", "second"])
            pair = pair.loc[[key for key in pair.index if name in key]]
            pair = pair[(pair["first_run"] == row["nearest_run"]) | (pair["second_run"] == row["nearest_run"])].iloc[0]
            assert pair["error"] == pytest.approx(error)
            half = stats.t.ppf(0.975, pair["df"]) * error
            limits = row[f"{metric}_difference_low"], row[f"{metric}_difference_high"]
            assert limits == pytest.approx((difference - half, difference + half))
            p = 2 * stats.t.sf(abs(difference / error), pair["df"])
            assert (row[f"{metric}_p"], row[f"{metric}_p_holm"]) == pytest.approx((p, pair["p_holm"]))
            overview = numbers(tmp_path, "overview").set_index("experiment").loc[name]
            for end in ("low", "high"):
                assert row[f"{metric}_{end}"] == overview[f"{metric}_{end}"]
            line = next(line for line in printed(tmp_path).splitlines() if line.startswith(f"| {name} "))
            assert f"{difference:+.3f} ({limits[0]:.3f} to {limits[1]:.3f}), p " in line
    assert "2 of 2 compared" in printed(tmp_path)


@pytest.mark.slow
def test_several_seeds_are_compared_with_what_training_adds(tmp_path: Path) -> None:
    for seed in range(3):
        store_run(tmp_path, "model=model3", f"seed={seed}")
        store_run(tmp_path, "model=model3", "optimizer.lr=0.01", f"seed={seed}")
    rebuild(tmp_path)
    row, pair = own_table(tmp_path).iloc[0], numbers(tmp_path, "comparison_auc").iloc[0]
    assert (row["seeds"], row["auc_test"]) == (3, "paired DeLong with training, t")
    assert (row["auc_difference"], row["auc_p"]) == (-pair["difference"], pair["p"])
    assert (row["auc_difference_low"], row["auc_difference_high"]) == (-pair["high"], -pair["low"])
    assert "several trainings of both" in printed(tmp_path)
    assert "one training" not in printed(tmp_path)


def test_other_images_and_missing_experiments_are_said_and_not_compared(tmp_path: Path) -> None:
    store_run(tmp_path, "model=model3", "dataset.name=elsewhere", data="e")
    for seed in (0, 1):
        store_run(tmp_path, "model=model3", "optimizer.lr=0.01", f"seed={seed}")
    store_run(tmp_path, "model=model1", "trainer.patience=3", "split=stratified")
    rebuild(tmp_path)
    table, text = own_table(tmp_path), printed(tmp_path)
    assert not table["is_compared"].any()
    assert table.filter(regex="_(difference|p)").isna().all(axis=None)
    assert "| model3 adhoc, elsewhere (other test images) | learning rate 0.01 instead of 0.001 " in " ".join(
        text.split()
    )
    assert "| model1 adhoc (as in the paper: not run)" in text
    assert "patience 3 instead of 15 " in text  # and not the split, which is the study's
    for command in ("-m model=model3 approach=adhoc seed=0,1,", "-m model=model1 approach=adhoc seed=0,"):
        assert f"python -m dxa_tbs.train {command}" in text


def test_a_study_with_the_papers_settings_on_another_split_has_no_table(tmp_path: Path) -> None:
    store_run(tmp_path, "model=model3", "split=stratified")
    store_run(tmp_path, "model=squeezenet", "approach=full", "split=stratified", "dataset.num_normal=1098")
    rebuild(tmp_path)
    assert not (tmp_path / "tables/own_experiments.csv").exists()


def test_in_a_quick_study_an_experiment_stands_beside_the_quick_one_and_controls_stand_elsewhere(
    tmp_path: Path,
) -> None:
    quick = ["trainer.epochs=2", "model.weights=none"]
    store_run(tmp_path, "model=squeezenet", "approach=full", *quick)
    store_own_run(tmp_path, "model=squeezenet", "approach=full", *quick, "seed=1", model=EFFICIENTNET)
    store_run(tmp_path, "model=model3", "labels.permuted_seed=0", "optimizer.lr=0.01")
    store_run(tmp_path, "model=model3", "preprocessing.region=vertebrae", "optimizer.lr=0.01")
    rebuild(tmp_path)
    table = own_table(tmp_path)
    assert table["differs"].to_dict() == {
        "squeezenet full": "weights none instead of imagenet; 2 epochs instead of 50",
        "efficientnet_b0 full": "network efficientnet_b0 instead of squeezenet",
    }
    assert table["is_compared"].to_list() == [False, True]
    assert (
        "squeezenet full departs from the paper too, as what stands beside it does: weights none; 2 epochs"
        in printed(tmp_path)
    )


def test_what_departs_in_another_way_does_not_stand_for_the_papers(tmp_path: Path) -> None:
    store_run(tmp_path, "model=squeezenet", "approach=full", "trainer.epochs=2")
    store_own_run(tmp_path, "model=squeezenet", "approach=full", "trainer.epochs=3", "seed=1", model=EFFICIENTNET)
    store_run(tmp_path, "model=model3", "optimizer=adamw")
    store_run(tmp_path, "model=model3", "optimizer=adamw", "optimizer.lr=0.2", "trainer.epochs=3")
    rebuild(tmp_path)
    assert not own_table(tmp_path)["is_compared"].any()


def test_evaluations_stand_beside_evaluations(tmp_path: Path) -> None:
    """All score the same images; the first was trained on their cohort, which the others were not."""
    store_run(tmp_path, "model=model3")
    for seed, typed in enumerate(([], ["optimizer.lr=0.01"]), start=1):
        run_dir = store_run(tmp_path, "model=model3", f"seed={seed}", *typed)
        facts = read_json(run_dir / METRICS_JSON) | {"evaluated_run": f"/home/anna.miller/runs/phantom/seed{seed}"}
        write_json(run_dir / METRICS_JSON, facts | {"weights_sha256": f"{seed}"})
    rebuild(tmp_path)
    (row,) = own_table(tmp_path).to_dict("records")
    assert row["is_compared"]
    assert row["nearest_run"] == "runs/phantom/adhoc/model3/seed1"
    assert "weights of anna.miller/runs/phantom/seed2" not in printed(tmp_path)
    assert "runs/phantom/seed2, which may have been trained on other images" in printed(tmp_path)


@pytest.mark.slow
def test_folds_are_compared_once_all_are_there(tmp_path: Path) -> None:
    for typed in (["model=model3"], ["model=model3", "optimizer.lr=0.01"]):
        for fold in range(3):
            run_dir = store_run(tmp_path, *typed, "split=kfold", "split.folds=3", f"split.fold={fold}", data="k")
            for name in ("predictions.csv", "split.csv"):
                table = pd.read_csv(run_dir / name)
                write_csv(run_dir / name, table.iloc[fold::3])
            store_metrics(run_dir, read_json(run_dir / METRICS_JSON))
    rebuild(tmp_path)
    (row,) = own_table(tmp_path).to_dict("records")
    pair = numbers(tmp_path, "comparison_f1").iloc[0]
    assert (row["n"], row["f1_difference"], row["f1_p"]) == (181, -pair["difference"], pair["p"])


@pytest.mark.slow
def test_a_study_of_real_runs_with_an_own_network_loss_and_approach_has_a_whole_report(
    tmp_path: Path, cache_dir: Path
) -> None:
    assert toys.loss
    assert toys.network
    root = tmp_path / "outputs"
    for typed in (
        [],
        ["optimizer.lr=0.01"],
        ["loss=capped"],
        ["model=tiny"],
        ["model=tiny", "approach.name=zeta"],
    ):
        chosen = [SEARCHPATH, f"output_root={root}", f"cache_dir={cache_dir}", *SMALL, *typed]
        run_experiment(composed(*chosen), defaults=defaults_of(chosen[1:3]))
    text = write_report(root)
    assert "failed" not in text.split("## Not in the tables")[1]
    table = own_table(root)
    tiny = "network tiny instead of model3 (width 4, input mean [0.5, 0.5, 0.5], input std [0.5, 0.5, 0.5])"
    rate = "learning rate 0.0001 instead of 0.001"
    assert table["differs"].to_dict() == {
        "model3 adhoc": "1 epoch instead of 200",
        "model3 adhoc, learning rate 0.01": "learning rate 0.01 instead of 0.001",
        "model3 adhoc, loss capped (cap 4)": "loss capped instead of cross_entropy (cap 4)",
        "tiny adhoc": f"{tiny}; {rate}",
        "tiny zeta": f"{tiny}; approach zeta instead of adhoc; {rate}",
    }
    assert table["is_compared"].to_list() == [False, True, True, True, True]
    for name in ("report.html", "checklist.md", "model_card.md", "figures/roc_curves.png", "figures/figure_3.png"):
        assert (root / name).stat().st_size > 1000


def make_many(root: Path) -> None:
    """Write 24 experiments: those of the stored runs, and copies with other settings and scores."""
    shutil.copytree(stored_runs(), root)
    bases = {"adhoc": "adhoc/model3/seed0", "full": "full/resnet18/seed0-fa189a8f"}
    rng = np.random.default_rng(0)
    adamw = {"name": "adamw", "lr": 0.01, "weight_decay": 0.01}
    operations = [{"name": "flip", "probability": 0.5}, {"name": "rotate", "max_deg": 20}]
    changes: list[tuple[str, dict[str, dict[str, Any]]]] = [
        *(("adhoc", {"optimizer": {"lr": 0.01 * step}}) for step in range(1, 7)),
        ("adhoc", {"optimizer": adamw}),
        ("adhoc", {"loss": {"name": "focal", "gamma": 2.0}}),
        ("adhoc", {"augmentation": {"name": "epoch", "operations": operations}}),
        ("adhoc", {"trainer": {"batch_size": 8, "watched": "originals"}, "preprocessing": {"fit": "resize"}}),
        *(("adhoc", {"model": {"name": "tiny", "width": width}}) for width in (4, 8)),
        *(
            ("full", {"model": {"name": name, "architecture": name}})
            for name in ("swin_t", "convnext_tiny", "vit_b_16")
        ),
        *(("full", {"model": EFFICIENTNET, "optimizer": {"lr": 0.1**step}}) for step in range(1, 4)),
        ("full", {"approach": {"name": "zeta"}}),
    ]
    for number, (approach, own) in enumerate(changes):
        run_dir = shutil.copytree(
            root / "phantom_text" / bases[approach], root / f"phantom_text/{approach}/own{number}"
        )
        config = read_config(run_dir)
        for section, values in own.items():
            config[section] = config[section] | values
        write_yaml(run_dir / CONFIG_YAML, config)
        scored = read_csv(run_dir / "predictions.csv")
        write_csv(
            run_dir / "predictions.csv", scored.assign(score=0.6 * scored["label"] + rng.uniform(0, 0.4, len(scored)))
        )
        store_metrics(run_dir, read_json(run_dir / METRICS_JSON))
        write_json(run_dir / "timing.json", {"time_10_epochs_s": float(rng.uniform(20, 400))})
        add_digests(run_dir)


@pytest.mark.slow
def test_a_report_of_two_dozen_experiments_is_whole(tmp_path: Path) -> None:
    root = tmp_path / "outputs"
    make_many(root)
    text = write_report(root)
    missing = text.split("## Not in the tables")[1]
    assert "damaged" not in missing
    assert [line for line in missing.splitlines() if "figures/" in line] == [
        "- figures/figure_1: no run drew it", "- figures/figure_2: no run drew it",
    ]  # fmt: skip
    names = numbers(root, "overview")["experiment"]
    assert len(names) == len(set(names)) == 24
    assert all(name.isascii() and len(name) < 120 and not re.search(r" \(\d+\)$", name) for name in names)
