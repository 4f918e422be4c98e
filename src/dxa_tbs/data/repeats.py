"""Which images of class folders look like repeats of one subject, by their names: a warning sign, no proof.

Names are compared within and across the class folders, whatever their suffix, letter case and Unicode form. Files look
like repeats if their names differ only in
    a mark of a copy or an augmentation     scan.png, copy of scan.png, scan (2).png; N10_aug1.jpg, N10_aug2.jpg
    a side, view, level, visit or date      p12_L.png, p12_R.png; 007_baseline.png, 007_2021-03-05.png
    a last number or letter                 12_1.png, 12_2.png; 12a.png, 12b.png; garcia_1.png, garcia_2.png
    the suffix                              p12.png, p12.jpg
or if they share a sub-folder, one of many small ones or a small one with a number in its name.
A running number is no repeat: IMG_0001.png, IMG_0002.png. Nor is a series: names that all files of a class folder begin
with (2023_001.png), a few large groups (site1_001.png ... site2_150.png), last numbers that never occur again
(F_65_0031.png). Numbers of centres and patients (01-001.png, 02-001.png) cannot be told from patients and images.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from dxa_tbs.data.names import plain_form

COPIES = {
    "copy", "copia", "copie", "kopie", "kopia", "duplicate", "dup", "original", "orig",
}  # fmt: skip
OF = {"of", "de", "von"}  # copy of ...
AUGMENTED = {
    "aug", "augm", "augmented", "augmentation", "flip", "flipped", "hflip", "vflip", "fliplr", "flipud", "mirror",
    "mirrored", "rot", "rotate", "rotated", "rotation", "crop", "cropped", "bright", "brightness", "dark", "darker",
    "contrast", "noise", "noisy", "blur", "blurred", "gamma", "zoom", "zoomed", "shift", "shifted",
}  # fmt: skip
NUMBERED = {
    "visit", "visita", "v", "t", "scan", "exam", "session", "ses", "rep", "repeat", "repeated", "rescan", "retest",
    "acq", "run", "slice", "frame", "view", "img", "image", "series", "level", "vertebra", "follow", "followup",
    "fu", "baseline", "bl", "pre", "post",
}  # fmt: skip
PLACED = {
    "l", "r", "left", "right", "lt", "rt", "izq", "izquierda", "izquierdo", "der", "derecha", "derecho", "links",
    "rechts", "ap", "pa", "lat", "lateral",
}  # fmt: skip
GENERAL = {  # words that name no person
    "img", "image", "images", "dsc", "dscn", "dscf", "pic", "picture", "photo", "scan", "screenshot", "capture",
    "fig", "figure", "file", "frame", "spine", "lumbar", "hip", "knee", "dxa", "dexa", "xray", "ray", "x", "bone",
    "normal", "degraded", "healthy", "osteoporosis", "osteopenia", "osteoporotic", "case", "patient", "subject",
    "sample", "id", "pat", "sub", "no", "nr", "number", "train", "test", "val", "valid", "original", "n", "d", "p",
    "s",
}  # fmt: skip
LARGE = 20  # images: more of one subject are not to be expected
FEW = 5  # groups
FEW_TO_RUN = 3  # groups, below which last numbers that are all different prove no running number
SMALL_FOLDER = 8  # files, below which a beginning that all share may still be a subject


_Group = tuple[tuple[str, ...], list[int]]  # what the names share, and which files they are of


@dataclass(frozen=True)
class _Name:
    """A file's name in parts.

    Attributes:
        label: its class folder.
        folder: the sub-folders it lies in, "" where in none.
        words: of the path from the class folder on, without suffix, in lower case; numbers are words, / is one too.
    """

    label: int
    folder: str
    words: tuple[str, ...]


@dataclass(frozen=True)
class _Cohort:
    """Attributes: names: of all files; sizes: how many of them each class folder holds."""

    names: Sequence[_Name]
    sizes: Counter[int]


def repeats(labels: Sequence[int], paths: Sequence[str]) -> list[list[int]]:
    """Return the groups of images, by their place in the lists, whose names look like repeats of one subject.

    Args:
        labels: the class folder of each image.
        paths: of the images, from their class folder on, parts separated by /.
    """
    names = [_parse(label, path) for label, path in zip(labels, paths, strict=True)]
    cohort = _Cohort(names, Counter(labels))
    found: list[list[int]] = []
    taken: set[int] = set()
    for rule in (_same_name, _copies, _marked, _numbered, _in_one_sub_folder):
        for group in rule(cohort):
            if not taken.issuperset(group):
                found.append(group)
                taken.update(group)
    return found


def _parse(label: int, path: str) -> _Name:
    pure = PurePosixPath(plain_form(path))
    words: list[str] = []
    for word in re.findall(r"\(\d+\)|[^\W_]+|/", pure.with_suffix("").as_posix()):
        attached = re.fullmatch(r"([^\W\d_]*\d+)([^\W\d_]+)(\d*)", word)  # N10aug1, 12L, 12a
        is_mark = attached and (attached[2] in COPIES | AUGMENTED | NUMBERED | PLACED or word[-1] in "abcd")
        if attached and is_mark and (len(attached[2]) > 1 or not attached[3]):
            words += [attached[1], attached[2] + attached[3]]
        else:
            words.append(word)
    parent = pure.parent.as_posix()
    return _Name(label, "" if parent == "." else parent, tuple(words))


def _same_name(cohort: _Cohort) -> Iterator[list[int]]:
    """Yield the files of one folder that differ in their suffix, or in characters that do not count, alone."""
    yield from (group for _, group in _grouped(cohort, lambda name: (str(name.label), *name.words)))


def _copies(cohort: _Cohort) -> Iterator[list[int]]:
    """Yield the files that a mark of a copy or an augmentation alone tells from each other."""
    for key, group in _grouped(cohort, lambda name: _without(name.words, _mark_of_copy)):
        are_originals = [cohort.names[row].words == key for row in group]
        is_series = not _has_number(key) and _is_share_of_class(0.5, group, cohort)
        if not all(are_originals) and (any(are_originals) or _may_be_a_subject(key)) and not is_series:
            yield group


def _marked(cohort: _Cohort) -> Iterator[list[int]]:
    """Yield the files that a side, a view, a visit or a date alone tells from each other."""
    groups = _grouped(cohort, lambda name: _without(_without(name.words, _mark_of_copy), _mark_of_place))
    yield from _without_series(groups, cohort)


def _numbered(cohort: _Cohort) -> Iterator[list[int]]:
    """Yield the files that a last number, or a last letter, alone tells from each other."""

    def subject(name: _Name) -> tuple[str, ...]:
        is_index = len(name.words) > 1 and re.fullmatch(r"\(\d+\)|\d{1,4}|[a-z]\d{0,2}", name.words[-1])
        return name.words[:-1] if is_index else ()

    groups = [(key, group) for key, group in _grouped(cohort, subject) if key]
    last = Counter(cohort.names[row].words[-1] for _, group in groups for row in group)
    least = FEW_TO_RUN if any(_has_number(key) for key, _ in groups) else 2
    is_running_number = len(groups) >= least and max(last.values()) == 1
    yield from () if is_running_number else _without_series(groups, cohort)


def _in_one_sub_folder(cohort: _Cohort) -> Iterator[list[int]]:
    """Yield the files of each sub-folder, where there are many small ones, or small ones with a number in the name."""
    groups = [(key, group) for key, group in _grouped(cohort, lambda name: (str(name.label), name.folder)) if key[1]]
    if not _are_large(groups):
        yield from (group for key, group in groups if len(groups) > FEW or re.search(r"\d", key[1]))


def _grouped(cohort: _Cohort, key: Callable[[_Name], tuple[str, ...]]) -> list[_Group]:
    """Return the files that share a key, those that differ in nothing but the class folder excepted."""
    groups = defaultdict(list)
    for row, name in enumerate(cohort.names):
        groups[key(name)].append(row)
    several = [(of, rows) for of, rows in groups.items() if len(rows) > 1]
    return [
        (of, rows)
        for of, rows in several
        if len({cohort.names[row].words for row in rows}) > 1 or len({cohort.names[row].label for row in rows}) == 1
    ]


def _without_series(groups: Sequence[_Group], cohort: _Cohort) -> Iterator[list[int]]:
    """Yield the groups whose key holds a number or may be a person's name, but for series of different subjects."""
    are_series = len(groups) <= FEW and _are_large(groups)
    for key, group in groups:
        if _has_number(key):
            is_series = are_series or _is_share_of_class(1.0, group, cohort)
        else:
            is_series = len(group) > LARGE or _is_share_of_class(0.5, group, cohort)
        if _may_be_a_subject(key) and not is_series:
            yield group


