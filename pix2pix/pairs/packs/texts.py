"""Many short texts in two arrays, which a file can hold and which take little memory."""

from collections.abc import Iterable, Sequence

import numpy as np


class Texts(Sequence[str]):
    """Texts kept as their bytes, one after the other."""

    def __init__(self, ends: np.ndarray, content: np.ndarray) -> None:
        self.ends, self.content = ends, content.tobytes()

    @classmethod
    def of(cls, texts: Iterable[str]) -> "Texts":
        """Keep some texts; file names may have any bytes."""
        encoded = [text.encode("utf-8", "surrogateescape") for text in texts]
        ends = np.cumsum([len(text) for text in encoded], dtype=np.int64)
        return cls(ends, np.frombuffer(b"".join(encoded), np.uint8))

    def __len__(self) -> int:
        return len(self.ends)

    def __getitem__(self, k):
        begin = self.ends[k - 1] if k else 0
        return self.content[begin : self.ends[k]].decode("utf-8", "surrogateescape")

    @property
    def arrays(self) -> tuple[np.ndarray, np.ndarray]:
        """Return what `Texts` is made of again."""
        return self.ends, np.frombuffer(self.content, np.uint8)

    @property
    def is_sound(self) -> bool:
        """Tell whether each text ends where it or a later one may."""
        steps = np.diff(self.ends, prepend=0, append=len(self.content))
        return bool((steps >= 0).all())
