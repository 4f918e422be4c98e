"""Operations: what each does to pixels, which entries are refused, and code of the user's own."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
import toys.operation
from conftest import SMALL, composed, run
from scipy import ndimage
from test_augment import table_of
from torchvision.transforms.v2 import functional

from dxa_tbs.config.checks import check_config
from dxa_tbs.config.compose import to_plain
from dxa_tbs.config.kinds import KINDS
from dxa_tbs.config.operations import completed_operations
from dxa_tbs.data import operations
from dxa_tbs.data.augment import Operation, _stream, apply, make_copy
from dxa_tbs.errors import Refusal
from dxa_tbs.notebook import compose, predict, prepare
from dxa_tbs.pipeline.augmentation import build_operation, build_operations
from dxa_tbs.pipeline.prepare import ImageSet, add_copies
from dxa_tbs.report import departures
from dxa_tbs.report.outputs import find_experiments
from dxa_tbs.report.paper import protocol
from dxa_tbs.runs.identity import differences, identity, run_folder
from dxa_tbs.runs.records import read_metrics

IMAGE = np.random.default_rng(0).integers(40, 180, (224, 224), dtype=np.uint8)
BUILT_IN = ("flip", "rotate", "shift", "zoom", "brightness", "contrast", "noise", "blur")


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def built(**entry: object) -> Operation:
    return build_operation(completed_operations([entry])[0], key="augmentation.operations.0")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return the current folder, which modules are imported from, and forget these modules afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield tmp_path
    forget()


def forget() -> None:
    for name in [name for name in sys.modules if name.startswith("own_")]:
        del sys.modules[name]


def test_the_built_in_operations_keep_shape_and_type_and_leave_the_image_as_it_was() -> None:
    for name in BUILT_IN:
        for image in (IMAGE, IMAGE[:200, :150]):
            before = image.copy()
            changed = apply([built(name=name)], image, rng(3), image_id="a")
            assert (changed.shape, changed.dtype) == (image.shape, np.uint8)
            assert changed.flags.c_contiguous
            assert np.array_equal(image, before)
            assert not np.shares_memory(changed, image)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("flip", {"probability": 0.0}),
        ("rotate", {"max_deg": 0.0, "interpolation": "bilinear"}),
        ("rotate", {"max_deg": 0.0, "interpolation": "bicubic"}),
        ("shift", {"max_px": 0}),
        ("zoom", {"max_change": 0.0, "interpolation": "bilinear"}),
        ("zoom", {"max_change": 0.0, "interpolation": "bicubic"}),
        ("brightness", {"min_change": 0.0, "max_change": 0.0}),
        ("contrast", {"max_change": 0.0}),
        ("noise", {"max_sd": 0.0}),
        ("blur", {"max_sigma_px": 0.0}),
    ],
)
def test_a_range_of_nothing_changes_nothing(name: str, settings: dict[str, object]) -> None:
    assert np.array_equal(built(name=name, **settings).function(IMAGE, rng(), **settings), IMAGE)


def test_a_flip_mirrors_and_twice_is_the_image_again() -> None:
    once = operations.flip(IMAGE, rng(), probability=1.0)
    assert np.array_equal(once, np.fliplr(IMAGE))
    assert np.array_equal(operations.flip(once, rng(), probability=1.0), IMAGE)
    shares = [np.array_equal(operations.flip(IMAGE, rng(seed), probability=0.25), IMAGE) for seed in range(400)]
    assert np.mean(shares) == pytest.approx(0.75, abs=0.07)


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_a_rotation_turns_about_the_centre_and_leaves_no_black_corner(interpolation: str) -> None:
    even = np.full((224, 224), 90, np.uint8)
    assert np.array_equal(operations.rotate(even, rng(), max_deg=10.0, interpolation=interpolation), even)
    dot = np.full((224, 224), 20, np.uint8)
    dot[102:122, 202:222] = 200  # to the right of the centre
    turned = operations.rotate(dot, rng(), max_deg=10.0, interpolation=interpolation).astype(float) - 20
    rows, columns = np.indices(turned.shape)
    angle = np.arctan2((rows * turned).sum() / turned.sum() - 111.5, (columns * turned).sum() / turned.sum() - 111.5)
    expected = -rng().uniform(-10.0, 10.0)  # counter-clockwise, and rows count downwards
    assert np.rad2deg(angle) == pytest.approx(expected, abs=0.3)


def test_a_shift_moves_whole_pixels_and_mirrors_the_border() -> None:
    moves = set()
    for seed in range(60):
        shifted = operations.shift(IMAGE, rng(seed), max_px=3)
        down, right = rng(seed).integers(-3, 3, size=2, endpoint=True)
        assert np.array_equal(shifted[3:-3, 3:-3], np.roll(IMAGE, (down, right), (0, 1))[3:-3, 3:-3])
        moves.add((int(down), int(right)))
    assert {abs(down) for down, _ in moves} == {abs(right) for _, right in moves} == {0, 1, 2, 3}
    column = np.tile(np.arange(224, dtype=np.uint8), (224, 1))
    assert operations.shift(column, rng(1), max_px=3)[5].tolist() == mirrored(column[5], seed=1)


def mirrored(line: np.ndarray, *, seed: int) -> list[int]:
    _, right = rng(seed).integers(-3, 3, size=2, endpoint=True)
    return [int(line[min(abs(x - right), 2 * 223 - abs(x - right))]) for x in range(224)]


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_a_zoom_enlarges_about_the_centre_by_its_factor(interpolation: str) -> None:
    assert (
        operations.zoom(np.full((224, 224), 90, np.uint8), rng(), max_change=0.5, interpolation=interpolation) == 90
    ).all()
    square = np.zeros((224, 224), np.uint8)
    square[72:152, 72:152] = 200
    for seed in range(6):
        factor = 1 + rng(seed).uniform(-0.3, 0.3)
        zoomed = operations.zoom(square, rng(seed), max_change=0.3, interpolation=interpolation).astype(float)
        assert zoomed.sum() / square.sum() == pytest.approx(factor**2, rel=0.02)
        rows, columns = np.indices(zoomed.shape)
        assert (rows * zoomed).sum() / zoomed.sum() == pytest.approx(111.5, abs=0.1)
        assert (columns * zoomed).sum() / zoomed.sum() == pytest.approx(111.5, abs=0.1)


def test_brightness_multiplies_by_one_plus_or_minus_the_change_and_stops_at_white() -> None:
    image = np.array([[0, 1, 100, 200]], np.uint8)
    factors = []
    for seed in range(200):
        drawn = rng(seed)
        factor = 1 + drawn.choice([-1, 1]) * drawn.uniform(0.1, 0.4)
        by_hand = [min(255, round(float(grey * np.float32(factor)))) for grey in (0, 1, 100, 200)]
        assert operations.brightness(image, rng(seed), min_change=0.1, max_change=0.4)[0].tolist() == by_hand
        factors.append(factor)
    change = np.abs(np.array(factors) - 1)
    assert 0.1 <= change.min() < 0.12 and 0.38 < change.max() <= 0.4
    assert {factor > 1 for factor in factors} == {True, False}


def test_contrast_keeps_the_mean_and_scales_the_spread() -> None:
    image = np.array([[90, 110]], np.uint8)
    for seed in range(20):
        factor = 1 + rng(seed).uniform(-0.5, 0.5)
        low, high = operations.contrast(image, rng(seed), max_change=0.5)[0].tolist()
        assert (low, high) == (round(100 - 10 * factor), round(100 + 10 * factor))


def test_noise_has_the_drawn_deviation_and_no_mean() -> None:
    even = np.full((224, 224), 100, np.uint8)
    noise = operations.noise(even, rng(), max_sd=20.0).astype(float) - 100
    assert noise.std() == pytest.approx(np.hypot(rng().uniform(0, 20.0), np.sqrt(1 / 12)), rel=0.02)
    assert noise.mean() == pytest.approx(0, abs=0.2)
    assert np.corrcoef(noise[:, 1:].ravel(), noise[:, :-1].ravel())[0, 1] == pytest.approx(0, abs=0.02)


def test_a_blur_is_a_gaussian_with_the_drawn_sigma() -> None:
    sigma = rng().uniform(0, 2.0)
    blurred = operations.blur(IMAGE, rng(), max_sigma_px=2.0)
    exact = ndimage.gaussian_filter(IMAGE.astype(float), sigma, mode="mirror")
    assert np.abs(blurred - exact).max() <= 0.51


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        (
            "=[{name:flop}]",
            r"\.0\.name=flop: no such operation: did you mean flip\?; operations: flip, rotate",
        ),
        (
            "=[{name:flip,probabilty:1}]",
            r"operations\.0\.probabilty: flip has no such setting: did you mean probability",
        ),
        ("=[{name:rotate,max_deg:wide}]", r"operations\.0\.max_deg=wide: Value 'wide' of type 'str' could not be"),
        ("=[{name:rotate,max_deg:true}]", r"operations\.0\.max_deg=True: Value 'True' of type 'bool' could not be"),
        ("=[{name:shift,max_px:1.5}]", r"operations\.0\.max_px=1\.5: Value '1\.5' of type 'float' could not be"),
        ("=[{name:zoom,interpolation:cubic}]", r"operations\.0\.interpolation=cubic: Invalid value 'cubic', expected"),
        ("=[flip]", r"operations\.0=flip: is not an operation with its settings: write {name: flip"),
        ("=[{probability:1}]", r"operations\.0={'probability': 1}: is not an operation"),
        ("=[{name:flip,probability:???}]", r"operations\[0\]\.probability is not set"),
        ("=[{name:flip},{name:'a-b:c'}]", r"operations\.1\.name=a-b:c: is not of the form package\.module:function"),
        ("=[{name:own_a:f,rng:1}]", r"operations\.0\.rng: every operation is given image and rng"),
        ("=[{name:own_a:f,levels:[1,nan]}]", r"operations\.0\.levels=\[1, nan\]: must be finite"),
        ("=[{name:noise,max_sd:nan}]", r"operations\.0\.max_sd=nan: must be finite"),
        ("=[{name:flip,probability:1.1}]", r"operations\.0\.probability=1\.1: must be between 0 and 1"),
        ("=[{name:flip},{name:rotate,max_deg:-1}]", r"operations\.1\.max_deg=-1\.0: must be between 0 and 45"),
        ("=[{name:shift,max_px:101}]", r"operations\.0\.max_px=101: must be between 0 and 100"),
        ("=[{name:brightness,max_change:1}]", r"operations\.0\.min_change=0\.1, max_change=1\.0: must be in ascending"),
        ("=[]", r"operations=\[\]: copies would equal their originals"),
    ],
)
def test_entries_that_cannot_be_used_are_refused_in_one_line(typed: str, told: str) -> None:
    with pytest.raises(Refusal, match=told) as refusal:
        check_config(composed(f"augmentation.operations{typed}"))
    assert str(refusal.value).startswith("augmentation.operations")
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        (["augmentation=epoch", "augmentation.copies_per_normal=1"], r"copies_per_normal=1\.0: .*epoch.*give 0"),
        (["augmentation=paper", "augmentation.when=epoch"], "copies_per_normal=0.2298: .*: give 0"),
        (["augmentation=epoch", "augmentation.operations=[]"], "nothing would change with augmentation.when=epoch"),
        (
            ["augmentation=epoch", "augmentation.when=copies"],
            "copies_per_degraded=0: the operations would have",
        ),
        (["augmentation=none", "augmentation.copies_per_degraded=1"], "copies would equal their originals"),
        (["augmentation=epoch", "model=squeezenet", "approach=head"], "give approach.cache_features=false"),
    ],
)
def test_settings_that_exclude_each_other_are_refused(typed: list[str], told: str) -> None:
    with pytest.raises(Refusal, match=told):
        check_config(composed(*typed))
    if "approach=head" in typed:
        check_config(composed(*typed, "approach.cache_features=false"))


def test_entries_are_completed_so_that_what_was_typed_does_not_matter() -> None:
    short, long = (
        to_plain(composed(f"augmentation.operations={typed}"))
        for typed in (
            "[{name:flip},{name:rotate,max_deg:10}]",
            "[{probability:0.5,name:flip},{name:rotate,max_deg:1e1,interpolation:bicubic}]",
        )
    )
    assert short["augmentation"]["operations"] == [
        {"name": "flip", "probability": 0.5},
        {"name": "rotate", "max_deg": 10.0, "interpolation": "bicubic"},
    ]
    assert run_folder(short) == run_folder(long)


def test_the_order_of_operations_is_part_of_a_runs_identity() -> None:
    one, other = (
        to_plain(composed(f"augmentation.operations={typed}"))
        for typed in ("[{name:flip},{name:noise}]", "[{name:noise},{name:flip}]")
    )
    assert identity(one) != identity(other)
    assert run_folder(one) != run_folder(other)
    (line,) = differences(one, other)
    assert line.startswith("augmentation.operations: ")


def test_an_operation_from_outside_is_registered_as_a_kind(tmp_path: Path) -> None:
    assert toys.operation.InvertConfig is KINDS["operation"]["invert"].schema
    typed = "augmentation.operations=[{name:invert,probability:1}]"
    assert np.array_equal(
        make_copy(IMAGE, build_operations(composed(typed).augmentation), image_id="a", seed=0), 255 - IMAGE
    )
    with pytest.raises(Refusal, match=r"operations\.0\.share: invert has no such setting; settings: probability"):
        composed("augmentation.operations=[{name:invert,share:1}]")


def own_copies(folder: Path, name: str, settings: str = "") -> ImageSet:
    """Return the copies that an operation in own_ops.py makes of a small cohort."""
    table = table_of({"train": (4, 2), "val": (2, 2), "test": (2, 2)}).assign(sha256="x")
    pixels = np.random.default_rng(1).integers(0, 256, (len(table), 64, 64), dtype=np.uint8)
    pixels.setflags(write=False)
    how = composed(f"augmentation.operations=[{{name:own_ops:{name}{settings}}}]").augmentation
    return add_copies(table, pixels, how, seed=0, cache_dir=folder / "cache")


def test_an_operation_of_ones_own_may_change_its_image_in_place(folder: Path) -> None:
    (folder / "own_ops.py").write_text("def black(image, rng, *, rows):\n    image[:rows] = 0\n    return image\n")
    made = own_copies(folder, "black", ",rows:7")
    is_copy = (made.table["origin"] != "").to_numpy()
    assert (made.pixels[is_copy][:, :7] == 0).all()
    assert (made.pixels[~is_copy][:, :7] != 0).any(axis=(1, 2)).all()
    assert (made.pixels[is_copy][:, 7:] != 0).any()


@pytest.mark.parametrize(
    ("code", "told"),
    [
        (
            "return image / 2",
            r"own_ops:f returned float64 \(64, 64\) for image i0000\d\+1: it must return a Num",
        ),
        ("return image[1:]", r"own_ops:f returned uint8 \(63, 64\) for image i0000\d\+1: .* uint8 \(64, 64\)"),
        ("return None", "own_ops:f returned NoneType for image"),
        ("return image + np.random.randint(9, dtype=np.uint8)", "own_ops:f changes the global random numbers of numpy"),
        ("np.random.seed(3); return image", "own_ops:f changes the global random numbers of numpy"),
        ("random.random(); return image", "own_ops:f changes the global random numbers of random: draw from rng"),
        ("torch.rand(1); return image", "own_ops:f changes the global random numbers of torch"),
        ("return image + np.random.default_rng().integers(9, dtype=np.uint8)", "does not give the same image twice"),
        ("calls.append(1); return image + np.uint8(len(calls))", "own_ops:f does not give the same image twice"),
    ],
)
def test_operations_of_ones_own_that_cannot_be_repeated_are_refused(folder: Path, code: str, told: str) -> None:
    head = "import random\nimport numpy as np\nimport torch\ncalls = []\n"
    (folder / "own_ops.py").write_text(f"{head}def f(image, rng):\n    {code}\n")
    with pytest.raises(Refusal, match=told) as refusal:
        own_copies(folder, "f")
    assert "\n" not in str(refusal.value)


def test_settings_that_an_operation_of_ones_own_does_not_take_are_refused(folder: Path) -> None:
    (folder / "own_ops.py").write_text("def f(image, rng, *, share):\n    return image\n")
    told = r"augmentation\.operations\.0=own_ops:f: cannot be called with an image, rng and shade \(.*'sha"
    with pytest.raises(Refusal, match=told):
        own_copies(folder, "f", ",shade:1")


def test_cached_copies_are_made_anew_if_anything_that_the_code_imports_has_changed(folder: Path) -> None:
    (folder / "own_ops.py").write_text("from own_help import K\ndef f(image, rng):\n    return image // K\n")
    made = []
    for divisor in (2, 3, 2):
        (folder / "own_help.py").write_text(f"K = {divisor}  # {'x' * divisor}\n")
        forget()
        images = own_copies(folder, "f")
        made.append(images.pixels[(images.table["origin"] != "").to_numpy()])
    assert not np.array_equal(made[0], made[1])
    assert np.array_equal(made[0], made[2])
    assert len(list(folder.glob("cache/copies-*/images.npy"))) == 2


def test_an_operation_that_raises_is_refused_in_one_line(folder: Path) -> None:
    (folder / "own_ops.py").write_text("def broken(image, rng):\n    raise ValueError('rare')\n")
    with pytest.raises(Refusal, match=r"operations=own_ops:broken: fails \(ValueError: rare, own_ops\.py, line 2\)"):
        own_copies(folder, "broken", "")


def test_operations_of_torchvision_can_be_wrapped(folder: Path) -> None:
    (folder / "own_ops.py").write_text(
        "import torch\n"
        "from torchvision.transforms.v2 import functional\n\n\n"
        "def sharpen(image, rng, *, max_factor):\n"
        "    pixels = torch.from_numpy(image)[None]\n"
        "    return functional.adjust_sharpness(pixels, rng.uniform(1, max_factor))[0].numpy()\n"
    )
    made = own_copies(folder, "sharpen", ",max_factor:3")
    originals = {name: torch.tensor(pixels) for name, pixels in zip(made.table["image_id"], made.pixels, strict=True)}
    for (_, row), copy in zip(made.table.iterrows(), made.pixels, strict=True):
        if row["origin"]:
            factor = _stream(0, row["image_id"]).uniform(1, 3)
            expected = functional.adjust_sharpness(originals[row["origin"]][None], factor)[0]
            assert np.array_equal(copy, expected.numpy())
            assert not np.array_equal(copy, originals[row["origin"]].numpy())


def test_other_operations_than_the_papers_are_named_in_words() -> None:
    papers = protocol("adhoc", "model4")
    flip, rotate, brightness = papers["augmentation.operations"]

    def words(*operations: dict[str, object]) -> list[str]:
        ours = papers | {"augmentation.operations": list(operations)}
        return [one.words for one in departures.differences(ours, papers)]

    assert words(flip, rotate, brightness) == []
    turned = "rotate (max deg 5, interpolation bilinear)"
    assert words(flip, rotate | {"max_deg": 5.0}, brightness) == [f"other operations {turned}"]
    own = {"name": "own_ops:f", "file": "/home/a_name/kernel.npy"}
    added = (
        "other operations own_ops:f (file kernel.npy) and without brightness and in the order rotate, flip, own_ops:f"
    )
    assert words(rotate, flip, own) == [added]


@pytest.mark.slow
def test_neither_an_evaluation_nor_a_prediction_nor_a_report_imports_operations_that_a_run_names(
    folder: Path, cache_dir: Path
) -> None:
    (folder / "own_ops.py").write_text("def f(image, rng):\n    return image // 2\n")
    own = "augmentation.operations=[{name:own_ops:f}]"
    tiny = ("model.filters=[4,4,4,4,4]", "model.fc_widths=[8]", f"cache_dir={cache_dir}")
    run_dir = run(*SMALL, *tiny, own)
    assert list(read_metrics(run_dir)["code_sha256"]) == ["augmentation.operations.0"]
    forget()
    (folder / "own_ops.py").write_text("from pathlib import Path\nPath('imported').touch()\n")
    assert run(f"evaluate={run_dir}", "name=again", f"cache_dir={cache_dir}").is_dir()
    config = compose([f"evaluate={run_dir}", f"cache_dir={cache_dir}"])
    images = prepare(config)
    assert (images.table["origin"] == "").all()
    assert len(predict(run_dir, np.asarray(images.test.pixels[:2]))) == 2
    assert len(find_experiments(folder / "outputs/runs").experiments) == 1
    assert not (folder / "imported").exists()
    with pytest.raises(Refusal, match=r"augmentation\.operations\.0=own_ops:f: cannot be imported"):
        run(*SMALL, *tiny, own)  # named in a command: imported, and no longer what it was
    assert (folder / "imported").exists()
