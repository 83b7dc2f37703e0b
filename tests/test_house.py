"""The house: who imports whom, what belongs where, and that names are unique and typed."""

import ast
import re
import subprocess
import sys
from collections import defaultdict

import pytest
from commands import PROJECT, environment

PACKAGE = PROJECT / "nxap_color"
DOORS = {"predict", "train", "evaluate", "benchmark", "export", "report", "handin", "__main__"}
# From the inside out: what stands in a ring imports from its own and from those before it. Of two folders
# in one ring only one may import the other, which `test_folders_import_in_one_direction` holds.
RINGS = [
    {"paths", "color", "errors", "images", "downloads"},
    {
        "layers",
        "attention",
        "upsampling",
        "scribbles",
        "references",
        "guidance",
        "gaussian_process",
        "runtime",
        "inference",
        "media",
    },
    {"models", "losses", "metrics", "data", "crops", "degrade", "saved", "imagenet"},
    {"extractors", "corrections", "prepared", "palette"},
    {"colorizer"},
    {"steady", "shots", "film_hints", "video", "film_files", "key_frames"},
    {"training", "evaluation", "cli"},
    DOORS | {"teaching"},
]
FOLDERS = {"media", "training", "evaluation", "cli", "teaching"}
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path.name != "__init__.py")
# Every door has these.
SHARED_NAMES = {"main", "make_parser"}


def name_of(path):
    """The dotted name of a module inside the package: `media.films`."""
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts)


NAMES = {name_of(path): path for path in MODULES}


def place_of(module):
    """What of the rings a module belongs to: its folder, or itself."""
    return module.split(".")[0]


def ring_of(module):
    return next(number for number, ring in enumerate(RINGS) if place_of(module) in ring)


def is_checked_only(node):
    """Whether a statement is `if TYPE_CHECKING:`, whose imports never run."""
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


def walk(node):
    for child in ast.iter_child_nodes(node):
        if not is_checked_only(child):
            yield child
            yield from walk(child)


def names_in(statements):
    """What import statements among some nodes name: a set of dotted names of modules, or of parts of them."""
    found = set()
    for node in statements:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{ast.unparse(node)}: imports are absolute"
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def inside(names):
    """Those of imported names that are modules of the package, without its own name."""
    return {name.removeprefix("nxap_color.") for name in names} & set(NAMES)


TREES = {module: ast.parse(path.read_text(encoding="utf-8")) for module, path in NAMES.items()}
IMPORTS = {module: names_in(walk(tree)) for module, tree in TREES.items()}


def test_every_module_has_its_ring():
    placed = set().union(*RINGS)
    assert {place_of(module) for module in NAMES} <= placed


@pytest.mark.parametrize("module", NAMES)
def test_imports_lead_inwards(module):
    outwards = {name for name in inside(IMPORTS[module]) if ring_of(name) > ring_of(module)}
    assert not outwards, f"{module} imports {outwards}"


def test_folders_import_in_one_direction():
    arrows = {
        (place_of(module), place_of(name))
        for module in NAMES
        for name in inside(IMPORTS[module])
        if place_of(module) in FOLDERS and place_of(name) in FOLDERS and place_of(module) != place_of(name)
    }
    assert not {arrow for arrow in arrows if arrow[::-1] in arrows}


def test_no_module_imports_itself_in_a_circle():
    """As far as imports at the top of modules go; those inside functions run later."""
    top = {module: inside(names_in(tree.body)) for module, tree in TREES.items()}

    def reach(module, seen):
        for name in top[module] - seen:
            seen.add(name)
            reach(name, seen)
        return seen

    circles = [module for module in top if module in reach(module, set())]
    assert not circles


@pytest.mark.parametrize("folder", ["media", "cli"])
def test_media_and_the_planning_of_work_do_not_bring_the_network_library(folder):
    modules = ["color", "errors", "images", "downloads", "upsampling"]
    modules = [name for name in modules if name in NAMES] if folder == "media" else ["predict"]
    modules += [name for name in NAMES if place_of(name) == folder]
    script = "import sys, importlib\n"
    script += f"for name in {modules}:\n    importlib.import_module('nxap_color.' + name)\n"
    script += "    assert not {'keras', 'tensorflow', 'jax', 'onnxruntime'} & set(sys.modules), name\n"
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_media_never_imports_keras():
    for module in NAMES:
        if place_of(module) == "media":
            tops = {name.split(".")[0] for name in IMPORTS[module]}
            assert not tops & {"keras", "tensorflow"}, module


def test_scipy_is_for_training_and_evaluation():
    """It is none of the dependencies of prediction."""
    users = {module for module in NAMES if "scipy" in {name.split(".")[0] for name in IMPORTS[module]}}
    assert {place_of(module) for module in users} <= {"training", "evaluation"}, users


def test_only_doors_and_cli_know_of_command_lines():
    users = {module for module in NAMES if "argparse" in IMPORTS[module]}
    assert {place_of(module) for module in users} <= DOORS | {"cli"}, users


@pytest.mark.parametrize("door", sorted(DOORS - {"__main__"}))
def test_a_door_is_a_parser_and_one_call(door):
    lines = NAMES[door].read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 110
    assert {"make_parser", "main"} <= {name for name, _ in public_definitions(door)}
    assert "nxap_color.cli.console.run" in IMPORTS[door]


def public_definitions(module):
    """The names and nodes of a module's public functions and classes."""
    for node in TREES[module].body:
        is_definition = isinstance(node, (ast.FunctionDef, ast.ClassDef))
        if is_definition and not node.name.startswith("_"):
            yield node.name, node


def test_public_names_are_unique():
    homes = defaultdict(list)
    for module in NAMES:
        for name, _ in public_definitions(module):
            homes[name].append(module)
    several = {name: found for name, found in homes.items() if len(found) > 1 and name not in SHARED_NAMES}
    assert not several


def test_no_module_takes_the_private_names_of_another():
    for module, names in IMPORTS.items():
        taken = {name for name in names if re.match(r"nxap_color\b.*\._(?!_)", name)}
        assert not taken, f"{module} imports {taken}"


def missing_hints(function):
    """The arguments of a function, and "return", that have no type hint."""
    arguments = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
    arguments += [each for each in (function.args.vararg, function.args.kwarg) if each]
    missing = [each.arg for each in arguments if not each.annotation and each.arg not in ("self", "cls")]
    return missing + ([] if function.returns or function.name == "__init__" else ["return"])


def public_functions(module):
    """The names and nodes of a module's public functions and of public methods of public classes."""
    for name, node in public_definitions(module):
        if isinstance(node, ast.FunctionDef):
            yield name, node
            continue
        for method in node.body:
            is_public = isinstance(method, ast.FunctionDef) and (
                not method.name.startswith("_") or method.name in ("__init__", "__call__")
            )
            if is_public:
                yield f"{name}.{method.name}", method


@pytest.mark.parametrize("module", NAMES)
def test_public_functions_have_type_hints(module):
    untyped = {name: missing_hints(node) for name, node in public_functions(module) if missing_hints(node)}
    assert not untyped


@pytest.mark.parametrize("module", [name for name in NAMES if ring_of(name) < ring_of("training.run")])
def test_science_and_media_print_nothing(module):
    for node in ast.walk(TREES[module]):
        is_print = isinstance(node, ast.Call) and ast.unparse(node.func) == "print"
        assert not is_print, f"{module} prints in line {node.lineno}"
