"""Rewrite a traced training step before it is compiled: the same numbers in fewer passes over memory."""

from typing import Any

import torch
from torch.fx import GraphModule, Node

_aten = torch.ops.aten
_KEEPING = (_aten._to_copy.default, _aten.view.default, _aten._unsafe_view.default)
"""Operations that leave a matrix the same matrix, if its shape stays."""


def with_biases_apart(program: GraphModule) -> GraphModule:
    """Add the biases of bf16 products in float32, in the next operation, which is a pass over memory already.

    `addmm` copies the bias into its result first: 14 µs for 128 × 512 on a CPU.
    """
    for node in program.graph.find_nodes(op="call_function", target=_aten.addmm.default):
        bias, left, right = _nodes(node)
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
    """Compute the gradients of stacked weights in the memory order of the weights: (A·B)ᵀ as Bᵀ·Aᵀ.

    `vmap` computes xᵀ·g and transposes the result. The update, which moves most of a step's memory, would read it across
    the rows.
    """
    for node in program.graph.find_nodes(op="call_function", target=_aten.transpose.int):
        chain = _product_behind(node)
        if not chain:
            continue
        left, right = _nodes(chain[-1])
        with program.graph.inserting_before(node):
            factors = [program.graph.call_function(_aten.transpose.int, (factor, 1, 2)) for factor in (right, left)]
            gradient = program.graph.call_function(_aten.bmm.default, tuple(factors))
            for cast in reversed(chain):
                if cast.target is _aten._to_copy.default:
                    gradient = program.graph.call_function(_aten._to_copy.default, (gradient,), dict(cast.kwargs))
        node.replace_all_uses_with(gradient)
        for replaced in (node, *chain):
            program.graph.erase_node(replaced)
    program.recompile()
    return program


def _product_behind(transposed: Node) -> list[Node]:
    """Return the nodes from the input of `transposed` back to the product that made it; none if something else did."""
    node, *dims = _nodes(transposed)
    chain: list[Node] = []
    while len(node.users) == 1 and sorted(dims) in ([1, 2], [-2, -1]):
        chain.append(node)
        if node.target is _aten.bmm.default:
            return chain
        source = _nodes(node)[0]
        if node.target not in _KEEPING or _shape(node) != _shape(source):
            break
        node = source
    return []


def _nodes(node: Node) -> tuple[Any, ...]:
    """Return the arguments of an operation. Their types depend on the operation, which the caller knows."""
    return node.args


def _shape(node: Node) -> tuple[int, ...]:
    return tuple(node.meta["val"].shape)
