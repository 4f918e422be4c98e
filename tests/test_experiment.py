"""Whole runs on small phantoms: what is left on disk, that it repeats, and that files give what the phantom gives."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import SMALL, composed, defaults_of
from golden_runs import stored_runs
from hydra import compose
from PIL import Image
from sklearn.metrics import roc_auc_score
from test_verification import add_digests

from dxa_tbs.config.compose import load_config, take_over_training
from dxa_tbs.data.phantom.cohort import export_cohort
from dxa_tbs.data.phantom.render import read_frame as read_candidate
from dxa_tbs.errors import Refusal
from dxa_tbs.evaluation.metrics import best_f1_threshold, binary_metrics
from dxa_tbs.hashes import sha256_of_file
from dxa_tbs.models.adhoc import build_adhoc
from dxa_tbs.pipeline.cohort import read_cohort
from dxa_tbs.pipeline.experiment import run_experiment
from dxa_tbs.pipeline.results import watched_loss
from dxa_tbs.report.build import write_report
from dxa_tbs.runs.files import SIGNATURES_NPY, read_csv, read_json, write_csv, write_json, write_yaml
from dxa_tbs.runs.folder import is_finished
from dxa_tbs.runs.identity import read_config
from dxa_tbs.runs.records import read_environment, read_history, read_predictions
from dxa_tbs.tasks.binary import probability_of_degraded
from dxa_tbs.training.batches import build_normalisation
from dxa_tbs.verification.seal import FILES as FILES_KEY
from dxa_tbs.verification.seal import OWN

FILES = {
    "config.yaml", "environment.json", "split.csv", "history.csv", "predictions.csv", "timing.json", "layers.csv",
    "model.pt", "metrics.json", "train.log", "figures", "measures.csv", "errors.csv", "errors", "signatures.npy",
    ".lock",
}  # fmt: skip
DRAWN = ("learning_curve", "roc", "confusion_matrix", "augmentation", "frame_and_crop")
FIGURES = {f"{name}.{suffix}" for name in DRAWN for suffix in ("png", "pdf")}


def run(root: Path, cache: Path, *overrides: str) -> Path:
    typed = [f"output_root={root}", f"cache_dir={cache}", *overrides]
    return run_experiment(composed(*typed), defaults=defaults_of(typed))


def evaluate(root: Path, cache: Path, source: Path, *overrides: str) -> Path:
    typed = [f"output_root={root}", f"cache_dir={cache}", f"evaluate={source}", *overrides]
    cfg = compose("config", overrides=typed)
    take_over_training(cfg, read_config(source), typed)
    return run_experiment(load_config(cfg), defaults=defaults_of(typed))


def test_the_run_folder_is_complete(finished: Path) -> None:
    assert {path.name for path in finished.iterdir()} == FILES
    assert {path.name for path in (finished / "figures").iterdir()} == FIGURES
    for figure in (finished / "figures").glob("*.png"):
        with Image.open(figure) as image:
            assert np.asarray(image.convert("L")).std() > 5


def test_every_image_of_val_and_test_is_scored_once(finished: Path) -> None:
    split, scored = (read_csv(finished / name) for name in ("split.csv", "predictions.csv"))
    expected = split[split["split"] != "train"]
    assert scored["image_id"].tolist() == expected["image_id"].tolist()
    assert scored["label"].tolist() == expected["label"].tolist()
    assert scored["score"].between(0, 1).all()
    assert (split[split["split"] == "test"]["origin"] == "").all()
    assert {"age", "bmi", "scanner"} <= set(split.columns)


def test_metrics_can_be_recomputed_from_predictions(finished: Path) -> None:
    scored, facts = read_csv(finished / "predictions.csv"), read_json(finished / "metrics.json")
    is_original = read_csv(finished / "split.csv").set_index("image_id")["origin"][scored["image_id"]] == ""
    scored = scored[is_original.to_numpy()]
    for name in ("val", "test"):
        part = scored[scored["split"] == name]
        assert part["label"].value_counts().to_dict() == {0: 8, 1: 4}
        for rule, threshold in facts["thresholds"].items():
            told = facts[name][f"at_{rule}"]
            calls = part["score"] >= threshold
            assert told["tp"] == int((calls & (part["label"] == 1)).sum())
            assert told["tn"] == int((~calls & (part["label"] == 0)).sum())
            assert told["accuracy"] == pytest.approx((told["tp"] + told["tn"]) / len(part))
            assert told["auc"] == pytest.approx(roc_auc_score(part["label"], part["score"]))


def test_the_record_says_what_was_trained_on_what(finished: Path) -> None:
    facts, environment = (read_json(finished / name) for name in ("metrics.json", "environment.json"))
    assert facts["synthetic"]
    assert facts["num_images"]["test"] == {
        "normal_original": 8, "degraded_original": 4, "normal_augmented": 0, "degraded_augmented": 0,
    }  # fmt: skip
    assert any("can alter the texture of" in text for text in facts["warnings"])
    assert environment["packages"]["torch"] == torch.__version__.split("+")[0]
    assert environment["weights"]["sha256"] == sha256_of_file(finished / "model.pt")
    log = (finished / "train.log").read_text()
    assert "epoch 1/1" in log
    assert "can alter the texture of" in log


@pytest.mark.slow
def test_the_parts_of_the_time_of_ten_epochs_add_up_to_the_whole(tmp_path: Path, cache_dir: Path) -> None:
    larger = ["dataset.num_normal=160", "dataset.num_degraded=80", "trainer.epochs=10", "trainer.patience=null"]
    run_dir = run(tmp_path, cache_dir, *SMALL, *larger)
    timing = read_json(run_dir / "timing.json")
    parts = ("data_s", "prepare_s", "compile_s", "train_10_epochs_s", "val_10_epochs_s")
    assert sum(timing[name] for name in parts) == pytest.approx(timing["cold_10_epochs_s"], rel=0.02)
    needed = timing["prepare_s"] + timing["compile_s"] + timing["train_10_epochs_s"]
    assert timing["time_10_epochs_s"] == pytest.approx(needed)
    assert timing["cores_busy_elsewhere"] >= 0


def test_the_saved_weights_give_the_saved_scores(finished: Path, cache_dir: Path) -> None:
    again = evaluate(finished.parents[4], cache_dir, finished)
    ours, theirs = (read_csv(folder / "predictions.csv") for folder in (finished, again))
    test = ours[ours["split"] == "test"].set_index("image_id")["score"]
    assert theirs[theirs["split"] == "test"].set_index("image_id")["score"].to_dict() == test.to_dict()
    state = torch.load(finished / "model.pt", weights_only=True)
    model = build_adhoc([8, 16, 32], [100])
    model.load_state_dict(state)
    black = torch.zeros(1, 224, 224, dtype=torch.uint8)
    logits = model.eval()(build_normalisation([0] * 3, [1] * 3, torch.device("cpu")).to_input(black))
    assert 0 < probability_of_degraded(logits.detach())[0] < 1


def test_a_finished_run_is_skipped(finished: Path, cache_dir: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in finished.iterdir()}
    assert run(finished.parents[4], cache_dir, *SMALL) == finished
    assert {path: path.stat().st_mtime_ns for path in finished.iterdir()} == before


def test_the_same_run_repeats_bit_for_bit_and_another_seed_shares_its_test_set(
    finished: Path, tmp_path: Path, cache_dir: Path
) -> None:
    again, other = run(tmp_path, cache_dir, *SMALL), run(tmp_path, cache_dir, *SMALL, "seed=1")
    for name in ("split.csv", "predictions.csv"):
        assert (again / name).read_bytes() == (finished / name).read_bytes()
    ours, theirs = (read_csv(folder / "predictions.csv").query("split == 'test'") for folder in (finished, other))
    assert ours["image_id"].tolist() == theirs["image_id"].tolist()
    assert ours["score"].tolist() != theirs["score"].tolist()


@pytest.mark.slow
def test_an_exported_phantom_read_back_as_a_table_gives_the_same_run_bit_for_bit(
    finished: Path, tmp_path: Path, cache_dir: Path
) -> None:
    config = composed(*SMALL)
    export_cohort(read_cohort(config.dataset, config.labels, config.split), tmp_path / "hospital")
    table = [text for text in SMALL if not text.startswith("dataset.")]
    other = run(tmp_path / "outputs", cache_dir, "dataset=table", f"dataset.root={tmp_path / 'hospital'}", *table)
    for name in ("split.csv", "predictions.csv"):
        assert (other / name).read_bytes() == (finished / name).read_bytes()
    ours, theirs = (read_json(folder / "metrics.json") for folder in (finished, other))
    for key in ("data_sha256", "cohort_sha256", "files_sha256", "sha256"):
        del ours[key], theirs[key]
    assert ours == theirs
    assert torch.load(finished / "model.pt").keys() == torch.load(other / "model.pt").keys()


def test_class_folders_train_and_a_changed_image_is_noticed(tmp_path: Path, cache_dir: Path) -> None:
    rng = np.random.default_rng(0)
    for label, name in enumerate(("Normal", "Degraded")):
        (tmp_path / "data" / name).mkdir(parents=True)
        for index in range(12):
            frame = rng.integers(0, 128 + 127 * label, (240, 250), dtype=np.uint8)
            Image.fromarray(frame).save(tmp_path / "data" / name / f"{index}.png")
    typed = ("dataset=folder", f"dataset.root={tmp_path / 'data'}", "augmentation=none", *SMALL[2:])
    run_dir = run(tmp_path / "outputs", cache_dir, *typed)
    facts = read_json(run_dir / "metrics.json")
    assert not facts["synthetic"]
    assert not (run_dir / "figures/augmentation.png").exists()
    Image.fromarray(rng.integers(0, 255, (240, 250), dtype=np.uint8)).save(tmp_path / "data/Normal/0.png")
    with pytest.raises(Refusal) as refusal:
        run(tmp_path / "outputs", cache_dir, *typed)
    assert refusal.value.details == ("the images or their labels have changed since",)


def test_external_evaluation_scores_every_image_and_says_whose_weights(
    finished: Path, tmp_path: Path, cache_dir: Path
) -> None:
    elsewhere = evaluate(
        tmp_path,
        cache_dir,
        finished,
        "dataset=phantom",
        "dataset.seed=9",
        "dataset.num_normal=6",
        "dataset.num_degraded=4",
    )
    facts = read_json(elsewhere / "metrics.json")
    assert facts["evaluated_run"] == str(finished)
    assert "val" not in facts
    assert len(read_csv(elsewhere / "predictions.csv")) == 10
    assert facts["thresholds"] == read_json(finished / "metrics.json")["thresholds"]
    assert not (elsewhere / "model.pt").exists()
    environment = read_json(elsewhere / "environment.json")
    assert environment["weights"]["sha256"] == sha256_of_file(finished / "model.pt")


def test_a_threshold_chosen_on_copies_is_chosen_anew_on_the_originals(
    finished: Path, tmp_path: Path, cache_dir: Path
) -> None:
    """As in a run of 0.1.0, which has no trainer.watched either: it is finished, and its weights can be evaluated."""
    old = tmp_path / "old/phantom/adhoc/model3" / finished.name
    shutil.copytree(finished, old)
    config, facts = read_config(old), read_json(old / "metrics.json")
    assert facts.pop("threshold_of") == "validation originals"
    del config["trainer"]["watched"]
    write_yaml(old / "config.yaml", config | {"name": "old"})
    chosen = facts["thresholds"]["val_f1"]
    scored = read_csv(old / "predictions.csv")
    parts = {name: (part["label"].to_numpy(), part["score"].to_numpy()) for name, part in scored.groupby("split")}
    thresholds = {"fixed": 0.5, "val_f1": best_f1_threshold(*parts["val"])}
    assert thresholds["val_f1"] != chosen
    facts = {key: value for key, value in facts.items() if key not in (FILES_KEY, OWN)} | {"thresholds": thresholds}
    for name, part in parts.items():
        facts[name] = {f"at_{rule}": binary_metrics(*part, value) for rule, value in thresholds.items()}
    write_json(old / "metrics.json", facts)
    names = {"val_originals_loss": "val_loss", "val_originals_auc": "val_auc"}
    history = read_csv(old / "history.csv").rename(columns=names).drop(columns="watched_loss")
    write_csv(old / "history.csv", history)
    assert run(tmp_path, cache_dir, *SMALL, "name=old") == old
    with pytest.raises(Refusal) as refusal:
        is_finished(old, {"trainer": {"watched": "originals"}}, facts)
    assert "trainer.watched: all there, originals here" in refusal.value.details
    other = ("dataset=phantom", "dataset.seed=9", "dataset.num_normal=6", "dataset.num_degraded=4")
    new = read_json(evaluate(tmp_path, cache_dir, old, *other) / "metrics.json")
    assert new["thresholds"] == {"fixed": 0.5, "val_f1": chosen}
    assert new["threshold_of"] == "validation originals"


@pytest.mark.slow
def test_early_stopping_can_watch_originals_alone(finished: Path, tmp_path: Path, cache_dir: Path) -> None:
    watching = run(tmp_path, cache_dir, *SMALL, "trainer.watched=originals")
    (history, _), theirs = read_history(watching), read_csv(finished / "history.csv").iloc[0]
    ours = read_csv(watching / "history.csv").iloc[0]
    assert ours["watched_loss"] == ours["val_originals_loss"] == history["val_loss"][0]
    assert ours["val_originals_loss"] == pytest.approx(theirs["val_originals_loss"], rel=1e-3)
    assert theirs["watched_loss"] != theirs["val_originals_loss"]
    assert (watching / "predictions.csv").read_bytes() == (finished / "predictions.csv").read_bytes()


def test_evaluating_on_the_runs_own_training_images_is_refused(finished: Path, tmp_path: Path, cache_dir: Path) -> None:
    with pytest.raises(Refusal, match=r"48 test images, of 48 patients, are among those .* was trained or validated"):
        evaluate(tmp_path, cache_dir, finished, "split=external")


@pytest.mark.slow
def test_copies_of_what_a_run_was_trained_on_are_recognised_and_an_older_run_says_it_cannot(
    finished: Path, tmp_path: Path, cache_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    split = read_csv(finished / "split.csv")
    originals = split[split["origin"] == ""]
    seen = originals[originals["split"] != "test"]
    assert np.load(finished / SIGNATURES_NPY).shape == (len(seen), 512)
    config = composed(*SMALL)
    cohort = read_cohort(config.dataset, config.labels, config.split).set_index("image_id")
    for label, name in enumerate(("Normal", "Degraded")):
        (tmp_path / "clinic" / name).mkdir(parents=True)
        for place, image_id in enumerate(seen["image_id"][seen["label"] == label].iloc[:2]):
            frame = Image.fromarray(read_candidate(cohort.loc[image_id, "source"]))
            frame.save(tmp_path / "clinic" / name / f"{image_id.rpartition('-')[2]}.jpg", quality=80 + place)
    clinic = ("dataset=folder", f"dataset.root={tmp_path / 'clinic'}", "dataset.patient_from=file")
    with pytest.raises(Refusal, match=r"4 pairs of a test image and an image .* was trained or validated") as refusal:
        evaluate(tmp_path, cache_dir, finished, *clinic)
    copied = {line.split(" ~ ")[1].split(" of the run")[0] for line in refusal.value.details}
    assert copied == {name for label in (0, 1) for name in seen["image_id"][seen["label"] == label].iloc[:2]}
    told = evaluate(tmp_path, cache_dir, finished, *clinic, "dataset.near_duplicates=warn")
    assert str(tmp_path) not in " ".join(read_json(told / "metrics.json")["warnings"])
    assert any("4 pairs of a test image" in text for text in read_json(told / "metrics.json")["warnings"])
    shutil.copytree(finished, tmp_path / "older")
    np.save(tmp_path / "older" / SIGNATURES_NPY, np.zeros((3, 512), np.int8))
    with pytest.raises(Refusal, match=r"signatures\.npy differs from what the run wrote"):
        evaluate(tmp_path, cache_dir, tmp_path / "older", *clinic, "name=older")
    (tmp_path / "older" / SIGNATURES_NPY).unlink()
    add_digests(tmp_path / "older")
    older = evaluate(tmp_path, cache_dir, tmp_path / "older", *clinic, "name=older")
    assert any("has no signatures" in text for text in read_json(older / "metrics.json")["warnings"])


def test_a_copy_on_the_other_side_of_the_split_is_refused_before_anything_is_written(
    tmp_path: Path, cache_dir: Path
) -> None:
    config = composed(*SMALL)
    hospital = tmp_path / "hospital"
    export_cohort(read_cohort(config.dataset, config.labels, config.split), hospital)
    table = pd.read_csv(hospital / "cohort.csv", dtype=str)
    table["split"] = ["train", "val", "test"] * 20
    copied = table.iloc[[0]].assign(image_id="copy", patient_id="other", path="images/copy.jpg", split="test")
    Image.open(hospital / table["path"].iloc[0]).save(hospital / "images/copy.jpg", quality=60)
    pd.concat([table, copied]).to_csv(hospital / "cohort.csv", index=False)
    typed = ("dataset=table", f"dataset.root={hospital}", "split=file", "augmentation=none", *SMALL[5:])
    with pytest.raises(Refusal, match="1 pairs of images of different patients on two sides") as refusal:
        run(tmp_path / "outputs", cache_dir, *typed)
    assert table["image_id"].iloc[0] in refusal.value.details[0]
    assert "copy (test" in refusal.value.details[0]
    assert not (tmp_path / "outputs").exists()


@pytest.mark.parametrize(
    "patient_from",
    [
        pytest.param("null", marks=pytest.mark.slow),
        pytest.param("file", marks=pytest.mark.slow),
        pytest.param('"([0-9]+)"', marks=pytest.mark.slow),
    ],
)
def test_nobody_is_called_a_patient_where_nobody_said_whose_the_images_are(
    patient_from: str, tmp_path: Path, cache_dir: Path
) -> None:
    config = composed(*SMALL, "dataset.num_normal=36", "dataset.num_degraded=24")
    cohort = read_cohort(config.dataset, config.labels, config.split)
    for label, name in enumerate(("Normal", "Degraded")):
        (tmp_path / "data" / name).mkdir(parents=True)
        for place, source in enumerate(cohort["source"][cohort["label"] == label]):
            Image.fromarray(read_candidate(source)).save(tmp_path / "data" / name / f"garcia {place + 60 * label}.png")
    typed = ("dataset=folder", f"dataset.root={tmp_path / 'data'}", "augmentation=none", *SMALL[2:])
    run(tmp_path / "outputs", cache_dir, *typed, f"dataset.patient_from={patient_from}")
    write_report(tmp_path / "outputs")
    kinds = (".html", ".md", ".csv", ".log", ".json", ".tex")
    files = [path for path in (tmp_path / "outputs").rglob("*") if path.suffix in kinds]
    text = " ".join(path.read_text(encoding="utf-8") for path in files)
    assert "garcia" not in text
    is_known = patient_from != "null"
    assert bool(re.search(r"\d+ patients", text.replace("fewer than 10 patients", ""))) == is_known
    assert ("DeLong and Newcombe by patient" in text) == is_known
    assert pd.read_csv(tmp_path / "outputs/tables/data_card.csv")["patients"].notna().all() == is_known
    html = (tmp_path / "outputs/report.html").read_text(encoding="utf-8")
    assert html.count("It is not known which images belong to one patient") == (not is_known)


@pytest.mark.slow
def test_a_run_on_the_cpu_never_starts_cuda(tmp_path: Path, cache_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is a GPU: another process may need its memory."""

    def starts(*arguments: object) -> None:
        raise AssertionError("CUDA was started")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "_lazy_init", starts)
    timing = read_json(run(tmp_path, cache_dir, *SMALL) / "timing.json")
    assert timing["peak_gpu_memory_mib"] is None


