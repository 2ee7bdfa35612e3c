"""Pictures and files of a landscape, and the command that makes them."""

from __future__ import annotations

import csv
import json
import re
import struct
import xml.etree.ElementTree as ET
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from palmette.cli.main import main
from palmette.core.errors import BadParameter, OutputError
from palmette.weights.landscape.landscape import Landscape
from palmette.weights.landscape.metric import Estimate
from palmette.weights.landscape.pictures import FORMATS, SIZE, write
from palmette.weights.landscape.surrogate import Surrogate, lobatto

HOSTILE = "<script>alert(1)</script>"


def made(axes: int = 2) -> Landscape:
    x = lobatto(9)
    values = 1 + x**2 if axes == 1 else 1 + x[:, None] ** 2 + 2 * x**2
    points = {
        (0.5,) * axes: (Estimate(1.5, 0.1), Estimate(0.5, 0.01)),
        (0.0,) * axes: (Estimate(1.0, 0.1), Estimate(0.0, 0.0)),
    }
    facts = {
        "tokens": 10,
        "sequences": 2,
        "vocabulary": 9,
        "dtype": "float32",
        "directions": [HOSTILE],
        "title": HOSTILE,
    }
    box = (-1.0,) * axes, (1.0,) * axes
    origin, radii, labels = Estimate(1.0, 0.1), (0.9, 0.8)[:axes], ("α", "β")[:axes]
    return Landscape(Surrogate(*box, values), labels, points, origin, (0.01, 0.005), radii, facts, ["only 10 tokens"])


@pytest.mark.parametrize("ending", FORMATS)
def test_every_format_is_written_whole_and_twice_the_same(ending: str, tmp_path: Path) -> None:
    write(made(), tmp_path / f"a{ending}", {"other": (0.5, 0.5)})
    write(made(), tmp_path / f"b{ending}", {"other": (0.5, 0.5)})
    one, two = ((tmp_path / f"{name}{ending}").read_bytes() for name in "ab")
    if ending == ".html":  # plotly names its elements at random
        one, two = (re.sub(rb"[0-9a-f]{8}-[0-9a-f-]{27}", b"", data) for data in (one, two))
    if ending != ".npz":
        assert one == two
    assert len(one) > 80 and sorted(p.name for p in tmp_path.iterdir()) == [f"a{ending}", f"b{ending}"]


def test_the_page_needs_nothing_else_and_runs_no_strangers_markup(tmp_path: Path) -> None:
    write(made(), tmp_path / "a.html")
    text = (tmp_path / "a.html").read_text()
    assert not re.search(r"<(script|link|img|iframe)[^>]+(src|href)=", text)
    assert HOSTILE not in text
    assert "loss at the origin 1.0000" in text and "only 10 tokens" in text


def test_the_svg_is_xml_and_says_what_was_measured(tmp_path: Path) -> None:
    write(made(), tmp_path / "a.svg")
    text = "".join(ET.fromstring((tmp_path / "a.svg").read_text()).itertext())
    assert "10 tokens in 2 sequences" in text and "relative radius at 1: 0.9, 0.8" in text and "lowest" in text


def test_tables_hold_the_points(tmp_path: Path) -> None:
    for ending in (".csv", ".json", ".npz"):
        write(made(), tmp_path / f"a{ending}")
    rows = list(csv.DictReader((tmp_path / "a.csv").read_text().splitlines()))
    assert [float(row["loss"]) for row in rows] == [1.0, 1.5] and float(rows[1]["change_error"]) == 0.01
    found = json.loads((tmp_path / "a.json").read_text())
    assert found["points"][1] == [0.5, 0.5, 1.5, 0.1, 0.5, 0.01] and found["flags"] == ["only 10 tokens"]
    with np.load(tmp_path / "a.npz", allow_pickle=False) as held:
        assert held["loss"].tolist() == [1.0, 1.5] and held["nodes"].shape == (9, 9)


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


def test_lines_are_drawn_and_are_no_surfaces(tmp_path: Path) -> None:
    for ending in (".html", ".png", ".svg", ".csv", ".npz", ".json"):
        write(made(1), tmp_path / f"a{ending}")
    for ending in (".stl", ".vtk"):
        with pytest.raises(BadParameter, match="a line is no surface"):
            write(made(1), tmp_path / f"b{ending}")
    with pytest.raises(BadParameter, match=r"should end in one of"):
        write(made(1), tmp_path / "b.gif")
    with pytest.raises(OutputError, match="cannot be written"):
        write(made(1), tmp_path / "nowhere" / "b.csv")


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = tmp_path / "text.txt"
    text.write_text("Runa saw a big dog. The dog was happy. " * 30)
    out = tmp_path / "line.html"
    call = [
        "landscape",
        "zoo:seedling",
        "--data",
        str(text),
        "--out",
        str(out),
        "--line",
        "--tokens",
        "150",
        "--length",
        "30",
    ]
    assert main([*call, "--csv", str(tmp_path / "line.csv")]) == 0
    said = capsys.readouterr()
    assert "loss at the origin" in said.out and "only 150 tokens" in said.err
    points = (tmp_path / "line.html.points").read_bytes()
    assert out.exists() and (tmp_path / "line.csv").exists()
    assert main(call) == 0 and (tmp_path / "line.html.points").read_bytes() == points
    assert main([*call, "--seed", "3"]) == 1
    assert "another measurement" in capsys.readouterr().err
    assert main([*call[:5], str(tmp_path / "line.gif")]) == 2
    assert main([*call, "--png", "x.svg"]) == 2
    assert main([*call, "--span", "one:two"]) == 2
    assert main([*call[:3], str(tmp_path / "none.txt"), *call[4:]]) == 2
