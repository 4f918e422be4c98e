"""Weights on disk: a plain state dict, which is loaded without executing code from the file."""

from __future__ import annotations

import errno
import os
import pickle
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import nn

from dxa_tbs.disk import named_errors, require_space
from dxa_tbs.errors import Refusal


def save_weights(state: dict[str, torch.Tensor], path: Path) -> None:
    """Save the weights atomically: after a power cut, and for readers, the file is the old or the new one.

    Raises:
        OSError: the file cannot be written.
    """
    scratch = path.with_name(path.name + ".tmp")
    require_space(path.parent, sum(tensor.nbytes for tensor in state.values()))
    with named_errors(path):
        with scratch.open("wb") as file:
            try:
                torch.save(state, file)
            except RuntimeError as error:  # torch's writer hides the error of the operating system
                raise OSError(errno.EIO, f"cannot be written ({str(error).splitlines()[0]})", str(path)) from None
            file.flush()
            os.fsync(file.fileno())
        scratch.replace(path)


def load_weights(model: nn.Module, path: Path) -> None:
    """Load a state dict into `model`.

    Raises:
        Refusal: the file is damaged, is not a state dict, or belongs to another network.
    """
    try:
        model.load_state_dict(with_versions(torch.load(path, map_location="cpu", weights_only=True), model))
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, TypeError, ValueError, AttributeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise Refusal(f"{path} does not contain the weights of this network: {reason}") from None


def with_versions(state: Mapping[str, torch.Tensor], model: nn.Module) -> OrderedDict[str, torch.Tensor]:
    """Return a plain state dict with the versions of the layers of `model`, without which some do not read it."""
    found = OrderedDict(state)
    found._metadata = getattr(model.state_dict(), "_metadata", {})  # type: ignore[attr-defined]
    return found
