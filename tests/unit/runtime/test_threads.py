from __future__ import annotations

import threading

import pytest

from kraken.runtime.threads import FileThreads


async def test_a_function_runs_in_another_thread_and_its_result_comes_back() -> None:
    threads = FileThreads(workers=1)

    name = await threads.run(lambda: threading.current_thread().name)
    threads.close()

    assert name.startswith("files")


async def test_an_exception_of_the_function_reaches_the_caller() -> None:
    threads = FileThreads(workers=1)

    def fail(word: str) -> None:
        raise ValueError(word)

    with pytest.raises(ValueError, match="disk"):
        await threads.run(fail, "disk")
    threads.close()


async def test_submitted_functions_run_at_the_same_time_on_different_threads() -> None:
    threads = FileThreads(workers=2)
    both = threading.Barrier(2, timeout=10)

    first = threads.submit(both.wait)
    second = threads.submit(both.wait)

    assert sorted([await first, await second]) == [0, 1]
    threads.close()
