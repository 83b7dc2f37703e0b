"""nxap_color: believable colour for black-and-white photos, with convolutional networks in Keras."""

__version__ = "0.1.0"
