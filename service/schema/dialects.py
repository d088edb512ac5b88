"""Dialects: initializers as Keras, PyTorch and Burn write them, translated into our own form before validation.

- Keras 3.15, keras.initializers: `{"class_name": …, "config": {…}}`, with everything else that Keras, tf.keras and
  TensorFlow.js write beside it, and bare class names. Keras' normals are truncated and corrected. A seed or dtype in
  the config is accepted but has no effect, because those of the request apply. A bare snake_case name is ours, even if
  Keras has it, too: glorot_normal is a plain normal. Names that only Keras has, such as random_normal, are accepted
  only with framework keras.
- PyTorch 2.13, torch.nn.init: names with the trailing underscore, bare or as `type`, with PyTorch's arguments.
- Burn, burn::nn::Initializer in serde's JSON: `{"XavierUniform": {"gain": 1.0}}`. Its normals are plain, and an
  argument that is left out has our default.

An argument that is unknown, or invalid in a way that our own form cannot express, is passed on under its path as a
name. This is not a field of ours, so validation refuses it along with all other faults, and the name leads back to it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from pydantic_core import PydanticCustomError

from service.schema.fields import is_whole, named_dtype

Path = tuple[str, ...]
"""The names that lead from the caller's initializer to a part of it."""


class Argument(NamedTuple):
    """An argument of a dialect.

    Attributes:
        ours: our field; None for an argument without effect.
        rule: what its value must be, unless the rule of our field says it.
        allows: whether a value follows the rule.
        words: its values and ours, if they differ.
    """

    ours: str | None = None
    rule: str = ""
    allows: Callable[[object], bool] = lambda _: True
    words: Mapping[object, str] = MappingProxyType({})


class Form(NamedTuple):
    """One initializer of one dialect.

    Attributes:
        own: the initializer in our form, with the dialect's defaults.
        arguments: everything that the caller's object may contain.
        inside: the name of the member that holds the parameters; None if they are beside the initializer's name.
        elsewhere: what to write with a framework other than Keras; None if the form is accepted there, too.
    """

    own: Mapping[str, object]
    arguments: Mapping[Path, Argument]
    inside: str | None = None
    elsewhere: str | None = None

    def fields(self, path: Path, value: object) -> dict[str, object]:
        """The fields of ours that an argument sets: one or none."""
        argument = self.arguments.get(path)
        if argument is None or not argument.allows(value):
            return {json.dumps(path, default=str): value}
        if argument.ours is None:
            return {}
        return {argument.ours: argument.words[value] if argument.words else value}

    def path(self, name: str) -> Path:
        """The place in the caller's object, present or missing, of the field that is `name` in our form."""
        if name.startswith("["):
            return tuple(json.loads(name))
        return next((path for path, argument in self.arguments.items() if argument.ours == name), (name,))

    def beside(self, path: Path) -> Path:
        """The names of all arguments in the same object."""
        return tuple(known[-1] for known in self.arguments if known[:-1] == path[:-1])

    def in_its_words(self, text: str) -> str:
        """A message in which the caller's names replace ours."""
        names = {argument.ours: path[-1] for path, argument in self.arguments.items()}
        return re.sub(r"\w+", lambda word: names.get(word[0], word[0]), text)


def _worded(ours: str, rule: str, words: Mapping[object, str]) -> Argument:
    return Argument(ours, rule, lambda value: isinstance(value, str | bool) and value in words, words)


def _is_seed(value: object) -> bool:
    if isinstance(value, dict):
        return value.get("class_name") == "SeedGenerator"
    return value is None or is_whole(value)


def _is_dtype(value: object) -> bool:
    return value is None or named_dtype(value) is not None


_ANYTHING: Final = Argument()
_TEXT: Final = Argument(None, "must be a string or null", lambda value: value is None or isinstance(value, str))
_AXES: Final = Argument(None, "must be null: give in_axes and out_axes in a tensor layer", lambda value: value is None)
_OBJECT: Final = Argument(None, "must be an object", lambda _: False)
"""The member that holds parameters: an object is opened, so only something else is checked against this rule."""
_DISTRIBUTION: Final = _worded(
    "distribution",
    "must be 'truncated_normal', 'normal' (the same), 'untruncated_normal' or 'uniform'",
    {
        "truncated_normal": "truncated_normal",
        "normal": "truncated_normal",
        "untruncated_normal": "normal",
        "uniform": "uniform",
    },
)
_FAN: Final = _worded("mode", "must be true or false", {True: "fan_out", False: "fan_in"})
_BESIDE_CONFIG: Final[dict[Path, Argument]] = {
    ("class_name",): _ANYTHING,
    ("config",): _OBJECT,
    ("module",): _TEXT,
    ("registered_name",): _TEXT,
    ("build_config",): _ANYTHING,
    ("shared_object_id",): _ANYTHING,
}
_IN_EVERY_CONFIG: Final = {
    "seed": Argument(None, "must be an integer, a SeedGenerator or null", _is_seed),
    "dtype": Argument(None, "must be the name of a float type, or null", _is_dtype),
    "input_axes": _AXES,
    "output_axes": _AXES,
}
_RECTIFIED: Final = {"a": "negative_slope", "mode": "mode", "nonlinearity": "nonlinearity"}
_TRUNCATED: Final = {"low": -2.0, "high": 2.0, "absolute": True}
_NOTHING: Final[Mapping[str, object]] = MappingProxyType({})


