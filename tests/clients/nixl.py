"""Moves blocks of a KV cache between memory and files with NIXL's POSIX plugin.

Usage: nixl.py write|read aio|uring|posix_aio buffered|direct DIRECTORY

`write` makes the files; `read` reads them into other memory, and exits with 1 if a byte differs.
"""

import mmap
import os
import sys
import zlib

import numpy
from nixl_cu12 import nixl_agent, nixl_agent_config

FILES = 8
BLOCKS = 96  # of a file: more than the plugin submits at once
BLOCK = 64 * 1024


def expected(name):
    """The bytes of a file, from its name."""
    generator = numpy.random.default_rng(zlib.crc32(name.encode()))
    return generator.integers(0, 256, BLOCKS * BLOCK, dtype=numpy.uint8)


def transfer(agent, operation, memory, descriptors):
    """Moves each file's blocks, last to first, in one request."""
    address = memory.ctypes.data
    blocks = [
        (file * BLOCKS + block, file, block)
        for file in range(FILES)
        for block in reversed(range(BLOCKS))
    ]
    here = [(address + place * BLOCK, BLOCK, 0) for place, _, _ in blocks]
    there = [(block * BLOCK, BLOCK, descriptors[file]) for _, file, block in blocks]
    handle = agent.initialize_xfer(
        operation,
        agent.get_xfer_descs(here, "DRAM"),
        agent.get_xfer_descs(there, "FILE"),
        agent.name,
    )
    state = agent.transfer(handle)
    while state == "PROC":
        state = agent.check_xfer_state(handle)
    agent.release_xfer_handle(handle)
    if state != "DONE":
        sys.exit(f"{operation}: the transfer ended as {state}")


def main(operation, queue, how, directory):
    names = [f"{queue}.{how}.{i}" for i in range(FILES)]
    # A mapping of its own: aligned to pages, as O_DIRECT wants it elsewhere.
    memory = numpy.frombuffer(mmap.mmap(-1, FILES * BLOCKS * BLOCK), dtype=numpy.uint8)
    wanted = numpy.concatenate([expected(name) for name in names])
    if operation == "write":
        memory[:] = wanted

    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL if operation == "write" else os.O_RDONLY
    flags |= os.O_DIRECT if how == "direct" else 0
    descriptors = [os.open(os.path.join(directory, name), flags, 0o600) for name in names]

    agent = nixl_agent("kvfs", nixl_agent_config(enable_prog_thread=False, backends=[]))
    agent.create_backend("POSIX", {f"use_{queue}": "true"})
    agent.register_memory([(memory.ctypes.data, memory.nbytes, 0, "")], "DRAM")
    agent.register_memory([(0, BLOCKS * BLOCK, fd, "") for fd in descriptors], "FILE")
    transfer(agent, operation.upper(), memory, descriptors)
    for fd in descriptors:
        os.close(fd)

    if operation == "read":
        different = numpy.flatnonzero(memory != wanted)
        if different.size:
            name, offset = names[different[0] // (BLOCKS * BLOCK)], different[0] % (BLOCKS * BLOCK)
            sys.exit(f"{different.size} bytes differ; the first one in {name} at {offset}")


main(*sys.argv[1:])
