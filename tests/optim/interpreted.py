"""Triton's interpreter with the rounding of a GPU: import before a kernel runs under TRITON_INTERPRET=1.

The interpreter rounds an fma twice, cuts a bfloat16 off instead of rounding it, and has no erfinv. Here all
three are torch's on the CPU, which the plain step uses there too. It also replaces the functions of
triton.language at every call from one kernel function to another, a third of a launch's time; here only at
the launch.
"""

import numpy as np
import torch
import triton.language as tl
from triton.language.extra import libdevice
from triton.runtime import interpreter

_Builder = interpreter.InterpreterBuilder
_cast = _Builder.cast_impl


def _fma(self, x, y, z):
    """Rounded once, from float64, where the product is exact."""
    exact = x.data.astype(np.float64) * y.data.astype(np.float64) + z.data.astype(np.float64)
    return interpreter.TensorHandle(exact.astype(np.float32), z.dtype.scalar)


def _rounding_cast(self, src, dst_type):
    if src.dtype.scalar == tl.float32 and dst_type.scalar == tl.bfloat16:
        rounded = torch.from_numpy(np.ascontiguousarray(src.data)).to(torch.bfloat16)
        return interpreter.TensorHandle(rounded.view(torch.int16).numpy().view(np.uint16), tl.bfloat16)
    return _cast(self, src, dst_type)


def _erfinv(x):
    values = torch.erfinv(torch.from_numpy(np.ascontiguousarray(x.handle.data))).numpy()
    return tl.tensor(interpreter.TensorHandle(values, x.handle.dtype), x.type)


def _call(self, *args, **kwargs):
    return self.rewrite()(*args, **kwargs)


interpreter.InterpretedFunction.__call__ = _call
_Builder.create_fma = _fma
_Builder.cast_impl = _rounding_cast
libdevice.erfinv = _erfinv
