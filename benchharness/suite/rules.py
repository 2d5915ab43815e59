"""What two settings owe each other; asked of settings when all layers are laid."""

from __future__ import annotations

from collections.abc import Iterator

from benchharness.model.backbones import BACKBONES
from benchharness.suite.findings import Finding
from benchharness.suite.settings import (
    BottleneckSettings,
    FeedSettings,
    FineTuneSettings,
    StrategySettings,
    TransferSettings,
)
from benchharness.suite.tables import OptimizerSettings
from benchharness.suite.text import show
from benchharness.text import join_or, quote

USED_BY_ALL = {"name", "lr", "weight_decay"}
USED_BY = {
    "sgd": {"momentum", "nesterov"},
    "adam": {"beta_1", "beta_2", "epsilon"},
    "rmsprop": {"rho", "epsilon"},
}
# What decides the shape of a head, and the features that it has learnt from.
HEAD_KEYS = ("image_size", "dense", "output", "backbone", "weights", "preprocessing")


def clashes(settings: StrategySettings) -> Iterator[Finding]:
    """Yield what does not go together, each under the key to change."""
    if not isinstance(settings, FeedSettings):
        yield from _optimizer_clashes(settings.optimizer)
    if isinstance(settings, TransferSettings):
        yield from _backbone_clashes(settings)
    elif settings.preprocessing == "pretrained":
        yield Finding(
            at=("preprocessing",),
            expected="a preprocessing of its own, for nothing is pretrained here",
            found=quote("pretrained"),
        )
    if isinstance(settings, BottleneckSettings) and not settings.augmentation.is_identity:
        yield _varied_images("a bottleneck computes the features of an image once")
    if isinstance(settings, FineTuneSettings) and settings.reuse_frozen:
        yield from _reuse_clashes(settings)
    if settings.input == "files" and not settings.trains_on_images:
        yield _prepared_only("training reads stored features here")


def fileless_clash(settings: StrategySettings, *, source: str) -> Finding | None:
    """Return why a dataset whose images are no files cannot be loaded from files; None if it can.

    Args:
        settings: Of a benchmark.
        source: The dataset's kind, whose images are no files.
    """
    if settings.input != "files":
        return None
    return _prepared_only(f"dataset {source} has no image files")


def head_clashes(
    settings: FineTuneSettings, *, name: str, bottleneck: BottleneckSettings
) -> Iterator[Finding]:
    """Yield why the head of a bottleneck benchmark does not fit a fine-tuned network.

    Args:
        settings: Of the network that is to start from the head.
        name: The bottleneck benchmark.
        bottleneck: Its settings.
    """
    for key in HEAD_KEYS:
        theirs, ours = getattr(bottleneck, key), getattr(settings, key)
        if theirs != ours:
            yield Finding(
                at=(key,),
                expected=f"{show(theirs)} as in benchmark {quote(name)}",
                found=show(ours),
                hint="head_from takes its head, which fits only the same network",
            )


def _optimizer_clashes(optimizer: OptimizerSettings) -> Iterator[Finding]:
    """Yield constants that the chosen rule would not use."""
    used = USED_BY_ALL | USED_BY[optimizer.name]
    for key, field in OptimizerSettings.model_fields.items():
        value = getattr(optimizer, key)
        if key not in used and value != field.default:
            users = [name for name, keys in USED_BY.items() if key in keys]
            yield Finding(
                at=("optimizer", key),
                expected=f"only what {optimizer.name} uses",
                found=f"{key} = {show(value)}",
                hint=f"{join_or(users)} uses it",
            )
    if optimizer.nesterov and not optimizer.momentum:
        yield Finding(
            at=("optimizer", "momentum"),
            expected="a number above 0 beside nesterov = true",
            found=show(optimizer.momentum),
        )


def _backbone_clashes(settings: TransferSettings) -> Iterator[Finding]:
    """Yield why images or weights do not fit the backbone."""
    backbone = BACKBONES[settings.backbone]
    smallest = backbone.smallest_image
    if settings.image_size < smallest:
        yield Finding(
            at=("image_size",),
            expected=f"at least {smallest} for {settings.backbone}",
            found=show(settings.image_size),
        )
    known = ("pretrained", *backbone.releases, "random")
    if settings.weights not in known:
        yield Finding(
            at=("weights",),
            expected=f"{join_or(known)} for {settings.backbone}",
            found=quote(settings.weights),
        )
    elif settings.weights != "random" and not settings.releases:
        learnt = (release.preprocessing for release in backbone.releases.values())
        yield Finding(
            at=("preprocessing",),
            expected=f'"pretrained": these weights need {join_or(dict.fromkeys(learnt))}',
            found=show(settings.preprocessing),
            hint="this preprocessing belongs to other weights",
        )


def _reuse_clashes(settings: FineTuneSettings) -> Iterator[Finding]:
    """Yield why what the frozen blocks give cannot be stored."""
    if settings.trainable == "all":
        yield Finding(
            at=("reuse_frozen",),
            expected='false beside trainable = "all", which freezes nothing',
            found="true",
        )
    if not settings.augmentation.is_identity:
        yield _varied_images("reuse_frozen computes the frozen blocks of an image once")


def _prepared_only(reason: str) -> Finding:
    """Return the finding of files where only prepared images can be read."""
    return Finding(
        at=("input",),
        expected=f'"prepared", for {reason}',
        found='"files"',
        hint='write input = "prepared" here',
    )


def _varied_images(reason: str) -> Finding:
    """Return the finding of augmentation where each image is computed once."""
    return Finding(
        at=("augmentation",),
        expected=f"none, for {reason}",
        found="varied images",
        hint="write augmentation = {} here",
    )
