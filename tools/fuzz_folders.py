"""Builds folders in every layout, and holds how they are understood against a plain reading.

``python tools/fuzz_folders.py --count 2000`` draws layouts: splits and classes in folders of many
names, nested, in any letter case, with what systems add, with links and without rights. Each is
understood by ``benchharness.data.layout`` and by the rules of docs/data.md as they are written down
here once more, slowly and with nothing shared. Both must find the same classes, splits and
pictures, or both refuse; and every picture is used, left out with a reason that is printed, or part
of a folder that is refused.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from benchharness.data.layout import Layout, read_layout
from benchharness.errors import DatasetError

NOBODY = 65534
PICTURES = (".jpg", ".jpeg", ".jpe", ".jfif", ".pjpeg", ".pjp", ".png", ".bmp", ".gif", ".webp",
            ".tif", ".tiff")  # fmt: skip
TRAIN = ["train", "training", "trainval"]
TEST = ["test", "testing", "holdout", "evaluation", "eval", "validation", "val", "valid", "dev",
        "development"]  # fmt: skip
PARTS = ["fold", "part", "batch", "chunk", "shard", "split", "subset"]
CONTENT = ["image", "images", "img", "imgs", "picture", "pictures", "pics", "photo", "photos",
           "jpg", "jpegimages", "data", "dataset", "datasets", "set", "files", "folder", "raw",
           "archive"]  # fmt: skip
BESIDE = ["mask", "masks", "label", "labels", "annotation", "annotations", "segmentation",
          "segmentations", "segmentationclass", "bbox", "bboxes", "boxes", "gt", "csv", "xml",
          "json"]  # fmt: skip
SYSTEM = ["@eadir", "@tmp", "@recycle", "@recently-snapshot", "@__thumb", "#recycle", "#snapshot",
          "~snapshot", "$recycle.bin", "recycler", "system volume information", "lost+found",
          "__macosx", "__pycache__", "thumbnails", "_thumbnails", "_thumbs",
          "network trash folder", "temporary items"]  # fmt: skip


class RefusedError(Exception):
    """The plain reading does not understand a folder."""


@dataclass
class Observation:
    """What the plain reading finds: pictures by class, and by the reason why they are left out."""

    train: dict[str, set[str]]
    test: dict[str, set[str]] | None
    left_out: dict[str, set[str]] = field(default_factory=dict)


@dataclass
class Folders:
    """All folders that are read: those inside each, and its pictures; None where it is closed."""

    inside: dict[str, list[str]] = field(default_factory=dict)
    pictures: dict[str, list[str] | None] = field(default_factory=dict)
    hidden: set[str] = field(default_factory=set)

    def below(self, path: str) -> set[str]:
        """Return the pictures in a folder and below it."""
        found = set(self.pictures[path] or [])
        for folder in self.inside[path]:
            found |= self.below(folder)
        return found

    def may_hold(self, path: str) -> bool:
        """Return whether a folder has pictures, or one in it cannot be read."""
        closed = self.pictures[path] is None
        return closed or bool(self.pictures[path]) or any(map(self.may_hold, self.inside[path]))


def plain(root: str) -> Observation:
    """Read a folder by the rules, one after the other.

    Raises:
        RefusedError: The rules do not admit it.
    """
    folders = read_folders(root)
    top = top_of(folders, root)
    train, candidates, classes = training_of(folders, top)
    if folders.pictures[train] is None or any(folders.pictures[path] is None for path in classes):
        raise RefusedError("closed")
    learnt = labelled(folders, train, classes)
    if len(learnt) < 2 and len(classes) < 2:
        raise RefusedError("no two classes")
    if names_of_splits(folders, classes):
        raise RefusedError("splits")
    names = [base(path) for path in classes] or list(learnt)
    if len({name.casefold() for name in names}) < len(names) or not all(learnt.values()):
        raise RefusedError("alike or empty")
    tested, chosen = None, None
    for candidate in candidates:
        place = bottom_of(folders, candidate)
        if folders.pictures[candidate] is None or folders.pictures[place] is None:
            raise RefusedError("closed")
        found = labelled(folders, place, folders.inside[place])
        if {name.casefold() for name in found} & {name.casefold() for name in learnt}:
            tested, chosen = found, candidate
            break
    if tested is not None and chosen is not None:
        place = bottom_of(folders, chosen)
        is_flat = not any(base(path) in tested for path in folders.inside[place])
        inside = [] if is_flat else folders.inside[place]
        if any(folders.pictures[path] is None for path in inside):
            raise RefusedError("closed")
        if len({base(path).casefold() for path in inside}) < len(inside) or not all(
            tested.values()
        ):
            raise RefusedError("alike or empty")
        spelt = {name.casefold(): name for name in learnt}
        tested = {spelt.get(name.casefold(), name): found for name, found in tested.items()}
        if set(tested) != set(learnt):
            raise RefusedError("other classes")
    reading = Observation(train=learnt, test=tested)
    left = reading.left_out
    left["hidden"] = folders.hidden
    left["unlabelled"], left["split"] = set(), set()
    known = {name.casefold() for name in learnt}
    for candidate in candidates:
        if candidate != chosen:
            place = bottom_of(folders, candidate)
            found = labelled(folders, place, folders.inside[place])
            kind = "split" if {name.casefold() for name in found} & known else "unlabelled"
            left[kind] |= folders.below(candidate)
    seen = set().union(*learnt.values(), *(tested or {}).values(), left["split"])
    left["stray"] = folders.below(root) - seen - left["unlabelled"]
    return reading


def read_folders(root: str) -> Folders:
    """Read every folder once: first those that are there, then what links lead to, by their path.

    What was read, and a folder above the root, is not read again.
    """
    found, links = Folders(), []
    real = os.path.realpath(root)
    claimed = {real}

    def read(path: str) -> None:
        found.inside[path], found.pictures[path] = [], None
        try:
            names = os.listdir(path)
        except OSError:
            return
        pictures = []
        for name in sorted(names):
            full = os.path.join(path, name)
            if is_system(name):
                found.hidden |= hidden_pictures(full)
            elif os.path.isdir(full) and os.path.islink(full):
                links.append((full, path))
            elif os.path.isdir(full):
                if os.path.realpath(full) not in claimed:
                    claimed.add(os.path.realpath(full))
                    found.inside[path].append(full)
                    read(full)
            elif os.path.splitext(name)[1].lower() in PICTURES:
                pictures.append(full)
        found.pictures[path] = pictures

    read(root)
    while links:
        links.sort()
        full, parent = links.pop(0)
        target = os.path.realpath(full)
        if target not in claimed and not (real + "/").startswith(target + "/"):
            claimed.add(target)
            found.inside[parent].append(full)
            found.inside[parent].sort()
            read(full)
    return found


def hidden_pictures(path: str) -> set[str]:
    """Return the pictures at or below a hidden path; nothing behind a link to a folder."""
    if not os.path.isdir(path):
        return {path} if os.path.splitext(path)[1].lower() in PICTURES else set()
    if os.path.islink(path):
        return set()
    try:
        names = os.listdir(path)
    except OSError:
        return set()
    found: set[str] = set()
    for name in names:
        full = os.path.join(path, name)
        if os.path.isdir(full):
            found |= hidden_pictures(full)
        elif os.path.splitext(name)[1].lower() in PICTURES:
            found.add(full)
    return found


def is_system(name: str) -> bool:
    """Return whether a name is hidden, or a system's."""
    small = name.lower()
    is_recovered = small.startswith("found.") and len(small) == 9 and small[6:].isdigit()
    return small[0] == "." or small in SYSTEM or is_recovered


