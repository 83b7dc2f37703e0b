"""From the arguments of a training to the networks, the loss and the optimizer that they name."""

import functools

import keras

from nxap_color import data, extractors, imagenet, losses, metrics, models, saved
from nxap_color.training import pretrained


class EncoderAdam(keras.optimizers.Adam):
    """Adam with a smaller learning rate for the pretrained encoder than for the fresh decoder.

    A rate that is right for new layers destroys within a few steps what ImageNet taught the others
    (Howard, Ruder: ULMFiT, ACL 2018, call it discriminative fine-tuning).

    Args:
        learning_rate: rate or schedule of all layers but the encoder's.
        encoder_rate: the encoder's rate as a share of it; layers named `encoder_...` belong to it.
        **kwargs: as in `keras.optimizers.Adam`.
    """

    def __init__(self, learning_rate, encoder_rate=1.0, **kwargs):
        super().__init__(learning_rate, **kwargs)
        self.encoder_rate = encoder_rate

    def build(self, variables):
        super().build(variables)
        in_encoder = (variable.path.startswith("encoder_") for variable in variables)
        self._shares = [self.encoder_rate if inside else 1.0 for inside in in_encoder]

    def update_step(self, gradient, variable, learning_rate):
        share = self._shares[self._get_variable_index(variable)]
        super().update_step(gradient, variable, learning_rate * share)

    def get_config(self):
        return {**super().get_config(), "encoder_rate": self.encoder_rate}


# Layers that answer: half precision would round colours to steps of half an ab unit.
_IN_FLOAT32 = ("ab", "ab_bins")


def load_extractor(args):
    """Loads the frozen network whose features the network that `args` names takes; None if it takes none.

    Args:
        args: the namespace of `train.make_parser`.

    Raises:
        ValueError: if its weights cannot be had, or options do not belong to the network.
    """
    name = args.extractor or ("inception_v3" if args.arch == "fusion" else "none")
    if name != "none" and args.arch == "autoencoder":
        raise ValueError("--extractor needs --arch fusion or unet; the autoencoder takes no features.")
    if name == "none" and args.extractor_weights:
        raise ValueError("--extractor-weights needs an --extractor whose weights they are.")
    if args.filters and args.arch != "fusion":
        raise ValueError(f"--filters needs --arch fusion, not {args.arch}.")
    return None if name == "none" else extractors.load_extractor(name, args.extractor_weights or "imagenet")


def build_model(args, extractor=None):
    """Builds the network that `args` names, from the weights that it names.

    Args:
        args: the namespace of `train.make_parser`.
        extractor: as from `load_extractor`.

    Returns:
        A `keras.Model`, the first blocks of its encoder not trainable if `args.freeze` says so; it computes
        in `args.precision`.

    Raises:
        ValueError: if the weights are missing or belong to another network.
    """
    if args.loss == "bins" and args.arch != "unet":
        raise ValueError("--loss bins needs --arch unet, whose head can answer bins.")
    options = {
        "autoencoder": {},
        "fusion": {"extractor": extractor, "filters": args.filters or 64},
        "unet": {"extractor": extractor, "head": "bins" if args.loss == "bins" else "ab"},
    }
    build = functools.partial(models.ARCHITECTURES[args.arch], **options[args.arch])
    if args.freeze and not (args.imagenet or args.init):
        raise ValueError(
            "--freeze keeps weights as they are, which needs some to keep: --imagenet or --init."
        )
    if args.init and saved.find_model(args.init).resolve() == args.output.resolve():
        raise ValueError(
            f"--output {args.output} would replace what --init starts from: choose another name."
        )
    for name in [args.init] * bool(args.init) + args.average:
        if extractor and (trained := saved.load_recipe(name).get("extractor")):
            extractors.require_same(extractor, trained, name)
    for name in args.average:  # said now, not after hours, if it is another network
        pretrained.copy_weights(saved.load_model(name), build(), False)
    model = build()
    if args.imagenet:
        imagenet.load_imagenet_encoder(model)
    if args.init:
        pretrained.copy_weights(saved.load_model(args.init), model)
    pretrained.freeze_encoder(model, args.freeze)
    for layer in model.layers:
        if layer.name not in _IN_FLOAT32:
            layer.dtype_policy = args.precision
    return model


def compile_trainer(model, args, steps, batches):
    """Wraps a model's layers in a second model that has optimizer, loss and metrics.

    Args:
        model: the network; the trainer shares its weights.
        args: the namespace of `train.make_parser`.
        steps: steps in an epoch.
        batches: training batches, the same ones also after a stop; some losses ask for their colours.

    Returns:
        A compiled `keras.Model`.
    """
    total = steps * args.epochs
    warm_up = min(500, total // 10)
    rate = keras.optimizers.schedules.CosineDecay(
        0.0, max(1, total - warm_up), warmup_target=args.learning_rate, warmup_steps=warm_up
    )
    encoder_rate = args.encoder_rate or (1 / 16 if args.imagenet or args.init else 1.0)
    outputs, prior = model.output, None
    if args.loss == "bins":
        outputs = keras.layers.Concatenate(name="ab_and_bins")([outputs, model.get_layer("ab_bins").output])
        prior = data.ab_histogram(batches)
    trainer = keras.Model(model.inputs, outputs, name=f"{model.name}_trainer")
    optimizer = EncoderAdam(rate, encoder_rate)
    if args.precision == "mixed_float16":  # whose smallest numbers are too large for some gradients
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    trainer.compile(
        optimizer=optimizer,
        loss=losses.make_loss(args.loss, prior),
        metrics=[metrics.AbError(), metrics.ChromaRatio()],
    )
    return trainer
