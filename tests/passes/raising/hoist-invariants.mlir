// RUN: hoist-invariants, eliminate-dead
// Work on shared operands alone moves before the layers; the operand that only it needed goes.
builtin.module {
  func.func @layer0(%x: tensor<?x?x64xf32, #onnx.dims<["batch", "seq", "64"]>>, %mask: tensor<?x1x?x?xf32, #onnx.dims<["batch", "1", "seq", "past + seq"]>>) -> tensor<?x?x64xf32, #onnx.dims<["batch", "seq", "64"]>> {
    %0 = "onnx.Cast"(%mask) <{to = 9 : i64}> {version = 18 : i64} : (tensor<?x1x?x?xf32, #onnx.dims<["batch", "1", "seq", "past + seq"]>>) -> tensor<?x1x?x?xi1, #onnx.dims<["batch", "1", "seq", "past + seq"]>>
    %1 = "onnx.Constant"() <{value = dense<0.000000e+00> : tensor<f32>}> {version = 18 : i64} : () -> tensor<f32>
    %2 = "onnx.Constant"() <{value = dense<-1.000000e+30> : tensor<f32>}> {version = 18 : i64} : () -> tensor<f32>
    %3 = "onnx.Where"(%0, %1, %2) {version = 18 : i64} : (tensor<?x1x?x?xi1, #onnx.dims<["batch", "1", "seq", "past + seq"]>>, tensor<f32>, tensor<f32>) -> tensor<?x1x?x?xf32, #onnx.dims<["batch", "1", "seq", "past + seq"]>>
    %4 = "onnx.Add"(%3, %mask) {version = 18 : i64} : (tensor<?x1x?x?xf32, #onnx.dims<["batch", "1", "seq", "past + seq"]>>, tensor<?x1x?x?xf32, #onnx.dims<["batch", "1", "seq", "past + seq"]>>) -> tensor<?x1x?x?xf32, #onnx.dims<["batch", "1", "seq", "past + seq"]>>
    %5 = "onnx.ReduceSum"(%4) <{keepdims = 0 : i64}> {version = 18 : i64} : (tensor<?x1x?x?xf32, #onnx.dims<["batch", "1", "seq", "past + seq"]>>) -> tensor<f32>
    %6 = "onnx.Add"(%x, %5) {version = 18 : i64} : (tensor<?x?x64xf32, #onnx.dims<["batch", "seq", "64"]>>, tensor<f32>) -> tensor<?x?x64xf32, #onnx.dims<["batch", "seq", "64"]>>
    func.return %6 : tensor<?x?x64xf32, #onnx.dims<["batch", "seq", "64"]>>
  }
  func.func @main(%x: tensor<?x?x64xf32, #onnx.dims<["batch", "seq", "64"]>>, %mask: tensor<?x1x?x?xf32, #onnx.dims<["batch", "1", "seq", "past + seq"]>>) -> tensor<?x?x64xf32, #onnx.dims<["batch", "seq", "64"]>> {
    %0 = "imc.repeat"(%x, %mask) <{callee = @layer0, count = 3 : i64, operandSegmentSizes = array<i32: 1, 1, 0>, resultSegmentSizes = array<i32: 1, 0>}> : (tensor<?x?x64xf32, #onnx.dims<["batch", "seq", "64"]>>, tensor<?x1x?x?xf32, #onnx.dims<["batch", "1", "seq", "past + seq"]>>) -> tensor<?x?x64xf32, #onnx.dims<["batch", "seq", "64"]>>
    func.return %0 : tensor<?x?x64xf32, #onnx.dims<["batch", "seq", "64"]>>
  }
}
// CHECK: sym_name = "layer0"
// CHECK-NEXT: ^bb0(%x: {{[^%]*}}, [[S:%.*]]: tensor<f32>):
// CHECK-NEXT: %{{.*}} = "onnx.Add"(%x, [[S]])
// CHECK: sym_name = "main"
// CHECK: "onnx.Where"
// CHECK: [[R:%.*]] = "onnx.ReduceSum"
// CHECK: "imc.repeat"(%x, [[R]])
