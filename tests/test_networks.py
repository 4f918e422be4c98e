"""Networks of torchvision and timm: their features, heads and weights, and what is refused."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import SMALL, composed, run
from test_pretrained import run_head
from torch import nn
from torchvision import models

from dxa_tbs.config.checks import check_config
from dxa_tbs.config.compose import settings_of, to_plain
from dxa_tbs.errors import Refusal
from dxa_tbs.models.chain import cut_at_dropout, freeze_backbone, head_of
from dxa_tbs.models.inspection import count_parameters, describe_layers
from dxa_tbs.models.timm_networks import build_timm, load_timm
from dxa_tbs.models.torchvision_networks import build_torchvision, load_torchvision
from dxa_tbs.models.weights import load_backbone
from dxa_tbs.report.build import write_report
from dxa_tbs.report.paper import is_papers_experiment
from dxa_tbs.runs.records import read_environment, read_metrics
from dxa_tbs.training.checkpoint import load_weights, save_weights
from dxa_tbs.training.modes import enter_training

PAPERS = ("alexnet", "resnet18", "vgg16", "densenet121", "squeezenet1_0")
QUICK = ("efficientnet_b0", "mobilenet_v3_small", "shufflenet_v2_x0_5", "squeezenet1_1")
ALL = [name for name in models.list_models(module=models) if name not in PAPERS]
SIZE_PX = 224  # vit_h_14 and maxvit_t do not take every size
GREY = {"input_mean": [0.485, 0.456, 0.406], "input_std": [0.229, 0.224, 0.225]}
TIMM = "mobilenetv3_small_050.lamb_in1k"


def build(architecture: str, *, num_outputs: int = 2, in_channels: int = 3, size_px: int = SIZE_PX) -> nn.Module:
    return build_torchvision(
        architecture=architecture, dropout=0.4, num_outputs=num_outputs, in_channels=in_channels, size_px=size_px
    )


def of_timm(architecture: str = TIMM, *, in_channels: int = 3, size_px: int = SIZE_PX) -> nn.Module:
    return build_timm(architecture=architecture, dropout=0.4, num_outputs=2, in_channels=in_channels, size_px=size_px)


def theirs(architecture: str, **arguments: Any) -> nn.Module:
    """Return torchvision's own network, without auxiliary classifiers and as its ImageNet weights need it."""
    if architecture in ("googlenet", "inception_v3"):
        arguments |= {"aux_logits": False, "init_weights": True, "transform_input": True}
    return models.get_model(architecture, weights=None, **arguments)


