// RUN: place-weights --groups 1
// A placement is a table that the IR names by the hash of its content: units 0 and 3 here, by sha256sum of "int64(2,)"
// and the little-endian numbers.
builtin.module {
  "imc.weight"() <{sym_name = "wide", type = tensor<4x10xf32>, tensors = ["wide.0", "wide.1"], mapping = {engine = "m", transposed = false, split = {rows = {array = 1 : i64}, columns = {array = 3 : i64}}, tiles = [1 : i64, 3 : i64], tile = [4 : i64, 4 : i64], units = 3 : i64, units_per_group = 6 : i64, within_group = true, bytes = 160 : i64, padded_bytes = 192 : i64, unit_name = "array", group_name = "chip"}}> : () -> ()
  func.func @main(%x : tensor<2x4xf32>) -> tensor<2x4xf32> {
    %0 = "imc.repeat"(%x) <{callee = @layer, count = 2 : i64, operandSegmentSizes = array<i32: 1, 0, 0>, resultSegmentSizes = array<i32: 1, 0>}> : (tensor<2x4xf32>) -> tensor<2x4xf32>
    func.return %0 : tensor<2x4xf32>
  }
  func.func @layer(%x : tensor<2x4xf32>) -> tensor<2x4xf32> {
    %w = "imc.use"() <{weight = @wide}> : () -> tensor<4x10xf32>
    %y = "llm.linear"(%x, %w) <{transposed = false, operandSegmentSizes = array<i32: 1, 1, 0, 0, 0>}> {engine = "m"} : (tensor<2x4xf32>, tensor<4x10xf32>) -> tensor<2x10xf32>
    func.return %x : tensor<2x4xf32>
  }
}
// CHECK: sym_name = "wide", {{.*}}, group_name = "chip", placement = "c4a0cdb357585828", groups = 1 : i64}}>
// -----
// Twice five arrays don't fit one chip of six.
builtin.module {
  "imc.weight"() <{sym_name = "wide", type = tensor<4x20xf32>, tensors = ["wide.0", "wide.1"], mapping = {engine = "m", transposed = false, split = {rows = {array = 1 : i64}, columns = {array = 5 : i64}}, tiles = [1 : i64, 5 : i64], tile = [4 : i64, 4 : i64], units = 5 : i64, units_per_group = 6 : i64, within_group = true, bytes = 320 : i64, padded_bytes = 320 : i64, unit_name = "array", group_name = "chip"}}> : () -> ()
  func.func @main(%x : tensor<2x4xf32>) -> tensor<2x4xf32> {
    %0 = "imc.repeat"(%x) <{callee = @layer, count = 2 : i64, operandSegmentSizes = array<i32: 1, 0, 0>, resultSegmentSizes = array<i32: 1, 0>}> : (tensor<2x4xf32>) -> tensor<2x4xf32>
    func.return %0 : tensor<2x4xf32>
  }
  func.func @layer(%x : tensor<2x4xf32>) -> tensor<2x4xf32> {
    %w = "imc.use"() <{weight = @wide}> : () -> tensor<4x20xf32>
    %y = "llm.linear"(%x, %w) <{transposed = false, operandSegmentSizes = array<i32: 1, 1, 0, 0, 0>}> {engine = "m", nodes = ["up.0", "up.1"]} : (tensor<2x4xf32>, tensor<4x20xf32>) -> tensor<2x20xf32>
    func.return %x : tensor<2x4xf32>
  }
}
// CHECK: error[CB0311]: weights do not fit the arrays of 1 chip (--chips 1)
// CHECK-NEXT: --> toy.onnx: up.1   (1x5 tiles of 4x4)
// CHECK-NEXT: needs 5 arrays; toy has 6 a chip, 1 free in the last one
// CHECK-NEXT: --chips auto        (2 chips for the weights)
