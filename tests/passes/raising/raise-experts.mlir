// RUN: raise-experts,drop-identities
// Chosen experts' matrices stay where they are: a product with all of them, of which the chosen one's part is picked.
builtin.module {
  "imc.weight"() <{sym_name = "w", type = tensor<4x6x8xf32>, tensors = ["w"]}> : () -> ()
  func.func @main(%x : tensor<?x8x1xf32, #onnx.dims<["n", "8", "1"]>>, %ids : tensor<?xi64, #onnx.dims<["n"]>>) -> (tensor<?x6x1xf32, #onnx.dims<["n", "6", "1"]>>) {
    %w = "imc.use"() <{weight = @w}> : () -> tensor<4x6x8xf32>
    %0 = "onnx.Gather"(%w, %ids) <{axis = 0 : i64}> {version = 13 : i64} : (tensor<4x6x8xf32>, tensor<?xi64, #onnx.dims<["n"]>>) -> tensor<?x6x8xf32, #onnx.dims<["n", "6", "8"]>>
    %1 = "onnx.MatMul"(%0, %x) {version = 13 : i64} : (tensor<?x6x8xf32, #onnx.dims<["n", "6", "8"]>>, tensor<?x8x1xf32, #onnx.dims<["n", "8", "1"]>>) -> tensor<?x6x1xf32, #onnx.dims<["n", "6", "1"]>>
    func.return %1 : tensor<?x6x1xf32, #onnx.dims<["n", "6", "1"]>>
  }
}
// CHECK: tensors = ["w.float32.24x8"]
// CHECK: [[W:%.*]] = "imc.use"() <{weight = @w.float32.24x8}>
// CHECK: [[Y:%.*]] = "llm.linear"({{%.*}}, [[W]]) <{transposed = true
// CHECK-SAME: -> tensor<?x24xf32, #onnx.dims<["n", "24"]>>
// CHECK: "onnx.GatherND"({{%.*}}, {{%.*}}) <{batch_dims = 1 : i64}>
// CHECK-NOT: MatMul
// -----
// Each expert with its own rows is a product with a part of the stack.
builtin.module {
  "imc.weight"() <{sym_name = "w", type = tensor<2x8x6xf32>, tensors = ["w"]}> : () -> ()
  func.func @main(%x : tensor<2x?x8xf32, #onnx.dims<["2", "n", "8"]>>) -> (tensor<2x?x6xf32, #onnx.dims<["2", "n", "6"]>>) {
    %w = "imc.use"() <{weight = @w}> : () -> tensor<2x8x6xf32>
    %0 = "onnx.MatMul"(%x, %w) {version = 13 : i64} : (tensor<2x?x8xf32, #onnx.dims<["2", "n", "8"]>>, tensor<2x8x6xf32>) -> tensor<2x?x6xf32, #onnx.dims<["2", "n", "6"]>>
    func.return %0 : tensor<2x?x6xf32, #onnx.dims<["2", "n", "6"]>>
  }
}
// CHECK-DAG: tensors = ["w.0"]
// CHECK-DAG: tensors = ["w.1"]
// CHECK-COUNT-2: "llm.linear"
// CHECK: "onnx.Concat"
