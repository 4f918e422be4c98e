"""Initial weights of the ImageNet networks: found, fetched, checked and loaded without running any code of a file's."""

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

ANSWER_WITHIN_S = 8.0  # from asking for a file to the first of it; behind a firewall that swallows, nothing comes
SILENCE_AT_MOST_S = 20.0  # between two pieces of it
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
        Refusal: the file cannot be had, is damaged, or is of another network.
    """
    path = find_weights(architecture, weights, on_progress)
    load_backbone(model, path)
    return sha256_of_file(path)


def find_weights(architecture: Architecture, weights: str, on_progress: OnProgress = ignore_progress) -> Path:
    """Return the file of `weights`: a path, or `imagenet`, torchvision's, kept in TORCH_HOME and fetched if need be.

    Raises:
        Refusal: imagenet, and the file cannot be fetched, or is not the one whose name it bears.
    """
    if weights != "imagenet":
        return Path(weights)
    url = URLS[architecture]
    path = Path(torch.hub.get_dir(), "checkpoints", url.rpartition("/")[2])
    if not path.is_file():
        fetch(url, path, on_progress)
    elif not has_its_hash(path, path.name):
        raise Refusal(f"model.weights=imagenet: {path} is damaged, or another file under that name: delete it")
    return path


def fetch(url: str, path: Path, on_progress: OnProgress = ignore_progress) -> None:
    """Download a file whose name holds its hash, in one step as others see it.

    Raises:
        Refusal: no answer in time, or something else arrives.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        with _opened(url) as answer, scratch.open("wb") as file:
            size = int(answer.headers.get("Content-Length", 0))
            while block := answer.read(1 << 16):
                file.write(block)
                on_progress(Progress(path.name, file.tell(), size or None, unit="B"))
        if not has_its_hash(scratch, path.name):
            raise OSError(f"what came, {scratch.stat().st_size} bytes, is not that file")
        scratch.replace(path)
    except (OSError, http.client.HTTPException) as error:  # URLError and time-outs are OSErrors
        if isinstance(error, urllib.error.HTTPError):
            error.close()
        raise Refusal(
            f"model.weights=imagenet: {path.name} is not in {path.parent} and cannot be downloaded "
            f"({getattr(error, 'reason', error)}): put it there ({url}), or give model.weights=<path>, or "
            "model.weights=none (random initialisation)"
        ) from None
    finally:
        scratch.unlink(missing_ok=True)


def has_its_hash(path: Path, name: str) -> bool:
    """Return whether a file's SHA-256 begins with the digits that torchvision puts into its name."""
    digits = re.fullmatch(r".*-([0-9a-f]{8})\.pth", name)
    assert digits is not None
    return sha256_of_file(path).startswith(digits[1])


def load_backbone(model: nn.Module, path: Path) -> None:
    """Load all but the last layer of a file into a network of `build_pretrained`.

    Raises:
        Refusal: the file is damaged, no state dict, or one of another network.
    """
    state = _rename_densenet(_read_state(path))
    wanted = model.state_dict()
    last = last_layer(model)
    new = next(name for name, module in model.named_modules() if module is last)
    needed = {name for name in wanted if not name.startswith(f"{new}.") and not name.endswith("num_batches_tracked")}
    lacking = sorted(needed - state.keys())
    misfits = sorted(name for name in needed & state.keys() if state[name].shape != wanted[name].shape)
    if lacking or misfits:
        what = f"it has no {lacking[0]}" if lacking else f"its {misfits[0]} has shape {list(state[misfits[0]].shape)}"
        raise Refusal(f"model.weights={path} holds the weights of another network: {what}")
    surplus = sorted(name for name in state.keys() - wanted.keys() if not name.startswith(("classifier.", "fc.")))
    if surplus:
        raise Refusal(f"model.weights={path} holds the weights of another network: it has {surplus[0]}")
    model.load_state_dict({name: state[name] for name in needed}, strict=False)


def _read_state(path: Path) -> dict[str, torch.Tensor]:
    path.open("rb").close()  # what the system refuses is said as the system says it
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of unusual pickles, which are refused below
            state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception:  # a damaged file makes the unpickler raise anything
        raise Refusal(
            f"model.weights={path} is damaged, or no state dict (torch.save(network.state_dict(), path))"
        ) from None
    is_state = isinstance(state, Mapping) and all(
        isinstance(name, str) and isinstance(value, torch.Tensor) for name, value in state.items()
    )
    if not is_state:
        raise Refusal(f"model.weights={path} holds no state dict (torch.save(network.state_dict(), path))")
    return dict(state)


def _rename_densenet(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return the state with the names torchvision uses today: its DenseNet files have norm.1 for norm1."""
    pattern = re.compile(r"(.*denselayer\d+\.(?:norm|relu|conv))\.([12]\.(?:weight|bias|running_mean|running_var))")
    return {
        f"{match[1]}{match[2]}" if (match := pattern.fullmatch(name)) else name: tensor
        for name, tensor in state.items()
    }


def _opened(url: str) -> Any:
    """Return the answer to a request, waiting for the name, the line and the first byte no longer than agreed."""
    answers: queue.Queue[Any] = queue.Queue()

    def ask() -> None:
        try:
            answers.put(urllib.request.urlopen(url, timeout=SILENCE_AT_MOST_S))
        except Exception as error:  # handed to the caller
            answers.put(error)

    threading.Thread(target=ask, daemon=True).start()
    try:
        answer = answers.get(timeout=ANSWER_WITHIN_S)
    except queue.Empty:
        raise TimeoutError(f"no answer in {ANSWER_WITHIN_S:.0f} s") from None
    if isinstance(answer, Exception):
        raise answer
    return answer
