"""A file in a shard of a pack, opened like a path."""

import zlib
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import Literal

from pix2pix.talk.errors import UserError, on_one_line


@dataclass(frozen=True)
class PackedFile:
    """A picture file in a shard, and what it was called before it was packed.

    It has what pictures are read by: `open`, and the parts of a path."""

    shard: Path
    offset: int  # of its first byte in the shard
    length: int  # bytes
    checksum: int  # CRC-32
    path: PurePosixPath  # where it was, below the folder that was packed

    def __str__(self) -> str:
        return on_one_line(f"{self.shard} ({self.path})")

    @property
    def name(self) -> str:
        """Return the name that the file had."""
        return self.path.name

    @property
    def stem(self) -> str:
        """Return the name without its suffix."""
        return self.path.stem

    @property
    def suffix(self) -> str:
        """Return what the name ends with, such as `.png`."""
        return self.path.suffix

    @property
    def parent(self) -> PurePosixPath:
        """Return the folder that the file was in."""
        return self.path.parent

    def absolute(self) -> PurePosixPath:
        """Return where the file was, from the folder that was packed on."""
        return PurePosixPath("/", self.path)

    def open(self, mode: Literal["rb"] = "rb") -> BytesIO:
        """Read the bytes of the file, and refuse others than those that were packed."""
        with self.shard.open(mode) as shard:
            shard.seek(self.offset)
            content = shard.read(self.length)
        if len(content) < self.length or zlib.crc32(content) != self.checksum:
            why = "it is damaged, or of another pack"
            raise UserError(f"is not in its shard as it was packed: {why}. Copy that shard anew")
        return BytesIO(content)
