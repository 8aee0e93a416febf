// RUN: reduce-partial-sums
// Two row tiles have sums to add, one has none.
builtin.module {
  "imc.weight"() <{sym_name = "tall", type = tensor<8x4xf32>, tensors = ["tall"], mapping = {engine = "m", transposed = false, split = {rows = {array = 2 : i64}, columns = {array = 1 : i64}}, tiles = [2 : i64, 1 : i64], tile = [4 : i64, 4 : i64], units = 2 : i64, units_per_group = 6 : i64, within_group = true, bytes = 128 : i64, padded_bytes = 128 : i64, unit_name = "array", group_name = "chip"}}> : () -> ()
  "imc.weight"() <{sym_name = "flat", type = tensor<4x4xf32>, tensors = ["flat"], mapping = {engine = "m", transposed = false, split = {rows = {array = 1 : i64}, columns = {array = 1 : i64}}, tiles = [1 : i64, 1 : i64], tile = [4 : i64, 4 : i64], units = 1 : i64, units_per_group = 6 : i64, within_group = true, bytes = 64 : i64, padded_bytes = 64 : i64, unit_name = "array", group_name = "chip"}}> : () -> ()
}
// CHECK: sym_name = "tall", {{.*}} group_name = "chip", reduction = "engine"}}>
// CHECK: sym_name = "flat", {{.*}} group_name = "chip"}}>
// -----
// RUN: reduce-partial-sums{where=vector-unit}
// The toy's arrays add their own sums.
builtin.module {
  "imc.weight"() <{sym_name = "tall", type = tensor<8x4xf32>, tensors = ["tall"], mapping = {engine = "m", transposed = false, split = {rows = {array = 2 : i64}, columns = {array = 1 : i64}}, tiles = [2 : i64, 1 : i64], tile = [4 : i64, 4 : i64], units = 2 : i64, units_per_group = 6 : i64, within_group = true, bytes = 128 : i64, padded_bytes = 128 : i64, unit_name = "array", group_name = "chip"}}> : () -> ()
}
// CHECK: error[CB0313]: engine m does not give its 2 partial sums to the vector-unit
// CHECK: help: reduce-partial-sums{where=engine}
// -----
// RUN: reduce-partial-sums{where=host}
builtin.module {
}
// CHECK: error[CB0313]: no place called 'host' adds partial sums
