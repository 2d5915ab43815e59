"""Layout of a folder of pictures: its splits, its classes, and what is neither.

docs/data.md has the rules as a table.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Literal

from benchharness.data.images import FOREIGN, SUFFIXES
from benchharness.data.tree import Node, Tree, class_folders, display_name, read_tree
from benchharness.download.manifest import MANIFEST
from benchharness.errors import DatasetError

Index = Mapping[str, tuple[Path, ...]]
Role = Literal["train", "test", "part", "content"]

# The first of them that is there is taken.
_TRAIN = ("train", "training", "trainval")
_TEST = (
    "test", "testing", "holdout", "evaluation", "eval", "validation", "val", "valid", "dev",
    "development",
)  # fmt: skip
_PARTS = frozenset({"fold", "part", "batch", "chunk", "shard", "split", "subset"})
# What is in a folder, whichever class it has.
_CONTENT = frozenset(
    {
        "image", "images", "img", "imgs", "picture", "pictures", "pics", "photo", "photos", "jpg",
        "jpegimages", "data", "dataset", "datasets", "set", "files", "folder", "raw", "archive",
    }
)  # fmt: skip
_BESIDE_IMAGES = frozenset(
    {
        "mask", "masks", "label", "labels", "annotation", "annotations", "segmentation",
        "segmentations", "segmentationclass", "bbox", "bboxes", "boxes", "gt", "csv", "xml", "json",
    }
)  # fmt: skip
_GLUED = re.compile(rf"({'|'.join((*_TRAIN, *_TEST))})({'|'.join(sorted(_CONTENT))})")
_NAMED_BY_CLASS = re.compile(r"(?P<label>[^.].*)\.[0-9]+\.[A-Za-z]+")
_SHOWN = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """A folder, understood.

    Attributes:
        place: Where its splits or classes are; the folder itself, or one below.
        train: Pictures by class. Classes are sorted by name, files by the numbers in their names.
        test: The same classes; None where the folder has no test set.
        splits: Names of the training and of the test folder, as far as there are any.
        is_flat: Whether the names of the files tell the classes.
        left_out: Pictures of no split, by reason.
        notes: What was left out and why, and what else is worth a word, a sentence each.
    """

    place: Path
    train: Index
    test: Index | None
    splits: tuple[str, ...]
    is_flat: bool
    left_out: Mapping[str, tuple[Path, ...]]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Split:
    """A folder with the pictures of a split.

    Attributes:
        bottom: Where its classes are: the folder, or one below.
        classes: Their folders; none where the names of the files tell.
        index: Pictures by class, by display name; perhaps none.
    """

    folder: Node
    bottom: Node
    classes: tuple[Node, ...]
    index: Index


def read_layout(path: Path) -> Layout:
    """Return the layout of a folder.

    Raises:
        DatasetError: It has fewer than two classes, or an empty one, its splits have different
            classes, or its folders seem to be splits and no classes; or one that is needed cannot
            be read.
    """
    if not path.is_dir():
        raise DatasetError(f"{path}: expected a folder of classes, found none")
    tree = read_tree(path)
    top = _top(tree.root)
    train, candidates = _splits(top)
    _require_classes(train)
    tests = [_split(folder) for folder in candidates]
    test = _labelled(tests, train)
    if test is not None:
        _require_whole(test)
        test = _renamed(test, like=train)
        _require_same_classes(train, test)
    left_out = _left_out(tree, train=train, test=test, tests=tests)
    splits = [split for split in (train, test) if split and split.folder is not top]
    return Layout(
        place=top.path,
        train=train.index,
        test=test.index if test else None,
        splits=tuple(split.folder.name for split in splits),
        is_flat=not train.classes,
        left_out={reason: tuple(files) for reason, files in left_out.items() if files},
        notes=tuple(_notes(tree, left_out, train=train, test=test)),
    )


def places(path: Path) -> Iterator[Path]:
    """Yield the folder, and those in it that may hold the classes, by the names of folders alone.

    Quick in a folder of any size, of which nobody knows yet whether it is a dataset.
    """
    place: Path | None = path
    while place is not None:
        yield place
        folders = class_folders(place)
        trains = [name for name in folders if role(name)[0] == "train"]
        if len(folders) == 1 and _is_wrapper(folders[0], place.name):
            trains = folders
        best = min(trains, key=lambda name: _order(name, _TRAIN), default=None)
        place = place / best if best is not None else None


def by_name(pictures: Iterable[Path]) -> dict[str, tuple[Path, ...]]:
    """Return the pictures whose names tell a class, as in cat.0.jpg, by class and number."""
    index: dict[str, list[Path]] = {}
    for file in sorted(pictures, key=natural):
        if match := _NAMED_BY_CLASS.fullmatch(file.name):
            index.setdefault(match["label"], []).append(file)
    return {name: tuple(index[name]) for name in sorted(index)}


def natural(path: Path) -> tuple[list[str | int], str]:
    """Return a sorting key that puts cat.2 before cat.10."""
    parts = re.split(r"([0-9]+)", path.name)
    return [int(part) if place % 2 else part for place, part in enumerate(parts)], path.name


def role(name: str) -> tuple[Role | None, tuple[str, ...]]:
    """Return what the name of a folder says that it is, and the words that say nothing of it.

    ``training_set`` and ``TrainImages`` are for training, as ``seg_train`` is, with the word
    ``seg``. None for what may be a class.
    """
    words = _words(name)
    splits = [word for word in words if word in _TRAIN or word in _TEST]
    known = {*_TRAIN, *_TEST, *_PARTS, *_CONTENT, *_BESIDE_IMAGES}
    rest = tuple(word for word in words if word not in known)
    if splits:
        return ("train" if any(word in _TRAIN for word in splits) else "test"), rest
    if any(word in _PARTS for word in words):
        return "part", rest
    if any(word in _CONTENT or word in _BESIDE_IMAGES for word in words):
        return "content", rest
    return None, rest


def _words(name: str) -> list[str]:
    """Return the words of a name, in small letters; those that are written together, apart."""
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower()
    spaced = re.sub(r"hold[^a-z0-9]?out", "holdout", spaced)
    words: list[str] = []
    for word in re.findall(r"[^\W\d_]+", spaced):
        match = _GLUED.fullmatch(word)
        words += match.groups() if match else [word]
    return words


def _order(name: str, words: Sequence[str]) -> tuple[int, str]:
    """Return the sorting key of split folders: the word that comes first in ``words``."""
    own = _words(name)
    return min(place for place, word in enumerate((*words, "")) if word in (*own, "")), name


def _key(name: str) -> str:
    """Return what two spellings of one class have in common."""
    return display_name(name).casefold()


def _is_wrapper(name: str, parent: str) -> bool:
    """Return whether a sole folder is no class: called for its content, or as the one above."""
    return role(name)[0] in ("train", "content") or name.casefold() == parent.casefold()


def _sole(node: Node) -> Node | None:
    """Return the only folder with pictures in a folder that has no pictures beside it."""
    holding = [folder for folder in node.folders if folder.may_hold_pictures()]
    return holding[0] if len(holding) == 1 and not node.pictures else None


def _bottom(node: Node) -> Node:
    """Return where the classes of a split are: in it, or in folders that only wrap them."""
    while (child := _sole(node)) is not None and _is_wrapper(child.name, node.name):
        node = child
    return node


def _top(root: Node) -> Node:
    """Return where the splits are, however deep in folders that hold nothing else."""
    node: Node | None = root
    while node is not None:
        if _training(node) is not None:
            return node
        node = _sole(node)
    return _bottom(root)


def _training(node: Node) -> Node | None:
    """Return the training folder among the folders of a folder, if they are splits."""
    families: dict[tuple[str, ...], list[Node]] = {}
    for folder in node.folders:
        kind, rest = role(folder.name)
        if kind in ("train", "test"):
            families.setdefault(rest, []).append(folder)
    for rest in sorted(families):
        trains = [folder for folder in families[rest] if role(folder.name)[0] == "train"]
        trains.sort(key=lambda folder: _order(folder.name, _TRAIN))
        has_tests = len(trains) < len(families[rest])
        if trains and (has_tests or (not rest and _has_classes(trains[0]))):
            return trains[0]
    return None


def _has_classes(folder: Node) -> bool:
    bottom = _bottom(folder)
    return len(bottom.folders) > 1 or len(by_name(bottom.pictures)) > 1


def _splits(top: Node) -> tuple[_Split, list[Node]]:
    """Return the training split, and the folders that may be the test's, the best first."""
    training = _training(top)
    words = () if training is None else role(training.name)[1]
    candidates = sorted(
        (folder for folder in top.folders if role(folder.name) == ("test", words)),
        key=lambda folder: _order(folder.name, _TEST),
    )
    if training is not None:
        return _split(training), candidates
    if len(candidates) == len(top.folders) and len(by_name(top.pictures)) < 2:
        # There is nothing else, and so they will be refused.
        return _split(top), []
    return _split(top, without=candidates), candidates


