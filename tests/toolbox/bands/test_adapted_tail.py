"""Copies of tails with low-rank changes: the tail's answers at the start, and states without its weights."""

from __future__ import annotations

import torch
from support.traced import tail_at
from support.training import noise

from codecbench.toolbox.bands import adapted, is_large, unchanged
from codecbench.toolbox.learning.tail_copy import TailCopy


def copied() -> tuple[TailCopy, torch.Tensor]:
    tail, spec = tail_at("fine")
    xs = noise(4, *spec.max_shape)
    made = TailCopy.of(tail, xs[:2])
    assert made is not None
    return made, xs


def test_it_starts_as_the_tail() -> None:
    tail, xs = copied()
    made = adapted(tail, rank=2)
    for training in (True, False):
        assert torch.allclose(made.train(training)(xs)[1], tail(xs)[1], atol=1e-6)
    assert made.kept == tail.kept
    assert made.to_json() == tail.to_json()


def test_only_its_changes_are_trained_and_kept() -> None:
    tail, xs = copied()
    made = adapted(tail, rank=2)
    trained = dict(made.named_parameters())
    assert sum(p.numel() for p in trained.values()) < sum(p.numel() for p in tail.parameters())
    assert set(made.state_dict()) == set(trained)
    optimizer = torch.optim.SGD(trained.values(), 0.1)
    before = made(xs)[1].detach()
    made(xs)[1].square().sum().backward()  # type: ignore[no-untyped-call]  # torch's
    optimizer.step()
    after = made(xs)[1].detach()
    assert not torch.allclose(after, before, atol=1e-4)
    assert torch.allclose(made.eval()(xs)[1], after, atol=1e-5)
    assert torch.allclose(unchanged(made)(xs)[1], tail(xs)[1], atol=1e-6)
    other = adapted(tail, rank=2)
    other.load_state_dict(made.state_dict())
    assert torch.equal(other.eval()(xs)[1], made.eval()(xs)[1])


def test_evaluation_forgets_its_sums_when_training_goes_on() -> None:
    tail, xs = copied()
    made = adapted(tail, rank=2).eval()
    before = made(xs)[1].detach()
    made.train()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.05)
    assert not torch.allclose(made.eval()(xs)[1], before, atol=1e-4)


def test_a_small_tail_is_not_large() -> None:
    assert not is_large(copied()[0])
