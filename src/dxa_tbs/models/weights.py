"""Reads and loads initial weights, never running code from a file."""

from __future__ import annotations

import math
import re
import warnings
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import nn
from torchvision import models

from dxa_tbs.config.choices import Architecture
from dxa_tbs.errors import Refusal
from dxa_tbs.hashes import sha256_of_file
from dxa_tbs.models.chain import has_backbone_and_head, head_of
from dxa_tbs.models.downloads import find_file
from dxa_tbs.progress import OnProgress, ignore_progress

State = Mapping[str, torch.Tensor]

URLS = {
    Architecture.alexnet: models.AlexNet_Weights.IMAGENET1K_V1.url,
    Architecture.resnet18: models.ResNet18_Weights.IMAGENET1K_V1.url,
    Architecture.vgg16: models.VGG16_Weights.IMAGENET1K_V1.url,
    Architecture.densenet121: models.DenseNet121_Weights.IMAGENET1K_V1.url,
    Architecture.squeezenet: models.SqueezeNet1_0_Weights.IMAGENET1K_V1.url,
}
MISMATCH = re.compile(r"size mismatch for (\S+): copying a param with shape torch\.Size\((\[.*?\])\)")  # torch's words
LAST_LAYERS = ("classifier.", "fc.", "head.", "heads.", "aux1.", "aux2.", "AuxLogits.")  # of torchvision's networks


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
    is_path = weights != "imagenet"
    path = Path(weights) if is_path else find_file(URLS[architecture], asked=weights, on_progress=on_progress)
    load_backbone(model, path)
    return sha256_of_file(path)


def load_backbone(model: nn.Module, path: Path) -> None:
    """Load a file of torchvision's weights, except its last layer.

    Args:
        model: one of the paper's networks, or a backbone and a head.

    Raises:
        Refusal: the file is damaged, is not a state dict, or belongs to another network.
    """
    state = _rename_densenet(read_state(path))
    if has_backbone_and_head(model):
        load_state(model.get_submodule("backbone"), state, path, others=LAST_LAYERS)
    else:
        head = head_of(model)
        name = next(name for name, module in model.named_modules() if module is head)
        load_state(model, state, path, others=LAST_LAYERS, untouched=f"{name}.")


def load_state(network: nn.Module, state: State, path: Path, *, others: Sequence[str], untouched: str = "-") -> None:
    """Load a state dict, which must have every tensor of the network.

    Args:
        path: where the state was read.
        others: how the names of other layers may begin, which only the file has.
        untouched: how the names of the layer begin that is not loaded.

    Raises:
        Refusal: it is the state of another network; the network is then partly loaded.
    """
    kept = [name for name in state if not name.startswith(untouched) and not name.endswith("num_batches_tracked")]
    wanted = _like(state, {name: state[name] for name in kept})
    try:
        missing, unexpected = _load(network, wanted)
    except (RuntimeError, ValueError) as error:
        if shape := MISMATCH.search(str(error)):
            raise _of_another_network(path, f"its {shape[1]} has shape {shape[2]}") from None
        raise _of_another_network(path, " ".join(str(error).split())) from None
    missing = sorted(name for name in missing if not name.startswith(untouched) and "num_batches" not in name)
    unexpected = sorted(name for name in unexpected if not name.startswith(tuple(others)))
    if missing or unexpected:
        raise _of_another_network(path, f"it has no {missing[0]}" if missing else f"it has {unexpected[0]}")


def _load(network: nn.Module, state: State) -> tuple[list[str], list[str]]:
    """Load a state; a plain one, such as model.pt of a run, without the versions of its layers if they do without."""
    try:
        missing, unexpected = network.load_state_dict(state, strict=False)
    except ValueError:
        if hasattr(state, "_metadata"):
            raise
        missing, unexpected = network.load_state_dict(_like(network.state_dict(), state), strict=False)
    return missing, unexpected


def read_state(path: Path) -> State:
    """Return the state dict in a file, which is .safetensors or was written by torch.save.

    Raises:
        Refusal: the file is damaged or holds something else.
    """
    path.open("rb").close()  # a missing or unreadable file raises the system's own error
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file  # installed with timm

            return load_file(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about unusual pickles, which are refused below
            state = torch.load(path, map_location="cpu", weights_only=True)
    except ModuleNotFoundError:
        raise Refusal(f"model.weights={path}: needs the package safetensors: pip install safetensors") from None
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
    return dict(state) if not isinstance(state, OrderedDict) else state


def require_normalisation(
    asked: str,
    *,
    mean: Sequence[float],
    std: Sequence[float],
    input_mean: Sequence[float] | None,
    input_std: Sequence[float] | None,
) -> None:
    """Refuse another normalisation than that of the weights: every number would be wrong.

    Args:
        asked: the weights, as they are named in the message.
        mean, std: of the images that the weights were trained on.
        input_mean, input_std: as configured; None: the channels are not images, so that no normalisation is known.

    Raises:
        Refusal: they differ; the message gives those of the weights.
    """
    if input_mean is None or input_std is None:
        return
    pairs = [(input_mean, mean), (input_std, std)]
    if any(len(ours) != len(theirs) or not all(map(math.isclose, ours, theirs)) for ours, theirs in pairs):
        texts = ["[" + ",".join(f"{value:g}" for value in values) + "]" for values in (mean, std)]
        raise Refusal(
            f"{asked}: was trained with another normalisation: give model.input_mean={texts[0]} "
            f"model.input_std={texts[1]}"
        )


def _of_another_network(path: Path, reason: str) -> Refusal:
    return Refusal(
        f"model.weights={path} holds the weights of another network: {reason}: name a file of this architecture"
    )


def _rename_densenet(state: State) -> State:
    """Return the state with current layer names: torchvision's DenseNet files have norm.1 instead of norm1."""
    pattern = re.compile(r"(.*denselayer\d+\.(?:norm|relu|conv))\.([12]\.(?:weight|bias|running_mean|running_var))")
    return _like(
        state,
        {
            f"{match[1]}{match[2]}" if (match := pattern.fullmatch(name)) else name: tensor
            for name, tensor in state.items()
        },
    )


def _like(state: State, tensors: State) -> State:
    """Return the tensors with the versions of the layers in `state`, by which torch reads older files."""
    found = OrderedDict(tensors)
    if (versions := getattr(state, "_metadata", None)) is not None:
        found._metadata = versions  # type: ignore[attr-defined]
    return found
