"""Push an export to the Hugging Face Hub."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from miner.errors import StorageError, UsageError, install_hint
from miner.formatting import short_message

__all__ = ["hub_token", "push_export"]


def hub_token(repository: str) -> str:
    """Return the user's token for the Hugging Face Hub, after a check of a data set's name.

    Raises
    ------
    UsageError
        If `datasets` is not installed, there is no token, or the name is not valid.
    """
    try:
        import datasets  # noqa: F401
        import huggingface_hub
    except ImportError:
        raise UsageError(f"--push-to-hub needs datasets: {install_hint('trainers')}") from None
    try:
        huggingface_hub.utils.validate_repo_id(repository)
    except huggingface_hub.errors.HFValidationError:
        raise UsageError(
            f"--push-to-hub {repository}: not a name of a data set; write NAME or OWNER/NAME"
        ) from None
    token = huggingface_hub.get_token()
    if not token:
        raise UsageError("--push-to-hub needs a token: set HF_TOKEN, or run hf auth login")
    return str(token)


def push_export(repository: str, token: str, folder: Path, tables: dict[str, list[Path]]) -> None:
    """Push the tables of a finished export as configurations; a new data set becomes private.

    Parameters
    ----------
    repository : str
        The name of the data set.
    token : str
    folder : Path
        The export. A copy of the tables lies next to it while they are pushed.
    tables : dict of str to list of Path
        The files of each table, by the name of its configuration.

    Raises
    ------
    StorageError
        If the Hub cannot be reached, or refuses.
    """
    import datasets

    try:
        with TemporaryDirectory(".tmp", f".{folder.name}.", folder.parent) as cache:
            for name, files in tables.items():
                kind = "parquet" if files[0].suffix == ".parquet" else "json"
                paths = [str(path) for path in files]
                table = datasets.load_dataset(
                    kind, data_files=paths, split="train", cache_dir=cache
                )
                table.push_to_hub(repository, config_name=name, private=True, token=token)
    except Exception as error:  # foreign code may raise anything
        raise StorageError(
            f"{folder} is written, but not pushed to {repository}: "
            f"{short_message(str(error) or type(error).__name__)}; push it again with --force"
        ) from error
