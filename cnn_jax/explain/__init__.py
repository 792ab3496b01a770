"""Why a network answers as it does: maps of what in an image its answer depends on.

And what it has learnt to see: its first filters, its feature maps, and what excites a channel most.
Each map takes a model of the zoo, or one of yours that marks its stages, its variables and images
as the model gets them, works on batches, and may be compiled by `jax.jit`. `most_exciting` and
`crops`, which read a source, and what draws (`overlaid`, `tiled`, `first_filters`, `feature_maps`)
work on the host.
"""

from cnn_jax.explain.cam import default_target, grad_cam, grad_cam_plus_plus
from cnn_jax.explain.exciting import Exciting, crops, most_exciting
from cnn_jax.explain.gradients import integrated_gradients, saliency, smooth_grad
from cnn_jax.explain.occlusion import occlusion
from cnn_jax.explain.pictures import feature_maps, first_filters, overlaid, tiled

__all__ = [
    "Exciting",
    "crops",
    "default_target",
    "feature_maps",
    "first_filters",
    "grad_cam",
    "grad_cam_plus_plus",
    "integrated_gradients",
    "most_exciting",
    "occlusion",
    "overlaid",
    "saliency",
    "smooth_grad",
    "tiled",
]
