"""Measure how fast a network is trained: the pipeline of photos and the steps, each alone."""

import math
import statistics
import time
from collections.abc import Callable

import numpy as np

from nxap_color.runtime import SIZE_MULTIPLE
from nxap_color.training.config import TrainConfig

REPEATS = 3
BATCHES = 20


def images_per_second(step: Callable[[], object], batch_size: int, repeats: int = REPEATS) -> float:
    """Time a function that handles one batch.

    Args:
        step: function without arguments.
        batch_size: photos that each call handles.
        repeats: number of runs.

    Returns:
        Photos per second, the median of runs of `BATCHES` calls, after two calls to warm up.
    """
    step(), step()
    rates = []
    for _ in range(repeats):
        start = time.perf_counter()
        for _ in range(BATCHES):
            step()
        rates.append(BATCHES * batch_size / (time.perf_counter() - start))
    return statistics.median(rates)


def measure_training(config: TrainConfig, repeats: int = REPEATS) -> dict[str, float]:
    """Measure each part of a training alone, and the network at prediction.

    Args:
        config: the settings of the training in question.
        repeats: runs of each part.

    Returns:
        Dict to photos per second: of the "pipeline"; of the "step"; of the "prediction", the network alone
        that looks at a photo of 3:4 twice, as `Colorizer` has it do; and of the "extractor",
        if the network fuses features.

    Raises:
        UserError: for photos or weights that cannot be used.
    """
    from nxap_color import data, extractors  # Keras: only where it is needed
    from nxap_color.training.sources import load_photos
    from nxap_color.training.trainer import build_model, compile_trainer, find_extractor

    extractor = find_extractor(config)
    photos = load_photos(
        config.sources, config.validation, config.seed, config.balance, config.min_colorfulness
    )
    data.require_usable(photos)
    batches = data.training_batches(
        photos, config.crop_size, config.batch_size, 10**6, config.seed,
        degraded=config.degraded, min_crop=config.min_crop, emulsions=config.emulsions,
    )  # fmt: skip
    fetch = iter(batches).__next__
    rates = {"pipeline": images_per_second(fetch, config.batch_size, repeats)}
    inputs, ab = fetch()
    lightness, ab = inputs["lightness"].numpy(), ab.numpy()  # which every backend takes
    del fetch  # and with it the threads that would go on fetching ahead
    model = build_model(config, extractor)
    trainer = compile_trainer(model, config, steps=1000, batches=batches)

    def named(pictures):
        features = {extractor.name: np.zeros((len(pictures), extractor.num_features))} if extractor else {}
        return {"lightness": pictures, **features}

    rates["step"] = images_per_second(
        lambda: trainer.train_on_batch(named(lightness), ab), config.batch_size, repeats
    )
    looks = [np.zeros((1, *size, 1), "float32") for size in _prediction_sizes(config)]
    rates["prediction"] = images_per_second(
        lambda: [model.predict_on_batch(named(look)) for look in looks], 1, repeats
    )
    if extractor:
        random = np.random.default_rng(0).random((*config.crop_size, 3)).astype("float32")
        some = [random] * extractors.BATCH_SIZE
        rates["extractor"] = images_per_second(lambda: extractor(some), len(some), repeats)
    return rates


def _prediction_sizes(config: TrainConfig) -> list[tuple[int, int]]:
    """Return the two (height, width) at which a network of this training sees a photo of 3:4."""
    from nxap_color.colorizer import LOOKS
    from nxap_color.training.run import NETWORK_SCALE

    sides = (config.image_size * NETWORK_SCALE * times for times in LOOKS)
    return [
        tuple(math.ceil(length / SIZE_MULTIPLE) * SIZE_MULTIPLE for length in (side, side * 4 / 3))
        for side in sides
    ]