def base(path: str) -> str:
    """Return the last name of a path."""
    return os.path.basename(path)


def words_of(name: str) -> list[str]:
    """Return the words of a name, letter by letter."""
    spaced = ""
    for place, letter in enumerate(name):
        if place and letter in "ABCDEFGHIJKLMNOPQRSTUVWXYZ" and name[place - 1].islower():
            spaced += " "
        spaced += letter.lower() if letter.isalpha() else " "
    spaced = spaced.replace("hold out", "holdout")
    words = []
    for word in spaced.split():
        pair = [
            (split, content)
            for split in TRAIN + TEST
            for content in CONTENT
            if word == split + content
        ]
        words += pair[0] if pair else (word,)
    return words


def role_of(name: str) -> tuple[str, list[str]]:
    """Return what a name says that a folder is, and the words that say nothing of it."""
    words = words_of(name)
    rest = [word for word in words if word not in TRAIN + TEST + PARTS + CONTENT + BESIDE]
    for role, known in (("train", TRAIN), ("test", TEST), ("part", PARTS)):
        if any(word in known for word in words):
            return role, rest
    return ("content" if any(word in CONTENT + BESIDE for word in words) else ""), rest


def rank(name: str, known: list[str]) -> tuple[int, str]:
    """Return the place in which a split's folder is taken."""
    return min((known.index(word) for word in words_of(name) if word in known), default=99), name


