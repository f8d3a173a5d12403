"""Links that come with codecbench. Each models an upload over an open connection, and the return of a short answer."""

from __future__ import annotations

from collections.abc import Iterable

from codecbench import Link, TcpRampLink, hookimpl


@hookimpl
def codecbench_register_links() -> Iterable[Link]:
    """Return one measured and three assumed links, with the source of each number.

    `wifi-450` is the paper's WiFi (Yao et al. 2020): `codecbench link fit` on the 30 network times of its Table 1. The
    mean relative error there is 7 %, the median 4 %. On Table 2, which the fit did not use, they are 19 % and 15 %. It
    is a 450 Mb/s access point as seen by TCP, so the bandwidth is a fifth of that.

    The others are assumptions. Their base is one round trip: half for the message and half for the answer.
    """
    return [
        TcpRampLink(
            "wifi-450",
            round_trip_s=0.00234,
            bandwidth_bit_per_s=89.5e6,
            base_s=0.00238,
            initial_window_bytes=2_920,
            description="The paper's 450 Mb/s WiFi, fitted to Table 1",
        ),
        # The median uplink that 4GTest measured (Huang et al., A Close Examination of Performance and Power
        # Characteristics of 4G LTE Networks, MobiSys 2012), and the round trip of WebPageTest's profile "LTE". The
        # radio is awake: waking it would add about a quarter of a second to the first message.
        TcpRampLink(
            "lte",
            round_trip_s=0.07,
            bandwidth_bit_per_s=6e6,
            base_s=0.07,
            description="LTE uplink, assumed: 6 Mb/s, 70 ms round trip",
        ),
        # Gigabit Ethernet carries 1,460 bytes of payload in 1,538 on the wire (frame, preamble and gap): 949 Mb/s. A
        # round trip of 0.2 ms through one switch is an assumption.
        TcpRampLink(
            "ethernet",
            round_trip_s=0.0002,
            bandwidth_bit_per_s=949e6,
            base_s=0.0002,
            description="Gigabit Ethernet, assumed: 949 Mb/s of payload, 0.2 ms round trip",
        ),
        # WebPageTest's profile "3G Fast", which Lighthouse also uses: 750 kb/s up, 150 ms.
        TcpRampLink(
            "3g",
            round_trip_s=0.15,
            bandwidth_bit_per_s=750e3,
            base_s=0.15,
            description="3G uplink, assumed: 0.75 Mb/s, 150 ms round trip",
        ),
    ]
