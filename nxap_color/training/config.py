"""Settings of a training: their meaning, defaults and checks. The command line is made from them."""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nxap_color.errors import UserError

# The keys of `models.ARCHITECTURES`, `extractors.EXTRACTORS` and `losses.LOSSES`, here too so that --help
# needs no Keras; tests hold them equal.
ARCHITECTURES = ("autoencoder", "fusion", "unet")
EXTRACTOR_NAMES = ("inception_v3", "inception_resnet_v2", "efficientnet_lite0")
LOSS_NAMES = ("huber", "mse", "moments", "bins")
PRECISIONS = ("float32", "mixed_bfloat16", "mixed_float16")

# Photos below it teach grayness; an average photo has about 40.
MIN_COLORFULNESS = 15.0


@dataclass(frozen=True)
class Kind:
    """A kind of value: what it is converted to, and what it has to be.

    Args:
        convert: function that makes the value of a text, such as `int`.
        fits: function of the converted value; whether it may be used.
        expected: the rule in words, for the error: "expected ..., received ...".
    """

    convert: Callable[[Any], Any]
    fits: Callable[[Any], bool]
    expected: str

    def read(self, given: Any) -> Any:
        """Convert and check a value.

        Args:
            given: a text, as on a command line, or a value.

        Returns:
            The converted value.

        Raises:
            UserError: if it does not fit.
        """
        try:
            value = self.convert(given)
        except (TypeError, ValueError, OverflowError):
            value = None
        unchanged = isinstance(given, (str, Path)) or value == given  # int(2.5) is 2, which nobody asked for
        if value is None or not unchanged or not self.fits(value):
            raise UserError(f"expected {self.expected}, received {given}")
        return value


ANY_WHOLE = Kind(int, lambda value: True, "a whole number")
NOT_NEGATIVE = Kind(int, lambda value: value >= 0, "a whole number, 0 or above")
POSITIVE = Kind(int, lambda value: value > 0, "a whole number above 0")
# The deepest feature map is 1/32 of the input.
SIDE = Kind(int, lambda value: value > 0 and value % 32 == 0, "a multiple of 32")
POSITIVE_NUMBER = Kind(float, lambda value: 0 < value < float("inf"), "a number above 0")
NOT_BELOW_0 = Kind(float, lambda value: 0 <= value < float("inf"), "a number, 0 or above")
SHARE = Kind(float, lambda value: 0 <= value <= 1, "a number from 0 to 1")
MOMENTUM = Kind(float, lambda value: 0 <= value < 1, "a number from 0 up to, but not, 1")
CROP_SHARE = Kind(float, lambda value: 0.1 <= value <= 1, "a number from 0.1 to 1")
MODEL_FILE = Kind(Path, lambda path: path.suffix == ".keras", "a file name that ends in .keras")


def _option(default: Any, text: str, kw_only: bool = True, **metadata: Any) -> Any:
    """Make a field; `metadata` holds what its option on the command line has beside the help text."""
    metadata["help"] = text
    if isinstance(default, list):
        return dataclasses.field(default_factory=list, metadata=metadata, kw_only=kw_only)
    return dataclasses.field(default=default, metadata=metadata, kw_only=kw_only)


