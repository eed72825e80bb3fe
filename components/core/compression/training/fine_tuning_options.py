"""How to train, without what trains, which imports TensorFlow."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from tfx_edge.components.core.compression.training.user_functions import UserFunctions

# So many times, about, a net is trained on an example as it is before it learns it by heart.
MOST_PASSES = 40


@dataclasses.dataclass(frozen=True)
class FineTuningOptions:
    """How to train; the fields of `proto.FineTuning`, with its defaults filled in."""

    num_steps: int
    batch_size: int
    learning_rate: float
    optimizer: str
    loss: str
    temperature: float
    label_key: str
    label_loss: str
    train_splits: tuple[str, ...]
    seed: int
    output_kind: str
    # Where the state of a run is kept while it trains, so that it continues after it was killed; '' keeps none.
    checkpoint_folder: str = ''
    # Called after each state that was written there.
    checkpoint_saved: Callable[[], None] | None = None
    functions: UserFunctions = dataclasses.field(default_factory=UserFunctions)
    batch_norm_batches: int = 0
    learning_rate_schedule: str = 'CONSTANT_THEN_COSINE'
    # Steps before the rate falls; None for three quarters of all.
    constant_steps: int | None = None
    # Whether the user left the rate open: a technique may then fit it to how much it changes the weights.
    rate_is_open: bool = False
    augmentation: str = 'SHIFT_AND_MIX'
    # Different examples in the batches; 0 when there are more than were counted.
    num_examples: int = 0

    @property
    def passes(self) -> float:
        """How often each example is trained on, about; 0 when there are more than were counted."""
        return self.num_steps * self.batch_size / self.num_examples if self.num_examples else 0.0
