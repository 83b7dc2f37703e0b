"""Errors that are for people: their text is one line that says what was received and how to fix it."""


class UserError(ValueError):
    """An input that cannot be used. Its text is one line for the user; any other exception is a bug.

    Attributes:
        exit_status: what a command line ends with: 2 for wrong usage, 1 for work that failed.
    """

    exit_status = 2


class UsageError(UserError):
    """A command line that makes no sense."""


class PhotoError(UserError):
    """A photo that cannot be read or written."""


class HintError(UserError):
    """A colour hint that cannot be used, or a file of them that cannot be read or written."""


class FilmError(UserError):
    """A film that cannot be read or written."""


class ModelError(UserError):
    """A model that is missing, is no colorization network, or does not work as one."""


class ExtractorError(UserError):
    """An extractor whose weights are missing or do not fit."""


class TrainingError(UserError):
    """A training whose loss became NaN or infinite."""

    exit_status = 1


class ExportError(UserError):
    """A network that cannot be converted, or differs from the model afterwards."""

    exit_status = 1


class CodecError(UserError):
    """What another package's decoder or encoder cannot do, before it is known to which file it happened.

    Readers and writers catch it and raise a `PhotoError` or `FilmError` that names the file.
    """


class ProcessError(UserError):
    """One of several processes that train together failed, or lost another one."""

    exit_status = 1


class DocumentError(UserError):
    """A report or an archive that cannot be made."""

    exit_status = 1
