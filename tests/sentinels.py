"""Files of somebody else around and inside an output, to see that they stay as they are."""

SENTINEL = b"somebody else's"
NAMES = ("mine.txt", ".hidden", "A/mine.png", "7.png")


def tree(folder):
    """Returns everything below a folder: contents of files, targets of links, None of folders."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink():
            found[name] = path.readlink()
        else:
            found[name] = path.read_bytes() if path.is_file() else None
    return found


def put_sentinels(folder, output="out"):
    """Puts files, a folder and a link around an output's folder and into it."""
    inside = folder / output
    for file in (folder / "before.txt", *(inside / name for name in NAMES)):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(SENTINEL)
    (inside / "empty").mkdir()
    (inside / "link").symlink_to(folder / "before.txt")
