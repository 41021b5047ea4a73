"""Family ``other-norms``: layer, group, instance and RMS norm, held to what batch norm is held to."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from bnsuite.cases.checks.case import NumericsCase
from bnsuite.cases.checks.material.other_norms import GROUP, LAYER, RMS
from bnsuite.cases.checks.material.outcomes import each_backend
from bnsuite.cases.checks.numerics.other_norms import edges, magnitudes, precisions

RULES = {
    "step": "in every precision and layout a step is as exact as two-pass arithmetic in float32, and keeps both",
    "settings": "the layer computes with the eps, weight and bias that it was given",
    "scales": "results are right at every scale whose variance a float32 holds",
    "peaks": "one large value in a slice costs no more than the resolution of the input",
    "offsets": "a mean far from zero costs no more than the resolution of the input",
    "not-finite": "a value that is not finite reaches what it reaches in float64",
    "statistics": "running statistics are those of float64, in place, and evaluation reads them",
    "modes": "a norm without running statistics computes the same in training and in evaluation",
    "zero-weight": "a weight of zero gives the bias, and exact gradients",
    "empty": "an empty batch gives an empty result and gradients of zero",
    "many": "statistics of many values are summed in float32",
    "sizes": "few values and extents of 1 are computed like any others",
}
#: On a CPU's kernels alone it is known how many places the sums lose.
FROM_CPU = {"offsets": ("*mean=100000std/*",)}
QUICK = {
    *(f"step/{kind}/1d/float32/parameters=float32" for kind in (LAYER, RMS, GROUP)),
    "step/instance_norm/1d/train/tracked/float32/parameters=float32",
    "not-finite/layer_norm/nc/float32/contiguous/x",
}


def cases() -> Iterator[NumericsCase]:
    for part in (precisions, magnitudes, edges):
        for rule, rest, observers, rows in part.entries():
            name = f"{rule}/{rest}"
            yield NumericsCase(
                group="other-norms",
                name=name,
                observe=partial(each_backend, observers=observers),
                rule=RULES[rule],
                rows=rows,
                torch_only=True,
                from_cpu=FROM_CPU.get(rule, ()),
                quick=name in QUICK,
            )
