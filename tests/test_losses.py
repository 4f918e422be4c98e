"""Losses: closed forms, means of one term per image, and losses of the user's own."""

from __future__ import annotations

import itertools
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import SMALL, composed, image_set
from hydra import compose
from torch import nn
from torch.nn import functional
from torchvision.ops import sigmoid_focal_loss

from dxa_tbs.config.checks import check_config
from dxa_tbs.config.compose import load_config, take_over_training, to_plain
from dxa_tbs.config.schema import Config
from dxa_tbs.errors import Refusal
from dxa_tbs.pipeline.cohort import gather_cohort
from dxa_tbs.pipeline.evaluate import load_trained
from dxa_tbs.pipeline.experiment import run_experiment
from dxa_tbs.pipeline.learner import predict_all
from dxa_tbs.pipeline.predict import predict
from dxa_tbs.pipeline.task import build_task, with_class_counts
from dxa_tbs.pipeline.train import new_network, train
from dxa_tbs.report.build import write_report
from dxa_tbs.report.outputs import find_experiments
from dxa_tbs.report.page import answers
from dxa_tbs.runs.identity import read_config, run_folder
from dxa_tbs.runs.records import read_metrics
from dxa_tbs.tasks.losses import cross_entropy
from dxa_tbs.tasks.losses.entropy import cross_entropy_of_each
from dxa_tbs.tasks.losses.focal import focal
from dxa_tbs.tasks.losses.weighted import choose_weights, weighted
from dxa_tbs.training.step import build_optimizer, build_step

CPU = torch.device("cpu")
TINY = ("model=model3", "model.filters=[2,2,2,2,2]", "model.fc_widths=[4]", "trainer.device=cpu")
FP32 = "trainer.precision=fp32"


def drawn(num_outputs: int, count: int = 40) -> tuple[torch.Tensor, torch.Tensor]:
    """Return outputs and targets of a batch; class 0 is the most frequent."""
    draws = torch.Generator().manual_seed(num_outputs)
    outputs = 3 * torch.randn(count, num_outputs, generator=draws)
    targets = torch.randint(-1, max(2, num_outputs), (count,), generator=draws).clamp(min=0)
    return outputs, targets.float()


def test_the_weighted_loss_of_three_images_by_hand() -> None:
    outputs, targets = torch.tensor([[0.0], [2.0], [-1.0]]), torch.tensor([0.0, 1.0, 1.0])
    losses = [math.log(2), math.log(1 + math.exp(-2)), math.log(1 + math.exp(1))]
    by_hand = (0.5 * losses[0] + 2 * losses[1] + 2 * losses[2]) / 3
    assert weighted(outputs, targets, class_weights=[0.5, 2.0]).item() == pytest.approx(by_hand, rel=1e-6)
    # counts of another split than this batch: 30 / (2 x 20) and 30 / (2 x 10)
    found = weighted(outputs, targets, class_weights="balanced", class_counts=[20, 10]).item()
    assert found == pytest.approx((0.75 * losses[0] + 1.5 * losses[1] + 1.5 * losses[2]) / 3, rel=1e-6)


def test_the_weighted_loss_is_torchs_own_summed_and_divided_by_the_number_of_images() -> None:
    outputs, targets = drawn(1)
    theirs = functional.binary_cross_entropy_with_logits(outputs[:, 0], targets, pos_weight=torch.tensor(3.0))
    assert torch.allclose(weighted(outputs, targets, class_weights=[1.0, 3.0]), theirs)
    outputs, targets = drawn(3)
    weights = [0.2, 1.0, 4.0]
    summed = functional.cross_entropy(outputs, targets.long(), weight=torch.tensor(weights), reduction="sum")
    assert torch.allclose(weighted(outputs, targets, class_weights=weights), summed / len(targets))


def test_balanced_weights_give_each_class_the_same_share_and_average_one() -> None:
    counts = [979, 148, 12]
    weights = choose_weights("balanced", counts)
    shares = [weight * count for weight, count in zip(weights, counts, strict=True)]
    assert shares == pytest.approx([sum(counts) / 3] * 3)
    assert sum(shares) / sum(counts) == pytest.approx(1)
    outputs, targets = drawn(1)
    without_counts = weighted(outputs, targets, class_weights="balanced")
    assert torch.equal(without_counts, cross_entropy(outputs, targets))
    with pytest.raises(Refusal, match=r"no training image \(\[5, 0\]\): give a list"):
        choose_weights("balanced", [5, 0])


