"""The interface of a contract: what others may call, with names and types, and what it tells the world."""

from __future__ import annotations

from dataclasses import dataclass

from tanpo.vm.types import Record, Type, spell


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """One named, typed parameter or field."""

    name: str
    type: Type


@dataclass(frozen=True, slots=True, kw_only=True)
class Function:
    """One entry point or view."""

    name: str
    parameters: tuple[Parameter, ...]
    returns: Type


@dataclass(frozen=True, slots=True, kw_only=True)
class EventShape:
    """An event the contract emits, its fields in ascending order of name."""

    name: str
    fields: tuple[Parameter, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Interface:
    """Everything callers, other contracts and readers of events need to know of a contract."""

    contract: str
    entries: tuple[Function, ...]
    views: tuple[Function, ...]
    records: tuple[Record, ...]
    events: tuple[EventShape, ...]
    init: tuple[Parameter, ...]

    def find_entry(self, name: str) -> Function | None:
        """Return the entry point `name`, if there is one."""
        return next((function for function in self.entries if function.name == name), None)

    def find_view(self, name: str) -> Function | None:
        """Return the view `name`, if there is one."""
        return next((function for function in self.views if function.name == name), None)

    def find(self, name: str) -> Function | None:
        """Return the entry point or view `name`, if there is one."""
        return self.find_entry(name) or self.find_view(name)

    def find_record(self, name: str) -> Record | None:
        """Return the record `name`, if there is one."""
        return next((record for record in self.records if record.name == name), None)

    def describe(self) -> dict[str, object]:
        """Return the interface as text and lists, ready for JSON; types are spelled as in the source."""
        return {
            "contract": self.contract,
            "entries": [self._describe_function(function) for function in self.entries],
            "views": [self._describe_function(function) for function in self.views],
            "records": [
                {
                    "name": record.name,
                    "fields": [
                        {"name": name, "type": spell(kind, self.contract)} for name, kind in record.fields
                    ],
                }
                for record in self.records
            ],
            "events": [
                {"name": event.name, "fields": self._describe_parameters(event.fields)}
                for event in self.events
            ],
            "init": self._describe_parameters(self.init),
        }

    def _describe_function(self, function: Function) -> dict[str, object]:
        return {
            "name": function.name,
            "parameters": self._describe_parameters(function.parameters),
            "returns": spell(function.returns, self.contract),
        }

    def _describe_parameters(self, parameters: tuple[Parameter, ...]) -> list[dict[str, str]]:
        return [{"name": item.name, "type": spell(item.type, self.contract)} for item in parameters]
