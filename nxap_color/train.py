"""Trains a colorization network: `python -m nxap_color.train SOURCE`."""

import argparse
import math
import sys
import warnings
from pathlib import Path

from nxap_color.cli.console import (
    EXTRACTOR_WEIGHTS_HELP,
    not_negative,
    number_between,
    positive,
    positive_float,
    run,
    side,
    start_quietly,
)
from nxap_color.errors import UserError
from nxap_color.training import distribute

# The keys of `losses.LOSSES`, here too so that --help needs no Keras.
LOSS_NAMES = ("huber", "mse", "moments", "bins")
# The keys of `extractors.EXTRACTORS`, for the same reason.
EXTRACTOR_NAMES = ("inception_v3", "inception_resnet_v2", "efficientnet_lite0")


def make_parser(num_sources="+"):
    """Builds the parser of the command line; `--help` shows the meaning and the defaults.

    Args:
        num_sources: how many SOURCEs there may be, as the `nargs` of `argparse`.
    """
    parser = argparse.ArgumentParser(
        prog="python -m nxap_color.train",
        description="Train a network that colours gray photos, on colour photos.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add(
        "source",
        nargs=num_sources,
        metavar="SOURCE",
        help="folder or zip of photos (several mix), or tfds:NAME",
    )
    add("--arch", choices=("autoencoder", "fusion", "unet"), default="unet", help="the network")
    add(
        "--extractor",
        choices=(*EXTRACTOR_NAMES, "none"),
        help="frozen network whose features are fused in; of fusion inception_v3, of unet none, if not said",
    )
    add(
        "--extractor-weights",
        metavar="imagenet|random|FILE",
        help=f"{EXTRACTOR_WEIGHTS_HELP}; imagenet if not said",
    )
    add("--filters", type=positive, metavar="N", help="channels of fusion's first layer; 64 if not said")
    start = parser.add_mutually_exclusive_group().add_argument
    start("--imagenet", action="store_true", help="start the unet's encoder from ImageNet weights")
    start("--init", metavar="NAME|FILE", help="start from the weights of a shipped model or of one's own")
    add(
        "--freeze",
        type=not_negative,
        default=0,
        metavar="N",
        help="keep the encoder's stem and first N blocks as is",
    )
    add(
        "--average",
        nargs="+",
        default=[],
        metavar="NAME|FILE",
        help="save the mean of the best weights and those of these models, fine-tuned from the same start",
    )
    add("--loss", choices=LOSS_NAMES, default="huber", help="see nxap_color/losses.py")
    add("--image-size", type=side, default=128, help="side of the crops in pixels, a multiple of 32")
    add("--batch-size", type=positive, default=32, help="photos in a step")
    add("--epochs", type=positive, default=10, help="how often the validation photos are looked at")
    add("--steps", type=positive, help="steps in an epoch; without it one pass over the photos")
    add(
        "--precision",
        choices=("float32", "mixed_bfloat16", "mixed_float16"),
        default="float32",
        help="what most layers compute in; the weights, and the model saved, are float32",
    )
    add("--learning-rate", type=positive_float, default=8e-4, help="highest rate, which then falls to 0")
    add(
        "--encoder-rate",
        type=positive_float,
        help="share of it for the encoder; 1, or 1/16 with --imagenet or --init",
    )
    add(
        "--degraded", type=number_between(0, 1), default=0.5, help="share of crops with an old photo's damage"
    )
    add("--min-crop", type=number_between(0.1, 1), default=0.6, help="smallest crop, as a share of the photo")
    add("--validation", type=positive_float, default=0.02, help="share of the photos kept for validation")
    add("--seed", type=int, default=0, help="decides split, order, crops and initial weights")
    add("--distribute", action="store_true", help="use all devices, of all processes that were started")
    add("--sample-every", type=positive, default=5, help="epochs between two sample pictures")
    add("--output", type=Path, default=Path("runs/model.keras"), help="where the best epoch is saved")
    add("--resume", action="store_true", help="go on with this run where it was stopped")
    add("--overwrite", action="store_true", help="start anew although OUTPUT exists")
    return parser


