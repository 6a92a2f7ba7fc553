"""Config files: found by their names from any folder, and read with what follows their colon."""

import os
import runpy
from pathlib import Path

from ml_collections import ConfigDict

from common.program.errors import UserError
from common.program.files import user_path

_ROOT = Path(__file__).resolve().parents[2]


def find_config(named: str) -> str:
    """Returns FILE[:ARGUMENT] with the path of the file, from whatever folder the program runs.

    "acgan_covid:tiny", "configs/acgan_covid.py:tiny" and the path of a file of one's own are names.

    Raises:
      UserError: there is no such file; the message lists the folders and the built-in configs.
    """
    name, colon, argument = named.partition(":")
    if not name:
        raise UserError("--config names no file; name one, as in --config=configs/unet.py.")
    file = user_path(name)
    places = [Path.cwd() / file, _ROOT / file]
    if file.name == name:  # a path with a folder means that file only
        places.append(_ROOT / "configs" / file)
    places += [Path(f"{place}.py") for place in places if not file.suffix]
    found = next((p for p in places if os.path.lexists(p) and not p.is_dir()), None)
    if found is None:
        there = sorted(path.stem for path in (_ROOT / "configs").glob("[!_]*.py"))
        folders = dict.fromkeys(str(place.parent) for place in places)
        raise UserError(
            f"The config file {name} does not exist in {', '.join(folders)}; the built-in"
            f" configs are {', '.join(f'configs/{stem}.py' for stem in there)}."
        )
    # Kept as written where possible: messages then show what the user typed.
    return f"{file if found == places[0] else found}{colon}{argument}"


def read_config(file: str, argument: str) -> ConfigDict:
    """Returns the config that a file gives; `argument` is what follows its colon.

    Raises:
      UserError: the file fails.
    """
    try:
        get_config = runpy.run_path(file)["get_config"]
        config: ConfigDict = get_config(argument) if argument else get_config()
    except UserError:
        raise
    except Exception as error:  # a file of the user's may raise anything
        raise UserError(
            f"The config file {file} fails: {type(error).__name__}: {error}."
        ) from error
    return config
