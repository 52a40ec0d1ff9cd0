"""What the machine has is read from the kernel's files."""

import os

import pytest

from motet.engines.hardware import detect, visible_cards


def write(root, files):
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


CORES = float(len(os.sched_getaffinity(0)))
MEMORY = {"proc/meminfo": "MemTotal:       1048576 kB\nMemFree: 1 kB\n"}


@pytest.mark.parametrize(
    ("environment", "devices", "cards"),
    [
        ({}, [], ()),
        ({}, ["nvidia0", "nvidia3", "nvidiactl", "nvidia-uvm"], ("0", "1")),
        ({"CUDA_VISIBLE_DEVICES": ""}, ["nvidia0"], ()),
        ({"CUDA_VISIBLE_DEVICES": "1, GPU-8f2,-1,0"}, ["nvidia0"], ("1", "GPU-8f2")),
        ({"CUDA_VISIBLE_DEVICES": "-1"}, ["nvidia0"], ()),
    ],
)
def test_cards(tmp_path, environment, devices, cards):
    """The variable counts where it is set, else the devices; CUDA counts those from 0."""
    assert visible_cards(environment, write(tmp_path, {f"dev/{name}": "" for name in devices})) == cards


def test_cards_that_only_the_driver_tells_of(tmp_path):
    root = write(tmp_path, {f"proc/driver/nvidia/gpus/0000:0{number}:00.0/information": "" for number in range(2)})
    assert visible_cards({}, root) == ("0", "1")


@pytest.mark.parametrize(
    ("files", "cpus", "memory"),
    [
        ({}, CORES, 2**30),
        (
            {"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/b/cpu.max": "max 100000\n", "sys/fs/cgroup/a/cpu.max": "50000 100000\n"},
            0.5,
            2**30,
        ),
        ({"proc/self/cgroup": "0::/a\n", "sys/fs/cgroup/a/memory.max": "max\n", "sys/fs/cgroup/memory.max": "1000\n"}, CORES, 1000),
        (
            {
                "proc/self/cgroup": "4:memory:/x\n3:cpu,cpuacct:/x\n",
                "sys/fs/cgroup/memory/x/memory.limit_in_bytes": "2000\n",
                "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
                "sys/fs/cgroup/cpu/x/cpu.cfs_quota_us": "25000\n",
                "sys/fs/cgroup/cpu/x/cpu.cfs_period_us": "100000\n",
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
            },
            0.25,
            2000,
        ),
    ],
    ids=["none", "quota", "memory", "version 1"],
)
def test_limits(tmp_path, files, cpus, memory):
    """Limits of this process's control group and of those around it count, in both versions of control groups."""
    found = detect(write(tmp_path, {**MEMORY, **files}))
    assert (found.cpus, found.memory) == (cpus, memory)
    assert set(found.cores) == os.sched_getaffinity(0)