def train(args):
    """Runs a training; writes the best model, its recipe, its log and sample pictures.

    Beside `args.output` (FILE.keras, the best epoch on the validation photos) stand FILE.json (the
    recipe), FILE.csv (a line per epoch) and FILE.samples/ (gray, result and truth side by side).
    FILE.resume/ holds what `--resume` needs and goes when the run is complete.

    Args:
        args: the namespace of `make_parser`.

    Returns:
        The recipe, a dict; None in all but the first of several processes.

    Raises:
        ValueError, FileNotFoundError, ConnectionError: for arguments or photos that cannot be used.
        FloatingPointError: if the loss became NaN or infinite.
    """
    import keras

    from nxap_color import data, saved
    from nxap_color.training import pretrained
    from nxap_color.training import run as runs
    from nxap_color.training.features import PhotoFeatures, cache_name
    from nxap_color.training.run import make_recipe
    from nxap_color.training.sources import load_photos
    from nxap_color.training.trainer import build_model, compile_trainer, load_extractor

    # Keras cannot know how many photos the pipeline leaves out, and takes the end of a pass for a lack.
    warnings.filterwarnings("ignore", message="Your input ran out of data")
    keras.utils.set_random_seed(args.seed)
    world = distribute.find_world() if args.distribute else distribute.World()
    if args.distribute:
        world.say(world.describe())
    world.require_even(args.batch_size)
    run = runs.Run(args.output, world)
    first_epoch = run.resume(vars(args)) if args.resume else 0
    arguments = {**runs.plain_arguments(vars(args)), "source": None, "output": None}  # paths may differ
    world.require_same(arguments=arguments, progress=first_epoch)
    extractor = load_extractor(args)
    with world.scope():
        model = build_model(args, extractor)
    # How the weights that the run starts from came about, so that the whole way can be gone again.
    origins = {
        "init": saved.load_recipe(args.init) if args.init else None,
        "averaged_with": [saved.load_recipe(name) for name in args.average],
        "extractor": extractor and {key: getattr(extractor, key) for key in ("name", "weights", "digest")},
    }
    photos = load_photos(args.source, args.validation, args.seed)
    data.require_usable(photos)
    world.require_same(photos=photos.digest)
    if not args.resume:  # only now, since it clears what an earlier run left
        run.start(vars(args), args.overwrite)
    world.say(f"{photos.num_train} photos to train on, {photos.num_validation} to validate on.")
    steps = args.steps or max(1, photos.num_train // args.batch_size)
    size = (args.image_size, args.image_size)
    features = None
    if extractor:
        folder = args.output.parent / cache_name(extractor, photos, args.source)
        with world.first_goes_ahead():
            features = PhotoFeatures(extractor, photos, folder)
        found = f"Features of {features.num_found} photos found in {features.seconds:.0f} s"
        world.say(f"{found}, kept in {folder}.")
        if features.num_found:
            saved = steps * args.batch_size * features.seconds / features.num_found
            world.say(f"Finding them in every epoch would take {saved:.0f} s more of each.")
    batches = data.training_batches(
        photos, size, args.batch_size, steps, args.seed, first_epoch, args.degraded, args.min_crop, features
    )
    validation = data.validation_batches(photos, size, args.batch_size, features)
    # For the colours of the photos, which have to be the same ones after a stop.
    from_the_start = data.training_batches(photos, size, args.batch_size, steps, args.seed)
    with world.scope():
        # The trainer shares its layers with the model, which itself stays free of optimizer and loss.
        trainer = compile_trainer(model, args, steps, from_the_start)
        trainer.fit(
            world.share(batches),
            epochs=args.epochs,
            steps_per_epoch=steps,
            validation_data=world.share(validation),
            callbacks=run.callbacks(model, validation, args.sample_every),
            shuffle=False,  # the pipeline does
            verbose=(1 if sys.stdout.isatty() else 2) if world.is_first else 0,
        )
    if not world.is_first:
        return None
    last_loss = float(run.history()[-1]["loss"])
    if not math.isfinite(last_loss):
        run.forget()
        raise FloatingPointError(
            f"The loss became {last_loss}: try a lower --learning-rate than {args.learning_rate:g}."
        )
    if args.average:
        pretrained.average_weights([args.output, *args.average]).save(args.output)
    recipe = make_recipe(args, model, photos, steps, data.mean_ab(from_the_start), run.history(), origins)
    recipe |= world.record()
    run.finish(recipe)
    return recipe


def main(arguments=None):
    """Run the command line; return 0, 1 if the loss exploded or another process died, 2 for wrong usage,
    130 if it was stopped.
    """
    stopped = "stopped; the same command with --resume continues after the last complete epoch"
    return run(lambda args: run_and_report(args, arguments), make_parser(), arguments, stopped)


def run_and_report(args, arguments):
    """Train, and say how it ended; return the exit status."""
    distribute.require_jax()
    if args.distribute and (status := distribute.supervise(arguments)) is not None:
        return status
    with distribute.failing_at_once():
        start_quietly(prepare=distribute.join if args.distribute else None)
        try:
            recipe = train(args)
        except (ValueError, OSError) as error:
            if isinstance(error, UserError) or distribute.is_of_jax(error):
                raise
            raise UserError(str(error)) from error
        except FloatingPointError as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
    if recipe:
        best = recipe["best_epoch"]
        print(
            f"wrote {args.output} after {recipe['minutes']} minutes; on the validation photos: "
            f"ab error {best['val_ab_error']:.2f}, chroma ratio {best['val_chroma_ratio']:.2f}"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
