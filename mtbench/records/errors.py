"""What a record says about an error: type, message and the end of the traceback, without places of this machine."""

from __future__ import annotations

import re
import traceback
from collections.abc import Mapping
from pathlib import Path

from mtbench.records.record import ErrorInfo

TRACEBACK_LINES = 12
_QUOTED = re.compile(r"""(["'])((?:(?:file://)?/(?=\S)|[A-Za-z]:[\\/])(?:(?!\1).)*)\1""")
_BARE = re.compile(r"""file://[^\s"']+|(?<![\w.~>/])/(?:[^\s"'/]+/)+[^\s"'/]*|(?<!\w)[A-Za-z]:[\\/](?![\\/])[^\s"']+""")
_SOMEONES_HOME = re.compile(r"(?:file://)?/(?:home|Users)/[^/]+/?|[A-Za-z]:[\\/]Users[\\/][^\\/]+[\\/]?")


def describe_error(error: BaseException, places: Mapping[Path, str]) -> ErrorInfo:
    """An error as it stands in a record; ``places`` are folders with the short names they get there."""
    lines = [shorten_paths(line.rstrip(), places) for line in traceback.format_exception(error)]
    return {
        "type": type(error).__name__,
        "message": shorten_paths(str(error), places),
        "traceback": lines[-TRACEBACK_LINES:],
    }


def shorten_paths(text: str, places: Mapping[Path, str]) -> str:
    """``text`` without places of this machine: known folders by short names, of any other path only its last part.

    A path with blanks is recognised where it is quoted or lies in a known folder.
    """
    known = {str(place.absolute()): name for place, name in places.items()}
    known |= {str(place.resolve()): name for place, name in places.items()}
    known |= {str(Path(__file__).resolve().parents[2]): "<mtbench>", str(Path.home()): "~"}
    longest_first = "|".join(re.escape(p) for p in sorted(known, key=len, reverse=True) if p not in (".", "/"))
    in_known = re.compile(rf"(?<![\w.~-])(?:file://)?({longest_first})(?![\w.-])")
    text = in_known.sub(lambda found: known[found[1]], text)
    text = _QUOTED.sub(lambda found: found[1] + _last_part(found[2]) + found[1], text)
    return _BARE.sub(lambda found: _last_part(found[0]), text)


def _last_part(path: str) -> str:
    if _SOMEONES_HOME.fullmatch(path):
        return "<home>"
    return re.split(r"[\\/]", path.rstrip("\\/"))[-1]