def _are_large(groups: Sequence[_Group]) -> bool:
    return sum(len(group) for _, group in groups) > LARGE * len(groups)


def _is_share_of_class(share: float, group: Sequence[int], cohort: _Cohort) -> bool:
    """Return whether a group makes up so much of some class folder, tiny folders left aside."""
    inside = Counter(cohort.names[row].label for row in group)
    return any(
        cohort.sizes[label] >= SMALL_FOLDER and count >= share * cohort.sizes[label] for label, count in inside.items()
    )


def _without(words: tuple[str, ...], mark: Callable[[Sequence[str], int], int]) -> tuple[str, ...]:
    """Return the words without marks; `mark` says how many words from a place on are one."""
    left, place = [], 0
    while place < len(words):
        if length := mark(words, place):
            place += length
        else:
            left.append(words[place])
            place += 1
    return tuple(left)


def _mark_of_copy(words: Sequence[str], place: int) -> int:
    following = words[place + 1] if place + 1 < len(words) else ""
    stem = words[place].rstrip("0123456789")
    if stem in COPIES:
        return 2 if following in OF or re.fullmatch(r"\(\d+\)|\d{1,2}", following) else 1
    if stem in AUGMENTED:
        return 2 if re.fullmatch(r"\d{1,4}", following) and words[place] == stem else 1
    return int(place == len(words) - 1 and re.fullmatch(r"\(\d+\)", words[place]) is not None)


