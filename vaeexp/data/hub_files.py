"""The parquet files of a data set on the Hugging Face Hub, as the Hub's HTTP API lists them.

`HF_ENDPOINT` names another address of the Hub. `HF_TOKEN` is sent to this address alone.
"""

import os
import re
from functools import partial
from urllib.parse import quote, urlsplit

from sweeps import UserError
from vaeexp.data.formats import Definition, RemoteFile, some_of
from vaeexp.data.formats.hub import HUB, part_of
from vaeexp.data.http_files import DownloadError, fetch_json

PREFIX = "hf:"
_PUBLIC = "https://huggingface.co"
_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*(/[\w.-]+)?", re.ASCII)
STALL_SECONDS = 10.0


def hub_definition(dataset: str) -> Definition:
    """Return the data set `hf:OWNER/NAME`, or `hf:OWNER/NAME/CONFIGURATION`. Raises UserError for
    another name.
    """
    title = dataset.removeprefix(PREFIX)
    if not _NAME.fullmatch(title) or ".." in title:
        problem = f"got '{dataset}'; must be {PREFIX}OWNER/NAME, as the page of the data set has it"
        raise UserError("data.dataset", f"{problem}. Try {PREFIX}ylecun/mnist")
    return Definition(
        name=f"hf--{title.replace('/', '--')}",
        title=title,
        layout=HUB,
        list_remote=partial(list_hub_files, title),
    )


def list_hub_files(title: str) -> tuple[RemoteFile, ...]:
    """Ask the Hub for the files of the splits train, validation and test. Raises DownloadError, and
    UserError where a configuration must be named.
    """
    owner, name, *configuration = title.split("/")
    endpoint = os.environ.get("HF_ENDPOINT", "").rstrip("/") or _PUBLIC
    address = f"{endpoint}/api/datasets/{owner}/{name}/parquet"
    try:
        listed = fetch_json(address, stall=STALL_SECONDS, token_from="HF_TOKEN")
    except DownloadError as error:
        raise DownloadError(_explained(str(error), f"{owner}/{name}")) from error
    try:
        splits = {key: dict(listed[key]) for key in listed}
        chosen = splits[_configuration(f"{owner}/{name}", [*splits], configuration)]
        return _files(chosen, endpoint)
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise DownloadError(f"{address} lists no parquet files") from error


def _explained(problem: str, title: str) -> str:
    if any(f" answers {code} " in problem for code in (401, 403, 404)):
        return f"{problem}: the Hub has no {title}, or only for those whose HF_TOKEN may read it"
    return problem


def _configuration(title: str, known: list[str], given: list[str]) -> str:
    """Return the configuration that is given, else the only one, else `default`."""
    if given and given[0] not in known:
        problem = f"got the configuration '{given[0]}' of {title}"
        raise UserError("data.dataset", f"{problem}; must be one of {some_of(known)}")
    if given or len(known) == 1:
        return (given or known)[0]
    if "default" in known:
        return "default"
    if not known:
        raise KeyError(title)
    problem = f"got {title}, which has the configurations {some_of(known)}; must name one"
    raise UserError("data.dataset", f"{problem}. Try {PREFIX}{title}/{known[0]}")


def _files(splits: dict[str, list[str]], endpoint: str) -> tuple[RemoteFile, ...]:
    """Return the files of the splits that are read; all files where there is one split of any
    name.
    """
    read = {name: urls for name, urls in splits.items() if part_of(name) is not None}
    if not read and len(splits) == 1:
        read = dict(zip(["train"], splits.values(), strict=True))
    if not splits:
        raise KeyError("splits")
    if not read:
        raise DownloadError(f"got the splits {some_of([*splits])}; must have train")
    files = list[RemoteFile]()
    for split, urls in read.items():
        for number, url in enumerate(urls):
            files.append(_file(url, f"{quote(split, safe='')}/{number:05d}.parquet", endpoint))
    return tuple(files)


def _file(url: str, name: str, endpoint: str) -> RemoteFile:
    """Return a file of the listing, at the endpoint in place of the public address."""
    if url.startswith(f"{_PUBLIC}/"):
        url = endpoint + url.removeprefix(_PUBLIC)
    own = urlsplit(url)[:2] == urlsplit(endpoint)[:2]
    return RemoteFile(url, name, token_from="HF_TOKEN" if own else "")
