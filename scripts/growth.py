"""Measure how time and memory of a run grow with the number of images: python scripts/growth.py

Runs model 3 and a ResNet-18 head on cached features with 1, 4 and 16 times as many images. The table gives seconds per
epoch, seconds of the whole run, and peak memory.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmark import run_product, write_images

EXPERIMENTS = (("model3", "adhoc"), ("resnet18", "head"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=480, help="training images of the smallest run")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument(
        "--out", type=Path, default=Path("outputs/benchmark"), help="folder for results and scratch files"
    )
    arguments = parser.parse_args()
    lines = [
        "| experiment | training images | s per epoch | us per image | whole run, s | peak memory, MiB |",
        "|---|---|---|---|---|---|",
    ]
    for model, approach in EXPERIMENTS:
        for times in (1, 4, 16):
            count = times * arguments.images
            images = arguments.out.resolve() / f"images-{count}"
            if not (images / "images.csv").is_file():
                write_images(images, count)
            run = run_product(images, model, approach, arguments.epochs, [], scratch=images.parent, is_warm=False)
            epoch_s = min(epoch["train_s"] for epoch in run["epochs"])
            cells = [
                f"{epoch_s:.3f}",
                f"{1e6 * epoch_s / count:.0f}",
                f"{run['wall_s']:.1f}",
                run["timing"]["peak_memory_mib"],
            ]
            lines.append(f"| {model} {approach} | {count} | {' | '.join(map(str, cells))} |")
            print(lines[-1], flush=True)
    (arguments.out / "growth.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
