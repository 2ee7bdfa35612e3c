"""Pictures and files of a landscape, and the command that makes them."""

from __future__ import annotations

import base64
import csv
import itertools
import json
import re
import struct
import xml.etree.ElementTree as ET
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from palmette.core.errors import BadParameter, OutputError
from palmette.weights.landscape.landscape import Landscape, Mark
from palmette.weights.landscape.metric import Estimate
from palmette.weights.landscape.pictures.common import SIZE
from palmette.weights.landscape.pictures.labels import Label, placed
from palmette.weights.landscape.pictures.plot import figure_of
from palmette.weights.landscape.pictures.write import FORMATS, formats, write
from palmette.weights.landscape.profile import Layers, Profile
from palmette.weights.landscape.sampler import lobatto
from palmette.weights.landscape.surrogate import Surrogate

HOSTILE = "<script>alert(1)</script>"


def made(axes: int = 2) -> Landscape:
    x = lobatto(9)
    nodes = x[:, None] if axes == 1 else np.stack(np.meshgrid(x, x, indexing="ij"), -1).reshape(-1, 2)
    values = 1 + nodes[:, 0] ** 2 if axes == 1 else 1 + nodes[:, 0] ** 2 + 2 * nodes[:, 1] ** 2
    points = {
        (0.5,) * axes: (Estimate(1.5, 0.1), Estimate(0.5, 0.01)),
        (0.0,) * axes: (Estimate(1.0, 0.1), Estimate(0.0, 0.0)),
    }
    facts = {"tokens": 10, "sequences": 2, "vocabulary": 9, "dtype": "float32", "directions": [HOSTILE],
             "title": HOSTILE, "trajectory": axes == 2}  # fmt: skip
    box = (-1.0,) * axes, (1.0,) * axes
    origin, radii, labels = Estimate(1.0, 0.1), (0.9, 0.8)[:axes], ("α", HOSTILE)[:axes]
    marks = {"the model": Mark((0.0,) * axes), HOSTILE: Mark((0.5,) * axes, 0.1, Estimate(2.0, 0.1)),
             "step 2": Mark((0.7,) * axes), "outside": Mark((7.0,) * axes), "lowest": Mark((0.0,) * axes)}  # fmt: skip
    surrogate = Surrogate(*box, nodes, values, *(("chebyshev", 8) if axes == 1 else ("quintic", 0)))
    sums = surrogate.of(np.stack([values, 2 * values], -1))
    tasks = {"one": np.array([0]), HOSTILE: np.array([1])}
    return Landscape(surrogate, labels, points, origin, (0.01, 0.005), radii, facts, ["only 10 tokens"], marks, sums,
                     np.ones(2), tasks)  # fmt: skip


def basin() -> Profile:
    x = lobatto(9)
    losses = np.stack([1 + x**2, 1 + 2 * x**2])
    facts = {"tokens": 10, "sequences": 2, "unit": "loss", "dtype": "float32", "directions": HOSTILE, "title": HOSTILE}
    return Profile(x, losses, np.array([0.9, 0.8]), Estimate(1.0, 0.1), losses / 10, facts)


def layers() -> Layers:
    facts = {"tokens": 10, "sequences": 2, "unit": "loss", "dtype": "float32", "what": "int4", "title": HOSTILE}
    return Layers([(HOSTILE, Estimate(0.5, 0.1), Estimate(0.1, 0.1), 0.2)], Estimate(1.0, 0.1), facts)


@pytest.mark.parametrize("ending", FORMATS)
def test_every_format_is_written_whole_and_twice_the_same(ending: str, tmp_path: Path) -> None:
    write(made(), tmp_path / f"a{ending}")
    write(made(), tmp_path / f"b{ending}")
    one, two = ((tmp_path / f"{name}{ending}").read_bytes() for name in "ab")
    assert one == two
    assert len(one) > 80 and sorted(p.name for p in tmp_path.iterdir()) == [f"a{ending}", f"b{ending}"]


@pytest.mark.parametrize("what", [made, lambda: made(1), basin, layers])
def test_pages_need_nothing_else_and_run_no_strangers_markup(what: Any, tmp_path: Path) -> None:
    write(what(), tmp_path / "a.html")
    text = (tmp_path / "a.html").read_text()
    assert not re.search(r"<(script|link|img|iframe)[^>]+(src|href)=", text)
    assert HOSTILE not in text
    assert "10 tokens" in text


