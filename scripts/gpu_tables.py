"""Reads the results of scripts/gpu.py from the files of its steps, and formats them as Markdown for docs/speed.md."""

from __future__ import annotations

import json
import re
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from measure_steps import HEADINGS, render_row

STEPS, SCRIPTS, REPRODUCE = "steps-", "against-scripts-", "reproduce"
FALLBACKS = ("fp32, not", "cannot be recorded")  # parts of the warnings of runs that were not computed as planned


def read_tests(text: str) -> dict[str, Any]:
    """Return the numbers of passed, failed and skipped tests and errors, and the lines of failed tests and errors."""
    lines = text.splitlines()
    summary = next(line for line in reversed(lines) if re.search(r"\d+ (passed|failed|error|skipped|deselected)", line))
    counts = {name: int(count) for count, name in re.findall(r"(\d+) (passed|failed|errors?|skipped)", summary)}
    return {"counts": counts, "failed": [line for line in lines if line.startswith(("FAILED", "ERROR"))]}


def read_runs(root: Path) -> list[dict[str, Any]]:
    """Return for each finished run: precision, seconds of the last epoch and of recording, GPU memory, warnings."""
    rows = []
    for file in sorted(root.rglob("metrics.json")):
        facts, environment, timing = (
            json.loads((file.parent / f"{name}.json").read_text(encoding="utf-8"))
            for name in ("metrics", "environment", "timing")
        )
        history = pd.read_csv(file.parent / "history.csv")
        rows.append(
            {
                "run": "/".join(file.parent.relative_to(root).parts[2:]),
                "precision": environment["precision"],
                "train_s": float(history["train_s"].iloc[-1]),
                "compile_s": timing["compile_s"],
                "gpu_mib": timing["peak_gpu_memory_mib"],
                "told": [text for text in facts["warnings"] if any(part in text for part in FALLBACKS)],
            }
        )
    if not rows:
        raise ValueError(f"no finished run below {root.name}")
    return rows


def render(kept: Mapping[str, Any], names: Sequence[str]) -> str:
    """Return all results so far as Markdown; `names` are the names of all steps."""
    steps = {name: kept["steps"][name] for name in names if name in kept["steps"]}
    results = {name: step["result"] for name, step in steps.items() if step["result"]}
    facts = ", ".join(f"{name} {value}" for name, value in kept["machine"].items() if value not in (None, False))
    lines = [f"{facts}.", ""]
    if kept["machine"]["quick"]:
        lines += ["A test with `--quick`: ignore the figures.", ""]
    lines += _steps(steps, [name for name in names if name not in steps])
    for name in (name for name in results if name.startswith(REPRODUCE)):
        lines += _runs(name, results[name], steps[name]["seconds"])
    rows = [row for name in results if name.startswith(STEPS) for row in results[name]]
    if rows:
        lines += ["**One training step.**", "", *HEADINGS, *map(render_row, rows), ""]
    found = [result for name in results if name.startswith(SCRIPTS) for result in results[name]]
    for title, is_head in (("**Against both scripts.**", False), ("**Heads against both scripts.**", True)):
        lines += _against_scripts(title, [one for one in found if (one["approach"] == "head") == is_head])
    return "\n".join(lines)


def _steps(steps: Mapping[str, Any], missing: Sequence[str]) -> list[str]:
    lines = ["| step | outcome | s |", "|---|---|---|"]
    for name, step in steps.items():
        text = step["status"]
        if name.startswith("tests") and step["result"]:
            text += ": " + ", ".join(f"{count} {kind}" for kind, count in step["result"]["counts"].items())
        lines.append(f"| {name} | {text} | {step['seconds']:.0f} |")
    lines += ["", *([f"Not run: {', '.join(missing)}.", ""] if missing else [])]
    tests = [step["result"] for name, step in steps.items() if name.startswith("tests") and step["result"]]
    failed = [line for result in tests for line in result["failed"]]
    return lines + [f"- `{line}`" for line in failed] + [""] * bool(failed)


def _runs(name: str, rows: Sequence[Mapping[str, Any]], seconds: float) -> list[str]:
    lines = [f"**{name}**: {len(rows)} runs in {seconds:.0f} s.", ""]
    lines += ["| run | precision | last epoch, s | recording, s | MiB | warnings |", "|---|---|---|---|---|---|"]
    for row in rows:
        mib = "" if row["gpu_mib"] is None else row["gpu_mib"]
        cells = [row["run"], row["precision"], f"{row['train_s']:.2f}", f"{row['compile_s']:.2f}", mib]
        lines.append("| " + " | ".join(map(str, [*cells, "; ".join(row["told"])])) + " |")
    return [*lines, ""]


def _against_scripts(title: str, found: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the table of seconds per epoch, and of seconds from the start of the process to its end."""
    if not found:
        return []
    lines = [
        title,
        "",
        "| experiment | contestant | s per epoch | / ours | total, s | / ours | 10 epochs, s | recording, s |",
    ]
    lines.append("|---|---|---|---|---|---|---|---|")
    for one in found:
        ours = one["runs"]["product"][0]
        for kind, (run, *_) in one["runs"].items():
            epoch_s, own_s = (statistics.median(epoch["train_s"] for epoch in each["epochs"]) for each in (run, ours))
            sign = "~" if run.get("epochs_computed") else ""
            timing = run.get("timing", {})
            parts = [timing.get("time_10_epochs_s"), timing.get("compile_s")]
            cells = [f"{one['model']} {one['approach']}", kind, f"{epoch_s:.3f}", f"{epoch_s / own_s:.2f}"]
            cells += [f"{sign}{run['wall_s']:.1f}", f"{sign}{run['wall_s'] / ours['wall_s']:.2f}"]
            cells += ["" if value is None else f"{value:.2f}" for value in parts]
            lines.append("| " + " | ".join(cells) + " |")
    return [*lines, "", "~: extrapolated from the epochs that the script ran.", ""]
