"""What jobs will run on."""

from pathlib import Path

import pytest
import torch

from sign_ablate import device


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
        ("processor\t: 0\n", True),  # it cannot be told
    ],
)
def test_bfloat16_by_the_flags_of_the_cpu(
    cpuinfo: str, expected: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cpuinfo").write_text(cpuinfo)
    monkeypatch.setattr(device, "CPUINFO", tmp_path / "cpuinfo")
    assert device.cpu_has_bfloat16() is expected


@pytest.mark.skipif(not hasattr(torch.cpu, "_is_avx512_bf16_supported"), reason="this torch cannot tell")
def test_bfloat16_as_torch_sees_it() -> None:
    if torch.cpu._is_avx512_bf16_supported():
        assert device.cpu_has_bfloat16()
