"""Where releases come from: the sources, and the words they answer with."""

from overseer.fetcher.file import File
from overseer.fetcher.func import Func
from overseer.fetcher.http import HTTP
from overseer.fetcher.offer import Download, Fetcher, LookAgain, Offer, Partial

__all__ = ["HTTP", "Download", "Fetcher", "File", "Func", "LookAgain", "Offer", "Partial"]
