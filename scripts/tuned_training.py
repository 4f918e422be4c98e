"""One experiment as an expert would write it by hand: the second reference of the benchmark.

It decodes all images once and keeps them on the device, uses channels_last, cudnn.benchmark and, if the hardware
supports it, autocast to bfloat16, and does not wait for the device within an epoch. The frozen part of a network still
runs in every step.
"""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from reference_model import build_reference, build_sgd, parser

from dxa_tbs.tasks.losses import cross_entropy
from dxa_tbs.training.modes import enter_training

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
EVAL_BATCH_SIZE = 64


def read_images(folder: Path) -> tuple[torch.Tensor, torch.Tensor]:
    """Return pixels, uint8 (N, 1, H, W), and labels (N,), numbered by the alphabetical order of the class folders."""
    folders = sorted(path for path in folder.iterdir() if path.is_dir())
    files = [(path, label) for label, parent in enumerate(folders) for path in sorted(parent.iterdir())]
    pixels = np.stack([np.asarray(Image.open(path)) for path, _ in files])
    return torch.from_numpy(pixels).unsqueeze(1), torch.tensor([float(label) for _, label in files])


def main() -> None:
    arguments = parser(__doc__).parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.backends.cudnn.benchmark = True
    (train_x, train_y), (val_x, val_y) = (
        (pixels.to(device), labels.to(device))
        for pixels, labels in map(read_images, (arguments.root / "train", arguments.root / "val"))
    )
    mean, std = (torch.tensor(values, device=device).view(1, 3, 1, 1) for values in (MEAN, STD))

    def prepared(pixels: torch.Tensor) -> torch.Tensor:
        return ((pixels / 255 - mean) / std).contiguous(memory_format=torch.channels_last)

    torch.manual_seed(0)
    model = build_reference(arguments.model, arguments.approach).to(device, memory_format=torch.channels_last)
    optimizer = build_sgd(model)
    has_bf16 = (
        torch.cuda.get_device_capability() >= (8, 0) if device.type == "cuda" else torch.cpu._is_avx512_bf16_supported()
    )
    autocast = torch.autocast(device.type, dtype=torch.bfloat16, enabled=has_bf16)

    def now() -> float:
        if device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()

    epochs = []
    for _ in range(arguments.epochs):
        start = now()
        enter_training(model, moves_frozen_bn=False)
        total = torch.zeros((), device=device)
        for index in torch.randperm(len(train_y), device=device).split(arguments.batch_size):
            optimizer.zero_grad(set_to_none=True)
            with autocast:
                loss = cross_entropy(model(prepared(train_x[index])), train_y[index])
            loss.backward()
            optimizer.step()
            total += loss.detach() * len(index)
        middle = now()
        model.eval()
        with torch.no_grad(), autocast:
            logits = [model(prepared(pixels)) for pixels in val_x.split(EVAL_BATCH_SIZE)]
            cross_entropy(torch.cat(logits), val_y).item()
        epochs.append({"train_s": middle - start, "val_s": now() - middle})
    print(json.dumps({"epochs": epochs}))


if __name__ == "__main__":
    main()
