"""What every public function keeps to: its signature, its docstring, its example."""

import doctest
import importlib
import inspect
import pkgutil

import pytest

from cnn_jax import layers, reference

FUNCTIONS = {
    f"{package.__name__.rpartition('.')[2]}.{name}": getattr(package, name)
    for package in (layers, reference)
    for name in package.__all__
    if inspect.isfunction(getattr(package, name))
}
MODULES = {
    name: getattr(layers, name) for name in layers.__all__ if inspect.isclass(getattr(layers, name))
}
# They take numbers, which have no shape, and some follow no paper.
COUNTED = {
    "reference.box_blur",
    "reference.gaussian_blur",
    "reference.output_size",
    "reference.transposed_output_size",
    "reference.receptive_field",
    "reference.dense_parameters",
    "reference.convolution_parameters",
}
FILES = sorted(
    f"{package.__name__}.{module.name}"
    for package in (layers, reference)
    for module in pkgutil.iter_modules(package.__path__)
)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_arrays_come_first_and_options_are_keywords(name):
    """`(key, x, *, rate)`: what has no default is positional, what has one must be named."""
    parameters = list(inspect.signature(FUNCTIONS[name]).parameters.values())
    positional = [p for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
    named = [p for p in parameters if p.kind is p.KEYWORD_ONLY]
    assert positional + named == parameters  # no *args, no **kwargs
    assert positional
    for parameter in positional:
        # A bias is an array that may be left out.
        assert parameter.default is (None if parameter.name == "bias" else parameter.empty) or (
            parameter.default is parameter.empty
        )
    first = positional[0].name
    for parameter in positional:
        assert parameter.name != "key" or parameter.name == first
    options = {"stride", "padding", "dilation", "groups", "window", "rate", "axis", "epsilon"}
    if name not in ("layers.pad", "reference.pad"):  # they do nothing else
        assert not {p.name for p in positional} & options


@pytest.mark.parametrize("name", FUNCTIONS)
def test_annotations_are_complete(name):
    signature = inspect.signature(FUNCTIONS[name])
    assert signature.return_annotation is not signature.empty
    assert all(p.annotation is not p.empty for p in signature.parameters.values())


def test_both_packages_name_their_options_alike():
    """A call of the loops is a call of the layer: only the batch, and a faster form, are added."""
    added = {"plain", "axis_name", "shift"}
    renamed = {"image": "images", "signal": "signals"}
    for name in set(layers.__all__) & set(reference.__all__) - {"dropout", "channel_dropout"}:
        of_layer = inspect.signature(getattr(layers, name)).parameters
        of_loops = inspect.signature(getattr(reference, name)).parameters
        for option, parameter in of_loops.items():
            twin = of_layer[renamed.get(option, option)]
            assert (twin.kind, twin.default) == (parameter.kind, parameter.default), (name, option)
        assert set(of_layer) - {renamed.get(option, option) for option in of_loops} <= added, name


@pytest.mark.parametrize("name", FUNCTIONS)
def test_docstring_has_its_parts(name):
    """One line; every argument; shapes; what is raised; where it is from; an example."""
    function = FUNCTIONS[name]
    text = inspect.getdoc(function)
    first, second = text.splitlines()[:2]
    assert first.endswith((".", "?")) and second == ""
    for part in ("Args:", "Returns:", "Raises:", ">>> "):
        assert part in text, part
    arguments = text.partition("Args:")[2].partition("Returns:")[0]
    for parameter in inspect.signature(function).parameters:
        assert f"{parameter}: " in arguments, parameter
    if name not in COUNTED:
        assert "[" in arguments or "any shape" in arguments
        assert any(str(year) in text for year in range(1985, 2030))


@pytest.mark.parametrize("name", MODULES)
def test_module_docstring_has_its_parts(name):
    module = MODULES[name]
    text = inspect.getdoc(module)
    assert text.splitlines()[0].endswith(".") and text.splitlines()[1] == ""
    for part in ("Attributes:", "Raises:", ">>> "):
        assert part in text, part
    attributes = text.partition("Attributes:")[2]
    for field in set(module.__dataclass_fields__) - {"parent", "name"}:  # every module has these
        assert f"{field}: " in attributes, field
    assert any(str(year) in text for year in range(1985, 2030))
    assert inspect.getdoc(module.__call__).startswith("Map [")


@pytest.mark.parametrize("name", FILES)
def test_examples_run(name):
    """And every public name has one, or its file would pass for nothing."""
    results = doctest.testmod(importlib.import_module(name), raise_on_error=False)
    assert results.failed == 0


def test_files_and_functions_stay_small():
    for name in FILES:
        module = importlib.import_module(name)
        assert len(inspect.getsource(module).splitlines()) <= 450, name
        for function in vars(module).values():
            if inspect.isfunction(function) and function.__module__ == name:
                assert len(inspect.getsource(function).splitlines()) <= 70, function
