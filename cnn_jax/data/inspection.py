"""What is in a data set, and what is wrong with it, before anything is trained on it."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cnn_jax.data.bad_files import equal_files, find_faults
from cnn_jax.data.duplicates import near_duplicates
from cnn_jax.data.files import list_images
from cnn_jax.data.imbalance import class_counts
from cnn_jax.data.listing import SPLITS, Listing
from cnn_jax.data.statistics import Normalization
from cnn_jax.data.survey import Survey, survey, survey_path
from cnn_jax.data.tree import Fault


@dataclass(frozen=True, eq=False)
class Inspection:
    """What has been found in a data set of image files.

    Attributes:
        listing: its files.
        survey: what they look like.
        faults: what cannot be used.
        usable: bool [N], the files that can.
        equal: positions of each group of files that are equal, byte by byte.
        alike: positions of each group of images that look the same; those of `equal` are in some.
        normalization: mean and deviation of the channels of the training images, each image
            counting the same.
    """

    listing: Listing
    survey: Survey
    faults: tuple[Fault, ...]
    usable: np.ndarray
    equal: list[np.ndarray]
    alike: list[np.ndarray]
    normalization: Normalization

    @property
    def counts(self) -> dict[str, np.ndarray]:
        """Usable images of each class, int64 [K], by split."""
        return {
            split: class_counts(
                self.listing.labels[self.usable & (self.listing.splits == number)],
                len(self.listing.class_names),
            )
            for number, split in enumerate(SPLITS)
            if (self.listing.splits == number).any()
        }

    @property
    def imbalance(self) -> float:
        """Training images of the largest class for one of the smallest."""
        counts = self.counts["train"]
        return float(counts.max() / max(counts.min(), 1))

    @property
    def sizes(self) -> Counter:
        """(height, width) -> number of usable images."""
        return Counter(map(tuple, self.survey.headers[self.usable, :2].tolist()))

    @property
    def channels(self) -> Counter:
        """Channels (1 for grey, 3 for colour) -> number of usable images."""
        return Counter(self.survey.headers[self.usable, 2].tolist())

    def across_splits(self, groups: list[np.ndarray]) -> list[np.ndarray]:
        """Those of some groups that have images in several splits: such leak."""
        return [group for group in groups if len(set(self.listing.splits[group])) > 1]

    def as_json(self) -> dict:
        """Everything found, in JSON's types."""
        listing = self.listing

        def names(groups):
            return [[listing.paths[position] for position in group] for group in groups]

        return {
            "data": str(listing.path),
            "files": len(listing),
            "usable": int(self.usable.sum()),
            "class_names": list(listing.class_names),
            "counts": {split: counts.tolist() for split, counts in self.counts.items()},
            "imbalance": self.imbalance,
            "sizes": [[*size, count] for size, count in self.sizes.most_common()],
            "channels": {str(channels): count for channels, count in self.channels.items()},
            "mean": list(self.normalization.mean),
            "std": list(self.normalization.std),
            "unusable": [{"name": fault.name, "reason": fault.reason} for fault in self.faults],
            "ignored": list(listing.ignored),
            "equal": names(self.equal),
            "equal_across_splits": names(self.across_splits(self.equal)),
            "alike": names(self.alike),
            "alike_across_splits": names(self.across_splits(self.alike)),
        }


def inspect_data(path: str | Path, *, cache_dir: str | Path | None = None) -> Inspection:
    """Look at every file of a data set of image files.

    Args:
        path: a folder, `.zip` or `.csv`, as for `cnn_jax.data.load`.
        cache_dir: where what is seen is kept, for the next time; None for the default.

    Returns:
        What has been found.

    Raises:
        InputError: the path names no image files.
    """
    listing = list_images(Path(path).expanduser().absolute())
    seen = survey(listing, path=survey_path(listing, cache_dir))
    faults, usable = find_faults(listing, seen.contents, seen.problems)
    readable = np.ones(len(listing), bool)
    readable[list(seen.problems)] = False
    places = np.flatnonzero(readable)
    train = usable & (listing.splits == 0)
    return Inspection(
        listing=listing,
        survey=seen,
        faults=tuple(faults),
        usable=usable,
        equal=equal_files(seen.contents, seen.problems),
        alike=[places[group] for group in near_duplicates(seen.thumbnails[readable])],
        normalization=_normalization(seen, train),
    )


def _normalization(seen: Survey, chosen: np.ndarray) -> Normalization:
    if not chosen.any():
        return Normalization((0.0,) * 3, (1.0,) * 3)
    mean = seen.means[chosen].mean(0, dtype=np.float64)
    square = seen.squares[chosen].mean(0, dtype=np.float64)
    std = np.sqrt(np.maximum(square - np.square(mean), 0))
    if (seen.headers[chosen, 2] == 1).all():
        mean, std = mean[:1], std[:1]
    return Normalization(
        mean=tuple(round(float(value), 6) for value in mean),
        std=tuple(round(float(value), 6) if value > 1e-6 else 1.0 for value in std),
    )
