"""Colour photos, films and GIFs: `python -m nxap_color [INPUT ...]`, short for `nxap_color.predict`."""

import sys

from nxap_color.predict import main

if __name__ == "__main__":
    sys.exit(main())
