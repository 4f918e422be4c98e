"""Networks of the user's own: what they may be, and that only the user can name their code."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import SMALL, composed, run
from torch import nn

from dxa_tbs.config.checks import check_config
from dxa_tbs.errors import Refusal
from dxa_tbs.models import fp32_layers
from dxa_tbs.models.chain import cut_at_dropout, freeze_backbone
from dxa_tbs.models.inspection import describe_layers
from dxa_tbs.models.own import build_own
from dxa_tbs.notebook import predict
from dxa_tbs.pipeline.learner import build_learner
from dxa_tbs.pipeline.train import new_network
from dxa_tbs.report.build import write_report
from dxa_tbs.runs.records import read_layers, read_metrics, read_predictions
from dxa_tbs.training.blocks import begins_with_block, with_fast_blocks
from dxa_tbs.training.modes import enter_training, trains_batchnorm

NETWORK = """
from collections import OrderedDict
from pathlib import Path

from torch import nn

(Path(__file__).parent / "imported").touch()


class Net(nn.Module):
    def __init__(self, width, num_outputs, in_channels):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, width, 5, stride=4)
        self.pool = nn.AdaptiveAvgPool2d(4)
        self.fc = nn.Linear(16 * width, num_outputs)

    def forward(self, x):
        x = self.pool(self.conv(x).relu())
        return self.fc(x.view(x.size(0), -1))  # as tutorials write it


def build(*, num_outputs, in_channels, size_px, width=4):
    return Net(width, num_outputs, in_channels)


def in_two_parts(*, num_outputs, in_channels, size_px):
    pooled = nn.Conv2d(in_channels, 4, 5, stride=4), nn.BatchNorm2d(4), nn.Dropout(0.5), nn.AdaptiveAvgPool2d(1)
    relu = nn.ReLU()
    head = nn.Sequential(relu, nn.Linear(4, 8), relu, nn.Dropout(0.2), nn.Linear(8, num_outputs))
    return nn.Sequential(OrderedDict(backbone=nn.Sequential(*pooled, nn.Flatten()), head=head))
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return the current folder, which holds own_net.py, and forget the module afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "own_net.py").write_text(NETWORK)
    yield tmp_path
    forget()


def forget() -> None:
    sys.modules.pop("own_net", None)
    Path("imported").unlink(missing_ok=True)


def trained(*typed: str) -> Path:
    small = [text for text in SMALL if not text.startswith("model=")]
    settings = ("preprocessing.size_px=64", "augmentation=none", "trainer.precision=fp32")
    return run("model=custom", *small, *settings, *typed)


