"""How often each photo is drawn: shares of sources, balance of groups, and the order of an epoch."""

import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from nxap_color.errors import UserError


def split_share(source: str | Path) -> tuple[str, float | None]:
    """Split a source into its path and its share: "photos.zip:3" -> ("photos.zip", 3.0).

    A source that exists under its whole name, such as a folder "scans:2", has no share. Neither has the path
    of a Windows drive, unless its last part is a share: "D:\\photos:2".

    Args:
        source: path of a folder, zip or photo, with or without ":SHARE".

    Returns:
        The path, and the share or None.

    Raises:
        UserError: if the share is a number that is not above 0.
    """
    path, colon, text = str(source).rpartition(":")
    is_drive = len(path) == 1 and not Path(path).exists()
    if not colon or not path or is_drive or Path(source).exists():
        return str(source), None
    try:
        share = float(text)
    except ValueError:
        return str(source), None
    if not 0 < share < math.inf:
        raise UserError(f"The share in {source} must be a number above 0, received {text}.")
    return path, share


def split_shares(sources: Sequence[str | Path]) -> tuple[list[str], list[float] | None]:
    """Split sources as `split_share`.

    Returns:
        The paths; and their shares, or None if no source has one.

    Raises:
        UserError: if only some sources have a share, or one is not above 0.
    """
    pairs = [split_share(source) for source in sources]
    paths, shares = [path for path, _ in pairs], [share for _, share in pairs]
    if all(share is None for share in shares):
        return paths, None
    if None in shares:
        raise UserError(
            f"{paths[shares.index(None)]} has no share, other sources have one: give each source a share "
            "(PATH:SHARE), or none."
        )
    return paths, shares


def weigh(
    origins: Sequence[tuple[int, str]], shares: Sequence[float] | None = None, balance: float = 0.0
) -> np.ndarray:
    """Find how often photos are drawn in comparison with each other.

    Args:
        origins: (number of its source, group) of each photo.
        shares: weight of each source, shared out among its photos. Without them all sources are one, and
            groups of the same name in several of them are one group.
        balance: in [0, 1]; a group of n photos counts as n ** (1 - balance). With 0 photos count alike, with
            1 groups do.

    Returns:
        float64 array (photos,), the weights; photos of groups of one size in one source have the same.
    """
    groups = [(source if shares else 0, group) for source, group in origins]
    sizes = Counter(groups)
    totals = defaultdict(float)
    for (source, _), size in sizes.items():
        totals[source] += size ** (1.0 - balance)
    weights = {
        (source, group): (shares[source] if shares else 1.0) * size**-balance / totals[source]
        for (source, group), size in sizes.items()
    }
    return np.array([weights[group] for group in groups])


def draw(weights: np.ndarray, seed: int, epoch: int) -> np.ndarray:
    """Draw the photos of an epoch, about as many as there are, each in proportion to its weight.

    Photos of the same weight are drawn in passes over all of them, which go on from epoch to epoch: none is
    drawn twice before all others of that weight have been drawn.

    Args:
        weights: float64 array (photos,), above 0.
        seed, epoch: whole numbers; the same pair gives the same order.

    Returns:
        int64 array (draws,), indices of photos. With equal weights each photo is drawn once.
    """
    values, sizes = np.unique(weights, return_counts=True)
    streams = np.split(np.argsort(weights, kind="stable"), np.cumsum(sizes)[:-1])
    quotas = len(weights) * values * sizes / (values * sizes).sum()
    seed %= 2**32  # NumPy's seeds are not negative
    drawn = []
    for number, (stream, quota) in enumerate(zip(streams, quotas, strict=True)):
        begin, end = round(quota * epoch), round(quota * (epoch + 1))
        first, last = begin // len(stream), -(-end // len(stream))
        passes = [np.random.default_rng((seed, number, p)).permutation(stream) for p in range(first, last)]
        offset = first * len(stream)
        drawn.append(np.concatenate([stream[:0], *passes])[begin - offset : end - offset])
    slots = np.repeat(np.arange(len(drawn)), [len(part) for part in drawn])
    slots = np.random.default_rng((seed, len(drawn), epoch)).permutation(slots)
    order = np.empty(len(slots), np.int64)
    for number, part in enumerate(drawn):
        order[slots == number] = part
    return order
