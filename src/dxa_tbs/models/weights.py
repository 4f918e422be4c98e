"""Finds, downloads, checks and loads initial weights of the ImageNet networks, never running code from a file."""

from __future__ import annotations

import http.client
import logging
import os
import queue
import re
import threading
import urllib.error
import urllib.request
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torchvision import models

from dxa_tbs.config.choices import Architecture
from dxa_tbs.errors import Refusal
from dxa_tbs.hashes import sha256_of_file
from dxa_tbs.models.pretrained import last_layer
from dxa_tbs.progress import OnProgress, Progress, ignore_progress

log = logging.getLogger("dxa_tbs.models")

FIRST_BYTE_TIMEOUT_S = 8.0  # some firewalls drop requests without an answer
SILENCE_TIMEOUT_S = 20.0  # between two parts of a file
URLS = {
    Architecture.alexnet: models.AlexNet_Weights.IMAGENET1K_V1.url,
    Architecture.resnet18: models.ResNet18_Weights.IMAGENET1K_V1.url,
    Architecture.vgg16: models.VGG16_Weights.IMAGENET1K_V1.url,
    Architecture.densenet121: models.DenseNet121_Weights.IMAGENET1K_V1.url,
    Architecture.squeezenet: models.SqueezeNet1_0_Weights.IMAGENET1K_V1.url,
}


def load_initial(
    model: nn.Module,
    weights: str,
    *,
    architecture: Architecture,
    on_progress: OnProgress = ignore_progress,
    **_: object,
) -> str:
    """Load all but the last layer of a network of `build_pretrained`; return the SHA-256 of the file.

    Args:
        weights: imagenet, or the path of a state dict.

    Raises:
        Refusal: the file cannot be downloaded, is damaged, or belongs to another network.
    """
    path = find_weights(architecture, weights, on_progress)
    load_backbone(model, path)
    return sha256_of_file(path)


def find_weights(architecture: Architecture, weights: str, on_progress: OnProgress = ignore_progress) -> Path:
    """Return the path of a weights file.

    Args:
        weights: a path, or `imagenet` for torchvision's file, which is kept in TORCH_HOME and downloaded if missing.

    Raises:
        Refusal: torchvision's file cannot be downloaded, or does not match the hash in its name.
    """
    if weights != "imagenet":
        return Path(weights)
    url = URLS[architecture]
    path = Path(torch.hub.get_dir(), "checkpoints", url.rpartition("/")[2])
    if not path.is_file():
        fetch(url, path, on_progress)
    elif not matches_hash(path, path.name):
        raise Refusal(f"model.weights=imagenet: {path} is damaged, or another file with that name: delete it")
    return path


def fetch(url: str, path: Path, on_progress: OnProgress = ignore_progress) -> None:
    """Download a file that has its hash in its name; other processes see the complete file or none.

    Raises:
        Refusal: the server does not answer in time, or sends something else.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        with _opened(url) as answer, scratch.open("wb") as file:
            size = int(answer.headers.get("Content-Length", 0))
            while block := answer.read(1 << 16):
                file.write(block)
                on_progress(Progress(path.name, file.tell(), size or None, unit="B"))
        if not matches_hash(scratch, path.name):
            raise OSError(f"the {scratch.stat().st_size} bytes received are not that file")
        scratch.replace(path)
    except (OSError, http.client.HTTPException) as error:  # URLError and timeouts are OSErrors
        if isinstance(error, urllib.error.HTTPError):
            error.close()
        raise Refusal(
            f"model.weights=imagenet: {path.name} is not in {path.parent} and cannot be downloaded "
            f"({getattr(error, 'reason', error)}): put it there ({url}), or give model.weights=<path>, or "
            "model.weights=none (random initialisation)"
        ) from None
    finally:
        scratch.unlink(missing_ok=True)


def matches_hash(path: Path, name: str) -> bool:
    """Return whether a file's SHA-256 begins with the hexadecimal digits at the end of torchvision's name for it."""
    digits = re.fullmatch(r".*-([0-9a-f]{8})\.pth", name)
    assert digits is not None
    return sha256_of_file(path).startswith(digits[1])


def load_backbone(model: nn.Module, path: Path) -> None:
    """Load a weights file, except its last layer, into a network from `build_pretrained`.

    Raises:
        Refusal: the file is damaged, is not a state dict, or belongs to another network.
    """
    state = _rename_densenet(_read_state(path))
    own = model.state_dict()
    last = last_layer(model)
    last_name = next(name for name, module in model.named_modules() if module is last)
    needed = {name for name in own if not name.startswith(f"{last_name}.") and not name.endswith("num_batches_tracked")}
    missing = sorted(needed - state.keys())
    misshapen = sorted(name for name in needed & state.keys() if state[name].shape != own[name].shape)
    unexpected = sorted(name for name in state.keys() - own.keys() if not name.startswith(("classifier.", "fc.")))
    if missing or misshapen or unexpected:
        if missing:
            reason = f"it has no {missing[0]}"
        elif misshapen:
            reason = f"its {misshapen[0]} has shape {list(state[misshapen[0]].shape)}"
        else:
            reason = f"it has {unexpected[0]}"
        raise Refusal(
            f"model.weights={path} holds the weights of another network: {reason}: name a file of this architecture"
        )
    model.load_state_dict({name: state[name] for name in needed}, strict=False)


def _read_state(path: Path) -> dict[str, torch.Tensor]:
    path.open("rb").close()  # a missing or unreadable file raises the system's own error
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about unusual pickles, which are refused below
            state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception:  # the unpickler can raise anything on a damaged file
        raise Refusal(
            f"model.weights={path} is damaged or not a state dict: make it with torch.save(network.state_dict(), path)"
        ) from None
    is_state = isinstance(state, Mapping) and all(
        isinstance(name, str) and isinstance(value, torch.Tensor) for name, value in state.items()
    )
    if not is_state:
        raise Refusal(
            f"model.weights={path} does not contain a state dict: make it with torch.save(network.state_dict(), path)"
        )
    return dict(state)


def _rename_densenet(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return the state with current layer names: torchvision's DenseNet files have norm.1 instead of norm1."""
    pattern = re.compile(r"(.*denselayer\d+\.(?:norm|relu|conv))\.([12]\.(?:weight|bias|running_mean|running_var))")
    return {
        f"{match[1]}{match[2]}" if (match := pattern.fullmatch(name)) else name: tensor
        for name, tensor in state.items()
    }


def _opened(url: str) -> Any:
    """Open a URL; name resolution, connection and first byte together may take FIRST_BYTE_TIMEOUT_S."""
    answers: queue.Queue[Any] = queue.Queue()

    def ask() -> None:
        try:
            answers.put(urllib.request.urlopen(url, timeout=SILENCE_TIMEOUT_S))
        except Exception as error:  # raised again in the caller's thread
            answers.put(error)

    threading.Thread(target=ask, daemon=True).start()
    try:
        answer = answers.get(timeout=FIRST_BYTE_TIMEOUT_S)
    except queue.Empty:
        raise TimeoutError(f"no answer in {FIRST_BYTE_TIMEOUT_S:.0f} s") from None
    if isinstance(answer, Exception):
        raise answer
    return answer
