"""Damaged, truncated and edited run folders: named in the report, refused where a run would be used or skipped."""

from __future__ import annotations

import random
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import torch
from conftest import SMALL, composed, defaults_of
from golden_runs import stored_runs
from hydra import compose
from test_cache import flip

from dxa_tbs.config.compose import load_config, take_over_training
from dxa_tbs.errors import Refusal
from dxa_tbs.hashes import sha256_of_file
from dxa_tbs.pipeline.experiment import run_experiment
from dxa_tbs.report.build import make_documents, write_report
from dxa_tbs.report.outputs import find_experiments
from dxa_tbs.runs.files import (
    CONFIG_YAML,
    ENVIRONMENT_JSON,
    METRICS_JSON,
    MODEL_PT,
    PREDICTIONS_CSV,
    RECORDS,
    gathered_digests,
    read_csv,
    read_json,
    read_yaml,
    write_csv,
    write_json,
    write_yaml,
)
from dxa_tbs.runs.identity import read_config, refuse_newer
from dxa_tbs.runs.versions import VERSION_KEY, NewerRun, schema_version
from dxa_tbs.training.checkpoint import save_weights
from dxa_tbs.verification import seal
from dxa_tbs.verification.seal import BINARIES, FILES, OWN, find_damage

GOLDEN = stored_runs()
ONE = "phantom_text/adhoc/model1/seed0"
STORED = tuple(sorted(path.name for path in (GOLDEN / ONE).iterdir()))
Edit = Callable[[Path], object]


def replace(name: str, old: str, new: str) -> Edit:
    def edit(run_dir: Path) -> None:
        text = (run_dir / name).read_text(encoding="utf-8")
        assert re.search(old, text)
        (run_dir / name).write_text(re.sub(old, new, text, count=1), encoding="utf-8", newline="\n")

    return edit


def cut(name: str, share: float) -> Edit:
    def edit(run_dir: Path) -> None:
        content = (run_dir / name).read_bytes()
        (run_dir / name).write_bytes(content[: int(len(content) * share)])

    return edit


def noise(name: str) -> Edit:
    return lambda run_dir: (run_dir / name).write_bytes(random.Random(0).randbytes(2000))


def remove(name: str) -> Edit:
    return lambda run_dir: (run_dir / name).unlink()


def make_folder(name: str) -> Edit:
    def edit(run_dir: Path) -> None:
        (run_dir / name).unlink()
        (run_dir / name).mkdir()

    return edit


def rewrite(change: Callable[[pd.DataFrame], pd.DataFrame], *names: str) -> Edit:
    def edit(run_dir: Path) -> None:
        for name in names:
            write_csv(run_dir / name, change(read_csv(run_dir / name)))

    return edit


