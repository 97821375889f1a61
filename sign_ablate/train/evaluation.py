"""Loss and accuracy on validation and test images."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from sign_ablate.data.batches import Loader
from sign_ablate.data.prepared import PreparedData

#: images of a batch
BATCH_SIZE = 1000


def loaders(data: PreparedData, device: torch.device, *, test: bool) -> dict[str, Loader]:
    """Loaders of the validation images, and with `test` of the test images, where the data have them."""
    parts = {"val": (data.val_images, data.val_labels)}
    if test:
        parts["test"] = (data.test_images, data.test_labels)
    return {
        name: Loader(images, labels, data.mean, data.std, batch_size=BATCH_SIZE, device=device)
        for name, (images, labels) in parts.items()
        if len(labels)
    }


@torch.no_grad()
def evaluate(loader: Loader, logits_of: Callable[[Tensor], Tensor]) -> tuple[float, float, Tensor]:
    """Evaluate a network in evaluation mode.

    Args:
        loader: batches of images and labels.
        logits_of: takes images and returns float32 logits.

    Returns:
        Mean loss, accuracy and predicted classes.
    """
    sums, classes = [], []
    for x, y in loader.batches():
        logits = logits_of(x)
        classes.append(logits.argmax(1))
        sums.append(torch.stack([cross_entropy(logits, y, reduction="sum"), (classes[-1] == y).sum()]))
    loss, correct = torch.stack(sums).cpu().double().sum(dim=0).tolist()
    return loss / len(loader), correct / len(loader), torch.cat(classes)
