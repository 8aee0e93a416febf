// RUN: drop-identities, eliminate-dead
// All that leaves x as it is goes; two reshapes become one; a reversal stays.
builtin.module {
  func.func @main(%x: tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>, %z: tensor<?x0x8xf32, #onnx.dims<["batch", "0", "8"]>>) -> (tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>, tensor<?x?x2x4xf32, #onnx.dims<["batch", "seq", "2", "4"]>>, tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>) {
    %0 = "onnx.Identity"(%x) {version = 18 : i64} : (tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>) -> tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>
    %1 = "onnx.Cast"(%0) <{to = 1 : i64}> {version = 18 : i64} : (tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>) -> tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>
    %2 = "onnx.Constant"() <{value = dense<1.000000e+00> : tensor<f32>}> {version = 18 : i64} : () -> tensor<f32>
    %3 = "onnx.Mul"(%1, %2) {version = 18 : i64} : (tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>, tensor<f32>) -> tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>
    %4 = "onnx.dims_value"() <{value = ["batch", "seq", "8"]}> : () -> tensor<3xi64>
    %5 = "onnx.Reshape"(%3, %4) {version = 18 : i64} : (tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>, tensor<3xi64>) -> tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>
    %6 = "onnx.Constant"() <{value = dense<0> : tensor<1xi64>}> {version = 18 : i64} : () -> tensor<1xi64>
    %7 = "onnx.dims_value"() <{value = ["seq"]}> : () -> tensor<1xi64>
    %8 = "onnx.Constant"() <{value = dense<1> : tensor<1xi64>}> {version = 18 : i64} : () -> tensor<1xi64>
    %9 = "onnx.Slice"(%5, %6, %7, %8) <{operandSegmentSizes = array<i32: 1, 1, 1, 1, 0>}> {version = 18 : i64} : (tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>) -> tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>
    %10 = "onnx.Concat"(%z, %9) <{axis = 1 : i64}> {version = 18 : i64} : (tensor<?x0x8xf32, #onnx.dims<["batch", "0", "8"]>>, tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>) -> tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>
    %11 = "onnx.dims_value"() <{value = ["batch", "seq", "8"]}> : () -> tensor<3xi64>
    %12 = "onnx.Expand"(%10, %11) {version = 18 : i64} : (tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>, tensor<3xi64>) -> tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>
    %13 = "onnx.Transpose"(%12) <{perm = [2 : i64, 1 : i64, 0 : i64]}> {version = 18 : i64} : (tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>) -> tensor<8x?x?xf32, #onnx.dims<["8", "seq", "batch"]>>
    %14 = "onnx.Transpose"(%13) <{perm = [2 : i64, 1 : i64, 0 : i64]}> {version = 18 : i64} : (tensor<8x?x?xf32, #onnx.dims<["8", "seq", "batch"]>>) -> tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>
    %15 = "onnx.dims_value"() <{value = ["batch*seq", "8"]}> : () -> tensor<2xi64>
    %16 = "onnx.Reshape"(%x, %15) {version = 18 : i64} : (tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>, tensor<2xi64>) -> tensor<?x8xf32, #onnx.dims<["batch*seq", "8"]>>
    %17 = "onnx.dims_value"() <{value = ["batch", "seq", "2", "4"]}> : () -> tensor<4xi64>
    %18 = "onnx.Reshape"(%16, %17) {version = 18 : i64} : (tensor<?x8xf32, #onnx.dims<["batch*seq", "8"]>>, tensor<4xi64>) -> tensor<?x?x2x4xf32, #onnx.dims<["batch", "seq", "2", "4"]>>
    %19 = "onnx.Constant"() <{value = dense<-1> : tensor<1xi64>}> {version = 18 : i64} : () -> tensor<1xi64>
    %20 = "onnx.Constant"() <{value = dense<-9223372036854775808> : tensor<1xi64>}> {version = 18 : i64} : () -> tensor<1xi64>
    %21 = "onnx.Constant"() <{value = dense<2> : tensor<1xi64>}> {version = 18 : i64} : () -> tensor<1xi64>
    %22 = "onnx.Constant"() <{value = dense<-1> : tensor<1xi64>}> {version = 18 : i64} : () -> tensor<1xi64>
    %23 = "onnx.Slice"(%x, %19, %20, %21, %22) <{operandSegmentSizes = array<i32: 1, 1, 1, 1, 1>}> {version = 18 : i64} : (tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>) -> tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>
    func.return %14, %18, %23 : tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>, tensor<?x?x2x4xf32, #onnx.dims<["batch", "seq", "2", "4"]>>, tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>
  }
}
// CHECK: ^bb0(%x: {{.*}}, %z: {{.*}}):
// CHECK-NEXT: [[D:%.*]] = "onnx.dims_value"() <{value = ["batch", "seq", "2", "4"]}>
// CHECK-NEXT: [[R:%.*]] = "onnx.Reshape"(%x, [[D]])
// CHECK: [[S:%.*]] = "onnx.Slice"(%x,
// CHECK-NEXT: "func.return"(%x, [[R]], [[S]])