def test_images_that_cannot_be_used_leave_no_run_folder(tmp_path: Path, cache_dir: Path) -> None:
    for name in ("Normal", "Degraded"):
        (tmp_path / "data" / name).mkdir(parents=True)
        for index in range(12):
            pixels = np.full((230, 230), index, np.uint8) + np.eye(230, dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "data" / name / f"{index}.png")
    typed = ("dataset=folder", f"dataset.root={tmp_path / 'data'}", "augmentation=none", *SMALL[2:])
    with pytest.raises(Refusal, match="12 images occur more than once"):
        run(tmp_path / "outputs", cache_dir, *typed)
    (tmp_path / "data/Normal/3.png").write_bytes(b"")
    Image.fromarray(np.zeros((230, 230), np.uint8)).save(tmp_path / "data/Degraded/5.png")
    with pytest.raises(Refusal, match="2 of 24 images cannot be used") as refusal:
        run(tmp_path / "outputs", cache_dir, *typed)
    assert sorted(line.rpartition("/")[2] for line in refusal.value.details) == [
        "3.png is not an image",
        "5.png shows nothing: every pixel is 0",
    ]
    assert not (tmp_path / "outputs").exists()


def test_exactly_table_1_by_default() -> None:
    config = composed()
    cohort = read_cohort(config.dataset, config.labels, config.split)
    assert cohort["label"].value_counts().to_dict() == {0: 1258, 1: 211}
    assert isinstance(cohort, pd.DataFrame)