def sole(folders: Folders, path: str) -> str | None:
    """Return the only folder with pictures, where there is nothing else."""
    holding = [inner for inner in folders.inside[path] if folders.may_hold(inner)]
    return holding[0] if len(holding) == 1 and not folders.pictures[path] else None


def bottom_of(folders: Folders, path: str) -> str:
    """Return the folder below all that only wrap it."""
    child = sole(folders, path)
    while child and (
        role_of(base(child))[0] in ("train", "content")
        or base(child).casefold() == base(path).casefold()
    ):
        path, child = child, sole(folders, child)
    return path


def top_of(folders: Folders, root: str) -> str:
    """Return the folder of the splits, or else of the classes."""
    place: str | None = root
    while place:
        if training_among(folders, place):
            return place
        place = sole(folders, place)
    return bottom_of(folders, root)


def training_among(folders: Folders, path: str) -> str | None:
    """Return the training folder in a folder of splits; None in any other."""
    splits = [
        split for split in folders.inside[path] if role_of(base(split))[0] in ("train", "test")
    ]
    for rest in sorted({tuple(role_of(base(split))[1]) for split in splits}):
        family = [split for split in splits if tuple(role_of(base(split))[1]) == rest]
        trains = [split for split in family if role_of(base(split))[0] == "train"]
        if not trains:
            continue
        best = min(trains, key=lambda split: rank(base(split), TRAIN))
        place = bottom_of(folders, best)
        named = by_name(folders.pictures[place] or [])
        if len(family) > len(trains):
            return best
        if not rest and (len(folders.inside[place]) > 1 or len(named) > 1):
            return best
    return None


def training_of(folders: Folders, top: str) -> tuple[str, list[str], list[str]]:
    """Return where the training's classes are, the candidates for the test, and the classes."""
    training = training_among(folders, top)
    rest = role_of(base(training))[1] if training else []
    candidates = [inner for inner in folders.inside[top] if role_of(base(inner)) == ("test", rest)]
    candidates.sort(key=lambda inner: rank(base(inner), TEST))
    if training:
        place = bottom_of(folders, training)
        if folders.pictures[training] is None:
            raise RefusedError("closed")
        classes = folders.inside[place]
    elif (
        candidates
        and len(candidates) == len(folders.inside[top])
        and len(by_name(folders.pictures[top] or [])) < 2
    ):
        place, classes, candidates = bottom_of(folders, top), [], []
        classes = folders.inside[place]
    else:
        place = top
        classes = [inner for inner in folders.inside[top] if inner not in candidates]
    named = by_name(folders.pictures[place] or [])
    if len(classes) < 2 and len(named) > 1:
        classes = []
    return place, candidates, classes


def by_name(pictures: list[str]) -> dict[str, set[str]]:
    """Return pictures named like cat.0.jpg by class."""
    found: dict[str, set[str]] = {}
    for path in pictures:
        match = re.fullmatch(r"([^.].*)\.\d+\.[a-zA-Z]+", base(path))
        if match:
            found.setdefault(match[1], set()).add(path)
    return found


