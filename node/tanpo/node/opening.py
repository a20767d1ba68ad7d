"""Puts the exec object on a store, with the runners that a node's configuration asks for."""

from __future__ import annotations

from contextlib import ExitStack

from tanpo.ledger.genesis import Genesis
from tanpo.node.config import ExecutionMode
from tanpo.node.contract_sets import Programs
from tanpo.node.execution import Execution
from tanpo.node.metrics import Metrics
from tanpo.node.worker.runner import open_runners
from tanpo.storage import LedgerStore


def open_execution(
    store: LedgerStore,
    genesis: Genesis,
    metrics: Metrics,
    mode: ExecutionMode,
    closing: ExitStack,
) -> Execution:
    """Return the exec object, and give `closing` what is to be closed with it, but for the store."""
    programs = Programs()
    runner, views = open_runners(mode, programs, metrics)
    closing.callback(runner.close)
    closing.callback(views.close)
    return Execution.open(
        store=store,
        genesis=genesis,
        metrics=metrics,
        programs=programs,
        runner=runner,
        views=views,
    )
