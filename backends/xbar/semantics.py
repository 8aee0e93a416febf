"""What the instructions of analog arrays do: the groups of arrays, their output registers, the noise of a session."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crossbank.backends.arithmetic import dequantized
from crossbank.backends.xbar.array import ArrayGroup, MvmMode, NotProgrammedError, ReadNoise
from crossbank.backends.xbar.converters import Converters, Ranges
from crossbank.backends.xbar.physics import HermesPcm, Pcm, PcmLike, Purpose, stream
from crossbank.runtime.engine_tables import check_names
from crossbank.runtime.program import ProgramError

TECHNOLOGIES: Mapping[str, type[Any]] = {"HermesPcm": HermesPcm, "PcmLike": PcmLike}


def technology(config: Mapping[str, Any]) -> Pcm:
    """The device model that a system file names, with its parameters; ProgramError CB0205 for an unknown one."""
    table: Mapping[str, Any] = config.get("technology", {})
    check_names("key", table, ("model", "parameters", "read_interval_s", "write_cycles"), "in [engine.technology]")
    name = str(table.get("model", "HermesPcm"))
    if name not in TECHNOLOGIES:
        raise ProgramError("CB0205", f"unknown technology {name!r}", help=f"known are {', '.join(TECHNOLOGIES)}")
    try:
        return TECHNOLOGIES[name](**dict(table.get("parameters", {})))
    except TypeError as error:
        raise ProgramError(
            "CB0205", f"technology {name}: {error}", help="see its parameters in the documentation"
        ) from error


class Unit:
    """All arrays of a system: groups by first array, and the output registers of each lane."""

    def __init__(self, config: Mapping[str, Any], machine: Any) -> None:
        organisation: Mapping[str, Any] = config["organisation"]
        self.config, self.machine = config, machine
        self.rows, self.columns = int(organisation["rows"]), int(organisation["columns"])
        self.converters = Converters(
            int(organisation["input_bits"]), int(organisation["output_bits"]), int(organisation["phases"])
        )
        self.technology = technology(config)
        self.read_interval_s = float(config.get("technology", {}).get("read_interval_s", 1e-3))
        if machine.ideal:
            self.mode = MvmMode.IDEAL
        else:
            self.mode = MvmMode.NOISY if machine.noise else MvmMode.QUANTISED
        self.groups: dict[int, ArrayGroup] = {}
        self.registers: dict[int, NDArray[np.float32]] = {}
        self._noise: dict[int, np.random.Generator] = {}

    def noise(self, array: int) -> np.random.Generator:
        """Fresh read noise of a group's MVMs, one vector after another: a stream for each group."""
        if array not in self._noise:
            self._noise[array] = stream(self.machine.seed, array, (0, 0), Purpose.MVM)
        return self._noise[array]

    def enter_lanes(self, lanes: int) -> None:
        """Each trip of a parallel loop finds its output registers undefined."""
        self.registers.clear()

    def leave_lanes(self) -> None:
        """Nothing of a trip outlives it."""
        self.registers.clear()

    def group(self, o: Any) -> ArrayGroup:
        """The programmed group that an instruction names; ProgramError CB0560 if there is none of that form."""
        found = self.groups.get(o.array)
        if found is None:
            raise ProgramError("CB0560", f"array {o.array} starts no programmed group", help="compile the model again")
        if (found.row_tiles, found.column_tiles) != (o.row_tiles, o.column_tiles):
            raise ProgramError(
                "CB0560",
                f"the group at array {o.array} has {found.row_tiles}x{found.column_tiles} arrays, "
                f"the instruction says {o.row_tiles}x{o.column_tiles}",
            )
        return found

    def sums(self, o: Any) -> NDArray[np.float32]:
        """The output registers (lanes, row_tiles, N) of a group; ProgramError CB0562 where nothing has filled them."""
        self.group(o)
        found = self.registers.get(o.array)
        if found is None:
            raise ProgramError(
                "CB0562",
                f"the output registers of the group at array {o.array} are undefined",
                help="an mvm must come first",
            )
        return found


def program(unit: Unit, o: Any) -> None:
    """Write weights into a group."""
    weights = dequantized(o.weights, o.scales, o.zeros)[0]
    weights = weights.T if o.transposed else weights
    k, n = weights.shape
    tiles = -(-k // unit.rows), -(-n // unit.columns)
    if tiles != (o.row_tiles, o.column_tiles):
        raise ProgramError(
            "CB0560", f"a {k}x{n} matrix takes {tiles} arrays, the instruction says {o.row_tiles}x{o.column_tiles}"
        )
    end = o.array + tiles[0] * tiles[1]
    for first, other in unit.groups.items():
        if first < end and o.array < first + other.row_tiles * other.column_tiles:
            raise ProgramError("CB0561", f"arrays {o.array} to {end - 1} overlap the group at array {first}")
    if (o.input_bound is None) != (o.output_bound is None):
        raise ProgramError("CB0560", f"the group at array {o.array} has the ranges of one kind of converter only")
    ranges = None if o.input_bound is None else Ranges(np.array(o.input_bound[0]), np.array(o.output_bound[0]))
    group = ArrayGroup(
        np.asarray(weights, np.float32),
        rows=unit.rows,
        columns=unit.columns,
        technology=unit.technology,
        converters=unit.converters,
        ranges=ranges,
        read_noise=ReadNoise.CELLS,
        read_interval_s=unit.read_interval_s,
    )
    if unit.mode is MvmMode.NOISY:
        group.program(unit.machine.seed, o.array)
    unit.groups[o.array] = group


def drift(unit: Unit, o: Any) -> None:
    """Age the cells of a group to the session's time."""
    group = unit.group(o)
    if unit.mode is MvmMode.NOISY:
        group.at(unit.machine.time_s, drift_compensation=False)


def compensate(unit: Unit, o: Any) -> None:
    """Undo the mean drift of each array of a group digitally."""
    group = unit.group(o)
    if unit.mode is MvmMode.NOISY:
        try:
            group.compensate()
        except NotProgrammedError as error:
            raise ProgramError("CB0562", str(error), help="a drift of the group must come first") from error


def mvm(unit: Unit, o: Any) -> None:
    """Partial sums (lanes, row_tiles, N) into the output registers."""
    group = unit.group(o)
    x = np.asarray(o.x, np.float32)
    if x.ndim != 2 or x.shape[1] != group.in_features:
        raise ProgramError(
            "CB0560", f"x has {x.shape[1:]} entries, the group at array {o.array} takes {group.in_features}"
        )
    if o.outputs != group.out_features:
        raise ProgramError("CB0560", f"the group at array {o.array} has {group.out_features} columns, not {o.outputs}")
    unit.registers[o.array] = group.mvm(x, unit.mode, unit.noise(o.array), partials=True)


def read_out(unit: Unit, o: Any) -> None:
    """The output registers of all row tiles."""
    o.dst[...] = unit.sums(o)


def accumulate(unit: Unit, o: Any) -> None:
    """Sum of the output registers over row tiles, and bias."""
    total = np.add.reduce(unit.sums(o), axis=1)
    if o.bias is not None:
        total += o.bias
    o.dst[...] = total
