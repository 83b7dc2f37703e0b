"""Believable colour for black-and-white photos, GIFs and films, with convolutional networks in Keras.

Every public name is imported on first use (PEP 562), so that `import nxap_color` itself costs nothing.

Example:
    >>> import nxap_color
    >>> rgb = nxap_color.colorize("old.jpg")  # doctest: +SKIP
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # what editors and type checkers see
    from nxap_color.colorizer import Colorizer, colorize
    from nxap_color.data import training_batches
    from nxap_color.film_files import colorize_video
    from nxap_color.guidance import Hint
    from nxap_color.layers import AnnealedMean, FeatureFusion, GuidedUpsampling, UpsampleLike
    from nxap_color.media.photos import Photo, read_photo, write_photo
    from nxap_color.metrics import compare_photos
    from nxap_color.models import build_autoencoder, build_fusion, build_unet
    from nxap_color.saved import load_model
    from nxap_color.training.config import TrainConfig
    from nxap_color.training.sources import load_photos
    from nxap_color.video import colorize_frames

__version__ = "0.2.0"

# Public name -> the module that defines it.
_HOMES = {
    "Colorizer": "colorizer",
    "colorize": "colorizer",
    "Hint": "guidance",
    "Photo": "media.photos",
    "read_photo": "media.photos",
    "write_photo": "media.photos",
    "colorize_video": "film_files",
    "colorize_frames": "video",
    "load_model": "saved",
    "build_autoencoder": "models",
    "build_fusion": "models",
    "build_unet": "models",
    "AnnealedMean": "layers",
    "FeatureFusion": "layers",
    "GuidedUpsampling": "layers",
    "UpsampleLike": "layers",
    "TrainConfig": "training.config",
    "load_photos": "training.sources",
    "training_batches": "data",
    "compare_photos": "metrics",
}

__all__ = [
    "AnnealedMean",
    "Colorizer",
    "FeatureFusion",
    "GuidedUpsampling",
    "Hint",
    "Photo",
    "TrainConfig",
    "UpsampleLike",
    "__version__",
    "build_autoencoder",
    "build_fusion",
    "build_unet",
    "colorize",
    "colorize_frames",
    "colorize_video",
    "compare_photos",
    "load_model",
    "load_photos",
    "read_photo",
    "training_batches",
    "write_photo",
]


def __getattr__(name: str) -> object:
    """Import a public name on first use."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    """List the public names, for completion in notebooks and shells."""
    return sorted({*globals(), *__all__})