@pytest.mark.parametrize("what", [basin, layers])
def test_profiles_and_layers_have_their_pictures_and_tables(what: Any, tmp_path: Path) -> None:
    for ending in formats(what()):
        write(what(), tmp_path / f"a{ending}")
    rows = list(csv.DictReader((tmp_path / "a.csv").read_text().splitlines()))
    assert len(rows) == (18 if what is basin else 1) and "caption" in json.loads((tmp_path / "a.json").read_text())
    with pytest.raises(BadParameter, match="this is no surface"):
        write(what(), tmp_path / "a.stl")


def test_the_svg_is_xml_and_says_what_was_measured(tmp_path: Path) -> None:
    write(made(), tmp_path / "a.svg")
    text = " ".join("".join(ET.fromstring((tmp_path / "a.svg").read_text()).itertext()).split())
    assert "10 tokens in 2 sequences" in text and "relative radius at 1: 0.9, 0.8" in text and "lowest" in text
    assert "(10.0% off)" in text and "outside" not in text


def test_tables_hold_the_points(tmp_path: Path) -> None:
    for ending in (".csv", ".json", ".npz"):
        write(made(), tmp_path / f"a{ending}")
    rows = list(csv.DictReader((tmp_path / "a.csv").read_text().splitlines()))
    assert [float(row["loss"]) for row in rows] == [1.0, 1.5] and float(rows[1]["change_error"]) == 0.01
    found = json.loads((tmp_path / "a.json").read_text())
    assert found["points"][1] == [0.5, 0.5, 1.5, 0.1, 0.5, 0.01] and found["flags"] == ["only 10 tokens"]
    with np.load(tmp_path / "a.npz", allow_pickle=False) as held:
        assert held["loss"].tolist() == [1.0, 1.5] and held["nodes"].shape == (81, 2)


def test_the_solid_is_closed_and_the_grid_is_whole(tmp_path: Path) -> None:
    write(made(), tmp_path / "a.stl")
    data = (tmp_path / "a.stl").read_bytes()
    (count,) = struct.unpack("<I", data[80:84])
    assert len(data) == 84 + 50 * count
    edges: Counter[Any] = Counter()
    for i in range(count):
        numbers = struct.unpack("<12f", data[84 + 50 * i : 132 + 50 * i])
        corners = [numbers[3:6], numbers[6:9], numbers[9:12]]
        edges.update((corners[k], corners[(k + 1) % 3]) for k in range(3))
    assert all(edges[b, a] == times == 1 for (a, b), times in edges.items())
    write(made(), tmp_path / "a.vtk")
    lines = (tmp_path / "a.vtk").read_text().splitlines()
    assert f"POINTS {SIZE * SIZE} double" in lines and len(lines) == 9 + 2 * SIZE * SIZE


