"""Sessions: feeds to results as the ONNX file's, every kind of bad feed, and generation."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import numpy as np
import pytest

from crossbank.runtime.program import ProgramError
from crossbank.runtime.registry import extra_sets
from crossbank.runtime.session import Argument, Session
from crossbank.runtime.tensors import TensorStore
from tests.runtime.toy_model import CONTEXT, MODEL, VOCABULARY, program, reference


@pytest.fixture(autouse=True)
def model_set() -> Generator[None]:
    with extra_sets(MODEL):
        yield


def session(cache: str = "device") -> Session:
    return Session(program(cache), TensorStore())


def feeds(ids: list[list[int]], past: list[list[int]] | None = None) -> dict[str, np.ndarray[Any, Any]]:
    new = np.array(ids, np.int64).reshape(len(ids), -1)
    old = np.array(past or [[] for _ in ids], np.int64).reshape(len(ids), 1, -1)
    total = old.shape[2] + new.shape[1]
    positions = np.tile(np.arange(old.shape[2], total), (len(ids), 1))
    return {
        "input_ids": new,
        "attention_mask": np.ones((len(ids), total), np.int64),
        "position_ids": positions,
        "past_key_values.0.key": old,
    }


def logits_of(totals: list[list[int]]) -> np.ndarray[Any, Any]:
    return np.eye(VOCABULARY, dtype=np.float32)[np.array(totals) % VOCABULARY]


@pytest.mark.parametrize("cache", ["device", "fed"])
def test_run_takes_and_returns_the_files_tensors(cache: str) -> None:
    s = session(cache)
    logits, present = s.run(None, feeds([[1, 2], [3, 4]]))
    np.testing.assert_array_equal(logits, logits_of([[1, 4], [3, 8]]))
    np.testing.assert_array_equal(present, [[[1, 2]], [[3, 4]]])
    logits, present = s.run(None, feeds([[5], [6]], [[1, 2], [3, 4]]))
    np.testing.assert_array_equal(logits, logits_of([[10], [15]]))
    np.testing.assert_array_equal(present, [[[1, 2, 5]], [[3, 4, 6]]])
    logits, present = s.run(None, feeds([[5]], [[9, 9, 9]]))
    np.testing.assert_array_equal(logits, logits_of([[35]]))


def test_outputs_by_name_in_the_order_asked() -> None:
    present, logits = session().run(["present.0.key", "logits"], feeds([[4]]))
    np.testing.assert_array_equal(present, [[[4]]])
    np.testing.assert_array_equal(logits, logits_of([[4]]))
    assert len(session().run(["logits"], feeds([[4]]))) == 1
    assert len(session().run([], feeds([[4]]))) == 2


def test_an_empty_step_works() -> None:
    logits, present = session().run(None, feeds([[]], [[3]]))
    assert logits.shape == (1, 0, VOCABULARY)
    np.testing.assert_array_equal(present, [[[3]]])


def test_arguments_are_described_as_onnxruntime_does() -> None:
    code = program()
    code.summary = {"input_names": ["past_key_values.0.key", "position_ids", "attention_mask", "input_ids"]}
    s = Session(code, TensorStore())
    assert s.inputs[0] == Argument("past_key_values.0.key", ["batch", 1, "past"], "tensor(int64)")
    assert [a.name for a in s.get_inputs()] == code.summary["input_names"]
    assert s.get_outputs()[0] == Argument("logits", ["batch", "sequence", VOCABULARY], "tensor(float)")


def _changed(**changes: Any) -> dict[str, Any]:
    given: dict[str, Any] = feeds([[1, 2]], [[3]])
    for name, value in changes.items():
        given.pop(name, None)
        if value is not None:
            given[name] = value
    return given


@pytest.mark.parametrize(
    ("given", "code", "text"),
    [
        (_changed(input_idx=np.zeros(1)), "CB0602", "did you mean 'input_ids'?"),
        (_changed(position_ids=None), "CB0603", "input position_ids is missing"),
        (
            _changed(input_ids=np.zeros((1, 2), np.int32)),
            "CB0604",
            "input input_ids is int32, the program expects int64",
        ),
        (_changed(input_ids=np.zeros(2, np.int64)), "CB0601", "[2], the program expects [batch, sequence]"),
        (
            _changed(attention_mask=np.zeros((1, 7), np.int64)),
            "CB0601",
            "input attention_mask has shape [1, 7], the program expects [batch, past + sequence] = [1, 3]",
        ),
        (feeds([[1]], [[0] * CONTEXT]), "CB0605", "16 past and 1 new tokens are more than the context of 16"),
        (_changed(input_ids=[[1, 2], [3]]), "CB0601", "input input_ids is no array"),
        (feeds([[1]] * 3), "CB0606", "a batch of 3 is more than the 2"),
    ],
)
def test_bad_feeds_say_what_is_wrong(given: dict[str, Any], code: str, text: str) -> None:
    with pytest.raises(ProgramError) as caught:
        session().run(None, given)
    assert caught.value.code == code
    assert caught.value.help
    assert text in str(caught.value)


def test_an_unknown_output_suggests_a_name() -> None:
    with pytest.raises(ProgramError, match="no output 'logit'") as caught:
        session().run(["logit"], feeds([[1]]))
    assert (caught.value.code, caught.value.help) == ("CB0607", "did you mean 'logits'?")


@pytest.mark.parametrize("cache", ["device", "fed", "none"])
def test_generate_decodes_greedily(cache: str) -> None:
    s = session(cache)
    np.testing.assert_array_equal(s.generate([1, 2, 3], 8), reference([1, 2, 3], 8))
    batch = s.generate(np.array([[4, 5], [6, 7]]), 5)
    np.testing.assert_array_equal(batch, [reference([4, 5], 5), reference([6, 7], 5)])
    assert s.generate([1], 0).shape == (0,)
    assert s.generate([1, 2], CONTEXT - 1).shape == (CONTEXT - 1,)


def test_generate_stops_at_the_end_token() -> None:
    expected = reference([1, 2, 3], 9)
    assert session().generate([1, 2, 3], 9, eos=expected[3]).tolist() == expected[: expected.index(expected[3]) + 1]
    rows = [reference([1, 2], 9), reference([3, 9], 9)]
    end = rows[0][1]
    stop = rows[0].index(end) + 1
    batch = session().generate([[1, 2], [3, 9]], 9, eos=[end])
    assert set(batch[0, stop:].tolist()) <= {end}
    last = rows[1].index(end) + 1 if end in rows[1] else 9
    assert batch[1, :last].tolist() == rows[1][:last]


@pytest.mark.parametrize("cache", ["device", "none"])
@pytest.mark.parametrize(
    ("prompt", "count", "code"),
    [
        ([1, 2], CONTEXT, "CB0605"),
        ([1] * (CONTEXT + 1), 1, "CB0605"),
        ([[1], [1], [1]], 1, "CB0606"),
        ([], 3, "CB0610"),
        ([0.5], 3, "CB0610"),
        ([[1, 2], [3]], 3, "CB0610"),
    ],
)
def test_generate_refuses_what_does_not_fit(cache: str, prompt: Any, count: int, code: str) -> None:
    with pytest.raises(ProgramError) as caught:
        session(cache).generate(prompt, count)
    assert caught.value.code == code


def test_generate_lists_inputs_that_it_can_not_fill() -> None:
    code = program("none")
    main = code.functions["main"]
    extra = type(main.inputs[0])("pixels", "float32", main.inputs[0].shape, main.inputs[0].address)
    code.functions["main"] = type(main)("main", "main", (*main.inputs, extra), main.outputs)
    with pytest.raises(ProgramError, match="generation can't fill input pixels") as caught:
        Session(code, TensorStore()).generate([1], 1)
    assert caught.value.code == "CB0609"


def test_generation_notices_that_its_cache_is_gone() -> None:
    """A run between two tokens leaves its own past on the device."""
    s = session()
    tokens = s.stream([1, 2, 3], 4)
    next(tokens)
    s.run(None, feeds([[5]]))
    with pytest.raises(ProgramError, match="CB0612"):
        next(tokens)


@pytest.mark.parametrize("seed", [-1, 1 << 64, "a", 1.5])
def test_a_seed_is_an_integer_of_64_bits(seed: Any) -> None:
    with pytest.raises(ProgramError, match="CB0611"):
        Session(program(), TensorStore(), seed=seed)


@pytest.mark.parametrize("time_s", [-1.0, float("nan"), float("inf")])
def test_time_counts_from_the_end_of_programming(time_s: float) -> None:
    with pytest.raises(ProgramError, match="CB0611"):
        Session(program(), TensorStore(), time_s=time_s)