EDITS: dict[str, tuple[Edit, str]] = {  # what is done to a run: how, and the file that is named where it has digests
    "a score that is text": (replace(PREDICTIONS_CSV, r"0\.513\d+", "high"), PREDICTIONS_CSV),
    "a score that is no number": (replace(PREDICTIONS_CSV, r"0\.513\d+", "nan"), PREDICTIONS_CSV),
    "a score of 2": (replace(PREDICTIONS_CSV, r"0\.513\d+", "2.0"), PREDICTIONS_CSV),
    "another score": (replace(PREDICTIONS_CSV, r"0\.513\d+", "0.113"), PREDICTIONS_CSV),
    "a removed row": (rewrite(lambda table: table.iloc[1:], PREDICTIONS_CSV), PREDICTIONS_CSV),
    "a row twice": (rewrite(lambda table: pd.concat([table, table[:1]]), PREDICTIONS_CSV), PREDICTIONS_CSV),
    "another label": (replace(PREDICTIONS_CSV, ",test,0,", ",test,1,"), PREDICTIONS_CSV),
    "flipped labels": (
        rewrite(lambda table: table.assign(label=1 - table["label"]), PREDICTIONS_CSV, "split.csv"),
        "split.csv",
    ),
    "another patient": (replace("split.csv", "P0-000001,P0-000001,", "P0-000001,P0-000002,"), "split.csv"),
    "another AUC": (replace("metrics.json", '"auc": 0.5147', '"auc": 0.9147'), "metrics.json"),
    "another threshold": (replace("metrics.json", '"val_f1": 0.51', '"val_f1": 0.41'), "metrics.json"),
    "other counts": (replace("metrics.json", '"normal_original": 39', '"normal_original": 99'), "metrics.json"),
    "other parameters": (replace("metrics.json", "3400081", "3400082"), "metrics.json"),
    "a time that is text": (replace("timing.json", '"prepare_s": .*,', '"prepare_s": "long",'), "timing.json"),
    "a setting less": (replace("config.yaml", "  test_epoch: best\n", ""), "config.yaml"),
    **{f"half of {name}": (cut(name, 0.5), name) for name in STORED},
    **{f"nothing in {name}": (cut(name, 0), name) for name in STORED},
    **{f"noise in {name}": (noise(name), name) for name in STORED},
    **{f"no {name}": (remove(name), name) for name in ("config.yaml", "split.csv", PREDICTIONS_CSV)},
}
NOTICED_BY_DIGESTS_ALONE: dict[str, tuple[Edit, str]] = {
    "another network": (replace("config.yaml", "name: model1", "name: model4"), "config.yaml"),
    "another age": (replace("split.csv", ",73.0,", ",37.0,"), "split.csv"),
    "another slope": (replace("measures.csv", "1.187959", "1.987959"), "measures.csv"),
    "another loss": (replace("history.csv", "0.69", "0.19"), "history.csv"),
    "another processor": (replace("environment.json", "AVX512", "AVX2"), "environment.json"),
    "no digest of the whole": (replace("metrics.json", ',\n  "sha256": "[0-9a-f]*"', ""), "metrics.json"),
    "no digests of files": (replace("metrics.json", f'"{FILES}"', '"other"'), "metrics.json"),
    "no timing.json": (remove("timing.json"), "timing.json"),
    "errors.csv of another run": (
        lambda run_dir: (run_dir / "errors.csv").write_text("image_id,kind,place,score,file\n"),
        "errors.csv",
    ),
}


def add_digests(run_dir: Path) -> None:
    """Give a run the digests of its files as they are."""
    facts = read_json(run_dir / METRICS_JSON)
    facts.pop(OWN, None)
    digests = {run_dir / name: sha256_of_file(run_dir / name) for name in RECORDS if (run_dir / name).is_file()}
    seal.write_metrics(run_dir, facts, digests)


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """Return runs of version 0.1.0, which have no digests."""
    return Path(shutil.copytree(GOLDEN, tmp_path / "old"))


@pytest.fixture
def sealed(tmp_path: Path) -> Path:
    """Return the same runs with digests."""
    root = Path(shutil.copytree(GOLDEN, tmp_path / "sealed"))
    for path in sorted(root.rglob(METRICS_JSON)):
        add_digests(path.parent)
    return root


def told_of(root: Path, edits: dict[str, tuple[Edit, str]]) -> dict[str, str]:
    """Return what the report says of copies of one run, each edited in another way; the rest must stay as it was."""
    found = find_experiments(root)
    before = {name: document.numbers for name, document in make_documents(found, root).documents.items()}
    folders = {}
    for number, (what, (edit, _)) in enumerate(edits.items()):
        folder = Path(shutil.copytree(root / ONE, (root / ONE).with_name(f"edited{number}")))
        edit(folder)
        folders[folder.relative_to(root).as_posix()] = what
    again = find_experiments(root)
    for name, document in make_documents(again, root).documents.items():
        pd.testing.assert_frame_equal(document.numbers, before[name])
    lines = [line.split(": ", 2) for line in again.missing if line not in found.missing]
    assert {kind for kind, *_ in lines} == {"damaged"}
    return {folders[folder]: damage for _, folder, damage in lines}


