// RUN: assign-engines
// Each operation gets the engine that likes it best; constants, uses and returns need none.
builtin.module {
  "imc.weight"() <{sym_name = "w", type = tensor<4x4xf32>, tensors = ["w"]}> : () -> ()
  func.func @main(%x : tensor<2x4xf32>) -> tensor<2x4xf32> {
    %w = "imc.use"() <{weight = @w}> : () -> tensor<4x4xf32>
    %y = "llm.linear"(%x, %w) <{transposed = false, operandSegmentSizes = array<i32: 1, 1, 0, 0, 0>}> : (tensor<2x4xf32>, tensor<4x4xf32>) -> tensor<2x4xf32>
    %z = "llm.activation"(%y) <{activation = "silu"}> : (tensor<2x4xf32>) -> tensor<2x4xf32>
    func.return %z : tensor<2x4xf32>
  }
}
// CHECK: "imc.use"() <{weight = @w}> : ()
// CHECK-NEXT: "llm.linear"({{.*}}) <{transposed = false, operandSegmentSizes = array<i32: 1, 1, 0, 0, 0>}> {engine = "m"}
// CHECK-NEXT: "llm.activation"({{.*}}) <{activation = "silu"}> {engine = "v"}
// CHECK-NEXT: "func.return"(%{{.*}}) : (
// -----
// What no engine takes is listed with every engine's reason.
builtin.module {
  func.func @main(%x : tensor<4xf32>) -> tensor<4xf32> {
    %a = "onnx.Sin"(%x) {version = 18 : i64} : (tensor<4xf32>) -> tensor<4xf32> loc("sine")
    %b = "onnx.Cos"(%a) {version = 18 : i64} : (tensor<4xf32>) -> tensor<4xf32> loc("cosine")
    func.return %b : tensor<4xf32>
  }
}
// CHECK: error[CB0301]: 2 operations run on no engine of toy:
// CHECK-NEXT: sine (onnx.Sin): v: no instruction for onnx.Sin (teach it); m: only products (use a linear)
// CHECK-NEXT: cosine (onnx.Cos):
