"""What trains: one device or several, of one machine or of several; and what it can compute in.

A worker is a machine, or rather a process; TensorFlow's own environment variable TF_CONFIG names
all. Each has one or several devices, and each device a replica: all weights, and a part of every
batch. As gradients are added up, the number of replicas does not change what a run computes.
"""

import json
import os
import re
import signal
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import cache
from pathlib import Path

import keras
import tensorflow as tf

from pix2pix.talk.errors import UsageError, UserError, first_line
from pix2pix.talk.files import lock_folder
from pix2pix.talk.lines import say_row

CPU_INFO = Path("/proc/cpuinfo")  # where Linux tells what a processor can do
BFLOAT16_GPU = (8, 0)  # the compute capability of Ampere, the first one with bfloat16
LOST_WORKER = (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.CancelledError)


# --- One machine ----------------------------------------------------------------------------------


def has_gpu() -> bool:
    """Tell whether TensorFlow sees a GPU."""
    return bool(tf.config.list_physical_devices("GPU"))


def choose_computing_type(precision: str) -> str:
    """Return what the networks compute in while they are trained: --precision, but for auto."""
    if precision != "auto":
        return precision
    if gpus := tf.config.list_physical_devices("GPU"):
        able = all(compute_capability(gpu) >= BFLOAT16_GPU for gpu in gpus)
    else:
        processor = CPU_INFO.read_text() if CPU_INFO.exists() else ""
        able = bool(re.search(r"\b(avx512|amx)_bf16\b", processor))
    return "bfloat16" if able else "float32"


def compute_capability(gpu: tf.config.PhysicalDevice) -> tuple[int, int]:
    """Return NVIDIA's version of what a GPU can do; (0, 0) if it is not known."""
    return tf.config.experimental.get_device_details(gpu).get("compute_capability", (0, 0))


@contextmanager
def compute_in(precision: str) -> Iterator[None]:
    """Let networks that are built meanwhile compute as --precision says; weights stay float32."""
    before, computing_type = keras.config.dtype_policy(), choose_computing_type(precision)
    is_float32 = computing_type == "float32"
    keras.config.set_dtype_policy("float32" if is_float32 else f"mixed_{computing_type}")
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def describe_device(replicas: int) -> str:
    """Say what trains, and how to let more GPUs take part."""
    gpus = tf.config.list_physical_devices("GPU")
    device = f"CPU with {os.cpu_count()} cores"
    if gpus:
        details = tf.config.experimental.get_device_details(gpus[0])
        device = details.get("device_name", "GPU")
    if replicas > 1:
        return f"{replicas} × {device}"
    if len(gpus) > 1:
        return f"{device}, 1 of {len(gpus)}: --batch-size {len(gpus)} takes all"
    return device


# --- Several devices ------------------------------------------------------------------------------


def choose_strategy(batch_size: int) -> tf.distribute.Strategy:
    """Return what trains: all workers that TF_CONFIG names, or what this machine has."""
    strategy = join_workers()
    if not strategy:
        return strategy_of_this_machine(batch_size)
    replicas = strategy.num_replicas_in_sync
    if batch_size % replicas:
        devices = f"{replicas}, the number of devices of all workers"
        raise UsageError(f"--batch-size must be a multiple of {devices}, not {batch_size}.")
    return strategy


def join_workers() -> tf.distribute.Strategy | None:
    """Join the other workers that TF_CONFIG names, once all are there; None without others."""
    try:
        cluster = tf.distribute.cluster_resolver.TFConfigClusterResolver()
        workers = sum(len(tasks) for tasks in cluster.cluster_spec().as_dict().values())
        if workers <= 1:
            return None
        say_row("Worker", f"{cluster.task_type} {cluster.task_id}; waits for all {workers}")
        return strategy_of_all_workers()
    except (ValueError, TypeError, KeyError, AttributeError, tf.errors.OpError) as error:
        raise UserError(f"TF_CONFIG: cannot be used ({first_line(error)}).") from error


