"""`proto.FineTuning` as the options the training loop takes, each value checked."""

from __future__ import annotations

from tfx_edge import proto
from tfx_edge.components.core.compression.fine_tuning import FineTuningOptions
from tfx_edge.components.core.compression.losses import find_label_loss
from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.exec_properties import require, require_supported


def fine_tuning_options(message: proto.FineTuning) -> FineTuningOptions:
    """Checks a message and fills in its defaults.

    Raises:
      EdgeError: a value is out of range, or a loss on labels lacks its label or its loss.
    """
    loss = require_supported(message, 'loss', ['DISTILLATION', 'LABELS', 'BOTH'])
    if loss != 'DISTILLATION':
        for field in ('label_key', 'label_loss'):
            require(message, field, bool, f'a name, since FineTuning.loss is {loss}')
        find_label_loss(message.label_loss)
    elif message.label_key or message.label_loss:
        raise EdgeError(
            'FineTuning.label_key and label_loss are given, but FineTuning.loss is DISTILLATION, which uses '
            'no labels; set loss to LABELS or BOTH, or leave them unset.'
        )
    splits = tuple(message.train_splits) or ('train',)
    return FineTuningOptions(
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
    )
