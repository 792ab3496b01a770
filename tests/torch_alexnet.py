"""The AlexNet of 2012 in PyTorch, which torchvision lacks, to compare ours with."""

from torch import nn


class AlexNet2012(nn.Module):
    """Groups of two and local response normalisation; PyTorch divides its alpha by the size."""

    def __init__(self):
        super().__init__()

        def response_norm():
            return nn.LocalResponseNorm(5, alpha=5e-4, beta=0.75, k=2.0)

        self.features = nn.Sequential(
            *(nn.Conv2d(3, 96, 11, 4, 2), nn.ReLU(), response_norm(), nn.MaxPool2d(3, 2)),
            *(nn.Conv2d(96, 256, 5, 1, 2, groups=2), nn.ReLU(), response_norm()),
            *(nn.MaxPool2d(3, 2), nn.Conv2d(256, 384, 3, 1, 1), nn.ReLU()),
            *(nn.Conv2d(384, 384, 3, 1, 1, groups=2), nn.ReLU()),
            *(nn.Conv2d(384, 256, 3, 1, 1, groups=2), nn.ReLU(), nn.MaxPool2d(3, 2)),
        )
        self.avgpool = nn.AdaptiveAvgPool2d(6)
        self.classifier = nn.Sequential(
            *(nn.Dropout(), nn.Linear(256 * 36, 4096), nn.ReLU()),
            *(nn.Dropout(), nn.Linear(4096, 4096), nn.ReLU(), nn.Linear(4096, 1000)),
        )

    def forward(self, x):
        return self.classifier(self.avgpool(self.features(x)).flatten(1))
