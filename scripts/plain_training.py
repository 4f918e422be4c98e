"""One experiment as most people would write it: the first reference of the benchmark.

It uses ImageFolder, DataLoader, torchvision's transforms and eager fp32, and reads the loss at every step. To be fair,
it keeps workers alive, pins memory on a GPU and keeps torch's defaults, which allow TF32 in convolutions on recent
GPUs.
"""

from __future__ import annotations

import json
import time

import torch
from reference_model import build_reference, build_sgd, parser
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import ImageFolder

from dxa_tbs.tasks.losses import cross_entropy
from dxa_tbs.training.modes import enter_training

MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--workers", type=int, default=2)
    arguments = options.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    transform = transforms.Compose([transforms.Grayscale(3), transforms.ToTensor(), transforms.Normalize(MEAN, STD)])

    def loader(part: str) -> DataLoader[tuple[torch.Tensor, torch.Tensor]]:
        return DataLoader(
            ImageFolder(str(arguments.root / part), transform),
            batch_size=arguments.batch_size,
            shuffle=part == "train",
            num_workers=arguments.workers,
            persistent_workers=arguments.workers > 0,
            pin_memory=device.type == "cuda",
        )

    train, val = loader("train"), loader("val")
    torch.manual_seed(0)
    model = build_reference(arguments.model, arguments.approach).to(device)
    optimizer = build_sgd(model)
    epochs = []
    for _ in range(arguments.epochs):
        start = time.perf_counter()
        enter_training(model, moves_frozen_bn=False)
        total = 0.0
        for images, labels in train:
            images, labels = images.to(device, non_blocking=True), labels.to(device, non_blocking=True)
            optimizer.zero_grad()
            loss = cross_entropy(model(images), labels.float())
            loss.backward()
            optimizer.step()
            total += loss.item() * len(images)
        middle = time.perf_counter()
        model.eval()
        with torch.no_grad():
            for images, labels in val:
                images, labels = images.to(device, non_blocking=True), labels.to(device, non_blocking=True)
                cross_entropy(model(images), labels.float()).item()
        epochs.append({"train_s": middle - start, "val_s": time.perf_counter() - middle})
    print(json.dumps({"epochs": epochs}))


if __name__ == "__main__":
    main()
