"""A path of packets: what enters one TUN device leaves the other later. `tun_path.py NAME NAME BIT_PER_S DELAY_S`.

Unlike the relay it leaves TCP whole, so the kernel's own slow start is seen over its delay. Linux only, as root.
"""

from __future__ import annotations

import fcntl
import os
import queue
import struct
import sys
import threading
from contextlib import suppress

from codecbench.links.relay import Shaper

TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 0x0001, 0x1000
LONGEST_PACKET = 2_000


def opened(name: str) -> int:
    """A file descriptor that packets of this new device are read from and written to."""
    device = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(device, TUNSETIFF, struct.pack("16sH", name.encode(), IFF_TUN | IFF_NO_PI))
    return device


def carry(source: int, sink: int, shaper: Shaper) -> None:
    """Pass on packets for ever, each when it is due."""
    waiting: queue.Queue[tuple[float, bytes]] = queue.Queue()

    def give() -> None:
        never = threading.Event()
        while True:
            due_s, packet = waiting.get()
            remaining_s = shaper.remaining_s(due_s)
            if remaining_s > 0:
                never.wait(remaining_s)
            with suppress(OSError):  # while the other end is not up, as a cable would
                os.write(sink, packet)

    threading.Thread(target=give, daemon=True).start()
    while True:
        packet = os.read(source, LONGEST_PACKET)
        waiting.put((shaper.due_s(len(packet)), packet))


if __name__ == "__main__":
    near, far = (opened(name) for name in sys.argv[1:3])
    rate_bit_per_s, delay_s = float(sys.argv[3]), float(sys.argv[4])
    threading.Thread(target=carry, args=(far, near, Shaper(rate_bit_per_s, delay_s)), daemon=True).start()
    sys.stderr.write("carrying packets\n")
    carry(near, far, Shaper(rate_bit_per_s, delay_s))
