"""Reader for YAML 1.2: a configuration file, or the value of an override."""

from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.constructor import DuplicateKeyError
from ruamel.yaml.error import YAMLError

from sign_ablate.config.errors import ConfigError, shown

#: maximum levels of nesting; a configuration has four
MAX_DEPTH = 10


def read_yaml(path: Path) -> dict[str, Any]:
    """Read the mapping in a YAML file. Raises ConfigError with the file's name and the problem's line."""
    try:
        values = parse_yaml(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{path}: not found; run in the repository's folder or name a file") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: not UTF-8 text; save it with the encoding UTF-8") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}); give a readable YAML file") from None
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None
    if values is None:
        raise ConfigError(f"{path}: empty; must be a mapping of keys, each with its value")
    if not isinstance(values, dict):
        raise ConfigError(f"{path} = {shown(values)}: must be a mapping of keys, each with its value")
    return values


def parse_yaml(text: str) -> Any:
    """Parse a YAML value, whose keys must be text. Raises ConfigError with the problem's line."""
    try:
        values = YAML(typ="safe", pure=True).load(text)  # the C parser reads YAML 1.1
    except DuplicateKeyError as error:
        key = error.problem.split('"')[1]
        raise ConfigError(
            f"line {error.problem_mark.line + 1}: the key {key!r} is given twice; rename or remove one"
        ) from None
    except YAMLError as error:
        raise ConfigError(_syntax(error)) from None
    except RecursionError:
        raise ConfigError("nested too deeply") from None
    except (ValueError, KeyError) as error:  # of a date that does not exist, or of a tag such as !!int
        raise ConfigError(f"not valid YAML: {error}; put a text in quotes") from None
    _check_keys(values, ())
    return values


def _syntax(error: YAMLError) -> str:
    """Error line for invalid YAML."""
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or str(error).splitlines()[0]
    hints = {
        r"'\t'": "a tab; indent with spaces",
        "another document": "a second document begins (---); a file has one",
    }
    found = next((hint for part, hint in hints.items() if part in problem), f"not valid YAML: {problem}")
    return f"line {mark.line + 1}: {found}" if mark else found


def _check_keys(values: Any, path: tuple[str, ...]) -> None:
    """Raise ConfigError for a key that is not text, and for nesting that is too deep."""
    if len(path) > MAX_DEPTH:
        raise ConfigError(f"{'.'.join(path[:3])}…: nested too deeply; does an alias (*) contain itself?")
    if isinstance(values, list):
        for value in values:
            _check_keys(value, (*path, "[]"))
    elif isinstance(values, dict):
        for key, value in values.items():
            if not isinstance(key, str):
                where = f"{'.'.join(path)}: " if path else ""
                comma = " (a decimal comma? 0,1 is written 0.1)" if value is None else ""
                raise ConfigError(
                    f"{where}the key {shown(key)} is not text; put it in quotes, or use letters{comma}"
                )
            if value is None and ":" in key:
                raise ConfigError(f"{'.'.join((*path, key))}: a space must follow the colon")
            _check_keys(value, (*path, key))
