// RUN: raise-softmax
// The function of Softmax; a quotient by the sum of other powers stays.
builtin.module {
  func.func @main(%x: tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>, %z: tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>) -> (tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>, tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>) {
    %0 = "onnx.ReduceMax"(%x) <{axes = [-1 : i64], keepdims = 1 : i64}> {version = 13 : i64} : (tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>) -> tensor<?x?x1xf32, #onnx.dims<["batch", "seq", "1"]>>
    %1 = "onnx.Sub"(%x, %0) {version = 14 : i64} : (tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>, tensor<?x?x1xf32, #onnx.dims<["batch", "seq", "1"]>>) -> tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>
    %2 = "onnx.Exp"(%1) {version = 13 : i64} : (tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>) -> tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>
    %3 = "onnx.ReduceSum"(%2) <{axes = [-1 : i64], keepdims = 1 : i64}> {version = 11 : i64} : (tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>) -> tensor<?x?x1xf32, #onnx.dims<["batch", "seq", "1"]>>
    %4 = "onnx.Div"(%2, %3) {version = 14 : i64} : (tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>, tensor<?x?x1xf32, #onnx.dims<["batch", "seq", "1"]>>) -> tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>
    %5 = "onnx.Exp"(%z) {version = 13 : i64} : (tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>) -> tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>
    %6 = "onnx.Div"(%5, %3) {version = 14 : i64} : (tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>, tensor<?x?x1xf32, #onnx.dims<["batch", "seq", "1"]>>) -> tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>
    func.return %4, %6 : tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>, tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>
  }
}
// CHECK: "onnx.Softmax"(%x) <{axis = 2 : i64}>
// CHECK: "onnx.Div"
