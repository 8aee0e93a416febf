"""Instructions of GDDR6-AiM replayed cycle by cycle over a device's channels: the front end and its controllers.

The front end decodes one instruction a cycle into one request per 256-bit column and channel. What finds no room in a
channel's queue is offered again every cycle, and the next instruction waits until all has been taken, in all channels;
after one that blocks it waits until the data of all has come back. Channels that are always addressed together act
alike, so one of them is followed and counts for all.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from crossbank.backends.pim.constraints import Dram, constraints
from crossbank.backends.pim.controller import NEVER, Channel, Request
from crossbank.backends.pim.timing_rules import DramTiming


@dataclass(frozen=True)
class Instruction:
    """A request, how often it is repeated in each of some channels, and the channels as a bit set; 0 for none."""

    request: Request | None = None
    channels: int = 0
    columns: int = 1


@dataclass(frozen=True)
class Replay:
    """What a replay took."""

    cycles: int
    commands: Counter[Dram]
    """DRAM commands of all channels."""
    forwarded: int
    """Reads of all channels that never reached their bank."""


def replay(timing: DramTiming, instructions: Sequence[Instruction]) -> Replay:
    """Run instructions to the end; the last should be a barrier, which waits for all before."""
    return _FrontEnd(timing, instructions).run()


class _FrontEnd:
    def __init__(self, timing: DramTiming, instructions: Sequence[Instruction]) -> None:
        self.instructions = instructions
        groups = _alike(timing.channels, {instruction.channels for instruction in instructions})
        rules = constraints(timing)
        self.channels = [Channel(timing, rules) for _ in groups]
        self.sizes = [group.bit_count() for group in groups]
        self.addressed = {
            instruction.channels: [i for i, group in enumerate(groups) if group & instruction.channels]
            for instruction in instructions
        }
        self.position = 0
        self.left: dict[int, int] = {}
        """Requests of the current instruction that a channel has not taken yet."""
        self.awaited = 0
        """Requests, of all channels followed, that must come back before the front end goes on."""

    def run(self) -> Replay:
        now = 0
        while True:
            decoded = self._front(now)
            answered = False
            for channel in self.channels:
                if channel.next <= now and channel.tick(now):
                    self.awaited -= 1
                    answered = True
            if answered and not self.awaited:
                self.position += 1
            if self.position == len(self.instructions):
                break
            now = self._next(now, decoded)
        commands: Counter[Dram] = Counter()
        for channel, size in zip(self.channels, self.sizes, strict=True):
            for command, count in channel.counts.items():
                commands[command] += count * size
        forwarded = sum(channel.forwarded * size for channel, size in zip(self.channels, self.sizes, strict=True))
        return Replay(now + 1, commands, forwarded)

    def _front(self, now: int) -> bool:
        """Offer what is left of an instruction, or decode the next; whether the front end has more to do at once."""
        offered = bool(self.left)
        if offered:
            self._offer(self.instructions[self.position], [i for i in self.left if self.channels[i].freed], now)
        elif not self.awaited:
            instruction = self.instructions[self.position]
            if instruction.request is not None and instruction.columns:
                channels = self.addressed[instruction.channels]
                self.left = dict.fromkeys(channels, instruction.columns)
                self.awaited = len(channels) * instruction.columns if instruction.request.blocking else 0
                self._offer(instruction, channels, now)
        if not self.awaited and not self.left:
            self.position += 1
            return True
        return False

    def _offer(self, instruction: Instruction, channels: Sequence[int], now: int) -> None:
        """Send as much as fits to channels, which may have room."""
        request = instruction.request
        assert request is not None
        for i in channels:
            channel, left = self.channels[i], self.left[i]
            channel.freed = False
            while left and channel.send(request, now):
                left -= 1
            if left:
                self.left[i] = left
            else:
                del self.left[i]

    def _next(self, now: int, decoded: bool) -> int:
        if decoded or (not self.left and not self.awaited):
            return now + 1
        if any(self.channels[i].freed for i in self.left):
            return now + 1
        following = min((channel.next for channel in self.channels), default=NEVER)
        assert following < NEVER, "the controllers have nothing to do and the front end waits for them"
        return max(following, now + 1)


def _alike(channels: int, masks: set[int]) -> list[int]:
    """The channels in groups that no mask tells apart."""
    groups = [(1 << channels) - 1]
    for mask in masks - {0}:
        groups = [part for group in groups for part in (group & mask, group & ~mask) if part]
    return groups
