"""Train the ResNet-20 of `cifar10-resnet20` from scratch and write its weights and its log.

    python -m codecbench_datasets.cifar10.train --data-dir DIR --work-dir DIR

Needs the full set (`codecbench data get cifar10`). The 1,000 held-out training images, on which the benchmark chooses
operating points, are not used; the test images are used once, after the last epoch. The run resumes from its newest
checkpoint. Most epochs use smaller pictures: 16 and 24 pixels cost a quarter and a half of 32.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor

from codecbench_datasets.cifar10.data import held_out_indices, load_full
from codecbench_datasets.cifar10.model import ResNet20

# (epochs, picture width and height in pixels), in order.
PHASES = ((8, 16), (16, 24), (18, 32))
EPOCHS = sum(epochs for epochs, _ in PHASES)
WARMUP_EPOCHS = 4
BATCH = 128
PEAK_RATE = 0.2
WEIGHT_DECAY = 5e-4
SHIFT = 4


def pixels_at(epoch: int) -> int:
    """Return the picture width of an epoch, in pixels."""
    for epochs, pixels in PHASES:
        if epoch < epochs:
            return pixels
        epoch -= epochs
    raise ValueError(f"the schedule ends after {EPOCHS} epochs")


def learning_rate(step: int, steps_per_epoch: int) -> float:
    """Return the rate: linear warm-up to the peak, then linear decay to zero (Li et al. 2020, budgeted training)."""
    warmup, total = WARMUP_EPOCHS * steps_per_epoch, EPOCHS * steps_per_epoch
    return PEAK_RATE * min((step + 1) / warmup, (total - step) / (total - warmup))


def augmented(padded: Tensor, index: Tensor, mirror: Tensor, pixels: int, rng: torch.Generator) -> Tensor:
    """Return images shifted by up to SHIFT pixels, mirrored and resized: (N, 3, pixels, pixels) float32 in [0, 1]."""
    n = len(index)
    span = torch.arange(32)
    rows = torch.randint(0, 2 * SHIFT + 1, (n, 1), generator=rng) + span
    columns = torch.randint(0, 2 * SHIFT + 1, (n, 1), generator=rng) + span
    columns = torch.where(mirror[:, None], columns.flip(1), columns)
    x = padded[index[:, None, None], rows[:, :, None], columns[:, None, :]]
    x = x.permute(0, 3, 1, 2).float().div_(255)
    if pixels != 32:
        x = F.interpolate(x, size=(pixels, pixels), mode="bilinear", antialias=True, align_corners=False)
    return x.contiguous(memory_format=torch.channels_last)


def accuracy(model: torch.nn.Module, images: Tensor, labels: Tensor) -> float:
    """Return top-1 in percent on (N, 32, 32, 3) uint8 images."""
    model.eval()
    right = 0
    with torch.inference_mode():
        for start in range(0, len(labels), 500):
            x, y = images[start : start + 500], labels[start : start + 500]
            right += int((model(x.permute(0, 3, 1, 2).float() / 255).argmax(1) == y).sum())
    return 100 * right / len(labels)


def main() -> None:
    """Train or resume, and write `model.safetensors` and `training.jsonl` into the work folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path, required=True, help="where 'codecbench data get cifar10' put the set")
    parser.add_argument("--work-dir", type=Path, required=True, help="folder for checkpoint, log and weights")
    parser.add_argument("--seed", type=int, default=0, help="of weights, order and augmentation (default: 0)")
    args = parser.parse_args()
    args.work_dir.mkdir(parents=True, exist_ok=True)
    checkpoint, log = args.work_dir / "checkpoint.pt", args.work_dir / "training.jsonl"

    torch.manual_seed(args.seed)
    images_np, labels_np = load_full("train", args.data_dir)
    kept = np.setdiff1d(np.arange(len(labels_np)), held_out_indices())
    images, labels = torch.from_numpy(images_np[kept]), torch.from_numpy(labels_np[kept])
    padded = torch.from_numpy(np.pad(images.numpy(), ((0, 0), (SHIFT, SHIFT), (SHIFT, SHIFT), (0, 0)), mode="reflect"))
    rng = torch.Generator().manual_seed(args.seed)
    first_mirror = torch.rand(len(labels), generator=rng) < 0.5

    model: torch.nn.Module = ResNet20().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    decayed = [p for p in model.parameters() if p.ndim > 1]
    plain = [p for p in model.parameters() if p.ndim == 1]
    groups: list[dict[str, Any]] = [{"params": decayed, "weight_decay": WEIGHT_DECAY}, {"params": plain}]
    optimizer = torch.optim.SGD(groups, PEAK_RATE, momentum=0.9, nesterov=True)
    start = 0
    if checkpoint.exists():
        state: dict[str, Any] = torch.load(checkpoint, weights_only=True)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        rng.set_state(state["rng"])
        start = int(state["epoch"])

    steps = len(labels) // BATCH
    for epoch in range(start, EPOCHS):
        began = time.perf_counter()
        model.train()
        # Each image is mirrored in every other epoch, so two epochs show each version once.
        mirror = first_mirror ^ bool(epoch % 2)
        order = torch.randperm(len(labels), generator=rng)
        loss_sum, right = 0.0, 0
        for step in range(steps):
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(epoch * steps + step, steps)
            index = order[step * BATCH : (step + 1) * BATCH]
            x = augmented(padded, index, mirror[index], pixels_at(epoch), rng)
            logits = model(x)
            loss = F.cross_entropy(logits, labels[index])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            loss_sum += float(loss.detach())
            right += int((logits.argmax(1) == labels[index]).sum())
        row: dict[str, Any] = {
            "epoch": epoch + 1,
            "pixels": pixels_at(epoch),
            "train_loss": round(loss_sum / steps, 4),
            "train_top1_percent": round(100 * right / (steps * BATCH), 2),
            "epoch_s": round(time.perf_counter() - began, 1),
        }
        if epoch + 1 == EPOCHS:
            test_images, test_labels = (torch.from_numpy(a) for a in load_full("test", args.data_dir))
            row["test_top1_percent"] = accuracy(model, test_images, test_labels)
        with log.open("a") as stream:
            stream.write(json.dumps(row) + "\n")
        print(json.dumps(row), flush=True)
        state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "epoch": epoch + 1}
        torch.save({**state, "rng": rng.get_state()}, args.work_dir / "checkpoint.tmp")
        (args.work_dir / "checkpoint.tmp").replace(checkpoint)

    weights = {k: v.contiguous() for k, v in model.state_dict().items() if not k.endswith("num_batches_tracked")}
    save_file(weights, args.work_dir / "model.safetensors")


if __name__ == "__main__":
    main()
