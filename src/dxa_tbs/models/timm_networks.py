"""Any network of timm with a new last layer. timm is installed with the extra `timm`, and imported only here."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from dxa_tbs.errors import Refusal
from dxa_tbs.hashes import sha256_of_file
from dxa_tbs.models.downloads import FIRST_BYTE_TIMEOUT_S, opened
from dxa_tbs.models.heads import linear_head, with_head
from dxa_tbs.models.names import did_you_mean
from dxa_tbs.models.weights import State, load_state, read_state, require_normalisation

FILES = ("model.safetensors", "pytorch_model.bin")  # of a repository of weights, the first that there is
SHA256 = re.compile(r"[0-9a-f]{64}")


def build_timm(*, architecture: str, dropout: float, num_outputs: int, in_channels: int, size_px: int) -> nn.Sequential:
    """Return a randomly initialised network from images (B, C, S, S) to outputs (B, K): a backbone and a head.

    The backbone is timm's network without its classifier; its parameters have timm's names.

    Args:
        architecture: as timm calls it, with or without the tag of its weights: convnext_tiny.fb_in1k.
        dropout: probability before the new last layer.

    Raises:
        Refusal: timm is missing, there is no such network, or it does not take such images.
    """
    timm = _import_timm()
    _require_known(timm, architecture)
    backbone: nn.Module = timm.create_model(architecture, num_classes=0, in_chans=in_channels)
    images = torch.zeros(1, in_channels, size_px, size_px)
    try:
        with torch.no_grad():
            features = backbone.eval()(images)
    except Exception as error:  # each network checks its input in its own way
        size = backbone.pretrained_cfg["input_size"][-1]  # type: ignore[index]
        reason = " ".join(str(error).split()).rstrip(".")
        raise Refusal(
            f"preprocessing.size_px={size_px}: {architecture} takes no such images ({reason}): "
            f"give preprocessing.size_px={size}"
        ) from None
    if not isinstance(features, torch.Tensor) or features.ndim != 2:
        raise Refusal(f"model.architecture={architecture}: has no features of shape (images, features): choose another")
    head = linear_head(features.shape[1], num_outputs, dropout=dropout)
    return with_head(backbone.train(), head, described=f"timm {timm.__version__}, {architecture}")


def load_timm(
    model: nn.Module,
    weights: str,
    *,
    architecture: str,
    input_mean: Sequence[float] | None,
    input_std: Sequence[float] | None,
    **_: object,
) -> str:
    """Load the backbone of a network of `build_timm`; return the SHA-256 of the file.

    Args:
        weights: pretrained (the file of the architecture's tag), or the path of a state dict of this network.
        input_mean, input_std: of each channel; must be those of the tag, if the architecture has one.

    Raises:
        Refusal: the file cannot be downloaded, is damaged, belongs to another network, or needs another normalisation.
    """
    backbone: Any = model.get_submodule("backbone")
    settings, (name, dot, tag) = backbone.pretrained_cfg, architecture.partition(".")
    if weights == "pretrained" and not tag:
        tags = ", ".join(_import_timm().list_pretrained(f"{name}.*")) or "there are none: use none"
        raise Refusal(f"model.weights=pretrained: model.architecture={name} must say which: {tags}")
    if dot:
        mean, std = settings["mean"], settings["std"]
        require_normalisation(f"model.weights={weights}: {architecture}", mean=mean, std=std,
                              input_mean=input_mean, input_std=input_std)  # fmt: skip
    path = Path(weights) if weights != "pretrained" else _find_pretrained(architecture, settings)
    last = settings.get("classifier") or ()
    others = [f"{layer}." for layer in ([last] if isinstance(last, str) else last)]
    load_state(backbone, _with_current_names(read_state(path), backbone, path), path, others=others)
    return sha256_of_file(path)


def _import_timm() -> Any:
    try:
        import timm
    except ModuleNotFoundError as error:
        if error.name != "timm":
            raise
        raise Refusal("model=timm: needs the package timm: pip install 'dxa-tbs[timm]'") from None
    return timm


def _require_known(timm: Any, architecture: str) -> None:
    name, _, tag = architecture.partition(".")
    known = [*timm.list_models(), *timm.list_pretrained()]
    if architecture not in known:
        tags = timm.list_pretrained(f"{name}.*") if tag else []
        hint = f"its tags: {', '.join(tags)}" if tags else did_you_mean(architecture, known)
        raise Refusal(f"model.architecture={architecture}: timm {timm.__version__} has no such network: {hint}")


def _find_pretrained(architecture: str, settings: dict[str, Any]) -> Path:
    """Return timm's file for an architecture, from the cache of Hugging Face or downloaded into it."""
    import huggingface_hub as hub

    repository = settings.get("hf_hub_id")
    if repository is None:
        url = settings.get("url")
        raise Refusal(
            f"model.weights=pretrained: the weights of {architecture} are not on Hugging Face: "
            + (f"download {url} and give model.weights=<path>" if url else "use model.weights=none")
        )
    for file in FILES:
        if isinstance(found := hub.try_to_load_from_cache(repository, file), str):
            return _require_whole(Path(found))
    try:
        if hub.constants.HF_HUB_OFFLINE:
            raise OSError("HF_HUB_OFFLINE is set")
        opened(hub.hf_hub_url(repository, FILES[0])).close()  # without an answer, the library would try for minutes
        return _require_whole(Path(hub.hf_hub_download(repository, FILES[0], etag_timeout=FIRST_BYTE_TIMEOUT_S)))
    except Exception as error:  # of two libraries
        reason = " ".join(str(getattr(error, "reason", error)).split()) or type(error).__name__
        raise Refusal(
            f"model.weights=pretrained: {repository} is not in {hub.constants.HF_HUB_CACHE} and cannot be downloaded "
            f"({reason}): download {hub.hf_hub_url(repository, FILES[0])} elsewhere, and give model.weights=<path of "
            "the file>, or model.weights=none (random initialisation)"
        ) from None


def _require_whole(path: Path) -> Path:
    """Refuse a damaged file of the cache, where the name of a large file is its SHA-256."""
    name = path.resolve().name
    if SHA256.fullmatch(name) and sha256_of_file(path) != name:
        raise Refusal(f"model.weights=pretrained: {path} is damaged: delete it")
    return path


def _with_current_names(state: State, backbone: nn.Module, path: Path) -> State:
    """Return the state as timm reads it: files from elsewhere have other names of layers."""
    convert = getattr(sys.modules[type(backbone).__module__], "checkpoint_filter_fn", None)
    if convert is None:
        return state
    takes_model = len(inspect.signature(convert).parameters) > 1
    try:
        converted: State = convert(dict(state), backbone) if takes_model else convert(dict(state))
    except Exception as error:  # it reads the names that it expects
        reason = " ".join(f"{type(error).__name__} {error}".split())
        raise Refusal(f"model.weights={path} holds the weights of another network: {reason}") from None
    return converted
