// RUN: eliminate-dead
// What nothing uses goes, and the weight that only it read.
builtin.module {
  "imc.weight"() <{sym_name = "w", type = tensor<8xf32>, tensors = ["w"]}> : () -> ()
  "imc.weight"() <{sym_name = "v", type = tensor<8xf32>, tensors = ["v"]}> : () -> ()
  func.func @main(%x: tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>) -> tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>> {
    %0 = "imc.use"() <{weight = @w}> : () -> tensor<8xf32>
    %1 = "imc.use"() <{weight = @v}> : () -> tensor<8xf32>
    %2 = "onnx.Neg"(%x) {version = 18 : i64} : (tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>) -> tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>
    %3 = "onnx.Sqrt"(%2) {version = 18 : i64} : (tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>) -> tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>
    %4 = "onnx.Mul"(%x, %0) {version = 18 : i64} : (tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>, tensor<8xf32>) -> tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>
    func.return %4 : tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>
  }
}
// CHECK: sym_name = "w"
// CHECK-NEXT: "func.func"
// CHECK-NOT: onnx.Neg
// CHECK-NOT: onnx.Sqrt
// CHECK: "onnx.Mul"
