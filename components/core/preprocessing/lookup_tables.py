"""Looking integers up in a table that does not change (Keras' IntegerLookup), written as comparisons with its keys."""

from __future__ import annotations

import dataclasses

import numpy as np
from tensorflow.core.framework import node_def_pb2, types_pb2

from tfx_edge.components.core.preprocessing.added_nodes import AddedNodes

INTEGERS = (types_pb2.DT_INT32, types_pb2.DT_INT64)
# Every integer that is looked up is compared with every key.
MOST_KEYS = 2**14


@dataclasses.dataclass(frozen=True)
class LookupTable:
    """What a table holds.

    Attributes:
      keys: integers of shape (n,), each once.
      values: shape (n,).
    """

    keys: np.ndarray
    values: np.ndarray


def write_lookup(node: node_def_pb2.NodeDef, table: LookupTable, added: AddedNodes) -> bool:
    """Adds what computes the same as a lookup.

    The rank of an integer among the sorted keys is its position there, if it is a key.

    Args:
      node: a LookupTableFindV2: the table, integers of any shape, and the value of those that are no keys.
      table: what the table holds.
      added: takes the nodes.

    Returns:
      False, and nothing is added, where the table is empty or has more than MOST_KEYS keys.
    """
    count = len(table.keys)
    if not 0 < count <= MOST_KEYS:
        return False
    _, integers, default = (name for name in node.input if not name.startswith('^'))
    key_kind, value_kind, int32 = node.attr['Tin'].type, node.attr['Tout'].type, types_pb2.DT_INT32
    order = np.argsort(table.keys)
    last = added.constant('last_axis', np.int32(-1))
    first = added.constant('first_axis', np.int32(0))
    keys = added.constant('keys', table.keys[order])
    column = added.add('ExpandDims', 'column', [integers, last], T=key_kind, Tdim=int32)
    is_before = added.add('Less', 'is_before', [keys, column], T=key_kind)
    counted = added.add('Cast', 'counted', [is_before], SrcT=types_pb2.DT_BOOL, DstT=int32)
    rank = added.add('Sum', 'rank', [counted, last], T=int32, Tidx=int32)
    # An integer above all keys has a rank of its own, at which it differs from the key.
    padded = [
        added.constant(name, np.append(array[order], array[order[-1]]))
        for name, array in (('key_of_rank', table.keys), ('value_of_rank', table.values))
    ]
    found, value = (
        added.add('GatherV2', name, [array, rank, first], Tparams=kind, Tindices=int32, Taxis=int32)
        for name, array, kind in zip(
            ('found_key', 'found_value'), padded, (key_kind, value_kind), strict=True
        )
    )
    is_key = added.add('Equal', 'is_key', [found, integers], T=key_kind)
    added.last('SelectV2', [is_key, value, default], T=value_kind)
    return True
