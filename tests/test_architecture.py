"""The layers, read from the imports: who may know whom, and who may touch the world."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "bundler"
MODULES = sorted(PACKAGE.rglob("*.py"))

# The longest entry that fits a module's name says which of bundler's own modules it may import at run time.
LEAVES = (
    "bundler.compressed",
    "bundler.errors",
    "bundler.files",
    "bundler.findings",
    "bundler.limits",
    "bundler.meanwhile",
    "bundler.progress",
    "bundler.sizes",
    "bundler.tarball",
    "bundler.yaml_bounds",
)
SECTIONS = ("bundler.kinds", "bundler.recipes")
# What a recipe may ask of a kind: where it puts a file, what it calls an image, and what names a package.
PURE_OF_KINDS = ("bundler.kinds.files.place", "bundler.kinds.images.reference")
# bundler's own dependencies are wheels as any others.
FOREIGN = {
    "bundler.kinds.bootstrap.attributes": ("bundler.kinds.wheels.attributes",),
    "bundler.kinds.bootstrap.resolve": ("bundler.kinds.wheels",),
    "bundler.kinds.bootstrap.prove": ("bundler.kinds.wheels",),
}
MAY_IMPORT: dict[str, tuple[str, ...]] = {
    "bundler.errors": (),
    "bundler.limits": ("bundler.errors", "bundler.sizes"),
    "bundler.compressed": ("bundler.limits",),
    "bundler.tarball": ("bundler.compressed", "bundler.limits"),
    "bundler.yaml_bounds": ("bundler.limits",),
    "bundler.files": ("bundler.sizes",),
    "bundler.findings": (),
    "bundler.meanwhile": (),
    "bundler.progress": (),
    "bundler.sizes": (),
    "bundler.templates": ("bundler.sizes",),
    "bundler.model": (*LEAVES, "bundler.model"),
    "bundler.bundle": (*LEAVES, "bundler.model", "bundler.bundle"),
    "bundler.transfer": (*LEAVES, "bundler.model", "bundler.bundle", "bundler.transfer", "bundler"),
    "bundler.site": (
        *LEAVES,
        "bundler.model",
        "bundler.bundle.content",
        "bundler.bundle.manifest",
        "bundler.site",
        "bundler.templates",
    ),
    "bundler.kinds": (*LEAVES, "bundler.model", "bundler.kinds.base"),
    "bundler.recipes": (*LEAVES, "bundler.model", "bundler.recipes.base", "bundler.kinds.base", *PURE_OF_KINDS),
    "bundler.report": (*LEAVES, "bundler.model", "bundler.bundle", "bundler.templates"),
    "bundler.inputs": (*LEAVES, "bundler.model", *SECTIONS),
    "bundler.sections": (*LEAVES, "bundler.model", *SECTIONS),
    "bundler.proof": (*LEAVES, "bundler.model", *SECTIONS, "bundler.bundle", "bundler.sections"),
    "bundler.remembered": (*LEAVES, "bundler.model", *SECTIONS, "bundler.transfer", "bundler"),
    "bundler.build": (
        *LEAVES,
        "bundler.model",
        *SECTIONS,
        "bundler.bundle",
        "bundler.transfer",
        "bundler.proof",
        "bundler.remembered",
        "bundler",
    ),
    "bundler.install": (
        *(*LEAVES, "bundler.model", *SECTIONS, "bundler.bundle", "bundler.site", "bundler.inputs", "bundler.sections"),
    ),
    "bundler.doctor.site": (*LEAVES, "bundler.model", *SECTIONS, "bundler.site", "bundler.sections"),
    "bundler.doctor.upstreams": (*LEAVES, "bundler.model", *SECTIONS, "bundler.transfer", "bundler.build"),
    "bundler.cli": ("bundler",),
    "bundler.__main__": ("bundler.cli",),
}
# The air gap: `resolve` and what it calls may reach upstreams, `load` the site, `emit` and `spec` nothing.
VERBS: dict[str, tuple[str, ...]] = {
    "load": ("bundler.site", "bundler.bundle"),
    "emit": ("bundler.templates",),
    "spec": (),
}
RESOLVE_SIDE = ("bundler.transfer",)

# Modules that reach files, processes or the network.
WORLD = {"os", "pathlib", "shutil", "socket", "subprocess", "tempfile", "requests", "urllib3", "oras", "http", "io"}
PURE = ("bundler.model", "bundler.errors")


def name_of(path: Path) -> str:
    parts = ("bundler", *path.relative_to(PACKAGE).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path: Path) -> Iterator[str]:
    """What the module imports when it runs; imports for types only do not count."""
    tree = ast.parse(path.read_text())
    typing_only = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if id(node) in typing_only:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            assert node.module is not None
            for alias in node.names:
                inside = PACKAGE.parent / Path(*node.module.split("."))
                is_module = (inside / f"{alias.name}.py").exists() or (inside / alias.name / "__init__.py").exists()
                yield f"{node.module}.{alias.name}" if is_module or node.module == "io" else node.module


def within(name: str, allowed: tuple[str, ...]) -> bool:
    return any(name == prefix or (prefix != "bundler" and name.startswith(f"{prefix}.")) for prefix in allowed)


def allowed_for(name: str) -> tuple[str, ...]:
    if within(name, ("bundler.cli",)):
        return tuple({name_of(path) for path in MODULES})
    parts = name.split(".")
    if parts[1] in ("kinds", "recipes") and len(parts) > 3:
        own = ".".join(parts[:3])
        more = (*VERBS.get(parts[3], RESOLVE_SIDE), *FOREIGN.get(name, ()))
        return (*MAY_IMPORT[".".join(parts[:2])], own, "bundler.templates", *more)
    entries = [entry for entry in MAY_IMPORT if name == entry or name.startswith(f"{entry}.")]
    return MAY_IMPORT[max(entries, key=len)] if entries else ()


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_module_imports_only_what_its_layer_may(path: Path) -> None:
    name = name_of(path)
    own = [found for found in imports(path) if found == "bundler" or found.startswith("bundler.")]
    crossed = [found for found in own if not within(found, allowed_for(name))]
    assert not crossed, f"{name} may not import {crossed}"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_pure_modules_do_not_touch_the_world(path: Path) -> None:
    name = name_of(path)
    verb = name.split(".")[3:4]
    if not within(name, PURE) and not (within(name, SECTIONS) and verb in (["emit"], ["spec"])):
        return
    # A BytesIO is memory.
    touched = {found.split(".")[0] for found in imports(path) if found != "io.BytesIO"} & WORLD
    assert not touched, f"{name} is pure and may not import {touched}"
    calls = {
        node.func.id
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }
    assert not calls & {"open", "print", "input", "exec", "eval"}, f"{name} is pure"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_only_the_command_line_prints(path: Path) -> None:
    if within(name_of(path), ("bundler.cli",)):
        return
    for node in ast.walk(ast.parse(path.read_text())):
        match node:
            case ast.Name(id="print") | ast.Attribute(value=ast.Name(id="sys"), attr="stdout" | "stderr"):
                pytest.fail(f"{name_of(path)}:{node.lineno} prints")


PIPELINE = [
    path
    for path in MODULES
    if within(name_of(path), ("bundler.build", "bundler.install", "bundler.inputs", "bundler.cli"))
]


@pytest.mark.parametrize("path", PIPELINE, ids=name_of)
def test_the_pipeline_names_no_kind(path: Path) -> None:
    """No string constant of the pipeline is a kind's or recipe's name: adding one changes none of these modules."""
    from bundler.kinds import KINDS
    from bundler.recipes import RECIPES

    kinds = {kind.name for kind in KINDS} | {recipe.name for recipe in RECIPES}
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Constant):
            assert node.value not in kinds, f"{name_of(path)}:{node.lineno} names a kind"


def test_the_offline_side_needs_nothing_of_the_build_extra() -> None:
    """`load`, `emit`, the site and the reader import none of the libraries that only `build` installs."""
    build_only = {"createrepo_c", "solv", "libcomps", "pysequoia", "packageurl", "piptools"}
    for path in MODULES:
        name = name_of(path)
        verb = name.split(".")[3:4]
        offline = within(name, ("bundler.site", "bundler.model", "bundler.install", "bundler.bundle.reader"))
        if offline or (within(name, SECTIONS) and verb in (["load"], ["emit"])):
            assert not {found.split(".")[0] for found in imports(path)} & build_only, name
