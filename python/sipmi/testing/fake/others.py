"""Commands of other modules that answer without a SIP server: blacklists, tcp, cfgutils, httpd, status."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, Callable, Union

from ..._core import Tree
from ...errors import Fault
from .commands import IS_ARRAY, LEGACY, MODERN, SINCE_3_4, Module, invalid_params, mi, nameless, null
from .names import recipes

if TYPE_CHECKING:
    from .deployment import Deployment

#: Roots of the HTTP modules, the last one registered first.
HTTP_ROOTS = {
    "1.8": {"mi": "mi_http"},
    "1.11": {"xmlrpc": "mi_xmlrpc_ng", "json": "mi_json", "mi": "mi_http"},
    "2.4": {"RPC2": "mi_xmlrpc_ng", "json": "mi_json", "mi": "mi_http"},
    "4.0": {"html": "mi_html", "RPC2": "mi_xmlrpc", "mi": "mi_http"},
    "4.1": {"html": "mi_html", "RPC2": "mi_xmlrpc", "mi": "mi_http"},
}
HTTP_ROOTS_3 = {"html": "mi_html", "RPC2": "mi_xmlrpc_ng", "mi": "mi_http"}


class Others(Module):
    """Small state of several modules.

    :ivar shared_variables: those of ``$shv``, as ``fake.others.shared_variables["debug"] = 1``. The configuration names
        them: 1.x and 2.x set no other ones.
    :ivar probability: what ``rand_event`` goes by, in percent.
    """

    def __init__(self, fake: Deployment) -> None:
        super().__init__(fake)
        self.shared_variables: dict[str, Union[int, str]] = {}
        self.probability: int = 10

    @mi("list_blacklists", no_input=True, read_only=True)
    def list_blacklists(self) -> Any:
        """lists all the defined (static or learned) blacklists"""
        return Tree() if self.legacy else {"Lists": []}

    @mi("list_tcp_conns", no_input=True, read_only=True)
    def list_tcp_conns(self) -> Tree:
        """list all ongoing TCP based connections"""
        return Tree() if self.legacy else null()

    @mi("get_config_hash", no_input=True, read_only=True)
    @mi("check_config_hash", no_input=True, read_only=True)
    def config_hash(self) -> None:
        """gets or checks the hash of the configuration file"""
        raise Fault(404, "Functionality disabled\n" if self.legacy else "Functionality disabled")

    @mi("shv_get", recipes=[[], ["name"]], read_only=True)
    def shv_get(self, name: str = "") -> Any:
        """gets the value of a shared variable"""
        if name and name not in self.shared_variables:
            raise Fault(404, "Not found")
        shown = {name: self.shared_variables[name]} if name else self.shared_variables
        if self.legacy:
            tree = Tree()
            for key, value in shown.items():
                tree.add_child("VAR", key).add_attr("type", type_name(value)).add_attr("value", value)
            return tree
        if name:
            return {"VAR": {"type": type_name(shown[name]), "value": shown[name]}}
        return [[{"name": key, "type": type_name(value), "value": value} for key, value in shown.items()]]

    @mi("shv_set", LEGACY)
    def shv_set_text(self, name: str, type: str, value: str) -> None:
        """sets the value of a shared variable"""
        if name not in self.shared_variables:
            raise Fault(404, "Not found")
        self._set(name, type, value, Fault(500, "bad integer value"))

    @mi("shv_set", MODERN)
    def shv_set_json(self, name: str, type: str, value: str) -> None:
        """sets the value of a shared variable"""
        self._set(name, type, value, invalid_params("Bad type for parameter 'value'"))

    def _set(self, name: str, type: str, value: str, no_integer: Fault) -> None:
        """A type that begins with an s is a string, every other one an integer."""
        if type[:1].lower() == "s":
            self.shared_variables[name] = value
            return
        try:
            self.shared_variables[name] = int(value)
        except ValueError:
            raise no_integer from None

    @mi("rand_set_prob")
    def rand_set_prob(self, prob_proc: int) -> None:
        """sets the probability of rand_event"""
        if not 0 <= prob_proc <= 100:
            raise Fault(400, "Bad parameter value" if not self.legacy else "Bad parameter")
        self.probability = prob_proc

    @mi("rand_reset_prob", no_input=True)
    def rand_reset_prob(self) -> None:
        """resets the probability of rand_event"""
        self.probability = 10

    @mi("rand_get_prob", no_input=True, read_only=True)
    def rand_get_prob(self) -> Any:
        """gets the probability of rand_event"""
        if self.legacy:
            return nameless(f"actual probability: {self.probability} percent\n")
        return {"actual probability percent": self.probability}

    @mi("pi_list", ("4.1",), no_input=True, read_only=True)
    def pi_list(self) -> None:
        """lists the provisioning framework"""
        raise Fault(503, "No PI transport is available")

    @mi("pi_reload", ("4.1",), no_input=True)
    def pi_reload(self) -> None:
        """reloads the provisioning framework"""
        raise Fault(503, "No PI transport is available")

    @mi("httpd_list_root_path", no_input=True, read_only=True)
    def httpd_list_root_path(self) -> Any:
        """lists all root paths of the HTTP modules"""
        roots = HTTP_ROOTS.get(self.fake.version, HTTP_ROOTS_3)
        if not self.legacy:
            return [{"http_root": root, "module": module} for root, module in roots.items()]
        tree = Tree()
        tree.flags = IS_ARRAY
        for root, module in roots.items():
            tree.add_child("http_root", root).add_attr("module", module)
        return tree

    @mi("sr_list_status", SINCE_3_4, recipes=[[], ["group"]], read_only=True)
    def sr_list_status(self, group: str = "") -> Any:
        """lists the status of all identifiers, of all groups or of one"""
        shown = [{"Name": name, "Identifiers": found} for name, found in self._reports(group).items()]
        return shown[0] if group else shown

    @mi("sr_get_status", SINCE_3_4, recipes=[["group"], ["group", "identifier"]], read_only=True)
    def sr_get_status(self, group: str, identifier: str = "main") -> Any:
        """shows the status of an identifier"""
        found = [report for report in self._reports(group)[group] if report["Name"] == identifier]
        if not found:
            raise Fault(404, "Identifier not found")
        return {name: value for name, value in found[0].items() if name != "Name"}

    @mi("sr_list_identifiers", SINCE_3_4, recipes=[[], ["group"]], read_only=True)
    def sr_list_identifiers(self, group: str = "") -> Any:
        """lists the identifiers, of all groups or of one"""
        shown = [
            {"Group": name, "Identifiers": [report["Name"] for report in reports]}
            for name, reports in self._reports(group).items()
        ]
        return shown[0] if group else shown

    def _reports(self, group: str) -> dict[str, list[dict[str, Any]]]:
        """The reports of a group, or of all."""
        groups = {"core": [identifier("main", "running")]}
        if self.fake.loads("dispatcher"):
            groups = {"dispatcher": [identifier("default;events"), identifier("default", "data available")], **groups}
        if group and group not in groups:
            raise Fault(404, "Group not found")
        return {name: reports for name, reports in groups.items() if group in ("", name)}


def type_name(value: Union[int, str]) -> str:
    """How ``shv_get`` calls the type of a shared variable."""
    return "integer" if isinstance(value, int) else "string"


def identifier(name: str, details: str = "") -> dict[str, Any]:
    """One line of a status report."""
    return {"Name": name, "Readiness": True, "Status": 1, **({"Details": details} if details else {})}


def absent(name: str) -> Callable[..., None]:
    """A command that ``which`` lists and that needs a SIP server.

    >>> absent("mem_pkg_dump").__name__
    'mem_pkg_dump'
    """

    def command(*given: Any, **named: Any) -> None:
        raise Fault(501, f"FakeOpenSIPS has no {name}")

    parameters = sorted({parameter for names in recipes(name) for parameter in names})
    # A signature with these names, so that they are checked and ``which`` shows them.
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    signature = [inspect.Parameter(parameter, kind, default="", annotation=str) for parameter in parameters]
    command.__signature__ = inspect.Signature(signature)  # type: ignore[attr-defined]
    command.__name__ = name
    command.__doc__ = "needs a SIP server"
    return command
