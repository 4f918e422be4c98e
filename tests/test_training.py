"""The loop: what it computes, when it stops, what it keeps."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import sys
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch
from torch import nn

from dxa_tbs.errors import Refusal
from dxa_tbs.evaluation.metrics import binary_auc
from dxa_tbs.models.adhoc import build_adhoc
from dxa_tbs.tasks.binary import binary_task
from dxa_tbs.tasks.losses import cross_entropy
from dxa_tbs.training import step as steps
from dxa_tbs.training.batches import EVAL_BATCH_SIZE, Samples, build_normalisation, predict_outputs
from dxa_tbs.training.checkpoint import load_weights, save_weights
from dxa_tbs.training.device import choose_device, has_kernels, place_inputs
from dxa_tbs.training.fit import Fitted, fit
from dxa_tbs.training.memory import with_fewer_at_once
from dxa_tbs.training.sampling import shuffle
from dxa_tbs.training.step import batch_sizes, build_optimizer, build_step, is_fused, undone
from dxa_tbs.training.timing import ten_epochs

CPU = torch.device("cpu")
PLAIN = build_normalisation([0.0] * 3, [1.0] * 3, CPU)
BINARY = binary_task(loss=cross_entropy)
SGD = torch.optim.SGD


def easy(count: int, seed: int = 0) -> Samples:
    """Small images whose brightness is the class."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % 2
    pixels = rng.integers(0, 100, (count, 12, 12), dtype=np.uint8) + (labels * 150).astype(np.uint8)[:, None, None]
    return samples_of(pixels, labels)


def samples_of(pixels: np.ndarray, labels: np.ndarray) -> Samples:
    return Samples(torch.from_numpy(pixels), torch.arange(len(labels)), torch.from_numpy(labels).float())


class Tiny(nn.Sequential):
    def __init__(self) -> None:
        torch.manual_seed(0)
        super().__init__(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(400, 1))


def run(model: nn.Module, **changes: object) -> tuple[Fitted, list[dict[str, float]]]:
    settings: dict[str, Any] = dict(
        train=easy(50), watched=easy(21, seed=1), to_input=PLAIN.to_input, batch_size=8, epochs=5, patience=None
    )
    settings |= dict(keeps_last=False, judge=BINARY)
    settings |= changes
    settings.setdefault("orders", shuffle(settings["train"].targets_N, seed=settings.pop("seed", 0)))
    settings.setdefault("is_original_N", np.ones(len(settings["watched"]), bool))
    optimizer = build_optimizer(model, SGD, lr=settings.pop("lr", 0.01), momentum=0.0, weight_decay=0.0)
    step = build_step(model, optimizer, loss=cross_entropy, to_input=PLAIN.to_input, device=CPU)
    fitted = fit(model, step=step, **settings)
    return fitted, fitted.history


def test_grey_becomes_three_normalised_channels() -> None:
    pixels = torch.tensor([[[0, 51], [102, 255]]], dtype=torch.uint8)
    images = build_normalisation([0.5, 0.4, 0.0], [0.5, 0.2, 1.0], CPU).to_input(pixels)
    assert images.shape == (1, 3, 2, 2)
    assert images.is_contiguous(memory_format=torch.channels_last)
    assert images[0, 0].flatten().tolist() == pytest.approx([-1.0, -0.6, -0.2, 1.0])
    assert images[0, 1].flatten().tolist() == pytest.approx([-2.0, -1.0, 0.0, 3.0])
    assert images[0, 2].flatten().tolist() == pytest.approx([0.0, 0.2, 0.4, 1.0])


def test_the_loss_falls_and_easy_images_are_told_apart() -> None:
    _, history = run(Tiny())
    assert history[-1]["train_loss"] < history[0]["train_loss"] / 2
    assert history[-1]["val_originals_auc"] == 1.0


