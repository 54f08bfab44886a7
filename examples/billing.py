"""A server of MI commands: a small subscriber database. Run it with `sipmi serve examples/billing.py`."""

import asyncio

import sipmi

server = sipmi.Server("billing", version="1.4")
subscribers: dict[str, float] = {}


@server.command
def sub_add(user: str, domain: str = "example.org", credit: float = 0.0) -> dict:
    """Add a subscriber."""
    aor = f"sip:{user}@{domain}"
    subscribers[aor] = credit
    return {"aor": aor, "credit": credit, "subscribers": len(subscribers)}


@server.command(name="sub_dump", aliases=["subs"], no_input=True, read_only=True)
def dump() -> sipmi.Tree:
    """Dump the subscribers."""
    tree = sipmi.Tree()
    for aor, credit in subscribers.items():
        tree.add_child("Subscriber", aor).add_attr("credit", credit)
    return tree


@server.command
def sub_rm(user: str, domain: str = "example.org") -> None:
    """Remove a subscriber."""
    if subscribers.pop(f"sip:{user}@{domain}", None) is None:
        raise sipmi.Fault(404, "No such subscriber")


@server.command(read_only=True)
async def probe(target: str) -> str:
    """Ping a target, which takes a moment."""
    await asyncio.sleep(0.05)
    return f"{target} is alive"


@server.command(read_only=True)
def cdrs(limit: int = 3):
    """Stream call records."""
    for number in range(limit):
        yield sipmi.Node("cdr", str(number))
