"""Variables that loops and branches read, read once outside of them.

The body of a While or an If is a function: a variable reaches it as a resource and is read inside, where
the read cannot be replaced. Here the read moves in front of the loop, and the body gets the value as an argument.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Mapping

from tensorflow.core.framework import function_pb2, graph_pb2, node_def_pb2, tensor_shape_pb2, types_pb2

# Operation -> attributes that name the functions it calls, and how many inputs stand before their arguments.
FUNCTION_ATTRIBUTES: dict[str, tuple[str, ...]] = {
    'While': ('cond', 'body'),
    'StatelessWhile': ('cond', 'body'),
    'If': ('then_branch', 'else_branch'),
    'StatelessIf': ('then_branch', 'else_branch'),
    'Case': ('branches',),
    'StatelessCase': ('branches',),
    'PartitionedCall': ('f',),
    'StatefulPartitionedCall': ('f',),
}
LOOPS = ('While', 'StatelessWhile')
_FIRST_ARGUMENT = {'If': 1, 'StatelessIf': 1, 'Case': 1, 'StatelessCase': 1}

_Shapes = Mapping[str, tensor_shape_pb2.TensorShapeProto]


def lift_variable_reads(graph_def: graph_pb2.GraphDef, shapes: _Shapes) -> graph_pb2.GraphDef:
    """Makes every read of a variable a `ReadVariableOp` of the graph itself.

    Reads inside of While, If, Case and calls move in front of them, and ResourceGather becomes a read and a
    GatherV2. A variable that is also assigned, or used in another way, is left as it is everywhere.

    Args:
      graph_def: a graph with its functions.
      shapes: of the variables, by the placeholder that stands for the resource.

    Returns:
      A graph that computes the same; functions that changed have a name that follows from their content.
    """
    lifted = graph_pb2.GraphDef()
    lifted.CopyFrom(graph_def)
    functions = {function.signature.name: function for function in lifted.library.function}
    if not any(node.op in FUNCTION_ATTRIBUTES or node.op == 'ResourceGather' for node in lifted.node):
        shapes = {}  # nothing takes a resource but reads
    for placeholder, shape in shapes.items():
        aliases = _aliases(lifted.node, placeholder)
        dtypes = _dtypes_read(lifted.node, aliases, functions)
        if dtypes is not None and len(dtypes) == 1:
            _lift(lifted, placeholder, aliases, _Value(dtypes.pop(), shape), functions)
    del lifted.library.function[:]
    lifted.library.function.extend(functions[name] for name in sorted(_called(lifted.node, functions)))
    return lifted


def called_functions(node: node_def_pb2.NodeDef) -> list[str]:
    """Names of the functions that an operation of FUNCTION_ATTRIBUTES calls."""
    names = []
    for key in FUNCTION_ATTRIBUTES[node.op]:
        value = node.attr[key]
        names += [value.func.name] if value.HasField('func') else [f.name for f in value.list.func]
    return names


def first_argument(node: node_def_pb2.NodeDef) -> int:
    """The input that becomes the first argument of the functions that an operation calls."""
    return _FIRST_ARGUMENT.get(node.op, 0)


class _Value:
    """The type and shape of the value that replaces a resource."""

    def __init__(self, dtype: int, shape: tensor_shape_pb2.TensorShapeProto) -> None:
        self.dtype = dtype
        self.shape = shape


_Functions = dict[str, function_pb2.FunctionDef]


def _lift(
    graph_def: graph_pb2.GraphDef, placeholder: str, aliases: set[str], value: _Value, functions: _Functions
) -> None:
    """Lifts one variable; its read is added where a loop or a gather takes it."""
    for node in list(graph_def.node):
        positions = [i for i, name in enumerate(node.input) if name in aliases]
        if not positions or node.op in ('Identity', 'ReadVariableOp'):
            continue
        read = graph_def.node.add(op='ReadVariableOp', name=f'{node.name}/lifted_{positions[0]}')
        read.input.append(placeholder)
        read.attr['dtype'].type = value.dtype
        if node.op == 'ResourceGather':
            axis = _make_gather(node, value.dtype)
            node.input[:] = [read.name, node.input[1], axis.name]
            graph_def.node.append(axis)
        else:
            _pass_value(node, positions, value, functions)
            for position in positions:
                node.input[position] = read.name


def _aliases(nodes: Iterable[node_def_pb2.NodeDef], source: str) -> set[str]:
    """A tensor and its identities, as a graph and as a function spell them."""
    aliases = {source, f'{source}:0'}
    size = 0
    while size < len(aliases):  # identities may stand before their source in the list
        size = len(aliases)
        for node in nodes:
            if node.op == 'Identity' and node.input[0] in aliases:
                aliases |= {node.name, f'{node.name}:0', f'{node.name}:output:0'}
    return aliases


def _uses(
    nodes: Iterable[node_def_pb2.NodeDef], tensors: set[str]
) -> Iterator[tuple[node_def_pb2.NodeDef, int]]:
    for node in nodes:
        for position, name in enumerate(node.input):
            if name in tensors:
                yield node, position


def _dtypes_read(
    nodes: Iterable[node_def_pb2.NodeDef], aliases: set[str], functions: _Functions
) -> set[int] | None:
    """The types that a resource is read as; None where it is not only read."""
    dtypes: set[int] = set()
    for node, position in _uses(nodes, aliases):
        if node.op in ('ReadVariableOp', 'ResourceGather'):
            dtypes.add(node.attr['dtype'].type)
        elif node.op in FUNCTION_ATTRIBUTES:
            if node.op in LOOPS and any(
                _uses(nodes, {f'{node.name}:{position}', f'{node.name}:output:{position}'})
            ):
                return None
            for name in called_functions(node):
                found = _dtypes_read_by(functions[name], node, position, functions)
                if found is None:
                    return None
                dtypes |= found
        elif node.op != 'Identity':
            return None
    return dtypes


def _dtypes_read_by(
    function: function_pb2.FunctionDef, caller: node_def_pb2.NodeDef, position: int, functions: _Functions
) -> set[int] | None:
    """`_dtypes_read` for a function's argument; a loop's body also has to return it for the next iteration."""
    index = position - first_argument(caller)
    aliases = _aliases(function.node_def, function.signature.input_arg[index].name)
    returned = {i for i, out in enumerate(function.signature.output_arg) if function.ret[out.name] in aliases}
    is_body = caller.op in LOOPS and function.signature.name == caller.attr['body'].func.name
    if returned != ({index} if is_body else set()):
        return None
    return _dtypes_read(function.node_def, aliases, functions)


def _pass_value(
    node: node_def_pb2.NodeDef, positions: list[int], value: _Value, functions: _Functions
) -> None:
    """Has an operation pass a value to its functions where it passed a resource."""
    indices = [position - first_argument(node) for position in positions]
    for key in ('T', 'Tin'):
        if key in node.attr:
            for index in indices:
                node.attr[key].list.type[index] = value.dtype
    if node.op in LOOPS and node.attr['output_shapes'].list.shape:
        for index in indices:
            node.attr['output_shapes'].list.shape[index].CopyFrom(value.shape)
    for stale in ('_read_only_resource_inputs', '_output_shapes'):
        if stale in node.attr:
            del node.attr[stale]
    for key in FUNCTION_ATTRIBUTES[node.op]:
        called = node.attr[key]
        for reference in [called.func] if called.HasField('func') else called.list.func:
            function = _taking_value(functions[reference.name], indices, value, functions)
            functions[function.signature.name] = function
            reference.name = function.signature.name


def _called(nodes: Iterable[node_def_pb2.NodeDef], functions: _Functions) -> set[str]:
    """The functions that some nodes call, and those that these call."""
    values = [value for node in nodes for value in node.attr.values()]
    names = {value.func.name for value in values if value.HasField('func')}
    names.update(reference.name for value in values for reference in value.list.func)
    return names.union(*(_called(functions[name].node_def, functions) for name in names))


def _taking_value(
    function: function_pb2.FunctionDef, indices: list[int], value: _Value, functions: _Functions
) -> function_pb2.FunctionDef:
    """A copy of a function that takes a value in place of some resource arguments."""
    copy = function_pb2.FunctionDef()
    copy.CopyFrom(function)
    renamed: dict[str, str] = {}
    for index in indices:
        argument = copy.signature.input_arg[index]
        aliases = _aliases(copy.node_def, argument.name)
        _retype(argument, value)
        if index in copy.arg_attr and '_output_shapes' in copy.arg_attr[index].attr:
            copy.arg_attr[index].attr['_output_shapes'].list.shape[0].CopyFrom(value.shape)
        for output in copy.signature.output_arg:
            if copy.ret[output.name] in aliases:
                _retype(output, value)
        for node in list(copy.node_def):
            taken = [i for i, name in enumerate(node.input) if name in aliases]
            if taken:
                renamed |= _take_value(copy, node, taken, value, functions)
    for node in copy.node_def:
        node.input[:] = [renamed.get(name, name) for name in node.input]
    for key, name in copy.ret.items():
        copy.ret[key] = renamed.get(name, name)
    copy.signature.name = ''
    content = zlib.crc32(copy.SerializeToString(deterministic=True))
    copy.signature.name = f'{function.signature.name}_{content:08x}'
    return copy


def _take_value(
    function: function_pb2.FunctionDef,
    node: node_def_pb2.NodeDef,
    positions: list[int],
    value: _Value,
    functions: _Functions,
) -> dict[str, str]:
    """Has a node of a function take a value for a resource; returns the outputs that changed their names."""
    if node.op in ('Identity', 'ReadVariableOp'):
        was_read = node.op == 'ReadVariableOp'
        node.op = 'Identity'
        node.attr.clear()
        node.attr['T'].type = value.dtype
        return {f'{node.name}:value:0': f'{node.name}:output:0'} if was_read else {}
    if node.op == 'ResourceGather':
        axis = _make_gather(node, value.dtype)
        node.input.insert(2, f'{axis.name}:output:0')
        function.node_def.append(axis)
    else:
        _pass_value(node, positions, value, functions)
    return {}


def _retype(argument: object, value: _Value) -> None:
    argument.type = value.dtype  # type: ignore[attr-defined]
    argument.ClearField('handle_data')  # type: ignore[attr-defined]


def _make_gather(node: node_def_pb2.NodeDef, dtype: int) -> node_def_pb2.NodeDef:
    """Turns a ResourceGather into a GatherV2 that lacks its third input; returns that input's node, the axis."""
    batch_dims, indices = node.attr['batch_dims'].i, node.attr['Tindices'].type
    node.op = 'GatherV2'
    node.attr.clear()
    node.attr['Tparams'].type = dtype
    node.attr['Tindices'].type = indices
    node.attr['Taxis'].type = types_pb2.DT_INT32
    node.attr['batch_dims'].i = batch_dims
    axis = node_def_pb2.NodeDef(op='Const', name=f'{node.name}/axis')
    axis.attr['dtype'].type = types_pb2.DT_INT32
    tensor = axis.attr['value'].tensor
    tensor.dtype = types_pb2.DT_INT32
    tensor.tensor_shape.SetInParent()
    tensor.int_val.append(batch_dims)
    return axis
