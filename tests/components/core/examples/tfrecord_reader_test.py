"""TensorFlow's reader gives each record as it is, and says nothing of tf.data."""

from __future__ import annotations

import logging
import pathlib

import pytest
import tensorflow as tf

from tfx_edge.components.core.examples.tfrecord_reader import records_of


@pytest.mark.parametrize(('name', 'compression'), [('data', ''), ('data.gz', 'GZIP')])
def test_records_are_read_as_they_are(
    tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture, name: str, compression: str
) -> None:
    records = [b'', b'one', bytes(range(256)) * 4000]
    with tf.io.TFRecordWriter(str(tmp_path / name), options=compression) as writer:
        for record in records:
            writer.write(record)
    logging.getLogger('tensorflow').addHandler(caplog.handler)
    try:
        assert list(records_of(str(tmp_path / name))) == records
    finally:
        logging.getLogger('tensorflow').removeHandler(caplog.handler)
    assert not caplog.records


def test_a_changed_byte_is_found(tmp_path: pathlib.Path) -> None:
    path = tmp_path / 'data'
    with tf.io.TFRecordWriter(str(path)) as writer:
        writer.write(b'first')
        writer.write(b'second')
    content = path.read_bytes()
    path.write_bytes(content.replace(b'second', b'sECond'))
    records = records_of(str(path))
    assert next(records) == b'first'
    with pytest.raises(tf.errors.DataLossError):
        next(records)