def labelled(folders: Folders, place: str, classes: list[str]) -> dict[str, set[str]]:
    """Return the pictures of a split by class."""
    named = by_name(folders.pictures[place] or [])
    if len(classes) < 2 and len(named) > 1:
        return named
    return {base(path): folders.below(path) for path in classes}


def names_of_splits(folders: Folders, classes: list[str]) -> bool:
    """Return whether what would be classes are splits, parts or contents."""
    roles = [role_of(base(path)) for path in classes]
    if not roles:
        return False
    is_one_family = all(rest == roles[0][1] for _, rest in roles)
    if is_one_family and all(role for role, _ in roles) and any(r != "part" for r, _ in roles):
        return True
    if not any(role in ("train", "test", "part") for role, _ in roles):
        return False
    if any(folders.pictures[path] for path in classes):
        return False
    insides = [{base(x) for x in folders.inside[path] if folders.may_hold(x)} for path in classes]
    return len(set.intersection(*insides)) > 1


CASES: tuple[Callable[[str], str], ...] = (str.lower, str.upper, str.title, str)
FAMILIES = (
    ("train", "test"), ("training_set", "test_set"), ("Training", "Testing"), ("train", "valid"),
    ("seg_train", "seg_test"), ("train", "val"), ("train", "dev"), ("train", "eval"),
    ("train", "test1"), ("train", "hold-out"), ("train_images", "test_images"),
    ("trainset", "testset"), ("TrainData", "TestData"), ("asl_alphabet_train", "asl_alphabet_test"),
    ("train", "evaluation"), ("train_another", "test_another"), ("train", "validation"),
)  # fmt: skip
CLASS_NAMES = (
    "cats", "dogs", "n01440764", "0", "1", "with_mask", "without_mask", "train", "steam_train",
    "test_tube", "Hündchen", "猫", "raw", "cooked", "masks", "images", "rps", "rps-test", "part1",
    "part2", "plane",
)  # fmt: skip
WRAPPERS = ("archive", "ProjectX", "Images", "data", "flower_photos", "PetImages")