def _split(folder: Node, *, without: Sequence[Node] = ()) -> _Split:
    bottom = folder if without else _bottom(folder)
    classes = tuple(node for node in bottom.folders if node not in without)
    named = by_name(bottom.pictures)
    if len(classes) < 2 and len(named) > 1:
        return _Split(
            folder=folder,
            bottom=bottom,
            classes=(),
            index={display_name(name): files for name, files in named.items()},
        )
    index = {
        node.label: tuple(sorted(node.all_pictures(), key=_place_in(node.path)))
        # By the name as it is read: two splits may write the same accent in two ways.
        for node in sorted(classes, key=lambda node: node.label)
    }
    return _Split(folder=folder, bottom=bottom, classes=classes, index=index)


def _place_in(folder: Path) -> Callable[[Path], list[tuple[list[str | int], str]]]:
    """Return the sorting key of files in a folder and in the folders inside."""
    return lambda file: [natural(Path(part)) for part in file.relative_to(folder).parts]


def _require_classes(train: _Split) -> None:
    """Refuse what cannot be learnt from.

    Raises:
        DatasetError: There are not two classes, or they are none.
    """
    if blind := _first_obstacle(train):
        raise _unreadable(blind)
    if len(train.classes) < 2 and len(train.index) < 2:
        raise DatasetError(_no_classes(train))
    _require_no_splits(train)
    _require_whole(train)