def last_of(network: nn.Module) -> nn.Module:
    return [layer for layer in network.modules() if isinstance(layer, nn.Linear | nn.Conv2d)][-1]


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in ALL]
)
def test_features_and_parameters_are_those_of_torchvisions_network(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    with_two = theirs(name, num_classes=2)
    counts = count_parameters(with_two), count_parameters(last_of(with_two))
    del with_two
    ours, whole = build(name), theirs(name).eval()
    torch.save(whole.state_dict(), tmp_path / "theirs.pth")
    load_backbone(ours, tmp_path / "theirs.pth")
    (tmp_path / "theirs.pth").unlink()
    reached: list[torch.Tensor] = []
    last_of(whole).register_forward_pre_hook(lambda layer, inputs: reached.append(inputs[0]))
    images = torch.rand(1, 3, SIZE_PX, SIZE_PX)
    with torch.no_grad():
        whole(images)
        del whole
        features = ours.eval().get_submodule("backbone")(images)
        assert torch.equal(features, reached[0])
        assert count_parameters(ours) == counts[0]
        freeze_backbone(ours)
        assert count_parameters(ours) == counts[1]
        stem, tail = cut_at_dropout(ours)
        assert torch.equal(tail(stem(images)), ours(images))
        assert type(tail[0]).__name__ == "Dropout" and tail[0].p == 0.4
    layers, shape = describe_layers(ours, images)
    assert shape == (1, 2)
    assert sum(int(str(layer["parameters"])) for layer in layers) == counts[0]


def test_a_plain_state_dict_is_read_by_layers_that_have_versions(tmp_path: Path) -> None:
    """MNASNet refuses a state without the version of its layers, which model.pt does not hold."""
    trained, again = build("mnasnet0_5"), build("mnasnet0_5")
    save_weights({name: tensor.cpu() for name, tensor in trained.state_dict().items()}, tmp_path / "model.pt")
    load_weights(again, tmp_path / "model.pt")
    images = torch.rand(1, 3, SIZE_PX, SIZE_PX)
    with torch.no_grad():
        assert torch.equal(again.eval()(images), trained.eval()(images))
    plain = dict(theirs("mnasnet0_5").state_dict())
    torch.save(plain, tmp_path / "plain.pth")
    load_backbone(again, tmp_path / "plain.pth")
    assert torch.equal(again.state_dict()["backbone.layers.0.weight"], plain["layers.0.weight"])


def test_the_dropout_replaces_the_librarys_own_before_the_last_layer_alone() -> None:
    found = [layer.p for layer in build("vgg11").modules() if isinstance(layer, nn.Dropout)]
    assert found == [0.5, 0.4]  # torchvision's first stays


def test_a_head_of_squeezenet_can_learn() -> None:
    layer = next(layer for layer in head_of(build("squeezenet1_1")) if isinstance(layer, nn.Conv2d))
    assert (layer.weight >= 0).all() and (layer.bias == 0).all()  # a ReLU follows


def modes(model: nn.Module) -> set[str]:
    """Return the kinds of the layers that act otherwise in training, and are in training mode."""
    names = ("BatchNorm2d", "StochasticDepth", "Dropout")
    return {kind for layer in model.modules() if (kind := type(layer).__name__) in names and layer.training}


def test_nothing_in_a_frozen_backbone_is_random_or_moves() -> None:
    network = build("efficientnet_b0")
    enter_training(network, moves_frozen_bn=False)
    assert modes(network) == {"BatchNorm2d", "StochasticDepth", "Dropout"}
    freeze_backbone(network)
    enter_training(network, moves_frozen_bn=False)
    assert modes(network) == {"Dropout"}
    assert modes(network.get_submodule("backbone")) == set()
    enter_training(network, moves_frozen_bn=True)
    assert modes(network.get_submodule("backbone")) == {"BatchNorm2d"}


@pytest.mark.parametrize("architecture", ["efficientnet_b0", pytest.param("vit_b_16", marks=pytest.mark.slow)])
def test_cached_features_give_the_same_head_as_features_of_every_epoch(architecture: str, tmp_path: Path) -> None:
    typed = (f"model.architecture={architecture}", "preprocessing.size_px=64", "trainer.epochs=3", "optimizer.lr=0.01")
    cached, scores = run_head("torchvision", tmp_path, *typed)
    uncached, others = run_head("torchvision", tmp_path, *typed, "approach.cache_features=false")
    assert scores == pytest.approx(others, abs=2e-4)
    columns = ["train_loss", "watched_loss"]
    assert cached.history[columns].to_numpy() == pytest.approx(uncached.history[columns].to_numpy(), rel=2e-4)
    for key, tensor in cached.network.state.items():
        assert torch.allclose(tensor, uncached.network.state[key], atol=1e-4), key


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        (["model=torchvision"], "model.architecture is not set"),
        (["model=torchvision", "model.architecture=resnet18"], "is one of the paper's: use model=resnet18"),
        (["model=torchvision", "model.architecture=squeezenet1_0"], "is one of the paper's: use model=squeezenet"),
        (["model=torchvision", "model.architecture=a/b"], "model.architecture=a/b: is not the name of a network"),
        (["model=torchvision", "model.architecture=vgg11", "model.name=x"], "model.name=x: is vgg11 here"),
        (["model=timm", "model.architecture=vgg11", "model.name=vgg11"], "model.name=vgg11: is timm_vgg11 here"),
        (["model=torchvision", "model.architecture=vgg11", "approach=adhoc"], "use approach=full or approach=head"),
        (["model=timm", "model.architecture=vgg11", "model.dropout=1"], "model.dropout=1.0: must be at least 0"),
        (
            ["model=timm", "model.architecture=vgg11", "model.weights=imagenet"],
            "model.weights=imagenet: no such file: use pretrained, none, or the path",
        ),
        (
            ["model=torchvision", "model.architecture=vgg11", "model.weights=no.pth"],
            "model.weights=no.pth: no such file: use imagenet, none, or the path",
        ),
    ],
)
def test_settings_that_cannot_be_used_are_refused_without_torch(typed: list[str], told: str) -> None:
    with pytest.raises(Refusal) as refusal:
        check_config(composed("approach=full", *typed))
    assert told in str(refusal.value)


