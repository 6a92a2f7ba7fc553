"""Numbers of things in sentences."""


def counted(number: int, thing: str, things: str = "") -> str:
    """Returns "1 image" or "2,000 images"."""
    return f"{number:,} {thing if number == 1 else things or thing + 's'}"