class Builder:
    """Draws one layout and writes it, with empty files for pictures."""

    def __init__(self, root: Path, draw: random.Random) -> None:
        self.root, self.draw = root, draw
        self.folders: list[Path] = []
        self.closed: list[Path] = []

    def build(self) -> None:
        """Write the layout."""
        draw, place = self.draw, self.root
        self.folder(place)
        for _ in range(draw.choice((0, 0, 0, 1, 1, 2))):
            place = self.folder(place / draw.choice((*WRAPPERS, place.name)))
        names = draw.sample(CLASS_NAMES, draw.choice((1, *(2,) * 6, 3, 3, 4)))
        shape = draw.choice(("splits", "splits", "splits", "classes", "flat", "parts"))
        if shape == "classes":
            self.classes(place, names)
            if draw.random() < 0.3:
                self.split(self.folder(place / draw.choice(("test", "val", "Test1"))), names)
        elif shape == "flat":
            self.flat(place, names)
        elif shape == "parts":
            for name in draw.sample(("fold1", "fold2", "2019", "2020", "part_a", "train"), 2):
                self.classes(self.folder(place / name), names)
        else:
            family = (*draw.choice(FAMILIES), *draw.sample(("valid", "test", "extra", "dev"), 2))
            change = draw.choice(CASES)
            for number, name in enumerate(family[: draw.choice((1, 2, 2, 2, 3, 4))]):
                is_training = number == 0 and draw.random() < 0.9
                self.split(self.folder(place / change(name)), names, is_training=is_training)
        self.add_system()
        self.add_strays()
        self.add_links()
        self.close_some()

    def folder(self, path: Path) -> Path:
        """Make a folder."""
        path.mkdir(exist_ok=True)
        self.folders.append(path)
        return path

    def fill(self, path: Path, *, most: int = 4) -> None:
        """Put pictures into a folder, and sometimes what is none."""
        suffixes = (".jpg", ".png", ".JPG", ".jfif", ".jpe", ".heic", ".txt")
        for number in range(self.draw.randrange(most)):
            (path / f"IMG_{number}{self.draw.choice(suffixes)}").touch()

    def split(self, path: Path, names: list[str], *, is_training: bool = False) -> None:
        """Fill a split: with classes, with files named by class, or without labels."""
        draw = self.draw
        inner = (path.name, "images") if is_training else (path.name, "images", "inner")
        for _ in range(draw.choice((0, 0, 0, 1, 1, 2))):
            path = self.folder(path / draw.choice(inner))
        without = () if is_training else ("unlabelled", "unknown", "nothing")
        shape = draw.choice(("classes",) * 6 + ("flat", *without))
        if shape == "classes":
            self.classes(path, names)
        elif shape == "flat":
            self.flat(path, names)
        elif shape == "unlabelled":
            self.fill(path)
        elif shape == "unknown":
            self.fill(self.folder(path / "unknown"))

    def classes(self, path: Path, names: list[str]) -> None:
        """Make class folders; seldom one more, one less, one twice or one empty."""
        draw = self.draw
        chosen = [name for name in names if draw.random() > 0.02]
        if draw.random() < 0.04:
            chosen.append(draw.choice((draw.choice(names).upper(), "extra class", "Wolves")))
        for name in chosen:
            place = self.folder(path / (name.title() if draw.random() < 0.04 else name))
            if draw.random() > 0.02:
                (place / "first.jpg").touch()
                self.fill(place)
            for inner in draw.sample(("images", "masks", "2019", "old"), draw.choice((0, 0, 0, 2))):
                self.fill(self.folder(place / inner))

    def flat(self, path: Path, names: list[str]) -> None:
        """Write files named by class, and sometimes others."""
        for name in names:
            for number in range(self.draw.choice((0, 2, 3))):
                (path / f"{name}.{number}.jpg").touch()
        self.fill(path, most=2)

    def add_system(self) -> None:
        """Put in what a system does."""
        for _ in range(self.draw.choice((0, 0, 1, 3))):
            place = self.draw.choice(self.folders)
            name = self.draw.choice((*SYSTEM, ".cache", ".thumbnails", "FOUND.000"))
            inner = place / self.draw.choice((str.upper, str.title, str))(name) / "cat.jpg"
            inner.mkdir(parents=True, exist_ok=True)
            (inner / "SYNOPHOTO_THUMB_M.jpg").touch()
            (place / "._IMG_0.jpg").touch()
            (place / "Thumbs.db").touch()

    def add_strays(self) -> None:
        """Put pictures and folders where none belong."""
        draw = self.draw
        for _ in range(draw.choice((0, 0, 0, 1, 2))):
            place = draw.choice(self.folders)
            if draw.random() < 0.5:
                (place / "stray.png").touch()
            else:
                self.fill(self.folder(place / draw.choice(("docs", "labels", "code", "rest"))))

    def add_links(self) -> None:
        """Link folders: outside, inside, in circles, to nothing."""
        draw = self.draw
        outside = self.root.parent / "store"
        for number in range(draw.choice((0, 0, 0, 1, 3))):
            wild = outside / f"wild{draw.randrange(2)}"
            wild.mkdir(parents=True, exist_ok=True)
            (wild / "far.jpg").touch()
            if draw.random() < 0.3 and not (wild / "back").is_symlink():
                (wild / "back").symlink_to(draw.choice((wild, outside)))
            target = draw.choice((wild, wild, outside, self.root, self.root.parent,
                                  draw.choice(self.folders), self.root / "gone"))  # fmt: skip
            link = draw.choice(self.folders) / draw.choice((f"linked{number}", "wolves", "test"))
            if not link.exists() and not link.is_symlink():
                link.symlink_to(target)

    def close_some(self) -> None:
        """Take away the right to read a folder."""
        if self.draw.random() < 0.15:
            self.closed.append(self.draw.choice(self.folders))
            self.closed[-1].chmod(0)


