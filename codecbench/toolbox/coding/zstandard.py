"""Zstandard frames."""

from __future__ import annotations

from codecbench.errors import PayloadError

_MIN_WINDOW_BYTES = 1 << 16


def zstd_compress(data: bytes, level: int, dictionary: bytes = b"") -> bytes:
    """Return a Zstandard frame (RFC 8878) of `data` without magic number, content size, checksum and dictionary ID.

    Needs zstandard.
    """
    import zstandard

    parameters = zstandard.ZstdCompressionParameters.from_level(
        level, source_size=len(data), dict_size=len(dictionary), format=zstandard.FORMAT_ZSTD1_MAGICLESS,
        write_content_size=False, write_checksum=False, write_dict_id=False,
    )  # fmt: skip
    trained = zstandard.ZstdCompressionDict(dictionary) if dictionary else None
    return bytes(zstandard.ZstdCompressor(compression_params=parameters, dict_data=trained).compress(data))


def zstd_decompress(frame: bytes | memoryview, size: int, dictionary: bytes = b"") -> bytes:
    """Return the `size` bytes of a frame; the inverse of `zstd_compress`. Raises PayloadError for any other frame.

    Memory stays within `size` and a window of that order, whatever the frame says. Needs zstandard.
    """
    import zstandard

    trained = zstandard.ZstdCompressionDict(dictionary) if dictionary else None
    window_bytes = max(_MIN_WINDOW_BYTES, 1 << (size + len(dictionary)).bit_length())
    unpacker = zstandard.ZstdDecompressor(
        dict_data=trained, max_window_size=window_bytes, format=zstandard.FORMAT_ZSTD1_MAGICLESS
    )
    try:
        with unpacker.stream_reader(bytes(frame), read_across_frames=False) as reader:
            data = bytes(reader.read(size + 1))
    except zstandard.ZstdError as error:
        raise PayloadError(f"no Zstandard frame: {error}") from error
    if len(data) != size:
        raise PayloadError(f"a Zstandard frame of {'more' if len(data) > size else 'fewer'} than {size} bytes")
    return data
