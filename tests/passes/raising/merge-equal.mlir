// RUN: merge-equal
// Equal operations become one; those with other attributes stay.
builtin.module {
  "imc.weight"() <{sym_name = "w", type = tensor<8xf32>, tensors = ["w"]}> : () -> ()
  func.func @main(%x: tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>) -> (tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>, tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>, tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>) {
    %0 = "imc.use"() <{weight = @w}> : () -> tensor<8xf32>
    %1 = "onnx.Mul"(%x, %0) {version = 18 : i64} : (tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>, tensor<8xf32>) -> tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>
    %2 = "imc.use"() <{weight = @w}> : () -> tensor<8xf32>
    %3 = "onnx.Mul"(%x, %2) {version = 18 : i64} : (tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>, tensor<8xf32>) -> tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>
    %4 = "onnx.Softmax"(%1) <{axis = -1 : i64}> {version = 18 : i64} : (tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>) -> tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>
    %5 = "onnx.Softmax"(%3) <{axis = -1 : i64}> {version = 18 : i64} : (tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>) -> tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>
    %6 = "onnx.Softmax"(%3) <{axis = 1 : i64}> {version = 18 : i64} : (tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>) -> tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>
    func.return %4, %5, %6 : tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>, tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>, tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>
  }
}
// CHECK: [[M:%.*]] = "onnx.Mul"
// CHECK-NEXT: [[A:%.*]] = "onnx.Softmax"([[M]]) <{axis = -1 : i64}>
// CHECK-NEXT: [[B:%.*]] = "onnx.Softmax"([[M]]) <{axis = 1 : i64}>
// CHECK-NEXT: "func.return"([[A]], [[A]], [[B]])
