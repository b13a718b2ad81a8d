"""Where releases come from: the sources, and the words they answer with.

Importing this loads no client library: a source loads its own at its first look.
"""

from overseer.fetcher.command import Command
from overseer.fetcher.file import File
from overseer.fetcher.func import Func
from overseer.fetcher.github import GitHub
from overseer.fetcher.http import HTTP
from overseer.fetcher.legacy import Legacy
from overseer.fetcher.offer import Download, Fetcher, LookAgain, Offer, Partial, PatchOffer
from overseer.fetcher.registry import adapt, from_url
from overseer.fetcher.s3 import S3

__all__ = [
    "HTTP",
    "S3",
    "Command",
    "Download",
    "Fetcher",
    "File",
    "Func",
    "GitHub",
    "Legacy",
    "LookAgain",
    "Offer",
    "Partial",
    "PatchOffer",
    "adapt",
    "from_url",
]
