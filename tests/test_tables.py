"""Tables III to V from runs on disk: only finished ones, every number from predictions.csv, the paper's beside ours."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import composed
from sklearn import metrics

from dxa_tbs import records
from dxa_tbs.compose import to_plain
from dxa_tbs.errors import Refusal
from dxa_tbs.evaluation.metrics import binary_metrics
from dxa_tbs.report.paper import RESULTS
from dxa_tbs.tables import build_tables

RNG = np.random.default_rng(0)


def store_run(
    root: Path,
    model: str,
    *changes: str,
    time_s: float | None = 41.5,
    approach: str = "adhoc",
    finished: bool = True,
) -> None:
    """Write what the tables read, with scores of our own making."""
    run_dir = root / f"runs/clinic/{approach}/{model}/seed0"
    run_dir.mkdir(parents=True)
    labels = np.repeat([0, 1], [139, 42])
    scores = np.clip(RNG.normal(0.3, 0.2, 181) + 0.3 * labels, 0, 1)
    config = to_plain(composed(*changes))
    config["model"]["name"] = model
    records.write_yaml(run_dir / records.CONFIG, config)
    predictions = pd.DataFrame({"image_id": range(181), "split": "test", "label": labels, "score": scores})
    records.write_table(run_dir / "predictions.csv", predictions)
    records.write_json(run_dir / "timing.json", {"time_10_epochs_s": time_s})
    facts = {
        "synthetic": model == "model1",
        "initialisation": config["model"].get("weights"),
        "epochs": 20 if time_s else 4,
        "num_images": {"test": {"normal_original": 139, "degraded_original": 42}},
        "test": {"at_fixed": binary_metrics(labels, scores, 0.5)},
        "warnings": [],
    }
    if finished:
        records.write_json(run_dir / records.METRICS, facts)


@pytest.fixture
def outputs(tmp_path: Path) -> Path:
    store_run(tmp_path, "model4", "model=model4")
    store_run(tmp_path, "model3", "model=model3", "model.filters=[4,8]")
    store_run(tmp_path, "model1", "model=model1", "augmentation=none", "optimizer=adamw", time_s=None)
    store_run(tmp_path, "model2", "model=model2", finished=False)
    store_run(tmp_path, "mine")
    store_run(tmp_path, "squeezenet", "model=squeezenet", "approach=full", approach="full")
    store_run(tmp_path, "vgg16", "model=vgg16", "approach=full", "model.weights=none", approach="full")
    store_run(tmp_path, "resnet18", "model=resnet18", "approach=head", approach="head", finished=False)
    return tmp_path


def test_one_row_per_finished_adhoc_run_and_the_unfinished_are_named(outputs: Path) -> None:
    markdown = build_tables(outputs)
    table = pd.read_csv(outputs / "tables/table_v.csv")
    assert table["model"].tolist() == ["model1", "model3", "model4", "mine"]
    assert "not finished, not in the table: runs/clinic/adhoc/model2/seed0" in markdown
    texts = [(outputs / f"tables/table_{number}.md").read_text(encoding="utf-8") for number in ("iii", "iv", "v")]
    assert markdown == "\n".join(texts)
    assert texts[1].splitlines()[-1] == "- not finished, not in the table: runs/clinic/head/resnet18/seed0"
    assert "resnet18" not in texts[2]


def test_every_number_is_recomputed_from_predictions(outputs: Path) -> None:
    build_tables(outputs)
    for row in pd.read_csv(outputs / "tables/table_v.csv").to_dict("records"):
        scored = pd.read_csv(outputs / row["run"] / "predictions.csv")
        calls = scored["score"] >= 0.5
        tn, fp, fn, tp = metrics.confusion_matrix(scored["label"], calls).ravel()
        assert [row[name] for name in ("tp", "fp", "tn", "fn", "n")] == [tp, fp, tn, fn, 181]
        assert row["accuracy"] == pytest.approx((tp + tn) / 181)
        assert row["sensitivity"] == pytest.approx(tp / 42)
        assert row["specificity"] == pytest.approx(tn / 139)
        assert row["f1"] == pytest.approx(2 * tp / (2 * tp + fp + fn))
        assert row["auc"] == pytest.approx(metrics.roc_auc_score(scored["label"], scored["score"]))
        assert row["auc_hard"] == pytest.approx((tp / 42 + tn / 139) / 2)


def test_the_papers_values_stand_beside_ours(outputs: Path) -> None:
    markdown = build_tables(outputs)
    table = pd.read_csv(outputs / "tables/table_v.csv").set_index("model")
    printed = [31, 10, 129, 11, 0.884, 0.738, 0.928, 0.747, 0.936, 55.61]
    names = ["tp", "fp", "tn", "fn", "accuracy", "sensitivity", "specificity", "f1", "auc", "time_10_epochs_s"]
    assert table.loc["model4", [f"paper_{name}" for name in names]].tolist() == printed
    for network in ("mine", "model3"):  # of another name, or of a paper's name with other filters
        assert table.loc[network, [f"paper_{name}" for name in names]].isna().all()
    row = next(line for line in markdown.splitlines() if line.startswith("| model4"))
    assert row.split("|")[3].strip() == f"{int(table.loc['model4', 'tp'])} (31)"
    assert f"{table.loc['model4', 'f1']:.3f} (0.747)" in row
    assert "41.50 (55.61)" in row


def test_pretrained_networks_come_in_the_papers_order_and_random_ones_are_marked(outputs: Path) -> None:
    build_tables(outputs)
    table = pd.read_csv(outputs / "tables/table_iii.csv").set_index("model")
    assert table.index.tolist() == ["vgg16", "squeezenet"]
    assert table.loc["squeezenet", ["paper_auc", "paper_f1"]].tolist() == [0.828, 0.759]
    assert pd.isna(table.loc["vgg16", "paper_auc"])  # the printed one follows the arithmetic of calls
    assert table.loc["vgg16", "paper_auc_hard"] == 0.784
    lines = (outputs / "tables/table_iii.md").read_text(encoding="utf-8").splitlines()
    assert len([line for line in lines if line.startswith("| vgg16 (random initialisation)")]) == 1
    assert "- runs/clinic/full/vgg16/seed0: not the paper's: weights none" in lines


def test_the_printed_auc_is_that_of_the_calls_where_the_arithmetic_says_so() -> None:
    hard = {f"{table.approach} {model}" for table in RESULTS for model, row in table.rows.items() if row.auc_is_hard}
    assert hard == {"full vgg16", "full densenet121", *(f"head {model}" for model in RESULTS[1].rows)}


def test_what_is_synthetic_or_not_timed_says_so(outputs: Path) -> None:
    markdown = build_tables(outputs)
    note = next(line for line in markdown.splitlines() if line.startswith("- runs/clinic/adhoc/model1"))
    assert "synthetic phantom" in note
    assert "trained for 4 epochs only: no time of 10" in note
    assert "not the paper's: augmentation none, optimizer adamw" in note
    assert "- (41.00)" in markdown
    assert not [line for line in markdown.splitlines() if line.startswith("- runs/clinic/adhoc/model4")]


def test_a_folder_without_finished_runs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refusal, match="no finished run"):
        build_tables(tmp_path)
    store_run(tmp_path, "model2", "model=model2", finished=False)
    with pytest.raises(Refusal) as refusal:
        build_tables(tmp_path)
    assert refusal.value.details == ("not finished: runs/clinic/adhoc/model2/seed0",)
    with pytest.raises(Refusal, match="no such folder"):
        build_tables(tmp_path / "nowhere")