def _require_no_splits(train: _Split) -> None:
    place, names = train.bottom.path, [node.name for node in train.classes]
    counts = ", ".join(f"{node.label} ({_count(node)})" for node in train.classes)
    roles = set(map(role, names))
    kinds = {kind for kind, _ in roles}
    if kinds and None not in kinds and kinds != {"part"} and len({rest for _, rest in roles}) == 1:
        raise DatasetError(
            f"{place}: expected class folders, found names of splits or of contents: {counts}; "
            "put the pictures of each class into a folder of its name, in train and in test"
            f"{_table_hint(train.bottom)}{_deeper_hint(train.classes)}"
        )
    insides = [
        {inner.name for inner in node.folders if inner.may_hold_pictures()}
        for node in train.classes
        if not node.pictures
    ]
    same = set.intersection(*insides) if len(insides) == len(names) and insides else set()
    if len(same) > 1 and kinds & {"train", "test", "part"}:
        raise DatasetError(
            f"{place}: expected class folders, found folders that seem to be parts of a dataset: "
            f"{counts}, each with {', '.join(sorted(map(display_name, same)))}; call them train "
            f"and test, or name one of them{_deeper_hint(train.classes)}"
        )


def _require_whole(split: _Split) -> None:
    """Refuse a split with classes that read alike, that are empty, or that cannot be read."""
    place = split.bottom.path
    if blind := _first_obstacle(split):
        raise _unreadable(blind)
    names = [node.name for node in split.classes] or list(split.index)
    alike = [name for name, count in Counter(map(_key, names)).items() if count > 1]
    if alike:
        twins = ", ".join(display_name(name) for name in names if _key(name) in alike)
        raise DatasetError(
            f"{place}: expected different class names, found some that read alike: {twins}; "
            "merge or rename them"
        )
    if empty := [_of_other_formats(node) for node in split.classes if not node.all_pictures()]:
        raise DatasetError(
            f"{place}: expected images in every class folder, found none in {', '.join(empty)}; "
            f"add images ({', '.join(sorted(SUFFIXES))}) or remove the folder"
        )


def _of_other_formats(node: Node) -> str:
    """Return the name of a class without pictures, and what there is in their place."""
    kinds = Counter(FOREIGN[file.suffix.lower()] for inner in node.walk() for file in inner.foreign)
    return node.label + (f" but {_listed(kinds)}" if kinds else "")


def _require_same_classes(train: _Split, test: _Split) -> None:
    for here, there in ((train, test), (test, train)):
        missing = sorted(set(here.index) - set(there.index))
        if missing:
            raise DatasetError(
                f"{there.folder.path}: expected the same classes as in the other split, "
                f"found none named {', '.join(missing)}"
            )


def _labelled(tests: Sequence[_Split], train: _Split) -> _Split | None:
    """Return the first test split with any class of the training.

    Raises:
        DatasetError: One that comes first cannot be read.
    """
    names = set(map(_key, train.index))
    for split in tests:
        if blind := next((node for node in (split.folder, split.bottom) if node.obstacle), None):
            raise _unreadable(blind)
        if names & set(map(_key, split.index)):
            return split
    return None


def _renamed(test: _Split, *, like: _Split) -> _Split:
    """Return the test split with its classes spelt and ordered as in the training."""
    known = {_key(name): (place, name) for place, name in enumerate(like.index)}
    spelt = {known.get(_key(name), (len(known), name)): files for name, files in test.index.items()}
    return replace(test, index={name: spelt[place, name] for place, name in sorted(spelt)})


def _first_obstacle(split: _Split) -> Node | None:
    """Return the first folder without which a split is not known, and which cannot be read."""
    needed = (split.folder, split.bottom, *split.classes)
    return next((node for node in needed if node.obstacle), None)


def _unreadable(node: Node) -> DatasetError:
    return DatasetError(
        f"{node.path}: expected a folder that can be read, found: {node.obstacle}; "
        "give yourself the right to read it, or move it elsewhere"
    )


