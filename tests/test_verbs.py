"""The verbs take values and return values: prepare, train, test, predict."""

from __future__ import annotations

import doctest
from pathlib import Path

import numpy as np
import pytest
from conftest import SMALL, composed
from PIL import Image

import dxa_tbs
from dxa_tbs import notebook
from dxa_tbs.data.window import crop_frame
from dxa_tbs.errors import Refusal
from dxa_tbs.hashes import sha256_of_array
from dxa_tbs.notebook import compose, predict, prepare, train
from dxa_tbs.pipeline import test as testing
from dxa_tbs.progress import Progress
from dxa_tbs.runs.identity import read_config
from dxa_tbs.runs.records import read_history, read_predictions


@pytest.mark.slow
def test_the_example_for_a_notebook_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    results = doctest.testmod(notebook)
    assert (results.failed, results.attempted) == (0, 9)
    (run_dir,) = tmp_path.glob("outputs/runs/phantom/adhoc/model3/*")
    assert run_dir.name.startswith("seed0-")


def test_the_verbs_return_the_results_of_a_run_and_training_gets_no_test_image(finished: Path, cache_dir: Path) -> None:
    reports: list[Progress] = []
    config = composed(*SMALL, f"cache_dir={cache_dir}")
    prepared = prepare(config, on_progress=reports.append)
    development = {sha256_of_array(np.asarray(image)) for image in prepared.development.pixels}
    assert development == set(prepared.development.table["sha256"])
    assert development.isdisjoint(prepared.test.table["sha256"])
    trained = train(prepared.development, config, on_progress=reports.append)
    assert testing.test(trained, prepared).reset_index(drop=True).equals(read_predictions(finished))
    assert trained.history["watched_loss"].tolist() == read_history(finished).epochs["watched_loss"].tolist()

    training = [progress for progress in reports if progress.stage == "training"]
    num_train = (prepared.table["split"] == "train").sum()
    assert {progress.total for progress in training} == {num_train}
    assert [progress.done for progress in training] == sorted(progress.done for progress in training)
    assert training[-1].done == num_train
    assert [bool(progress.epoch) for progress in training] == [False] * (len(training) - 1) + [True]


def test_predictions_need_no_label_and_are_those_of_the_test(finished: Path, cache_dir: Path, tmp_path: Path) -> None:
    prepared = prepare(composed(*SMALL, f"cache_dir={cache_dir}"))
    scores = read_predictions(finished).set_index("image_id")["score"]
    ours = predict(finished, prepared.test.pixels, device="cpu")
    assert ours["score"].to_numpy() == pytest.approx(scores[prepared.test.table["image_id"]].to_numpy(), abs=1e-6)

    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (3, 260, 240), dtype=np.uint8)
    for number, frame in enumerate(frames):
        Image.fromarray(frame).save(tmp_path / f"{number}.png")
    paths = [tmp_path / f"{number}.png" for number in (2, 0, 1)]
    of_files = predict(finished, paths, device="cpu", cache_dir=tmp_path / "cache")
    assert of_files["image"].tolist() == list(map(str, paths))
    windows = np.stack([crop_frame(frames[number], np.full(4, np.nan), 224) for number in (2, 0, 1)])
    assert of_files["score"].tolist() == predict(finished, windows, device="cpu")["score"].tolist()


def test_unusable_images_and_runs_are_refused(finished: Path, tmp_path: Path) -> None:
    with pytest.raises(Refusal, match=r"images: float64 \(2, 224, 224\) given: give uint8"):
        predict(finished, np.zeros((2, 224, 224)))
    with pytest.raises(Refusal, match=r"images: uint8 \(2, 100, 224\) given"):
        predict(finished, np.zeros((2, 100, 224), np.uint8))
    for nothing in ([], "image.png", Path("image.png"), [np.zeros((224, 224))]):
        with pytest.raises(Refusal, match="images: give a list of one or more paths"):
            predict(finished, nothing)  # type: ignore[arg-type]
    with pytest.raises(Refusal, match="images: 1 of 1 are not files"):
        predict(finished, [tmp_path / "lacking.png"])
    with pytest.raises(Refusal, match="device=gpu: is not a device"):
        predict(finished, np.zeros((2, 224, 224), np.uint8), device="gpu")
    Image.fromarray(np.arange(260 * 240, dtype=np.uint16).reshape(260, 240)).save(tmp_path / "deep.png")
    with pytest.raises(Refusal, match="16-bit pixels, and the run was trained on 8 bits"):
        predict(finished, [tmp_path / "deep.png"], cache_dir=tmp_path)
    with pytest.raises(Refusal, match=r"run_dir=.* is not the folder of a finished, trained run"):
        predict(tmp_path, np.zeros((2, 224, 224), np.uint8))
    (tmp_path / "broken.png").write_bytes(b"no image")
    with pytest.raises(Refusal, match="1 of 1 images cannot be used"):
        predict(finished, [tmp_path / "broken.png"], cache_dir=tmp_path)


def test_a_network_is_not_tested_on_images_of_another_split(finished: Path, cache_dir: Path) -> None:
    config = composed(*SMALL, f"cache_dir={cache_dir}")
    trained = train(prepare(config).development, config)
    other = prepare(composed(*SMALL, f"cache_dir={cache_dir}", "split.seed=5"))
    with pytest.raises(Refusal, match="test images are among those the network was trained on"):
        testing.test(trained, other)


@pytest.mark.slow
def test_an_evaluation_from_a_notebook_takes_over_the_settings_of_the_run(cache_dir: Path, tmp_path: Path) -> None:
    where = [f"output_root={tmp_path}", f"cache_dir={cache_dir}"]
    run_dir = dxa_tbs.train(compose([*SMALL, *where, "preprocessing.fit=resize", "evaluation.threshold=0.4"])).folder
    evaluation = dxa_tbs.train(compose([f"evaluate={run_dir}", *where, "name=again"]))
    assert evaluation.history is None
    again = evaluation.folder
    tested = [read_predictions(one).query("split == 'test'") for one in (again, run_dir)]
    assert tested[0].equals(tested[1])
    theirs, ours = read_config(run_dir), read_config(again)
    assert (ours["preprocessing"], ours["evaluation"]) == (theirs["preprocessing"], theirs["evaluation"])
    with pytest.raises(Refusal, match="model: is fixed by the run given with evaluate=<run>"):
        compose([f"evaluate={run_dir}", "model=model1", *where])
    config = compose([f"evaluate={run_dir}", *where])
    with pytest.raises(Refusal, match="the weights of that run are tested, not trained"):
        train(prepare(config).development, config)
    with pytest.raises(Refusal, match=r"evaluate=nope is not the folder"):
        compose(["evaluate=nope", *where])