def test_focal_with_gamma_0_is_cross_entropy_bit_for_bit() -> None:
    """Torch sums the mean of a softmax in another order: there, the loss of each image is compared."""
    outputs, targets = drawn(1)
    assert torch.equal(focal(outputs, targets, gamma=0.0, class_weights=None), cross_entropy(outputs, targets))
    outputs, targets = drawn(3)
    for row in range(len(targets)):
        one = outputs[[row]], targets[[row]]
        assert torch.equal(focal(*one, gamma=0.0, class_weights=None), cross_entropy(*one))
    assert torch.allclose(focal(outputs, targets, gamma=0.0, class_weights=None), cross_entropy(outputs, targets))


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0, 5.0])
def test_focal_is_torchvisions_for_one_output(gamma: float) -> None:
    outputs, targets = drawn(1)
    for alpha, weights in ((-1, None), (0.25, [0.75, 0.25])):
        theirs = sigmoid_focal_loss(outputs[:, 0], targets, alpha=alpha, gamma=gamma, reduction="mean")
        assert torch.allclose(focal(outputs, targets, gamma=gamma, class_weights=weights), theirs, rtol=1e-5)


def test_focal_of_several_outputs_is_its_closed_form() -> None:
    outputs, targets = drawn(3)
    p = outputs.double().softmax(1)[range(len(targets)), targets.long()]
    weights = torch.tensor([0.5, 1.0, 2.0], dtype=torch.float64)[targets.long()]
    expected = (-weights * (1 - p) ** 1.5 * p.log()).mean()
    found = focal(outputs, targets, gamma=1.5, class_weights=[0.5, 1.0, 2.0])
    assert found.item() == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize("num_outputs", [1, 2])
@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0])
def test_focal_has_a_gradient_where_a_network_is_certain(num_outputs: int, gamma: float) -> None:
    """(1 - p)^gamma has an infinite slope at p = 1 for gamma below 1."""
    outputs = torch.tensor([[200.0], [-200.0]]) if num_outputs == 1 else torch.tensor([[0.0, 200.0], [200.0, 0.0]])
    outputs.requires_grad_()
    focal(outputs, torch.tensor([1.0, 0.0]), gamma=gamma, class_weights=None).backward()
    assert torch.equal(outputs.grad, torch.zeros_like(outputs))  # right, and certain
    outputs.grad = None
    focal(outputs, torch.tensor([0.0, 1.0]), gamma=gamma, class_weights=None).backward()
    assert outputs.grad.abs().max().item() == pytest.approx(0.5)  # wrong, and certain: as of cross-entropy


LOSSES = {
    "weighted": {"class_weights": "balanced", "class_counts": [30, 10]},
    "focal": {"gamma": 2.0, "class_weights": [1.0, 4.0]},
}


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("num_outputs", [1, 2])
def test_micro_batches_train_as_the_whole_batch_does(name: str, num_outputs: int) -> None:
    loss: Any = {"weighted": weighted, "focal": focal}[name]
    inputs, targets = drawn(5)[0], drawn(1)[1]

    def trained(micro_batch_size: int | None) -> list[torch.Tensor]:
        torch.manual_seed(0)
        model = nn.Linear(5, num_outputs)
        step = build_step(
            model,
            build_optimizer(model, torch.optim.SGD, lr=0.5),
            loss=lambda outputs, targets: loss(outputs, targets, **LOSSES[name]),
            to_input=lambda images: images,
            device=CPU,
            micro_batch_size=micro_batch_size,
        )
        step.run(inputs, targets)
        return [*model.parameters(), step.loss_sum]

    for size in (1, 7):
        assert all(
            torch.allclose(one, other, rtol=1e-5) for one, other in zip(trained(None), trained(size), strict=True)
        )


