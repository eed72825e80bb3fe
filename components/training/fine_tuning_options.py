"""`proto.FineTuning` as the options the training loop takes, each value checked."""

from __future__ import annotations

from tfx_edge import proto
from tfx_edge.components.core.compression.training.fine_tuning_options import FineTuningOptions
from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.tfx_interface.exec_properties import require, require_supported


def fine_tuning_options(
    message: proto.FineTuning, *, has_module: bool = False, trains_ranges: bool = False
) -> FineTuningOptions:
    """Checks a message and fills in its defaults.

    Args:
      message: the user's.
      has_module: whether there is a module, whose functions may use the label.
      trains_ranges: whether ranges of activations are trained, which fit the batch norms as they are.

    Raises:
      EdgeError: a value is out of range, or a loss on labels lacks its label or its loss.
    """
    loss = require_supported(message, 'loss', ['DISTILLATION', 'LABELS', 'BOTH'])
    if loss != 'DISTILLATION':
        for field in ('label_key', 'label_loss'):
            require(message, field, bool, f'a name, since FineTuning.loss is {loss}')
    elif message.label_loss or (message.label_key and not has_module):
        raise EdgeError(
            'FineTuning.label_key and label_loss are given, but FineTuning.loss is DISTILLATION, which uses '
            'no labels; set loss to LABELS or BOTH, leave them unset, or give a module whose loss_fn uses the label.'
        )
    if trains_ranges and message.batch_norm_batches:
        raise EdgeError(
            f'FineTuning.batch_norm_batches is {message.batch_norm_batches}, but the ranges that QATTrainer trains '
            'fit the batch norms as they are; leave it unset here, and set it in Pruner or Clusterer.'
        )
    splits = tuple(message.train_splits) or ('train',)
    options = FineTuningOptions(
        num_steps=require(message, 'num_steps', lambda v: v >= 0, '0 (one-shot) or more'),
        batch_size=require(message, 'batch_size', lambda v: v >= 1, '1 or more'),
        learning_rate=require(message, 'learning_rate', lambda v: 0 < v < float('inf'), 'a number above 0'),
        optimizer=require_supported(message, 'optimizer', ['ADAM', 'SGD']),
        loss=loss,
        temperature=require(message, 'temperature', lambda v: 0 < v < float('inf'), 'a number above 0'),
        label_key=message.label_key,
        label_loss=message.label_loss,
        train_splits=splits,
        seed=require(message, 'seed', lambda v: v >= 0, '0 or more'),
        output_kind=require_supported(
            message, 'output_kind', ['AUTO', 'PROBABILITIES', 'LOGITS', 'REGRESSION']
        ),
        rate_is_open=not message.HasField('learning_rate'),
        learning_rate_schedule=require_supported(
            message, 'learning_rate_schedule', ['CONSTANT_THEN_COSINE', 'CONSTANT']
        ),
        augmentation=require_supported(message, 'augmentation', ['SHIFT_AND_MIX', 'NO_AUGMENTATION']),
        batch_norm_batches=require(
            message, 'batch_norm_batches', lambda v: v >= 0, '0 (statistics stay as they came) or more'
        ),
    )
    if loss != 'DISTILLATION':
        from tfx_edge.components.core.compression.training.losses import find_label_loss  # asks Keras

        find_label_loss(options.label_loss)
    return options


def require_no_examples_needed(options: proto.FineTuning | FineTuningOptions) -> None:
    """Refuses options that need examples.

    Raises:
      EdgeError: there are steps to train, or batch norms to compute anew.
    """
    for field in ('num_steps', 'batch_norm_batches'):
        if getattr(options, field):
            raise EdgeError(
                f'FineTuning.{field} is {getattr(options, field)}, which needs examples; '
                f'give examples, or set {field} to 0.'
            )
