"""ImageNet networks: parameter counts, heads that learn, unchanged backbones, cached features that change nothing."""

from __future__ import annotations

import copy
import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import composed, image_set
from torch import nn

from dxa_tbs.config.choices import Architecture, Precision
from dxa_tbs.errors import Refusal
from dxa_tbs.models import fp32_layers
from dxa_tbs.models.chain import as_chain, cut_at_dropout, freeze_backbone, head_of
from dxa_tbs.models.heads import Dropout
from dxa_tbs.models.inspection import count_parameters
from dxa_tbs.models.pretrained import build_pretrained
from dxa_tbs.pipeline import network
from dxa_tbs.pipeline.learner import predict_all
from dxa_tbs.pipeline.network import Network
from dxa_tbs.pipeline.train import Trained, new_network, too_little_memory, train
from dxa_tbs.training.batches import Normalisation
from dxa_tbs.training.features import frozen_features

FULL = {  # paper, Tables III and IV
    "alexnet": 57_012_034,
    "resnet18": 11_177_538,
    "vgg16": 134_268_738,
    "densenet121": 6_955_906,
    "squeezenet": 736_450,
}
HEAD = {"alexnet": 8_194, "resnet18": 1_026, "vgg16": 8_194, "densenet121": 2_050, "squeezenet": 1_026}
FEATURES = {
    "alexnet": (9216,),
    "resnet18": (512,),
    "vgg16": (4096,),
    "densenet121": (1024,),
    "squeezenet": (512, 13, 13),
}
NAMES = sorted(FULL)
LARGE = ("densenet121", "vgg16")
LARGE_LATER = [pytest.param(name, marks=pytest.mark.slow) if name in LARGE else name for name in NAMES]
SIDE_PX = 64


def build(name: str, *, dropout: float = 0.4, backbone_dropout: float | None = None) -> nn.Module:
    own = composed(f"model={name}", "approach=full").model.backbone_dropout  # type: ignore[attr-defined]
    return build_pretrained(
        Architecture(name), dropout=dropout, backbone_dropout=own if backbone_dropout is None else backbone_dropout
    )


