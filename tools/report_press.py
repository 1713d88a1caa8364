"""The press: notebook 13 is run with the parameters of a scenario, by papermill, and its page is written.

A kernel takes a second to start and a scenario a tenth of that, so a press keeps its kernel for many reports; before
each of them the namespace is emptied, and nothing of the report before is left. A stall of the machinery is tried
once more with a new kernel; a report that says something wrong is never tried again.

papermill would only warn of a parameter that it does not know, and waits for ever: the parameters come from a
Scenario, which refuses what cannot be, and every cell has a time limit.
"""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Generator, Iterable
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from hashlib import sha256
from multiprocessing import get_context
from multiprocessing.util import Finalize
from pathlib import Path
from typing import Any

import nbformat
import papermill
from jupyter_client.manager import AsyncKernelManager
from jupyter_core.utils import run_sync
from nbclient import NotebookClient
from nbclient.exceptions import CellTimeoutError, DeadKernelError
from papermill.clientwrap import PapermillNotebookClient
from papermill.engines import NBClientEngine, papermill_engines
from papermill.exceptions import PapermillExecutionError

from protocol.reports import find_worst_act, write_parameters
from protocol.scenarios import Scenario
from tools.notebooks import NOTEBOOKS
from tools.report_pages import Made, read_end, write_page

NOTEBOOK = NOTEBOOKS / "13_scenario_report.ipynb"
TIMEOUT_S = 60  # for one cell; the slowest takes a tenth of a second
EMPTY = "get_ipython().reset(new_session=True)"
LONGEST_NAME = 120


def name_page(scenario: Scenario) -> str:
    """The choice as the name of a file; what is as always is not named."""
    parts = [scenario.crashed]
    if scenario.crashed != "nobody":
        parts.append(scenario.step)
        if (scenario.when, scenario.act) != ("after", find_worst_act(scenario.crashed, scenario.step)):
            parts += [scenario.when, str(scenario.act)]
        parts += ["lost", scenario.lost] if scenario.lost != "nothing" else []
        parts += ["stage"] if scenario.restart == "stage" else []
    parts += [scenario.network] if scenario.network != "reliable" else []
    parts += ["without", *scenario.off] if scenario.off else []
    name = "-".join(parts).replace(" ", "-")
    if len(name) > LONGEST_NAME:  # many rules
        name = f"{name[:LONGEST_NAME]}-{sha256(name.encode()).hexdigest()[:8]}"
    return f"{name}.html"


class KeptKernel(NBClientEngine):  # type: ignore[misc]
    """How papermill runs a notebook in a kernel that is there already, and leaves it there."""

    @classmethod
    def execute_managed_notebook(
        cls, nb_man: Any, kernel_name: str, *, km: Any, execution_timeout: int, **_: object
    ) -> Any:
        client = PapermillNotebookClient(nb_man, km=km, kernel_name=kernel_name, timeout=execution_timeout)
        return _run_client(client)


papermill_engines.register("kept-kernel", KeptKernel)
logging.getLogger("papermill").disabled = True


def _run_client(client: NotebookClient) -> Any:
    """A client that did not start the kernel closes nothing by itself."""
    try:
        return client.execute()
    finally:
        if client.kc is not None:
            client.kc.stop_channels()


class Press:
    """A kernel that runs one report after the other."""

    def __init__(self) -> None:
        self._kernel: Any = None

    def run(self, scenario: Scenario) -> Any:
        """The executed notebook. PapermillExecutionError if one of its cells failed."""
        try:
            return self._run(scenario)
        except (CellTimeoutError, DeadKernelError):
            self.close()
            return self._run(scenario)

    def _run(self, scenario: Scenario) -> Any:
        self._start()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of papermill's own making: it uses what Python will give up
            return papermill.execute_notebook(
                NOTEBOOK,
                None,
                write_parameters(scenario),
                engine_name="kept-kernel",
                kernel_name="python3",
                progress_bar=False,
                execution_timeout=TIMEOUT_S,
                km=self._kernel,
            )

    def _start(self) -> None:
        if self._kernel is None:
            self._kernel = AsyncKernelManager(kernel_name="python3")
            run_sync(self._kernel.start_kernel)(cwd=str(NOTEBOOKS), extra_arguments=["--log-level=ERROR"])
        else:
            cell = nbformat.v4.new_code_cell(EMPTY)
            notebook = nbformat.v4.new_notebook(cells=[cell])
            _run_client(NotebookClient(notebook, km=self._kernel, timeout=TIMEOUT_S))

    def close(self) -> None:
        if self._kernel is not None:
            run_sync(self._kernel.shutdown_kernel)(now=True)
        self._kernel = None

    def make(self, scenario: Scenario, folder: Path, gallery: str = "") -> Made:
        """The page, written to the folder. `gallery` is where its bar leads."""
        page = folder / name_page(scenario)
        try:
            notebook = self.run(scenario)
        except PapermillExecutionError as failure:
            return Made(scenario, page.name, {}, f"{failure.ename}: {failure.evalue}")
        except (CellTimeoutError, DeadKernelError) as failure:
            self.close()
            return Made(scenario, page.name, {}, f"twice {type(failure).__name__}")
        write_page(notebook, scenario, page, gallery)
        return Made(scenario, page.name, read_end(notebook))


# ---------------------------------------------------------------------- many

_presses: list[Press] = []  # the one of this process


def _open_press() -> None:
    """In a process and a group of its own: Ctrl-C is for whoever asked, and what is under way here is finished."""
    if hasattr(os, "setpgrp"):
        os.setpgrp()
    press = Press()
    _presses.append(press)
    Finalize(None, press.close, exitpriority=100)


def _make(scenario: Scenario, folder: Path, gallery: str) -> Made:
    return _presses[0].make(scenario, folder, gallery)


def make_many(
    scenarios: Iterable[Scenario], folder: Path, gallery: str, jobs: int | None = None
) -> Generator[Made, None, None]:
    """The reports as they come, made by as many presses as there are cores. An interrupt ends it after those under way.

    What was made by then is still yielded; then the KeyboardInterrupt goes on.
    """
    chosen = list(scenarios)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with ProcessPoolExecutor(
        min(jobs or cores, len(chosen)), mp_context=get_context("spawn"), initializer=_open_press
    ) as pool:
        futures = {pool.submit(_make, each, folder, gallery): each for each in chosen}
        told: set[Future[Made]] = set()
        try:
            for future in as_completed(futures):
                told.add(future)
                try:
                    made = future.result()
                except BrokenProcessPool:  # somebody, or want of memory, has killed a process: the others end with it
                    scenario = futures[future]
                    made = Made(scenario, name_page(scenario), {}, "a process that makes reports was killed")
                yield made
        except KeyboardInterrupt:
            pool.shutdown(cancel_futures=True)
            yield from (each.result() for each in futures if each not in told and each.done() and not each.cancelled())
            raise
        finally:
            pool.shutdown(cancel_futures=True)  # whoever asked may have stopped listening


def make_one(scenario: Scenario, folder: Path) -> Made:
    """One report, with a kernel of its own."""
    press = Press()
    try:
        return press.make(scenario, folder)
    finally:
        press.close()
