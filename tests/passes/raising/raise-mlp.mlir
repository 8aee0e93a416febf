// RUN: raise-activation, raise-mlp
// An activation times another value; one that is used elsewhere too stays.
builtin.module {
  func.func @main(%g: tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>, %u: tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>) -> (tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>, tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>, tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>) {
    %0 = "onnx.Sigmoid"(%g) {version = 18 : i64} : (tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>) -> tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>
    %1 = "onnx.Mul"(%g, %0) {version = 18 : i64} : (tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>, tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>) -> tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>
    %2 = "onnx.Mul"(%u, %1) {version = 18 : i64} : (tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>, tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>) -> tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>
    %3 = "onnx.Relu"(%g) {version = 18 : i64} : (tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>) -> tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>
    %4 = "onnx.Mul"(%3, %u) {version = 18 : i64} : (tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>, tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>) -> tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>
    func.return %2, %4, %3 : tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>, tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>, tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>
  }
}
// CHECK: "llm.gated"(%g, %u) <{activation = "silu"}>
// CHECK-NEXT: [[R:%.*]] = "llm.activation"(%g) <{activation = "relu"}>
// CHECK-NEXT: "onnx.Mul"([[R]], %u)