def test_only_the_user_names_the_code_of_a_finished_run(folder: Path) -> None:
    run_dir = trained("model.factory=own_net:build", "+model.settings.width=6")
    assert run_dir.parent == Path("outputs/runs/phantom/adhoc/custom")
    assert read_layers(run_dir)["parameters"].sum() == 6 * 76 + 16 * 6 + 1
    assert Path("imported").exists()
    images = np.random.default_rng(0).integers(0, 255, (3, 64, 64), dtype=np.uint8)
    forget()

    told = r"needs code of yours, which is not imported because a run names it: if you trust it, give "
    for typed in ([], ["model=model4"], ["dataset=phantom_easy"]):
        with pytest.raises(Refusal, match=rf"{told}model=custom model\.factory=own_net:build$"):
            run(f"evaluate={run_dir}", "name=again", *typed)
    with pytest.raises(Refusal, match=r"model\.factory=own_net:other: the run was made with own_net:build"):
        run(f"evaluate={run_dir}", "name=again", "model=custom", "model.factory=own_net:other")
    with pytest.raises(Refusal, match=r"model\.settings\.width: is fixed by the run"):
        run(f"evaluate={run_dir}", "model=custom", "model.factory=own_net:build", "+model.settings.width=2")
    with pytest.raises(Refusal, match=rf"{told}factory=own_net:build$"):
        predict(run_dir, images, device="cpu")
    with pytest.raises(Refusal, match=r"factory=own_net:other: the run was made with own_net:build"):
        predict(run_dir, images, device="cpu", factory="own_net:other")
    assert "custom adhoc" in write_report(Path("outputs/runs"))
    assert not Path("imported").exists()
    assert "own_net" not in sys.modules

    again = run(f"evaluate={run_dir}", "name=again", "model=custom", "model.factory=own_net:build")
    pd.testing.assert_frame_equal(read_predictions(again), read_predictions(run_dir), check_exact=False, rtol=1e-6)
    assert read_metrics(again)["code_sha256"] == read_metrics(run_dir)["code_sha256"]
    scores = predict(run_dir, images, device="cpu", factory="own_net:build")["score"]
    assert scores.between(0, 1).all() and scores.nunique() == 3

    Path("own_net.py").write_text(NETWORK.replace(".relu()", ".sigmoid()"))
    forget()
    told = r"model\.factory=own_net:build: its code has changed since the run was trained"
    with pytest.raises(Refusal, match=told):
        run(f"evaluate={run_dir}", "name=changed", "model=custom", "model.factory=own_net:build")
    with pytest.raises(Refusal, match=told):
        predict(run_dir, images, device="cpu", factory="own_net:build")


@pytest.mark.slow
def test_a_yaml_file_of_ones_own_names_the_code_too(folder: Path) -> None:
    (folder / "my/model").mkdir(parents=True)
    (folder / "my/model/mine.yaml").write_text(
        "defaults: [custom, _self_]\nname: mine\nfactory: own_net:build\nsettings: {width: 2}\n"
    )
    found = f"hydra.searchpath=[file://{(folder / 'my').as_posix()}]"
    small = [text for text in SMALL if not text.startswith("model=")]
    run_dir = run(found, "model=mine", *small, "preprocessing.size_px=64", "augmentation=none")
    assert run_dir == Path("outputs/runs/phantom/adhoc/mine") / run_dir.name
    again = run(found, f"evaluate={run_dir}", "model=mine", "name=again")
    assert read_metrics(again)["test"] == read_metrics(run_dir)["test"]


def test_the_code_of_a_dxa_network_need_not_be_named(finished: Path) -> None:
    with pytest.raises(Refusal, match=r"factory=own_net:build: the network of .* is not code of your own: drop it"):
        predict(finished, np.zeros((1, 224, 224), np.uint8), factory="own_net:build")
    with pytest.raises(Refusal, match="model: is fixed by the run"):
        run(f"evaluate={finished}", "model=custom", "model.factory=own_net:build")


@pytest.mark.slow
def test_a_head_of_ones_own_trains_alone(folder: Path) -> None:
    typed = ("model.factory=own_net:in_two_parts", "approach=head", "optimizer.lr=0.1")
    with pytest.raises(Refusal, match=r"features of your own network are not kept.*approach\.cache_features=false"):
        trained(*typed)
    run_dir = trained(*typed, "approach.cache_features=false")
    state = torch.load(run_dir / "model.pt", weights_only=True)
    config = composed("model=custom", *typed, "approach.cache_features=false", "trainer.device=cpu")
    start = new_network(config).state
    moved = {name.split(".")[0] for name in start if not torch.equal(start[name], state[name])}
    assert moved == {"head"}
    assert read_metrics(run_dir)["trainable_parameters"] == 4 * 8 + 8 + 8 + 1
    with pytest.raises(Refusal, match="approach=head: own_net:build returns a Net: it must return an nn"):
        trained("model.factory=own_net:build", "approach=head", "approach.cache_features=false")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("typed", "told"),
    [
        (["model.factory=own_net:missing"], "model.factory=own_net:missing: cannot be imported (AttributeError"),
        (
            ["model.settings.width=3"],
            "model.settings: settings of your own code are added: write +model.settings.<name>",
        ),
        (["model.settings={width: 3}"], "model.settings: settings of your own code are added: write +model.sett"),
    ],
)
def test_the_command_line_answers_in_one_line(typed: list[str], told: str, folder: Path) -> None:
    command = [sys.executable, "-m", "dxa_tbs.train", "model=custom", *typed]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith(f"dxa_tbs: {told}")
    assert len(done.stderr.splitlines()) == 1


