// RUN: raise-activation
// Activations spelt out and as operators.
builtin.module {
  func.func @main(%g: tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>, %u: tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>) -> (tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>, tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>, tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>, tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>, tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>, tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>, tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>) {
    %0 = "onnx.Sigmoid"(%g) {version = 18 : i64} : (tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>) -> tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>
    %1 = "onnx.Mul"(%g, %0) {version = 18 : i64} : (tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>, tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>) -> tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>
    %2 = "onnx.Mul"(%u, %1) {version = 18 : i64} : (tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>, tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>) -> tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>
    %3 = "onnx.Constant"() <{value = dense<1.41421354> : tensor<f32>}> {version = 18 : i64} : () -> tensor<f32>
    %4 = "onnx.Div"(%g, %3) {version = 18 : i64} : (tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>, tensor<f32>) -> tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>
    %5 = "onnx.Erf"(%4) {version = 18 : i64} : (tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>) -> tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>
    %6 = "onnx.Constant"() <{value = dense<1.000000e+00> : tensor<f32>}> {version = 18 : i64} : () -> tensor<f32>
    %7 = "onnx.Add"(%5, %6) {version = 18 : i64} : (tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>, tensor<f32>) -> tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>
    %8 = "onnx.Mul"(%g, %7) {version = 18 : i64} : (tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>, tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>) -> tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>
    %9 = "onnx.Constant"() <{value = dense<5.000000e-01> : tensor<f32>}> {version = 18 : i64} : () -> tensor<f32>
    %10 = "onnx.Mul"(%8, %9) {version = 18 : i64} : (tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>, tensor<f32>) -> tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>
    %11 = "onnx.Constant"() <{value = dense<3.000000e+00> : tensor<f32>}> {version = 18 : i64} : () -> tensor<f32>
    %12 = "onnx.Pow"(%g, %11) {version = 18 : i64} : (tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>, tensor<f32>) -> tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>
    %13 = "onnx.Constant"() <{value = dense<4.471500e-02> : tensor<f32>}> {version = 18 : i64} : () -> tensor<f32>
    %14 = "onnx.Mul"(%12, %13) {version = 18 : i64} : (tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>, tensor<f32>) -> tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>
    %15 = "onnx.Add"(%g, %14) {version = 18 : i64} : (tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>, tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>) -> tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>
    %16 = "onnx.Constant"() <{value = dense<0.797884583> : tensor<f32>}> {version = 18 : i64} : () -> tensor<f32>
    %17 = "onnx.Mul"(%15, %16) {version = 18 : i64} : (tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>, tensor<f32>) -> tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>
    %18 = "onnx.Tanh"(%17) {version = 18 : i64} : (tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>) -> tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>
    %19 = "onnx.Constant"() <{value = dense<5.000000e-01> : tensor<f32>}> {version = 18 : i64} : () -> tensor<f32>
    %20 = "onnx.Mul"(%g, %19) {version = 18 : i64} : (tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>, tensor<f32>) -> tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>
    %21 = "onnx.Constant"() <{value = dense<1.000000e+00> : tensor<f32>}> {version = 18 : i64} : () -> tensor<f32>
    %22 = "onnx.Add"(%18, %21) {version = 18 : i64} : (tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>, tensor<f32>) -> tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>
    %23 = "onnx.Mul"(%20, %22) {version = 18 : i64} : (tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>, tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>) -> tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>
    %24 = "onnx.Constant"() <{value = dense<1.702000e+00> : tensor<f32>}> {version = 18 : i64} : () -> tensor<f32>
    %25 = "onnx.Mul"(%g, %24) {version = 18 : i64} : (tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>, tensor<f32>) -> tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>
    %26 = "onnx.Sigmoid"(%25) {version = 18 : i64} : (tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>) -> tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>
    %27 = "onnx.Mul"(%g, %26) {version = 18 : i64} : (tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>, tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>) -> tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>
    %28 = "onnx.Relu"(%g) {version = 18 : i64} : (tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>) -> tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>
    %29 = "onnx.Gelu"(%g) <{approximate = "tanh"}> {version = 18 : i64} : (tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>) -> tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>
    %30 = "onnx.Tanh"(%g) {version = 18 : i64} : (tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>) -> tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>
    func.return %2, %10, %23, %27, %28, %29, %30 : tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>, tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>, tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>, tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>, tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>, tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>, tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>
  }
}
// CHECK: [[S:%.*]] = "llm.activation"(%g) <{activation = "silu"}>
// CHECK-NEXT: "onnx.Mul"(%u, [[S]])
// CHECK-NEXT: "llm.activation"(%g) <{activation = "gelu"}>
// CHECK-NEXT: "llm.activation"(%g) <{activation = "gelu_tanh"}>
// CHECK-NEXT: "llm.activation"(%g) <{activation = "quick_gelu"}>
// CHECK-NEXT: "llm.activation"(%g) <{activation = "relu"}>
// CHECK-NEXT: "llm.activation"(%g) <{activation = "gelu_tanh"}>
// CHECK-NEXT: "llm.activation"(%g) <{activation = "tanh"}>
// CHECK-NEXT: "func.return"