@contextmanager
def without_rights() -> Iterator[None]:
    """Read as nobody in particular, where root would read everything."""
    is_root = os.geteuid() == 0
    if is_root:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        if is_root:
            os.seteuid(0)


def differences(root: Path) -> tuple[list[str], Counter[str]]:
    """Return in what the two readings differ, and how many pictures have which fate."""
    with without_rights():
        try:
            found: Layout | str = read_layout(root)
        except DatasetError as error:
            found = str(error)
        try:
            expected: Observation | str = plain(str(root))
        except RefusedError as error:
            expected = str(error)
        every = read_folders(str(root))
        pictures = every.below(str(root)) | every.hidden
    if isinstance(found, str) or isinstance(expected, str):
        if isinstance(found, str) and isinstance(expected, str):
            return [], Counter({"refused": len(pictures)})
        return [f"understood as {found}, plainly {expected}"], Counter()
    return list(_differences(found, expected, pictures)), Counter(
        used=sum(map(len, (*found.train.values(), *(found.test or {}).values()))),
        left_out=sum(map(len, found.left_out.values())),
    )


def _differences(found: Layout, expected: Observation, pictures: set[str]) -> Iterator[str]:
    for name in ("train", "test"):
        index, plainly = getattr(found, name), getattr(expected, name)
        as_read = None if index is None else {k: set(map(str, v)) for k, v in index.items()}
        if as_read != plainly:
            yield f"{name}: {as_read}, plainly {plainly}"
    for reason, plainly in expected.left_out.items():
        as_read = set(map(str, found.left_out.get(reason, ())))
        if as_read != plainly:
            yield f"{reason}: {as_read}, plainly {plainly}"
    indexes = (found.train, found.test or {}, found.left_out)
    fates = Counter(str(file) for index in indexes for files in index.values() for file in files)
    if set(fates) != pictures:
        yield f"unaccounted: {pictures ^ set(fates)}"
    if twice := [file for file, count in fates.items() if count > 1]:
        yield f"more than one fate: {twice}"
    printed = sum(
        int(count.replace(",", ""))
        for note in found.notes
        for count in re.findall(r"^not read: ([0-9,]+) pictures? (?!to be converted)", note)
    )
    left = sum(map(len, found.left_out.values()))
    if printed != left:
        yield f"{left} pictures are left out, {printed} in what is printed: {found.notes}"


def check(count: int, *, seed: int, tell: Callable[[str], object] = print) -> Counter[str]:
    """Build and read ``count`` layouts; return how many pictures had which fate, and failures."""
    total: Counter[str] = Counter()
    for number in range(count):
        with tempfile.TemporaryDirectory(prefix="folders-") as place:
            Path(place).chmod(0o755)
            builder = Builder(Path(place, "photos"), random.Random(f"{seed}-{number}"))
            try:
                builder.build()
                problems, fates = differences(builder.root)
            finally:
                for path in builder.closed:
                    path.chmod(0o755)
            total += fates
            total["refused folders" if fates["refused"] else "understood folders"] += 1
            total["failures"] += bool(problems)
            for problem in problems:
                tell(f"layout {seed}-{number}: {problem}")
                for path in sorted(builder.root.rglob("*")):
                    tell(f"    {path.relative_to(builder.root)}")
    return total


def main() -> int:
    """Check as many layouts as are asked for; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    total = check(arguments.count, seed=arguments.seed)
    print(
        f"{arguments.count:,} layouts: {total['understood folders']:,} understood, "
        f"{total['refused folders']:,} refused; pictures: {total['used']:,} used, "
        f"{total['left_out']:,} left out with a printed reason, {total['refused']:,} in refused "
        f"folders; {total['failures']:,} layouts read in two ways or with a picture unaccounted"
    )
    return 1 if total["failures"] else 0


if __name__ == "__main__":
    sys.exit(main())
