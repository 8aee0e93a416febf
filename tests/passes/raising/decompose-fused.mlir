// RUN: decompose-fused, eliminate-dead
// Attention over repeated heads, RotaryEmbedding with angles of half the width; causal with more keys than queries hides keys by position.
builtin.module {
  func.func @main(%q: tensor<?x4x?x16xf32, #onnx.dims<["batch", "4", "seq", "16"]>>, %k: tensor<?x2x?x16xf32, #onnx.dims<["batch", "2", "past + seq", "16"]>>, %v: tensor<?x2x?x16xf32, #onnx.dims<["batch", "2", "past + seq", "16"]>>, %mask: tensor<?x1x?x?xi1, #onnx.dims<["batch", "1", "seq", "past + seq"]>>, %cos: tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>, %sin: tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>) -> (tensor<?x4x?x16xf32, #onnx.dims<["batch", "4", "seq", "16"]>>, tensor<?x4x?x16xf32, #onnx.dims<["batch", "4", "seq", "16"]>>) {
    %0 = "onnx.RotaryEmbedding"(%q, %cos, %sin) <{num_heads = 4 : i64}> {version = 18 : i64} : (tensor<?x4x?x16xf32, #onnx.dims<["batch", "4", "seq", "16"]>>, tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>, tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>) -> tensor<?x4x?x16xf32, #onnx.dims<["batch", "4", "seq", "16"]>>
    %1 = "onnx.Constant"() <{value = dense<2> : tensor<1xi64>}> {version = 18 : i64} : () -> tensor<1xi64>
    %2 = "onnx.Unsqueeze"(%k, %1) {version = 18 : i64} : (tensor<?x2x?x16xf32, #onnx.dims<["batch", "2", "past + seq", "16"]>>, tensor<1xi64>) -> tensor<?x2x1x?x16xf32, #onnx.dims<["batch", "2", "1", "past + seq", "16"]>>
    %3 = "onnx.dims_value"() <{value = ["batch", "2", "2", "past+seq", "16"]}> : () -> tensor<5xi64>
    %4 = "onnx.Expand"(%2, %3) {version = 18 : i64} : (tensor<?x2x1x?x16xf32, #onnx.dims<["batch", "2", "1", "past + seq", "16"]>>, tensor<5xi64>) -> tensor<?x2x2x?x16xf32, #onnx.dims<["batch", "2", "2", "past + seq", "16"]>>
    %5 = "onnx.dims_value"() <{value = ["batch", "4", "past+seq", "16"]}> : () -> tensor<4xi64>
    %6 = "onnx.Reshape"(%4, %5) {version = 18 : i64} : (tensor<?x2x2x?x16xf32, #onnx.dims<["batch", "2", "2", "past + seq", "16"]>>, tensor<4xi64>) -> tensor<?x4x?x16xf32, #onnx.dims<["batch", "4", "past + seq", "16"]>>
    %7 = "onnx.Constant"() <{value = dense<2> : tensor<1xi64>}> {version = 18 : i64} : () -> tensor<1xi64>
    %8 = "onnx.Unsqueeze"(%v, %7) {version = 18 : i64} : (tensor<?x2x?x16xf32, #onnx.dims<["batch", "2", "past + seq", "16"]>>, tensor<1xi64>) -> tensor<?x2x1x?x16xf32, #onnx.dims<["batch", "2", "1", "past + seq", "16"]>>
    %9 = "onnx.dims_value"() <{value = ["batch", "2", "2", "past+seq", "16"]}> : () -> tensor<5xi64>
    %10 = "onnx.Expand"(%8, %9) {version = 18 : i64} : (tensor<?x2x1x?x16xf32, #onnx.dims<["batch", "2", "1", "past + seq", "16"]>>, tensor<5xi64>) -> tensor<?x2x2x?x16xf32, #onnx.dims<["batch", "2", "2", "past + seq", "16"]>>
    %11 = "onnx.dims_value"() <{value = ["batch", "4", "past+seq", "16"]}> : () -> tensor<4xi64>
    %12 = "onnx.Reshape"(%10, %11) {version = 18 : i64} : (tensor<?x2x2x?x16xf32, #onnx.dims<["batch", "2", "2", "past + seq", "16"]>>, tensor<4xi64>) -> tensor<?x4x?x16xf32, #onnx.dims<["batch", "4", "past + seq", "16"]>>
    %13 = "onnx.Attention"(%0, %6, %12, %mask) <{is_causal = 0 : i64, operandSegmentSizes = array<i32: 1, 1, 1, 1, 0, 0, 0>, resultSegmentSizes = array<i32: 1, 0, 0, 0>}> {version = 18 : i64} : (tensor<?x4x?x16xf32, #onnx.dims<["batch", "4", "seq", "16"]>>, tensor<?x4x?x16xf32, #onnx.dims<["batch", "4", "past + seq", "16"]>>, tensor<?x4x?x16xf32, #onnx.dims<["batch", "4", "past + seq", "16"]>>, tensor<?x1x?x?xi1, #onnx.dims<["batch", "1", "seq", "past + seq"]>>) -> tensor<?x4x?x16xf32, #onnx.dims<["batch", "4", "seq", "16"]>>
    %14 = "onnx.Constant"() <{value = dense<2> : tensor<1xi64>}> {version = 18 : i64} : () -> tensor<1xi64>
    %15 = "onnx.Unsqueeze"(%k, %14) {version = 18 : i64} : (tensor<?x2x?x16xf32, #onnx.dims<["batch", "2", "past + seq", "16"]>>, tensor<1xi64>) -> tensor<?x2x1x?x16xf32, #onnx.dims<["batch", "2", "1", "past + seq", "16"]>>
    %16 = "onnx.dims_value"() <{value = ["batch", "2", "2", "past+seq", "16"]}> : () -> tensor<5xi64>
    %17 = "onnx.Expand"(%15, %16) {version = 18 : i64} : (tensor<?x2x1x?x16xf32, #onnx.dims<["batch", "2", "1", "past + seq", "16"]>>, tensor<5xi64>) -> tensor<?x2x2x?x16xf32, #onnx.dims<["batch", "2", "2", "past + seq", "16"]>>
    %18 = "onnx.dims_value"() <{value = ["batch", "4", "past+seq", "16"]}> : () -> tensor<4xi64>
    %19 = "onnx.Reshape"(%17, %18) {version = 18 : i64} : (tensor<?x2x2x?x16xf32, #onnx.dims<["batch", "2", "2", "past + seq", "16"]>>, tensor<4xi64>) -> tensor<?x4x?x16xf32, #onnx.dims<["batch", "4", "past + seq", "16"]>>
    %20 = "onnx.Constant"() <{value = dense<2> : tensor<1xi64>}> {version = 18 : i64} : () -> tensor<1xi64>
    %21 = "onnx.Unsqueeze"(%v, %20) {version = 18 : i64} : (tensor<?x2x?x16xf32, #onnx.dims<["batch", "2", "past + seq", "16"]>>, tensor<1xi64>) -> tensor<?x2x1x?x16xf32, #onnx.dims<["batch", "2", "1", "past + seq", "16"]>>
    %22 = "onnx.dims_value"() <{value = ["batch", "2", "2", "past+seq", "16"]}> : () -> tensor<5xi64>
    %23 = "onnx.Expand"(%21, %22) {version = 18 : i64} : (tensor<?x2x1x?x16xf32, #onnx.dims<["batch", "2", "1", "past + seq", "16"]>>, tensor<5xi64>) -> tensor<?x2x2x?x16xf32, #onnx.dims<["batch", "2", "2", "past + seq", "16"]>>
    %24 = "onnx.dims_value"() <{value = ["batch", "4", "past+seq", "16"]}> : () -> tensor<4xi64>
    %25 = "onnx.Reshape"(%23, %24) {version = 18 : i64} : (tensor<?x2x2x?x16xf32, #onnx.dims<["batch", "2", "2", "past + seq", "16"]>>, tensor<4xi64>) -> tensor<?x4x?x16xf32, #onnx.dims<["batch", "4", "past + seq", "16"]>>
    %26 = "onnx.Attention"(%0, %19, %25, %mask) <{is_causal = 1 : i64, operandSegmentSizes = array<i32: 1, 1, 1, 1, 0, 0, 0>, resultSegmentSizes = array<i32: 1, 0, 0, 0>}> {version = 18 : i64} : (tensor<?x4x?x16xf32, #onnx.dims<["batch", "4", "seq", "16"]>>, tensor<?x4x?x16xf32, #onnx.dims<["batch", "4", "past + seq", "16"]>>, tensor<?x4x?x16xf32, #onnx.dims<["batch", "4", "past + seq", "16"]>>, tensor<?x1x?x?xi1, #onnx.dims<["batch", "1", "seq", "past + seq"]>>) -> tensor<?x4x?x16xf32, #onnx.dims<["batch", "4", "seq", "16"]>>
    func.return %13, %26 : tensor<?x4x?x16xf32, #onnx.dims<["batch", "4", "seq", "16"]>>, tensor<?x4x?x16xf32, #onnx.dims<["batch", "4", "seq", "16"]>>
  }
}
// CHECK: [[C:%.*]] = "onnx.Reshape"(%{{.*}}, %{{.*}}) <{allowzero = 1 : i64}>
// CHECK: [[S:%.*]] = "onnx.Reshape"(%{{.*}}, %{{.*}}) <{allowzero = 1 : i64}>
// CHECK: [[R:%.*]] = "llm.rotary"(%q, [[C]], [[S]]) <{interleaved = false, width = 16 : i64}>
// CHECK: "llm.attention"([[R]], %k, %v, %mask) <{scale = 2.500000e-01 : f64,
// CHECK: [[H:%.*]] = "onnx.LessOrEqual"
// CHECK: [[M:%.*]] = "onnx.And"(%mask, [[H]])
// CHECK: "llm.attention"([[R]], %k, %v, [[M]]) <{scale = 2.500000e-01 : f64,