def strategy_of_this_machine(batch_size: int) -> tf.distribute.Strategy:
    """Return what trains without other workers: as many devices as divide a batch evenly."""
    devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    count = max(n for n in range(1, len(devices) + 1) if batch_size % n == 0)
    if count == 1:
        return tf.distribute.get_strategy()
    return strategy_of(*(device.name for device in devices[:count]))


# Strategies are made once: two on the same devices would mix up their sums.


@cache
def strategy_of(*devices: str) -> tf.distribute.Strategy:
    """Return the strategy of some devices of this machine."""
    return tf.distribute.MirroredStrategy(devices)


@cache
def strategy_of_all_workers() -> tf.distribute.Strategy:
    """Return the strategy of all workers; it waits until all are there."""
    return tf.distribute.MultiWorkerMirroredStrategy()


def is_writer(strategy: tf.distribute.Strategy) -> bool:
    """Tell whether this process is the one that writes: the first worker."""
    return strategy.extended.should_checkpoint


@contextmanager
def training_in(folder: Path, strategy: tf.distribute.Strategy) -> Iterator[None]:
    """Keep other runs out of a folder, and end in a line if the run loses a worker."""
    refusal = f"{folder}: another process trains here. Use --name for a second run."
    try:
        with lock_folder(folder, refusal) if is_writer(strategy) else nullcontext():
            yield
    except LOST_WORKER as error:
        raise UserError(
            f"{folder}: lost the connection to another worker. Start all of them again with the "
            "same commands: they go on from the last checkpoint."
        ) from error


def sum_over_replicas(value: tf.Tensor) -> tf.Tensor:
    """Add up, on each replica, what all replicas have."""
    on_device = tf.identity(value)
    return tf.distribute.get_replica_context().all_reduce("SUM", on_device)


@tf.function(autograph=False)
def total_of_all(strategy: tf.distribute.Strategy, value: tf.Tensor) -> tf.Tensor:
    """Add up, for this process, what all replicas of all workers have."""
    return strategy.experimental_local_results(strategy.run(sum_over_replicas, (value,)))[0]


def requested_stop(strategy: tf.distribute.Strategy, requests: list[int], ask: bool) -> int:
    """Return the signal by which this worker, or any other, was told to stop; or 0.

    The others are asked only with `ask`, which has to be the same on all workers."""
    if not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        return requests[0] if requests else 0
    # all have to stop at the same step, so each has to know of the others
    anyone_stops = ask and int(total_of_all(strategy, tf.constant(len(requests))))
    if not anyone_stops:
        return 0
    return requests[0] if requests else signal.SIGTERM


def start_alike(
    strategy: tf.distribute.Strategy,
    variables: list[tf.Variable],
    noise: list[tf.Variable],
    settings: dict,
) -> None:
    """Refuse workers whose settings differ; then copy the first replica's variables to all."""
    replicas = strategy.num_replicas_in_sync
    if replicas == 1:
        return
    mark = zlib.crc32(json.dumps(settings, sort_keys=True).encode())
    if int(total_of_all(strategy, tf.constant(mark, tf.int64))) != mark * replicas:
        raise UserError("The workers have other options or other pictures. Give all the same.")
    share_variables(strategy, variables, noise)


def share_variables(
    strategy: tf.distribute.Strategy, variables: list[tf.Variable], noise: list[tf.Variable]
) -> None:
    """Give all replicas the variables of the first one, but each a noise of its own."""

    def share_on_replica() -> None:
        replica = tf.distribute.get_replica_context().replica_id_in_sync_group
        for variable in variables:
            value = variable if variable.dtype.is_floating else tf.cast(variable, tf.int64)
            value = sum_over_replicas(tf.where(replica == 0, value, tf.zeros_like(value)))
            variable.assign(tf.cast(value, variable.dtype))
        for seed in noise:
            seed.assign_add(tf.cast([replica, 0], seed.dtype))

    @tf.function(autograph=False)
    def share_on_all() -> None:
        strategy.run(share_on_replica)

    share_on_all()
