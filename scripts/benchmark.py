"""Compare the speed of dxa_tbs with two scripts that do the same work: python scripts/benchmark.py --quick

`plain_training.py` is what most people would write, `tuned_training.py` what an expert would write. All three train the
same network on the same PNG files, in fresh processes and in alternation; the table gives medians and ranges. Weights
are random and images are phantoms, so only the times are meaningful.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import yaml
from hydra import compose, initialize_config_dir
from PIL import Image

from dxa_tbs.config.compose import load_config
from dxa_tbs.config.kinds import register_schemas
from dxa_tbs.config.schema import conf_dir
from dxa_tbs.data.images import hash_sources, load_images
from dxa_tbs.pipeline.cohort import read_cohort

HERE = Path(__file__).parent
PRETRAINED = ("resnet18", "alexnet", "vgg16", "densenet121", "squeezenet")
EXPERIMENTS = (
    *((model, approach) for approach in ("full", "head") for model in PRETRAINED),
    *((f"model{number}", "adhoc") for number in (1, 2, 3, 4)),
)
SCRIPTS = ("plain", "tuned")
VAL_SHARE, NUM_TEST = 1 / 7, 14  # Table I: 273 validation images for 1915


def write_images(folder: Path, num_train: int) -> None:
    """Write a phantom cohort as 224 x 224 PNG files, <split>/<class>/<image_id>.png, and images.csv."""
    num_val = round(num_train * VAL_SHARE)
    total = num_train + num_val + NUM_TEST
    degraded = total // 4
    overrides = [f"dataset.num_normal={total - degraded}", f"dataset.num_degraded={degraded}", "split=stratified"]
    register_schemas()
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        config = load_config(compose("config", overrides=overrides))
    cohort = read_cohort(config.dataset, config.labels, config.split)
    cohort = cohort.sample(frac=1, random_state=0, ignore_index=True)
    images = load_images(
        cohort,
        hash_sources(cohort),
        fit=config.preprocessing.fit,
        size_px=config.preprocessing.size_px,
        bits=None,
        cache_dir=folder.parent / ".cache",
    )
    split = np.repeat(["train", "val", "test"], [num_train, num_val, NUM_TEST])
    label = np.where(cohort["label"] == 1, "degraded", "normal")
    rows = pd.DataFrame(
        {"image_id": cohort["image_id"], "patient_id": cohort["patient_id"], "split": split, "label": label}
    )
    rows["path"] = [f"{row.split}/{row.label}/{row.image_id}.png" for row in rows.itertuples()]
    for path, pixels in zip(rows["path"], images.pixels, strict=True):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(folder / path)
    rows.to_csv(folder / "images.csv", index=False)


def batch_size(model: str) -> int:
    own = conf_dir() / "batch_size" / f"{model}.yaml"
    settings = yaml.safe_load(own.read_text(encoding="utf-8")) if own.is_file() else {}
    return int(settings.get("trainer", {}).get("batch_size", 24))


def run_script(kind: str, images: Path, model: str, approach: str, epochs: int, workers: int) -> dict[str, Any]:
    command = [sys.executable, HERE / f"{kind}_training.py", images, "--model", model, "--approach", approach]
    command += ["--epochs", epochs, "--batch-size", batch_size(model)]
    command += ["--workers", workers] if kind == "plain" else []
    wall_s, printed = _timed(command)
    return {"wall_s": wall_s, "epochs": json.loads(printed.splitlines()[-1])["epochs"]}


def with_all_epochs(run: dict[str, Any], epochs: int) -> dict[str, Any]:
    """Return a script's run extrapolated to `epochs` epochs; a script does the same work in each epoch."""
    missing = epochs - len(run["epochs"])
    epoch_s = statistics.median(epoch["train_s"] + epoch["val_s"] for epoch in run["epochs"])
    return run | {"wall_s": run["wall_s"] + missing * epoch_s, "epochs_computed": missing}


def run_product(
    images: Path, model: str, approach: str, epochs: int, typed: Sequence[str], *, scratch: Path, is_warm: bool
) -> dict[str, Any]:
    """Time one run of dxa_tbs.

    Args:
        typed: further settings of the command line.
        scratch: folder of outputs and cache, which the call empties.
        is_warm: whether to keep the cache of the previous run.
    """
    shutil.rmtree(scratch / "outputs", ignore_errors=True)
    if not is_warm:
        shutil.rmtree(scratch / "cache", ignore_errors=True)
    command = [sys.executable, "-m", "dxa_tbs.train", f"model={model}", f"approach={approach}", "dataset=table"]
    command += [f"dataset.root={images}", "dataset.table=images.csv", "dataset.normal_label=normal"]
    command += ["dataset.degraded_label=degraded", "split=file", "split.column=split", "augmentation=none"]
    command += [f"trainer.epochs={epochs}", "trainer.patience=null", f"output_root={scratch / 'outputs'}"]
    command += [f"cache_dir={scratch / 'cache'}", *([] if approach == "adhoc" else ["model.weights=none"]), *typed]
    wall_s, _ = _timed(command)
    run_dir = next((scratch / "outputs").rglob("metrics.json")).parent
    history = pd.read_csv(run_dir / "history.csv")
    timing, environment = (json.loads((run_dir / f"{name}.json").read_text()) for name in ("timing", "environment"))
    epochs_s = history[["train_s", "val_s"]].to_dict("records")
    return {"wall_s": wall_s, "epochs": epochs_s, "timing": timing, "precision": environment["precision"]}


