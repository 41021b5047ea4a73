"""Code that a process runs before it imports torch, so that torch's batch norm is wrong there."""

#: Makes the batch norm of whichever torch is imported later wrong, in the process that imports this.
WRONG = """
import builtins, sys
real = builtins.__import__
def imports(name, *rest, **more):
    module = real(name, *rest, **more)
    norm = sys.modules.get("torch.nn.modules.batchnorm")
    if hasattr(norm, "SyncBatchNorm"):
        builtins.__import__ = real
        right = norm.F.batch_norm
        norm.F.batch_norm = lambda *arguments, **named: right(*arguments, **named) * 1.01
    return module
builtins.__import__ = imports
"""
