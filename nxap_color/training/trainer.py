"""From the settings of a training to the networks, the loss and the optimizer that they name, and `fit`."""

import dataclasses
import functools
import math
import sys
import warnings
from typing import Any

import keras
import tensorflow as tf

from nxap_color import data, extractors, imagenet, losses, metrics, models, saved
from nxap_color.errors import TrainingError, UserError
from nxap_color.training import distribute, exporting, pretrained
from nxap_color.training.config import TrainConfig
from nxap_color.training.features import PhotoFeatures, cache_name
from nxap_color.training.run import Run, make_recipe
from nxap_color.training.sources import PhotoSet, load_photos

# Half precision is for what consists of large matrix products. The layers that answer would round colours to
# steps of half an ab unit; and depthwise convolutions take five times as long in bfloat16 on a processor.
_IN_HALF = (keras.layers.Conv2D, keras.layers.Dense)
_IN_FLOAT32 = ("ab", "ab_bins")


class EncoderAdam(keras.optimizers.Adam):
    """Adam with a smaller learning rate for the pretrained encoder than for the fresh decoder.

    A rate that is right for new layers destroys within a few steps what ImageNet taught the others
    (Howard, Ruder: ULMFiT, ACL 2018, call it discriminative fine-tuning).

    Args:
        learning_rate: rate or schedule of all layers but the encoder's.
        encoder_rate: the encoder's rate as a share of it; layers named `encoder_...` belong to it.
        **kwargs: as in `keras.optimizers.Adam`.
    """

    def __init__(self, learning_rate: Any, encoder_rate: float = 1.0, **kwargs: Any):
        super().__init__(learning_rate, **kwargs)
        self.encoder_rate = encoder_rate

    def build(self, variables: list) -> None:
        super().build(variables)
        in_encoder = (variable.path.startswith("encoder_") for variable in variables)
        self._shares = [self.encoder_rate if inside else 1.0 for inside in in_encoder]

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        share = self._shares[self._get_variable_index(variable)]
        super().update_step(gradient, variable, learning_rate * share)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "encoder_rate": self.encoder_rate}


