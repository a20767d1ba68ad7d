"""The kinds of trouble a run can meet. What a rate means:

- loss, delay, duplication, reordering: the share of messages;
- partition, one-way, crash, clock-jump, slow-node, drain: times a second, anywhere in the cluster;
- crash-before-sync, crash-after-sync, slow-disk: the share of writes;
- torn-write: the share of crashes during a write that leave half of it;
- bit-rot, disk-loss, old-backup: the share of restarts of a validator that counts as faulty for it;
- chain-rot: the share of restarts of any node at which its chain is damaged, and copied from another node;
- clock-skew: the share of nodes; execution-lag: the share of executions;
- hostile, twins: 1 if there are any.
"""

from __future__ import annotations

from enum import StrEnum


class FaultKind(StrEnum):
    """One kind of trouble. A run has each on or off, and on at its own rate."""

    LOSS = "loss"
    DELAY = "delay"
    DUPLICATION = "duplication"
    REORDERING = "reordering"
    PARTITION = "partition"
    ONE_WAY = "one-way"
    CRASH = "crash"
    CRASH_BEFORE_SYNC = "crash-before-sync"
    CRASH_AFTER_SYNC = "crash-after-sync"
    TORN_WRITE = "torn-write"
    BIT_ROT = "bit-rot"
    CHAIN_ROT = "chain-rot"
    DISK_LOSS = "disk-loss"
    OLD_BACKUP = "old-backup"
    CLOCK_SKEW = "clock-skew"
    CLOCK_JUMP = "clock-jump"
    SLOW_NODE = "slow-node"
    SLOW_DISK = "slow-disk"
    EXECUTION_LAG = "execution-lag"
    DRAIN = "drain"
    HOSTILE = "hostile"
    TWINS = "twins"
