"""What a model answers: asked with the delivered product alone, and read strictly.

Holds: :func:`load_model`, :func:`ask` and the :class:`Answer` that comes of it. A model is any callable that takes a
product and returns mappings, one for each thing it found:

* ``{"kind": "source", "y": 12.3, "x": 45.6, "flux": 7.8}``: pixels from 0, total flux in the unit of SCI;
* ``{"kind": "dip", "mjd": 60393.14, "depth": 0.01}``: mid time (MJD UTC) and missing share of the light;
* ``{"kind": "flare", "mjd": 60393.14, "amplitude": 0.1}``: time and height of the peak, relative to the quiet light;
* ``{"kind": "cosmic_rays", "mask": array}``: a bool array of the shape of SCI.

``flux``, ``depth`` and ``amplitude`` may be left out. ``hdu`` says which SCI extension it is about, by default the
first. Keep out what an answer is worth (``matching``).
"""

from __future__ import annotations

import importlib
import itertools
import math
import sys
from collections.abc import Callable, Iterable, Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hwosim_assets.errors import BadInputError, HwosimError
from hwosim_assets.perturb.product import Product

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["KINDS", "Answer", "Found", "Model", "ask", "load_model"]

Model = Callable[[Product], Iterable[Mapping[str, Any]]]


@dataclass(frozen=True)
class Kind:
    """How one kind of thing is told.

    Attributes
    ----------
    place : tuple of str
        Keys of its coordinates; none of a kind that is told as a mask.
    strength : str
        Key of how strong it is.
    units : tuple of str
        Of the coordinates.
    """

    place: tuple[str, ...]
    strength: str = ""
    units: tuple[str, ...] = ()


#: What can be found, by the word that an answer uses for it.
KINDS = {
    "source": Kind(("y", "x"), "flux", ("px", "px")),
    "dip": Kind(("mjd",), "depth", ("d",)),
    "flare": Kind(("mjd",), "amplitude", ("d",)),
    "cosmic_rays": Kind(()),
}
#: An answer with more things in it is none: it would be right about everything.
MOST = 100_000


@dataclass(frozen=True)
class Found:
    """One thing that a model found.

    Attributes
    ----------
    kind : str
        One of :data:`KINDS`.
    hdu : int
        Which extension it lies in; -1 for what belongs to the whole file.
    place : tuple of float
        Pixels (y, x), or MJD (UTC).
    strength : float
        NaN where the model does not say.
    """

    kind: str
    hdu: int
    place: tuple[float, ...]
    strength: float = math.nan


@dataclass(frozen=True)
class Answer:
    """What a model made of one product.

    Attributes
    ----------
    found : tuple of Found
        Things at a place or a time.
    masks : dict of int to bool array
        Pixels that cosmic rays hit, by HDU.
    failure : str
        Why there is no answer; empty where there is one.
    """

    found: tuple[Found, ...] = ()
    masks: dict[int, NDArray[np.bool_]] = field(default_factory=dict)
    failure: str = ""


def load_model(name: str) -> Model:
    """Return the callable that ``MODULE:NAME`` names; modules of the working directory are found as well.

    Raises
    ------
    BadInputError
        When the text is no such name, the module cannot be imported, or it has no such callable.
    """
    module_name, _, attribute = name.partition(":")
    thing = f"model {name}"
    if not module_name or not attribute:
        raise BadInputError(thing, "is not MODULE:NAME", "give an importable module and a callable in it")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        with redirect_stdout(sys.stderr):  # standard output holds the scores
            module = importlib.import_module(module_name)
    except (Exception, SystemExit) as error:  # a module may raise anything while it is imported
        reason = f"{module_name} cannot be imported ({type(error).__name__}: {error})"
        raise BadInputError(thing, reason, _mend(module_name, error)) from error
    model = getattr(module, attribute, None)
    if not callable(model):
        reason = f"{module_name} has no callable {attribute}"
        raise BadInputError(thing, reason, "name a function that takes a product")
    found: Model = model
    return found