def _under(prefix: Path, names: Mapping[str, str | Argument]) -> dict[Path, Argument]:
    return {(*prefix, name): Argument(ours) if isinstance(ours, str) else ours for name, ours in names.items()}


def _keras(kind: str, defaults: Mapping[str, object] = _NOTHING, /, **names: str | Argument) -> Form:
    config = _under(("config",), names | _IN_EVERY_CONFIG)
    return Form({"type": kind, **defaults}, _BESIDE_CONFIG | config, "config")


def _scaled(scale: float, mode: str, distribution: str) -> Form:
    return _keras("variance_scaling", {"scale": scale, "mode": mode, "distribution": distribution})


def _torch(kind: str, defaults: Mapping[str, object] = _NOTHING, /, **names: str) -> Form:
    return Form({"type": kind, **defaults}, {("type",): _ANYTHING} | _under((), names))


def _beside_type(class_name: str) -> Form:
    """A Keras class whose name is bare or in `type`, with the arguments of its config."""
    form = _KERAS[class_name]
    arguments = {path[1:]: argument for path, argument in form.arguments.items() if path[:-1] == ("config",)}
    return Form(form.own, {("type",): _ANYTHING} | arguments, elsewhere=class_name)


def _burn(variant: str, kind: str, /, **names: str | Argument) -> Form:
    return Form({"type": kind}, {(variant,): _OBJECT} | _under((variant,), names), variant)


_KERAS: Final = {
    "GlorotUniform": _keras("xavier_uniform"),
    "GlorotNormal": _scaled(1.0, "fan_avg", "truncated_normal"),
    "HeUniform": _scaled(2.0, "fan_in", "uniform"),
    "HeNormal": _scaled(2.0, "fan_in", "truncated_normal"),
    "LecunUniform": _keras("lecun_uniform"),
    "LecunNormal": _scaled(1.0, "fan_in", "truncated_normal"),
    "VarianceScaling": _keras("variance_scaling", scale="scale", mode="mode", distribution=_DISTRIBUTION),
    "RandomNormal": _keras("normal", {"std": 0.05}, mean="mean", stddev="std"),
    "RandomUniform": _keras("uniform", {"low": -0.05, "high": 0.05}, minval="low", maxval="high"),
    "TruncatedNormal": _keras("truncated_normal", {"std": 0.05}, mean="mean", stddev="std"),
    "Zeros": _keras("zeros"),
    "Ones": _keras("ones"),
    "Constant": _keras("constant", {"value": 0.0}, value="value"),
    "Orthogonal": _keras("orthogonal", gain="gain"),
    "Identity": _keras("identity", gain="gain"),
}
_KERAS_ALIASES: Final = {
    "OrthogonalInitializer": "Orthogonal",
    "IdentityInitializer": "Identity",
    "LeCunUniform": "LecunUniform",
    "LeCunNormal": "LecunNormal",
    "normal": "RandomNormal",
    "uniform": "RandomUniform",
    "zero": "Zeros",
    "one": "Ones",
}
"""Other names of the classes in Keras and TensorFlow.js."""
_UNKNOWN_CLASS: Final = Form(
    {"type": "zeros"},
    _BESIDE_CONFIG
    | {
        ("class_name",): Argument(None, f"must be one of {', '.join(map(repr, _KERAS))}", lambda _: False),
        ("config",): _ANYTHING,
    },
)
"""Zeros takes no parameters, so only the class is reported: nothing is known about its config."""
_TORCH: Final = {
    "uniform_": _torch("uniform", a="low", b="high"),
    "normal_": _torch("normal", mean="mean", std="std"),
    "trunc_normal_": _torch("truncated_normal", _TRUNCATED, mean="mean", std="std", a="low", b="high"),
    "constant_": _torch("constant", val="value"),
    "ones_": _torch("ones"),
    "zeros_": _torch("zeros"),
    "eye_": _torch("identity"),
    "dirac_": _torch("dirac", {"groups": 1}, groups="groups"),
    "xavier_uniform_": _torch("xavier_uniform", gain="gain"),
    "xavier_normal_": _torch("xavier_normal", gain="gain"),
    "kaiming_uniform_": _torch("kaiming_uniform", **_RECTIFIED),
    "kaiming_normal_": _torch("kaiming_normal", **_RECTIFIED),
    "orthogonal_": _torch("orthogonal", gain="gain"),
    "sparse_": _torch("sparse", sparsity="sparsity", std="std"),
}
_BURN: Final = (
    _burn("Constant", "constant", value="value"),
    _burn("Uniform", "uniform", min="low", max="high"),
    _burn("Normal", "normal", mean="mean", std="std"),
    _burn("KaimingUniform", "kaiming_uniform", gain="gain", fan_out_only=_FAN),
    _burn("KaimingNormal", "kaiming_normal", gain="gain", fan_out_only=_FAN),
    _burn("XavierUniform", "xavier_uniform", gain="gain"),
    _burn("XavierNormal", "xavier_normal", gain="gain"),
    _burn("Orthogonal", "orthogonal", gain="gain"),
)