def test_the_counts_are_those_of_the_training_images_alone() -> None:
    """18 of 24 training images are Normal, 4 of 8 validation images: the weights are 24/36 and 24/12."""
    labels = np.array([0] * 18 + [1] * 6 + [0] * 4 + [1] * 4)
    images = image_set(np.random.default_rng(0).integers(0, 256, (32, 224, 224), np.uint8), labels, num_train=24)
    trained = train(images, composed(*TINY, FP32, "loss=weighted", "optimizer.lr=1e-30", "trainer.epochs=1"))
    assert trained.inputs is not None
    each = cross_entropy_of_each(predict_all(trained.learner, trained.inputs), torch.from_numpy(labels).float())
    weights = torch.where(torch.from_numpy(labels) == 0, 24 / 36, 24 / 12)
    assert trained.history["watched_loss"][0] == pytest.approx((each * weights)[24:].mean().item(), rel=1e-5)
    config = composed()
    assert with_class_counts(build_task(config), config, labels).loss.keywords == {}  # cross-entropy asks for none


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        (["loss=focal", "loss.gamma=-0.5"], r"loss\.gamma=-0\.5: must be at least 0"),
        (["loss=focal", "loss.class_weights=heavy"], r"loss\.class_weights=heavy: must be balanced, or a list"),
        (["loss=weighted", "loss.class_weights=null"], r"loss\.class_weights=None: must be balanced"),
        (["loss=weighted", "loss.class_weights=[]"], r"loss\.class_weights=\[\]: must be balanced"),
        (["loss=weighted", "loss.class_weights=[1,0]"], r"loss\.class_weights=\[1\.0, 0\.0\]: must be balanced"),
        (["loss=weighted", "loss.class_weights=[1,nan]"], r"loss\.class_weights=\[1\.0, nan\]: must be finite"),
        (["loss=weighted", "loss.class_weights=[1,a]"], r"loss\.class_weights=\[1\.0, 'a'\]: must be balanced"),
        (
            ["loss=weighted", "loss.class_weights=[1,2,3]"],
            r"task=binary has 2 classes: give one number for each of Norm",
        ),
        (["loss=weighted", "sampling=balanced"], "together they overweight the rare class"),
        (
            ["loss=focal", "loss.class_weights=balanced", "sampling=balanced"],
            "sampling=balanced: either one alone balances",
        ),
    ],
)
def test_settings_of_a_loss_that_cannot_be_used_are_refused(typed: list[str], told: str) -> None:
    with pytest.raises(Refusal, match=told):
        config = composed(*typed)
        check_config(config)
        build_task(config)


def test_weights_typed_as_whole_numbers_are_the_same_setting() -> None:
    one, other = (composed("loss=weighted", f"loss.class_weights={text}").loss for text in ("[1,3]", "[1.0,3]"))
    assert repr(one) == repr(other)
    check_config(composed("loss=weighted", "loss.class_weights=[1,3]", "sampling=balanced"))  # chosen on purpose


@pytest.fixture
def write_loss(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Return a function that writes own_losses.py into the current folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])

    def write(body: str) -> None:
        sys.modules.pop("own_losses", None)
        sys.path_importer_cache.pop(str(tmp_path), None)
        head = "import torch\nfrom torch.nn import functional\n"
        (tmp_path / "own_losses.py").write_text(f"{head}{body}\n", encoding="utf-8")

    yield write
    sys.modules.pop("own_losses", None)


OWN = ("loss=custom", "loss.factory=own_losses:build")
SMOOTHED = """
open('imported', 'a').close()

def build(smoothing=0.1):
    def loss(outputs, targets):
        smoothed = targets * (1 - smoothing) + smoothing / 2
        return functional.binary_cross_entropy_with_logits(outputs[:, 0], smoothed)
    return loss
"""


@pytest.mark.parametrize(
    ("returned", "told"),
    [
        ("functional.softplus(outputs[:, 0])", r"its loss is a tensor \(8,\): return the mean over images"),
        ("0.5", "its loss is float: return the mean"),
        ("outputs.detach().mean()", "does not depend on the outputs"),
        ("functional.softplus(outputs).sum()", "doubles with the number of images: return their mean, not their sum"),
        ("outputs.mean() + len(calls)", "and then .* for the same images: it must depend on outputs and targets alone"),
        ("functional.mse_loss(outputs, targets)", r"fails \(UserWarning: Using a target size"),
        (
            "functional.binary_cross_entropy_with_logits(outputs[:, 0], targets.zero_())",
            "changes outputs or targets in place",
        ),
        ("outputs[:, 7].mean()", r"fails \(IndexError: .*, own_losses\.py, line 6\): correct it"),
        ("outputs.mean() / 0 if x else x", r"fails \(NameError: name 'x' is not defined, own_losses\.py, line 6\)"),
    ],
)
def test_a_loss_of_ones_own_is_tried_before_any_image_is_decoded(returned: str, told: str, write_loss: Any) -> None:
    write_loss(
        f"calls = []\ndef build():\n    def loss(outputs, targets):\n        calls.append(1); return {returned}\n"
        "    return loss"
    )
    with pytest.raises(Refusal, match=told) as refusal:
        new_network(composed(*TINY, *OWN))
    assert str(refusal.value).startswith("loss.factory=own_losses:build: ")
    assert "\n" not in str(refusal.value)