def test_each_edit_of_a_run_with_digests_is_named_with_its_file_and_the_report_goes_on(sealed: Path) -> None:
    edits = EDITS | NOTICED_BY_DIGESTS_ALONE
    told = told_of(sealed, edits)
    assert {what: text.split()[0] for what, text in told.items()} == {what: name for what, (_, name) in edits.items()}
    assert told["another network"] == "config.yaml differs from what the run wrote"
    assert told["half of metrics.json"] == "metrics.json cannot be read"
    assert told["no split.csv"] == "split.csv is missing"
    assert told["errors.csv of another run"] == "errors.csv is not a file that the run wrote"


def test_edits_of_a_run_of_version_0_1_0_are_named_where_its_files_contradict_one_another(old: Path) -> None:
    told = told_of(old, EDITS)
    assert told.keys() == EDITS.keys()
    assert told["a score that is text"] == "predictions.csv cannot be read (ValueError)"
    assert told["a score that is no number"] == "predictions.csv holds a score that is not between 0 and 1"
    assert told["a row twice"] == "predictions.csv has other images, splits or labels than split.csv"
    assert told["flipped labels"] == "split.csv holds other numbers of images than metrics.json"
    assert told["another AUC"].startswith("metrics.json has test auc 0.914706, predictions.csv gives 0.514706")
    assert told["other parameters"] == "layers.csv has another number of parameters than metrics.json"
    assert told["a setting less"] == "config.yaml has no usable test_epoch"


def test_the_report_says_how_many_runs_are_unverified(old: Path, sealed: Path) -> None:
    notes = {}
    for root in (old, sealed):
        document = make_documents(find_experiments(root), root).documents["runs"]
        notes[root], is_verified = document.notes, set(document.numbers["verified"])
        assert is_verified == {root == sealed}
    assert [note for note in notes[old] if note not in notes[sealed]] == [
        "unverified: 7 of 7 runs: version 0.1.0 stored no digests of its files, which agree with one another"
    ]


def test_a_seed_of_version_0_1_0_whose_images_were_renamed_is_left_out_of_the_mean(old: Path) -> None:
    for name in ("split.csv", "predictions.csv", "measures.csv"):
        path = old / ONE.replace("seed0", "seed1") / name
        path.write_text(path.read_text(encoding="utf-8").replace("P0-", "X-"), encoding="utf-8", newline="\n")
    missing = find_experiments(old).missing
    folder = "phantom_text/adhoc/model1"
    assert f"other test images than {folder}/seed0: {folder}/seed1" in missing


def test_damage_beside_finished_runs_does_not_stop_the_report(sealed: Path) -> None:
    noise("failed.json")(sealed / "phantom_text/head/alexnet/seed0-fa189a8f")
    (sealed / "phantom_text/adhoc/model2/seed0/config.yaml").write_bytes(b"")
    (sealed / "phantom_text/adhoc/model9").mkdir()
    (sealed / "phantom_text/adhoc/model9/failed.json").write_text("[]")
    missing = find_experiments(sealed).missing
    reason = "failed.json, which says why, is damaged"
    for line in (
        f"failed: phantom_text/head/alexnet/seed0-fa189a8f: {reason}",
        f"failed: phantom_text/adhoc/model9: {reason}",
        "not finished: phantom_text/adhoc/model2/seed0",
    ):
        assert line in missing


def is_newer(run_dir: Path) -> bool:
    try:
        refuse_newer(run_dir)
    except NewerRun:
        return True
    return False


def flip_many(file: Path, *, times: int) -> dict[str, int]:
    """Flip one bit of a record, over and over; count how often that is noticed, and how often it has no effect."""
    rng, counted, written = random.Random(file.name), {"noticed": 0, "without effect": 0}, file.read_bytes()
    facts = read_json(file.parent / METRICS_JSON)
    for _ in range(times):
        flip(file, rng)
        is_noticed = find_damage(file.parent, with_weights=file.name == MODEL_PT) is not None or is_newer(file.parent)
        if not is_noticed:  # white space: the same values
            assert file.name == METRICS_JSON
            assert read_json(file) == facts
        counted["noticed" if is_noticed else "without effect"] += 1
        file.write_bytes(written)
    return counted


