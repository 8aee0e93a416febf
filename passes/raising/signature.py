"""Arguments and results of functions that layers repeat: which program input or output they are; taking them out."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from xdsl.dialects.builtin import ArrayAttr, StringAttr
from xdsl.dialects.func import FuncOp, ReturnOp
from xdsl.ir import Operation, SSAValue

from crossbank.dialects.imc import RepeatOp
from crossbank.passes.rewriting import argument_index, copy_location, entry_block, replace, strings

INPUT_NAMES = "input_names"
OUTPUT_NAMES = "output_names"


def port_names(function: FuncOp, attribute: str) -> tuple[str, ...]:
    """The ONNX names of a program function's inputs or outputs."""
    return strings(function.attributes.get(attribute))


def terminator(function: FuncOp) -> Operation:
    """The return of a function."""
    last = entry_block(function).last_op
    if not isinstance(last, ReturnOp):
        raise ValueError(f"@{function.sym_name.data} has no return")
    return last


def names_of(
    function: FuncOp, calls: Sequence[RepeatOp], argument: int, result: int
) -> tuple[Sequence[str], Sequence[str]] | str:
    """The program inputs and outputs behind an argument and a result of a function, an entry per call; or why not."""
    if not calls:
        return _port(function, INPUT_NAMES, argument, result)
    inputs: list[str] = []
    outputs: list[str] = []
    for call in calls:
        count = call.count.value.data
        first = argument - len(call.carried) - len(call.shared)
        out = result - len(call.carried_out)
        caller = call.parent_op()
        if first < 0 or out < 0 or not isinstance(caller, FuncOp) or INPUT_NAMES not in caller.attributes:
            return "the past or the present is not an input or output of each layer"
        for i in range(count):
            found = _outer(caller, call.each[first * count + i], call.each_out[out * count + i])
            if isinstance(found, str):
                return found
            inputs += found[0]
            outputs += found[1]
    return inputs, outputs


def _outer(caller: FuncOp, past: SSAValue, present: SSAValue) -> tuple[Sequence[str], Sequence[str]] | str:
    argument = argument_index(past, caller)
    uses = list(present.uses)
    if argument is None or past.uses.get_length() != 1:
        return "the past of a layer is no program input of its own"
    if len(uses) != 1 or not isinstance(uses[0].operation, ReturnOp):
        return "the present of a layer is no program output of its own"
    return _port(caller, INPUT_NAMES, argument, uses[0].index)


def _port(function: FuncOp, attribute: str, argument: int, result: int) -> tuple[Sequence[str], Sequence[str]] | str:
    inputs, outputs = port_names(function, attribute), port_names(function, OUTPUT_NAMES)
    if argument >= len(inputs) or result >= len(outputs):
        return "the function is no program function"
    return [inputs[argument]], [outputs[result]]


def drop_parts(
    function: FuncOp, calls: Sequence[RepeatOp], arguments: Collection[int], results: Collection[int]
) -> None:
    """Take unused arguments and these results out of a function and, where layers repeat it, out of its callers.

    In a repeated function they must be `each` arguments and results that are inputs and outputs of the caller.
    """
    for call in calls:
        count = call.count.value.data
        caller = call.parent_op()
        assert isinstance(caller, FuncOp)
        skip = len(call.carried) + len(call.shared)
        dropped = {a - skip for a in arguments}
        gone = {r - len(call.carried_out) for r in results}
        each = [value for i, value in enumerate(call.each) if i // count not in dropped]
        kept = [value for i, value in enumerate(call.each_out) if i // count not in gone]
        lost = [value for i, value in enumerate(call.each_out) if i // count in gone]
        outer_results = {use.index for value in lost for use in value.uses}
        outer_arguments = {
            index
            for i, value in enumerate(call.each)
            if i // count in dropped and (index := argument_index(value, caller)) is not None
        }
        _drop_results(caller, outer_results)
        new = RepeatOp.build(
            operands=[list(call.carried), list(call.shared), each],
            properties={"callee": call.callee, "count": call.count},
            result_types=[[v.type for v in call.carried_out], [v.type for v in kept]],
            attributes=dict(call.attributes),
        )
        copy_location(new, call)
        replaced: list[SSAValue | None] = [*new.carried_out]
        position = iter(new.each_out)
        replaced += [None if i // count in gone else next(position) for i in range(len(call.each_out))]
        replace(call, [new], replaced)
        _drop_arguments(caller, outer_arguments)
    _drop_results(function, results)
    _drop_arguments(function, arguments)


def drop_unused_shared(function: FuncOp, calls: Sequence[RepeatOp]) -> bool:
    """Take shared arguments that nothing uses out of a repeated function and its callers; whether there were any."""
    if not calls:
        return False
    first, size = len(calls[0].carried), len(calls[0].shared)
    block = entry_block(function)
    unused = {i for i in range(size) if not block.args[first + i].uses}
    if not unused:
        return False
    for call in calls:
        with_shared(call, [value for i, value in enumerate(call.shared) if i not in unused])
    _drop_arguments(function, {first + i for i in unused})
    return True


def with_shared(call: RepeatOp, shared: Sequence[SSAValue]) -> RepeatOp:
    """Replace a repeat by one with these shared operands."""
    new = RepeatOp.build(
        operands=[list(call.carried), list(shared), list(call.each)],
        properties={"callee": call.callee, "count": call.count},
        result_types=[[v.type for v in call.carried_out], [v.type for v in call.each_out]],
        attributes=dict(call.attributes),
    )
    replace(call, [new])
    return new


def _drop_results(function: FuncOp, results: Collection[int]) -> None:
    old = terminator(function)
    kept = [value for i, value in enumerate(old.operands) if i not in results]
    replace(old, [ReturnOp(*kept)], [])
    _drop_names(function, OUTPUT_NAMES, results)
    function.update_function_type()


def _drop_arguments(function: FuncOp, arguments: Collection[int]) -> None:
    block = entry_block(function)
    for index in sorted(arguments, reverse=True):
        block.erase_arg(block.args[index])
    _drop_names(function, INPUT_NAMES, arguments)
    function.update_function_type()


def _drop_names(function: FuncOp, attribute: str, positions: Collection[int]) -> None:
    names = port_names(function, attribute)
    if names:
        kept = [StringAttr(name) for i, name in enumerate(names) if i not in positions]
        function.attributes[attribute] = ArrayAttr(kept)
