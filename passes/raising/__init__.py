"""Raising: from ONNX operators to what a transformer is made of, one pass per construct."""

from __future__ import annotations

from xdsl.passes import ModulePass

from crossbank.passes.raising.decompose_fused import DecomposeFusedPass
from crossbank.passes.raising.drop_identities import DropIdentitiesPass
from crossbank.passes.raising.eliminate_dead import EliminateDeadPass
from crossbank.passes.raising.hoist_invariants import HoistInvariantsPass
from crossbank.passes.raising.merge_equal import MergeEqualPass
from crossbank.passes.raising.note_recognised import NoteRecognisedPass
from crossbank.passes.raising.raise_activation import RaiseActivationPass
from crossbank.passes.raising.raise_attention import RaiseAttentionPass
from crossbank.passes.raising.raise_cache import RaiseCachePass
from crossbank.passes.raising.raise_embedding import RaiseEmbeddingPass
from crossbank.passes.raising.raise_experts import RaiseExpertsPass
from crossbank.passes.raising.raise_linear import RaiseLinearPass
from crossbank.passes.raising.raise_mlp import RaiseMlpPass
from crossbank.passes.raising.raise_norm import RaiseNormPass
from crossbank.passes.raising.raise_quantised import RaiseQuantisedPass
from crossbank.passes.raising.raise_rotary import RaiseRotaryPass
from crossbank.passes.raising.raise_softmax import RaiseSoftmaxPass

PASSES: tuple[type[ModulePass], ...] = (
    EliminateDeadPass,
    DropIdentitiesPass,
    MergeEqualPass,
    RaiseEmbeddingPass,
    DecomposeFusedPass,
    RaiseSoftmaxPass,
    RaiseQuantisedPass,
    RaiseExpertsPass,
    RaiseLinearPass,
    RaiseNormPass,
    RaiseRotaryPass,
    RaiseAttentionPass,
    RaiseCachePass,
    RaiseActivationPass,
    RaiseMlpPass,
    HoistInvariantsPass,
    DropIdentitiesPass,
    MergeEqualPass,
    EliminateDeadPass,
    NoteRecognisedPass,
)