def test_the_epochs_loss_is_the_mean_over_images_the_small_last_batch_included() -> None:
    model = Tiny()
    train = easy(13)  # one batch of 8, one of 5
    order = torch.randperm(13, generator=torch.Generator().manual_seed(4))
    reference = Tiny().train()
    with torch.no_grad():
        losses = [
            cross_entropy(reference(PLAIN.to_input(train.inputs_M[index])), train.targets_N[index]) * len(index)
            for index in order.split(8)
        ]
    _, history = run(model, train=train, lr=1e-30, epochs=1, seed=4)
    assert history[0]["train_loss"] == pytest.approx(float(sum(losses)) / 13, rel=1e-5)


def test_the_same_seed_gives_the_same_weights_bit_for_bit() -> None:
    (one, _), (two, _), (other, _) = run(Tiny()), run(Tiny()), run(Tiny(), seed=1)
    assert all(torch.equal(one.state[name], two.state[name]) for name in one.state)
    assert not torch.equal(one.state["4.weight"], other.state["4.weight"])


def test_the_epoch_of_the_lowest_validation_loss_is_tested_or_the_last_one() -> None:
    best, history = run(Tiny(), epochs=8, watched=easy(21, seed=1))
    losses = [epoch["watched_loss"] for epoch in history]
    assert best.tested_epoch == int(np.argmin(losses)) + 1
    model = Tiny()
    model.load_state_dict(best.state)
    val = easy(21, seed=1)
    assert cross_entropy(predict_outputs(model, val, PLAIN.to_input), val.targets_N).item() == pytest.approx(
        min(losses)
    )
    last, _ = run(Tiny(), epochs=8, keeps_last=True)
    assert last.tested_epoch == 8


def with_upside_down_copies(val: Samples) -> tuple[Samples, np.ndarray]:
    """Return the samples followed by as many again with the other label, and which are the first."""
    rows, labels = torch.cat([val.rows_N, val.rows_N]), torch.cat([val.targets_N, 1 - val.targets_N])
    return Samples(val.inputs_M, rows, labels), np.arange(len(labels)) < len(val)


def test_validation_figures_are_of_originals_and_the_watched_loss_of_all_that_is_watched() -> None:
    watched, is_original = with_upside_down_copies(easy(21, seed=1))
    fitted, history = run(Tiny(), watched=watched, is_original_N=is_original, epochs=3)
    model = Tiny()
    model.load_state_dict(fitted.state)
    logits = predict_outputs(model, watched, PLAIN.to_input)
    told = history[fitted.tested_epoch - 1]
    assert told["watched_loss"] == cross_entropy(logits, watched.targets_N).item()
    assert told["val_originals_loss"] == cross_entropy(logits[:21], watched.targets_N[:21]).item()
    assert told["val_originals_auc"] == binary_auc(watched.targets_N[:21].numpy(), BINARY.to_scores(logits)[:21])
    assert told["val_originals_auc"] > 0.5 == binary_auc(watched.targets_N.numpy(), BINARY.to_scores(logits))
    _, alone = run(Tiny(), watched=easy(21, seed=1), epochs=3)
    assert all(epoch["watched_loss"] == epoch["val_originals_loss"] for epoch in alone)


def test_the_epoch_that_is_tested_goes_by_the_watched_loss() -> None:
    watched, is_original = with_upside_down_copies(easy(21, seed=1))
    with_copies, history = run(Tiny(), watched=watched, is_original_N=is_original, epochs=6)
    originals, _ = run(Tiny(), watched=easy(21, seed=1), epochs=6)
    assert with_copies.tested_epoch == 1 + int(np.argmin([epoch["watched_loss"] for epoch in history]))
    assert originals.tested_epoch == 1 + int(np.argmin([epoch["val_originals_loss"] for epoch in history]))
    assert with_copies.tested_epoch < originals.tested_epoch


def test_training_stops_after_so_many_epochs_without_a_lower_validation_loss() -> None:
    train = easy(50)
    upside_down = dataclasses.replace(train, targets_N=1 - train.targets_N)  # the better the fit, the worse
    fitted, history = run(Tiny(), watched=upside_down, epochs=50, patience=3)
    assert fitted.stopped_by == "patience"
    assert len(history) == fitted.tested_epoch + 3