def test_the_gltf_has_buffers_of_the_sizes_that_it_says(tmp_path: Path) -> None:
    write(made(), tmp_path / "a.glb")
    write(made(), tmp_path / "a.gltf")
    data = (tmp_path / "a.glb").read_bytes()
    assert data[:4] == b"glTF" and struct.unpack("<II", data[4:12]) == (2, len(data))
    (size,) = struct.unpack("<I", data[12:16])
    scene = json.loads(data[20 : 20 + size])
    (held,) = struct.unpack("<I", data[20 + size : 24 + size])
    assert scene["buffers"] == [{"byteLength": held}] and 28 + size + held == len(data)
    places, normals, colours, faces = (
        np.frombuffer(data, dtype, view["byteLength"] // 4, 28 + size + view["byteOffset"])
        for view, dtype in zip(scene["bufferViews"], ("<f4", "<f4", "<f4", "<u4"), strict=True)
    )
    corner = places.reshape(-1, 3)
    assert corner.min(axis=0).tolist() == scene["accessors"][0]["min"] and faces.max() == len(corner) - 1
    assert np.linalg.norm(normals.reshape(-1, 3), axis=1) == pytest.approx(1, abs=1e-5)
    assert colours.min() >= 0 and colours.max() <= 1
    a, b, c = (corner[faces.reshape(-1, 3)[:, k]] for k in range(3))
    assert (np.cross(b - a, c - a)[:, 1] > 0).all()  # every triangle looks up
    other = json.loads((tmp_path / "a.gltf").read_text())
    assert base64.b64decode(other["buffers"][0]["uri"].partition(",")[2]) == data[28 + size :]


def test_the_gif_grows_with_the_trajectory(tmp_path: Path) -> None:
    from PIL import Image

    write(made(), tmp_path / "a.gif")
    with Image.open(tmp_path / "a.gif") as picture:
        assert picture.n_frames == 3  # the marks besides the model and the lowest point
        corner = []
        for i in range(3):
            picture.seek(i)
            corner.append([picture.convert("RGB").getpixel(at) for at in ((5, 5), (250, 90))])
        assert corner[0] == corner[1] == corner[2] and corner[0][0] == (255, 255, 255)  # and nothing flickers


def names_of(figure: Any) -> dict[str, Any]:
    """What is written beside the marks of a map, and the room that it takes."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.text import Annotation, Text

    renderer = FigureCanvasAgg(figure).get_renderer()
    found = [text for text in figure.axes[1].texts if isinstance(text, Annotation)]
    for text in found:
        text.update_positions(renderer)  # the window's extent alone: the annotation's own has its line in it
    return {text.get_text(): Text.get_window_extent(text, renderer) for text in found}


@pytest.mark.parametrize("steps", [3, 12, 60])
def test_names_of_checkpoints_near_each_other_do_not_overlap(steps: int) -> None:
    held = made()
    held.facts["title"] = "cost in $ and more $"
    at = {f"checkpoint-{100 * i}": (-0.8 * 0.7**i, 0.5 * 0.6**i) for i in range(steps)}
    held.marks = {
        "the model": Mark((0.0, 0.0)),
        **{name: Mark(p) for name, p in at.items()},
        "lowest": Mark((0.0, 0.0)),
    }
    figure = figure_of(held)
    boxes = names_of(figure)
    kept = {"the model", "lowest", "checkpoint-0", f"checkpoint-{100 * (steps - 1)}"}
    assert kept <= set(boxes) and (len(boxes) == 5 if steps == 3 else len(boxes) > 6)
    pairs = list(itertools.combinations(boxes.items(), 2))
    assert [(one, two) for (one, a), (two, b) in pairs if a.overlaps(b)] == []
    room = figure.axes[1].get_window_extent()
    assert all(room.x0 <= box.x0 and box.x1 <= room.x1 for box in boxes.values())
    assert figure.axes[1].get_xlim() == (-1, 1) and figure._suptitle.get_text() == r"cost in \$ and more \$"


def test_a_page_names_the_ends_of_a_crowded_path_and_all_that_is_hovered(tmp_path: Path) -> None:
    held = made()
    at = {f"checkpoint-{i}": (-0.8 * 0.7**i, 0.5 * 0.6**i) for i in range(30)}
    held.marks = {"the model": Mark((0.0, 0.0)), **{name: Mark(p) for name, p in at.items()}}
    write(held, tmp_path / "a.html")
    text = (tmp_path / "a.html").read_text()
    (flat,) = [part for part in re.findall(r'"text":(\[[^]]*\])', text) if '""' in part and "the model" in part]
    names = json.loads(flat)
    assert len(names) == 31 and {"the model", "checkpoint-0", "checkpoint-29"} <= set(names)
    assert 4 < sum(map(bool, names)) < 20 and "checkpoint-25" in text


def test_a_name_that_is_needed_is_led_to_its_point() -> None:
    near = {str(i): Label((0.01 * i, 0.0), (10.0, 4.0)) for i in range(14)}
    found = placed(near, (-60, -60, 60, 60), 2.0)
    assert list(found) == list(near) and any(line for _, line in found.values())
    few = placed({name: replace(label, needed=name == "0") for name, label in near.items()}, (-60, -60, 60, 60), 2.0)
    assert "0" in few and len(few) < 10 and not any(line for _, line in few.values())
    again = placed(near, (-60, -60, 60, 60), 2.0, before={"0": ((-12.0, -6.0), False)})
    assert again["0"] == ((-12.0, -6.0), False)


def test_the_parquet_file_is_the_table(tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    write(made(), tmp_path / "a.parquet")
    held = pq.read_table(tmp_path / "a.parquet")
    assert held["loss"].to_pylist() == [1.0, 1.5] and b"loss at the origin" in held.schema.metadata[b"caption"]


def test_lines_are_drawn_and_are_no_surfaces(tmp_path: Path) -> None:
    for ending in (".html", ".png", ".svg", ".csv", ".npz", ".json"):
        write(made(1), tmp_path / f"a{ending}")
    for ending in (".stl", ".vtk", ".glb", ".gltf", ".gif"):
        with pytest.raises(BadParameter, match="this is no surface"):
            write(made(1), tmp_path / f"b{ending}")
    with pytest.raises(BadParameter, match=r"should end in one of"):
        write(made(1), tmp_path / "b.bmp")
    with pytest.raises(OutputError, match="cannot be written"):
        write(made(1), tmp_path / "nowhere" / "b.csv")
