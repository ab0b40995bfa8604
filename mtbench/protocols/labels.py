"""What rows and runs of a protocol are called."""

from __future__ import annotations

from mtbench.records.record import ProtocolSpec


def row_label(protocol: ProtocolSpec, method: str) -> str:
    """The name of a protocol's row: ``per-task (batch), from warm-up``, ``naive, leave-one-out + 128``.

    ``method``: the optimizer, as rows of it are called; a row whose every run trains one task alone has none.
    """
    name, start, examples = protocol["name"], protocol["start"], protocol["examples"]
    count = "all" if examples is None else str(examples)
    if name == "few-shot":
        label = f"{method}, leave-one-out + {count}" if start == "leave-one-out" else f"encoder + {count}"
    elif name == "per-task":
        label = name
    elif name == "fused":
        label = f"{name} ({protocol.get('fusion')})"
    elif name == "leave-one-out":
        label = f"{method}, {name}"
    else:
        label = f"{method}, trained on {', '.join(protocol['tasks'])}"
    if examples is not None and name != "few-shot":
        label += f" + {examples}"
    if protocol["budget"] != "steps":
        label += f" ({protocol['budget']})"
    return label + ("" if start in ("encoder", "leave-one-out") else f", from {start.replace('warmup', 'warm-up')}")


def run_label(protocol: ProtocolSpec | None, method: str) -> str:
    """The name of one run: its row's, and the task that it serves."""
    if protocol is None:
        return method
    task = f": {protocol['task']}" if protocol["task"] is not None else ""
    return row_label(protocol, method) + task
