"""FD-Lite0: how far the results of a method are, as a set, from true photos."""

import numpy as np

from nxap_color.extractors import load_extractor


class FeatureSets:
    """Features of the results of several methods and of the truths, collected photo by photo.

    FID as in Heusel et al. 2017, but on the pooled features of EfficientNet-Lite0, which the project has,
    not of Inception: only to compare methods on the same photos. Values have no meaning of their own, differ
    from published FIDs, and fall with the number of photos.

    Raises:
        ExtractorError: if the ImageNet weights of EfficientNet-Lite0 are not installed.
    """

    def __init__(self):
        self.extractor = load_extractor("efficientnet_lite0")
        self.features = {}

    def add(self, pictures: dict[str, np.ndarray]) -> None:
        """Add one photo.

        Args:
            pictures: dict from method, and from "truth", to uint8 arrays (H, W, 3), sRGB.
        """
        found = self.extractor(list(pictures.values()), in_colour=True)
        for label, vector in zip(pictures, found, strict=True):
            self.features.setdefault(label, []).append(vector)

    def distances(self) -> dict[str, float]:
        """Return a dict from method to its Fréchet distance from the truths; empty below two photos."""
        truths = self.features.get("truth", [])
        if len(truths) < 2:
            return {}
        methods = [label for label in self.features if label != "truth"]
        return {label: frechet_distance(self.features[label], truths) for label in methods}


def frechet_distance(first: np.ndarray, second: np.ndarray) -> float:
    """Compute the Fréchet distance between two sets, each taken for a Gaussian (Dowson, Landau 1982).

    |m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)), with means m and covariances C. With C = R^T R the trace of
    the root is the sum of the singular values of R1 R2^T. No root of a matrix is taken, so covariances may
    be singular, as they are with fewer vectors than features.

    Args:
        first: float array (n, features), n at least 2.
        second: float array (m, features), m at least 2.

    Returns:
        Float, 0 or more, in squared units of the features.
    """
    sets = [np.asarray(vectors, "float64") for vectors in (first, second)]
    means = [vectors.mean(axis=0) for vectors in sets]
    roots = [
        np.linalg.qr((vectors - mean) / np.sqrt(len(vectors) - 1), mode="r")
        for vectors, mean in zip(sets, means, strict=True)
    ]
    traces = sum(np.square(root).sum() for root in roots)
    shift = np.square(means[0] - means[1]).sum()
    # Rounding may leave equal sets a hair below 0.
    return float(max(0.0, shift + traces - 2.0 * np.linalg.norm(roots[0] @ roots[1].T, "nuc")))
