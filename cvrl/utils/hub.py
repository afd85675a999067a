"""Models of the Hugging Face Hub: download one, upload a folder.

The only module that imports ``huggingface_hub``; ``pip install cvrl[hub]`` brings it. The address
of the Hub, the token and the cache are its own: ``HF_ENDPOINT``, ``HF_TOKEN``, ``HF_HUB_CACHE``,
``HF_HUB_OFFLINE``.
"""

import importlib.util
import re
from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import Any

from cvrl import __version__
from cvrl.utils.errors import UserError

NAME = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")
NEEDED = ("config.json", "model.safetensors", "preprocessor_config.json")
LOG_IN = "set HF_TOKEN, or run hf auth login"


def is_hub_name(path: str | PathLike[str]) -> bool:
    """Whether a model is to be looked for on the Hub: ``org/name``, with ``@revision`` or without.

    A path that exists, or whose first folder does, is local, and so is a path object.

    Example:
        >>> is_hub_name("someone/their-encoder@v1"), is_hub_name("cvrl/missing")
        (True, False)
        >>> is_hub_name("a/b/model.safetensors"), is_hub_name("runs/x.pth")
        (False, False)
    """
    if not isinstance(path, str) or Path(path).suffix in (".safetensors", ".pth", ".pt"):
        return False
    name = path.partition("@")[0]
    return NAME.fullmatch(name) is not None and not Path(name.partition("/")[0]).exists()


def download(name: str) -> Path:
    """The folder of the cache that holds a model of the Hub, downloaded where it is not there.

    Args:
        name: ``org/name``, or ``org/name@revision`` for a branch, a tag or a commit.

    Raises:
        UserError: no such model or revision, no permission, or no network.
    """
    _need(name)
    from huggingface_hub import snapshot_download

    repo, _, revision = name.partition("@")
    with _clear_errors(name, "no such folder here, and no such model on the Hub"):
        folder = snapshot_download(
            repo,
            revision=revision or None,
            allow_patterns=[*NEEDED],
            library_name="cvrl",
            library_version=__version__,
        )
    return Path(folder)


def upload(
    folder: str | PathLike[str], name: str, *, private: bool, message: str, token: str | None
) -> str:
    """Upload a folder as one commit; the model is created where there is none.

    Args:
        folder: of files.
        name: ``org/name``.
        private: whether a model that is created is visible to its owners only.
        message: of the commit.
        token: None: that of the environment or of ``hf auth login``.

    Returns:
        The page of the model.

    Raises:
        UserError: a wrong name, no token, no permission, or no network.
    """
    check_upload(name, token)
    from huggingface_hub import HfApi

    api = HfApi(token=token, library_name="cvrl", library_version=__version__)
    with _clear_errors(name, "the Hub knows no such owner or model, or the token may not write it"):
        page = api.create_repo(name, private=private, exist_ok=True)
        api.upload_folder(repo_id=name, folder_path=Path(folder), commit_message=message)
    return str(page)


def check_upload(name: str, token: str | None) -> None:
    """Refuse an upload that cannot work, before anything is written.

    Raises:
        UserError: a wrong name, or no token.
    """
    if not NAME.fullmatch(name):
        raise UserError(name, "is no name of a model on the Hub", "give it as org/name")
    _need(name)
    from huggingface_hub import get_token

    if (token or get_token()) is None:
        raise UserError(name, "there is no token to upload with", LOG_IN)


@contextmanager
def _clear_errors(name: str, not_found: str) -> Iterator[None]:
    """Errors of huggingface_hub as one line."""
    from huggingface_hub import errors

    try:
        yield
    except errors.GatedRepoError as error:
        remedy = f"ask for access on its page, then {LOG_IN}"
        raise UserError(name, "access to this model must be granted", remedy) from error
    except errors.RevisionNotFoundError as error:
        raise UserError(name, "no such revision", "give a branch, a tag or a commit") from error
    except errors.RepositoryNotFoundError as error:
        remedy = f"check the spelling; for a private model, {LOG_IN}"
        raise UserError(name, not_found, remedy) from error
    except errors.HFValidationError as error:
        raise UserError(name, "is no name of a model on the Hub", "give it as org/name") from error
    except (errors.HfHubHTTPError, OSError) as error:
        raise UserError(name, *_unreachable(error)) from error
    except Exception as error:
        uploading = isinstance(error, RuntimeError) and error.__cause__ is not None
        if not (uploading or type(error).__module__.startswith("httpx")):  # httpx2 in later ones
            raise
        raise UserError(name, *_unreachable(error)) from error


def _unreachable(error: BaseException) -> tuple[str, str]:
    """Reason and remedy where the Hub was not reached, or did not do what it was asked."""
    cause: Any = error
    while cause is not None and getattr(cause, "response", None) is None:
        cause = cause.__cause__
    status = None if cause is None else cause.response.status_code
    if status in (401, 403):
        return f"the Hub refuses the token (status {status})", f"{LOG_IN} with one that may write"
    if status is not None:
        return f"the Hub answers with status {status}", "try again later"
    return (
        "no such folder here, and the Hub cannot be reached",
        "check the path, the network and HF_ENDPOINT",
    )


def _need(name: str) -> None:
    if importlib.util.find_spec("huggingface_hub") is None:
        reason = "no such folder here; models of the Hub need huggingface_hub"
        raise UserError(name, reason, "check the path, or pip install 'cvrl[hub]'")