@pytest.mark.parametrize("name", STORED)
def test_twenty_flipped_bits_are_noticed(name: str, sealed: Path) -> None:
    assert sum(flip_many(sealed / ONE / name, times=20).values()) == 20


@pytest.fixture
def run_dir(finished: Path, tmp_path: Path) -> Path:
    """Return a copy of a finished run, in the place where the same command would write it below tmp_path."""
    return Path(shutil.copytree(finished, tmp_path / finished.relative_to(finished.parents[4])))


def run_again(run_dir: Path, cache_dir: Path) -> Path:
    typed = [f"output_root={run_dir.parents[4]}", f"cache_dir={cache_dir}", *SMALL]
    return run_experiment(composed(*typed), defaults=defaults_of(typed))


def test_a_finished_run_carries_the_digests_of_all_its_files(finished: Path) -> None:
    facts = read_json(finished / METRICS_JSON)
    assert list(facts)[-2:] == [FILES, OWN]
    assert facts[FILES] == {name: sha256_of_file(finished / name) for name in (*RECORDS, *BINARIES)}
    assert find_damage(finished, with_weights=True) is None


def test_a_new_run_without_its_digests_is_no_run_of_version_0_1_0(run_dir: Path) -> None:
    facts = read_json(run_dir / METRICS_JSON)
    old = {key: value for key, value in facts.items() if key not in (FILES, OWN)}
    write_json(run_dir / METRICS_JSON, old)
    assert find_damage(run_dir) == "metrics.json differs from what the run wrote"


def test_weights_are_compared_only_where_they_are_used(run_dir: Path) -> None:
    flip(run_dir / MODEL_PT, random.Random(0))
    assert find_damage(run_dir) is None
    assert find_damage(run_dir, with_weights=True) == "model.pt differs from what the run wrote"


def test_a_damaged_run_is_not_evaluated(run_dir: Path, cache_dir: Path) -> None:
    typed = [f"output_root={run_dir.parents[4]}", f"cache_dir={cache_dir}", f"evaluate={run_dir}"]
    cfg = compose("config", overrides=typed)
    take_over_training(cfg, read_config(run_dir), typed)
    config = load_config(cfg)
    for name in (MODEL_PT, PREDICTIONS_CSV, "split.csv", "metrics.json", ENVIRONMENT_JSON):
        for edit in (lambda folder, name=name: flip(folder / name, random.Random(1)), cut(name, 0.5), remove(name)):
            written = (run_dir / name).read_bytes()
            edit(run_dir)
            with pytest.raises(Refusal, match=f"holds a finished run that is damaged: {name} .*: restore it from a"):
                run_experiment(config, defaults=defaults_of(typed))
            (run_dir / name).write_bytes(written)
    assert [path.name for path in run_dir.parent.iterdir()] == [run_dir.name]


