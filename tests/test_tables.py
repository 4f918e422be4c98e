"""Tables and figures from runs on disk: every number by independent code, and what is not finished or not alike."""

from __future__ import annotations

import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import composed, defaults_of
from scipy import stats
from sklearn import metrics

from dxa_tbs.config.compose import to_plain
from dxa_tbs.errors import Refusal
from dxa_tbs.evaluation.metrics import best_f1_threshold, binary_metrics
from dxa_tbs.report.build import make_documents, write_report, write_tables
from dxa_tbs.report.experiments import gather_experiments
from dxa_tbs.report.footnotes import marks_of, notes_of
from dxa_tbs.report.outputs import find_experiments
from dxa_tbs.report.paper import RESULTS
from dxa_tbs.report.runs import experiment_identity, read_run
from dxa_tbs.runs.files import (
    CONFIG_YAML,
    FAILED_JSON,
    METRICS_JSON,
    read_csv,
    read_json,
    write_csv,
    write_json,
    write_yaml,
)
from dxa_tbs.runs.identity import read_config, run_folder

TIME = {"time_10_epochs_s"}
LABELS = np.repeat([0, 1], [139, 42])
CLASSES = ("normal", "degraded")


def store_run(root: Path, *typed: str, data: str = "d", finished: bool = True, time_s: float | None = 41.5) -> Path:
    """Write what the tables read, with scores of our own making."""
    config = to_plain(composed(*typed))
    run_dir = run_folder(config | {"output_root": str(root)}, defaults=defaults_of(typed))
    run_dir.mkdir(parents=True)
    rng = np.random.default_rng(config["seed"] + len(str(run_dir.relative_to(root))))
    scores = np.clip(rng.normal(0.3, 0.2, 181) + 0.3 * LABELS, 0, 1)
    images = [f"{data}{number:03}" for number in range(181)]
    write_yaml(run_dir / CONFIG_YAML, config)
    predictions = pd.DataFrame({"image_id": images, "split": "test", "label": LABELS, "score": scores})
    val = predictions.iloc[::3].assign(image_id="v" + predictions["image_id"], split="val")
    predictions = pd.concat([predictions, val])
    write_csv(run_dir / "predictions.csv", predictions)
    who = predictions[["image_id", "split", "label"]].assign(tbs=math.nan, origin="", sha256="")
    who["patient_id"] = who["image_id"]
    write_csv(run_dir / "split.csv", who)
    precision = config["trainer"]["precision"].replace("auto", "fp32")
    write_json(run_dir / "timing.json", {"time_10_epochs_s": time_s})
    write_json(run_dir / "environment.json", {"device": "cpu", "precision": precision})
    facts = {
        "data_sha256": f"{data} {config['split']}",
        "cohort_sha256": data,
        "weights_sha256": None,
        "synthetic": False,
        "initialisation": None if "filters" in config["model"] else config["model"]["weights"],
        "trainable_parameters": 3_400_081,
        "warnings": [],
    }
    if finished:
        store_metrics(run_dir, facts)
    return run_dir


def store_metrics(run_dir: Path, facts: dict[str, Any]) -> None:
    """Write metrics.json as version 0.1.0 did, with what split.csv and predictions.csv give."""
    who, scored = (read_csv(run_dir / name) for name in ("split.csv", "predictions.csv"))
    counted = {
        split: {f"{name}_original": int((part["label"] == label).sum()) for label, name in enumerate(CLASSES)}
        for split in ("train", "val", "test")
        for part in [who[who["split"] == split]]
    }
    num_images = {split: of_class | {f"{name}_augmented": 0 for name in CLASSES} for split, of_class in counted.items()}
    parts = {name: (part["label"].to_numpy(), part["score"].to_numpy()) for name, part in scored.groupby("split")}
    val_f1 = facts.get("thresholds", {}).get("val_f1", 0.4)  # of an evaluation, that of the evaluated run
    if "val" in parts and parts["val"][0].any():
        val_f1 = best_f1_threshold(*parts["val"])
    thresholds = {"fixed": read_config(run_dir)["evaluation"]["threshold"], "val_f1": val_f1}
    results = {
        name: {f"at_{rule}": binary_metrics(*part, value) for rule, value in thresholds.items()}
        for name, part in parts.items()
    }
    write_json(run_dir / METRICS_JSON, {**facts, "num_images": num_images, "thresholds": thresholds, **results})


