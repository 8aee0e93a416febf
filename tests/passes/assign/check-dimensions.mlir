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
// So is the length of a cache on the device.
builtin.module {
  "llm.cache"() <{sym_name = "cache0", key_value_heads = 2 : i64, head_dim = 4 : i64, dtype = "float32", batch = "batch", past = "past", new = "seq", keys_in = ["pk"], keys_out = ["ck"], values_in = ["pv"], values_out = ["cv"]}> : () -> ()
  func.func @main(%x : tensor<?xf32, #onnx.dims<["seq"]>>) -> tensor<?xf32, #onnx.dims<["past + seq"]>> {
    %s = "onnx.dims_value"() <{value = ["past + seq"]}> : () -> tensor<1xi64>
    %y = "onnx.Expand"(%x, %s) {version = 18 : i64} : (tensor<?xf32, #onnx.dims<["seq"]>>, tensor<1xi64>) -> tensor<?xf32, #onnx.dims<["past + seq"]>>
    func.return %y : tensor<?xf32, #onnx.dims<["past + seq"]>>
  }
}
// CHECK: "onnx.Expand"
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