def test_networks_and_images_that_do_not_fit_are_refused() -> None:
    with pytest.raises(Refusal, match=r"torchvision has no such network: did you mean efficientnet_b0, .*b7, \.\.\.\?"):
        build("efficientnet")
    with pytest.raises(Refusal, match=r"did you mean .*mobilenet_v3_small"):
        build("mobilenet_v3_smal")
    with pytest.raises(Refusal, match="vgg11 takes 3 channels"):
        build("vgg11", in_channels=1)
    with pytest.raises(Refusal, match=r"preprocessing\.size_px=100: vit_b_16 takes no such images"):
        build("vit_b_16", size_px=100)


def load(model: nn.Module, weights: str, architecture: str, **normalisation: Sequence[float]) -> str:
    loaded = load_timm if architecture.partition(".")[2] else load_torchvision
    return loaded(model, weights, architecture=architecture, **(GREY | normalisation))


def test_weights_of_torchvision_that_do_not_fit_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    small = build("mobilenet_v3_small")
    with pytest.raises(Refusal, match=r"mobilenet_v3_small-047dcff4\.pth is not in .* model\.weights=<path>"):
        load(small, "imagenet", "mobilenet_v3_small")
    with pytest.raises(Refusal, match=r"has imagenet, IMAGENET1K_V1, none, or a path"):
        load(small, "IMAGENET1K_V7", "mobilenet_v3_small")
    told = r"another normalisation: give model\.input_mean=\[0\.5,0\.5,0\.5\] model\.input_std=\[0\.5,0\.5,0\.5\]"
    with pytest.raises(Refusal, match=told):
        load(small, "imagenet", "efficientnet_v2_l")
    torch.save(models.mobilenet_v3_large().state_dict(), tmp_path / "large.pth")
    with pytest.raises(Refusal, match="holds the weights of another network: its"):
        load(small, str(tmp_path / "large.pth"), "mobilenet_v3_small")
    torch.save(models.shufflenet_v2_x0_5().state_dict(), tmp_path / "other.pth")
    with pytest.raises(Refusal, match=r"another network: it has no classifier\.0\.bias"):
        load(small, str(tmp_path / "other.pth"), "mobilenet_v3_small")
    state = models.mobilenet_v3_small().state_dict() | {"features.99.weight": torch.zeros(1)}
    torch.save(state, tmp_path / "more.pth")
    with pytest.raises(Refusal, match=r"another network: it has features\.99\.weight"):
        load(small, str(tmp_path / "more.pth"), "mobilenet_v3_small")


def test_older_files_of_torchvision_are_read(tmp_path: Path) -> None:
    """Vision transformers had other names, and MNASNet another stem: torch converts them by the version in the file."""
    state = models.mnasnet0_5().state_dict()
    torch.save(state, tmp_path / "mnasnet.pth")
    network = build("mnasnet0_5")
    load_backbone(network, tmp_path / "mnasnet.pth")
    assert torch.equal(network.state_dict()["backbone.layers.0.weight"], state["layers.0.weight"])


@pytest.mark.slow
def test_vision_transformers_are_built_for_the_size_of_the_images(tmp_path: Path) -> None:
    network = build("vit_b_16", size_px=64)
    with pytest.raises(Refusal, match=r"takes images of 384 pixels: give preprocessing\.size_px=384"):
        load(network, "IMAGENET1K_SWAG_E2E_V1", "vit_b_16")
    older = {
        name.replace("mlp.0.", "mlp.linear_1.").replace("mlp.3.", "mlp.linear_2."): tensor
        for name, tensor in models.vit_b_16(image_size=64).state_dict().items()
    }
    torch.save(older, tmp_path / "older.pth")
    load_backbone(network, tmp_path / "older.pth")
    name = "encoder.layers.encoder_layer_3.mlp.{}.weight"
    ours = network.state_dict()[f"backbone.{name.format('0')}"]
    assert torch.equal(ours, older[name.format("linear_1")])


