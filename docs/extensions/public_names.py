"""Links to public names, and a warning for each that the reference leaves out or that has no docstring."""

from __future__ import annotations

import functools
import importlib
import inspect
import re
from typing import Any, Final, NamedTuple

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.domains.python import PyObject
from sphinx.environment import BuildEnvironment
from sphinx.util import logging

log = logging.getLogger(__name__)

# What Python makes of a signature -> what stands in the source.
_AS_IN_SOURCE: Final = (
    (r"\b(jaxlib|jax)\.[\w.]*\bArray\b", "Array"),  # jaxtyping's annotations have JAX's place of it
    (r"<class 'jax\.numpy\.(\w+)'>", r"jnp.\1"),
    (r"Method\(name='vidtldr', .*?, matches_on='\w+'\)", "DEFAULT_METHOD"),
    (r", parent: [^,]* = <flax[^>]*>, name: str \| None = None\)", ")"),
)


def setup(app: Sphinx) -> dict[str, Any]:
    """Registers the role, the links and the check."""
    app.add_config_value("public_modules", [], "env")
    app.add_role("name_or_code", make_name_or_code)
    app.connect("autodoc-skip-member", skip_fields)
    app.connect("autodoc-process-signature", write_as_in_source)
    app.connect("autodoc-process-docstring", tidy_docstring, priority=100)
    app.connect("env-updated", add_short_names)
    app.connect("missing-reference", find_public_name)
    app.connect("env-check-consistency", warn_of_gaps)
    for field in PyObject.doc_field_types:
        if field.name == "variable":
            field.label = "Attributes"  # as the docstrings have it, instead of "Variables"
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}


class PublicName(NamedTuple):
    """Something that users may call.

    Attributes:
      module: which `__all__` has it.
      name: in that module; methods and properties have their class in front.
      thing: what it is.
    """

    module: str
    name: str
    thing: Any


@functools.cache
def list_public_names(modules: tuple[str, ...]) -> tuple[PublicName, ...]:
    """Returns what `__all__` of the modules names, and what public classes define themselves."""
    found = []
    for module_name in modules:
        module = importlib.import_module(module_name)
        for name in module.__all__:
            public = getattr(module, name)
            found.append(PublicName(module_name, name, public))
            parts = vars(public).items() if inspect.isclass(public) else ()
            own = [(part, value) for part, value in parts if _find_place(value).startswith(f"{public.__module__}.")]
            found += [PublicName(module_name, f"{name}.{part}", value) for part, value in own if part[0] != "_"]
    return tuple(found)


@functools.cache
def find_homes(modules: tuple[str, ...]) -> dict[str, str]:
    """Returns where it is defined -> full public name, and shorter names -> the same; the last module counts."""
    homes = {}
    for module, name, thing in list_public_names(modules):
        full = f"{module}.{name}"
        homes |= {short: full for short in (name, full.removeprefix("vidtldr_jax."), _find_place(thing)) if short}
    return homes


def _find_place(public: Any) -> str:
    """Returns where something is defined; data have no such place."""
    function = public.fget if isinstance(public, property) else getattr(public, "__func__", public)
    qualified = inspect.isclass(function) or inspect.isfunction(function)
    return f"{function.__module__}.{function.__qualname__}" if qualified else ""


def make_name_or_code(
    role: str, rawtext: str, text: str, line: int, inliner: Any, options: Any = None, content: Any = ()
) -> tuple[list[nodes.Node], list[nodes.system_message]]:
    """What stands between single backticks in a docstring: a link if it is a public name, else code."""
    config = inliner.document.settings.env.config
    written = nodes.unescape(text)
    literal = nodes.literal(rawtext, written, classes=["xref"])
    target = find_homes(tuple(config.public_modules)).get(written.removesuffix("()"))
    if target is None:
        return [literal], []
    fields = {"refdomain": "py", "reftype": "obj", "reftarget": target, "refexplicit": True, "refwarn": True}
    return [addnodes.pending_xref(rawtext, literal, refdoc=inliner.document.settings.env.docname, **fields)], []


def find_public_name(app: Sphinx, env: BuildEnvironment, node: addnodes.pending_xref, shown: nodes.Element) -> Any:
    """Resolves the place where something is defined to the public name under which it is documented."""
    target = find_homes(tuple(app.config.public_modules)).get(node.get("reftarget", ""))
    if node.get("refdomain") != "py" or target in (None, node["reftarget"]):
        return None
    domain = env.domains.python_domain
    return domain.resolve_xref(env, node["refdoc"], app.builder, "obj", target, node, shown)


def skip_fields(app: Sphinx, what: str, name: str, member: Any, skip: bool, options: Any) -> bool | None:
    """Leaves out fields of named tuples and fields that hold a dtype; "Attributes" of the class tells them."""
    is_field = type(member).__name__ == "_tuplegetter" or (what == "class" and not inspect.isroutine(member))
    return True if is_field and not isinstance(member, property) else None


def add_short_names(app: Sphinx, env: BuildEnvironment) -> None:
    """Makes names of the door lead to where the same things are documented."""
    modules = tuple(app.config.public_modules)
    objects = env.domains.python_domain.objects
    for module, name, thing in list_public_names(modules):
        home = objects.get(find_homes(modules).get(_find_place(thing), ""))
        if home is not None:
            objects.setdefault(f"{module}.{name}", home._replace(aliased=True))


def write_as_in_source(
    app: Sphinx, what: str, name: str, member: Any, options: Any, arguments: str | None, returns: str | None
) -> tuple[str | None, str | None]:
    """Writes signatures as the source has them: arrays, defaults that are objects, and no fields that Linen adds."""
    return tuple(text and functools.reduce(_replace, _AS_IN_SOURCE, text) for text in (arguments, returns))


def _replace(text: str, change: tuple[str, str]) -> str:
    return re.sub(*change, text)


def tidy_docstring(app: Sphinx, what: str, name: str, member: Any, options: Any, lines: list[str]) -> None:
    """Makes code of what a module's docstring indents, as in Markdown; leaves out what Python says of named tuples."""
    lines[:] = [line for line in lines if not line.startswith("Create new instance of ")]
    for number in reversed(range(2, len(lines)) if what == "module" else ()):
        starts = lines[number].startswith("    ") and not lines[number - 1].strip()
        if starts and not lines[number - 2].startswith("    "):
            lines[number:number] = ["::", ""]


def warn_of_gaps(app: Sphinx, env: BuildEnvironment) -> None:
    """Warns of each public name that the reference leaves out, or that says nothing of itself."""
    documented = env.domains.python_domain.objects
    for module, name, thing in list_public_names(tuple(app.config.public_modules)):
        if f"{module}.{name}" not in documented:
            log.warning("the reference leaves out the public name %s.%s", module, name)
        made_by_python = f"{name}("  # of named tuples and dataclasses
        if _find_place(thing) and (not thing.__doc__ or thing.__doc__.startswith(made_by_python)):
            log.warning("the public name %s.%s has no docstring", module, name)
