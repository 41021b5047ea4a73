"""Trainings: the articles' networks, the same seed is the same training, an epoch is an epoch."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional

from bnsuite.cases import TrainCase, catalogue
from bnsuite.cases.networks import Cnn, Lstm, Mlp, Norm, Vision
from bnsuite.cases.train import CASES, Sgd, Training


def case(name: str) -> TrainCase:
    found = catalogue.case(name)
    assert isinstance(found, TrainCase)
    return found


BN = case("train/synthetic-mlp/bn/lr=0.01")
NONE = case("train/synthetic-mlp/none/lr=0.01")
CNN = case("train/cnn/bn/data=digits")
DROPOUT = case("train/dropout/bn/p=0.5/data=digits")
REGRESSION = case("train/bad-init-regression/bn/act=tanh")


def kinds(one: TrainCase) -> list[type[nn.Module]]:
    return [type(layer) for layer in one.network.build()]  # type: ignore[attr-defined]  # they are sequences


def linear(one: TrainCase) -> list[nn.Linear]:
    return [layer for layer in one.network.build().modules() if isinstance(layer, nn.Linear)]


def test_article_0() -> None:
    """20-128-64-1, batch norm between linear and ReLU."""
    assert kinds(BN) == [nn.Linear, nn.BatchNorm1d, nn.ReLU] * 2 + [nn.Linear, nn.Flatten]
    assert kinds(NONE) == [nn.Linear, nn.ReLU] * 2 + [nn.Linear, nn.Flatten]
    assert [(layer.in_features, layer.out_features) for layer in linear(BN)] == [(20, 128), (128, 64), (64, 1)]


def test_article_1() -> None:
    """784-128-64-10, a norm after each hidden linear layer, then ReLU; batch 32, ten epochs of Adam as it comes."""
    one = case("train/mnist-mlp/bn/data=mnist")
    assert kinds(one) == [nn.Flatten, *[nn.Linear, nn.BatchNorm1d, nn.ReLU] * 2, nn.Linear]
    assert [(layer.in_features, layer.out_features) for layer in linear(one)] == [(784, 128), (128, 64), (64, 10)]
    assert (one.batch, one.epochs, one.optimizer.lr) == (32, 10, 0.001)
    assert kinds(case("train/mnist-mlp/ln/data=mnist")).count(nn.LayerNorm) == 2


def test_article_2() -> None:
    """784-256-256-10, no bias before a norm, one ReLU; SGD 0.01, batch 64, in the order of the files."""
    one, other = (case(f"train/mnist-mlp-sgd/{norm}/data=mnist") for norm in ("bn", "none"))
    assert kinds(one) == [nn.Flatten, nn.Linear, nn.BatchNorm1d, nn.ReLU, nn.Linear, nn.BatchNorm1d, nn.Linear]
    assert [layer.bias is not None for layer in linear(one)] == [False, False, True]
    assert [layer.bias is not None for layer in linear(other)] == [True] * 3
    assert (one.batch, one.optimizer, one.shuffle) == (64, Sgd(0.01), False)


def test_article_3() -> None:
    """Eight hidden layers of ten, weights N(0, 0.1), biases -0.2, batch norm of momentum 0.5 on the input too."""
    assert kinds(REGRESSION) == [nn.BatchNorm1d, *[nn.Linear, nn.BatchNorm1d, nn.Tanh] * 8, nn.Linear]
    layers = linear(REGRESSION)
    assert [layer.out_features for layer in layers] == [10] * 8 + [1]
    assert float(torch.cat([layer.weight.detach().flatten() for layer in layers]).std()) == pytest.approx(0.1, rel=0.1)
    assert all(torch.all(layer.bias == torch.tensor(-0.2)) for layer in layers)
    norms = [layer for layer in REGRESSION.network.build().modules() if isinstance(layer, nn.BatchNorm1d)]
    assert {layer.momentum for layer in norms} == {0.5}


def test_placement() -> None:
    """After the activation instead of before it."""
    one = case("train/placement/after/net=mnist-mlp/data=digits")
    assert kinds(one) == [nn.Flatten, *[nn.Linear, nn.ReLU, nn.BatchNorm1d] * 2, nn.Linear]


@pytest.mark.parametrize(
    ("norm", "kind"),
    [("bn", nn.BatchNorm2d), ("gn", nn.GroupNorm), ("ln", nn.GroupNorm), ("in", nn.InstanceNorm2d), ("none", None)],
)
def test_the_cnn(norm: str, kind: type[nn.Module] | None) -> None:
    """Three conv - norm - ReLU blocks; a convolution has a bias only where no norm follows."""
    layers = list(Cnn(norm=Norm(kind=norm)).build().modules())[1:]
    convolutions = [layer for layer in layers if isinstance(layer, nn.Conv2d)]
    assert [layer.bias is None for layer in convolutions] == [kind is not None] * 3
    assert sum(type(layer) is kind for layer in layers) == (3 if kind else 0)
    if kind is nn.GroupNorm:
        groups = [layer.num_groups for layer in layers if isinstance(layer, nn.GroupNorm)]
        assert groups == ([1, 1, 1] if norm == "ln" else [2, 4, 8])


@pytest.mark.parametrize(
    ("name", "convolution", "norm"),
    [
        ("train/cnn1d/bn/data=waveforms", nn.Conv1d, nn.BatchNorm1d),
        ("train/cnn3d/bn/data=volumes", nn.Conv3d, nn.BatchNorm3d),
        ("train/cnn3d/bn/data=volumes/layout=channels-last", nn.Conv3d, nn.BatchNorm3d),
    ],
)
def test_the_cnn_of_other_dimensions(name: str, convolution: type[nn.Module], norm: type[nn.Module]) -> None:
    """The same blocks on waveforms and volumes; channels-last holds for what every norm gets and for its gradient."""
    one = case(name)
    assert [kind for kind in kinds(one) if kind in {convolution, norm}] == [convolution, norm] * 3
    training = Training(one, "cpu", 0)
    last = []
    for layer in training.model.modules():
        if isinstance(layer, nn.BatchNorm3d):
            layer.register_full_backward_hook(
                lambda _, dx, dy: last.append([x.is_contiguous(memory_format=torch.channels_last_3d) for x in dx + dy])
            )
    training.step(training.data.x_train[:4], training.data.y_train[:4])
    assert last == ([[name.endswith("channels-last")] * 2] * 3 if norm is nn.BatchNorm3d else [])


@pytest.mark.parametrize("norm", ["gn", "ln", "in"])
def test_other_norms_have_every_dimension(norm: str) -> None:
    """Though no training uses them yet."""
    for dimensions in (1, 2, 3):
        model = Cnn(norm=Norm(kind=norm), dimensions=dimensions).build()
        assert model(torch.randn(2, 1, *[8] * dimensions)).shape == (2, 10)


@pytest.mark.parametrize("norm", ["plain", "ln", "bn"])
def test_the_recurrent_cell_is_an_lstm(norm: str) -> None:
    """Without norm it computes what nn.LSTM does, whose forget gate is given the bias of one."""
    torch.manual_seed(0)
    x = torch.randn(5, 1, 8, 6)
    model = Lstm(steps=8, features=6, hidden=4, norm=norm).build()
    assert model(x).shape == (5, 10)
    batch_norms = [layer for layer in model.modules() if isinstance(layer, nn.BatchNorm1d)]
    assert len(batch_norms) == (3 * 8 if norm == "bn" else 0)  # statistics of its own for every step
    if norm != "plain":
        return
    reference = nn.LSTM(6, 4, batch_first=True)
    state = model.state_dict()
    with torch.no_grad():
        reference.weight_ih_l0.copy_(state["input.weight"])
        reference.weight_hh_l0.copy_(state["state.weight"])
        reference.bias_ih_l0.copy_(state["input.bias"])
        reference.bias_hh_l0.zero_()
        reference.bias_hh_l0[4:8] = 1.0
        expected = model.head(reference(x.squeeze(1))[0][:, -1])
    torch.testing.assert_close(model(x), expected)


def test_torchvisions_pairs() -> None:
    """vgg11 without and with batch norm, resnet18 with batch norm or with group norm in every place of it."""
    pytest.importorskip("torchvision")

    def count(network: Vision, kind: type[nn.Module]) -> int:
        return sum(isinstance(layer, kind) for layer in network.build().modules())

    with torch.device("meta"):
        assert count(Vision(name="vgg11"), nn.BatchNorm2d) == 0
        assert count(Vision(name="vgg11_bn"), nn.BatchNorm2d) == 8
        assert count(Vision(name="resnet18"), nn.BatchNorm2d) == 20
        grouped = Vision(name="resnet18", group_norm=True)
        assert (count(grouped, nn.BatchNorm2d), count(grouped, nn.GroupNorm)) == (0, 20)


def test_every_workload_of_the_articles_is_there() -> None:
    """Fourteen workloads and four more, and every one of images exists on digits, which need no download."""
    workloads = {one.workload for one in CASES}
    assert workloads == {
        *("synthetic-mlp", "mnist-mlp", "mnist-mlp-keras", "mnist-mlp-sgd", "bad-init-regression", "placement"),
        *("batch-size", "dropout", "recurrent", "bn-parameters", "lr-sweep", "init-sweep", "cnn"),
        *("vgg11", "resnet18", "resnet50"),
        *("cnn1d", "cnn3d", "autocast", "loader"),
    }
    on_images = {one.workload for one in CASES if one.data.startswith("mnist")}
    assert on_images <= {one.workload for one in CASES if one.data.startswith("digits")}
    assert {one.workload for one in CASES if one.quick} == {"synthetic-mlp", "bad-init-regression", "cnn"}


@pytest.mark.parametrize("one", [BN, CNN, DROPOUT, REGRESSION], ids=lambda one: one.id)
def test_a_seed_is_a_training(one: TrainCase) -> None:
    """The same seed gives the same losses to the last bit, whatever torch's generator did; another differs."""

    def losses(seed: int) -> list[torch.Tensor]:
        training = Training(one, "cpu", seed)
        training()
        torch.rand(100)
        training.evaluate()
        training.predict_in_train_mode()
        training()
        return training.losses

    first = losses(0)
    assert losses(0) == first
    assert losses(1) != first


