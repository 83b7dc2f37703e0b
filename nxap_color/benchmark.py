"""Measures whether training waits for its photos: `python -m nxap_color.benchmark SOURCE`."""

import math
import os
import platform
import statistics
import sys
import time

from nxap_color.terminal import start_quietly
from nxap_color.train import build_model, compile_trainer, make_parser

REPEATS = 3
BATCHES = 20


def images_per_second(step, batch_size):
    """Times a function that handles one batch.

    Args:
        step: function without arguments.
        batch_size: photos that each call handles.

    Returns:
        Photos per second, the median of `REPEATS` runs of `BATCHES` calls, after two calls to warm up.
    """
    step(), step()
    rates = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        for _ in range(BATCHES):
            step()
        rates.append(BATCHES * batch_size / (time.perf_counter() - start))
    return statistics.median(rates)


def measure(args):
    """Measures the training pipeline alone and the training step alone.

    Args:
        args: the namespace of `train.make_parser`: the settings of the training in question.

    Returns:
        Photos per second of the pipeline, of the step, and of the network alone at its size of prediction,
        one photo of 3:4 and its mirror image at a time.
    """
    import numpy as np

    from nxap_color import data, models
    from nxap_color.recipe import NETWORK_SCALE
    from nxap_color.sources import load_photos

    photos = load_photos(args.source, args.validation, args.seed)
    data.require_usable(photos)
    size = (args.image_size, args.image_size)
    batches = data.training_batches(
        photos, size, args.batch_size, 10**6, args.seed, degraded=args.degraded, min_crop=args.min_crop
    )
    fetch = iter(batches).__next__
    pipeline = images_per_second(fetch, args.batch_size)
    lightness, ab = fetch()
    del fetch  # and with it the threads that would go on fetching ahead
    model = build_model(args)
    trainer = compile_trainer(model, args, steps=1000, batches=batches)
    step = images_per_second(lambda: trainer.train_on_batch(lightness, ab), args.batch_size)
    side = args.image_size * NETWORK_SCALE
    height, width = (math.ceil(s / models.SIZE_MULTIPLE) * models.SIZE_MULTIPLE for s in (side, side * 4 / 3))
    photo = np.zeros((2, height, width, 1), "float32")  # with its mirror image, as Colorizer does
    forward = images_per_second(lambda: model.predict_on_batch(photo), 1)
    return pipeline, step, forward


def main(arguments=None):
    """Runs the command line, which takes the options of `train`; returns 0, or 2 for wrong usage."""
    parser = make_parser()
    parser.prog = "python -m nxap_color.benchmark"
    parser.description = "Measure the speed of a training with these settings, without training."
    args = parser.parse_args(arguments)
    try:
        start_quietly()
        pipeline, step, forward = measure(args)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"{args.arch} at {args.image_size} px on {os.cpu_count()} cores ({platform.machine()}), photos/s:")
    print(f"  pipeline alone {pipeline:8.0f}")
    print(f"  training step  {step:8.0f}")
    print(f"  ratio          {pipeline / step:8.1f}")
    print(f"  prediction     {forward:8.1f} ({1000 / forward:.0f} ms; network alone, photo and mirror image)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
