"""Jobs in threads, one core each: the nets are too small for two cores to share one of their layers well."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Any

import cv2
import torch
from tqdm import tqdm


def side_by_side(jobs: list[Callable[[], Any]], workers: int, description: str, unit: str) -> list[Any]:
    """What ``jobs`` return, in their order; ``workers`` of them at a time. The first that fails ends all."""
    threads, cv_threads = torch.get_num_threads(), cv2.getNumThreads()
    pool = ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,))
    try:
        torch.set_num_threads(1)
        cv2.setNumThreads(1)
        with tqdm(total=len(jobs), desc=description, unit=unit) as bar, pool:
            running = [pool.submit(job) for job in jobs]
            try:
                for done in as_completed(running):
                    done.result()
                    bar.update()
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
    finally:
        torch.set_num_threads(threads)
        cv2.setNumThreads(cv_threads)
    return [done.result() for done in running]
