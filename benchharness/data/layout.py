"""Layout of a folder of pictures: its splits, its classes, and what is neither.

docs/data.md has the rules as a table.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, permutations
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
# What is in a folder, whichever class it has.
_CONTENT = (
    "image", "images", "img", "imgs", "picture", "pictures", "pics", "photo", "photos", "jpg",
    "jpegimages", "data", "dataset", "datasets", "set", "files", "folder", "raw", "archive",
)  # fmt: skip
_BESIDE_IMAGES = (
    "mask", "masks", "label", "labels", "annotation", "annotations", "segmentation",
    "segmentations", "segmentationclass", "bbox", "bboxes", "boxes", "gt", "csv", "xml", "json",
)  # fmt: skip
# In the order in which a name with words of several roles takes them.
_ROLES: Mapping[Role, frozenset[str]] = {
    "train": frozenset(_TRAIN),
    "test": frozenset(_TEST),
    "part": frozenset({"fold", "part", "batch", "chunk", "shard", "split", "subset"}),
    "content": frozenset((*_CONTENT, *_BESIDE_IMAGES)),
}
_KNOWN = frozenset[str]().union(*_ROLES.values())
_GLUED = re.compile(rf"({'|'.join((*_TRAIN, *_TEST))})({'|'.join(sorted(_CONTENT))})")
_NAMED_BY_CLASS = re.compile(r"(?P<label>[^.].*)\.[0-9]+\.[A-Za-z]+")
_SHOWN = 5
# Reasons why a picture is in no split.
HIDDEN, BLIND, SPLIT, STRAY = "hidden", "unlabelled", "split", "stray"


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
    """A folder with the pictures of a split by class, by display name; perhaps none.

    Its classes are folders in ``parent``, the folder or one below; none where file names tell.
    """

    folder: Node
    parent: Node
    classes: tuple[Node, ...]
    index: Index

    @property
    def keys(self) -> set[str]:
        """Names of the classes, spelt as all their other spellings are compared."""
        return set(map(_spelling, self.index))


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
    top = _split_parent(tree.root)
    training = _training_folder(top)
    words = role(training.name)[1] if training else ()
    # Folders that may be the test's, the best first.
    candidates = [folder for folder in top.folders if role(folder.name) == ("test", words)]
    candidates.sort(key=lambda folder: _split_order(folder.name, _TEST))
    if training is not None:
        train = _split(training)
    elif len(candidates) == len(top.folders) and len(by_name(top.pictures)) < 2:
        # There is nothing else, and so they will be refused.
        train, candidates = _split(top), []
    else:
        train = _split(top, without=candidates)
    _require_classes(train)
    tests = [_split(folder) for folder in candidates]
    test = _first_labelled(tests, train)
    chosen = [train, test] if test else [train]
    for split, other in permutations(chosen, 2):
        if missing := sorted({*split.index} - {*other.index}):
            raise DatasetError(
                f"{other.folder.path}: expected the same classes as in the other split, "
                f"found none named {', '.join(missing)}"
            )
    left_out = _left_out(tree, chosen, tests)
    return Layout(
        place=top.path,
        train=train.index,
        test={name: test.index[name] for name in train.index} if test else None,
        splits=tuple(split.folder.name for split in chosen if split.folder is not top),
        is_flat=not train.classes,
        left_out={reason: tuple(files) for reason, files in left_out.items() if files},
        notes=tuple(_notes(tree, left_out, chosen)),
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
        best = min(trains, key=lambda name: _split_order(name, _TRAIN), default=None)
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
    roles = (kind for kind, known in _ROLES.items() if not known.isdisjoint(words))
    return next(roles, None), tuple(word for word in words if word not in _KNOWN)


def _words(name: str) -> list[str]:
    """Return the words of a name in small letters, also those that are written together."""
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower()
    spaced = re.sub(r"hold[^a-z0-9]?out", "holdout", spaced)
    words: list[str] = []
    for word in re.findall(r"[^\W\d_]+", spaced):
        match = _GLUED.fullmatch(word)
        words += match.groups() if match else [word]
    return words


def _split_order(name: str, words: Sequence[str]) -> tuple[bool, int, str]:
    """Return the sorting key of split folders: the word that comes first in ``words``.

    Masks and the like come last, whatever their names.
    """
    inside = _words(name)
    places = (place for place, word in enumerate(words) if word in inside)
    return not set(_BESIDE_IMAGES).isdisjoint(inside), next(places, len(words)), name


def _spelling(name: str) -> str:
    """Return what two spellings of one class have in common."""
    return display_name(name).casefold()


def _is_wrapper(name: str, parent: str) -> bool:
    """Return whether a sole folder is no class: called for its content, or as the one above."""
    return role(name)[0] in ("train", "content") or name.casefold() == parent.casefold()


def _only_folder(node: Node) -> Node | None:
    """Return the only folder with pictures in a folder that has no pictures beside it."""
    holding = [folder for folder in node.folders if folder.may_hold_pictures()]
    return holding[0] if len(holding) == 1 and not node.pictures else None


def _class_parent(node: Node) -> Node:
    """Return where the classes of a split are: in it, or in folders that only wrap them."""
    while (child := _only_folder(node)) is not None and _is_wrapper(child.name, node.name):
        node = child
    return node


def _split_parent(root: Node) -> Node:
    """Return where the splits are, however deep in folders that hold nothing else."""
    node: Node | None = root
    while node is not None and _training_folder(node) is None:
        node = _only_folder(node)
    return node or _class_parent(root)


def _training_folder(node: Node) -> Node | None:
    """Return the training folder among the folders of a folder, if they are splits."""
    roles = [(folder, role(folder.name)) for folder in node.folders]
    # Folders of one dataset share the words that say nothing of their role.
    for words in sorted({words for _, (kind, words) in roles if kind == "train"}):
        trains = [folder for folder, found in roles if found == ("train", words)]
        train = min(trains, key=lambda folder: _split_order(folder.name, _TRAIN))
        parent = _class_parent(train)
        has_classes = len(parent.folders) > 1 or len(by_name(parent.pictures)) > 1
        has_test = any(found == ("test", words) for _, found in roles)
        if has_test or (not words and has_classes):
            return train
    return None


def _split(folder: Node, *, without: Sequence[Node] = ()) -> _Split:
    parent = folder if without else _class_parent(folder)
    # By the name as it is read: two splits may write the same accent in two ways.
    nodes = (node for node in parent.folders if node not in without)
    classes = tuple(sorted(nodes, key=lambda node: node.label))
    named = by_name(parent.pictures)
    if len(classes) < 2 and len(named) > 1:
        index = {display_name(name): files for name, files in named.items()}
        return _Split(folder=folder, parent=parent, classes=(), index=index)
    index = {}
    for node in classes:
        parts = {file: file.relative_to(node.path).parts for file in node.all_pictures()}
        files = sorted(parts, key=lambda file: [natural(Path(part)) for part in parts[file]])
        index[node.label] = tuple(files)
    return _Split(folder=folder, parent=parent, classes=classes, index=index)


def _require_classes(train: _Split) -> None:
    """Refuse what cannot be trained on: fewer than two classes, or folders that are none."""
    parent, classes = train.parent, train.classes
    _require_readable(train.folder, parent, *classes)
    deeper = next((below for below in map(_class_parent, classes) if len(below.folders) > 1), None)
    hint = f"; if the classes are the folders in {deeper.path}, name that folder" if deeper else ""
    tables = [file.name for file in parent.others if file.suffix.lower() in (".csv", ".tsv")]
    table_hint = (
        f"; labels in tables such as {display_name(tables[0])} are not read" if tables else ""
    )
    labels = ", ".join(node.label for node in classes) or "none"
    counts = ", ".join(f"{node.label} ({_count(node)})" for node in classes)
    roles = {role(node.name) for node in classes}
    kinds = {kind for kind, _ in roles}
    are_splits = None not in kinds and kinds != {"part"} and len({rest for _, rest in roles}) == 1
    inner = [
        set() if node.pictures else {f.name for f in node.folders if f.may_hold_pictures()}
        for node in classes
    ]
    same = set.intersection(*inner) if inner else set()
    problem = ""
    if len(classes) < 2 and len(train.index) < 2:
        problem = f"at least two class folders, found {labels}"
        if not hint and parent.pictures:
            problem += (
                "; put the images of each class into a folder of its name, or name the files by "
                f"class, like cat.0.jpg and dog.0.jpg{table_hint}"
            )
    elif are_splits:
        problem = (
            f"class folders, found names of splits or of contents: {counts}; put the pictures of "
            f"each class into a folder of its name, in train and in test{table_hint}"
        )
    elif {"train", "test"} <= {role(name)[0] for name in same}:
        problem = (
            "class folders within train and test, found train and test within "
            f"{counts}; put train and test above the classes"
        )
    elif len(same) > 1 and kinds & {"train", "test", "part"}:
        problem = (
            f"class folders, found folders that seem to be parts of a dataset: {counts}, each "
            f"with {', '.join(sorted(map(display_name, same)))}; call them train and test, or name "
            "one of them"
        )
    if problem:
        raise DatasetError(f"{parent.path}: expected {problem}{hint}")
    _require_whole(train)


def _require_whole(split: _Split) -> None:
    """Refuse a split with classes that read alike, that are empty, or that cannot be read."""
    _require_readable(split.folder, split.parent, *split.classes)
    names = [node.name for node in split.classes] or list(split.index)
    alike = Counter(map(_spelling, names))
    if twins := [display_name(name) for name in names if alike[_spelling(name)] > 1]:
        raise DatasetError(
            f"{split.parent.path}: expected different class names, found some that read alike: "
            f"{', '.join(twins)}; merge or rename them"
        )
    empty = []
    for node in split.classes:
        if not node.all_pictures():
            foreign = _foreign_formats(node.walk())
            empty.append(node.label + (f" but {_listed(foreign)}" if foreign else ""))
    if empty:
        raise DatasetError(
            f"{split.parent.path}: expected images in every class folder, found none in "
            f"{', '.join(empty)}; add images ({', '.join(sorted(SUFFIXES))}) or remove the folder"
        )


def _require_readable(*nodes: Node) -> None:
    for node in nodes:
        if node.obstacle:
            raise DatasetError(
                f"{node.path}: expected a folder that can be read, found: {node.obstacle}; "
                "give yourself the right to read it, or move it elsewhere"
            )


def _first_labelled(tests: Sequence[_Split], train: _Split) -> _Split | None:
    """Return the first test split with any class of the training, its classes spelt alike.

    One that comes first and cannot be read is a DatasetError.
    """
    known = {_spelling(name): name for name in train.index}
    for test in tests:
        _require_readable(test.folder, test.parent)
        if train.keys & test.keys:
            _require_whole(test)
            spelt = {known.get(_spelling(name), name): test.index[name] for name in test.index}
            return replace(test, index=spelt)
    return None


def _left_out(
    tree: Tree, chosen: Sequence[_Split], tests: Sequence[_Split]
) -> dict[str, list[Path]]:
    """Return the pictures of no split, by the reason why."""
    left_out: dict[str, list[Path]] = {HIDDEN: tree.hidden, BLIND: [], SPLIT: [], STRAY: []}
    for split in tests:
        if split.folder is not chosen[-1].folder:
            reason = SPLIT if chosen[0].keys & split.keys else BLIND
            left_out[reason] += split.folder.all_pictures()
    read = chain.from_iterable(files for split in chosen for files in split.index.values())
    known = {*read, *left_out[BLIND], *left_out[SPLIT]}
    left_out[STRAY] = [file for file in tree.root.all_pictures() if file not in known]
    return left_out


def _notes(
    tree: Tree, left_out: Mapping[str, list[Path]], chosen: Sequence[_Split]
) -> Iterator[str]:
    """Yield a sentence for each reason why something was not read as it is."""
    nodes = list(tree.root.walk())

    def place(path: Path) -> str:
        return display_name(str(path.relative_to(tree.root.path)))

    def pictures(count: int) -> str:
        return f"{count:,} picture{'' if count == 1 else 's'}"

    test = chosen[1].folder.label if len(chosen) > 1 else ""
    reasons = {
        BLIND: "of a test folder without these classes",
        SPLIT: "of a further split, for example "
        + (f"the test set is {test}" if test else "there is no test set"),
        STRAY: "in no class",
        HIDDEN: "hidden or made by the system",
    }
    for reason, words in reasons.items():
        if files := left_out[reason]:
            folders = Counter(place(file.parent) for file in files)
            yield f"not read: {pictures(len(files))} {words}: {_listed(folders)}"
    if foreign := _foreign_formats(nodes):
        count = pictures(foreign.total())
        yield f"not read: {count} to be converted to JPEG or PNG: {_listed(foreign)}"
    # What we have written down of pictures that we drew or fetched is nobody's news.
    others = (file for node in nodes for file in node.others if file.name != MANIFEST)
    if suffixes := Counter(file.suffix.lower() or "no suffix" for file in others):
        yield f"not read: files that are no pictures: {_listed(suffixes)}"
    if tree.repeated:
        yield "not followed, because their targets are read elsewhere: " + _joined(
            f"{place(link)} ({_count(node) if node else 'a folder above'})"
            for link, node in tree.repeated
        )
    if tree.broken:
        broken = (f"{place(link)} ({reason})" for link, reason in tree.broken)
        yield f"WARNING: links that lead nowhere: {_joined(broken)}"
    if blocked := [f"{place(node.path)} ({node.obstacle})" for node in nodes if node.obstacle]:
        yield f"WARNING: cannot be read, so its pictures are missing: {_joined(blocked)}"
    inner = Counter[str]()
    for node in chain.from_iterable(split.classes for split in chosen):
        for folder in node.folders:
            inner[folder.label] += len(folder.all_pictures())
    if inner := +inner:
        yield f"folders inside classes, read with their class: {_listed(inner)}"


def _foreign_formats(nodes: Iterable[Node]) -> Counter[str]:
    return Counter(FOREIGN[file.suffix.lower()] for node in nodes for file in node.foreign)


def _count(node: Node) -> str:
    return f"{len(node.all_pictures()):,}"


def _listed(counts: Counter[str]) -> str:
    return _joined(f"{name} ({count:,})" for name, count in counts.most_common())


def _joined(parts: Iterable[str]) -> str:
    every = list(parts)
    more = f" and {len(every) - _SHOWN} more" if len(every) > _SHOWN else ""
    return ", ".join(every[:_SHOWN]) + more