def _mend(module_name: str, error: BaseException) -> str:
    """Return what helps where a module cannot be imported: it is named wrongly, not there, or fails by itself."""
    if module_name.endswith(".py") or not all(part.isidentifier() for part in module_name.split(".")):
        return "name the module, not its file: my_model:find for my_model.py"
    if isinstance(error, ModuleNotFoundError) and f"{module_name}.".startswith(f"{error.name}."):
        return "install it, or run where it lies"
    return "mend it, or install what it imports"


def ask(model: Model, product: Product, whole: Product | None = None) -> Answer:
    """Return what a model answers to a product.

    Parameters
    ----------
    model : callable
        Takes a product, returns mappings.
    product : Product
        As delivered. The model gets one of its own, made of the same bytes, and never the truth.
    whole : Product, optional
        The product before, which says what can be answered where the delivered file cannot be read.

    Returns
    -------
    Answer
        Where the model raises or answers nonsense, one with a ``failure``.
    """
    delivered = Product(product.name, product.content)
    try:
        with redirect_stdout(sys.stderr):  # standard output holds the scores
            answered = model(delivered)
            listed = [] if isinstance(answered, Mapping) else list(itertools.islice(answered, MOST + 1))
    except (Exception, SystemExit) as error:
        return Answer(failure=f"raised {type(error).__name__}: {' '.join(str(error).split())}")
    if isinstance(answered, Mapping):
        return Answer(failure="answered nonsense: a mapping alone; mappings are asked for, in a list or one by one")
    try:
        return _read(listed, _shapes(product) or _shapes(whole or product))
    except ValueError as wrong:
        return Answer(failure=f"answered nonsense: {wrong}")


def _read(listed: list[Mapping[str, Any]], shapes: dict[int, tuple[int, ...]]) -> Answer:
    """Return an answer, every number checked.

    Raises
    ------
    ValueError
        With what is wrong.
    """
    if len(listed) > MOST:
        raise ValueError(f"more than {MOST} things in one product")
    found, masks = [], {}
    for item in listed:
        name = item.get("kind") if isinstance(item, Mapping) else None
        if not isinstance(name, str) or name not in KINDS:
            raise ValueError(f"{item!r:.60} is no mapping with a `kind` of {', '.join(KINDS)}")
        hdu = item.get("hdu", next(iter(shapes), -1))
        if not isinstance(hdu, int | np.integer) or int(hdu) not in shapes:
            raise ValueError(f"`hdu` {hdu!r:.20} holds no measurement of the product")
        if not KINDS[name].place:
            masks[int(hdu)] = _mask(item.get("mask"), shapes[int(hdu)])
            continue
        whole = "mjd" in KINDS[name].place
        place = tuple(_number(item, key) for key in KINDS[name].place)
        key = KINDS[name].strength
        strength = math.nan if item.get(key) is None else _number(item, key)
        found.append(Found(name, -1 if whole else int(hdu), place, strength))
    return Answer(tuple(found), masks)


def _shapes(product: Product) -> dict[int, tuple[int, ...]]:
    """Return the shapes of what a product measures, by HDU; nothing of a file that cannot be read."""
    try:
        return {item.sci.hdu: item.sci.shape for item in product.measurements}
    except HwosimError:
        return {}


def _number(item: Mapping[str, Any], key: str) -> float:
    value = item.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float | np.number) or not math.isfinite(value):
        raise ValueError(f"`{key}` of a {item['kind']} is {value!r:.20} and no finite number")
    return float(value)


def _mask(value: Any, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    if not isinstance(value, np.ndarray) or value.dtype != np.bool_ or value.shape != shape:
        told = f"{value.dtype} {value.shape}" if isinstance(value, np.ndarray) else f"{value!r:.20}"
        raise ValueError(f"`mask` is {told} and no bool array of shape {shape}")
    return value
