"""``make bench-loops``: an epoch of a workload against the loop its article has, on this machine, in one process.

The article's loop takes its data from a DataLoader (MNIST through ToTensor, image by image); a workload keeps its data
in memory on the device, and its optimizer is fused. Both do the same steps on equally many samples. Epochs alternate,
A B B A; the result is the median of the ratios of neighbours.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median
from time import perf_counter

import torch
from tabulate import tabulate
from torch import nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

from bnsuite.cases import TrainCase, catalogue
from bnsuite.cases.data import images
from bnsuite.measure import devices

CASES = {
    "train/mnist-mlp/bn/data=mnist": 0.5,
    "train/mnist-mlp/none/data=mnist": 0.5,
    "train/synthetic-mlp/bn/lr=0.01": 0.5,
    "train/synthetic-mlp/none/lr=0.01": 0.5,
}
#: The limit on a GPU.
GPU_LIMIT = 0.1


def article(case: TrainCase, dataset: Dataset[object], device: str) -> Callable[[], None]:
    """One epoch as the article writes it: DataLoader, to(device), zero_grad, loss, backward, step, item()."""
    torch.manual_seed(0)
    model = case.network.build().to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=case.optimizer.lr)
    loss_of: nn.Module = nn.BCEWithLogitsLoss() if case.loss == "bce" else nn.CrossEntropyLoss()
    loader = DataLoader(dataset, batch_size=case.batch, shuffle=True)

    def epoch() -> None:
        model.train()
        running = 0.0
        for x, y in loader:
            x, y = x.to(device), y.to(device)  # noqa: PLW2901  # as it is written everywhere
            optimizer.zero_grad()
            loss = loss_of(model(x), y)
            loss.backward()
            optimizer.step()
            running += loss.item()

    return epoch


def seconds(epoch: Callable[[], None], device: devices.Device) -> float:
    begin = perf_counter()
    epoch()
    device.wait()
    return perf_counter() - begin


def dataset_of(case: TrainCase, scratch: str) -> Dataset[object]:
    """The data set of the article's DataLoader: torchvision's MNIST, or tensors."""
    if case.data != "mnist":
        data = case.build("cpu").data
        return TensorDataset(data.x_train, data.y_train)
    from torchvision import datasets, transforms

    source = Path(os.environ.get("BNSUITE_DATA") or images.default_folder())
    if not images.archives("mnist", source):
        raise FileNotFoundError("MNIST is needed; name a folder that has it with BNSUITE_DATA")
    raw = Path(scratch, "MNIST", "raw")
    raw.mkdir(parents=True, exist_ok=True)
    for archive in (source / "MNIST" / "raw").glob("*.gz"):
        (raw / archive.name).unlink(missing_ok=True)
        (raw / archive.name).symlink_to(archive.resolve())
    mnist: Dataset[object] = datasets.MNIST(scratch, download=True, transform=transforms.ToTensor())
    return mnist


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="auto", help=devices.NAMES)
    parser.add_argument("--pairs", type=int, default=6, help="pairs of epochs per workload (default: 6)")
    parser.add_argument("--out", type=Path, help="a file for the same as JSON: seconds of each epoch")
    options = parser.parse_args()
    device = devices.resolve(options.device)
    device.use()
    torch.set_num_threads(1)
    rows = []
    taken_s: dict[str, dict[str, list[float]]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        for name, cpu_limit in CASES.items():
            case = catalogue.case(name)
            assert isinstance(case, TrainCase)
            try:
                dataset = dataset_of(case, scratch)
            except FileNotFoundError as error:
                print(f"{name}: left out: {error}")
                continue
            theirs = article(case, dataset, device.name)
            ours = case.build(device.name)
            pairs = options.pairs if case.long else 5 * options.pairs
            for warm in (theirs, ours) if not case.long else ():
                warm()
            samples = []
            for pair in range(pairs):
                order = (ours, theirs) if pair % 2 else (theirs, ours)
                taken = {epoch: seconds(epoch, device) for epoch in order}
                samples.append((taken[ours], taken[theirs]))
            ratios = [a / b for a, b in samples]
            taken_s[name] = {"here": [a for a, _ in samples], "article": [b for _, b in samples]}
            if options.out is not None:
                options.out.write_text(json.dumps({"device": device.name, "seconds": taken_s}, indent=1))
            limit = cpu_limit if device.type == "cpu" else GPU_LIMIT
            rows.append(
                (
                    name,
                    f"{1e3 * median(b for _, b in samples):.1f} ms",
                    f"{1e3 * median(a for a, _ in samples):.1f} ms",
                    f"{median(ratios):.2f}",
                    f"{min(ratios):.2f} to {max(ratios):.2f}",
                    pairs,
                    f"{limit:g}",
                )
            )
    print(f"epochs on {device.name}, torch {torch.__version__}, 1 thread")
    headers = ("workload", "article's loop", "here", "ratio", "single pairs", "pairs", "limit")
    print(tabulate(rows, headers=headers, disable_numparse=True))
    print(f"an epoch here over one of its article: {', '.join(row[3] for row in rows) or 'none measured'}")


if __name__ == "__main__":
    main()
