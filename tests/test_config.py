"""Every option composes to the schema, and the paper's settings follow the model. Imports no torch."""

from __future__ import annotations

import csv
import dataclasses
import inspect
import re
import typing
from pathlib import Path

import pytest
from conftest import composed
from golden import stored_experiments
from hydra import compose
from omegaconf import OmegaConf

from dxa_tbs.config.checks import check_config, check_names
from dxa_tbs.config.compose import load_config, take_over_training, to_plain
from dxa_tbs.config.kinds import KINDS
from dxa_tbs.config.schema import Config, conf_dir
from dxa_tbs.data.cohort import ROI_COLUMNS
from dxa_tbs.data.measures import MEASURES
from dxa_tbs.errors import Refusal
from dxa_tbs.pipeline.cohort import USUAL_SUBGROUPS
from dxa_tbs.report.paper import RESULTS, is_papers_experiment, protocol
from dxa_tbs.report.patients import RESULT_COLUMNS
from dxa_tbs.runs.identity import flatten
from dxa_tbs.runs.records import SPLIT_COLUMNS

GROUPS = (
    *("task", "loss", "model", "approach", "dataset", "split", "channels", "augmentation"),
    *("sampling", "optimizer", "schedule", "tracker", "experiment"),
)
IMAGENET = ("alexnet", "resnet18", "vgg16", "densenet121", "squeezenet")
NEEDED = {
    "phantom_text": ["split=stratified"],
    "folder": ["dataset.root=."],
    "table": ["dataset.root=."],
    "external": ["evaluate=a_run"],
    "full": ["model=squeezenet"],
    "head": ["model=squeezenet"],
    **{name: ["approach=full"] for name in IMAGENET},
    "torchvision": ["model.architecture=efficientnet_b0", "approach=full"],
    "timm": ["model.architecture=convnext_tiny.fb_in1k", "approach=full"],
}

CALLED = {"torchvision": "efficientnet_b0", "timm": "timm_convnext_tiny.fb_in1k"}  # not as the option
TABLE_II = """model,batch_size,lr,momentum
model1,24,0.001,0.6
model2,24,0.0001,0.7
model3,24,0.001,0.9
model4,48,0.0001,0.9
"""
NOT_OF_THE_PROTOCOL = {
    *("name", "seed", "split.seed", "evaluate", "output_root", "cache_dir", "model.name", "approach.name"),
    *("model.filters", "model.fc_widths", "model.architecture", "model.weights"),  # whether it is the paper's network
    *("preprocessing.region", "labels.permuted_seed"),  # controls, which stand in no table of the paper
    "labels.normal_min_tbs",  # read by labels.rule=extremes alone
    *(
        "approach.cache_features",
        "trainer.micro_batch_size",
        "trainer.device",
        "evaluation.shown_errors",
        "tracker.name",
    ),  # same results
    "trainer.precision",  # has a mark of its own
}


def needed(group: str, option: str) -> list[str]:
    """Return the settings without which an option of a group cannot be chosen."""
    return [*NEEDED.get(option, []), *([f"{group}.factory=own:build"] if option == "custom" else [])]


def options(group: str) -> list[str]:
    return sorted(path.stem for path in (conf_dir() / group).glob("*.yaml"))


@pytest.mark.parametrize(("group", "option"), [(group, option) for group in GROUPS for option in options(group)])
def test_every_option_composes_and_passes_the_checks(group: str, option: str) -> None:
    rate = ["optimizer.lr=0.1"] * (group == "optimizer")
    config = composed(f"{group}={option}", *needed(group, option), *rate)
    check_config(config)
    if group != "experiment":
        assert getattr(config, group).name == CALLED.get(option, option)


@pytest.mark.parametrize(("approach", "model"), [(table.approach, model) for table in RESULTS for model in table.rows])
def test_each_of_the_fourteen_experiments_composes_to_what_is_stored(approach: str, model: str) -> None:
    stored = stored_experiments()
    assert len(stored) == 14
    assert flatten(to_plain(composed(f"approach={approach}", f"model={model}"))) == stored[f"{approach}/{model}"]


@pytest.mark.parametrize(("approach", "model"), [(table.approach, model) for table in RESULTS for model in table.rows])
def test_the_papers_protocol_in_the_report_is_that_of_the_configuration(approach: str, model: str) -> None:
    config = to_plain(composed(f"approach={approach}", f"model={model}"))
    settings, papers = flatten(config), protocol(approach, model)
    assert {key: settings[key] for key in papers} == papers
    assert {key for key in settings.keys() - papers.keys() if key.split(".")[0] != "dataset"} <= NOT_OF_THE_PROTOCOL
    assert is_papers_experiment(approach, config["model"])


