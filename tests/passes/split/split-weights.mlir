// RUN: split-weights
// Matrices whose engine holds them are cut along both sides; a matrix of another engine lies in plain memory.
builtin.module {
  "imc.weight"() <{sym_name = "wide", type = tensor<4x10xf32>, tensors = ["wide.0", "wide.1"]}> : () -> ()
  "imc.weight"() <{sym_name = "turned", type = tensor<4x10xf32>, tensors = ["turned"]}> : () -> ()
  "imc.weight"() <{sym_name = "loose", type = tensor<4x4xf32>, tensors = ["loose"]}> : () -> ()
  func.func @main(%x : tensor<2x4xf32>) -> tensor<2x4xf32> {
    %w = "imc.use"() <{weight = @wide}> : () -> tensor<4x10xf32>
    %t = "imc.use"() <{weight = @turned}> : () -> tensor<4x10xf32>
    %l = "imc.use"() <{weight = @loose}> : () -> tensor<4x4xf32>
    %y = "llm.linear"(%x, %w) <{transposed = false, operandSegmentSizes = array<i32: 1, 1, 0, 0, 0>}> {engine = "m"} : (tensor<2x4xf32>, tensor<4x10xf32>) -> tensor<2x10xf32>
    %z = "llm.linear"(%y, %t) <{transposed = true, operandSegmentSizes = array<i32: 1, 1, 0, 0, 0>}> {engine = "m"} : (tensor<2x10xf32>, tensor<4x10xf32>) -> tensor<2x4xf32>
    %u = "onnx.MatMul"(%z, %l) {version = 18 : i64, engine = "v"} : (tensor<2x4xf32>, tensor<4x4xf32>) -> tensor<2x4xf32>
    func.return %u : tensor<2x4xf32>
  }
}
// CHECK: sym_name = "wide", {{.*}} mapping = {engine = "m", transposed = false, split = {rows = {array = 1 : i64}, columns = {array = 3 : i64}}}}>
// CHECK: sym_name = "turned", {{.*}} mapping = {engine = "m", transposed = true, split = {rows = {array = 3 : i64}, columns = {array = 1 : i64}}}}>
// CHECK: sym_name = "loose", type = tensor<4x4xf32>, tensors = ["loose"]}> :