@dataclass(frozen=True)
class TrainConfig:
    """Everything that decides a training, checked on construction; `run` trains.

    Each field is an option of `python -m nxap_color.train`, where its help text stands as well. Texts are
    converted, so that `epochs="3"` is 3. To change a setting, use `dataclasses.replace`.

    Args:
        sources: folder or zip of colour photos, a list of several, all with ":SHARE" or none, or
            "tfds:NAME".
        **kwargs: see the fields.

    Raises:
        UserError: if a value is out of range, or two contradict each other.

    Example:
        >>> config = TrainConfig("path/to/photos", init="unet", output="runs/mine.keras")
        >>> recipe = config.run()  # doctest: +SKIP
    """

    sources: str | Path | Sequence[str | Path] = _option(
        dataclasses.MISSING,
        "folder or zip of photos, or tfds:NAME. Several mix by their numbers of photos, or 3 to 1 as "
        "PATH:3 PATH:1",
        kw_only=False,
        metavar="SOURCE",
        nargs="+",
    )
    arch: str = _option("unet", "the network", choices=ARCHITECTURES)
    extractor: str | None = _option(
        None,
        "frozen network whose features are fused in; without it, fusion takes inception_v3 and unet none",
        choices=(*EXTRACTOR_NAMES, "none"),
    )
    extractor_weights: str | None = _option(
        None,
        "weights of the extractor: ImageNet's (also without this option), random ones or a file",
        metavar="imagenet|random|FILE",
    )
    filters: int | None = _option(
        None, "channels of fusion's first layer; 64 without this option", kind=POSITIVE, metavar="N"
    )
    hints: bool = _option(
        False, "teach the unet how far colour hints reach, too; also without this option if INIT knows"
    )
    hints_only: bool = _option(False, "teach it nothing else: the colours stay those of INIT")
    queries: int = _option(0, "colour queries of the unet", kind=NOT_NEGATIVE, metavar="N")
    imagenet: bool = _option(False, "start the unet's encoder from ImageNet weights")
    init: str | None = _option(
        None, "start from the weights of a shipped model or of your own", metavar="NAME|FILE"
    )
    freeze: int = _option(
        0, "leave the encoder's stem and first N blocks untrained", kind=NOT_NEGATIVE, metavar="N"
    )
    average: list[str] = _option(
        [],
        "save the mean of the best weights and those of these models, fine-tuned from the same start",
        nargs="+",
        metavar="NAME|FILE",
    )
    loss: str = _option("huber", "see nxap_color/losses.py", choices=LOSS_NAMES)
    image_size: int = _option(
        128,
        "side of the crops in pixels, a multiple of 32; smaller photos are cut to what they have",
        kind=SIDE,
    )
    batch_size: int = _option(
        32, "photos per step; of smaller photos as many more as cost the same", kind=POSITIVE
    )
    epochs: int = _option(10, "how often the validation photos are looked at", kind=POSITIVE)
    steps: int | None = _option(
        None, "steps per epoch; without this option one pass over the photos", kind=POSITIVE
    )
    precision: str = _option(
        "float32",
        "what convolutions compute in; the weights, and the model saved, are float32",
        choices=PRECISIONS,
    )
    learning_rate: float = _option(8e-4, "highest rate, which then falls to 0", kind=POSITIVE_NUMBER)
    encoder_rate: float | None = _option(
        None, "share of it for the encoder; 1, or 1/16 with --imagenet or --init", kind=POSITIVE_NUMBER
    )
    degraded: float = _option(0.5, "share of crops with an old photo's damage", kind=SHARE)
    ema: float = _option(
        0.0,
        "evaluate and save an exponential moving average of the weights, of this momentum (0: the weights)",
        kind=MOMENTUM,
        metavar="M",
    )
    min_crop: float = _option(0.6, "smallest crop, as a share of the photo", kind=CROP_SHARE)
    emulsions: float = _option(
        0.0,
        "share of crops in the grays of other emulsions and filters, such as plates blind to red",
        kind=SHARE,
    )
    balance: float = _option(
        0.0,
        "how much folders are evened out, inside zips too: 0 photos count alike, 1 folders do",
        kind=SHARE,
    )
    min_colorfulness: float = _option(
        MIN_COLORFULNESS, "leave out photos with less colour (Hasler, Süsstrunk); 0: none", kind=NOT_BELOW_0
    )
    validation: float = _option(0.02, "share of the photos kept for validation", kind=POSITIVE_NUMBER)
    seed: int = _option(0, "decides split, order, crops and initial weights", kind=ANY_WHOLE)
    distribute: bool = _option(False, "use all devices, of all processes that were started")
    sample_every: int = _option(5, "epochs between two sample pictures", kind=POSITIVE)
    output: Path = _option(Path("runs/model.keras"), "where the best epoch is saved", kind=MODEL_FILE)
    keras_only: bool = _option(
        False, "leave out the .onnx file beside OUTPUT, with which prediction does without Keras"
    )
    resume: bool = _option(False, "continue this run where it was stopped")
    overwrite: bool = _option(False, "start anew although OUTPUT exists")

    def __post_init__(self):
        several = {"sources": self.sources, "average": self.average}
        for name, given in several.items():
            texts = [given] if isinstance(given, (str, Path)) else given
            object.__setattr__(self, name, [str(text) for text in texts])  # the way of a frozen dataclass
        if self.init is not None:
            object.__setattr__(self, "init", str(self.init))
        if self.extractor_weights is not None:
            object.__setattr__(self, "extractor_weights", str(self.extractor_weights))
        for field in dataclasses.fields(self):
            self._check_value(field)
        self._check_combinations()

    def _check_value(self, field: dataclasses.Field):
        value = getattr(self, field.name)
        choices = field.metadata.get("choices")
        if field.default is None and value is None:
            return
        if choices and value not in choices:
            raise UserError(f"{field.name}: expected one of {', '.join(choices)}; received {value!r}.")
        if kind := field.metadata.get("kind"):
            try:
                object.__setattr__(self, field.name, kind.read(value))
            except UserError as error:
                raise UserError(f"{field.name}: {error}.") from None

    def _check_combinations(self):
        if not self.sources:
            raise UserError("sources: expected at least one folder or zip of photos, or tfds:NAME.")
        if self.imagenet and self.init:
            raise UserError("--init is not allowed with argument --imagenet: a training has one start.")
        if self.imagenet and self.arch != "unet":
            raise UserError(f"The model {self.arch} has no encoder that ImageNet weights fit: use unet.")
        if self.freeze and not (self.imagenet or self.init):
            raise UserError(
                "--freeze keeps weights as they are, which needs some to keep: --imagenet or --init."
            )
        if self.loss == "bins" and self.arch != "unet":
            raise UserError("--loss bins needs --arch unet, whose head can answer bins.")
        if self.extractor_name and self.arch == "autoencoder":
            raise UserError("--extractor needs --arch fusion or unet; the autoencoder takes no features.")
        if self.extractor_weights and not self.extractor_name:
            raise UserError("--extractor-weights needs an --extractor whose weights they are.")
        if self.hints_only and (self.average or not (self.hints and self.init)):
            raise UserError(
                "--hints-only needs --hints, and --init, whose colours it leaves as they are: no --average."
            )
        if (self.hints or self.queries) and self.arch != "unet":
            raise UserError(f"--hints and --queries need --arch unet, not {self.arch}.")
        if self.filters and self.arch != "fusion":
            raise UserError(f"--filters needs --arch fusion, not {self.arch}.")

    @property
    def extractor_name(self) -> str | None:
        """Name of the frozen network whose features are fused in, or None."""
        name = self.extractor or ("inception_v3" if self.arch == "fusion" else "none")
        return None if name == "none" else name

    @property
    def crop_size(self) -> tuple[int, int]:
        """(height, width) of the crops in pixels."""
        return self.image_size, self.image_size

    def to_dict(self) -> dict[str, Any]:
        """Return what decides the result as plain JSON values: the "arguments" of a recipe.

        How often samples are drawn, what is written beside the model, whether a run is resumed and what
        computes it is left out.
        """
        values = {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if field.name not in ("distribute", "sample_every", "keras_only", "resume", "overwrite")
        }
        return {"source": values.pop("sources"), **values, "output": str(self.output)}

    @classmethod
    def from_dict(cls, arguments: dict[str, Any]) -> "TrainConfig":
        """Return the settings of a recipe; those that an older recipe does not name are the defaults.

        Args:
            arguments: dict as from `to_dict`.

        Raises:
            UserError: if there are settings that this version does not know, or values that do not fit.
        """
        values = {("sources" if key == "source" else key): value for key, value in arguments.items()}
        if unknown := values.keys() - {field.name for field in dataclasses.fields(cls)}:
            raise UserError(f"The recipe has settings that are not known: {', '.join(sorted(unknown))}.")
        if "sources" not in values:
            raise UserError("The recipe does not name its source of photos.")
        return cls(**values)

    def run(self) -> dict[str, Any] | None:
        """Train; write the best model, its recipe, its log and sample pictures.

        Beside `output` (FILE.keras, the best epoch on the validation photos) stand FILE.onnx (the same for
        prediction, if tf2onnx is installed), FILE.json (the recipe), FILE.csv (a line per epoch) and
        FILE.samples/ (gray, result and truth side by side). FILE.resume/ holds what `resume` needs and goes
        when the run is complete.

        Returns:
            The recipe; None in all but the first of several processes.

        Raises:
            UserError: if photos, weights or an earlier run at `output` cannot be used.
            TrainingError: if the loss became NaN or infinite.
        """
        from nxap_color.training.trainer import run_training  # Keras: only where it is needed

        return run_training(self)
