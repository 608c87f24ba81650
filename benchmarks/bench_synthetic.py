"""How many synthetic pictures a second, and what a picture costs.

Wall time with all threads of the machine depends on what else runs on it;
processor time of one thread does so much less. Both are printed, the best and
the median of several rounds.

    python benchmarks/bench_synthetic.py --size 128x96 --threads 2
"""

import argparse
import statistics
import time

import torch

from calbook.data.synthetic import render


def measure(count: int, size: tuple[int, int], rounds: int, device: str) -> tuple[list[float], list[float]]:
    """Wall and processor milliseconds per picture, one figure per round."""
    render(0, min(count, 48), size, device)
    wall, cpu = [], []
    for turn in range(rounds):
        start, used = time.perf_counter(), time.process_time()
        batch = render(1, count, size, device, start=turn * count)
        if batch.pictures.is_cuda:
            torch.cuda.synchronize()
        wall.append((time.perf_counter() - start) / count * 1e3)
        cpu.append((time.process_time() - used) / count * 1e3)
    return wall, cpu


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="128x96", help="height x width")
    parser.add_argument("--count", type=int, default=480, help="pictures per round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    height, width = (int(side) for side in options.size.split("x"))
    for threads in sorted({1, options.threads}):
        torch.set_num_threads(threads)
        wall, cpu = measure(options.count, (height, width), options.rounds, options.device)
        print(
            f"{options.size} on {options.device}, {threads} thread(s): "
            f"{1e3 / min(wall):.0f} pictures/s at best, {1e3 / statistics.median(wall):.0f} median; "
            f"processor {min(cpu):.2f} ms per picture at best, {statistics.median(cpu):.2f} median"
        )


if __name__ == "__main__":
    main()