def test_a_loss_that_is_no_number_stops_training_and_keeps_the_last_good_weights() -> None:
    class Breaks(Tiny):
        calls = 0

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            self.calls += self.training
            return super().forward(images) * (math.nan if self.calls > 14 else 1.0)  # 7 batches an epoch: in the third

    fitted, history = run(Breaks(), epochs=9)
    assert fitted.stopped_by == "nan"
    assert [epoch["epoch"] for epoch in history] == [1, 2]
    assert fitted.tested_epoch == 2
    assert all(torch.isfinite(tensor).all() for tensor in fitted.state.values())


def test_a_first_epoch_without_a_number_is_refused() -> None:
    model = Tiny()
    with pytest.raises(Refusal, match=r"lower optimizer\.lr=1e\+30"):
        run(model, lr=1e30)


def test_every_image_is_predicted_once_and_in_order_across_batches() -> None:
    model, samples = Tiny(), easy(EVAL_BATCH_SIZE["cpu"] + 3)
    rows = [0, EVAL_BATCH_SIZE["cpu"], EVAL_BATCH_SIZE["cpu"] + 2]
    scores = BINARY.to_scores(predict_outputs(model, samples, PLAIN.to_input))
    each = [samples_of(samples.inputs_M[[row]].numpy(), np.ones(1)) for row in rows]
    single = [BINARY.to_scores(predict_outputs(model, sample, PLAIN.to_input))[0] for sample in each]
    assert scores.shape == (EVAL_BATCH_SIZE["cpu"] + 3,)
    assert scores[rows] == pytest.approx(single, rel=1e-5)


@pytest.mark.parametrize("build", [torch.optim.SGD, torch.optim.AdamW])
def test_each_optimizer_is_torchs_own_with_its_settings(build: Any) -> None:
    settings = {"lr": 0.3, "weight_decay": 0.1} | ({"momentum": 0.7} if build is SGD else {})
    optimizer = build_optimizer(Tiny(), build, **settings)
    assert type(optimizer) is build
    assert all(optimizer.param_groups[0][key] == value for key, value in settings.items())
    assert optimizer.param_groups[0]["fused"]
    assert not optimizer.param_groups[0].get("capturable")


@pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.AdamW])
def test_on_a_gpu_torch_may_update_all_weights_at_once(optimizer: Any) -> None:
    """It does so only where neither fused nor foreach is given."""
    group = optimizer(Tiny().parameters(), lr=0.1, fused=is_fused(torch.device("cuda"))).param_groups[0]
    assert (group["fused"], group["foreach"]) == (None, None)


def trained(steps_before: int) -> dict[str, torch.Tensor]:
    """Return the weights after three steps, and before them some that are undone."""
    model, train = Tiny().train(), easy(24)
    optimizer = build_optimizer(model, SGD, lr=0.1, momentum=0.9, weight_decay=0.0)
    step = build_step(model, optimizer, loss=cross_entropy, to_input=PLAIN.to_input, device=CPU)
    if steps_before:
        with contextlib.suppress(ZeroDivisionError), undone(step, model):
            for _ in range(steps_before):
                step.run(*train.take(torch.arange(8)))
            raise ZeroDivisionError
    for index_B in torch.arange(24).split(8):
        step.run(*train.take(index_B))
    return {**model.state_dict(), "loss": step.loss_sum}


def test_steps_that_warm_up_are_undone_even_if_they_fail() -> None:
    plain, warm = trained(0), trained(4)
    assert all(torch.equal(tensor, warm[name]) for name, tensor in plain.items())


