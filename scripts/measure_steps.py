"""Measure one training step in every way it can be computed: python scripts/measure_steps.py

For each of the nine fully trained networks at its batch size, the tables give milliseconds per step, seconds to record
it and GPU memory: by precision and memory format, eager and recorded as a CUDA graph, with and without cudnn.benchmark.
Then they give the speed at which frozen features are computed, by batch size. Images are random, so only times and
memory are meaningful.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from benchmark import EXPERIMENTS, batch_size
from reference_model import build_reference

from dxa_tbs.config.choices import Precision
from dxa_tbs.errors import Refusal
from dxa_tbs.models.chain import cut_at_dropout
from dxa_tbs.tasks.losses import cross_entropy
from dxa_tbs.training.batches import Samples, build_normalisation
from dxa_tbs.training.device import (
    choose_device,
    keep_freed_memory,
    peak_memory_mib,
    reset_peak_gpu_memory,
    synchronise,
)
from dxa_tbs.training.memory import release_memory
from dxa_tbs.training.precision import choose_precision, compute_exactly, lowered
from dxa_tbs.training.step import batch_sizes, build_optimizer, build_step, record_step

ROUNDS = 3
HEADINGS = (
    "| network | computed in | ms per step | fastest round, ms | images/s | recording, s | MiB |",
    "|---|---|---|---|---|---|---|",
)
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


@dataclass(frozen=True)
class Way:
    """A way to compute a step."""

    precision: Precision
    is_channels_last: bool
    is_recorded: bool
    benchmarks_kernels: bool

    def __str__(self) -> str:
        parts = [self.precision.value, "channels last" if self.is_channels_last else "channels first"]
        parts += ["recorded"] * self.is_recorded + ["cudnn.benchmark"] * self.benchmarks_kernels
        return ", ".join(parts)


def ways(device: torch.device) -> Iterator[Way]:
    """Yield the ways that this device supports."""
    on_gpu = device.type == "cuda"
    for precision in (Precision.fp32, Precision.tf32, Precision.bf16):
        try:
            choose_precision(precision, device)
        except Refusal:
            continue
        for options in itertools.product(
            (False, True), (False, True) if on_gpu else (False,), (False, True) if on_gpu else (False,)
        ):
            yield Way(precision, *options)


def measure_step(name: str, approach: str, way: Way, device: torch.device, num_steps: int) -> dict[str, Any]:
    """Return time and memory of a step: the median over `ROUNDS` rounds of `num_steps` steps.

    The device is synchronised after each round only, because doing so after every step would add some 20 us to it.
    """
    compute_exactly(way.precision)
    torch.backends.cudnn.benchmark = way.benchmarks_kernels
    torch.manual_seed(0)
    release_memory()  # held since the previous row
    reset_peak_gpu_memory(device)
    size = batch_size(name)
    memory_format = torch.channels_last if way.is_channels_last else torch.contiguous_format
    model = build_reference(name, approach).to(device).to(memory_format=memory_format).train()
    pixels = torch.randint(0, 256, (2 * size + size // 2, 224, 224), dtype=torch.uint8, device=device)
    rows = torch.arange(len(pixels), device=device)
    samples = Samples(pixels, rows, (rows % 2).float())
    optimizer = build_optimizer(model, torch.optim.SGD, lr=1e-4, momentum=0.9, weight_decay=0.0)
    step = build_step(
        model,
        optimizer,
        loss=cross_entropy,
        to_input=build_normalisation(MEAN, STD, device, is_channels_last=way.is_channels_last).to_input,
        device=device,
        precision=way.precision,
    )
    start = time.perf_counter()
    if way.is_recorded:
        step = record_step(step, model, samples, batch_sizes(len(samples), size))
    synchronise(device)
    record_s = time.perf_counter() - start
    batches = [samples.take(torch.arange(size) + size * place) for place in (0, 1)]
    for batch in batches:  # warm-up: cuDNN chooses kernels
        step.run(*batch)
    rounds_ms = []
    for _ in range(ROUNDS):
        synchronise(device)
        start = time.perf_counter()
        for number in range(num_steps):
            step.run(*batches[number % 2])
        synchronise(device)
        rounds_ms.append(1000 * (time.perf_counter() - start) / num_steps)
    median_ms = statistics.median(rounds_ms)
    return {
        "model": name,
        "approach": approach,
        "way": str(way),
        "ms": median_ms,
        "least_ms": min(rounds_ms),
        "images_per_s": 1000 * size / median_ms,
        "record_s": record_s if way.is_recorded else None,
        "gpu_mib": peak_memory_mib(device)["peak_gpu_memory_mib"],
    }


def render_row(row: dict[str, Any]) -> str:
    record_s, mib = ("" if value is None else f"{value:.1f}" for value in (row["record_s"], row["gpu_mib"]))
    cells = [f"{row['model']} {row['approach']}", row["way"], f"{row['ms']:.2f}", f"{row['least_ms']:.2f}"]
    return "| " + " | ".join([*cells, f"{row['images_per_s']:.0f}", record_s, mib.removesuffix(".0")]) + " |"


@torch.inference_mode()
def measure_features(name: str, size: int, device: torch.device, precision: Precision) -> tuple[float, torch.Tensor]:
    """Return images per second of the frozen part at a batch size, and its features of the first 16 images."""
    compute_exactly(precision)
    torch.manual_seed(0)
    stem, _ = cut_at_dropout(build_reference(name, "head").to(device).to(memory_format=torch.channels_last))
    normalise = build_normalisation(MEAN, STD, device)
    pixels = torch.randint(0, 256, (size, 224, 224), dtype=torch.uint8, device=device)
    times_s = []
    for _ in range(4):
        synchronise(device)
        start = time.perf_counter()
        with lowered(device, precision):
            features = stem.eval()(normalise.to_input(pixels))
        synchronise(device)
        times_s.append(time.perf_counter() - start)
    return size / min(times_s[1:]), features[:16].float()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", help="names of networks; default: all nine")
    parser.add_argument("--steps", type=int, default=20, help="steps per round")
    parser.add_argument(
        "--without",
        action="append",
        default=[],
        metavar="TEXT",
        help="skip ways whose name contains TEXT: tf32, recorded, or cudnn.benchmark, which can take minutes",
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, ...")
    parser.add_argument("--out", type=Path, default=Path("outputs/benchmark"))
    parser.add_argument("--results", default="steps", metavar="NAME", help="name of the files written there")
    arguments = parser.parse_args()
    device = choose_device(arguments.device)
    keep_freed_memory()
    arguments.out.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, Any]] = []
    lines = [*HEADINGS]
    chosen = [
        (name, approach) for name, approach in EXPERIMENTS if approach != "head" and name in (arguments.models or name)
    ]
    chosen_ways = [way for way in ways(device) if not any(text in str(way) for text in arguments.without)]
    for (name, approach), way in itertools.product(chosen, chosen_ways):
        rows.append(measure_step(name, approach, way, device, arguments.steps))
        lines.append(render_row(rows[-1]))
        print(lines[-1], flush=True)
        (arguments.out / f"{arguments.results}.json").write_text(json.dumps(rows, indent=1), encoding="utf-8")
    lines += ["", "| frozen part | batch | images/s | largest difference from batch 16 |", "|---|---|---|---|"]
    precision = choose_precision(Precision.auto, device)
    for name in (name for name, approach in chosen if approach == "full"):
        _, reference = measure_features(name, 16, device, precision)
        for size in (16, 24, 64, 256):
            images_per_s, features = measure_features(name, size, device, precision)
            lines.append(f"| {name} | {size} | {images_per_s:.0f} | {(features - reference).abs().max():.1e} |")
            print(lines[-1], flush=True)
    (arguments.out / f"{arguments.results}.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
