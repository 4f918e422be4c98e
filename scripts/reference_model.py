"""Code shared by the two reference scripts: arguments, networks as plain modules, and the paper's optimizer.

The networks use the dropout of dxa_tbs, which is five times as fast on a CPU as torch's, so the scripts benefit too.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
import yaml
from torch import nn

from dxa_tbs.config.choices import Architecture
from dxa_tbs.models.adhoc import build_adhoc
from dxa_tbs.models.chain import freeze_backbone
from dxa_tbs.models.pretrained import build_pretrained

MODELS = Path(__file__).parents[1] / "conf" / "model"


def parser(description: str | None) -> argparse.ArgumentParser:
    arguments = argparse.ArgumentParser(description=description)
    arguments.add_argument("root", type=Path, help="folder with train/ and val/, each with a folder per class")
    arguments.add_argument("--model", required=True)
    arguments.add_argument("--approach", required=True)
    arguments.add_argument("--epochs", type=int, required=True)
    arguments.add_argument("--batch-size", type=int, required=True)
    return arguments


def build_reference(name: str, approach: str) -> nn.Module:
    """Return a randomly initialised network of conf/model; in approach head, all layers but the last are frozen."""
    settings = yaml.safe_load((MODELS / f"{name}.yaml").read_text(encoding="utf-8"))
    if approach == "adhoc":
        return build_adhoc(settings["filters"], settings["fc_widths"])
    dropouts = {key: settings[key] for key in ("dropout", "backbone_dropout")}
    model = build_pretrained(Architecture(settings["architecture"]), **dropouts)
    if approach == "head":
        freeze_backbone(model)
    return model


def build_sgd(model: nn.Module) -> torch.optim.Optimizer:
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return torch.optim.SGD(trained, lr=1e-4, momentum=0.9)
