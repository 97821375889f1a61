"""Cache of small arrays that a step needs on the device, copied there without waiting for it."""

from collections import OrderedDict, defaultdict
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

#: number of cached arrays: the addresses of gradients change, mostly among few values
_KEPT = 128
_arrays: OrderedDict[Any, Tensor] = OrderedDict()
#: page-locked arrays of each shape that are kept ready for capture, during which none can be allocated
_SPARES = 8
_spare: defaultdict[Any, list[Tensor]] = defaultdict(list)
#: arrays that captured graphs read
_captured: list[Tensor] = []


def on_device(key: Any, make: Callable[[], Tensor], device: torch.device) -> Tensor:
    """Copy the array that `make` returns to the device, without waiting for it; cached by key and stream.

    A CUDA graph contains the copy as a node, which runs at each replay. An array that is made under capture
    is empty until then, so it is not shared with other steps.
    """
    if device.type != "cuda" or not torch.cuda.is_initialized():  # the latter: fake tensors
        return make().to(device)
    key = (key, device, torch.cuda.current_stream().cuda_stream)
    capturing = torch.cuda.is_current_stream_capturing()
    found = _arrays.get(key)
    if found is None:
        array = make()
        spares = _spare[array.shape, array.dtype] if capturing else []
        pinned = spares.pop() if spares else torch.empty(array.shape, dtype=array.dtype, pin_memory=True)
        found = pinned.copy_(array).to(device, non_blocking=True)
        if capturing:
            _captured.extend((pinned, found))
            return found
        _arrays[key] = found
        if len(_arrays) > _KEPT:
            _arrays.popitem(last=False)
    elif capturing:
        _captured.append(found)
    else:
        _arrays.move_to_end(key)
    if not capturing and len(spares := _spare[found.shape, found.dtype]) < _SPARES:
        spares.append(torch.empty(found.shape, dtype=found.dtype, pin_memory=True))
    return found