def rebuild(root: Path) -> str:
    """Write the tables alone; return all of them."""
    found = find_experiments(root)
    study = make_documents(found, root)
    write_tables(root / "tables", study.documents.values(), study.missing)
    return (root / "tables/all.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("outputs")
    for seed in range(3):
        store_run(root, "model=model1", f"seed={seed}")
    store_run(root, "model=model4", "augmentation=none", time_s=None)
    store_run(root, "model=model3", "model.filters=[4,8]")
    store_run(root, "model=squeezenet", "approach=full")
    store_run(root, "model=vgg16", "approach=full", "model.weights=none", "trainer.epochs=2", "trainer.precision=bf16")
    store_run(root, "model=alexnet", "approach=head", "dataset.name=elsewhere", data="e")
    store_run(root, "model=model2", finished=False)
    failed = store_run(root, "model=resnet18", "approach=head", finished=False)
    write_json(failed / FAILED_JSON, {"error": "no room on the disk"})
    rebuild(root)
    return root


def numbers(root: Path, name: str) -> pd.DataFrame:
    return pd.read_csv(root / f"tables/{name}.csv")


def test_every_number_is_recomputed_from_predictions(outputs: Path) -> None:
    for row in pd.concat(
        [numbers(outputs, name) for name in ("table_iii", "table_iv", "table_v", "other_experiments")]
    ).to_dict("records"):
        run_dir = outputs / row["run"]
        repeats = [run_dir.parent / f"seed{seed}" for seed in range(3)] if row["seeds"] == 3 else [run_dir]
        of_each = []
        for repeat in repeats:
            scored = pd.read_csv(repeat / "predictions.csv").query("split == 'test'")
            label, calls = scored["label"], scored["score"] >= 0.5
            tn, fp, fn, tp = metrics.confusion_matrix(label, calls).ravel()
            expected = {
                "tp": tp, "fp": fp, "tn": tn, "fn": fn,
                "accuracy": metrics.accuracy_score(label, calls),
                "sensitivity": metrics.recall_score(label, calls),
                "specificity": metrics.recall_score(label, calls, pos_label=0),
                "f1": metrics.f1_score(label, calls),
                "auc": metrics.roc_auc_score(label, scored["score"]),
                "auc_hard": metrics.balanced_accuracy_score(label, calls),
                "mcc": metrics.matthews_corrcoef(label, calls),
                "time_10_epochs_s": read_json(repeat / "timing.json")["time_10_epochs_s"] or math.nan,
            }  # fmt: skip
            of_each.append(expected[row["metric"]])
        assert row["value"] == pytest.approx(np.mean(of_each), nan_ok=True), row
        if len(of_each) > 1:
            assert row["sd"] == pytest.approx(np.std(of_each, ddof=1))
        if row["method"] == "Wilson":
            hits = round(row["value"] * {"sensitivity": 42, "specificity": 139, "accuracy": 181}[row["metric"]])
            trials = {"sensitivity": 42, "specificity": 139, "accuracy": 181}[row["metric"]]
            interval = stats.binomtest(hits, trials).proportion_ci(0.95, "wilson")
            assert (row["low"], row["high"]) == pytest.approx((interval.low, interval.high))
        assert row["difference"] == pytest.approx(row["value"] - row["paper"], nan_ok=True)
        assert math.isnan(row["low_networks"]) == (
            row["seeds"] == 1 or row["metric"] in {"tp", "fp", "tn", "fn"} | TIME
        )


def test_the_papers_values_stand_beside_ours(outputs: Path) -> None:
    table = numbers(outputs, "table_v").set_index(["model", "metric"])
    printed = [31, 10, 129, 11, 0.884, 0.738, 0.928, 0.747, 0.936, 55.61]
    names = ["tp", "fp", "tn", "fn", "accuracy", "sensitivity", "specificity", "f1", "auc", "time_10_epochs_s"]
    assert [table.loc[("model4", name), "paper"] for name in names] == printed
    others = numbers(outputs, "other_experiments").set_index(["model", "metric"])
    assert set(others.index.get_level_values("model")) == {"model3"}  # a paper's name with other filters
    assert others[["paper", "difference"]].isna().all(axis=None)
    row = table.loc[("model4", "f1")]
    text = (outputs / "tables/table_v.md").read_text(encoding="utf-8")
    assert f"| {row['low']:.3f} to {row['high']:.3f} " in text
    assert f"{row['value'] - 0.747:+.3f} " in text
    assert f"| {row['difference_low']:.3f} to {row['difference_high']:.3f} " in text
    sensitivity = table.loc[("model4", "sensitivity")]
    ends = stats.binomtest(31, 42).proportion_ci(0.95, "wilson")
    low = math.hypot(sensitivity["value"] - sensitivity["low"], ends.high - 0.738)
    assert sensitivity["difference_low"] == pytest.approx(sensitivity["difference"] - low)


def test_counts_are_subtracted_only_where_as_many_images_were_tested(tmp_path: Path) -> None:
    run_dir = store_run(tmp_path, "model=model1")
    for name in ("predictions.csv", "split.csv"):
        table = pd.read_csv(run_dir / name)
        write_csv(run_dir / name, table[table["image_id"] != "d000"])  # a Normal test image
    store_metrics(run_dir, read_json(run_dir / METRICS_JSON))
    rebuild(tmp_path)
    difference = numbers(tmp_path, "table_v").set_index("metric")["difference"]
    assert difference[["fp", "tn"]].isna().all()
    assert difference[["tp", "fn", "accuracy"]].notna().all()


def test_the_rows_are_in_the_papers_order_and_what_is_not_alike_is_marked(outputs: Path) -> None:
    assert list(dict.fromkeys(numbers(outputs, "table_v")["model"])) == ["model1", "model4"]
    table = numbers(outputs, "table_iii")
    assert list(dict.fromkeys(table["model"])) == ["vgg16", "squeezenet"]
    marks = table.set_index(["model", "metric"])["marks"].fillna("")
    assert marks["vgg16", "f1"] == "abc"  # random initialisation, fewer epochs, not fp32
    assert marks["squeezenet", "f1"] == ""
    assert marks["squeezenet", "time_10_epochs_s"] == "e"
    text = (outputs / "tables/table_iii.md").read_text(encoding="utf-8")
    assert (
        "Marks: a = random initialisation, nothing is pretrained; b = fewer epochs than the protocol; "
        "c = not computed in fp32" in text
    )
    adhoc = (outputs / "tables/table_v.md").read_text(encoding="utf-8")
    assert "not the paper's: augmentation none" in adhoc
    assert "no time of ten epochs" in adhoc


def test_a_cell_that_averages_says_over_how_many(outputs: Path) -> None:
    rows = [line.split("|") for line in (outputs / "tables/table_v.md").read_text(encoding="utf-8").splitlines()]
    ours = next(cells for cells in rows if "ours, mean of 3 seeds" in "|".join(cells))
    assert all("(n=3)" in cell for cell in ours[5:17])


def test_the_printed_auc_is_that_of_the_calls_where_the_arithmetic_says_so(outputs: Path) -> None:
    hard = {f"{table.approach} {model}" for table in RESULTS for model, row in table.rows.items() if row.auc_is_hard}
    assert hard == {"full vgg16", "full densenet121", *(f"head {model}" for model in RESULTS[1].rows)}
    table = numbers(outputs, "table_iii").set_index(["model", "metric"])["paper"]
    assert math.isnan(table["vgg16", "auc"])
    assert (table["vgg16", "auc_hard"], table["squeezenet", "auc"]) == (0.784, 0.828)


def test_what_is_missing_unfinished_and_failed_is_named(outputs: Path) -> None:
    lines = (outputs / "tables/all.md").read_text(encoding="utf-8").split("## Not in the tables\n\n")[1].splitlines()
    assert lines[:5] == [
        "- no finished run: approach=full model=resnet18,alexnet,densenet121",
        "- no finished run: approach=head model=resnet18,vgg16,densenet121,squeezenet",
        "- no finished run: approach=adhoc model=model2,model3",
        "- not finished: runs/phantom/adhoc/model2/seed0",
        "- failed: runs/phantom/head/resnet18/seed0: no room on the disk",
    ]


def test_only_runs_on_the_same_images_are_compared(outputs: Path) -> None:
    files = list((outputs / "tables").glob("comparison_auc*.csv"))
    assert len(files) == 1  # the experiment elsewhere has no other to be compared with
    table = pd.read_csv(files[0])
    assert not table[["first_run", "second_run"]].stack().str.contains("elsewhere").any()
    assert len(table) == 10  # pairs of five
    assert (table["p_holm"] >= table["p"]).all()
    text = files[0].with_suffix(".md").read_text(encoding="utf-8")
    assert "2 test sets: experiments on different images are not compared" in text
    pair = table[(table["first_run"].str.contains("vgg16")) & (table["second_run"].str.contains("squeezenet"))].iloc[0]
    aucs = []
    for run in (pair["first_run"], pair["second_run"]):
        scored = pd.read_csv(outputs / run / "predictions.csv").query("split == 'test'")
        aucs.append(metrics.roc_auc_score(scored["label"], scored["score"]))
    assert pair["difference"] == pytest.approx(aucs[0] - aucs[1])


def test_pairs_say_what_they_hold_for(outputs: Path) -> None:
    (file,) = (outputs / "tables").glob("comparison_auc*.csv")
    table = pd.read_csv(file)
    text = file.with_suffix(".md").read_text(encoding="utf-8")
    assert set(table["trainings"]) == {1}
    assert "one training of either" not in text  # no pair has two seeds of both
    assert "one training: a difference of these trained networks on other patients" in text
    row = table.iloc[0]
    t = stats.t.ppf(1 - 0.05 / 2 / len(table), row["df"])
    assert row["needed_t"] == pytest.approx(t)
    assert row["high"] - row["low"] == pytest.approx(2 * stats.t.ppf(0.975, row["df"]) * row["error"])


def test_several_seeds_are_compared_with_what_training_adds(tmp_path: Path) -> None:
    for seed in range(3):
        store_run(tmp_path, "model=model1", f"seed={seed}")
        store_run(tmp_path, "model=squeezenet", "approach=full", f"seed={seed}")
    text = rebuild(tmp_path)
    row = numbers(tmp_path, "comparison_auc").iloc[0]
    assert row["trainings"] == 3
    assert row["high"] - row["low"] > row["high_networks"] - row["low_networks"]
    assert "several trainings: the error includes what training adds" in text
    overview = numbers(tmp_path, "overview").iloc[1]
    aucs = [float(auc) for auc in overview["auc_of_seeds"].split()]
    assert overview["auc_sd"] == pytest.approx(np.std(aucs, ddof=1), abs=1e-3)
    assert overview["auc_value"] == pytest.approx(np.mean(aucs), abs=1e-3)


def test_trainings_that_failed_are_counted(tmp_path: Path) -> None:
    for seed in range(3):
        run_dir = store_run(tmp_path, "model=model1", f"seed={seed}")
    table = pd.read_csv(run_dir / "predictions.csv")
    write_csv(run_dir / "predictions.csv", table.assign(score=0.5))
    store_metrics(run_dir, read_json(run_dir / METRICS_JSON))
    text = rebuild(tmp_path)
    assert "1 of 3 trainings ended with a test AUC of 0.55 or less; every mean counts them" in text
    assert numbers(tmp_path, "overview")["failed"].tolist() == [1]


def test_folds_are_pooled_once_all_are_there(tmp_path: Path) -> None:
    for fold in range(3):
        run_dir = store_run(tmp_path, "split=kfold", "split.folds=3", f"split.fold={fold}", data="k")
        for name in ("predictions.csv", "split.csv"):
            table = pd.read_csv(run_dir / name)
            write_csv(run_dir / name, table.iloc[fold::3])
        store_metrics(run_dir, read_json(run_dir / METRICS_JSON))
        if fold == 1:
            with pytest.raises(Refusal, match="no complete experiment") as refusal:
                rebuild(tmp_path)
            assert "only 0, 1 of 3 are finished" in refusal.value.details[0]
    rebuild(tmp_path)
    table = numbers(tmp_path, "table_v")
    assert table["n"].unique().tolist() == [181]
    assert table["seeds"].unique().tolist() == [1]
    of_folds = [pd.read_csv(path).query("split == 'test'") for path in sorted(tmp_path.rglob("predictions.csv"))]
    auc = np.mean([metrics.roc_auc_score(fold["label"], fold["score"]) for fold in of_folds])
    assert table.set_index("metric").loc["auc", "value"] == pytest.approx(auc)


def test_cross_validations_of_other_folds_are_not_compared(tmp_path: Path) -> None:
    for num_folds, model in ((2, "model1"), (3, "model2")):
        for fold in range(num_folds):
            run_dir = store_run(
                tmp_path, f"model={model}", "split=kfold", f"split.folds={num_folds}", f"split.fold={fold}", data="k"
            )
            for name in ("predictions.csv", "split.csv"):
                table = pd.read_csv(run_dir / name)
                write_csv(run_dir / name, table.iloc[fold::num_folds])
            store_metrics(run_dir, read_json(run_dir / METRICS_JSON))
    assert "Comparisons" not in rebuild(tmp_path)
    assert numbers(tmp_path, "overview")["test_set"].nunique() == 2


def test_a_twin_and_an_unreadable_run_are_named_and_counted_nowhere(tmp_path: Path) -> None:
    run_dir = store_run(tmp_path, "model=model1")
    twin = shutil.copytree(run_dir, run_dir.with_name("seed0-twin"))
    damaged = store_run(tmp_path, "model=model2")
    (damaged / METRICS_JSON).write_text("")
    text = rebuild(tmp_path)
    assert numbers(tmp_path, "table_v")["n"].unique().tolist() == [181]
    for line in (
        f"the same experiment as runs/phantom/adhoc/model1/seed0 again: {twin.relative_to(tmp_path).as_posix()}",
        "damaged: runs/phantom/adhoc/model2/seed0: metrics.json cannot be read",
    ):
        assert f"- {line}\n" in text


def store_own_run(root: Path, *typed: str, **own: dict[str, Any]) -> Path:
    """Store a run whose configuration has values that no option of conf/ gives: own=section: values."""
    run_dir = store_run(root, *typed)
    config = read_config(run_dir)
    for section, values in own.items():
        config[section] |= values
    write_yaml(run_dir / CONFIG_YAML, config)
    return run_dir


@pytest.mark.slow
def test_what_the_paper_does_not_have_stands_in_the_report_with_a_table_of_its_own(tmp_path: Path) -> None:
    store_run(tmp_path, "model=model4")
    store_own_run(tmp_path, "model=model1", model={"name": "wide", "filters": [8, 28]})
    store_own_run(tmp_path, "model=resnet18", "approach=full", model={"name": "mine", "architecture": "mine"})
    store_own_run(tmp_path, "model=squeezenet", "approach=full", approach={"name": "zeta"})
    store_own_run(tmp_path, "model=vgg16", "approach=full", approach={"name": "partly"})
    store_own_run(tmp_path, "model=alexnet", "approach=head", model={"name": "model4"})
    text = write_report(tmp_path)
    others = numbers(tmp_path, "other_experiments")
    named = list(dict.fromkeys(zip(others["approach"], others["model"], strict=True)))
    assert named == [
        ("full", "mine"), ("head", "model4"), ("adhoc", "wide"), ("partly", "vgg16"), ("zeta", "squeezenet"),
    ]  # fmt: skip
    assert numbers(tmp_path, "table_v")["model"].unique().tolist() == ["model4"]
    assert not (tmp_path / "tables/table_iii.csv").exists()
    overview = numbers(tmp_path, "overview")["experiment"]
    for name in ("overview", "operating_points"):
        assert numbers(tmp_path, name)["experiment"].nunique() == 6
    assert {"wide adhoc", "mine full", "vgg16 partly"} <= {*overview}
    assert len(numbers(tmp_path, "comparison_auc")) == 15
    assert "## Full results of experiments that the paper does not have" in text
    assert "- cannot be read" not in text
    assert "paper |" not in (tmp_path / "tables/other_experiments.md").read_text(encoding="utf-8")
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert 'data-name="other_experiments"' in page
    for name in ("figure_4", "roc_curves", "forest_f1", "reliability", "decision_curve"):
        assert (tmp_path / f"figures/{name}.png").is_file()


def test_evaluations_of_two_runs_are_two_experiments(tmp_path: Path) -> None:
    for name in ("a", "b"):
        run_dir = store_run(tmp_path, f"name={name}", "model=model1")
        facts = read_json(run_dir / METRICS_JSON)
        write_json(run_dir / METRICS_JSON, facts | {"weights_sha256": name, "evaluated_run": name})
        config = read_config(run_dir) | {"name": "external"}
        write_yaml(run_dir / CONFIG_YAML, config)
    text = rebuild(tmp_path)
    table = numbers(tmp_path, "table_v")
    assert table["n"].unique().tolist() == [181]
    assert table["number"].unique().tolist() == [1, 2]
    assert "model1 adhoc (2)" in text


def test_a_run_that_scores_its_own_test_images_again_is_no_experiment_of_its_own(tmp_path: Path) -> None:
    trained = store_run(tmp_path, "model=model1")
    environment = {"device": "cpu", "precision": "fp32", "weights": {"sha256": "w"}}
    write_json(trained / "environment.json", environment)
    again = shutil.copytree(trained, trained.parent / "seed0-again")
    facts = read_json(again / METRICS_JSON) | {"weights_sha256": "w", "evaluated_run": "seed0"}
    write_json(again / METRICS_JSON, facts)
    text = rebuild(tmp_path)
    assert numbers(tmp_path, "table_v")["number"].unique().tolist() == [1]
    folder = "runs/phantom/adhoc/model1"
    assert f"scores the test images of {folder}/seed0 again: {folder}/seed0-again" in text


def test_what_an_earlier_call_wrote_does_not_stay(tmp_path: Path) -> None:
    store_run(tmp_path, "model=model1")
    other = store_run(tmp_path, "model=squeezenet", "approach=full")
    rebuild(tmp_path)
    assert (tmp_path / "tables/table_iii.csv").is_file()
    (tmp_path / "tables/my_notes.txt").write_text("precious")
    shutil.rmtree(other)
    rebuild(tmp_path)
    names = {path.name for path in (tmp_path / "tables").iterdir()}
    assert "table_v.csv" in names
    assert "my_notes.txt" in names
    assert not any(name.startswith(("table_iii", "comparison")) for name in names)


@pytest.mark.parametrize(
    "typed",
    [
        "evaluation.threshold=0.3", "preprocessing.fit=resize", "trainer.test_epoch=last", "labels.rule=extremes",
        "trainer.watched=originals", "augmentation.operations.1.max_deg=45", "augmentation.copies_per_degraded=1",
        "optimizer.weight_decay=0.1", "model.input_std=[0.5,0.5,0.5]", "split=stratified", "optimizer=adamw",
        "trainer.batch_size=8", "split.train.normal=978", "trainer.epochs=300",
    ],
)  # fmt: skip
def test_every_departure_from_the_papers_settings_is_marked_and_named(tmp_path: Path, typed: str) -> None:
    run_dir = store_run(tmp_path, "model=model1", typed)
    (experiment,), _ = gather_experiments([read_run(tmp_path, run_dir)])
    assert marks_of(experiment) == "d"
    value = typed.split("=")[1].split(",")[0].strip("[")
    assert value in notes_of(experiment)[0].removeprefix("not the paper's: ")


def test_a_test_set_of_one_class_has_no_auc_and_no_curve(tmp_path: Path) -> None:
    for model in ("model1", "model2"):
        run_dir = store_run(tmp_path, f"model={model}")
        for name in ("predictions.csv", "split.csv"):
            table = pd.read_csv(run_dir / name)
            write_csv(run_dir / name, table[table["label"] == 0])
        store_metrics(run_dir, read_json(run_dir / METRICS_JSON))
    rebuild(tmp_path)
    table = numbers(tmp_path, "table_v").set_index(["model", "metric"])["value"]
    assert math.isnan(table["model1", "auc"])
    assert 0 < table["model1", "specificity"] < 1


def test_stability_counts_who_is_best_in_each_seed(tmp_path: Path) -> None:
    for seed in range(3):
        for model in ("model1", "model2"):
            store_run(tmp_path, f"model={model}", f"seed={seed}")
    rebuild(tmp_path)
    table = numbers(tmp_path, "stability").set_index("experiment")
    f1 = numbers(tmp_path, "table_v").query("metric == 'f1'").set_index("model")
    assert table["best_in"].sum() == 3
    assert table.loc["model1 adhoc", "f1_mean"] == pytest.approx(f1.loc["model1", "value"])
    assert table.loc["model1 adhoc", "f1_sd"] == pytest.approx(f1.loc["model1", "sd"])


def test_latex_is_balanced_and_escaped(outputs: Path) -> None:
    for path in (outputs / "tables").glob("*.tex"):
        text = path.read_text(encoding="utf-8")
        for opening, closing in (("{", "}"), ("\\begin{tabular}", "\\end{tabular}"), ("\\toprule", "\\bottomrule")):
            unescaped = text.replace("\\{", "").replace("\\}", "")
            assert unescaped.count(opening) == unescaped.count(closing), path
        assert text.isascii()
        assert all("\\_" in part or "_" not in part for part in text.split() if not part.startswith("%")), path


def test_a_folder_without_finished_runs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refusal, match="no finished run"):
        rebuild(tmp_path)
    store_run(tmp_path, "model=model2", finished=False)
    with pytest.raises(Refusal) as refusal:
        rebuild(tmp_path)
    assert refusal.value.details == ("not finished: runs/phantom/adhoc/model2/seed0",)
    with pytest.raises(Refusal, match="no such folder"):
        rebuild(tmp_path / "nowhere")


def test_runs_that_start_from_other_weights_of_a_library_are_no_repeats() -> None:
    config: dict[str, Any] = {"seed": 0, "split": {"name": "stratified"}}
    facts = {"data_sha256": "d", "weights_sha256": None, "initialisation": "imagenet"}
    old, new = ({"weights": {"initial_sha256": sha256}} for sha256 in ("a", "b"))
    assert experiment_identity(config, facts, old) == experiment_identity(config | {"seed": 1}, facts, old)
    assert experiment_identity(config, facts, old) != experiment_identity(config, facts, new)