def _no_classes(train: _Split) -> str:
    """Return what is wrong with a folder of fewer than two classes, and what was perhaps meant."""
    bottom = train.bottom
    names = ", ".join(node.label for node in train.classes) or "none"
    hint = _deeper_hint(train.classes)
    if not hint and bottom.pictures:
        hint = (
            "; put the images of each class into a folder of its name, or name the files by class, "
            f"like cat.0.jpg and dog.0.jpg{_table_hint(bottom)}"
        )
    return f"{bottom.path}: expected at least two class folders, found {names}{hint}"


def _deeper_hint(folders: Sequence[Node]) -> str:
    deeper = [node for node in folders if len(_bottom(node).folders) > 1]
    if not deeper:
        return ""
    return f"; if the classes are the folders in {_bottom(deeper[0]).path}, name that folder"


def _table_hint(node: Node) -> str:
    tables = [file.name for file in node.others if file.suffix.lower() in (".csv", ".tsv")]
    return f"; labels in tables such as {display_name(tables[0])} are not read" if tables else ""


def _count(node: Node) -> str:
    return f"{len(node.all_pictures()):,}"


HIDDEN, BLIND, SPLIT, STRAY = "hidden", "unlabelled", "split", "stray"


def _left_out(
    tree: Tree, *, train: _Split, test: _Split | None, tests: Sequence[_Split]
) -> dict[str, list[Path]]:
    """Return the pictures of no split, by the reason why."""
    chosen = [split.folder for split in (train, test) if split]
    parts = [part for split in (train, test) if split for part in split.index.values()]
    names = set(map(_key, train.index))
    left_out: dict[str, list[Path]] = {HIDDEN: tree.hidden, BLIND: [], SPLIT: [], STRAY: []}
    for split in tests:
        if split.folder not in chosen:
            is_labelled = bool(names & set(map(_key, split.index)))
            left_out[SPLIT if is_labelled else BLIND] += split.folder.all_pictures()
    seen = {*chain.from_iterable(parts), *left_out[BLIND], *left_out[SPLIT]}
    left_out[STRAY] = [file for file in tree.root.all_pictures() if file not in seen]
    return left_out


def _notes(
    tree: Tree, left_out: Mapping[str, list[Path]], *, train: _Split, test: _Split | None
) -> Iterator[str]:
    root = tree.root.path
    nodes = list(tree.root.walk())
    chosen = f"the test set is {test.folder.label}" if test else "there is no test set"
    reasons = {
        BLIND: "of a test folder without these classes",
        SPLIT: f"of a further split, as {chosen}",
        STRAY: "in no class",
        HIDDEN: "hidden or made by the system",
    }
    for reason, words in reasons.items():
        if files := left_out[reason]:
            places = Counter(_place(file.parent, root) for file in files)
            yield f"not read: {_pictures(len(files))} {words}: {_listed(places)}"
    if foreign := [file for node in nodes for file in node.foreign]:
        kinds = Counter(FOREIGN[file.suffix.lower()] for file in foreign)
        yield (
            f"not read: {_pictures(len(foreign))} to be converted to JPEG or PNG: {_listed(kinds)}"
        )
    # What we have written down of pictures that we drew or fetched is nobody's news.
    if others := [file for node in nodes for file in node.others if file.name != MANIFEST]:
        kinds = Counter(file.suffix.lower() or "no suffix" for file in others)
        yield f"not read: files that are no pictures: {_listed(kinds)}"
    if tree.repeated:
        yield "not followed, as they lead to what is read in its own place: " + _joined(
            f"{_place(link, root)} ({_count(node) if node else 'a folder above'})"
            for link, node in tree.repeated
        )
    if tree.broken:
        yield "WARNING: links that lead nowhere: " + _joined(
            f"{_place(link, root)} ({reason})" for link, reason in tree.broken
        )
    if blocked := [node for node in nodes if node.obstacle]:
        yield "WARNING: cannot be read, so its pictures are missing: " + _joined(
            f"{_place(node.path, root)} ({node.obstacle})" for node in blocked
        )
    inner = Counter[str]()
    for split in (train, test):
        for node in split.classes if split else ():
            for folder in node.folders:
                inner[folder.label] += len(folder.all_pictures())
    if inner := +inner:
        yield f"folders inside classes, read with their class: {_listed(inner)}"


def _pictures(count: int) -> str:
    return f"{count:,} picture{'' if count == 1 else 's'}"


def _place(path: Path, root: Path) -> str:
    return display_name(str(path.relative_to(root)))


def _listed(counts: Counter[str]) -> str:
    return _joined(f"{name} ({count:,})" for name, count in counts.most_common())


def _joined(parts: Iterable[str]) -> str:
    every = list(parts)
    more = f" and {len(every) - _SHOWN} more" if len(every) > _SHOWN else ""
    return ", ".join(every[:_SHOWN]) + more
