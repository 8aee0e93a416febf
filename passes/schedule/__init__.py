"""The passes of phase schedule, in order."""

from crossbank.passes.schedule.allocate_buffers import AllocateBuffersPass
from crossbank.passes.schedule.forward_copies import ForwardCopiesPass
from crossbank.passes.schedule.insert_tokens import InsertTokensPass

PASSES = (ForwardCopiesPass, AllocateBuffersPass, InsertTokensPass)