timm = pytest.importorskip("timm")


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_features_are_those_of_timms_network(suffix: str, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    torch.manual_seed(0)
    ours, whole = of_timm(), timm.create_model(TIMM).eval()
    path = tmp_path / f"theirs{suffix}"
    save_file(whole.state_dict(), path) if suffix == ".safetensors" else torch.save(whole.state_dict(), path)
    assert load(ours, str(path), TIMM) == hashlib.sha256(path.read_bytes()).hexdigest()
    images = torch.rand(2, 3, 96, 96)
    with torch.no_grad():
        wanted = whole.forward_head(whole.forward_features(images), pre_logits=True)
        assert torch.equal(ours.eval().get_submodule("backbone")(images), wanted)
    freeze_backbone(ours)
    assert count_parameters(ours) == 2 * wanted.shape[1] + 2
    assert of_timm(in_channels=1).eval()(images[:, :1]).shape == (2, 2)


@pytest.mark.slow
@pytest.mark.parametrize(
    "architecture",
    [
        *("convnext_tiny.fb_in1k", "vit_tiny_patch16_224.augreg_in21k_ft_in1k", "resnet50.a1_in1k"),
        *("swin_tiny_patch4_window7_224.ms_in1k", "efficientnet_b0.ra_in1k", "beit_base_patch16_224.in22k_ft_in22k"),
        *("mixer_b16_224.goog_in21k", "regnety_002.pycls_in1k", "deit_tiny_distilled_patch16_224.fb_in1k"),
        *("maxvit_rmlp_pico_rw_256.sw_in1k", "dla34.in1k", "tf_efficientnetv2_b0.in1k", "davit_tiny.msft_in1k"),
    ],
)
def test_files_of_many_families_of_timm_are_read(architecture: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    whole = timm.create_model(architecture).eval()
    size_px = whole.pretrained_cfg["input_size"][-1]
    ours = of_timm(architecture, size_px=size_px)
    torch.save(whole.state_dict(), tmp_path / "theirs.pth")
    settings = whole.pretrained_cfg
    load(ours, str(tmp_path / "theirs.pth"), architecture, input_mean=settings["mean"], input_std=settings["std"])
    images = torch.rand(1, 3, size_px, size_px)
    with torch.no_grad():
        wanted = whole.forward_head(whole.forward_features(images), pre_logits=True)
        assert torch.allclose(ours.eval().get_submodule("backbone")(images), wanted, atol=1e-5)


def test_networks_and_weights_of_timm_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    network = of_timm()
    with pytest.raises(Refusal, match=r"its tags: mobilenetv3_small_050\.lamb_in1k"):
        of_timm("mobilenetv3_small_050.lamb")
    with pytest.raises(Refusal, match=r"did you mean mobilenetv3_small_050"):
        of_timm("mobilenetv3_smal_050")
    with pytest.raises(Refusal, match=r"must say which: mobilenetv3_small_050\.lamb_in1k"):
        load_timm(network, "pretrained", architecture="mobilenetv3_small_050", **GREY)
    with pytest.raises(Refusal, match=r"give model\.input_mean=\[0\.485,0\.456,0\.406\] model\.input_std=\[0\.229"):
        load(network, "pretrained", TIMM, input_mean=[0.5, 0.5, 0.5])
    told = r"takes no such images \(.*384.*\): give preprocessing\.size_px=384"
    with pytest.raises(Refusal, match=told):
        of_timm("vit_tiny_patch16_384.augreg_in21k_ft_in1k")
    torch.save(timm.create_model("mobilenetv3_small_075").state_dict(), tmp_path / "other.pth")
    torch.save({"a": torch.zeros(1)}, tmp_path / "empty.pth")
    (tmp_path / "damaged.safetensors").write_bytes(b"12345678{}")
    for file, reason in (
        ("other.pth", "another network: its"),
        ("empty.pth", "another network: it has no blocks"),
        ("damaged.safetensors", "is damaged or not a state dict"),
    ):
        with pytest.raises(Refusal, match=reason) as refusal:
            load(network, str(tmp_path / file), TIMM)
        assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("architecture", ["dla34.in1k", "davit_tiny.msft_in1k", "vit_tiny_patch16_224.augreg_in21k"])
@pytest.mark.slow
def test_no_family_of_timm_takes_a_file_of_another(architecture: str, tmp_path: Path) -> None:
    torch.save(timm.create_model("mobilenetv3_small_075").state_dict(), tmp_path / "other.pth")
    settings = timm.get_pretrained_cfg(architecture)
    with pytest.raises(Refusal, match="another network"):
        load(
            of_timm(architecture),
            str(tmp_path / "other.pth"),
            architecture,
            input_mean=settings.mean,
            input_std=settings.std,
        )


def test_a_file_in_the_cache_of_hugging_face_is_found_and_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants
    from safetensors.torch import save_file

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    network, whole = of_timm(), timm.create_model(TIMM)
    with pytest.raises(Refusal) as refusal:
        load(network, "pretrained", TIMM)
    for part in (f"timm/{TIMM} is not in {tmp_path}", "model.safetensors", "model.weights=<path of the file>"):
        assert part in str(refusal.value)
    assert "\n" not in str(refusal.value)
    folder = tmp_path / f"models--timm--{TIMM}"
    (folder / "blobs").mkdir(parents=True)
    save_file(whole.state_dict(), folder / "new")
    sha256 = hashlib.sha256((folder / "new").read_bytes()).hexdigest()
    (folder / "new").rename(folder / "blobs" / sha256)
    (folder / "snapshots/abc").mkdir(parents=True)
    (folder / "snapshots/abc/model.safetensors").symlink_to(folder / "blobs" / sha256)
    (folder / "refs").mkdir()
    (folder / "refs/main").write_text("abc")
    assert load(network, "pretrained", TIMM) == sha256
    assert torch.equal(network.state_dict()["backbone.conv_stem.weight"], whole.state_dict()["conv_stem.weight"])
    with (folder / "blobs" / sha256).open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"\xff")
    with pytest.raises(Refusal, match=r"model\.safetensors is damaged: delete it"):
        load(network, "pretrained", TIMM)


def test_without_timm_the_answer_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(Refusal, match=r"model=timm: needs the package timm: pip install 'dxa-tbs\[timm\]'"):
        of_timm()


@pytest.mark.slow
def test_runs_of_both_libraries_reach_the_report_and_can_be_evaluated(tmp_path: Path) -> None:
    small = [text for text in SMALL if not text.startswith("model=")]
    common = [*small, f"output_root={tmp_path}", f"cache_dir={tmp_path}/cache", "preprocessing.size_px=64"]
    common += ["augmentation=none", "trainer.precision=fp32"]
    torch.save(models.mobilenet_v3_small().state_dict(), tmp_path / "theirs.pth")
    path = f"model.weights={tmp_path}/theirs.pth"
    chosen = ["model=torchvision", "model.architecture=mobilenet_v3_small"]
    head = run(*chosen, path, "approach=head", *common)
    other = run("model=timm", f"model.architecture={TIMM}", "model.weights=none", "approach=full", *common)
    sha256 = hashlib.sha256((tmp_path / "theirs.pth").read_bytes()).hexdigest()
    assert read_environment(head)["weights"]["initial_sha256"] == read_metrics(head)["weights_sha256"] == sha256
    assert read_metrics(head)["trainable_parameters"] == 2 * 1024 + 2
    assert (head.parent.name, other.parent.name) == ("mobilenet_v3_small", f"timm_{TIMM}")
    assert run(*chosen, path, "approach=head", *common) == head  # finished: skipped
    again = run(f"evaluate={other}", f"output_root={tmp_path}", f"cache_dir={tmp_path}/cache", "name=again")
    assert read_metrics(again)["test"] == read_metrics(other)["test"]
    text = write_report(tmp_path / "runs")
    for name in ("mobilenet_v3_small head", f"timm_{TIMM} full"):
        assert name in text
    assert "left out" not in text
    torch.save(models.mobilenet_v3_small().state_dict(), tmp_path / "theirs.pth")
    with pytest.raises(Refusal, match="another configuration"):
        run(*chosen, path, "approach=head", *common)


def test_a_network_of_a_library_is_never_taken_for_the_papers() -> None:
    for options in (
        {"name": "resnet18", "architecture": "resnet18", "dropout": 0.4},
        {"name": "timm_resnet18", "architecture": "resnet18", "dropout": 0.4},
        {"name": "model4", "factory": "own:build", "settings": {}},
    ):
        assert not any(is_papers_experiment(approach, options) for approach in ("full", "head", "adhoc"))
    papers = {"name": "resnet18", "architecture": "resnet18", "dropout": 0.4, "backbone_dropout": 0.0}
    assert is_papers_experiment("full", papers)


def test_settings_tell_the_libraries_apart() -> None:
    for library, architecture in (("torchvision", "vgg11"), ("timm", "vgg11"), ("timm", TIMM)):
        config = composed(f"model={library}", f"model.architecture={architecture}", "approach=full")
        assert settings_of(to_plain(config)) == config


def test_random_initial_weights_follow_the_seed() -> None:
    torch.manual_seed(3)
    one = build("mobilenet_v3_small").state_dict()
    torch.manual_seed(3)
    assert all(torch.equal(tensor, one[key]) for key, tensor in build("mobilenet_v3_small").state_dict().items())
