"""The surface for other programs: VTK for ParaView, STL for printers, glTF for Blender and browsers."""

from __future__ import annotations

import base64
import json
import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

from palmette.weights.landscape.landscape import Landscape
from palmette.weights.landscape.pictures.common import drawn

__all__ = ["glb", "gltf", "stl", "vtk"]

_VIRIDIS = (
    (0.267, 0.005, 0.329),
    (0.229, 0.322, 0.546),
    (0.128, 0.567, 0.551),
    (0.369, 0.789, 0.383),
    (0.993, 0.906, 0.144),
)


def vtk(made: Landscape) -> bytes:
    """A structured grid in the legacy text format (VTK file formats, version 3.0)."""
    surface = drawn(made)
    x, y, z = surface.x, surface.y, surface.z
    lines = ["# vtk DataFile Version 3.0", "loss landscape", "ASCII", "DATASET STRUCTURED_GRID",
             f"DIMENSIONS {len(x)} {len(y)} 1", f"POINTS {z.size} double"]  # fmt: skip
    lines += [f"{a:.9g} {b:.9g} {z[i, j]:.9g}" for j, b in enumerate(y) for i, a in enumerate(x)]
    lines += [f"POINT_DATA {z.size}", "SCALARS loss double 1", "LOOKUP_TABLE default"]
    lines += [f"{v:.9g}" for v in z.T.reshape(-1)]
    return ("\n".join(lines) + "\n").encode()


def stl(made: Landscape) -> bytes:
    """A closed solid in the binary format, the box scaled to 100 × 100 × 50, for printing."""
    points = _scaled(made) * [100, 100, 45] + [0, 0, 5]
    floor = points * [1, 1, 0]
    rows, columns = points.shape[:2]
    faces: list[tuple[Any, Any, Any]] = []
    for upper, up in ((points, True), (floor, False)):
        corners = upper[:-1, :-1], upper[1:, :-1], upper[1:, 1:], upper[:-1, 1:]
        for a, b, c, d in zip(*(corner.reshape(-1, 3) for corner in corners), strict=True):
            faces += [(a, b, c), (a, c, d)] if up else [(a, c, b), (a, d, c)]
    edge = [(i, 0) for i in range(rows)] + [(rows - 1, j) for j in range(1, columns)]
    edge += [(i, columns - 1) for i in range(rows - 2, -1, -1)] + [(0, j) for j in range(columns - 2, 0, -1)]
    for one, two in zip(edge, [*edge[1:], edge[0]], strict=True):
        faces += [(floor[one], floor[two], points[two]), (floor[one], points[two], points[one])]
    out = [b"palmette loss landscape".ljust(80), struct.pack("<I", len(faces))]
    for face in faces:
        normal = np.cross(face[1] - face[0], face[2] - face[0])
        normal = normal / max(float(np.linalg.norm(normal)), 1e-12)
        out.append(struct.pack("<12fH", *normal, *face[0], *face[1], *face[2], 0))
    return b"".join(out)


def gltf(made: Landscape) -> bytes:
    """glTF 2.0 as one JSON file, its data inside."""
    scene, data = _scene(made)
    scene["buffers"][0]["uri"] = "data:application/octet-stream;base64," + base64.b64encode(data).decode()
    return json.dumps(scene).encode()


def glb(made: Landscape) -> bytes:
    """glTF 2.0 in its binary container."""
    scene, data = _scene(made)
    text = json.dumps(scene).encode()
    text += b" " * (-len(text) % 4)
    chunks = struct.pack("<II", len(text), 0x4E4F534A) + text + struct.pack("<II", len(data), 0x004E4942) + data
    return struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks


def _scaled(made: Landscape) -> NDArray[np.float64]:
    """Points of the surface in the unit cube, float64[n, n, 3]; what is not finite is as high as the highest."""
    surface = drawn(made)
    height = np.nan_to_num(surface.shown, nan=float(np.nanmax(surface.shown)))
    flat = np.stack(
        np.meshgrid(np.linspace(0, 1, len(surface.x)), np.linspace(0, 1, len(surface.y)), indexing="ij"), -1
    )
    up = (height - height.min()) / max(float(np.ptp(height)), 1e-12)
    return np.concatenate([flat, up[..., None]], -1)


def _scene(made: Landscape) -> tuple[dict[str, Any], bytes]:
    """A mesh with normals and colours by height; y is up, as glTF has it."""
    surface, cube = drawn(made), _scaled(made)
    size = cube.shape[0]
    points = np.stack([cube[..., 0] - 0.5, cube[..., 2] * 0.5, 0.5 - cube[..., 1]], -1).astype("<f4")
    step = 1 / (size - 1)
    along, across = np.gradient(cube[..., 2] * 0.5, step)
    normals = np.stack([-along, np.ones_like(along), across], -1)
    normals = (normals / np.linalg.norm(normals, axis=-1, keepdims=True)).astype("<f4")
    share = np.nan_to_num(
        (surface.colour - surface.ticks[0][0]) / max(surface.ticks[-1][0] - surface.ticks[0][0], 1e-12), nan=1.0
    )
    palette = np.array(_VIRIDIS) ** 2.2  # glTF's colours are linear
    colours = np.stack([np.interp(share, np.linspace(0, 1, 5), palette[:, k]) for k in range(3)], -1).astype("<f4")
    index = np.arange(size * size, dtype="<u4").reshape(size, size)
    a, b, c, d = index[:-1, :-1], index[1:, :-1], index[1:, 1:], index[:-1, 1:]
    faces = np.stack([a, b, c, a, c, d], -1).reshape(-1)
    views, data = [], b""
    for array, target in ((points, 34962), (normals, 34962), (colours, 34962), (faces, 34963)):
        views.append({"buffer": 0, "byteOffset": len(data), "byteLength": array.nbytes, "target": target})
        data += array.tobytes()
    count = size * size
    accessors = [{"bufferView": i, "componentType": 5126, "count": count, "type": "VEC3"} for i in range(3)]
    flat = points.reshape(-1, 3)
    accessors[0] |= {"min": flat.min(axis=0).tolist(), "max": flat.max(axis=0).tolist()}
    accessors.append({"bufferView": 3, "componentType": 5125, "count": len(faces), "type": "SCALAR"})
    primitive = {"attributes": {"POSITION": 0, "NORMAL": 1, "COLOR_0": 2}, "indices": 3, "material": 0}
    return {
        "asset": {"version": "2.0", "generator": "palmette", "extras": {"caption": made.caption}},
        "scene": 0, "scenes": [{"nodes": [0]}], "nodes": [{"mesh": 0, "name": "loss landscape"}],
        "meshes": [{"primitives": [primitive]}],
        "materials": [{"doubleSided": True, "pbrMetallicRoughness": {"metallicFactor": 0.0, "roughnessFactor": 0.7}}],
        "accessors": accessors, "bufferViews": views, "buffers": [{"byteLength": len(data)}],
    }, data  # fmt: skip
