"""Where the files that ship with the package lie."""

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent
# Folder of `saved_models` and `data`: inside an installed package, or the top of a checkout.
SHIPPED = _PACKAGE / "shipped" if (_PACKAGE / "shipped").is_dir() else _PACKAGE.parent
SAVED_MODELS = SHIPPED / "saved_models"
SAMPLE = SHIPPED / "data" / "sample.jpg"
# Not in an installed package.
SAMPLE_PHOTOS = SHIPPED / "data" / "photos"