def test_settings_that_a_factory_does_not_take_are_refused(write_loss: Any) -> None:
    write_loss(SMOOTHED)
    with pytest.raises(Refusal, match=r"fails \(TypeError: build\(\) got an unexpected keyword argument 'smooth'\)"):
        new_network(composed(*TINY, *OWN, "+loss.settings.smooth=1"))


def test_a_loss_that_compares_each_image_with_all_is_named(write_loss: Any, caplog: pytest.LogCaptureFixture) -> None:
    write_loss("def build():\n    return lambda outputs, targets: ((outputs - targets) ** 2).mean()")  # (B, B)
    new_network(composed(*TINY, FP32, *OWN))
    assert caplog.messages == [
        "loss.factory=own_losses:build: its loss is not the mean of one term per image: it depends on the batch size "
        "(if this is not meant: outputs are (B, K), targets (B,))"
    ]
    write_loss("def build():\n    return lambda outputs, targets: ((outputs[:, :1] - targets) ** 2).mean()")
    whole = ("model=squeezenet", "approach=full", "model.weights=none", "trainer.device=cpu")
    with pytest.raises(Refusal, match=r"which trainer\.micro_batch_size needs: drop that"):
        new_network(composed(*whole, FP32, *OWN, "trainer.micro_batch_size=2"))


@pytest.fixture
def own_run(write_loss: Any, tmp_path: Path, cache_dir: Path) -> Path:
    """Return the folder of a run that was trained with a loss of the user's own, whose module is forgotten again."""
    write_loss(SMOOTHED)
    small = [text for text in SMALL if not text.startswith("model")]
    places = (f"output_root={tmp_path}", f"cache_dir={cache_dir}", "evaluation.shown_errors=0")
    run_dir = run_experiment(composed(*small, *TINY, *places, *OWN, "+loss.settings.smoothing=0.3"))
    (tmp_path / "imported").unlink()
    sys.modules.pop("own_losses")
    return run_dir


def evaluation_of(run_dir: Path, cache_dir: Path) -> Config:
    typed = [f"evaluate={run_dir}", f"output_root={Path.cwd()}", f"cache_dir={cache_dir}", "name=again"]
    cfg = compose("config", overrides=typed)
    take_over_training(cfg, read_config(run_dir), typed)
    return load_config(cfg)


@pytest.mark.slow
def test_what_does_not_train_never_imports_the_loss(own_run: Path, tmp_path: Path, cache_dir: Path) -> None:
    config = evaluation_of(own_run, cache_dir)
    assert len(gather_cohort(config).table) == 60
    assert load_trained(config, own_run).network.task.name == "binary"
    predict(own_run, np.zeros((1, 224, 224), np.uint8), device="cpu")
    (found,) = find_experiments(tmp_path).experiments
    assert "loss custom (factory own_losses:build, settings smoothing 0.3)" in answers.training(found, {})
    assert "own_losses" not in sys.modules
    assert not (tmp_path / "imported").exists()


@pytest.mark.slow
def test_an_evaluation_and_a_report_never_import_the_loss(own_run: Path, tmp_path: Path, cache_dir: Path) -> None:
    again = run_experiment(evaluation_of(own_run, cache_dir))
    assert read_metrics(again)["code_sha256"] == {}
    assert read_metrics(own_run)["code_sha256"].keys() == {"loss.factory"}
    write_report(tmp_path)
    assert "own_losses" not in sys.modules
    assert not (tmp_path / "imported").exists()


def test_each_loss_is_a_run_of_its_own(tmp_path: Path) -> None:
    chosen = [
        [],
        ["loss=weighted"],
        ["loss=weighted", "loss.class_weights=[1,2]"],
        ["loss=focal"],
        ["loss=focal", "loss.gamma=1"],
        [*OWN],
        [*OWN, "+loss.settings.smoothing=0.2"],
        ["sampling=balanced"],
        ["schedule=cosine"],
        ["schedule=cosine", "schedule.warmup_epochs=1"],
        ["trainer.ema_decay=0.9"],
    ]
    folders = [run_folder(to_plain(composed(*typed, f"output_root={tmp_path}"))) for typed in chosen]
    assert all(one != other for one, other in itertools.combinations(folders, 2))
