"""augmentation.when=epoch: each training image is changed anew in every epoch, whatever the order of the batches."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import SMALL, composed, defaults_of, image_set

from dxa_tbs.data.augment import _stream
from dxa_tbs.errors import Refusal
from dxa_tbs.pipeline.augmentation import build_operations, new_images
from dxa_tbs.pipeline.experiment import run_experiment
from dxa_tbs.pipeline.train import train
from dxa_tbs.report.build import write_report
from dxa_tbs.runs.records import read_history, read_metrics, read_split
from dxa_tbs.training.batches import BATCHES_AHEAD, Samples
from dxa_tbs.training.changing import ChangingSamples

NUM = 23
PIXELS = np.random.default_rng(0).integers(0, 256, (NUM, 40, 40), dtype=np.uint8)
TABLE = pd.DataFrame({"image_id": [f"i{row}" for row in range(NUM)]})


def changing(rows: np.ndarray, *typed: str, seed: int = 0) -> ChangingSamples:
    operations = build_operations(composed("augmentation=epoch", *typed).augmentation)
    change = new_images(TABLE, PIXELS, operations, seed=seed)
    targets = torch.from_numpy(rows.astype(np.float32))
    return ChangingSamples(torch.from_numpy(PIXELS), torch.from_numpy(rows), targets, change)


def shown(samples: Samples, indices: torch.Tensor, size: int) -> dict[int, np.ndarray]:
    """Return the image that was shown with each target."""
    found = {}
    for inputs_B, targets_B in samples.batches(indices.split(size)):
        found |= {int(target): image.numpy() for image, target in zip(inputs_B, targets_B, strict=True)}
    return found


def test_an_image_depends_on_seed_epoch_and_name_and_not_on_the_order_or_the_size_of_batches() -> None:
    rows = np.arange(3, NUM)
    samples = changing(rows).in_epoch(2)
    in_order = shown(samples, torch.arange(len(rows)), 4)
    shuffled = shown(samples, torch.randperm(len(rows), generator=torch.Generator().manual_seed(1)), 7)
    assert in_order.keys() == shuffled.keys() == set(rows.tolist())
    assert all(np.array_equal(in_order[row], shuffled[row]) for row in rows)
    others = (changing(rows).in_epoch(1), changing(rows, seed=1).in_epoch(2))
    for other in others:
        found = shown(other, torch.arange(len(rows)), 4)
        assert not any(np.array_equal(in_order[row], found[row]) for row in rows)


def test_the_images_are_those_that_the_operations_make_one_after_the_other() -> None:
    rows = np.arange(NUM)
    found = shown(changing(rows, "seed=0").in_epoch(3), torch.arange(NUM), 5)
    operations = build_operations(composed("augmentation=epoch").augmentation)
    for row in rows:
        rng, image = _stream(0, 3, f"i{row}"), PIXELS[row]
        for operation in operations:
            image = operation.function(image, rng, **operation.settings)
        assert np.array_equal(found[row], image)
    assert np.array_equal(changing(rows).take(torch.tensor([4]))[0][0].numpy(), PIXELS[4])


def test_no_more_than_a_few_batches_are_made_in_advance_and_an_early_end_stops_the_rest() -> None:
    made, lock = [], threading.Lock()

    def change(row: int, epoch: int, before: int) -> np.ndarray:
        with lock:
            made.append(row)
        return PIXELS[row % NUM]

    samples = ChangingSamples(torch.empty(400), torch.arange(400), torch.zeros(400), change)
    batches = samples.batches(torch.arange(400).split(4))
    for number in range(1, 11):
        next(batches)
        assert 4 * number <= len(made) <= 4 * (number + BATCHES_AHEAD)
    batches.close()  # type: ignore[attr-defined]
    assert len(made) <= 4 * (10 + BATCHES_AHEAD)


def test_an_image_that_occurs_again_in_an_epoch_is_changed_in_another_way() -> None:
    samples = changing(np.arange(NUM)).in_epoch(2)
    order = torch.tensor([4, 1, 4, 1, 4])
    shown = torch.cat([images for images, _ in samples.batches(order.split(2))])
    again = torch.cat([images for images, _ in samples.batches(torch.arange(NUM).split(3))])
    assert torch.equal(shown[0], again[4]) and torch.equal(shown[1], again[1])
    assert not torch.equal(shown[0], shown[2]) and not torch.equal(shown[2], shown[4])
    assert not torch.equal(shown[1], shown[3])


def test_an_operation_that_fails_ends_the_training_with_its_error() -> None:
    def change(row: int, epoch: int, before: int) -> np.ndarray:
        if row == 9:
            raise Refusal("operations: no image")
        return PIXELS[row]

    samples = ChangingSamples(torch.empty(NUM), torch.arange(NUM), torch.zeros(NUM), change)
    with pytest.raises(Refusal, match="no image"):
        list(samples.batches(torch.arange(NUM).split(4)))


def test_other_samples_are_the_same_in_each_epoch() -> None:
    samples = Samples(torch.from_numpy(PIXELS), torch.arange(NUM), torch.zeros(NUM))
    assert samples.in_epoch(5) is samples


TINY = ("model=model3", "model.filters=[4,4,4,4,4]", "model.fc_widths=[8]", "trainer.device=cpu", "trainer.epochs=2")


def test_without_a_change_the_training_is_the_one_on_the_originals_bit_for_bit() -> None:
    rng = np.random.default_rng(0)
    images = image_set(rng.integers(0, 256, (20, 224, 224), dtype=np.uint8), np.arange(20) % 2, num_train=14)
    nothing = "augmentation.operations=[{name:flip,probability:0}]"
    histories = [
        train(images, composed(*TINY, *typed)).history.drop(columns=["train_s", "val_s"])
        for typed in (["augmentation=none"], ["augmentation=epoch", nothing], *[["augmentation=epoch"]] * 2)
    ]
    assert histories[0].equals(histories[1])
    assert not histories[0].equals(histories[2])
    assert histories[2].equals(histories[3])


@pytest.mark.slow
def test_a_run_that_changes_its_images_in_each_epoch_is_tested_on_originals_and_reported(
    tmp_path: Path, cache_dir: Path
) -> None:
    typed = [*SMALL[:5], *TINY, "augmentation=epoch", f"output_root={tmp_path}"]
    run_dir = run_experiment(composed(*typed, f"cache_dir={cache_dir}"), defaults=defaults_of(typed))
    assert len(read_history(run_dir).epochs) == 2
    assert (read_split(run_dir)["origin"] == "").all()
    assert not any("texture" in text for text in read_metrics(run_dir)["warnings"])
    assert "model3 adhoc" in write_report(tmp_path / "runs")
    page = (tmp_path / "runs/report.html").read_text(encoding="utf-8")
    assert "each training image is changed anew in every epoch by flip (probability 0.5), rotate (max deg 10" in page
