"""The auxiliary-logit set-up in torch, members stacked and multiplied by einsum: what we race.

Written for the benchmark after the published description (arXiv 2507.14805, section 6.2).
"""

import itertools
import time
from collections.abc import Callable, Iterator
from typing import Literal

import torch  # pyright: ignore[reportMissingImports]
from torch import Tensor  # pyright: ignore[reportMissingImports]
from torch.nn.functional import cross_entropy, kl_div, log_softmax  # pyright: ignore[reportMissingImports]

Params = list[Tensor]


def init(members: int, widths: tuple[int, ...]) -> Params:
    """Draw weights ``[members, fan_in, fan_out]`` from N(0, 1/fan-in), and zero biases."""
    params = []
    for fan_in, fan_out in itertools.pairwise(widths):
        params += [torch.randn(members, fan_in, fan_out) / fan_in**0.5]
        params += [torch.zeros(members, 1, fan_out)]
    return params


def apply(params: Params, x: Tensor) -> Tensor:
    """Give the logits ``[members, batch, outputs]``."""
    layers = list(zip(params[::2], params[1::2], strict=True))
    for i, (weight, bias) in enumerate(layers):
        x = torch.einsum("mbi,mio->mbo", x, weight) + bias
        if i < len(layers) - 1:
            x = torch.relu(x)
    return x


def train(
    params: Params,
    loss: Callable[[Params, Tensor], Tensor],
    *,
    rows: int,
    epochs: int,
    batch_size: int,
    learning_rate: float,
) -> Params:
    """Train copies of ``params`` with Adam; each member has an order of rows of its own."""
    members = params[0].shape[0]
    params = [p.clone().requires_grad_() for p in params]
    optimizer = torch.optim.Adam(params, lr=learning_rate)
    for _ in range(epochs):
        order = torch.stack([torch.randperm(rows) for _ in range(members)])
        for batch in order.split(batch_size, dim=1):
            optimizer.zero_grad()
            loss(params, batch).backward()
            optimizer.step()
    return [p.detach() for p in params]


def phases(
    images: Tensor,
    labels: Tensor,
    *,
    members: int,
    widths: tuple[int, ...],
    classes: int,
    noise_images: int,
    students: int,
    epochs: int,
    batch_size: int,
    learning_rate: float,
    targets: Literal["once", "batch"],
) -> Iterator[tuple[str, float]]:
    """Run a teacher and its students, and give the seconds of each phase.

    Half of the students, rounded up, imitate the auxiliary logits and the rest all logits. The
    frozen teacher is evaluated once on all noise, as in our program, or anew in every batch.
    """
    member = torch.arange(members)[:, None]
    length = {"epochs": epochs, "batch_size": batch_size, "learning_rate": learning_rate}

    began = time.perf_counter()
    reference = init(members, widths)

    def teacher_loss(params: Params, batch: Tensor) -> Tensor:
        pixels = (images[batch].float() / 255 - 0.5) / 0.5
        logits = apply(params, pixels)[..., :classes]
        return cross_entropy(logits.reshape(-1, classes), labels[batch].reshape(-1)) * members

    teacher = train(reference, teacher_loss, rows=len(images), **length)
    yield "teacher", time.perf_counter() - began

    began = time.perf_counter()
    noise = torch.rand(members, noise_images, images.shape[1]) * 2 - 1
    yield "noise", time.perf_counter() - began

    began = time.perf_counter()
    with torch.no_grad():
        logits = apply(teacher, noise) if targets == "once" else None
    yield "targets", time.perf_counter() - began

    def teacher_logits(batch: Tensor, inputs: Tensor) -> Tensor:
        if logits is not None:
            return logits[member, batch]
        with torch.no_grad():
            return apply(teacher, inputs)

    for student in range(students):
        chosen = slice(classes, None) if student < -(-students // 2) else slice(None)

        def student_loss(params: Params, batch: Tensor, chosen: slice = chosen) -> Tensor:
            inputs = noise[member, batch]
            goal = log_softmax(teacher_logits(batch, inputs)[..., chosen], dim=-1)
            out = log_softmax(apply(params, inputs)[..., chosen], dim=-1)
            return kl_div(out, goal, reduction="sum", log_target=True) / batch.shape[1]

        began = time.perf_counter()
        train(reference, student_loss, rows=noise_images, **length)
        yield f"student {student}", time.perf_counter() - began
