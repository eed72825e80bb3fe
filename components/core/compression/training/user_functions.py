"""What a user's module may put in place of the loss, the augmentation and the optimizer."""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
import re
import traceback
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.core.exhausted_machine import require_machine

if TYPE_CHECKING:
    import tensorflow as tf

    _Tensors = Mapping[str, tf.Tensor]

NAMES = ('loss_fn', 'augment_fn', 'optimizer_fn')
_LONGEST = 300
# As TensorFlow shows where an operation of a graph was made.
_FRAME = re.compile(r'File "(?P<file>[^"\n]+)", line (?P<line>\d+), in (?P<function>\S+)')
_ABOUT_GRAPH = re.compile(r'Graph execution error|Detected at |Traceback |\[\[|Node: |\d+ root error')


@dataclasses.dataclass(frozen=True)
class UserFunctions:
    """Functions of a user's module; None where the module has none.

    Attributes:
      loss_fn: `loss_fn(features, teacher, student)`, traced once. `features` holds the inputs of the signature, and the
        label under `FineTuning.label_key` where that is set; `teacher` and `student` hold the outputs of the incoming
        and of the trained model by name, of shape (batch, ...). Returns a scalar, which is minimized in place of
        `FineTuning.loss`.
      augment_fn: `augment_fn(features, seed)`, traced once; returns features of the same names, shapes and dtypes.
        `seed` is an int64 tensor of shape (2,), another one at each step, for `tf.random.stateless_*`: a run that is
        repeated or continued then sees the same examples.
      optimizer_fn: `optimizer_fn(num_steps)` returns a Keras optimizer, used in place of `FineTuning.optimizer`.

    Example:
      A module that sharpens the teacher, flips images, and lowers the learning rate:

      ```
      def loss_fn(features, teacher, student):
        return tf.reduce_mean(keras.losses.categorical_crossentropy(teacher['digit'] ** 2, student['digit']))

      def augment_fn(features, seed):
        return {**features, 'image': tf.image.stateless_random_flip_left_right(features['image'], seed)}

      def optimizer_fn(num_steps):
        return keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(1e-3, num_steps))
      ```
    """

    loss_fn: Callable[[_Tensors, _Tensors, _Tensors], tf.Tensor] | None = None
    augment_fn: Callable[[_Tensors, tf.Tensor], _Tensors] | None = None
    optimizer_fn: Callable[[int], Any] | None = None

    def loss(self, features: _Tensors, teacher: _Tensors, student: _Tensors) -> tf.Tensor:
        """`loss_fn`'s result, checked."""
        import tensorflow as tf

        assert self.loss_fn is not None
        with _own_faults_named(self.loss_fn):
            returned = self.loss_fn(features, teacher, student)
        if returned is None:
            raise EdgeError(
                'loss_fn returns None; expected a floating scalar. Return the mean over the batch.'
            )
        with _own_faults_named(self.loss_fn):
            loss = tf.convert_to_tensor(returned)
        if loss.shape.rank != 0 or not loss.dtype.is_floating:
            raise EdgeError(
                f'loss_fn returns {loss.dtype.name} of shape {loss.shape}; expected a floating scalar. '
                'Take the mean over the batch.'
            )
        return tf.cast(loss, tf.float32)

    def augmented(self, features: _Tensors, seed: tf.Tensor) -> _Tensors:
        """`augment_fn`'s result, checked; the features as they are without one."""
        if self.augment_fn is None:
            return features
        import tensorflow as tf

        with _own_faults_named(self.augment_fn):
            returned = self.augment_fn(dict(features), seed)
        if not isinstance(returned, Mapping):
            raise EdgeError(
                f'augment_fn returns {type(returned).__name__}; expected the features by name, as they came in.'
            )
        with _own_faults_named(self.augment_fn):
            augmented = {name: tf.convert_to_tensor(value) for name, value in returned.items()}
        for name, before in features.items():
            after = augmented.get(name)
            fits = (
                after is not None
                and after.dtype == before.dtype
                and before.shape.is_compatible_with(after.shape)
            )
            if not fits:
                found = 'nothing' if after is None else f'{after.dtype.name} of shape {after.shape}'
                raise EdgeError(
                    f'augment_fn returns {found} for {name!r}; expected {before.dtype.name} of shape {before.shape}. '
                    'Return each feature, of the shape and dtype that came in.'
                )
        return augmented

    @contextlib.contextmanager
    def graph_faults_named(self) -> Iterator[None]:
        """Names file, line and function for what fails when the traced graph runs, such as an assertion."""
        import tensorflow as tf

        try:
            yield
        except tf.errors.OpError as error:
            require_machine(error)
            places = [match for match in _FRAME.finditer(str(error)) if match['file'] in self._files()]
            if not places:
                raise
            place = places[-1]
            raise EdgeError(
                f'{place["function"]} in {place["file"]}, line {place["line"]}: {_of_graph(error)}; correct the module.'
            ) from error

    def _files(self) -> set[str]:
        functions = (self.loss_fn, self.augment_fn, self.optimizer_fn)
        codes = [getattr(inspect.unwrap(each), '__code__', None) for each in functions if each is not None]
        return {code.co_filename for code in codes if code is not None}

    def optimizer(self, num_steps: int) -> Any:
        """`optimizer_fn`'s result, checked."""
        import keras  # takes seconds

        assert self.optimizer_fn is not None
        with _own_faults_named(self.optimizer_fn):
            optimizer = self.optimizer_fn(num_steps)
        if not isinstance(optimizer, keras.optimizers.Optimizer):
            raise EdgeError(
                f'optimizer_fn returns {type(optimizer).__name__}; expected a keras.optimizers.Optimizer (Keras 3).'
            )
        return optimizer


@contextlib.contextmanager
def _own_faults_named(function: Callable[..., Any]) -> Iterator[None]:
    """Names the module's file, line and function for whatever it raises, the end of the process included."""
    try:
        yield
    except (Exception, SystemExit) as error:
        require_machine(error)
        raise EdgeError(f'{_place(function, error)}: {_said(error)}; correct the module.') from error


def _place(function: Callable[..., Any], error: BaseException) -> str:
    """The innermost place in the module's own file, or where the function begins."""
    code = getattr(inspect.unwrap(function), '__code__', None)
    file = code.co_filename if code else getattr(function, '__module__', 'the module')
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if frame.filename == file:
            return f'{frame.name} in {file}, line {frame.lineno}'
    name = getattr(function, '__name__', repr(function))
    return f'{name} in {file}, line {code.co_firstlineno}' if code else f'{name} in {file}'


def _said(error: BaseException) -> str:
    if isinstance(error, SystemExit):
        return f'it ends the process (sys.exit({error.code!r}))'
    text = ' '.join(str(error).split())
    return f'{type(error).__name__}: {text[:_LONGEST]}' if text else type(error).__name__


def _of_graph(error: tf.errors.OpError) -> str:
    """What an operation reports: the first line that is neither about the graph nor a frame."""
    lines = [line.strip() for line in str(error.message).splitlines() if line.strip()]
    told = [line for line in lines if not _ABOUT_GRAPH.match(line) and not _FRAME.search(line)]
    return f'{type(error).__name__}: {told[0][:_LONGEST]}' if told else type(error).__name__
