"""Tables that settings are made of: what every table has in common, the optimizer, augmentation."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class Table(BaseModel):
    """A table of a suite file: unknown keys are mistakes, and no value is converted in silence."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class OptimizerSettings(Table):
    """The update rule.

    A table without ``name`` changes the strategy's own optimizer; one with ``name`` starts from
    the defaults written here.
    """

    name: Literal["sgd", "adam", "rmsprop"] = Field(default="adam", description="The update rule.")
    lr: float = Field(default=1e-3, gt=0, description="Learning rate, constant over a trial.")
    momentum: float = Field(
        default=0.0, ge=0, lt=1, description="sgd: share of the last step kept."
    )
    nesterov: bool = Field(default=False, description="sgd: look ahead along the momentum.")
    beta_1: float = Field(default=0.9, ge=0, lt=1, description="adam: decay of the mean gradient.")
    beta_2: float = Field(default=0.999, ge=0, lt=1, description="adam: decay of the mean square.")
    rho: float = Field(default=0.9, ge=0, lt=1, description="rmsprop: decay of the mean square.")
    epsilon: float = Field(default=1e-7, gt=0, description="adam, rmsprop: added to the root.")
    weight_decay: float = Field(default=0.0, ge=0, description="Decoupled weight decay, times lr.")


class AugmentationSettings(Table):
    """How far training images are varied, drawn anew for each image and epoch."""

    flip_horizontal: bool = Field(
        default=False, description="Mirror half of the images left to right."
    )
    flip_vertical: bool = Field(
        default=False, description="Mirror half of the images top to bottom."
    )
    crop: float = Field(
        default=0.0,
        ge=0,
        le=0.9,
        description="Cut out a square whose side is 1 - crop to 1 of the image.",
    )
    shift: float = Field(
        default=0.0, ge=0, le=0.9, description="Move by up to this share of the side."
    )
    rotation: float = Field(default=0.0, ge=0, le=180, description="Turn by up to so many degrees.")
    shear: float = Field(default=0.0, ge=0, le=2, description="Slant by up to this tangent.")
    zoom: float = Field(default=0.0, ge=0, le=0.9, description="Scale by 1 - zoom to 1 + zoom.")
    channel_shift: float = Field(
        default=0.0, ge=0, le=255, description="Add up to so much to each colour, of 255."
    )

    @property
    def is_identity(self) -> bool:
        """Whether images stay as they are."""
        return not any(self.model_dump().values())