def run_training(config: TrainConfig) -> dict[str, Any] | None:
    """Run a training; see `TrainConfig.run` for the files that it writes and the errors that it raises.

    Args:
        config: its settings.

    Returns:
        The recipe; None in all but the first of several processes.
    """
    config = _keep_hints(config)
    keras.utils.set_random_seed(config.seed)
    world = _find_world(config)
    run = Run(config, world)
    first_epoch = run.resume() if config.resume else 0
    arguments = {**config.to_dict(), "source": None, "output": None}  # paths may differ
    world.require_same(arguments=arguments, progress=first_epoch)
    _require_own_output(config)
    extractor = find_extractor(config)
    with world.scope():
        model = build_model(config, extractor)
    origins = _find_origins(config, extractor)
    photos = load_photos(
        config.sources, config.validation, config.seed, config.balance, config.min_colorfulness
    )
    data.require_usable(photos)
    world.require_same(photos=photos.digest)
    if not config.resume:  # only now, since it clears what an earlier run left
        run.start()
    world.say(f"{photos.num_train} photos to train on, {photos.num_validation} to validate on.")
    steps = config.steps or max(1, photos.num_train // config.batch_size)
    features = _find_features(config, extractor, photos, steps, world) if extractor else None
    crops = photos, config.crop_size, config.batch_size
    choices = config.degraded, config.min_crop, features, config.emulsions, world.devices
    batches = data.training_batches(*crops, steps, config.seed, first_epoch, *choices)
    validation = data.validation_batches(*crops, features)
    # For the colours of the photos, which have to be the same ones after a stop.
    from_the_start = data.training_batches(*crops, steps, config.seed)
    with world.scope():
        # The trainer shares its layers with the model, which itself stays free of optimizer and loss.
        trainer = compile_trainer(model, config, steps, from_the_start)
        _fit(trainer, run, steps, batches, validation, run.callbacks(model, validation))
    if not world.is_first:
        return None
    _require_finite(run)
    if config.average:
        pretrained.average_weights([config.output, *config.average]).save(config.output)
    recipe = make_recipe(run, model, photos, steps, data.mean_ab(from_the_start), origins)
    run.finish(recipe)
    if not config.keras_only:
        try:
            exporting.export_beside(config.output)
        except UserError as error:  # the model itself is there
            world.say(f"note: prediction with it will need Keras: {error}")
    return recipe


def _keep_hints(config: TrainConfig) -> TrainConfig:
    """Have a network that starts from one which knows how hints spread know it, too."""
    if not config.init or config.arch != "unet":
        return config
    takes_hints = bool(saved.load_recipe(config.init).get("arguments", {}).get("hints"))
    return dataclasses.replace(config, hints=config.hints or takes_hints)


def find_extractor(config: TrainConfig) -> extractors.Extractor | None:
    """Load the frozen network whose features are fused in; None if the network takes none.

    Args:
        config: the settings of the training.

    Raises:
        ExtractorError: if its weights cannot be had.
    """
    if config.extractor_name is None:
        return None
    return extractors.load_extractor(config.extractor_name, config.extractor_weights or "imagenet")


def build_model(config: TrainConfig, extractor: extractors.Extractor | None = None) -> keras.Model:
    """Build the network, with the weights that a training starts from.

    Args:
        config: the settings of the training.
        extractor: as from `find_extractor`.

    Returns:
        A `keras.Model`, the first blocks of its encoder not trainable if `config.freeze` says so; it computes
        in `config.precision`.

    Raises:
        UserError: if the weights are missing or belong to another network.
    """
    options = {
        "autoencoder": {},
        "fusion": {"extractor": extractor, "filters": config.filters or models.CONFIGS["fusion"]["filters"]},
        "unet": {
            "extractor": extractor,
            "head": "bins" if config.loss == "bins" else "ab",
            "hints": config.hints,
            "queries": config.queries,
        },
    }
    build = functools.partial(models.ARCHITECTURES[config.arch], **options[config.arch])
    for name in [config.init] * bool(config.init) + config.average:
        if extractor and (trained := saved.load_recipe(name).get("extractor")):
            extractors.require_same(extractor, trained, name)
    for name in config.average:  # said now, not after hours, if it is another network
        pretrained.copy_weights(saved.load_model(name), build(), head_may_differ=False)
    model = build()
    if config.imagenet:
        imagenet.load_imagenet_encoder(model)
    if config.init:
        pretrained.copy_weights(saved.load_model(config.init), model, head_may_differ=not config.hints_only)
    pretrained.freeze_encoder(model, config.freeze)
    if config.hints_only:
        pretrained.freeze_all_but_hints(model)
    for layer in model.layers:
        if isinstance(layer, _IN_HALF) and layer.name not in _IN_FLOAT32:
            layer.dtype_policy = config.precision
    return model


def compile_trainer(
    model: keras.Model, config: TrainConfig, steps: int, batches: tf.data.Dataset
) -> keras.Model:
    """Wrap a model's layers in a second model that has optimizer, loss and metrics.

    Args:
        model: the network; the trainer shares its weights.
        config: the settings of the training.
        steps: steps in an epoch.
        batches: training batches, the same ones also after a stop; some losses need their colours.

    Returns:
        A compiled `keras.Model` that takes the same dict of inputs.
    """
    total = steps * config.epochs
    warm_up = min(500, total // 10)
    rate = keras.optimizers.schedules.CosineDecay(
        0.0, max(1, total - warm_up), warmup_target=config.learning_rate, warmup_steps=warm_up
    )
    encoder_rate = config.encoder_rate or (1 / 16 if config.imagenet or config.init else 1.0)
    outputs, prior = [model.get_layer("ab").output], None
    if config.loss == "bins":
        outputs.append(model.get_layer("ab_bins").output)
        prior = data.ab_histogram(batches)
    if config.hints:
        outputs.append(model.get_layer("hints_likeness").output)
    outputs = keras.layers.Concatenate(name="answers")(outputs) if len(outputs) > 1 else outputs[0]
    loss = losses.make_loss(config.loss, prior)
    inputs = {tensor.name: tensor for tensor in model.inputs}
    trainer = keras.Model(inputs, outputs, name=f"{model.name}_trainer")
    average = {"use_ema": True, "ema_momentum": config.ema} if config.ema else {}
    optimizer = EncoderAdam(rate, encoder_rate, **average)
    if config.precision == "mixed_float16":  # whose smallest numbers are too large for some gradients
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    trainer.compile(
        optimizer=optimizer,
        loss=losses.WithHints(loss) if config.hints else loss,
        metrics=[metrics.AbError(), metrics.ChromaRatio()],
    )
    # Before the first step, which TensorFlow would trace twice to make its variables: seconds.
    optimizer.build(trainer.trainable_variables)
    return trainer


def _find_world(config: TrainConfig) -> distribute.World:
    """Find the devices to train on, and say which they are if they are to be shared."""
    world = distribute.World()
    if config.distribute:
        world = distribute.find_world()
        world.say(world.describe())
    world.require_even(config.batch_size)
    return world


def _require_own_output(config: TrainConfig) -> None:
    """Refuse an output that would replace what the training starts from."""
    if config.init and saved.find_model(config.init).resolve() == config.output.resolve():
        raise UserError(
            f"--output {config.output} would replace what --init starts from: choose another name."
        )


def _find_origins(config: TrainConfig, extractor: extractors.Extractor | None) -> dict[str, Any]:
    """Collect how the weights that a run starts from came about, so that the whole way can be gone again."""
    return {
        "init": saved.load_recipe(config.init) if config.init else None,
        "averaged_with": [saved.load_recipe(name) for name in config.average],
        "extractor": extractor and {key: getattr(extractor, key) for key in ("name", "weights", "digest")},
    }


def _find_features(
    config: TrainConfig,
    extractor: extractors.Extractor,
    photos: PhotoSet,
    steps: int,
    world: distribute.World,
) -> PhotoFeatures:
    """Find the features of all photos, kept beside the output, and say what that saves."""
    folder = config.output.parent / cache_name(extractor, photos, config.sources)
    with world.first_goes_ahead():
        features = PhotoFeatures(extractor, photos, folder)
    found = f"Features of {features.num_found} photos found in {features.seconds:.0f} s"
    world.say(f"{found}, kept in {folder}.")
    if features.num_found:
        seconds = steps * config.batch_size * features.seconds / features.num_found
        world.say(f"Finding them in every epoch would take {seconds:.0f} s more of each.")
    return features


def _fit(
    trainer: keras.Model,
    run: Run,
    steps: int,
    batches: tf.data.Dataset,
    validation: tf.data.Dataset,
    callbacks: list[keras.callbacks.Callback],
) -> None:
    """Fit the trainer on the part of each batch that this process works on."""
    progress_bar = 1 if sys.stdout.isatty() else 2
    with warnings.catch_warnings():
        # Keras cannot know how many photos the pipeline leaves out, and takes a pass's end for a shortage.
        warnings.filterwarnings("ignore", message="Your input ran out of data")
        trainer.fit(
            run.world.share(batches),
            epochs=run.config.epochs,
            steps_per_epoch=steps,
            validation_data=run.world.share(validation),
            callbacks=callbacks,
            shuffle=False,  # the pipeline does
            verbose=progress_bar if run.world.is_first else 0,
        )


def _require_finite(run: Run) -> None:
    """Give a run up whose loss became NaN or infinite."""
    last_loss = float(run.history()[-1]["loss"])
    if not math.isfinite(last_loss):
        run.forget()
        rate = run.config.learning_rate
        raise TrainingError(f"The loss became {last_loss}: try a lower --learning-rate than {rate:g}.")
