"""Recipes: mergekit's format with its unwritten rules, read strictly."""

from __future__ import annotations

import re

import pytest

from palmette.core.errors import RecipeError
from palmette.weights.recipe.document import documents
from palmette.weights.recipe.schema import Reference, read_recipe, read_recipes
from palmette.weights.recipe.values import MISSING, lookup

GOOD = "merge_method: linear\nmodels: [{model: a, parameters: {weight: 1}}]\n"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "holds no recipe"),
        ("[1, 2]", "a table of keys and values is expected"),
        ("models: [{model: a}]", "merge_method is missing"),
        ("merge_method: linaer\nmodels: [{model: a}]", "no merge method 'linaer'. Did you mean 'linear'?"),
        ("merge_method: linear", "exactly one of models, slices and modules"),
        (GOOD + "slices: []", "exactly one of models, slices and modules"),
        (GOOD + "merge_methd_params: {}", "unknown key 'merge_methd_params'. Did you mean 'merge_method'?"),
        (GOOD + "dtype: bf16", "no dtype 'bf16'. Did you mean 'bfloat16'?"),
        (GOOD + "parameters: {wieght: 1}", "has no parameter 'wieght'. Did you mean 'weight'?"),
        (GOOD + "parameters: {density: 1}", "merge method 'linear' has no parameter 'density'"),
        (GOOD + "tokenizer: {source: union}\ntokenizer_source: base", "give tokenizer or tokenizer_source"),
        (GOOD + "tokenizer: {pad_to_multiple_of: 0}", "positive whole number"),
        (GOOD + "base_model: 7", "7 is no model"),
        (GOOD + "merge_method: ties", "the key 'merge_method' occurs twice"),
        ("merge_method: linear\nmodels: [{modle: a}]", "unknown key 'modle'. Did you mean 'model'?"),
        ("merge_method: linear\nmodels: [{model: a, parameters: {weight: []}}]", "an empty list has no value"),
        ("merge_method: linear\nmodels: [{model: a, parameters: {weight: [{filter: x}]}}]", "needs a 'value'"),
        ("merge_method: linear\nmodels: [{model: a, parameters: {weight: [{fliter: x, value: 1}]}}]", "not 'fliter'"),
        ("merge_method: passthrough\nslices: [{sources: [{model: a, layer_range: [3, 1]}]}]", "first <= end"),
        ("merge_method: passthrough\nslices: [{sources: [{model: a, layer_range: [0, yes]}]}]", "first <= end"),
        ("merge_method: passthrough\nslices: [{sources: [{model: a}]}]", "layer_range is missing"),
        ("merge_method: linear\nslices: [{sources: [{model: a, layer_range: [0, 1]}, {model: b, layer_range: [0, 2]}]}]",  # noqa: E501
         "the same number of layers"),
        ("merge_method: &a [*a]", "line 1: nested"),
        ("a: !!python/object/apply:os.system [touch /tmp/never]", "line 1: no YAML: could not determine a constructor"),
        ("x: 1\na: [", "line 2: no YAML: expected"),
        ("a: " + "[" * 500, "no YAML|nested"),
    ],
)  # fmt: skip
def test_a_recipe_that_cannot_be_is_refused(text: str, reason: str) -> None:
    with pytest.raises(RecipeError) as caught:
        read_recipe(text)
    assert re.search(reason, str(caught.value)) or reason in str(caught.value), str(caught.value)


def test_an_alias_bomb_is_refused_before_it_is_written_out() -> None:
    bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
    bomb += "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 12))
    with pytest.raises(RecipeError, match="aliases write out to more than"):
        documents(bomb)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("org/model", Reference("org/model")),
        ("org/model@main", Reference("org/model", "main")),
        ("a+b", Reference("a", None, "b")),
        ("a@1+b@2", Reference("a", "1", "b", "2")),
        ("{model: {path: a, revision: r}, lora: b}", Reference("a", "r", "b")),
    ],
)
def test_model_references(text: str, wanted: Reference) -> None:
    assert read_recipe(f"merge_method: passthrough\nmodels: [{{model: {text}}}]").references() == [wanted]


def test_numbers_that_yaml_takes_for_text_are_numbers() -> None:
    recipe = read_recipe("merge_method: ram\nmodels: [{model: a}]\nparameters: {epsilon: 1e-5}")
    assert recipe.parameters["epsilon"] == 1e-5


def test_stages_are_documents_with_different_names() -> None:
    assert [r.name for r in read_recipes(f"name: one\n{GOOD}---\nname: two\n{GOOD}")] == ["one", "two"]
    with pytest.raises(RecipeError, match="two stages have the same name: 'one'"):
        read_recipes(f"name: one\n{GOOD}---\nname: one\n{GOOD}")


def test_the_first_filter_that_matches_wins_and_no_match_falls_through() -> None:
    near = {"w": [{"filter": "mlp", "value": 1}, {"filter": "up", "value": 2}]}
    far = {"w": [{"filter": "*", "value": 3}]}
    assert lookup([near, far], "w", "layers.0.mlp.up.weight", 0) == 1
    assert lookup([near, far], "w", "layers.0.upper.weight", 0) == 2
    assert lookup([near, far], "w", "norm.weight", 0) == 3
    assert lookup([near], "w", "norm.weight", 0) is MISSING
    assert lookup([{"w": [{"filter": None, "value": [0, 1]}]}], "w", "x", 0.5) == 0.5


@pytest.mark.parametrize(("t", "wanted"), [(0, 0.0), (0.25, 0.5), (0.5, 1.0), (0.75, 0.5), (1, 0.0)])
def test_a_gradient_is_read_between_its_points(t: float, wanted: float) -> None:
    assert lookup([{"w": [0, 1, 0]}], "w", "x", t) == wanted


def test_a_gradient_of_truth_values_picks_one() -> None:
    assert [lookup([{"n": [True, False]}], "n", "x", t) for t in (0, 0.99, 1)] == [True, True, False]
