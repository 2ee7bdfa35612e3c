"""What `propertyNames` says, as a list of names and patterns."""

from __future__ import annotations

from dataclasses import dataclass

from jsonschema_rs import CanonicalSchema, canonical

from palmette.tokens.structure.schema.pattern import carried

__all__ = ["Names", "listed_names", "names_of"]


def listed_names(names: CanonicalSchema | None) -> list[str] | None:
    """The names of a finite `propertyNames`."""
    if names is None:
        return None
    view = names.view()
    if isinstance(view, canonical.ConstView):
        return [view.value] if isinstance(view.value, str) else []
    if isinstance(view, canonical.EnumView):
        return [name for name in view.values if isinstance(name, str)]
    return None


@dataclass(frozen=True)
class Names:
    """Names by list and by pattern; `exact` if the patterns say no more than the schema does."""

    listed: tuple[str, ...] = ()
    patterns: tuple[tuple[str, str], ...] = ()  # as the engine writes it, as the schema does
    exact: bool = True


def names_of(names: CanonicalSchema | None) -> Names | None:
    """The names of a `propertyNames` that is a union of names and patterns; None of any other."""
    listed = listed_names(names)
    if names is None or listed is not None:
        return Names(tuple(listed or ()))
    view = names.view()
    if isinstance(view, canonical.AnyOfView):
        parts = [names_of(branch) for branch in view.branches]
        known = [part for part in parts if part is not None]
        if len(known) < len(parts):
            return None
        return Names(
            tuple(name for part in known for name in part.listed),
            tuple(pattern for part in known for pattern in part.patterns),
            all(part.exact for part in known),
        )
    if not isinstance(view, canonical.StringView) or view.excluded or view.excluded_patterns or view.excluded_formats:
        return None
    sized = view.min_length is not None or view.max_length is not None
    if len(view.patterns) == 1 and not sized:
        said = carried(view.patterns[0])
        return None if said is None else Names((), ((said[0], view.patterns[0]),), said[1])
    if not view.patterns and sized:
        most = "" if view.max_length is None else min(int(view.max_length), 5_000)
        counted = rf"^[\s\S]{{{min(int(view.min_length or 0), 5_000)},{most}}}$"
        return Names((), ((counted, counted),))
    return None