@pytest.mark.slow
def test_a_damaged_run_is_refused_in_one_line_from_the_command_line(run_dir: Path) -> None:
    content = bytearray((run_dir / MODEL_PT).read_bytes())
    content[len(content) // 2] ^= 0x40  # the exponent or the sign of some weight
    (run_dir / MODEL_PT).write_bytes(content)
    cut("config.yaml", 0.6)(Path(shutil.copytree(run_dir, run_dir.with_name("other"))))
    for folder, what in ((run_dir, MODEL_PT), (run_dir.with_name("other"), "config.yaml")):
        command = [sys.executable, "-m", "dxa_tbs.train", f"evaluate={folder}", f"cache_dir={folder.parents[5]}/cache"]
        done = subprocess.run(command, cwd=run_dir.parents[4], capture_output=True, text=True, check=False)
        assert done.returncode == 1
        assert done.stderr == (
            f"dxa_tbs: {folder} holds a finished run that is damaged: {what} differs from what the run wrote: "
            "restore it from a backup, or move it away and run it again\n"
        )


def test_a_finished_run_whose_records_are_damaged_is_not_skipped_as_finished(run_dir: Path, cache_dir: Path) -> None:
    assert run_again(run_dir, cache_dir) == run_dir
    replace(PREDICTIONS_CSV, r",0\.\d", ",0.9")(run_dir)
    with pytest.raises(Refusal, match=r"damaged: predictions.csv differs .*, or move it away and run it again"):
        run_again(run_dir, cache_dir)
    (run_dir / CONFIG_YAML).unlink()
    with pytest.raises(Refusal, match=r"damaged: config.yaml is missing"):
        run_again(run_dir, cache_dir)
    assert (run_dir / PREDICTIONS_CSV).is_file()


def make_newer(run_dir: Path) -> str:
    """Let a run be one of the next version; return how that is refused."""
    newer = schema_version() + 1
    stored = read_yaml(run_dir / CONFIG_YAML)
    stored["trainer"]["warmup_epochs"] = 3
    write_yaml(run_dir / CONFIG_YAML, {**stored, VERSION_KEY: newer})
    return (
        f"{run_dir / CONFIG_YAML}: schema_version={newer}: written by a newer version of dxa_tbs, this one reads "
        f"schema_version up to {newer - 1}: update dxa_tbs"
    )


def test_a_run_of_a_newer_version_is_named_in_the_report_which_goes_on(sealed: Path) -> None:
    found = find_experiments(sealed)
    before = {name: document.numbers for name, document in make_documents(found, sealed).documents.items()}
    copy = Path(shutil.copytree(sealed / ONE, (sealed / ONE).with_name("newer")))
    make_newer(copy)
    again = find_experiments(sealed)
    (line,) = [line for line in again.missing if line not in found.missing]
    assert line.startswith("cannot be read")
    assert copy.relative_to(sealed).as_posix() in line
    for name, document in make_documents(again, sealed).documents.items():
        pd.testing.assert_frame_equal(document.numbers, before[name])


def test_unreadable_files_of_a_newer_run_do_not_stop_the_report(sealed: Path) -> None:
    make_newer(Path(shutil.copytree(sealed / ONE, (sealed / ONE).with_name("newer"))))
    folders = []
    for name in STORED:
        for number, edit in enumerate((cut(name, 0.5), cut(name, 0), noise(name), remove(name), make_folder(name))):
            folders.append((sealed / ONE).with_name(f"newer-{name}-{number}"))
            edit(Path(shutil.copytree((sealed / ONE).with_name("newer"), folders[-1])))
    missing = find_experiments(sealed).missing
    for folder in folders:
        named = [line for line in missing if folder.relative_to(sealed).as_posix() in line.replace(": ", " ").split()]
        assert len(named) == 1, folder


def test_a_folder_in_the_place_of_a_file_is_named(sealed: Path) -> None:
    expected = {}
    for name in STORED:
        copy = Path(shutil.copytree(sealed / ONE, (sealed / ONE).with_name(f"edited-{name}")))
        make_folder(name)(copy)
        told = f"damaged: {copy.relative_to(sealed).as_posix()}: {name} is missing"
        expected[name] = told if name != METRICS_JSON else f"not finished: {copy.relative_to(sealed).as_posix()}"
    assert set(expected.values()) <= set(find_experiments(sealed).missing)


def test_a_run_of_a_newer_version_is_neither_skipped_nor_evaluated(run_dir: Path, cache_dir: Path) -> None:
    typed = [f"output_root={run_dir.parents[4]}", f"cache_dir={cache_dir}", f"evaluate={run_dir}"]
    cfg = compose("config", overrides=typed)
    take_over_training(cfg, read_config(run_dir), typed)
    config = load_config(cfg)
    message = make_newer(run_dir)
    before = {path: path.read_bytes() for path in run_dir.rglob("*") if path.is_file()}
    with pytest.raises(NewerRun) as refusal:
        run_experiment(config, defaults=defaults_of(typed))
    assert str(refusal.value) == message
    command = [sys.executable, "-m", "dxa_tbs.train", f"evaluate={run_dir}", f"cache_dir={run_dir.parents[5]}/cache"]
    done = subprocess.run(command, cwd=run_dir.parents[4], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, f"dxa_tbs: {message}\n")
    assert {path: path.read_bytes() for path in run_dir.rglob("*") if path.is_file()} == before
    assert [path.name for path in run_dir.parent.iterdir()] == [run_dir.name]


@pytest.mark.slow
def test_flipped_bits_in_the_cache_change_no_prediction_and_stand_in_the_record(
    finished: Path, tmp_path: Path, cache_dir: Path
) -> None:
    typed = [f"output_root={tmp_path / 'outputs'}", f"cache_dir={tmp_path / 'cache'}", *SMALL]
    shutil.copytree(cache_dir, tmp_path / "cache", ignore=shutil.ignore_patterns("features-*"))
    rng, entries = random.Random(0), [path for path in (tmp_path / "cache").iterdir() if path.is_dir()]
    for entry in entries:
        for _ in range(3):
            flip(entry / "images.npy", rng)
    again = run_experiment(composed(*typed), defaults=defaults_of(typed))
    for name in ("split.csv", PREDICTIONS_CSV):
        assert (again / name).read_bytes() == (finished / name).read_bytes()
    warnings = read_json(again / METRICS_JSON)["warnings"]
    mended = [text.split()[1].split("-")[0] for text in warnings if "was damaged (images.npy) and is rebuilt" in text]
    assert mended == ["images", "copies"]


def test_a_file_edited_while_the_run_goes_on_is_noticed_later(tmp_path: Path) -> None:
    with gathered_digests() as digests:
        write_yaml(tmp_path / "config.yaml", {"optimizer": {"lr": 0.1}})
        write_json(tmp_path / ENVIRONMENT_JSON, {})
        replace("config.yaml", "0.1", "0.2")(tmp_path)
    seal.write_metrics(tmp_path, {}, digests)
    assert find_damage(tmp_path) == "config.yaml differs from what the run wrote"


def test_weights_take_their_place_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_weights({"a": torch.zeros(3)}, tmp_path / MODEL_PT)
    before = (tmp_path / MODEL_PT).read_bytes()

    def full(state: object, file: object) -> None:
        file.write(b"half")  # type: ignore[attr-defined]
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OSError, match="No space"):
        save_weights({"a": torch.ones(3)}, tmp_path / MODEL_PT)
    assert (tmp_path / MODEL_PT).read_bytes() == before


@pytest.mark.slow
def test_two_hundred_flipped_bits_in_every_file_of_a_run_are_noticed_or_without_effect(run_dir: Path) -> None:
    """Without effect are drawings and the log, which are shown but never read for a number."""
    root = run_dir.parents[4]
    write_report(root)
    before = {path.name: path.read_bytes() for path in (root / "tables").iterdir()}
    print("\nfile                       noticed  without effect")
    for name in (*RECORDS, METRICS_JSON, MODEL_PT):
        counted = flip_many(run_dir / name, times=200)
        print(f"{name:<26} {counted['noticed']:>7} {counted['without effect']:>15}")
    of_folders = {folder: sorted((run_dir / folder).iterdir()) for folder in ("figures", "errors")}
    for name, files in {"train.log": [run_dir / "train.log"], **of_folders}.items():
        rng = random.Random(name)
        for _ in range(200):
            flip(rng.choice(files), rng)
        for file in files[::2]:
            cut(file.name, 0.5)(file.parent)
        write_report(root)
        assert {path.name: path.read_bytes() for path in (root / "tables").iterdir()} == before
        print(f"{name:<26} {0:>7} {200:>15}")
