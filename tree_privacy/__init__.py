"Private image retrieval: search photographs on a cloud that you do not trust."
from typing import TYPE_CHECKING

__version__ = "0.1.0"
__all__ = ['Album', 'SearchResults']

if TYPE_CHECKING:
    from .album.album import Album
    from .album.results import SearchResults


def __getattr__(name: str) -> object:
    "Import the album when somebody asks for it: what only needs a lower layer loads no more than that."
    if name == 'Album':
        from .album.album import Album
        return Album
    if name == 'SearchResults':
        from .album.results import SearchResults
        return SearchResults
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
