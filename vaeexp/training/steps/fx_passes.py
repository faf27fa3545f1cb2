"""What is changed in a traced training step before it is compiled: the same numbers, in fewer passes over memory."""

import torch
from torch.fx import GraphModule, Node

_aten = torch.ops.aten
_KEEPING = (_aten._to_copy.default, _aten.view.default, _aten._unsafe_view.default)
"""Operations after which a matrix is the same matrix, where its shape is."""


def with_biases_apart(program: GraphModule) -> GraphModule:
    """Biases of bf16 products added in float32 by what comes next, which is a pass over memory already.

    `addmm` copies them into its result first: 14 µs for each of 128 × 512 on a CPU.
    """
    for node in program.graph.find_nodes(op="call_function", target=_aten.addmm.default):
        bias, left, right = node.args
        if node.kwargs or bias.target is not _aten._to_copy.default:
            continue
        with program.graph.inserting_before(node):
            product = program.graph.call_function(_aten.mm.default, (left, right))
            wide = program.graph.call_function(_aten._to_copy.default, (product,), {"dtype": torch.float32})
            total = program.graph.call_function(_aten.add.Tensor, (wide, bias.args[0]))
            narrow = program.graph.call_function(_aten._to_copy.default, (total,), {"dtype": torch.bfloat16})
        node.replace_all_uses_with(narrow)
        program.graph.erase_node(node)
    program.recompile()
    return program


def with_gradients_as_weights(program: GraphModule) -> GraphModule:
    """Gradients of stacked weights computed in the order in which the weights lie: (A·B)ᵀ as Bᵀ·Aᵀ.

    `vmap` makes xᵀ·g of them and turns that around, and the update, which is most of what a step moves, would read them
    across the rows of memory.
    """
    for node in program.graph.find_nodes(op="call_function", target=_aten.transpose.int):
        chain = _product_behind(node)
        if not chain:
            continue
        left, right = chain[-1].args
        with program.graph.inserting_before(node):
            turned = [program.graph.call_function(_aten.transpose.int, (each, 1, 2)) for each in (right, left)]
            found = program.graph.call_function(_aten.bmm.default, tuple(turned))
            for cast in reversed(chain):
                if cast.target is _aten._to_copy.default:
                    found = program.graph.call_function(cast.target, (found,), dict(cast.kwargs))
        node.replace_all_uses_with(found)
        for gone in (node, *chain):
            program.graph.erase_node(gone)
    program.recompile()
    return program


def _product_behind(transposed: Node) -> list[Node]:
    """From what this node turns around back to the product that made it, casts in between; nothing where it is not so."""
    node, *dims = transposed.args
    chain: list[Node] = []
    while len(node.users) == 1 and sorted(dims) in ([1, 2], [-2, -1]):
        chain.append(node)
        if node.target is _aten.bmm.default:
            return chain
        if node.target not in _KEEPING or _shape(node) != _shape(node.args[0]):
            break
        node = node.args[0]
    return []


def _shape(node: Node) -> tuple[int, ...]:
    return tuple(node.meta["val"].shape)
