"""Every registered codec passes the conformance kit. The golden bitstreams lie in plugins/golden/."""

from codecbench.plugins import codecs, manager
from codecbench.testing import parametrize_codec


@parametrize_codec(list(codecs(manager()).values()))
def test_conformance(check):
    check()
