"""Images that the tests of augmentation share."""

import numpy as np
import skimage.data
import skimage.transform


def photograph(height: int, width: int, *, channels: int = 3) -> np.ndarray:
    """A photograph (a cat) of whole bytes, float32 [height, width, channels] from 0 to 1."""
    image = skimage.transform.resize(skimage.data.chelsea(), (height, width), anti_aliasing=True)
    return (np.round(255 * image[:, :, :channels]) / 255).astype(np.float32)
