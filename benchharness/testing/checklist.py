"""Checklist of the contract for people: what each check belongs to, in what order."""

from __future__ import annotations

from dataclasses import dataclass

from benchharness.testing.examination import Finding


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """A clause of the contract.

    Attributes:
        name: For programs.
        title: What is demanded, for people.
        checks: Names of the checks that show it.
    """

    name: str
    title: str
    checks: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """How a clause is kept.

    Attributes:
        remark: What else is worth knowing; perhaps empty.
    """

    item: Item
    findings: tuple[Finding, ...]
    remark: str = ""

    @property
    def outcome(self) -> str:
        """``broken`` where any check is, ``refused`` where all are, else ``kept``."""
        outcomes = {finding.outcome for finding in self.findings}
        if "broken" in outcomes:
            return "broken"
        return "refused" if outcomes == {"refused"} else "kept"

    @property
    def refusals(self) -> tuple[str, ...]:
        """Reasons of the backend against something, each once."""
        reasons = (found.reason for found in self.findings if found.outcome == "refused")
        return tuple(dict.fromkeys(reasons))

    @property
    def faults(self) -> tuple[Finding, ...]:
        """What is broken."""
        return tuple(found for found in self.findings if found.outcome == "broken")


# Of the package, carried out where the command runs.
PACKAGE = (
    Item(
        name="loads",
        title="loads, and refuses options that it does not know",
        checks=("test_the_plugin_loads", "test_an_unknown_option_is_refused"),
    ),
    Item(
        name="api_version",
        title="states the version of benchharness.api that it was written for",
        checks=("test_the_api_version_is_declared",),
    ),
    Item(
        name="imports",
        title="imports of benchharness its api alone",
        checks=("test_only_the_api_is_imported",),
    ),
    Item(
        name="import_cost",
        title="importing its module imports no framework",
        checks=("test_its_module_imports_no_framework",),
    ),
    Item(
        name="missing_framework",
        title="tells how to install a framework that is missing",
        checks=("test_a_missing_framework_is_told",),
    ),
)

# Of the backend, carried out in a process of its own.
BACKEND = (
    Item(
        name="round_trip",
        title="weights survive the round trip, bit for bit",
        checks=(
            "test_training_starts_from_the_given_weights",
            "test_weights_survive_a_round_trip",
            "test_loaded_weights_are_computed_with",
            "test_weights_handed_out_do_not_change",
        ),
    ),
    Item(
        name="shapes",
        title="weights have canonical names, shapes and layout",
        checks=("test_weights_are_those_of_the_network",),
    ),
    Item(
        name="counts",
        title="as many values learn as the network has trainable",
        checks=("test_trainable_count_is_that_of_the_network",),
    ),
    Item(
        name="frozen",
        title="frozen weights stay put, the others move",
        checks=("test_only_trainable_layers_move",),
    ),
    Item(
        name="seed",
        title="a seed repeats the loss, a reset starts afresh",
        checks=(
            "test_a_seed_repeats_the_loss",
            "test_another_seed_drops_other_values",
            "test_reset_is_a_fresh_start",
            "test_deterministic_trainings_repeat_every_bit",
        ),
    ),
    Item(
        name="steps",
        title="every step and epoch is reported once, as it happens",
        checks=(
            "test_training_reports_every_step_once",
            "test_an_epoch_is_reported_after_its_last_step",
            "test_feeding_reports_every_batch_once",
        ),
    ),
    Item(
        name="order",
        title="batches are consumed in the given order, and sampled steps recorded",
        checks=(
            "test_what_is_consumed_is_told",
            "test_sampled_steps_alone_are_recorded",
            "test_only_the_last_epoch_is_recorded",
            "test_consumed_features_are_told",
            "test_steps_are_told_between_epochs",
            "test_only_steps_since_the_reset_are_told",
            "test_without_a_witness_nothing_is_told",
            "test_being_witnessed_changes_no_number",
        ),
    ),
    Item(
        name="logits",
        title="logits are those of the float64 reference",
        checks=(
            "test_logits_are_the_references",
            "test_logits_of_features_are_the_references",
        ),
    ),
    Item(
        name="gradients",
        title="gradients are those of the reference",
        checks=("test_gradients_are_the_references",),
    ),
    Item(
        name="optimizers",
        title="each optimizer moves the weights by the stated formula",
        checks=("test_optimizers_move_weights_as_the_reference_does",),
    ),
    Item(
        name="preprocessing",
        title="images are preprocessed as the task describes",
        checks=("test_preprocessing_is_the_references",),
    ),
    Item(
        name="augmentation",
        title="training sees the warped pixels, evaluation the plain ones",
        checks=(
            "test_training_sees_warped_pixels",
            "test_training_sees_shifted_colours_clipped",
            "test_training_sees_each_image_by_its_own_warp",
            "test_inputs_kept_on_the_device_are_those_of_the_batches",
            "test_losses_on_augmented_batches_are_the_references",
            "test_evaluation_of_an_augmented_task_is_plain",
        ),
    ),
    Item(
        name="features",
        title="extracted features are those of the reference",
        checks=("test_extracted_features_are_the_references",),
    ),
    Item(
        name="scores",
        title="losses and accuracies are means over images",
        checks=(
            "test_training_scores_are_means_over_images",
            "test_evaluation_scores_are_means_over_images",
            "test_confident_answers_have_finite_losses",
            "test_work_between_epochs_sees_the_weights_of_that_moment",
        ),
    ),
    Item(
        name="dropout",
        title="dropout acts in training alone, and asking learns nothing",
        checks=(
            "test_evaluation_neither_learns_nor_drops",
            "test_asking_for_numbers_does_not_learn",
            "test_dropout_is_at_work_in_training",
            "test_dropout_scales_up_what_it_keeps",
        ),
    ),
    Item(
        name="synchronize",
        title="synchronize waits until the device has finished",
        checks=("test_synchronize_waits_for_the_device",),
    ),
    Item(
        name="replay",
        title="a replayed step is the step of training, and training adds little to it",
        checks=(
            "test_replayed_steps_are_those_of_training",
            "test_a_replay_records_nothing",
            "test_training_adds_little_to_its_replay",
        ),
    ),
    Item(
        name="settings",
        title="versions and effective settings are reported as they are",
        checks=(
            "test_versions_are_told",
            "test_settings_can_be_recorded",
            "test_settings_of_work_without_learning_are_as_stated",
            "test_settings_of_training_are_as_stated",
            "test_constants_that_a_rule_lacks_are_not_told",
            "test_another_constant_is_told",
            "test_another_dropout_is_told",
            "test_another_frozen_layer_is_told",
            "test_bfloat16_is_told_or_refused",
        ),
    ),
    Item(
        name="switches",
        title="layout, compiler, threads and precision are honoured or refused",
        checks=(
            "test_another_layout_changes_no_number",
            "test_compiling_changes_no_number",
            "test_threads_share_a_long_step",
            "test_bfloat16_is_honoured_or_refused",
            "test_bfloat16_keeps_weights_in_float32",
        ),
    ),
)