def own(code: str, monkeypatch: pytest.MonkeyPatch) -> nn.Module:
    """Return the network that a function with this body returns."""
    module = ModuleType("own_body")
    body = "\n".join(f"    {line}" for line in code.splitlines())
    exec(
        f"import torch\nfrom torch import nn\ndef build(num_outputs, in_channels, size_px, **settings):\n{body}",
        vars(module),
    )
    monkeypatch.setitem(sys.modules, "own_body", module)
    return build_own(factory="own_body:build", settings={}, num_outputs=1, in_channels=3, size_px=32)


IN_TRAINING = """
class Net(nn.Linear):
    def forward(self, x):
        y = super().forward(x.flatten(1))
        return (y, y) if self.training else y
return Net(3 * 32 * 32, 1)
"""


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("return 3", "returns int: it must return a torch.nn.Module"),
        ("raise KeyError('no weights')", r"fails \(KeyError: 'no weights'"),
        ("return nn.Linear(3, 1)", r"fails for images of 2 x 3 x 32 x 32 \(RuntimeError: mat1 and mat2"),
        ("return nn.Sequential(nn.Flatten(), nn.Linear(3072, 2))", r"in evaluation is \(2, 2\), not .* \(2, 1\)"),
        ("return nn.Sequential(nn.Flatten(0), nn.Linear(6144, 1))", r"in evaluation is \(1,\), not"),
        (IN_TRAINING, "in training is tuple, not a tensor"),
        ("return nn.Sequential(nn.AvgPool3d((3, 32, 32)), nn.Flatten())", "without parameters to train"),
    ],
)
def test_what_cannot_be_trained_is_refused_before_any_image_is_read(
    code: str, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(Refusal, match=told) as refusal:
        own(code, monkeypatch)
    assert str(refusal.value).startswith("model.factory=own_body:build: ")
    assert "\n" not in str(refusal.value)


def test_a_network_that_replaces_a_buffer_is_refused_before_any_image_is_read(folder: Path) -> None:
    (folder / "own_net.py").write_text(
        "import torch\nfrom torch import nn\n"
        "class Counting(nn.Sequential):\n"
        "    def __init__(self, *layers):\n"
        "        super().__init__(*layers)\n"
        "        self.register_buffer('calls', torch.zeros(()))\n"
        "    def forward(self, images):\n"
        "        self.calls = self.calls + 1\n"
        "        return super().forward(images)\n"
        "def build(num_outputs, in_channels, size_px):\n"
        "    return Counting(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(in_channels, num_outputs))\n"
    )
    with pytest.raises(Refusal, match="assigns a new tensor to its buffer calls: change the buffer in place"):
        new_network(composed("model=custom", "model.factory=own_net:build", "trainer.device=cpu"))


def test_looking_at_a_network_changes_nothing_and_its_last_layer_is_fp32(monkeypatch: pytest.MonkeyPatch) -> None:
    code = "return nn.Sequential(nn.Flatten(), nn.BatchNorm1d(3072), nn.Linear(3072, 1))"
    torch.manual_seed(0)
    network = own(code, monkeypatch)
    after = torch.rand(1)
    torch.manual_seed(0)
    wanted = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(3072), nn.Linear(3072, 1))
    assert all(torch.equal(tensor, wanted.state_dict()[key]) for key, tensor in network.state_dict().items())
    assert torch.equal(after, torch.rand(1))
    assert type(network[2]) is fp32_layers.Linear
    with torch.autocast("cpu", torch.bfloat16):
        assert network(torch.rand(2, 3, 32, 32)).dtype == torch.float32


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        (["model.name=model4"], "model.name=model4: is the name of another network"),
        (["model.name=a/b"], "model.name=a/b: is the name of a folder"),
        (["model.weights=weights.pt"], "model.weights=weights.pt: custom is trained from scratch"),
        (["approach=head"], "features of your own network are not kept"),
    ],
)
def test_settings_of_ones_own_network_are_checked(typed: list[str], told: str) -> None:
    with pytest.raises(Refusal, match=told):
        check_config(composed("model=custom", "model.factory=own:build", *typed))


