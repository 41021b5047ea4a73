"""Puts the rehearsal into a child process as soon as it imports torch; counts statements where that is asked for."""

import importlib.util
import os
import sys
from importlib.abc import MetaPathFinder


class _AfterTorch(MetaPathFinder):
    """Gives torch its GPUs as soon as it is imported."""

    def find_spec(self, name, path=None, target=None):  # noqa: ANN001, ANN202
        if name != "torch":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        plain = spec.loader.exec_module

        def exec_module(module):  # noqa: ANN001, ANN202
            plain(module)
            import fakecuda

            fakecuda.install(int(os.environ["FAKE_CUDA"]))

        spec.loader.exec_module = exec_module
        return spec


if os.environ.get("FAKE_CUDA"):
    sys.meta_path.insert(0, _AfterTorch())
if os.environ.get("FAKE_CUDA_COVERAGE"):
    from fakecuda import coverage

    coverage.start()
