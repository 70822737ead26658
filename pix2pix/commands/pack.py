"""pack: read and check the pairs of a dataset once, and write them so that trainings start at once.

Several processes may work at the same pack, each with the same command: every shard is written by
one of them, and the index by the one that comes to the end last.
"""

import os
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import filelock
import numpy as np

from image_to_image_translation import find_splits
from pix2pix.options.commands import Pack
from pix2pix.options.train import Train, dataset_name
from pix2pix.pairs.file_pairs import FilePair
from pix2pix.pairs.packs.pack_index import INDEX, SHARD_NAME, is_pack, read_index
from pix2pix.pairs.packs.shards import Shard, plan_shards, write_index, write_shard
from pix2pix.pairs.splits import Split
from pix2pix.pairs.tasks import TASKS
from pix2pix.preparation import check_options, check_pair
from pix2pix.talk.errors import UsageError, UserError
from pix2pix.talk.files import explain_unwritten
from pix2pix.talk.lines import say_row
from pix2pix.talk.notebook import live_output
from pix2pix.talk.progress import describe_time, is_due, say_progress


@live_output()
def pack(options: Pack) -> Path:
    """Pack the pairs of a dataset; return the folder of the pack."""
    of_data = options_of_data(options)
    check_options(of_data)
    place = options.dataset.rstrip("/") or of_data.run_folder.name
    folder = options.output or Path(f"{place}.pack")
    refuse_other_files(folder)
    if is_pack(Path(of_data.dataset)):
        raise UsageError(f"{options.dataset} is a pack already: train --dataset takes it.")
    splits = find_splits(of_data)
    pairs = {name: split.file_pairs for name, split in splits.items()}
    if not pairs["train"]:
        raise UsageError(f"{dataset_name(of_data)}: has no files to pack.")
    if not all(isinstance(file, Path) for file in pairs["train"][0].files):
        raise UsageError(f"{dataset_name(of_data)}: holds volumes. Only pictures can be packed.")
    packing = Packing(folder, pairs, options.shards, of_data)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        problems = packing.write()
    except OSError as error:
        raise explain_unwritten(folder, error) from error
    for problem in [*problems, *(each for split in splits.values() for each in split.problems)]:
        say_row("Left out", problem)
    index = read_index(folder)
    size = f"{len(index.shards):,} shards of {index.shard_bytes.sum() / 1e9:.2f} GB"
    say_row("Packed", f"{index.counts.sum():,} {TASKS[of_data.task].unit} in {size}: {folder}")
    return folder


def options_of_data(options: Pack) -> Train:
    """Return the options by which a training would find the same pairs."""
    if options.shards is not None and options.shards < 1:
        raise UsageError("--shards must be at least 1.")
    if not options.dataset and not options.source_dir:
        raise UsageError("pack wants to know what: name a folder, or a --source-dir.")
    return Train(
        dataset=options.dataset or Train.dataset,
        source_dir=options.source_dir,
        target_dir=options.target_dir,
        task="colorize" if options.photos else "pairs",  # any that takes photos alone
        direction="AtoB",
        group=options.group,
        holdout=options.holdout,
        seed=options.seed,
        data_dir=options.data_dir,
        mirror=options.mirror,
    )


def refuse_other_files(folder: Path) -> None:
    """Refuse to write a pack among what is none, or anew."""
    if (folder / INDEX).exists():
        raise UserError(f"{folder}: is packed already. Delete it first, or choose an --output.")
    others = [path.name for path in folder.glob("[!.]*") if not SHARD_NAME.fullmatch(path.name)]
    if folder.is_file() or others:
        what = f"holds {others[0]}" if others else "is a file"
        raise UserError(f"{folder}: {what}. Choose an --output that is not there yet.")


def common_folder(pairs: Mapping[str, Sequence[FilePair]]) -> Path:
    """Return the folder that all files have in common."""
    folders = set()
    for of_split in pairs.values():
        for pair in of_split:
            folders |= {os.path.dirname(os.path.abspath(str(file))) for file in pair.files}
    return Path(os.path.commonpath(folders))


class Packing:
    """Writes the shards of a pack that no other process is writing, and at last the index."""

    def __init__(
        self,
        folder: Path,
        pairs: Mapping[str, Sequence[FilePair]],
        shard_count: int | None,
        of_data: Train,
    ) -> None:
        self.index, self.of_data = folder / INDEX, of_data
        self.shards, self.base = plan_shards(folder, pairs, shard_count), common_folder(pairs)
        self.total = sum(len(shard.pairs) for shard in self.shards)
        self.done = 0  # pairs, by this process or another
        self.written, self.start = 0, time.monotonic()  # pairs, by this process; and since when

    def check(self, pair: FilePair) -> np.ndarray | UserError:
        """Read a pair; return what its pictures are like, or what is wrong with it."""
        order = (0, 1) if self.of_data.task == Train.task else (0,)
        return check_pair(Split([pair], order, ()), 0, self.of_data)

    def write(self) -> list[str]:
        """Write all shards and the index; return what is wrong with the pairs left out."""
        for waits in (False, True):  # first the shards that are free
            self.done = 0
            for shard in self.shards:
                self.write_shard(shard, waits)
        with filelock.FileLock(self.index.with_name(".lock")):
            problems = []
            if not self.index.exists():
                problems = write_index(self.index.parent, self.shards, self.base)
            for shard in self.shards:
                shard.lock.unlink(missing_ok=True)
            return problems

    def write_shard(self, shard: Shard, waits: bool) -> None:
        """Write a shard, unless it is there or another process has it; `waits` for that one."""
        with suppress(filelock.Timeout), filelock.FileLock(shard.lock, timeout=-1 if waits else 0):
            if self.index.exists() or shard.read_part():
                self.done += len(shard.pairs)
                return
            for _ in write_shard(shard, self.base, self.check):
                self.done, self.written = self.done + 1, self.written + 1
                if is_due(self.written, 50, self.total):
                    self.say_how_far()

    def say_how_far(self) -> None:
        """Print, for now, how much is done and how long the rest will take."""
        seconds = (time.monotonic() - self.start) / self.written * (self.total - self.done)
        amount = f"{self.done:,} of {self.total:,}, {describe_time(seconds)} left"
        say_progress("Packing", self.done, self.total, amount)
