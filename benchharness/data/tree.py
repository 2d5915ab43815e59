"""Tree of a folder: all that is below it, read once."""

from __future__ import annotations

import heapq
import os
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from benchharness.data.images import FOREIGN, SUFFIXES
from benchharness.text import escape_control_chars

# What desktops, file servers and archivers put into folders, in small letters.
_SYSTEM = frozenset(
    {
        "@eadir", "@tmp", "@recycle", "@recently-snapshot", "@__thumb", "#recycle", "#snapshot",
        "~snapshot", "$recycle.bin", "recycler", "system volume information", "lost+found",
        "__macosx", "__pycache__", "thumbnails", "_thumbnails", "_thumbs", "network trash folder",
        "temporary items",
    }
)  # fmt: skip
_HIDDEN = re.compile(r"\..*|found\.[0-9]{3}", re.DOTALL)


@dataclass(slots=True, eq=False)
class Node:
    """A folder, what is visible in it, and why it cannot be read; empty where it can.

    Attributes:
        path: As it is reached from the root, through links or not.
        folders: By name.
        foreign: Pictures of formats that are not read.
    """

    path: Path
    folders: list[Node] = field(default_factory=list)
    pictures: list[Path] = field(default_factory=list)
    foreign: list[Path] = field(default_factory=list)
    others: list[Path] = field(default_factory=list)
    obstacle: str = ""

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.path.name

    @property
    def label(self) -> str:
        """The folder's name, for the eye."""
        return display_name(self.path.name)

    def walk(self) -> Iterator[Node]:
        """Yield this folder and every folder below it."""
        pending = [self]
        while pending:
            node = pending.pop()
            yield node
            pending += reversed(node.folders)

    def all_pictures(self) -> list[Path]:
        """Return the pictures in this folder and below it."""
        return [picture for node in self.walk() for picture in node.pictures]

    def may_hold_pictures(self) -> bool:
        """Return whether there are pictures in it or below, as far as it can be read."""
        return any(node.pictures or node.obstacle for node in self.walk())


@dataclass(slots=True, eq=False)
class Tree:
    """Folders and files below a folder.

    Attributes:
        hidden: Pictures that are hidden or in hidden folders, and in those that a system makes.
        repeated: Folders left out, for their content is read in its own place: the path, and the
            folder that it leads to; None for a folder above the root.
        broken: Links that lead nowhere and have no picture's name, with the reason.
    """

    root: Node
    hidden: list[Path] = field(default_factory=list)
    repeated: list[tuple[Path, Node | None]] = field(default_factory=list)
    broken: list[tuple[Path, str]] = field(default_factory=list)


def read_tree(root: Path) -> Tree:
    """Read a folder.

    Every folder is read once: first those that are there, then those that links lead to, always the
    link whose path sorts first. A link to what was read, or to a folder above the root, is left
    out, so no circle is followed and no picture has two classes.
    """
    real = os.path.realpath(root)
    tree = Tree(Node(root))
    read = {real: tree.root}
    links: list[tuple[str, Node]] = []
    pending = [(tree.root, real)]
    while pending or links:
        if not pending:
            link, parent = heapq.heappop(links)
            target = os.path.realpath(link)
            if target in read or os.path.commonpath([real, target]) == target:
                tree.repeated.append((Path(link), read.get(target)))
                continue
            node = read[target] = Node(Path(link))
            parent.folders.append(node)
            parent.folders.sort(key=lambda folder: folder.name)
            pending.append((node, target))
        node, place = pending.pop()
        try:
            entries = sorted(os.scandir(node.path), key=lambda entry: entry.name)
        except OSError as error:
            node.obstacle, entries = error.strerror or str(error), []
        for entry in entries:
            path, is_link, is_folder = Path(entry.path), entry.is_symlink(), _is_folder(entry)
            suffix = path.suffix.lower()
            if _is_hidden(entry.name):
                # What a hidden link leads to is not looked at.
                tree.hidden += _hidden_pictures(path) if not (is_link and is_folder) else []
            elif is_folder and is_link:
                heapq.heappush(links, (entry.path, node))
            elif is_folder:
                key = os.path.join(place, entry.name)  # noqa: PTH118 (as realpath)
                if key in read:
                    tree.repeated.append((path, read[key]))
                else:
                    folder = read[key] = Node(path)
                    node.folders.append(folder)
                    pending.append((folder, key))
            elif suffix in SUFFIXES:
                node.pictures.append(path)
            elif is_link and (reason := _unreachable(path)):
                tree.broken.append((path, reason))
            else:
                (node.foreign if suffix in FOREIGN else node.others).append(path)
    return tree


def _unreachable(path: Path) -> str:
    try:
        path.stat()
    except OSError as error:
        return error.strerror or str(error)
    return ""


def _is_hidden(name: str) -> bool:
    """Return whether a folder or file is hidden, or of those that a system makes."""
    small = name.lower()
    return small in _SYSTEM or bool(_HIDDEN.fullmatch(small))


def _hidden_pictures(path: Path) -> list[Path]:
    inside = (Path(place, name) for place, _, names in os.walk(path) for name in names)
    files = inside if path.is_dir() else [path]
    return [file for file in files if file.suffix.lower() in SUFFIXES]


def _is_folder(entry: os.DirEntry[str]) -> bool:
    """Return whether an entry is a folder, or leads to one."""
    try:
        return entry.is_dir()
    except OSError:
        # A link in a circle, or one that leads where nobody may look.
        return False


def class_folders(path: Path) -> list[str]:
    """Return the names of the visible folders at ``path``, sorted."""
    return sorted(entry.name for entry in _visible(path) if _is_folder(entry))


def pictures_in(path: Path) -> list[Path]:
    """Return the visible files at ``path`` that have a picture's name."""
    files = (Path(entry.path) for entry in _visible(path))
    return [file for file in files if file.suffix.lower() in SUFFIXES]


def _visible(path: Path) -> list[os.DirEntry[str]]:
    """Return what is visible in a folder; nothing where it is none, or cannot be read."""
    try:
        return [entry for entry in os.scandir(path) if not _is_hidden(entry.name)]
    except OSError:
        return []


def display_name(name: str) -> str:
    """Return a name for the eye: accents composed, and nothing that cannot be printed."""
    text = unicodedata.normalize("NFC", os.fsencode(name).decode("utf-8", "replace"))
    return escape_control_chars(text)
