"""Initial weights: accepted and refused files, downloads, and runs without internet access."""

from __future__ import annotations

import hashlib
import http.server
import os
import pickle
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torchvision import models

from dxa_tbs.config.choices import Architecture
from dxa_tbs.errors import Refusal
from dxa_tbs.models import downloads, weights
from dxa_tbs.models.pretrained import build_pretrained

SQUEEZENET = "squeezenet1_0-b66bff10.pth"


@pytest.fixture(scope="module")
def squeezenet_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the path of a state dict in torchvision's form: 1000 classes, here with random weights."""
    path = tmp_path_factory.mktemp("weights") / "squeezenet.pth"
    torch.manual_seed(0)
    torch.save(models.squeezenet1_0().state_dict(), path)
    return path


def network(architecture: Architecture = Architecture.squeezenet) -> torch.nn.Module:
    return build_pretrained(architecture, dropout=0.4, backbone_dropout=0.0)


def test_all_but_the_last_layer_is_loaded(squeezenet_file: Path) -> None:
    model, state = network(), torch.load(squeezenet_file, weights_only=True)
    new = model.classifier[1].weight.detach().clone()
    weights.load_backbone(model, squeezenet_file)
    for key, tensor in model.state_dict().items():
        if not key.startswith("classifier."):
            assert torch.equal(tensor, state[key])
    assert torch.equal(model.classifier[1].weight, new)


@pytest.mark.parametrize("architecture", [Architecture.resnet18, Architecture.densenet121, Architecture.alexnet])
def test_every_architecture_loads_torchvisions_file(architecture: Architecture, tmp_path: Path) -> None:
    theirs = getattr(models, architecture.value)().state_dict()
    older = {key: tensor for key, tensor in theirs.items() if not key.endswith("num_batches_tracked")}
    if architecture is Architecture.densenet121:  # its file has older layer names
        for kind in ("norm", "conv"):
            older = {
                key.replace(f".{kind}1.", f".{kind}.1.").replace(f".{kind}2.", f".{kind}.2."): older[key]
                for key in older
            }
        assert any(".norm.1." in key for key in older)
    torch.save(older, tmp_path / "theirs.pth")
    model = network(architecture)
    weights.load_backbone(model, tmp_path / "theirs.pth")
    ours = model.state_dict()
    assert all(torch.equal(ours[key], theirs[key]) for key in ours if not key.startswith(("fc.", "classifier.")))


class Harmful:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("touch harmed",)


def test_files_that_are_not_a_state_dict_of_this_network_are_refused_and_run_no_code(
    squeezenet_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    whole = squeezenet_file.read_bytes()
    cuts = {f"cut_at_{share}": len(whole) * share // 1000 for share in (1, 10, 300, 500, 900, 999)}
    for name, length in cuts.items():
        (tmp_path / f"{name}.pth").write_bytes(whole[:length])
    torch.save({0: torch.zeros(3)}, tmp_path / "numbered.pth")
    (tmp_path / "empty.pth").write_bytes(b"")
    (tmp_path / "text.pth").write_text("not here")
    (tmp_path / "pickle.pth").write_bytes(pickle.dumps({"a": 1}))
    torch.save({"epoch": 3, "model": models.squeezenet1_0().state_dict()}, tmp_path / "checkpoint.pth")
    torch.save([1, 2], tmp_path / "list.pth")
    torch.save(Harmful(), tmp_path / "harmful.pth")
    torch.save(models.resnet18().state_dict(), tmp_path / "resnet18.pth")
    torch.save(models.squeezenet1_1().state_dict(), tmp_path / "squeezenet1_1.pth")
    expected = {
        **dict.fromkeys(cuts, "is damaged or not a state dict"),
        "numbered": "does not contain a state dict",
        "empty": "is damaged or not a state dict",
        "text": "is damaged or not a state dict",
        "pickle": "not a state dict",
        "checkpoint": "does not contain a state dict",
        "list": "does not contain a state dict",
        "harmful": "is damaged or not a state dict",
        "resnet18": "holds the weights of another network: it has no features.0.bias",
        "squeezenet1_1": "holds the weights of another network: it",
    }
    for name, answer in expected.items():
        with pytest.raises(Refusal) as refusal:
            weights.load_backbone(network(), tmp_path / f"{name}.pth")
        assert answer in str(refusal.value), name
        assert "\n" not in str(refusal.value)
    assert not (tmp_path / "harmed").exists()


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """Serve a folder over HTTP; yield its address and its path."""
    folder = tmp_path / "served"
    folder.mkdir()

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments: object) -> None:
            super().__init__(*arguments, directory=str(folder))  # type: ignore[arg-type]

        def log_message(self, *arguments: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", folder
        server.shutdown()


def test_a_download_is_checked_by_its_hash_and_leaves_nothing_behind(served: tuple[str, Path], tmp_path: Path) -> None:
    address, folder = served
    content = b"weights" * 50_000
    name = f"net-{hashlib.sha256(content).hexdigest()[:8]}.pth"
    (folder / name).write_bytes(content)
    downloads.fetch(f"{address}/{name}", tmp_path / "hub" / name)
    assert (tmp_path / "hub" / name).read_bytes() == content
    (folder / "net-00000000.pth").write_bytes(b"<html>log in to the hospital's network</html>")
    for other, reason in (
        ("net-00000000.pth", "the 45 bytes received are not that file"),
        ("net-11111111.pth", "File not found"),
    ):
        with pytest.raises(Refusal, match=reason):
            downloads.fetch(f"{address}/{other}", tmp_path / "hub" / other)
    assert [path.name for path in (tmp_path / "hub").iterdir()] == [name]


def test_a_server_that_never_answers_is_given_up_after_a_time_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(downloads, "FIRST_BYTE_TIMEOUT_S", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        start = time.perf_counter()
        with pytest.raises(Refusal, match="no answer in 0 s"):
            address = f"http://127.0.0.1:{silent.getsockname()[1]}"
            downloads.fetch(f"{address}/net-00000000.pth", tmp_path / "net-00000000.pth")
        assert time.perf_counter() - start < 5


def test_a_file_in_torch_home_is_checked(
    squeezenet_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    kept = tmp_path / "hub/checkpoints" / SQUEEZENET
    kept.parent.mkdir(parents=True)
    kept.write_bytes(squeezenet_file.read_bytes())
    with pytest.raises(Refusal, match=f"{SQUEEZENET} is damaged, or another file with that name: delete it"):
        downloads.find_file(weights.URLS[Architecture.squeezenet], asked="imagenet")


@pytest.mark.slow
def test_without_internet_a_run_is_refused_before_any_data_is_created(tmp_path: Path) -> None:
    environment = os.environ | {"TORCH_HOME": str(tmp_path / "torch"), "https_proxy": "http://127.0.0.1:9"}
    environment.pop("no_proxy", None)
    command = [sys.executable, "-m", "dxa_tbs.train", "model=squeezenet", "approach=full"]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    for part in (SQUEEZENET, str(tmp_path / "torch/hub/checkpoints"), "model.weights=<path>", "model.weights=none"):
        assert part in done.stderr
    assert not list((tmp_path / "outputs").rglob("*"))
