"""What differs between TFX 1.16 (TensorFlow 2.16) and TFX 1.21 (TensorFlow 2.21), and where it is evened out.

Most code is right on both and does not depend on the version. Where it must, only this module decides, by what the
installed library offers and not by its version.

| what | 1.16 | 1.21 | evened out by |
|---|---|---|---|
| `fingerprint.pb` of a SavedModel | no id | a random id | `set_content_id` below: an id made of the content |
| features of records | one order | another in each run | `record_content` in `core/examples/example_parser.py` |
| converter: order and names of constants, its version | its own | its own | `core/litert/file/canonical_form.py` |
| converter: Keras 3's `tf.saved_model.save` | aborts | unset variables | `core/litert/conversion/convert.py` |
| converter: fusions | fewer | more PADs and ADDs | nothing: such files differ, what they compute does not |
| Keras 3's export: order of variables | fixed | random | `compression/restore_graph.py`, which goes by captures |
| TFMA: messages it exports | all | those that TFX adds | imports from `tensorflow_model_analysis.proto` |
| TFX: first argument of Trainer | examples | statistics | keyword arguments |
| kernels: last bits of float training | | | nothing: trained weights differ, accuracies do not |
"""

from __future__ import annotations

import hashlib
import uuid

from tensorflow.core.protobuf import fingerprint_pb2


def set_content_id(fingerprint: fingerprint_pb2.FingerprintDef) -> None:
    """Replaces the random id by one that follows from the other fields; nothing to do where there is none.

    TensorFlow has had the field since 2.17.
    """
    if 'uuid' not in fingerprint.DESCRIPTOR.fields_by_name:
        return
    fingerprint.ClearField('uuid')
    digest = hashlib.sha256(fingerprint.SerializeToString(deterministic=True)).digest()
    fingerprint.uuid = str(uuid.UUID(bytes=digest[:16]))
