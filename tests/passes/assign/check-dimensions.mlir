// RUN: check-dimensions
// Dimensions of arguments, and expressions of them, are bound.
builtin.module {
  func.func @main(%x : tensor<?x4xf32, #onnx.dims<["n", "4"]>>) -> tensor<?xf32, #onnx.dims<["n*4"]>> {
    %s = "onnx.dims_value"() <{value = ["n*4"]}> : () -> tensor<1xi64>
    %y = "onnx.Reshape"(%x, %s) {version = 18 : i64} : (tensor<?x4xf32, #onnx.dims<["n", "4"]>>, tensor<1xi64>) -> tensor<?xf32, #onnx.dims<["n*4"]>>
    func.return %y : tensor<?xf32, #onnx.dims<["n*4"]>>
  }
}
// CHECK: "onnx.Reshape"
// -----
// A length that depends on data is not.
builtin.module {
  func.func @main(%x : tensor<?xf32, #onnx.dims<["n"]>>) -> tensor<1x?xi64, #onnx.dims<["1", "data_y_0"]>> {
    %y = "onnx.NonZero"(%x) {version = 18 : i64} : (tensor<?xf32, #onnx.dims<["n"]>>) -> tensor<1x?xi64, #onnx.dims<["1", "data_y_0"]>> loc("found")
    func.return %y : tensor<1x?xi64, #onnx.dims<["1", "data_y_0"]>>
  }
}
// CHECK: error[CB0115]: 1 dimension can't be bound: no shape of an input says what they are
// CHECK-NEXT: found: data_y_0
