"""Everything to be measured on a machine with a GPU, in one command: make gpu

The tests that need a GPU, the quick reproduction, what a step takes by network and precision, the fourteen experiments
against both scripts: most valuable first, each step under ten minutes, none needs a network. What a step found is kept
in <out>/gpu.json, which is enough to go on from: called again, finished steps are skipped, and failed ones tried again
behind those not tried yet. A step that fails or takes too long is written down and the next one goes on. <out>/gpu.md
holds the tables for docs/speed.md. Where commands may last ten minutes: `--minutes 9.5`, several times.

`--device cpu --quick` goes through all of it in minutes on any machine: its figures mean nothing.
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

FINISHED, ENDED = "finished", "took too long"
SAME = ("device", "torch", "precision", "quick")  # of the machines whose figures may stand side by side
SHORTEST_S = 60  # with less time left no step is started
Result = dict[str, Any] | list[Any]


@dataclass(frozen=True)
class Step:
    """One command.

    Attributes:
        limit_s: after so long it is ended.
        read: returns what it found, from what it printed or from its files.
        file: that it writes and `read` reads; what an earlier try left of it is removed.
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
    """Run one step to its end or the limit; return status, seconds, what it found, and the end of what it printed."""
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
            status = ENDED
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
    """Return what is to do: what was not tried yet, then what went wrong."""
    to_do = [step for step in steps if done.get(step.name, {}).get("status") != FINISHED]
    return sorted(to_do, key=lambda step: step.name in done)


def run_all(
    steps: Sequence[Step], kept: dict[str, Any], out: Path, environment: Mapping[str, str], ends: float
) -> None:
    """Run what is to do until time.perf_counter() says `ends`; write down each step as it comes to its end."""
    for step in in_order(steps, kept["steps"]):
        left_s = ends - time.perf_counter()
        if left_s < SHORTEST_S:
            print("no time left: call again for the rest")
            return
        print(f"{step.name} ...", end=" ", flush=True)
        done = run_step(step, min(step.limit_s, left_s), out, environment)
        print(f"{done['status']}, {done['seconds']:.0f} s", flush=True)
        if done["status"] == ENDED and left_s < step.limit_s:
            continue  # cut short: not tried yet
        kept["steps"][step.name] = done
        (out / "gpu.json").write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")


def describe_machine(device: str, environment: Mapping[str, str]) -> dict[str, Any]:
    """Ask a process of its own: this one is to hold no memory of the GPU."""
    asked = subprocess.run(
        [sys.executable, "-c", MACHINE, device], env=dict(environment), capture_output=True, text=True, check=False
    )
    if asked.returncode:
        sys.exit(f"--device {device}: {asked.stderr.splitlines()[-1]}")
    facts: dict[str, Any] = json.loads(asked.stdout.splitlines()[-1])
    return facts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda", help="cuda, or cpu to try the script itself")
    parser.add_argument("--quick", action="store_true", help="a few small steps: shows that it works, no figures")
    parser.add_argument("--minutes", type=float, default=math.inf, help="end after so many; call again for the rest")
    parser.add_argument("--out", type=Path, default=Path("outputs/gpu"), help="folder of results and scratch files")
    arguments = parser.parse_args()
    ends, out = time.perf_counter() + 60 * arguments.minutes, arguments.out.resolve()
    paths = [str(ROOT / "src"), str(HERE), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths), "PYTHONUNBUFFERED": "1"}
    if arguments.device == "cpu":
        environment["CUDA_VISIBLE_DEVICES"] = ""  # the two scripts take a GPU if they see one
    machine = describe_machine(arguments.device, environment) | {"quick": arguments.quick}
    out.mkdir(parents=True, exist_ok=True)
    file = out / "gpu.json"
    kept = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {"machine": machine, "steps": {}}
    if any(kept["machine"][name] != machine[name] for name in SAME):
        sys.exit(f"--out {arguments.out}: holds figures of another GPU or version of torch: name another folder")
    steps = list(plan(out, arguments.device, is_quick=arguments.quick))
    run_all(steps, kept, out, environment, ends)
    tables = gpu_tables.render(kept, [step.name for step in steps])
    (out / "gpu.md").write_text(tables, encoding="utf-8")
    print(f"\n{tables}\nwritten: {out / 'gpu.md'}, and {file.name} beside it")


if __name__ == "__main__":
    main()