def test_a_training_leaves_the_global_generator_alone() -> None:
    """Even one with dropout."""
    before = torch.get_rng_state()
    Training(DROPOUT, "cpu", 7)()
    assert torch.equal(torch.get_rng_state(), before)


def test_an_epoch_sees_every_sample_once_and_does_nothing_else() -> None:
    """12 batches of 64 and the rest, in training mode; evaluation is not inside the timed part."""
    training = Training(BN, "cpu", 0)
    seen: list[tuple[int, bool]] = []
    training.model.register_forward_hook(lambda module, args, _: seen.append((len(args[0]), module.training)))
    training()
    assert seen == [(64, True)] * 12 + [(32, True)]
    assert len(training.losses) == 13


def test_the_loop_is_the_articles() -> None:
    """The same losses, step by step, as the loop every tutorial has: DataLoader, model, loss, backward, step."""
    from torch.utils.data import DataLoader, TensorDataset

    one = case("train/mnist-mlp/bn/data=digits")
    training = Training(one, "cpu", 3)
    torch.manual_seed(3)
    model = one.network.build()
    optimizer = torch.optim.Adam(model.parameters())
    order = torch.randperm(len(training.data.x_train), generator=torch.Generator().manual_seed(3)).tolist()
    loader = DataLoader(TensorDataset(training.data.x_train, training.data.y_train), batch_size=32, sampler=order)
    expected = []
    for x, y in loader:
        optimizer.zero_grad()
        loss = functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        expected.append(loss.detach())
    training()
    torch.testing.assert_close(torch.stack(training.losses), torch.stack(expected), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("one", [BN, DROPOUT], ids=lambda one: one.id)
def test_evaluation_changes_nothing(one: TrainCase) -> None:
    """In either mode: running statistics and parameters stay, and the next epoch trains as it would have."""
    training, undisturbed = Training(one, "cpu", 0), Training(one, "cpu", 0)
    training()
    undisturbed()
    before = {name: value.clone() for name, value in training.model.state_dict().items()}
    training.evaluate()
    training.predict_in_train_mode()
    assert all(torch.equal(before[name], value) for name, value in training.model.state_dict().items())
    training()
    undisturbed()
    assert training.losses == undisturbed.losses


def test_training_mode_uses_the_batches_own_statistics() -> None:
    """Which is why the two modes differ before the running statistics have converged."""
    training = Training(CNN, "cpu", 0)
    training.few_batches()
    assert not torch.allclose(training.predict(), training.predict_in_train_mode())
    assert torch.allclose(
        Training(NONE, "cpu", 0).predict(), Training(NONE, "cpu", 0).predict_in_train_mode(), atol=1e-6
    )


def test_equal_samples_are_seen_at_every_batch_size() -> None:
    """And the learning rate goes with the batch."""
    sizes = [one for one in CASES if one.workload == "batch-size"]
    assert {one.epochs for one in sizes} == {2}
    assert {round(one.optimizer.lr / one.batch, 9) for one in sizes} == {round(0.05 / 64, 9)}


def test_a_twin_of_dropout_zero_is_the_plain_network() -> None:
    """Every value that a sweep leaves out is a case of another workload."""
    assert isinstance(DROPOUT.network, Mlp)
    plain = case("train/mnist-mlp/bn/data=digits")
    assert replace(DROPOUT.network, dropout=0.0) == plain.network
    assert (DROPOUT.batch, DROPOUT.epochs, DROPOUT.optimizer) == (plain.batch, plain.epochs, plain.optimizer)
