"""The papers' pseudo-code in NumPy float64, written for reading. Gradients and noise come from outside."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
#: (x, k) → C(x), k = 1, 2, … keys the noise
Compress = Callable[[Array, int], Array]


def lion(
    x: Array, gs: Sequence[Array], *, lr: float, beta1: float, beta2: float, decay: float
) -> list[Array]:
    """2302.06675, Algorithm 2."""
    m, path = np.zeros_like(x), []
    for g in gs:
        c = beta1 * m + (1 - beta1) * g
        x = x - lr * (np.sign(c) + decay * x)
        m = beta2 * m + (1 - beta2) * g
        path.append(x)
    return path


def scaled_sign(x: Array, k: int = 0) -> Array:
    """1901.09847, Algorithm 1: C(x) = (‖x‖₁/d)·sign(x)."""
    return np.abs(x).sum() / x.size * np.sign(x)


def one_bit(x: Array, k: int = 0) -> Array:
    """Seide et al. 2014, column by column of a matrix."""
    out = np.empty_like(x)
    for j in range(x.shape[1]):
        column = x[:, j]
        for side in (column < 0, column >= 0):
            if side.any():
                out[side, j] = column[side].mean()
    return out


def qsgd(x: Array, u: Array, s: int, norm: float, bucket: int) -> Array:
    """1610.02132, section 3.1. `u` is uniform; `norm` is 2 or inf."""
    flat, noise, out = x.ravel(), u.ravel(), np.zeros(x.size)
    for start in range(0, x.size, bucket):
        size = np.linalg.norm(flat[start : start + bucket], norm)
        for i in range(start, min(start + bucket, x.size)):
            if size > 0:
                a = abs(flat[i]) / size * s
                level = np.floor(a)
                out[i] = size * np.sign(flat[i]) * (level + (noise[i] < a - level)) / s
    return out.reshape(x.shape)


def terngrad(g: Array, u: Array, clip: float | None) -> Array:
    """1705.07878: clipping, then ternarization (eqs. 1–3)."""
    if clip is not None:
        bound = clip * np.sqrt(np.mean((g - g.mean()) ** 2))
        g = np.where(np.abs(g) <= bound, g, np.sign(g) * bound)
    s = np.abs(g).max()
    return s * np.sign(g) * (u < np.abs(g) / s)


def top_k(x: Array, fraction: float) -> Array:
    """1809.07599, Definition 2.2."""
    order = np.argsort(-np.abs(x.ravel()))
    out = np.zeros(x.size)
    kept = order[: max(1, round(fraction * x.size))]
    out[kept] = x.ravel()[kept]
    return out.reshape(x.shape)


def ef_sgd(x: Array, gs: Sequence[Array], lrs: Sequence[float], compress: Compress) -> list[Array]:
    """1901.09847, Algorithm 2."""
    e, path = np.zeros_like(x), []
    for k, (g, lr) in enumerate(zip(gs, lrs, strict=True), 1):
        p = lr * g + e
        delta = compress(p, k)
        x = x - delta
        e = p - delta
        path.append(x)
    return path


def compressed_sgd(x: Array, gs: Sequence[Array], lrs: Sequence[float], compress: Compress) -> list[Array]:
    """SGD with C(g) for g."""
    path = []
    for k, (g, lr) in enumerate(zip(gs, lrs, strict=True), 1):
        x = x - lr * compress(g, k)
        path.append(x)
    return path


def swats(
    w: Array, gs: Sequence[Array], *, alpha: float | Array, beta1: float, beta2: float, eps: float, tol: float
) -> tuple[list[Array], int | None, Any]:
    """1712.07628, Algorithm 1, line by line, but for ϵ's place. Returns w_k, the k of the switch, and Λ.

    With one α per coordinate, γ, λ and Λ are vectors: SGD's rates are in the same relation as Adam's.
    """
    m, a, v = np.zeros_like(w), np.zeros_like(w), np.zeros_like(w)
    lam, big_lambda, switch, path = 0.0 * alpha, 0.0 * alpha, None, []
    for k, g in enumerate(gs, 1):
        if switch is not None:
            v = beta1 * v + g
            w = w - (1 - beta1) * big_lambda * v
            path.append(w)
            continue
        m = beta1 * m + (1 - beta1) * g
        a = beta2 * a + (1 - beta2) * g**2
        p = -alpha * (m / (1 - beta1**k)) / (np.sqrt(a / (1 - beta2**k)) + eps)
        w = w + p
        path.append(w)
        if (p * g).sum() != 0:
            gamma = alpha * ((p * p).sum() / -(p * alpha * g).sum())  # proj_p(−γg) = p
            lam = beta2 * lam + (1 - beta2) * gamma
            if k > 1 and np.max(abs(lam / (1 - beta2**k) - gamma)) < tol:
                switch, big_lambda = k, lam / (1 - beta2**k)
    return path, switch, big_lambda


def onebit_adam(
    x: Array,
    gs: Sequence[Array],
    *,
    lr: float,
    beta1: float,
    beta2: float,
    eps: float,
    warmup: int,
    correct: bool,
) -> list[Array]:
    """2102.02888, Algorithm 1, with one worker and the ‖·‖₂ scale."""
    m, v, delta, path = np.zeros_like(x), np.zeros_like(x), np.zeros_like(x), []
    for k, g in enumerate(gs, 1):
        m = beta1 * m + (1 - beta1) * g
        if k <= warmup:
            v = beta2 * v + (1 - beta2) * g**2
        else:
            p = m + delta
            m = np.linalg.norm(p) / np.sqrt(p.size) * np.sign(p)
            delta = p - m
        c1, c2 = (1 - beta1**k, 1 - beta2 ** min(k, warmup)) if correct else (1.0, 1.0)
        x = x - lr * (m / c1) / (np.sqrt(v / c2) + eps)
        path.append(x)
    return path
