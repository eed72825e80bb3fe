"""Pictures of flips, from the features of an example that are pictures."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf

from tfx_edge.components.core.evaluation.evaluators.flips import PREFIX

# Beginnings of files that browsers show, with their media types. No SVG, which may hold a script.
_FORMATS = {b'\x89PNG\r\n\x1a\n': 'png', b'\xff\xd8\xff': 'jpeg', b'GIF8': 'gif'}
_MOST_BYTES = 100_000
_CHANNELS = (1, 3)


def flip_pictures(
    records: Sequence[bytes], shapes: Mapping[str, Sequence[int | None]]
) -> dict[int, list[str]]:
    """Makes pictures of serialized tf.Examples.

    A feature is a picture if it is a PNG, JPEG or GIF file of up to 100,000 bytes, or has the name of a model's
    input of shape (batch, height, width, 1 or 3); the smallest of its values is then shown black and the largest white.

    Args:
      records: of `flips.tfrecord`, in order.
      shapes: of the model's inputs by name, the batch first.

    Returns:
      Data URIs by place of the example; examples without a picture are left out.

    Example:
      >>> flip_pictures(records, {'image': (None, 8, 8, 1)})[0][0][:22]
      'data:image/png;base64,'
    """
    found: dict[int, list[str]] = {}
    for place, record in enumerate(records):
        features = tf.train.Example.FromString(record).features.feature
        uris = [
            uri
            for name in sorted(features)
            if not name.startswith(f'{PREFIX}/')
            for uri in [_picture(features[name], shapes.get(name, ()))]
            if uri
        ]
        if uris:
            found[place] = uris
    return found


def _picture(feature: tf.train.Feature, shape: Sequence[int | None]) -> str:
    kind = feature.WhichOneof('kind')
    if kind == 'bytes_list' and len(feature.bytes_list.value) == 1:
        content = feature.bytes_list.value[0]
        for beginning, media_type in _FORMATS.items():
            if content.startswith(beginning) and len(content) <= _MOST_BYTES:
                return _data_uri(content, media_type)
        return ''
    if kind not in ('float_list', 'int64_list') or len(shape) != 4 or shape[3] not in _CHANNELS:
        return ''
    values = np.array(getattr(feature, kind).value, np.float64)
    rows = [size for size in shape[1:] if size is not None]
    if len(rows) != 3 or values.size != np.prod(rows) or not np.isfinite(values).all():
        return ''
    low, high = values.min(), values.max()
    levels = np.rint((values - low) / (high - low or 1.0) * 255).astype(np.uint8).reshape(rows)
    return _data_uri(tf.io.encode_png(levels).numpy(), 'png')


def _data_uri(content: bytes, media_type: str) -> str:
    return f'data:image/{media_type};base64,{base64.b64encode(content).decode()}'
