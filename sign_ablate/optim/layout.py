"""Memory layout of tensors: the order of their coordinates, their shapes, and the bounds of their storage."""

import functools
import itertools
import math
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor


def memory_order(x: Tensor) -> tuple[int, ...] | None:
    """The permutation of the dimensions of `x` that makes it contiguous; None where it has gaps or overlaps.

    Of a DTensor, that of the whole tensor.

    >>> import torch
    >>> memory_order(torch.zeros(2, 3).T)
    (1, 0)
    >>> memory_order(torch.zeros(4, 3)[::2]) is None
    True
    """
    return tuple(range(x.dim())) if x.is_contiguous() else _order(x.shape, x.stride())


def _order(sizes: Sequence[int], strides: Sequence[int]) -> tuple[int, ...] | None:
    # Dimensions of size 1 have no place of their own: they go first, where their strides do not matter.
    order = sorted(range(len(sizes)), key=lambda d: (sizes[d] > 1, -strides[d]))
    expected = 1
    for d in reversed(order):
        if sizes[d] > 1 and strides[d] != expected:
            return None
        expected *= sizes[d]
    return tuple(order)


@functools.lru_cache(1024)
def _is_dense(sizes: Sequence[int], strides: Sequence[int]) -> bool:
    return math.prod(sizes) == 0 or _order(sizes, strides) is not None


def contiguous_strides(sizes: Sequence[int]) -> tuple[int, ...]:
    """The strides of a contiguous tensor.

    >>> contiguous_strides((2, 3, 4))
    (12, 4, 1)
    """
    return tuple(math.prod(sizes[d + 1 :]) for d in range(len(sizes)))


def dense_alike(tensors: Sequence[Tensor]) -> bool:
    """Return True if the tensors are dense, have the same memory order, and do not overlap in memory.

    Args:
        tensors: a parameter, followed by its gradient and state.

    Raises:
        RuntimeError: if a shape differs, or a storage is too small.
    """
    p = tensors[0]
    shape, strides = p.shape, p.stride()
    # Written for speed: an eager step of many small tensors spends most of its time here.
    same = True
    for t in tensors:
        same = same and t.stride() == strides
    if not (same and _is_dense(shape, strides)) and not all(t.is_contiguous() for t in tensors):
        return False
    spans = []
    for t in tensors:
        if t.shape != shape:
            check_shape("gradient or momentum", t, p)
        check_storage(t)
        start = t.data_ptr()
        spans.append((start, start + t.nbytes))
    spans.sort()
    return all(end <= start for (_, end), (start, _) in itertools.pairwise(spans))


def in_order_of(p: Tensor, x: Tensor) -> Tensor:
    """`x` in the memory order of `p`: itself, or a copy where `p` is dense and has another order."""
    if type(x) is not Tensor or x.stride() == p.stride() or x.shape != p.shape or memory_order(p) is None:
        return x
    return torch.empty_like(p, dtype=x.dtype, requires_grad=False).copy_(x)


def check_shape(name: str, x: Any, p: Any) -> None:
    """Raise RuntimeError unless `x`, the gradient or a state of `p`, has its shape.

    A state saved with other parameters, or in another order, would be broadcast, or a step that trusts the
    shapes would write out of bounds.
    """
    if x.shape != p.shape:
        raise RuntimeError(
            f"the {name} of a parameter of shape {tuple(p.shape)} has shape {tuple(x.shape)}: it belongs to "
            "another parameter; load the state that was saved with these parameters, in their order"
        )


def check_inference(tensors: Iterable[Tensor | None]) -> None:
    """Raise RuntimeError for an inference tensor outside inference mode, as in-place operations do."""
    if torch.compiler.is_compiling() or torch.is_inference_mode_enabled():
        return
    if any(x is not None and x.is_inference() for x in tensors):
        raise RuntimeError(
            "Inplace update to inference tensor outside InferenceMode is not allowed: a parameter or "
            "momentum was made in inference mode; clone it, or step in inference mode"
        )


def check_storage(x: Tensor) -> None:
    """Raise RuntimeError where the storage of a dense `x` ends before its last element."""
    storage = x.untyped_storage()
    if (x.storage_offset() + x.numel()) * x.element_size() > storage.nbytes():
        raise RuntimeError(
            f"a tensor of shape {tuple(x.shape)} has a storage of {storage.nbytes()} bytes: it was freed or "
            "resized; restore it before the step"
        )