def striped(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return noisy images of fine vertical (Normal) or broad horizontal (Degraded) stripes, easy to tell apart."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % 2
    fine = np.tile(np.arange(SIDE_PX) % 4 < 2, (SIDE_PX, 1))
    broad = np.tile(np.arange(SIDE_PX) % 16 < 8, (SIDE_PX, 1)).T
    images = np.where(labels[:, None, None] == 1, broad, fine) * 180 + rng.integers(0, 60, (count, SIDE_PX, SIDE_PX))
    return images.astype(np.uint8), labels


def run_head(name: str, cache_dir: Path, *typed: str, network: nn.Module | None = None) -> tuple[Trained, np.ndarray]:
    """Train a head on striped images as a run does; return it, and the scores of all images."""
    config = composed(
        f"model={name}",
        "approach=head",
        "model.weights=none",
        "trainer.device=cpu",
        "trainer.batch_size=8",
        "trainer.precision=fp32",
        f"cache_dir={cache_dir}",
        *typed,
    )
    built = new_network(config)
    if network is not None:
        built.model.load_state_dict(network.state_dict())
    pixels, labels = striped(20)
    torch.manual_seed(1)
    trained = train(image_set(pixels, labels, num_train=13), config, network=built)
    assert trained.inputs is not None
    return trained, trained.network.task.to_scores(predict_all(trained.learner, trained.inputs))


@pytest.mark.parametrize("name", NAMES)
def test_parameter_counts_are_the_papers_and_the_cut_parts_compute_the_same(name: str) -> None:
    model = build(name).eval()
    assert count_parameters(model) == FULL[name]
    freeze_backbone(model)
    assert count_parameters(model) == HEAD[name]
    stem, tail = cut_at_dropout(model)
    images = torch.rand(1, 3, 224, 224)
    with torch.inference_mode():
        features = stem(images)
        assert tuple(features.shape[1:]) == FEATURES[name]
        assert torch.equal(tail(features), model(images))  # as in torchvision's forward
    assert isinstance(tail[0], Dropout)
    assert not any(isinstance(layer, nn.Dropout) and layer.p > 0 for layer in stem)


@pytest.mark.parametrize("name", ["alexnet", pytest.param("vgg16", marks=pytest.mark.slow)])
def test_without_dropout_in_the_backbone_the_cut_is_before_the_last_dropout(name: str) -> None:
    stem, tail = cut_at_dropout(build(name, backbone_dropout=0.0))
    assert [type(layer) for layer in tail] == [Dropout, fp32_layers.Linear]
    assert len(stem) + len(tail) == len(as_chain(build(name)))
    _, tail = cut_at_dropout(build(name, dropout=0.0, backbone_dropout=0.0))
    assert [type(layer) for layer in tail] == [fp32_layers.Linear]


def test_dropout_probabilities_are_those_of_the_configuration() -> None:
    found = {name: [layer.p for layer in build(name).modules() if isinstance(layer, nn.Dropout)] for name in NAMES}
    assert found == {
        "alexnet": [0.5, 0.5, 0.4],
        "resnet18": [0.4],
        "vgg16": [0.5, 0.4],
        "densenet121": [0.4],
        "squeezenet": [0.4],
    }


def test_our_dropout_drops_the_requested_share_and_keeps_the_mean() -> None:
    torch.manual_seed(0)
    inputs = torch.full((4, 64, 50, 50), 3.0).to(memory_format=torch.channels_last).requires_grad_()
    layer = Dropout(0.4)
    outputs = layer(inputs)
    assert outputs.unique().tolist() == pytest.approx([0.0, 5.0], rel=2e-5)
    assert (outputs == 0).float().mean().item() == pytest.approx(0.4, abs=4 * (0.24 / outputs.numel()) ** 0.5)
    assert outputs.is_contiguous(memory_format=torch.channels_last)
    dropped = (outputs == 0).permute(0, 2, 3, 1).flatten().double()
    for apart in (1, 2, 3, 4):  # four values share a draw
        both = torch.stack([dropped[:-apart], dropped[apart:]])
        assert abs(torch.corrcoef(both)[0, 1].item()) < 4 / len(dropped) ** 0.5
    outputs.sum().backward()
    assert inputs.grad is not None
    assert torch.allclose(inputs.grad * 3, outputs)
    assert torch.equal(layer.eval()(inputs), inputs)


def test_both_outputs_of_a_new_squeezenet_get_gradients_unlike_with_torchvisions_initialisation() -> None:
    features = torch.rand(4, 512, 13, 13)

    def alive(layer: nn.Module) -> bool:
        return bool((layer(features).relu().mean((2, 3)) > 0).all())

    torch.manual_seed(0)
    assert all(alive(head_of(build("squeezenet"))) for _ in range(20))
    theirs = [nn.Conv2d(512, 2, 1) for _ in range(20)]
    assert not all(alive(layer) for layer in theirs)


@pytest.mark.parametrize("name", NAMES)
def test_a_new_head_learns_on_easy_images(name: str) -> None:
    torch.manual_seed(0)
    model = build(name, dropout=0.0, backbone_dropout=0.0).eval()
    freeze_backbone(model)
    stem, tail = cut_at_dropout(model)
    pixels, labels = striped(12)
    with torch.inference_mode():
        features = stem(torch.from_numpy(pixels / 255).float().unsqueeze(1).expand(-1, 3, -1, -1))
    features, truth = features.clone(), torch.from_numpy(labels)
    rate = 0.3 / features.square().sum(1).mean().item()  # outputs of random backbones differ by orders of magnitude
    optimizer = torch.optim.SGD([layer for layer in model.parameters() if layer.requires_grad], lr=rate)
    losses = []
    for _ in range(200):
        loss = nn.functional.cross_entropy(tail(features), truth)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.9 * losses[0]


@pytest.mark.parametrize("name", LARGE_LATER)
def test_training_a_head_does_not_change_a_bit_of_the_backbone(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    start = build(name)
    settings = ("approach.cache_features=false", "trainer.epochs=1", "optimizer.lr=0.01")
    model = run_head(name, tmp_path, *settings, network=start)[0].network.model
    before, after = start.state_dict(), model.state_dict()
    moved = {key for key in before if not torch.equal(before[key], after[key])}
    last = next(key for key, module in model.named_modules() if module is head_of(model))
    assert moved == {f"{last}.weight", f"{last}.bias"}


@pytest.mark.parametrize("name", ["resnet18", "densenet121"])
def test_batchnorm_statistics_follow_the_batches_when_asked(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    start = build(name)
    settings = ("approach.cache_features=false", "approach.frozen_bn=train", "trainer.epochs=1")
    model = run_head(name, tmp_path, *settings, network=start)[0].network.model
    before, after = start.state_dict(), model.state_dict()
    frozen = {key for key, parameter in model.named_parameters() if not parameter.requires_grad}
    assert all(torch.equal(before[key], after[key]) for key in frozen)
    assert all(not torch.equal(before[key], after[key]) for key in before if key.endswith("running_mean"))


@pytest.mark.parametrize("name", LARGE_LATER)
def test_cached_features_change_no_loss_and_no_prediction(name: str, tmp_path: Path) -> None:
    settings = ("trainer.epochs=3", "optimizer.lr=0.001")
    cached, scores = run_head(name, tmp_path, *settings)
    uncached, uncached_scores = run_head(name, tmp_path, *settings, "approach.cache_features=false")
    columns = ["train_loss", "watched_loss", "val_originals_auc"]
    assert cached.history[columns].to_numpy() == pytest.approx(uncached.history[columns].to_numpy(), rel=2e-4)
    assert scores == pytest.approx(uncached_scores, abs=2e-4)
    for key, tensor in cached.network.state.items():
        assert torch.allclose(tensor, uncached.network.state[key], atol=1e-4), key
    assert len(list(tmp_path.glob("features-*/features.npy"))) == 1


def test_features_are_reused_but_not_for_other_images_weights_or_normalisation(tmp_path: Path) -> None:
    config = composed("model=resnet18", "approach=head", "model.weights=none", "trainer.device=cpu")
    pixels, _ = striped(3)
    network = new_network(config)
    stem, _ = cut_at_dropout(network.model)

    def ask(
        stem: nn.Module, sha256: list[str], normalise: Normalisation = network.normalise
    ) -> tuple[np.ndarray, bool]:
        return frozen_features(stem, pixels, sha256, normalise=normalise, precision=Precision.fp32, cache_dir=tmp_path)

    features, was_cached = ask(stem, ["a", "b", "c"])
    assert not was_cached
    again, was_cached = ask(stem, ["a", "b", "c"])
    assert was_cached
    assert (again == features).all()
    assert not ask(stem, ["a", "b", "d"])[1]
    other = copy.deepcopy(stem)
    with torch.no_grad():
        next(other.parameters())[0, 0, 0, 0] += 1e-3
    assert not ask(other, ["a", "b", "c"])[1]
    darker = dataclasses.replace(network.normalise, shift_C=network.normalise.shift_C - 1)
    assert not ask(stem, ["a", "b", "c"], darker)[1]


def test_micro_batches_are_refused_where_batchnorm_would_see_fewer_images() -> None:
    def network(*typed: str) -> Network:
        config = composed("model.weights=none", "trainer.micro_batch_size=6", "trainer.device=cpu", *typed)
        return new_network(config)

    with pytest.raises(Refusal, match=r"trainer.micro_batch_size=6: resnet18 has BatchNorm"):
        network("model=resnet18", "approach=full")
    moving = ("approach.frozen_bn=train", "approach.cache_features=false")
    with pytest.raises(Refusal, match=r"trainer.micro_batch_size=6: resnet18 has BatchNorm"):
        network("model=resnet18", "approach=head", *moving)
    network("model=resnet18", "approach=head")  # its statistics are frozen
    network("model=squeezenet", "approach=full")


@pytest.mark.parametrize("part", ["_place", "disagreement"])
def test_too_little_memory_for_the_network_or_its_check_is_refused_in_one_line(
    part: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: object, **settings: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(network, part, full)
    config = composed("model=squeezenet", "approach=full", "model.weights=none", "trainer.device=cpu")
    config.trainer.precision = Precision.bf16
    with pytest.raises(Refusal, match=r"^the GPU has too little memory for squeezenet: use trainer\.device=cpu$"):
        new_network(config)


def test_too_little_memory_names_the_size_to_try() -> None:
    config = composed("model=squeezenet", "approach=full")
    exact, other = (too_little_memory(build(name), config) for name in ("squeezenet", "resnet18"))
    assert exact.startswith("the GPU has too little memory for 24 images at once: give trainer.micro_batch_size=12")
    assert "trainer.batch_size=12, which is another protocol" in other
