"""The label file of a model, packed into the configuration so that the cache sees its content."""

from __future__ import annotations

from tfx_edge import proto
from tfx_edge.components.core.errors import EdgeError

_MAX_BYTES = 1 << 20


def with_labels(message: proto.Quantization) -> proto.Quantization:
    """The message with `metadata.labels` read from `metadata.label_file`, which is then unset.

    Raises:
      EdgeError: the file cannot be read, is no UTF-8 text, too large or empty, or labels are given beside it.
    """
    path = message.metadata.label_file
    if not path:
        return message
    require_one_source(message)
    packed = proto.Quantization()
    packed.CopyFrom(message)
    packed.metadata.ClearField('label_file')
    packed.metadata.labels.extend(_read(path))
    return packed


def require_one_source(message: proto.Quantization) -> None:
    """Refuses labels beside a label file.

    Raises:
      EdgeError: there are both.
    """
    if message.metadata.label_file and message.metadata.labels:
        raise EdgeError('Quantization.metadata has both labels and a label_file; leave one of the two unset.')


def _read(path: str) -> list[str]:
    import tensorflow as tf  # takes seconds

    remedy = 'name a UTF-8 text file with one label in each line.'
    try:
        with tf.io.gfile.GFile(path, 'rb') as file:
            content: bytes = file.read(_MAX_BYTES + 1)
    except (OSError, tf.errors.OpError) as error:
        raise EdgeError(
            f'Quantization.metadata.label_file {path} cannot be read ({type(error).__name__}); {remedy}'
        ) from error
    if len(content) > _MAX_BYTES:
        raise EdgeError(f'Quantization.metadata.label_file {path} is larger than 1 MiB; {remedy}')
    try:
        # Not splitlines, which splits at other characters than line ends too.
        labels = content.decode('utf-8').replace('\r\n', '\n').removesuffix('\n').split('\n')
    except UnicodeDecodeError as error:
        raise EdgeError(f'Quantization.metadata.label_file {path} is no UTF-8 text; {remedy}') from error
    if labels == ['']:
        raise EdgeError(f'Quantization.metadata.label_file {path} is empty; {remedy}')
    return labels