def _mark_of_place(words: Sequence[str], place: int) -> int:
    following = words[place + 1] if place + 1 < len(words) else ""
    stem = words[place].rstrip("0123456789")
    is_numbered = words[place] != stem
    if length := _date(words, place):  # it tells visits apart if a subject stands before it, or alone behind it
        subject = words[:place] or [word for word in words[length:] if not word.isdigit()]
        return length if _has_number(subject) else 0
    if stem in PLACED and len(words[place]) - len(stem) <= 1:
        return 1
    if stem in NUMBERED and (place > 0 or (is_numbered and len(words) > 1)):
        return 2 if not is_numbered and re.fullmatch(r"\d{1,4}", following) else 1
    return 0


def _date(words: Sequence[str], place: int) -> int:
    """Return how many words from a place on are a date, with the time of day behind it: 0 to 4."""
    text = "-".join(words[place : place + 3])
    days = re.match(r"(19|20)\d\d(0\d|1[0-2])[0-3]\d(?!\d)", text)
    parts = re.match(r"(19|20)\d\d-(0?\d|1[0-2])-[0-3]?\d(?!\d)|[0-3]?\d-(0?\d|1[0-2])-(19|20)\d\d(?!\d)", text)
    length = 1 if days else 3 if parts else 0
    has_time = (
        length and place + length < len(words) and re.fullmatch(r"[0-2]\d[0-5]\d([0-5]\d)?", words[place + length])
    )
    return length + bool(has_time)


def _has_number(words: Sequence[str]) -> bool:
    """Return whether a number is among the words that is no date and no year."""
    left = _without(tuple(words), _date)
    return any(re.search(r"\d", word) and not re.fullmatch(r"(19|20)\d\d", word) for word in left)


def _may_be_a_subject(words: Sequence[str]) -> bool:
    """Return whether the words hold a number, or a word that may be a person's name."""
    return _has_number(words) or any(len(word) > 1 and word.isalpha() and word not in GENERAL for word in words)