@pytest.mark.parametrize("row", list(csv.DictReader(TABLE_II.splitlines())), ids=lambda row: row["model"])
def test_the_papers_settings_follow_the_model_and_stand_as_values(row: dict[str, str]) -> None:
    cfg = compose("config", overrides=[f"model={row['model']}"])
    values = OmegaConf.to_container(cfg, resolve=False)
    assert isinstance(values, dict)
    assert values["trainer"]["batch_size"] == int(row["batch_size"])
    assert values["optimizer"] == {
        "name": "sgd",
        "lr": float(row["lr"]),
        "momentum": float(row["momentum"]),
        "weight_decay": 0.0,
    }


def test_the_papers_settings_yield_to_the_command_line() -> None:
    assert composed("model=model1", "optimizer.lr=0.5", "trainer.batch_size=7").optimizer.lr == 0.5


@pytest.mark.parametrize("row", list(csv.DictReader(TABLE_II.splitlines())), ids=lambda row: row["model"])
def test_a_network_derived_in_a_file_of_ones_own_keeps_the_papers_settings(row: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    text = f"defaults: [{row['model']}, _self_]\nname: wide\nfc_widths: [70]\n"
    (tmp_path / "model/wide.yaml").write_text(text)
    found = f"hydra.searchpath=[file://{tmp_path.as_posix()}]"
    config = composed(found, "model=wide")
    assert (config.model.name, config.model.fc_widths) == ("wide", [70])  # type: ignore[attr-defined]
    assert config.trainer.batch_size == int(row["batch_size"])
    optimizer = {"name": "sgd", "lr": float(row["lr"]), "momentum": float(row["momentum"]), "weight_decay": 0.0}
    assert vars(config.optimizer) == optimizer
    assert not is_papers_experiment("adhoc", to_plain(config)["model"])


@pytest.mark.parametrize("model", options("model"))
def test_sgds_learning_rate_does_not_leak_into_adamw_but_the_batch_size_stays(model: str) -> None:
    own = OmegaConf.load(conf_dir() / "optimizer/adamw.yaml")
    also = needed("model", model)
    config = composed(f"model={model}", "optimizer=adamw", *also)
    assert config.optimizer.lr == own.lr
    assert not hasattr(config.optimizer, "momentum")
    assert config.trainer.batch_size == composed(f"model={model}", *also).trainer.batch_size


@pytest.mark.parametrize("recipe", options("recipe"))
def test_each_recipe_is_chosen_by_the_pair_it_is_named_after(recipe: str) -> None:
    model, optimizer = recipe.split("_")
    cfg = compose("config", overrides=[f"model={model}", f"optimizer={optimizer}"], return_hydra_config=True)
    assert cfg.hydra.runtime.choices.recipe == recipe


def test_a_seed_of_zero_is_a_seed_and_not_none() -> None:
    config = composed("seed=0", "split.seed=0", "dataset.seed=0")
    assert (config.seed, config.split.seed, config.dataset.seed) == (0, 0, 0)  # type: ignore[attr-defined]
    check_config(config)


def test_every_setting_is_read_somewhere() -> None:
    """Those that a kind declares are arguments of its function: see test_kinds."""
    sources = [
        path.read_text(encoding="utf-8") for path in Path("src/dxa_tbs").rglob("*.py") if "schema" not in path.parts
    ]
    schemas = [kind.schema for kinds in KINDS.values() for kind in kinds.values()]
    declared = {name for schema in schemas for name in inspect.get_annotations(schema)}
    common = [hint for hint in typing.get_type_hints(Config).values() if dataclasses.is_dataclass(hint)]
    fields = {field.name for schema in [Config, *common] for field in dataclasses.fields(schema)} - declared
    assert {"epochs", "lr", "subgroups"} <= fields
    assert not {name for name in fields if not any(re.search(rf"[.\"]{name}\b", text) for text in sources)}


@pytest.mark.parametrize(
    ("overrides", "key"),
    [
        (["seed=-1"], "seed=-1"),
        (["trainer.epochs=0"], "trainer.epochs=0"),
        (["optimizer.lr=0"], "optimizer.lr=0"),
        (["optimizer.momentum=1"], "optimizer.momentum=1"),
        (["labels.rule=extremes", "labels.normal_min_tbs=1.1"], "labels.normal_min_tbs=1.1"),
        (["dataset=table", "dataset.root="], "dataset.root is empty"),
        (["dataset=folder", "dataset.root=no/such/place"], "no/such/place"),
        (["split=external"], "split=external"),
        (["split=stratified", "split.val_fraction=0.9"], "split.val_fraction=0.9"),
        (["dataset.num_normal=10"], "split=stratified"),
        (["augmentation.operations.2.max_change=0.05"], "augmentation.operations.2.min_change=0.1, max_change=0.05"),
        (["model.filters=[8,8,8,8,8,8,8]"], "model.filters"),
        (["model.input_std=[1,1]"], "model.input_std"),
        (["evaluation.threshold=1"], "evaluation.threshold=1"),
        (["name=a/b"], "name=a/b"),
        (["trainer.device=gpu"], "trainer.device=gpu"),
        (["labels.degraded_max_tbs=0.1"], "labels.degraded_max_tbs=0.1"),
        (["dataset.tbs_reader_sd=nan"], "dataset.tbs_reader_sd=nan"),
        (["labels.rule=extremes", "dataset=folder", "dataset.root=."], "labels.rule=extremes"),
        (["dataset=folder", "dataset.root=.", "dataset.normal_folder=../x"], "dataset.normal_folder=../x"),
        (["dataset.subgroups=[age,Patient_ID]"], "patient_id is a reserved column of the results: rename the column"),
        (["~seed"], "seed is not set"),
        (["model.input_std=[0,1,1]"], "model.input_std=[0.0, 1.0, 1.0]: must be above 0"),
        (["model.input_std=[-1,1,1]"], "model.input_std=[-1.0, 1.0, 1.0]"),
        (["dataset.subgroups=[age,Age]"], "dataset.subgroups=['age', 'Age']: names a column twice"),
        (["dataset=folder", "dataset.root=.", "dataset.subgroups=[age]"], "class folders have no columns"),
    ],
)
def test_what_cannot_run_is_refused_in_one_line_that_names_it(overrides: list[str], key: str) -> None:
    with pytest.raises(Refusal) as refusal:
        check_config(composed(*overrides))
    assert key in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("column", sorted({*RESULT_COLUMNS, *SPLIT_COLUMNS, *MEASURES, *ROI_COLUMNS}))
def test_no_subgroup_may_have_the_name_of_a_column_that_the_results_use(column: str) -> None:
    with pytest.raises(
        Refusal, match=rf"dataset\.subgroups=\['{column}'\]: {column} is a reserved column of the results"
    ):
        check_config(composed("dataset=table", "dataset.root=.", f"dataset.subgroups=[{column}]"))


def floats(section: object, prefix: str = "") -> dict[str, int]:
    """Return the key of each number that need not be whole, and how many of them it holds."""
    found: dict[str, int] = {}
    for field in dataclasses.fields(section):  # type: ignore[arg-type]
        value, key = getattr(section, field.name), prefix + field.name
        if dataclasses.is_dataclass(value):
            found |= floats(value, f"{key}.")
        elif isinstance(value, float) or (isinstance(value, list) and value and isinstance(value[0], float)):
            found[key] = len(value) if isinstance(value, list) else 0
    return found


@pytest.mark.parametrize("chosen", [["optimizer=adamw", "split=stratified"], ["model=vgg16", "approach=full"]], ids=str)
@pytest.mark.parametrize("number", ["nan", *(pytest.param(text, marks=pytest.mark.slow) for text in ("inf", "-inf"))])
def test_no_setting_takes_a_number_that_is_not_finite(chosen: list[str], number: str) -> None:
    keys = floats(composed(*chosen))
    assert {"model.input_std", "optimizer.lr", "evaluation.threshold", "labels.degraded_max_tbs"} <= set(keys)
    for key, length in keys.items():
        typed = f"[{','.join([number] + ['1'] * (length - 1))}]" if length else number
        with pytest.raises(Refusal, match="must be finite: give a number") as refusal:
            check_config(composed(*chosen, f"{key}={typed}"))
        assert str(refusal.value).startswith(f"{key}=")


def test_the_subgroups_that_a_table_may_lack_are_those_of_its_option() -> None:
    assert composed("dataset=table", "dataset.root=.").dataset.subgroups == USUAL_SUBGROUPS


def test_a_group_keeps_the_name_of_its_option() -> None:
    with pytest.raises(Refusal, match=r"model\.name=mine: must equal the option model=model4"):
        check_names({"model": "mine"}, {"model": "model4"})


def test_an_added_key_is_refused() -> None:
    with pytest.raises(Refusal, match=r"optimizer\.lrr"):
        composed("+optimizer.lrr=1")


def test_an_evaluation_takes_what_the_weights_decided_from_their_run() -> None:
    trained = to_plain(
        composed("model=model1", "labels.degraded_max_tbs=1.23", "seed=3", "dataset=folder", "dataset.root=.")
    )

    def evaluated(*typed: str) -> Config:
        cfg = compose("config", overrides=["evaluate=a_run", *typed])
        take_over_training(cfg, trained, ["evaluate=a_run", *typed])
        return load_config(cfg)

    config = evaluated("labels.degraded_max_tbs=1.19")
    assert (config.model.name, config.seed, config.trainer.batch_size) == ("model1", 3, 24)
    assert config.labels.degraded_max_tbs == 1.19  # typed, so it wins
    assert (config.dataset.name, config.split.name) == ("folder", "table1")  # nothing typed: the run's own
    assert evaluated("dataset=phantom").split.name == "external"  # another cohort: every image is a test image
    assert evaluated("dataset=phantom", "split=stratified").split.name == "stratified"
    assert evaluated("split=stratified").dataset.name == "folder"
    for wrong in ("model=model2", "trainer.epochs=3", "dataset.seed=3", "split.seed=5"):
        with pytest.raises(Refusal, match=wrong.split("=")[0]):
            evaluated(wrong)
