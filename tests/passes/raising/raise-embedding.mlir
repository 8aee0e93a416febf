// RUN: raise-embedding
// Rows of a static table; a Gather of computed values stays.
builtin.module {
  "imc.weight"() <{sym_name = "table", type = tensor<512x8xf32>, tensors = ["table"]}> : () -> ()
  func.func @main(%ids: tensor<?x?xi64, #onnx.dims<["batch", "seq"]>>, %i: tensor<?xi64, #onnx.dims<["seq"]>>) -> (tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>, tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>) {
    %0 = "imc.use"() <{weight = @table}> : () -> tensor<512x8xf32>
    %1 = "onnx.Gather"(%0, %ids) <{axis = 0 : i64}> {version = 18 : i64} : (tensor<512x8xf32>, tensor<?x?xi64, #onnx.dims<["batch", "seq"]>>) -> tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>
    %2 = "onnx.Gather"(%1, %i) <{axis = 1 : i64}> {version = 18 : i64} : (tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>, tensor<?xi64, #onnx.dims<["seq"]>>) -> tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>
    func.return %1, %2 : tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>, tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>
  }
}
// CHECK: [[T:%.*]] = "imc.use"() <{weight = @table}>
// CHECK-NEXT: [[Y:%.*]] = "llm.embedding"([[T]], %ids)
// CHECK-SAME: (tensor<512x8xf32>, tensor<?x?xi64, #onnx.dims<["batch", "seq"]>>)
// CHECK-NEXT: %{{.*}} = "onnx.Gather"([[Y]], %i)
