// RUN: tile-weights
// The tiles of 4x4 that the toy's units take, six units a chip; a weight without engine stays as it is.
builtin.module {
  "imc.weight"() <{sym_name = "wide", type = tensor<4x10xf32>, tensors = ["wide.0", "wide.1"], mapping = {engine = "m", transposed = false, split = {rows = {array = 1 : i64}, columns = {array = 3 : i64}}}}> : () -> ()
  "imc.weight"() <{sym_name = "loose", type = tensor<4x4xf32>, tensors = ["loose"]}> : () -> ()
}
// CHECK: sym_name = "wide", {{.*}} split = {rows = {array = 1 : i64}, columns = {array = 3 : i64}}, tiles = [1 : i64, 3 : i64], tile = [4 : i64, 4 : i64], units = 3 : i64, units_per_group = 6 : i64, within_group = true, bytes = 160 : i64, padded_bytes = 192 : i64, unit_name = "array", group_name = "chip"}}>
// CHECK: sym_name = "loose", type = tensor<4x4xf32>, tensors = ["loose"]}> :
// -----
// What can't be read as a split is refused.
builtin.module {
  "imc.weight"() <{sym_name = "wide", type = tensor<4x10xf32>, tensors = ["wide"], mapping = {engine = "m", transposed = false, split = {depth = {array = 2 : i64}}}}> : () -> ()
}
// CHECK: error[CB0314]: {depth = {array = 2 : i64}} is no split
// CHECK: write it as {columns = {channel = 32 : i64, bank = 16 : i64}}