def test_layers_used_twice_stay_in_a_faster_network_and_in_a_head() -> None:
    relu = nn.ReLU()
    layers = [nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2), relu, nn.Conv2d(8, 4, 3), relu]
    network = nn.Sequential(*layers).eval()
    images = torch.randn(2, 3, 12, 12)
    assert torch.allclose(with_fast_blocks(network, takes_one_channel=False).eval()(images), network(images), atol=1e-6)
    parts = nn.Sequential()
    parts.add_module("backbone", nn.Flatten())
    parts.add_module("head", nn.Sequential(relu, nn.Linear(4, 4), relu, nn.Linear(4, 1)))
    freeze_backbone(parts)
    stem, tail = cut_at_dropout(parts)
    assert (len(stem), len(tail)) == (1, 4)


def test_blocks_leave_out_layers_that_compute_something_else() -> None:
    def block() -> nn.Sequential:
        return nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2))

    assert begins_with_block(block())
    frozen, hooked = block(), block()
    frozen[1].requires_grad_(False)
    torch.nn.utils.spectral_norm(hooked[0])
    assert not begins_with_block(frozen) and not begins_with_block(hooked)


def test_a_sequential_with_a_forward_of_its_own_is_left_as_it_is(folder: Path) -> None:
    class Twice(nn.Sequential):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return 2 * super().forward(images)

    config = composed("model=model3", "trainer.device=cpu")
    network = new_network(config)
    twice = Twice(*network.model)
    object.__setattr__(network, "model", twice)
    assert build_learner(network, caches_features=False).model is twice


def test_batchnorm_of_any_kind_is_seen() -> None:
    network = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(12, affine=False), nn.Linear(12, 1))
    assert trains_batchnorm(network, moves_frozen_bn=False)
    enter_training(network, moves_frozen_bn=False)
    assert network[1].training
    assert not trains_batchnorm(nn.Sequential(nn.Linear(12, 1)), moves_frozen_bn=True)
    frozen = nn.Sequential(nn.Sequential(nn.Linear(12, 12), nn.BatchNorm1d(12, affine=False)), nn.Linear(12, 1))
    frozen[0].requires_grad_(False)
    assert not trains_batchnorm(frozen, moves_frozen_bn=False)
    assert trains_batchnorm(frozen, moves_frozen_bn=True)
    enter_training(frozen, moves_frozen_bn=False)
    assert not frozen[0][1].training


def test_layers_without_a_tensor_or_without_a_call_are_listed_too() -> None:
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm = nn.LSTM(8, 4, batch_first=True)
            self.fc = nn.Linear(4, 4)
            self.unused = nn.Linear(4, 2)
            self.scale = nn.Parameter(torch.ones(1))

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            found, _ = self.lstm(images.mean(1))
            return (
                nn.functional.linear(self.fc(self.fc(found[:, -1])), self.unused.weight, self.unused.bias) * self.scale
            )

    network = Odd()
    layers, shape = describe_layers(network, torch.zeros(1, 3, 8, 8))
    assert shape == (1, 2)
    assert [layer["layer"] for layer in layers] == ["lstm", "fc", "fc", "", "unused"]
    assert sum(int(str(layer["parameters"])) for layer in layers) == sum(one.numel() for one in network.parameters())
