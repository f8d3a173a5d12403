"""Headers, bit packing, Huffman coding, priors and entropy coding."""

from codecbench.toolbox.coding.context_prior import ContextPrior
from codecbench.toolbox.coding.headers import read_pair, read_shape, read_varint, write_pair, write_shape, write_varint
from codecbench.toolbox.coding.huffman import (
    code_lengths,
    huffman_decode,
    huffman_encode,
    read_code_lengths,
    write_code_lengths,
)
from codecbench.toolbox.coding.packing import pack_bits, unpack_bits
from codecbench.toolbox.coding.prior import Prior
from codecbench.toolbox.coding.zstandard import zstd_compress, zstd_decompress

__all__ = [
    "ContextPrior",
    "Prior",
    "code_lengths",
    "huffman_decode",
    "huffman_encode",
    "pack_bits",
    "read_code_lengths",
    "read_pair",
    "read_shape",
    "read_varint",
    "unpack_bits",
    "write_code_lengths",
    "write_pair",
    "write_shape",
    "write_varint",
    "zstd_compress",
    "zstd_decompress",
]
