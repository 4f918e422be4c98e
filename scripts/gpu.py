"""Run all tests and measurements that need a GPU, in one command: make gpu

The steps are the GPU tests, the quick reproduction, the time of a training step by network and precision, and the
fourteen experiments against the two benchmark scripts. The most valuable steps come first, each takes less than ten
minutes, and none needs internet access. Results are kept in <out>/gpu.json. A second call skips finished steps and runs
untried steps before it repeats failed ones. A step that fails or takes too long is recorded, and the next one starts.
<out>/gpu.md contains the tables for docs/speed.md. If commands are limited to ten minutes, call this script several
times with `--minutes 9.5`.

`--device cpu --quick` runs everything in a few minutes on any machine, as a test of this script; ignore the times.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gpu_tables
import psutil

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
LARGE = ("densenet121", "vgg16")
NETWORKS = ("model1", "model3", "model4", "alexnet", "squeezenet", "resnet18", *LARGE, "model2")
IN_FULL = [(name, "adhoc" if name.startswith("model") else "full") for name in NETWORKS]
HEADS = [(name, "head") for name, approach in IN_FULL if approach == "full"]
MACHINE = """
import json, platform, sys, torch
from dxa_tbs.training.device import choose_device, describe_device
from dxa_tbs.training.precision import choose_precision
from dxa_tbs.config.choices import Precision
device = choose_device(sys.argv[1])
facts = describe_device(device, choose_precision(Precision.auto, device).value)
on_gpu = device.type == "cuda"
facts["capability"] = ".".join(map(str, torch.cuda.get_device_capability(device))) if on_gpu else None
facts["gpu_gib"] = round(torch.cuda.get_device_properties(device).total_memory / 2**30, 1) if on_gpu else None
print(json.dumps(facts | {"torch": torch.__version__, "python": platform.python_version()}))
"""

FINISHED, TIMED_OUT = "finished", "took too long"
SAME = ("device", "torch", "precision", "quick")  # only figures for which these agree are comparable
SHORTEST_S = 60  # no step is started with less time left
Result = dict[str, Any] | list[Any]


@dataclass(frozen=True)
class Step:
    """A command to run.

    Attributes:
        limit_s: time limit, after which the command is killed.
        read: returns the result, given the command's output; it may also read files.
        file: the file that `read` reads; it is removed before the command starts.
    """

    name: str
    limit_s: float
    command: list[str]
    read: Callable[[str], Result]
    file: Path | None = None


def plan(out: Path, device: str, *, is_quick: bool) -> Iterator[Step]:
    """Yield all steps, most valuable first."""
    marks = "gpu" if device != "cpu" else "not gpu and not slow"
    files = ("test_gpu", "test_command_line") if device != "cpu" else ("test_gpu",)
    tests = ["-m", "pytest", "-q", "-m", marks, *(f"tests/{name}.py" for name in files)]
    yield Step("tests", 540, [*tests, "-o", "filterwarnings=default"], gpu_tables.read_tests)
    few = (
        ["dataset.num_normal=16", "dataset.num_degraded=8", "augmentation=none", "trainer.epochs=1"] if is_quick else []
    )
    for name, at_once in (("reproduce", 1), ("reproduce-4-at-once", 4)):
        if is_quick and at_once > 1:
            continue
        root = out / name
        command = ["-m", "dxa_tbs.reproduce", "--quick", "--at-once", str(at_once), f"output_root={root}", *few]
        command += [f"trainer.device={device}"]
        yield Step(name, 540, command, lambda text, root=root: gpu_tables.read_runs(root))
    chosen = [name for name in NETWORKS if not is_quick or name in ("model3", "squeezenet")]
    for name in chosen:
        yield _step_times(f"steps-{name}", out, device, [name, "--without", "cudnn.benchmark"], is_quick=is_quick)
    for name, approach in [*IN_FULL, *HEADS]:
        if not is_quick or (name, approach) in (("model3", "adhoc"), ("resnet18", "head")):
            yield _benchmark(name, approach, out, device, is_quick=is_quick)
    if device != "cpu":
        names = [name for name in chosen if name not in LARGE]
        ways = ["--without", "channels first, recorded", "--without", "tf32"]
        yield _step_times("steps-benchmark", out, device, [*names, *ways], is_quick=is_quick)
        yield Step("tests-with-warnings-as-errors", 540, tests, gpu_tables.read_tests)


def _step_times(name: str, out: Path, device: str, given: Sequence[str], *, is_quick: bool) -> Step:
    command = [str(HERE / "measure_steps.py"), *given, "--device", device, "--out", str(out), "--results", name]
    command += ["--steps", "1"] if is_quick else []
    file = out / f"{name}.json"
    return Step(name, 540, command, lambda text: json.loads(file.read_text(encoding="utf-8")), file)


def _benchmark(model: str, approach: str, out: Path, device: str, *, is_quick: bool) -> Step:
    name = f"against-scripts-{model}-{approach}"
    epochs = ["--epochs", "20", "--script-epochs", "2"] if approach == "head" else ["--epochs", "10"]
    epochs += [] if approach == "head" else ["--script-epochs", "3"]
    if is_quick:
        epochs = ["--images", "96", "--epochs", "1"]
    workers = ["--workers", str(min(8, os.cpu_count() or 1))]
    command = [str(HERE / "benchmark.py"), f"{model}/{approach}", *epochs, "--repeats", "1", *workers]
    command += ["--set", f"trainer.device={device}", "--out", str(out / "benchmark"), "--results", name]
    file = out / "benchmark" / f"{name}.json"
    return Step(name, 540, command, lambda text: json.loads(file.read_text(encoding="utf-8"))["results"], file)


def run_step(step: Step, limit_s: float, out: Path, environment: Mapping[str, str]) -> dict[str, Any]:
    """Run a step until it ends or reaches the limit; return status, seconds, result and, on failure, the last lines."""
    start, log = time.perf_counter(), out / "logs" / f"{step.name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    if step.file is not None:
        step.file.unlink(missing_ok=True)
    with log.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, *step.command], cwd=ROOT, env=dict(environment), stdout=file, stderr=subprocess.STDOUT
        )
        try:
            status = FINISHED if process.wait(limit_s) == 0 else f"failed ({process.returncode})"
        except subprocess.TimeoutExpired:
            _end(process)
            status = TIMED_OUT
    text = log.read_text(encoding="utf-8", errors="replace")
    done: dict[str, Any] = {"status": status, "seconds": round(time.perf_counter() - start, 1)}
    try:
        done["result"] = step.read(text)
    except (OSError, ValueError, KeyError) as error:
        done["result"] = None
        if status == FINISHED:
            done["status"] = f"failed (nothing to read: {error})"
    return done if done["status"] == FINISHED else done | {"tail": text.splitlines()[-30:]}


def _end(process: subprocess.Popen[bytes]) -> None:
    for each in [*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)]:
        try:
            each.kill()
        except psutil.NoSuchProcess:
            continue
    process.wait()


def in_order(steps: Sequence[Step], done: Mapping[str, Any]) -> list[Step]:
    """Return the unfinished steps: untried ones first, then failed ones."""
    to_do = [step for step in steps if done.get(step.name, {}).get("status") != FINISHED]
    return sorted(to_do, key=lambda step: step.name in done)


def run_all(
    steps: Sequence[Step], kept: dict[str, Any], out: Path, environment: Mapping[str, str], deadline: float
) -> None:
    """Run the unfinished steps until time.perf_counter() reaches `deadline`, and record each step when it ends."""
    for step in in_order(steps, kept["steps"]):
        left_s = deadline - time.perf_counter()
        if left_s < SHORTEST_S:
            print("no time left: call again for the remaining steps")
            return
        print(f"{step.name} ...", end=" ", flush=True)
        done = run_step(step, min(step.limit_s, left_s), out, environment)
        print(f"{done['status']}, {done['seconds']:.0f} s", flush=True)
        if done["status"] == TIMED_OUT and left_s < step.limit_s:
            continue  # cut short by the deadline, so it counts as untried
        kept["steps"][step.name] = done
        (out / "gpu.json").write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")


def describe_machine(device: str, environment: Mapping[str, str]) -> dict[str, Any]:
    """Return the facts about the machine, asked in a separate process so that this one holds no GPU memory."""
    asked = subprocess.run(
        [sys.executable, "-c", MACHINE, device], env=dict(environment), capture_output=True, text=True, check=False
    )
    if asked.returncode:
        sys.exit(f"--device {device}: {asked.stderr.splitlines()[-1]}")
    facts: dict[str, Any] = json.loads(asked.stdout.splitlines()[-1])
    return facts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda", help="cuda, or cpu to test this script")
    parser.add_argument("--quick", action="store_true", help="a few small steps, to test this script; ignore the times")
    parser.add_argument(
        "--minutes", type=float, default=math.inf, help="time limit; call again for the remaining steps"
    )
    parser.add_argument("--out", type=Path, default=Path("outputs/gpu"), help="folder for results and scratch files")
    arguments = parser.parse_args()
    deadline, out = time.perf_counter() + 60 * arguments.minutes, arguments.out.resolve()
    paths = [str(ROOT / "src"), str(HERE), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths), "PYTHONUNBUFFERED": "1"}
    if arguments.device == "cpu":
        environment["CUDA_VISIBLE_DEVICES"] = ""  # the two scripts use a GPU if they see one
    machine = describe_machine(arguments.device, environment) | {"quick": arguments.quick}
    out.mkdir(parents=True, exist_ok=True)
    file = out / "gpu.json"
    kept = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {"machine": machine, "steps": {}}
    if differing := [name for name in SAME if kept["machine"][name] != machine[name]]:
        sys.exit(
            f"--out {arguments.out}: its figures differ from this call in {', '.join(differing)}: name another folder"
        )
    steps = list(plan(out, arguments.device, is_quick=arguments.quick))
    run_all(steps, kept, out, environment, deadline)
    tables = gpu_tables.render(kept, [step.name for step in steps])
    (out / "gpu.md").write_text(tables, encoding="utf-8")
    print(f"\n{tables}\nwritten: {out / 'gpu.md'} and {file}")


if __name__ == "__main__":
    main()
