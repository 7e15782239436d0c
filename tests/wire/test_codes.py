"""The protocol's numbers, as Sendmail's headers have them."""

import pytest

from demyjpy.wire.codes import (
    DATA_SIZES,
    V1_ACTIONS,
    V1_PROTOCOL,
    ActionFlag,
    Command,
    ProtocolFlag,
    Response,
    Stage,
)


def test_the_commands_have_their_letters():
    """SMFIC_*, in the order of the protocol."""
    assert bytes(Command) == b"ODCHMRTLNBEUAQK"


def test_the_responses_have_their_letters():
    """SMFIR_*: negotiation, verdicts, progress, modifications, and two that are never sent."""
    assert bytes(Response) == b"Ocartdysphimb+2-eq4f"


def test_the_action_flags_are_one_bit_each():
    """SMFIF_*: nine bits without a gap."""
    assert [int(flag) for flag in ActionFlag] == [1 << bit for bit in range(9)]
    assert V1_ACTIONS == 0x0F


def test_the_protocol_flags_are_one_bit_each():
    """SMFIP_*: twenty-one bits without a gap, and two for the size of packets."""
    assert [int(flag) for flag in ProtocolFlag] == [*(1 << bit for bit in range(21)), 1 << 28, 1 << 29]
    assert V1_PROTOCOL == 0x3F


@pytest.mark.parametrize(("prefix", "mask"), [("NO", 0x37F), ("NR_", 0xFF080)])
def test_the_flags_that_switch_off_are_these(prefix, mask):
    """NO* are 0x37F, NR_* 0xFF080; all others switch something on."""
    flags = [int(flag) for name, flag in ProtocolFlag.__members__.items() if name.startswith(prefix)]
    assert sum(flags) == mask


def test_the_macro_stages_are_not_in_protocol_order():
    """End of message is 5, end of headers 6."""
    assert [stage.name for stage in sorted(Stage)] == [
        "CONNECT",
        "HELO",
        "ENVFROM",
        "ENVRCPT",
        "DATA",
        "EOM",
        "EOH",
    ]


def test_the_sizes_count_the_payload():
    """256K and 1M, less one byte."""
    assert DATA_SIZES == {ProtocolFlag.MDS_256K: 2**18 - 1, ProtocolFlag.MDS_1M: 2**20 - 1}
