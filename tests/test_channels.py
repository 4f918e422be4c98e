"""The input of a network: images of another size, one channel, and channels that show texture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import SMALL, composed, defaults_of

from dxa_tbs.config.checks import check_config
from dxa_tbs.config.checks.input import MIN_WINDOW_PX
from dxa_tbs.data.variogram import variogram
from dxa_tbs.errors import Refusal
from dxa_tbs.models.texture import texture_channels
from dxa_tbs.pipeline.experiment import run_experiment
from dxa_tbs.pipeline.learner import build_learner
from dxa_tbs.pipeline.train import new_network
from dxa_tbs.runs.records import read_layers, read_metrics, read_predictions
from dxa_tbs.training.batches import build_normalisation

CPU = torch.device("cpu")
IMAGE = np.random.default_rng(0).integers(0, 256, (40, 50), dtype=np.uint8)


def channels_of(image: np.ndarray, window_px: int) -> np.ndarray:
    return texture_channels(torch.from_numpy(image[None].astype(np.float32)), window_px=window_px)[0].numpy()


@pytest.mark.parametrize(("row", "column"), [(20, 20), (15, 33), (0, 0), (39, 49), (2, 49)])
def test_local_sd_and_slope_are_those_of_the_window_around_a_pixel(row: int, column: int) -> None:
    half = 4
    grey, sd, slope = channels_of(IMAGE, 2 * half + 1)
    assert np.array_equal(grey, IMAGE)
    rows, columns = (slice(max(0, at - half), at + half + 1) for at in (row, column))
    assert sd[row, column] == pytest.approx(2 * IMAGE[rows, columns].astype(float).std(), abs=0.01)

    values = IMAGE.astype(float)
    variograms = []
    for lag in (1, 2, 3):
        squares = [
            (values[y + dy, x + dx] - values[y, x]) ** 2
            for y in range(*rows.indices(40))
            for x in range(*columns.indices(50))
            for dy, dx in ((lag, 0), (0, lag))
            if y + dy < 40 and x + dx < 50
        ]
        variograms.append(np.mean(squares))
    expected = np.polyfit(np.log([1, 2, 3]), np.log(np.array(variograms) + 1 / 6), 1)[0]
    assert slope[row, column] == pytest.approx(127.5 * np.clip(expected, 0, 2), abs=0.01)


def test_the_mean_slope_of_a_large_window_is_that_of_the_variogram() -> None:
    walk = np.cumsum(np.random.default_rng(1).normal(0, 4, (64, 64)), axis=1)
    image = np.clip(128 + walk, 0, 255).astype(np.uint8)
    values = variogram(image, np.ones((64, 64), bool), 3)
    expected = np.polyfit(np.log([1, 2, 3]), np.log(values), 1)[0]
    assert channels_of(image, 63)[2, 31, 31] / 127.5 == pytest.approx(expected, abs=0.03)


def test_the_smallest_window_has_pairs_of_pixels_everywhere() -> None:
    assert np.isfinite(channels_of(IMAGE, MIN_WINDOW_PX)).all()
    assert np.isnan(channels_of(IMAGE, MIN_WINDOW_PX - 2)).any()


def test_a_constant_area_has_no_texture() -> None:
    assert channels_of(np.full((30, 30), 200, np.uint8), 9)[1:] == pytest.approx(0, abs=0.2)


def test_the_channels_of_an_image_do_not_depend_on_its_batch() -> None:
    images = torch.from_numpy(np.random.default_rng(2).integers(0, 256, (5, 32, 32)).astype(np.float32))
    together = texture_channels(images, window_px=9)
    assert all(torch.equal(together[[place]], texture_channels(images[[place]], window_px=9)) for place in range(5))


@pytest.mark.parametrize("is_last", [True, False])
def test_channels_are_normalised_one_by_one(is_last: bool) -> None:
    pixels = torch.from_numpy(IMAGE[None])
    normalise = build_normalisation(
        [0.5, 0.4, 0.3],
        [0.1, 0.2, 0.3],
        CPU,
        is_channels_last=is_last,
        to_channels=lambda grey: torch.stack([grey, 255 - grey, 0 * grey], 1),
    )
    found = normalise.to_input(pixels)[0].numpy()
    assert found[0] == pytest.approx((IMAGE / 255 - 0.5) / 0.1, abs=1e-4)
    assert found[1] == pytest.approx(((255 - IMAGE.astype(float)) / 255 - 0.4) / 0.2, abs=1e-4)
    assert found[2] == pytest.approx(-1, abs=1e-6)
    assert not normalise.is_grey  # equal scales would not make the channels equal


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        (["preprocessing.size_px=16"], r"preprocessing\.size_px=16: must be between 32 and 2048"),
        (["channels=texture", "channels.window_px=8"], r"channels\.window_px=8: must be odd"),
        (["channels=texture", "channels.window_px=5"], r"channels\.window_px=5: must be odd, at least 7"),
        (["model=model1", "preprocessing.size_px=64"], "a 64-pixel image allows 1 to 4 blocks"),
        (["model.input_std=[1,1]"], r"model\.input_std=\[1\.0, 1\.0\]: needs as many values as model\.input_mean"),
        (["model.input_mean=[]", "model.input_std=[]"], r"model\.input_mean=\[\]: needs as many values"),
    ],
)
def test_inputs_that_cannot_be_made_are_refused(typed: list[str], told: str) -> None:
    with pytest.raises(Refusal, match=told):
        check_config(composed(*typed))


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        (
            ["channels=texture", "model.input_mean=[0]", "model.input_std=[1]"],
            r"channels=texture: makes 3 channels, and model\.input_mean has 1 values",
        ),
        (
            ["model=resnet18", "approach=full", "model.weights=none", "model.input_mean=[0]", "model.input_std=[1]"],
            r"model\.input_mean has 1 values: resnet18 takes 3 channels",
        ),
        (
            ["model=alexnet", "approach=full", "model.weights=none", "preprocessing.size_px=40"],
            r"preprocessing\.size_px=40: alexnet does not take such images \(.*\)$",
        ),
    ],
)
def test_a_network_that_does_not_take_the_input_is_refused_when_it_is_built(typed: list[str], told: str) -> None:
    with pytest.raises(Refusal, match=told) as refusal:
        new_network(composed("trainer.device=cpu", "trainer.precision=fp32", *typed))
    assert "\n" not in str(refusal.value)


def test_the_fast_blocks_take_one_channel_only_where_all_are_equal() -> None:
    for typed, is_one in (([], True), (["channels=texture"], False)):
        network = new_network(composed("model=model3", "trainer.device=cpu", "trainer.precision=fp32", *typed))
        learner = build_learner(network, caches_features=False)
        shape = learner.to_input(torch.zeros(2, 224, 224, dtype=torch.uint8)).shape
        assert shape == (2, 1 if is_one else 3, 224, 224)


def run(tmp_path: Path, cache_dir: Path, *typed: str) -> Path:
    typed = (*SMALL, f"output_root={tmp_path}", f"cache_dir={cache_dir}", "trainer.precision=fp32", *typed)
    config = composed(*typed)
    check_config(config)
    return run_experiment(config, defaults=defaults_of(typed))


@pytest.mark.slow
def test_images_of_another_size_with_one_channel_are_trained_on_and_tested(tmp_path: Path, cache_dir: Path) -> None:
    typed = ("preprocessing.size_px=96", "model.input_mean=[0.0]", "model.input_std=[1.0]", "augmentation=none")
    small = run(tmp_path, cache_dir, *typed)
    layers = read_layers(small).set_index("layer")
    assert layers.loc["conv1", ["output_shape", "parameters"]].tolist() == ["8x94x94", 8 * (9 + 1)]
    assert layers.loc["fc1", "parameters"] == (32 * 10 * 10 + 1) * 100
    assert read_metrics(small)["test"]["at_fixed"]["auc"] is not None


@pytest.mark.slow
def test_texture_channels_reach_training_and_the_cache_of_features(tmp_path: Path, cache_dir: Path) -> None:
    def scores(*typed: str) -> np.ndarray:
        head = ("model=squeezenet", "approach=head", "model.weights=none", "augmentation=none")
        found = read_predictions(run(tmp_path, tmp_path / "cache", *head, *typed))
        return found["score"].to_numpy()

    grey, texture = scores(), scores("channels=texture")
    assert texture == pytest.approx(scores("channels=texture", "approach.cache_features=false"), abs=1e-4)
    assert np.abs(grey - texture).max() > 1e-3  # a stale cache would make them equal


@pytest.mark.slow
def test_an_evaluation_takes_over_the_input_of_its_run(tmp_path: Path, cache_dir: Path) -> None:
    from hydra import compose

    from dxa_tbs.config.compose import load_config, take_over_training
    from dxa_tbs.runs.identity import read_config

    trained = run(tmp_path, cache_dir, "preprocessing.size_px=96", "channels=texture", "augmentation=none")
    typed = [f"evaluate={trained}", f"output_root={tmp_path}", f"cache_dir={cache_dir}", "name=again"]
    cfg = compose("config", overrides=typed)
    take_over_training(cfg, read_config(trained), typed)
    again = read_predictions(run_experiment(load_config(cfg)))
    pd.testing.assert_frame_equal(again, read_predictions(trained))
