"""Flat parameters: views, gaps, and a small model inside a larger one."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from vaeexp.training.padded_views import Layout

shapes = st.lists(st.integers(1, 5), min_size=0, max_size=3).map(torch.Size)


@given(st.lists(shapes, min_size=1, max_size=4), st.data())
def test_a_small_model_lives_in_the_leading_slices_of_a_large_one(small_shapes, data):
    large_shapes = [torch.Size(n + data.draw(st.integers(0, 3)) for n in shape) for shape in small_shapes]
    small = Layout({f"p{i}": shape for i, shape in enumerate(small_shapes)})
    large = Layout({f"p{i}": shape for i, shape in enumerate(large_shapes)})
    tensors = {name: torch.randn(shape) for name, shape in small.shapes.items()}
    embedded = torch.zeros(large.size)
    for name, part in large.padded_views(embedded, small).items():
        part.copy_(tensors[name])
    for name, view in large.views(embedded).items():
        inner = view[tuple(slice(n) for n in small.shapes[name])]
        assert torch.equal(inner, tensors[name])
        assert view.count_nonzero() == inner.count_nonzero()


def test_views_share_memory_and_keep_the_leading_axis():
    layout = Layout({"w": torch.Size([2, 3]), "b": torch.Size([5])})
    flat = torch.zeros(4, layout.size)
    layout.views(flat)["w"][2, 1, 1] = 7
    assert flat[2].sum() == 7
    assert flat[[0, 1, 3]].abs().sum() == 0
    assert layout.offsets["b"] % 16 == 0
