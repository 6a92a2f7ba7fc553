"""Numbers and names in sentences."""

from collections.abc import Sequence


def counted(number: int, thing: str, things: str = "") -> str:
    """Returns "1 image" or "2,000 images"."""
    return f"{number:,} {thing if number == 1 else things or thing + 's'}"


def some(names: Sequence[str], shown: int = 3) -> str:
    """Returns "a, b, c and 4 more"."""
    first, rest = names[:shown], len(names) - shown
    return ", ".join(first) + (f" and {rest:,} more" if rest > 0 else "")


def percent(share: float) -> str:
    """Returns "12 %", with a digit more where the share is small or nearly whole."""
    digits = 1 if 0 < share < 0.02 or 0.98 < share < 1 else 0
    return f"{100 * share:.{digits}f} %"
