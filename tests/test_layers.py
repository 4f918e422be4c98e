"""Which room may import which, and which modules must start without torch."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from dxa_tbs.runs import files

PACKAGE = Path("src/dxa_tbs")
LEAVES = {"disk", "errors", "hashes", "own_code", "progress", "workers"}  # every room may import them
ALLOWED = {  # room: the other rooms that it may import
    "disk": set(),
    "errors": set(),
    "hashes": set(),
    "own_code": set(),
    "workers": set(),
    "progress": set(),
    "cache": set(),
    "config": set(),
    "runs": set(),
    "evaluation": set(),
    "tasks": {"evaluation"},
    "data": {"cache", "config"},
    "models": {"config"},
    "training": {"cache", "config"},
    "tracking": set(),
    "verification": {"evaluation", "runs"},
    "report": {"evaluation", "runs", "verification"},
    "pipeline": {
        *("config", "data", "evaluation", "models", "report", "runs", "tasks", "tracking", "training", "verification"),
    },
    "api": {"config", "pipeline", "report", "runs", "verification"},
    "__init__": {"api"},
    "notebook": {"api", "pipeline"},
    "train": {"api", "config", "pipeline"},
    "tables": {"config", "report"},
    "reproduce": {"config", "pipeline", "report", "runs"},
    "plan": {"config", "runs"},
    "phantom": {"config", "data", "pipeline"},
    "augmentations": {"config", "pipeline", "report"},
}
NOT_OURS = ("", ".npy")  # files of a cache have these suffixes too
WITHOUT_TORCH = (
    *("train", "tables", "reproduce", "phantom", "plan", "augmentations", "api"),
    *(
        "config.checks",
        "pipeline.experiment",
        "pipeline.prepare",
        "pipeline.texture",
        "tasks.binary",
        "tasks.losses",
        "report.build",
        "runs.folder",
        "report.numbers.results",
        "evaluation.metrics",
    ),
)
BELOW_PIPELINE = ("tasks", "data", "models", "training", "evaluation", "runs", "report", "tracking", "verification")


def imported_rooms(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    names = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("dxa_tbs"):
            within = node.module.split(".")[1:]
            names += [within[0]] if within else [alias.name for alias in node.names]
        elif isinstance(node, ast.Import):
            names += [alias.name.split(".")[1] for alias in node.names if alias.name.startswith("dxa_tbs.")]
    return set(names)


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_a_room_imports_only_what_the_design_allows(path: Path) -> None:
    relative = path.relative_to(PACKAGE)
    room = relative.parts[0].removesuffix(".py")
    assert imported_rooms(path) <= ALLOWED[room] | LEAVES | {room}


@pytest.mark.parametrize("room", BELOW_PIPELINE)
def test_below_the_pipeline_functions_take_values_never_the_configuration(room: str) -> None:
    """Only config/choices.py contains values; schema, kinds and composition belong to the pipeline and above."""
    for path in sorted((PACKAGE / room).rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        modules = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module}
        of_config = {module for module in modules if module.startswith("dxa_tbs.config")}
        assert of_config <= {"dxa_tbs.config.choices"}, path
        assert "Config" not in {annotation[-6:] for annotation in annotations(tree)}, path


def test_only_runs_knows_the_names_of_a_runs_files() -> None:
    names = {value for name, value in vars(files).items() if name.isupper() and Path(str(value)).suffix not in NOT_OURS}
    assert "metrics.json" in names
    for path in sorted(PACKAGE.rglob("*.py")):
        if path.relative_to(PACKAGE).parts[0] not in ("runs", "config"):  # conf/config.yaml is another file
            tree = ast.parse(path.read_text(encoding="utf-8"))
            literals = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)}
            assert not names & literals, path


def annotations(tree: ast.Module) -> set[str]:
    """Return the names in the annotations of all function arguments."""
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    arguments = [one for node in functions for one in (*node.args.args, *node.args.kwonlyargs) if one.annotation]
    return {name.id for one in arguments for name in ast.walk(one.annotation) if isinstance(name, ast.Name)}


def test_starts_without_torch() -> None:
    """In one process: the first module that imports it is named."""
    code = (
        "import importlib, sys\n"
        "for name in sys.argv[1:]:\n"
        "    importlib.import_module(f'dxa_tbs.{name}')\n"
        "    assert 'torch' not in sys.modules, name"
    )
    done = subprocess.run([sys.executable, "-c", code, *WITHOUT_TORCH], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_command_line_starts_without_pandas_too() -> None:
    code = "import sys, dxa_tbs.train; sys.exit(bool({'pandas', 'sklearn', 'torch'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