_ONLY_IN_KERAS: Final = {
    "random_normal": _beside_type("RandomNormal"),
    "random_uniform": _beside_type("RandomUniform"),
}

_CLASSES: Final = _KERAS | {alias: _KERAS[name] for alias, name in _KERAS_ALIASES.items()}
_BY_CLASS: Final = {name.lower(): form for name, form in _CLASSES.items()}
_BY_TYPE: Final = _TORCH | {name.rstrip("_"): _TORCH[name] for name in ("trunc_normal_", "eye_")} | _ONLY_IN_KERAS
_BY_VARIANT: Final = {form.inside: form for form in _BURN}
_BY_NAME: Final = _BY_TYPE | {
    spelling: form
    for name, form in _CLASSES.items()
    for spelling in (name, name[0].lower() + name[1:])
    if not spelling.islower()
}
"""Bare names. Keras' classes are read only if a capital is in the name, as the other spellings are ours. Burn's Zeros
and Ones are among them."""
NAMES: Final = tuple(name for name, form in _BY_NAME.items() if form.elsewhere is None)
"""The bare names that are accepted with every framework."""
SCHEMA: Final[dict[str, Any]] = {
    "anyOf": [
        {"title": "Name", "description": "A name of torch.nn.init or of a Keras class.", "enum": [*NAMES]},
        {
            "title": "Keras name",
            "description": "A name that only Keras has; accepted only with framework keras.",
            "enum": [*_ONLY_IN_KERAS],
        },
        {
            "title": "Keras",
            "description": "The form of Keras, tf.keras and TensorFlow.js; a seed in it has no effect.",
            "type": "object",
            "properties": {"class_name": {"type": "string"}, "config": {"type": "object"}},
            "required": ["class_name"],
        },
        {
            "title": "Function",
            "description": "A function of torch.nn.init, or a name that only Keras has, with its arguments.",
            "type": "object",
            "properties": {"type": {"enum": [*_BY_TYPE]}},
            "required": ["type"],
        },
        {
            "title": "Burn",
            "description": "The form of serde: a variant and its fields.",
            "type": "object",
            "properties": {variant: {"type": "object"} for variant in _BY_VARIANT},
            "additionalProperties": False,
            "minProperties": 1,
            "maxProperties": 1,
        },
    ]
}
"""A JSON Schema of everything that is translated."""


def form_of(value: object) -> Form | None:
    """The form in which an initializer is written; None for our own form, and if the value is not an initializer."""
    if isinstance(value, str):
        return _BY_NAME.get(value)
    if not isinstance(value, dict):
        return None
    if "type" in value:
        return _BY_TYPE.get(value["type"]) if isinstance(value["type"], str) else None
    if "class_name" in value:
        return _by_class(value["class_name"])
    return _BY_VARIANT.get(next(iter(value))) if len(value) == 1 else None


def _by_class(name: object) -> Form:
    return _BY_CLASS.get(name.replace("_", "").lower(), _UNKNOWN_CLASS) if isinstance(name, str) else _UNKNOWN_CLASS


def translated(value: object, framework: object = None) -> object:
    """Translate an initializer of a dialect into our own form, without validation; return anything else unchanged.

    Args:
        value: the initializer as the caller wrote it.
        framework: the framework of the document that contains it.

    Raises:
        PydanticCustomError: it is a name that is accepted only with framework keras.
    """
    form = form_of(value)
    if form is None:
        return value
    if form.elsewhere and framework != "keras":
        message = "this name of Keras is accepted only with framework keras: write the class, '{name}'"
        raise PydanticCustomError("framework", message, {"name": form.elsewhere})
    own = dict(form.own)
    for path, given in _parts(value, form.inside):
        own |= form.fields(path, given)
    slope, nonlinearity = own.get("negative_slope"), own.get("nonlinearity", "leaky_relu")
    if isinstance(slope, int | float) and nonlinearity != "leaky_relu":
        del own["negative_slope"]  # PyTorch accepts `a` with any nonlinearity, but uses it only for leaky_relu
    return own


def _parts(value: object, inside: str | None) -> Iterator[tuple[Path, object]]:
    for name, part in value.items() if isinstance(value, dict) else ():
        if name == inside and isinstance(part, dict):
            yield from (((name, inner), each) for inner, each in part.items())
        else:
            yield (name,), part