FAST = ("model=model1", "optimizer=adamw", "optimizer.lr=0.0003", "augmentation=none", "split=stratified")


@pytest.mark.slow
def test_the_easy_phantom_is_learnt(tmp_path: Path, cache_dir: Path) -> None:
    few = ("dataset=phantom_easy", "dataset.num_normal=300", "dataset.num_degraded=300", "split.test_fraction=0.2")
    facts = read_json(run(tmp_path, cache_dir, *few, *FAST, "trainer.epochs=8") / "metrics.json")
    assert facts["test"]["at_fixed"]["auc"] > 0.85


@pytest.mark.slow
def test_without_signal_there_is_nothing_to_learn(tmp_path: Path, cache_dir: Path) -> None:
    few = ("dataset=phantom_null", "dataset.num_normal=300", "dataset.num_degraded=300", "split.test_fraction=0.5")
    facts = read_json(run(tmp_path, cache_dir, *few, *FAST, "trainer.epochs=6") / "metrics.json")
    assert facts["test"]["at_fixed"]["auc"] == pytest.approx(0.5, abs=0.12)  # 3.6 standard errors at 150 + 150


@pytest.mark.slow
def test_real_folds_are_pooled_in_the_tables(tmp_path: Path, cache_dir: Path) -> None:
    folds = (
        "split=kfold",
        "split.folds=3",
        "dataset.num_normal=24",
        "dataset.num_degraded=12",
        "split.val_fraction=0.3",
    )
    typed = (*folds, "model=model3", "trainer.epochs=1", "trainer.device=cpu", "augmentation=none")
    for fold in range(3):
        run(tmp_path, cache_dir, *typed, f"split.fold={fold}")
    write_report(tmp_path)
    table = pd.read_csv(tmp_path / "tables/table_v.csv")
    assert table["n"].unique().tolist() == [36]
    assert table.set_index("metric").loc["tp", "value"] + table.set_index("metric").loc["fn", "value"] == 12


def test_the_figure_for_a_sweeper_is_the_watched_loss_of_the_tested_epoch(finished: Path, tmp_path: Path) -> None:
    history = pd.read_csv(finished / "history.csv")
    assert watched_loss(finished) == pytest.approx(history["watched_loss"].iloc[0])
    golden = stored_runs() / "phantom_text/adhoc/model1/seed0"  # of 0.1.0
    assert watched_loss(golden) == pytest.approx(pd.read_csv(golden / "history.csv")["val_loss"].min())


@pytest.mark.slow
def test_an_evaluation_of_a_run_that_fell_back_to_fp32_computes_in_fp32(
    tmp_path: Path, cache_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dxa_tbs.pipeline.network.disagreement", lambda *_, **__: "wrong")
    monkeypatch.setattr("dxa_tbs.training.precision._cpu_has_bf16", lambda: True)
    trained = run(tmp_path, cache_dir, *SMALL, "augmentation=none")
    assert read_environment(trained)["precision"] == "fp32"
    again = evaluate(tmp_path, cache_dir, trained, "name=again")
    assert read_environment(again)["precision"] == "fp32"
    scores = [read_predictions(run_dir)["score"] for run_dir in (trained, again)]
    assert scores[0].equals(scores[1])
