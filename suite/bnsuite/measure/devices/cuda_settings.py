"""Settings of CUDA and of torch on it that change what is measured: environment variables and flags."""

from __future__ import annotations

from typing import Any

#: Environment variables that change what is measured on a GPU. Their values are settings, never secrets.
VARIABLES = (
    "CUBLASLT_WORKSPACE_SIZE",
    "CUBLAS_WORKSPACE_CONFIG",
    "CUDA_AUTO_BOOST",
    "CUDA_CACHE_DISABLE",
    "CUDA_DEVICE_MAX_CONNECTIONS",
    "CUDA_DEVICE_ORDER",
    "CUDA_FORCE_PTX_JIT",
    "CUDA_LAUNCH_BLOCKING",
    "CUDA_MODULE_LOADING",
    "CUDA_VISIBLE_DEVICES",
    "NVIDIA_DRIVER_CAPABILITIES",
    "NVIDIA_TF32_OVERRIDE",
    "NVIDIA_VISIBLE_DEVICES",
    "PYTORCH_CUDA_ALLOC_CONF",
    "PYTORCH_NO_CUDA_MEMORY_CACHING",
    "PYTORCH_NVML_BASED_CUDA_CHECK",
    "PYTORCH_TUNABLEOP_ENABLED",
    "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE",
    "TORCH_BLAS_PREFER_CUBLASLT",
    "TORCH_COMPILE_DISABLE",
    "TORCH_CUBLASLT_UNIFIED_WORKSPACE",
    "TORCH_CUDNN_USE_HEURISTIC_MODE_B",
    "TORCH_CUDNN_V8_API_DISABLED",
    "TORCH_CUDNN_V8_API_LRU_CACHE_LIMIT",
)

#: Families of such variables, by the beginning of their names.
VARIABLE_FAMILIES = ("CUDA_MPS_", "NCCL_", "TORCHINDUCTOR_", "TORCH_NCCL_", "TRITON_")


def torch_facts() -> dict[str, Any]:
    """The CUDA version torch was built for, and the flags of its GPU libraries; recorded on every device."""
    import torch

    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    flags = {
        "matmul_tf32": (matmul, "allow_tf32"),
        "matmul_fp16_reduced": (matmul, "allow_fp16_reduced_precision_reduction"),
        "matmul_bf16_reduced": (matmul, "allow_bf16_reduced_precision_reduction"),
        "matmul_fp16_accumulation": (matmul, "allow_fp16_accumulation"),
        "cudnn_tf32": (cudnn, "allow_tf32"),
        "cudnn_benchmark": (cudnn, "benchmark"),
        "cudnn_deterministic": (cudnn, "deterministic"),
        "cudnn_enabled": (cudnn, "enabled"),
    }
    precisions = {
        "all": (torch.backends, "fp32_precision"),
        "matmul": (matmul, "fp32_precision"),
        "cudnn": (cudnn, "fp32_precision"),
        "cudnn_conv": (getattr(cudnn, "conv", None), "fp32_precision"),
        "cudnn_rnn": (getattr(cudnn, "rnn", None), "fp32_precision"),
    }
    return {
        "cuda": torch.version.cuda,
        "flags": {
            **{name: seen for name, where in flags.items() if isinstance(seen := _setting(*where), bool)},
            "deterministic_algorithms": torch.are_deterministic_algorithms_enabled(),
        },
        "precisions": {
            **{name: seen for name, where in precisions.items() if isinstance(seen := _setting(*where), str)},
            **_float32_matmul(),
        },
    }


def _float32_matmul() -> dict[str, str]:
    """The precision by its older name; newer releases refuse it where precisions by operation overrule it."""
    import torch

    try:
        return {"float32_matmul": torch.get_float32_matmul_precision()}
    except RuntimeError:
        return {}


def _setting(where: Any, name: str) -> Any:
    """A setting of torch, or None: older releases lack some, and newer ones refuse flags that precisions overrule."""
    try:
        return getattr(where, name, None)
    except RuntimeError:
        return None