def test_all_sizes_warm_up_before_any_is_recorded_and_in_the_same_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    """With stand-ins for CUDA, under which recording runs the step: of what it trains nothing may be left."""
    told: list[tuple[object, ...]] = []

    class Stream:
        def __init__(self, device: object = None) -> None: ...

        def wait_stream(self, other: object) -> None: ...

    class Graph:
        def pool(self) -> str:
            return "the first one's"

    @contextlib.contextmanager
    def graph(graph: Graph, *, pool: object, stream: Stream) -> Iterator[None]:
        told.append(("recorded", pool, stream in used))
        yield

    used: list[Stream] = []
    for name, stand_in in (("Stream", Stream), ("CUDAGraph", Graph), ("graph", graph)):
        monkeypatch.setattr(torch.cuda, name, stand_in)
    monkeypatch.setattr(torch.cuda, "current_stream", Stream)
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: contextlib.nullcontext(used.append(stream)))
    model, train = Tiny().train(), easy(20)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    optimizer = build_optimizer(model, SGD, lr=0.1, momentum=0.9, weight_decay=0.0)
    step = build_step(model, optimizer, loss=cross_entropy, to_input=PLAIN.to_input, device=CPU)

    def run(inputs_B: torch.Tensor, labels_B: torch.Tensor) -> None:
        told.append((len(labels_B),))
        step.run(inputs_B, labels_B)

    steps.record_step(dataclasses.replace(step, run=run), model, train, batch_sizes(20, 8))
    assert told == [(8,)] * 3 + [(4,)] * 3 + [
        ("recorded", None, True), (8,), ("recorded", "the first one's", True), (4,),
    ]  # fmt: skip
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_a_step_that_cannot_be_recorded_is_run_as_written(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(*arguments: object, **named: object) -> None:
        raise RuntimeError("operation not permitted when stream is capturing\nmore")

    model = Tiny()
    step = build_step(model, build_optimizer(model, SGD, lr=0.1, momentum=0.9, weight_decay=0.0),
                      loss=cross_entropy, to_input=PLAIN.to_input, device=CPU)  # fmt: skip
    monkeypatch.setattr(steps, "record_step", fails)
    monkeypatch.setattr(torch, "__version__", "2.12.0+cu126")
    assert steps.record_if_possible(step, model, easy(8), [8]) is step
    assert caplog.messages == [
        "the step cannot be recorded as a CUDA graph and is slower: operation not permitted when stream is capturing"
    ]
    monkeypatch.setattr(torch, "__version__", "2.11.0+cu130")  # whose memory is in disorder after that
    with pytest.raises(RuntimeError, match="not permitted"):
        steps.record_if_possible(step, model, easy(8), [8])


class Roomy(Tiny):
    """Has room for so many images at once; notes how many it was asked for."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self.most, self.asked = most, []

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.asked.append(len(images))
        if len(images) > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return super().forward(images)


def test_images_are_scored_by_halves_until_the_gpu_has_room() -> None:
    model, samples = Roomy(4), easy(20)
    expected = predict_outputs(Tiny(), samples, PLAIN.to_input)
    assert torch.allclose(predict_outputs(model, samples, PLAIN.to_input), expected, atol=1e-6)
    assert model.asked == [16, 8, *[4] * 5]
    with pytest.raises(torch.OutOfMemoryError):
        predict_outputs(Roomy(0), samples, PLAIN.to_input)


def test_what_did_not_fit_is_let_go_before_the_next_try() -> None:
    left: list[weakref.ref[torch.Tensor]] = []

    def compute(size: int) -> int:
        assert all(made() is None for made in left)
        made = torch.zeros(size)
        left.append(weakref.ref(made))
        if size > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return size

    assert with_fewer_at_once(compute, 16) == 2
    assert len(left) == 4


def test_the_best_weights_go_to_the_host_where_the_gpu_has_no_room(monkeypatch: pytest.MonkeyPatch) -> None:
    on_host, _ = run(Tiny())
    plain = torch.empty_like

    def full(tensor: torch.Tensor, **where: Any) -> torch.Tensor:
        if not where:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return plain(tensor, **where)

    monkeypatch.setattr(torch, "empty_like", full)
    fallen_back, _ = run(Tiny())
    assert all(torch.equal(tensor, fallen_back.state[name]) for name, tensor in on_host.state.items())


def test_weights_come_back_and_damaged_or_foreign_files_are_refused(tmp_path: Path) -> None:
    path, model = tmp_path / "model.pt", build_adhoc([4], [3])
    save_weights(model.state_dict(), path)
    other = build_adhoc([4], [3])
    load_weights(other, path)
    assert all(torch.equal(tensor, other.state_dict()[name]) for name, tensor in model.state_dict().items())
    with pytest.raises(Refusal, match="does not contain the weights of this network"):
        load_weights(build_adhoc([5], [3]), path)
    for content in (b"", b"nonsense", path.read_bytes()[:5000]):
        path.write_bytes(content)
        with pytest.raises(Refusal, match="does not contain the weights"):
            load_weights(model, path)


def test_a_device_that_is_not_there_is_refused() -> None:
    assert choose_device("cpu") == CPU
    with pytest.raises(Refusal, match="cuda:99: torch sees"):
        choose_device("cuda:99")


@pytest.mark.parametrize(
    ("capability", "architectures", "runs"),
    [
        ((8, 6), ["sm_75", "sm_80", "sm_90"], True),  # machine code of 8.0
        ((6, 1), ["sm_75", "sm_80", "compute_90"], False),  # a GTX 1070 under a current build
        ((6, 1), ["sm_50", "sm_60", "sm_70"], True),
        ((9, 0), ["sm_90a"], True),
        ((10, 0), ["sm_80", "sm_90"], False),
        ((10, 0), ["sm_80", "compute_90"], True),
        ((12, 0), ["sm_100", "sm_120"], True),
        ((9, 4), ["gfx90a", "gfx942"], True),  # AMD's: for torch to judge
    ],
)
def test_a_gpu_without_code_in_this_build_is_known_before_it_fails(
    capability: tuple[int, int], architectures: list[str], runs: bool
) -> None:
    assert has_kernels(capability, architectures) is runs


def epochs(count: int) -> list[dict[str, float]]:
    return [{"epoch": k, "train_s": float(k), "val_s": 0.5} for k in range(1, count + 1)]


def test_the_time_of_ten_epochs_is_measured_or_absent_never_extrapolated() -> None:
    ends = [7.0 + 1.5 + sum(range(1, k + 1)) + 0.5 * k for k in range(1, 13)]
    parts = {"data_s": 7.0, "prepare_s": 1.0, "compile_s": 0.5}
    timing = ten_epochs(epochs(12), num_train=100, parts_s=parts, epoch_ends_s=ends)
    assert timing["train_10_epochs_s"] == 55.0
    assert timing["val_10_epochs_s"] == 5.0
    assert timing["time_10_epochs_s"] == 56.5
    assert timing["cold_10_epochs_s"] == 68.5
    assert timing["images_per_s"] == pytest.approx(100 * 10 / 55)
    short = ten_epochs(epochs(9), num_train=100, parts_s=parts, epoch_ends_s=ends[:9])
    assert short["epochs_measured"] == 9
    assert {short[f"{name}_10_epochs_s"] for name in ("train", "val", "time", "cold")} == {None}


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="files are not sparse there unless asked to be")
def test_a_million_images_are_read_from_the_disk_as_they_are_needed(tmp_path: Path) -> None:
    shape = (1_000_000, 224, 224)  # 50 GB, of which the disk holds what was written
    written = np.lib.format.open_memmap(tmp_path / "images.npy", "w+", np.uint8, shape)
    written[777_777] = 9
    written.flush()
    inputs = place_inputs(np.load(tmp_path / "images.npy", mmap_mode="r"), CPU)
    samples = Samples(inputs, torch.arange(999_999, -1, -1), torch.arange(1_000_000) % 2)
    before = psutil.Process().memory_info().rss
    for index_B in torch.randperm(1_000_000)[: 40 * 24].split(24):
        samples.take(index_B)
    assert psutil.Process().memory_info().rss - before < 150 * 2**20
    found, labels = samples.take(torch.tensor([222_222, 0]))
    assert found.float().mean((1, 2)).tolist() == [9.0, 0.0]
    assert labels.tolist() == [0, 0]


def test_the_sizes_of_the_batches_of_an_epoch() -> None:
    assert batch_sizes(1915, 24) == [24, 19]
    assert batch_sizes(48, 24) == [24]
    assert batch_sizes(5, 24) == [5]
