"""Devices of jobs, and features of the CPU."""

from pathlib import Path

import pytest
import torch

from sign_ablate.jobs import device


@pytest.fixture(autouse=True)
def _ask_again() -> None:
    device.cpu_has_bfloat16.cache_clear()


@pytest.mark.parametrize(
    ("cpuinfo", "expected"),
    [
        ("flags\t\t: fpu avx2 avx512f avx512_bf16\n", True),
        ("flags\t\t: fpu avx2 amx_bf16 amx_tile\n", True),
        ("Features\t: fp asimd bf16\n", True),
        ("flags\t\t: fpu avx2 avx512f\n", False),
        ("processor\t: 0\n", True),  # unknown
    ],
)
def test_bfloat16_by_the_flags_of_the_cpu(
    cpuinfo: str, expected: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cpuinfo").write_text(cpuinfo)
    monkeypatch.setattr(device, "CPUINFO", tmp_path / "cpuinfo")
    assert device.cpu_has_bfloat16() is expected


HAS_BFLOAT16 = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)()


@pytest.mark.skipif(not HAS_BFLOAT16, reason="torch sees no avx512_bf16 here")
def test_bfloat16_where_torch_sees_it() -> None:
    assert device.cpu_has_bfloat16()