def _timed(command: Sequence[object]) -> tuple[float, str]:
    start = time.perf_counter()
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    wall_s = time.perf_counter() - start
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")
    return wall_s, done.stdout


def measure(images: Path, arguments: argparse.Namespace, model: str, approach: str) -> dict[str, Any]:
    """Return the runs of each contestant, in `arguments.repeats` rounds of all contestants."""
    runs: dict[str, list[dict[str, Any]]] = {}
    kinds = [*SCRIPTS, "product", *(["product, warm"] if approach == "head" else [])]
    for _ in range(arguments.repeats):
        for kind in kinds:
            if kind in SCRIPTS:
                epochs = min(arguments.epochs, arguments.script_epochs or arguments.epochs)
                run = run_script(kind, images, model, approach, epochs, arguments.workers)
                run = with_all_epochs(run, arguments.epochs)
            else:
                run = run_product(
                    images,
                    model,
                    approach,
                    arguments.epochs,
                    arguments.typed,
                    scratch=images.parent,
                    is_warm="," in kind,
                )
            runs.setdefault(kind, []).append(run)
            print(f"{model} {approach} {kind}: {run['wall_s']:.1f} s, {_epoch_s(run):.2f} s per epoch", flush=True)
    return {"model": model, "approach": approach, "runs": runs}


def _epoch_s(run: dict[str, Any]) -> float:
    return statistics.median(epoch["train_s"] for epoch in run["epochs"])


def render(results: Sequence[dict[str, Any]], machine: dict[str, Any]) -> str:
    """Return a Markdown table of medians, ranges in parentheses, and ratios of medians."""
    facts = ", ".join(f"{name} {value}" for name, value in machine.items())
    lines = [
        f"{facts}.",
        "",
        "| experiment | contestant | s per epoch | its time / ours | total, s | its time / ours |",
    ]
    lines.append("|---|---|---|---|---|---|")
    for result in results:
        figures = {
            kind: ([_epoch_s(run) for run in runs], [run["wall_s"] for run in runs])
            for kind, runs in result["runs"].items()
        }
        ours = [statistics.median(values) for values in figures["product"]]
        for kind, both in figures.items():
            cells = []
            for values, own in zip(both, ours, strict=True):
                median = statistics.median(values)
                sign = "~" if values is both[1] and result["runs"][kind][0].get("epochs_computed") else ""
                cells += [f"{sign}{median:.2f} ({min(values):.2f} to {max(values):.2f})", f"{sign}{median / own:.2f}"]
            lines.append(f"| {result['model']} {result['approach']} | {kind} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def describe_machine(arguments: argparse.Namespace) -> dict[str, Any]:
    on_gpu = torch.cuda.is_available()
    return {
        "device": torch.cuda.get_device_name() if on_gpu else f"CPU ({os.cpu_count()} cores)",
        "torch": torch.__version__,
        "python": platform.python_version(),
        "training images": arguments.images,
        "epochs": arguments.epochs,
        "repeats": arguments.repeats,
        "workers of the plain script": arguments.workers,
        "load at the start": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("experiments", nargs="*", help="for example model1/adhoc resnet18/head; default: all fourteen")
    parser.add_argument(
        "--images", type=int, default=1915, help="number of training images; validation gets a seventh as many"
    )
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument(
        "--script-epochs",
        type=int,
        help="epochs that the two scripts run; their time for all epochs is extrapolated (marked ~)",
    )
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2, help="workers of the plain script")
    parser.add_argument("--set", dest="typed", action="append", default=[], help="a further setting of dxa_tbs")
    parser.add_argument(
        "--out", type=Path, default=Path("outputs/benchmark"), help="folder for results and scratch files"
    )
    parser.add_argument("--results", default="benchmark", metavar="NAME", help="name of the files written there")
    parser.add_argument(
        "--quick", action="store_true", help="96 images, 2 epochs, 1 repeat: a test of this script; ignore the times"
    )
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.images, arguments.epochs, arguments.repeats = 96, 2, 1
    chosen = [tuple(text.split("/")) for text in arguments.experiments] or EXPERIMENTS
    images = arguments.out.resolve() / f"images-{arguments.images}"
    if not (images / "images.csv").is_file():
        write_images(images, arguments.images)
    machine, results = describe_machine(arguments), []
    for model, approach in chosen:
        results.append(measure(images, arguments, model, approach))
        written = json.dumps({"machine": machine, "results": results}, indent=1)
        (arguments.out / f"{arguments.results}.json").write_text(written, encoding="utf-8")
        (arguments.out / f"{arguments.results}.md").write_text(render(results, machine), encoding="utf-8")
    print(render(results, machine))


if __name__ == "__main__":
    main()
