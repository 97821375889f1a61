"""Usual training script to compare with: DataLoader with PIL transforms, float32, `.item()` each step."""

import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from sign_ablate.data.prepared import PreparedData


class Images(Dataset[tuple[Tensor, int]]):
    """Data set of uint8 images, which converts each one to PIL as torchvision's data sets do."""

    def __init__(self, images: Tensor, labels: Tensor, transform: transforms.Compose) -> None:
        self.images, self.labels, self.transform = images.numpy(), labels.tolist(), transform

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(Image.fromarray(self.images[index])), self.labels[index]


def plain(data: PreparedData) -> transforms.Compose:
    """Transforms for evaluation."""
    normalise = transforms.Normalize(data.mean.tolist(), data.std.tolist())
    return transforms.Compose([transforms.ToTensor(), normalise])


def augmented(data: PreparedData) -> transforms.Compose:
    """Transforms for training."""
    size = data.train_images.shape[1]
    crop, flip = transforms.RandomCrop(size, padding=4), transforms.RandomHorizontalFlip()
    return transforms.Compose([crop, flip, *plain(data).transforms])


class Script:
    """Network with SGD and two DataLoaders."""

    def __init__(
        self, network: nn.Module, data: PreparedData, *, batch: int, lr: float, momentum: float, decay: float
    ) -> None:
        self.network = network
        self.optimizer = torch.optim.SGD(
            network.parameters(), lr=lr, momentum=momentum, weight_decay=decay, foreach=True
        )
        train = Images(data.train_images, data.train_labels, augmented(data))
        test = Images(data.test_images, data.test_labels, plain(data))
        self.train_batches = DataLoader(train, batch, shuffle=True, num_workers=2)
        self.test_batches = DataLoader(test, 1000, num_workers=2)

    def epoch(self) -> tuple[float, float]:
        """Train for one epoch and evaluate. Returns the mean training loss and the test accuracy."""
        self.network.train()
        total = 0.0
        for x, y in self.train_batches:
            self.optimizer.zero_grad()
            loss = cross_entropy(self.network(x), y)
            loss.backward()
            self.optimizer.step()
            total += loss.item() * len(y)
        self.network.eval()
        correct = 0
        with torch.no_grad():
            for x, y in self.test_batches:
                correct += (self.network(x).argmax(1) == y).sum().item()
        return total / len(self.train_batches.dataset), correct / len(self.test_batches.dataset)  # type: ignore[arg-type]
