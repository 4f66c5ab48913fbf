from pathlib import Path

import pytest
from edsr_conversion import CatalogueError, load_models
from edsr_conversion.catalogue import select

TABLE = """
[{name}]
graph = "a.pb"
sha256 = "00"
blocks = 1
filters = 4
scale = 3
max_lr_pixels = 100
"""


def write(root: Path, text: str, file: str = "models.toml") -> Path:
    (root / "models").mkdir(exist_ok=True)
    (root / "models" / file).write_text(text, encoding="utf-8")
    return root


def test_our_catalogue_lists_the_published_and_the_embedded_models(root: Path) -> None:
    models = load_models(root)
    assert models["edsr_x3"].sha256 == "3baa3740fdb8ee9c52f1a41d69fa74cb9feef0fa9bfeec24f0ee58b928068e9a"
    assert models["edsr_baseline_x3"].graph.exists()
    assert models["edsr_photo_x3"].graph.exists()
    assert {name: model.inputs for name, model in models.items()} == {
        **{"edsr_x3": "clean", "edsr_baseline_x3": "clean", "edsr_photo_x3": "compressed"},
    }


def test_a_local_catalogue_adds_models(tmp_path: Path) -> None:
    write(tmp_path, TABLE.format(name="a"))
    write(tmp_path, TABLE.format(name="b"), "models.local.toml")
    assert list(load_models(tmp_path)) == ["a", "b"]
    assert load_models(tmp_path)["b"].graph == tmp_path / "models" / "a.pb"


def test_a_local_catalogue_cannot_replace_a_model(tmp_path: Path) -> None:
    write(tmp_path, TABLE.format(name="a"))
    write(tmp_path, TABLE.format(name="a"), "models.local.toml")
    with pytest.raises(CatalogueError, match=r"models\.local\.toml repeats a"):
        load_models(tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[a", "not valid TOML"),
        ('[a]\ngraph = "x.pb"', "lacks blocks"),
        (TABLE.format(name="a") + "typo = 1", "unknown keys: typo"),
        (TABLE.format(name="a").replace("filters = 4", "filters = 0"), "filters must be a positive integer"),
        (TABLE.format(name="a").replace("filters = 4", 'filters = "4"'), "filters must be a positive integer"),
        *(
            (TABLE.format(name="a").replace("filters = 4", f"filters = {number}"), "filters must be .*at most 10,000")
            for number in ("-1", "nan", "inf", "1e30", "4.0", "true", "1" + 400 * "0")
        ),
        (TABLE.format(name="a") + "size_bytes = 0", "size_bytes must be a positive integer"),
        ("a = 1", "not a table"),
        (TABLE.format(name='"../../x"'), "no model name"),
        (TABLE.format(name='"a;b"'), "no model name"),
        (TABLE.format(name="a") + 'name = "b"', "unknown keys: name"),
        (TABLE.format(name="a") + "url = 5", "url must be text"),
        (TABLE.format(name="a") + 'inputs = "noisy"', "inputs is 'noisy', not 'clean' or 'compressed'"),
        (TABLE.format(name="a") + "inputs = 5", "inputs must be text"),
    ],
)
def test_a_malformed_catalogue_is_refused_by_name(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(CatalogueError, match=message):
        load_models(write(tmp_path, text))


def test_a_missing_catalogue_says_where_it_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(CatalogueError, match=str(tmp_path)):
        load_models(tmp_path)


def test_an_unknown_model_is_answered_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(CatalogueError, match="There are: a"):
        select(load_models(write(tmp_path, TABLE.format(name="a"))), ["a", "b"])
