// RUN: raise-attention
// Repeated heads, both ways of writing K transposed and the scale, a condition beside an addend; softmax over another axis stays; K transposed at once; batch and heads in one dimension.
builtin.module {
  func.func @main(%q: tensor<?x4x?x16xf32, #onnx.dims<["batch", "4", "seq", "16"]>>, %k: tensor<?x2x?x16xf32, #onnx.dims<["batch", "2", "past + seq", "16"]>>, %v: tensor<?x2x?x16xf32, #onnx.dims<["batch", "2", "past + seq", "16"]>>, %mask: tensor<?x1x?x?xf32, #onnx.dims<["batch", "1", "seq", "past + seq"]>>, %h: tensor<?x?x4x16xf32, #onnx.dims<["batch", "seq", "4", "16"]>>) -> (tensor<?x4x?x16xf32, #onnx.dims<["batch", "4", "seq", "16"]>>, tensor<?x4x?x16xf32, #onnx.dims<["batch", "4", "seq", "16"]>>, tensor<?x4x?x16xf32, #onnx.dims<["batch", "4", "seq", "16"]>>, tensor<?x4x?x16xf32, #onnx.dims<["batch", "4", "seq", "16"]>>, tensor<?x?x16xf32, #onnx.dims<["batch*4", "seq", "16"]>>) {
    %0 = "onnx.Constant"() <{value = dense<2> : tensor<1xi64>}> {version = 18 : i64} : () -> tensor<1xi64>
    %1 = "onnx.Unsqueeze"(%k, %0) {version = 18 : i64} : (tensor<?x2x?x16xf32, #onnx.dims<["batch", "2", "past + seq", "16"]>>, tensor<1xi64>) -> tensor<?x2x1x?x16xf32, #onnx.dims<["batch", "2", "1", "past + seq", "16"]>>
    %2 = "onnx.dims_value"() <{value = ["batch", "2", "2", "past+seq", "16"]}> : () -> tensor<5xi64>
    %3 = "onnx.Expand"(%1, %2) {version = 18 : i64} : (tensor<?x2x1x?x16xf32, #onnx.dims<["batch", "2", "1", "past + seq", "16"]>>, tensor<5xi64>) -> tensor<?x2x2x?x16xf32, #onnx.dims<["batch", "2", "2", "past + seq", "16"]>>
    %4 = "onnx.dims_value"() <{value = ["batch", "4", "past+seq", "16"]}> : () -> tensor<4xi64>
    %5 = "onnx.Reshape"(%3, %4) {version = 18 : i64} : (tensor<?x2x2x?x16xf32, #onnx.dims<["batch", "2", "2", "past + seq", "16"]>>, tensor<4xi64>) -> tensor<?x4x?x16xf32, #onnx.dims<["batch", "4", "past + seq", "16"]>>
    %6 = "onnx.dims_value"() <{value = ["batch*4", "past+seq", "16"]}> : () -> tensor<3xi64>
    %7 = "onnx.Reshape"(%5, %6) {version = 18 : i64} : (tensor<?x4x?x16xf32, #onnx.dims<["batch", "4", "past + seq", "16"]>>, tensor<3xi64>) -> tensor<?x?x16xf32, #onnx.dims<["batch*4", "past + seq", "16"]>>
    %8 = "onnx.Transpose"(%7) <{perm = [0 : i64, 2 : i64, 1 : i64]}> {version = 18 : i64} : (tensor<?x?x16xf32, #onnx.dims<["batch*4", "past + seq", "16"]>>) -> tensor<?x16x?xf32, #onnx.dims<["batch*4", "16", "past + seq"]>>
    %9 = "onnx.dims_value"() <{value = ["batch", "4", "16", "past+seq"]}> : () -> tensor<4xi64>
    %10 = "onnx.Reshape"(%8, %9) {version = 18 : i64} : (tensor<?x16x?xf32, #onnx.dims<["batch*4", "16", "past + seq"]>>, tensor<4xi64>) -> tensor<?x4x16x?xf32, #onnx.dims<["batch", "4", "16", "past + seq"]>>
    %11 = "onnx.Constant"() <{value = dense<5.000000e-01> : tensor<f32>}> {version = 18 : i64} : () -> tensor<f32>
    %12 = "onnx.Mul"(%q, %11) {version = 18 : i64} : (tensor<?x4x?x16xf32, #onnx.dims<["batch", "4", "seq", "16"]>>, tensor<f32>) -> tensor<?x4x?x16xf32, #onnx.dims<["batch", "4", "seq", "16"]>>
    %13 = "onnx.Constant"() <{value = dense<5.000000e-01> : tensor<f32>}> {version = 18 : i64} : () -> tensor<f32>
    %14 = "onnx.Mul"(%10, %13) {version = 18 : i64} : (tensor<?x4x16x?xf32, #onnx.dims<["batch", "4", "16", "past + seq"]>>, tensor<f32>) -> tensor<?x4x16x?xf32, #onnx.dims<["batch", "4", "16", "past + seq"]>>
    %15 = "onnx.Constant"() <{value = dense<2> : tensor<1xi64>}> {version = 18 : i64} : () -> tensor<1xi64>
    %16 = "onnx.Unsqueeze"(%v, %15) {version = 18 : i64} : (tensor<?x2x?x16xf32, #onnx.dims<["batch", "2", "past + seq", "16"]>>, tensor<1xi64>) -> tensor<?x2x1x?x16xf32, #onnx.dims<["batch", "2", "1", "past + seq", "16"]>>
    %17 = "onnx.dims_value"() <{value = ["batch", "2", "2", "past+seq", "16"]}> : () -> tensor<5xi64>
    %18 = "onnx.Expand"(%16, %17) {version = 18 : i64} : (tensor<?x2x1x?x16xf32, #onnx.dims<["batch", "2", "1", "past + seq", "16"]>>, tensor<5xi64>) -> tensor<?x2x2x?x16xf32, #onnx.dims<["batch", "2", "2", "past + seq", "16"]>>
    %19 = "onnx.dims_value"() <{value = ["batch", "4", "past+seq", "16"]}> : () -> tensor<4xi64>
    %20 = "onnx.Reshape"(%18, %19) {version = 18 : i64} : (tensor<?x2x2x?x16xf32, #onnx.dims<["batch", "2", "2", "past + seq", "16"]>>, tensor<4xi64>) -> tensor<?x4x?x16xf32, #onnx.dims<["batch", "4", "past + seq", "16"]>>
    %21 = "onnx.MatMul"(%12, %14) {version = 18 : i64} : (tensor<?x4x?x16xf32, #onnx.dims<["batch", "4", "seq", "16"]>>, tensor<?x4x16x?xf32, #onnx.dims<["batch", "4", "16", "past + seq"]>>) -> tensor<?x4x?x?xf32, #onnx.dims<["batch", "4", "seq", "past + seq"]>>
    %22 = "onnx.Add"(%21, %mask) {version = 18 : i64} : (tensor<?x4x?x?xf32, #onnx.dims<["batch", "4", "seq", "past + seq"]>>, tensor<?x1x?x?xf32, #onnx.dims<["batch", "1", "seq", "past + seq"]>>) -> tensor<?x4x?x?xf32, #onnx.dims<["batch", "4", "seq", "past + seq"]>>
    %23 = "onnx.Softmax"(%22) <{axis = -1 : i64}> {version = 18 : i64} : (tensor<?x4x?x?xf32, #onnx.dims<["batch", "4", "seq", "past + seq"]>>) -> tensor<?x4x?x?xf32, #onnx.dims<["batch", "4", "seq", "past + seq"]>>
    %24 = "onnx.IsNaN"(%23) {version = 18 : i64} : (tensor<?x4x?x?xf32, #onnx.dims<["batch", "4", "seq", "past + seq"]>>) -> tensor<?x4x?x?xi1, #onnx.dims<["batch", "4", "seq", "past + seq"]>>
    %25 = "onnx.Constant"() <{value = dense<0.000000e+00> : tensor<f32>}> {version = 18 : i64} : () -> tensor<f32>
    %26 = "onnx.Where"(%24, %25, %23) {version = 18 : i64} : (tensor<?x4x?x?xi1, #onnx.dims<["batch", "4", "seq", "past + seq"]>>, tensor<f32>, tensor<?x4x?x?xf32, #onnx.dims<["batch", "4", "seq", "past + seq"]>>) -> tensor<?x4x?x?xf32, #onnx.dims<["batch", "4", "seq", "past + seq"]>>
    %27 = "onnx.MatMul"(%26, %20) {version = 18 : i64} : (tensor<?x4x?x?xf32, #onnx.dims<["batch", "4", "seq", "past + seq"]>>, tensor<?x4x?x16xf32, #onnx.dims<["batch", "4", "past + seq", "16"]>>) -> tensor<?x4x?x16xf32, #onnx.dims<["batch", "4", "seq", "16"]>>
    %28 = "onnx.Cast"(%mask) <{to = 9 : i64}> {version = 18 : i64} : (tensor<?x1x?x?xf32, #onnx.dims<["batch", "1", "seq", "past + seq"]>>) -> tensor<?x1x?x?xi1, #onnx.dims<["batch", "1", "seq", "past + seq"]>>
    %29 = "onnx.Transpose"(%5) <{perm = [0 : i64, 1 : i64, 3 : i64, 2 : i64]}> {version = 18 : i64} : (tensor<?x4x?x16xf32, #onnx.dims<["batch", "4", "past + seq", "16"]>>) -> tensor<?x4x16x?xf32, #onnx.dims<["batch", "4", "16", "past + seq"]>>
    %30 = "onnx.MatMul"(%q, %29) {version = 18 : i64} : (tensor<?x4x?x16xf32, #onnx.dims<["batch", "4", "seq", "16"]>>, tensor<?x4x16x?xf32, #onnx.dims<["batch", "4", "16", "past + seq"]>>) -> tensor<?x4x?x?xf32, #onnx.dims<["batch", "4", "seq", "past + seq"]>>
    %31 = "onnx.Constant"() <{value = dense<4.000000e+00> : tensor<f32>}> {version = 18 : i64} : () -> tensor<f32>
    %32 = "onnx.Div"(%30, %31) {version = 18 : i64} : (tensor<?x4x?x?xf32, #onnx.dims<["batch", "4", "seq", "past + seq"]>>, tensor<f32>) -> tensor<?x4x?x?xf32, #onnx.dims<["batch", "4", "seq", "past + seq"]>>
    %33 = "onnx.Constant"() <{value = dense<-3.40282347e+38> : tensor<f32>}> {version = 18 : i64} : () -> tensor<f32>
    %34 = "onnx.Where"(%28, %32, %33) {version = 18 : i64} : (tensor<?x1x?x?xi1, #onnx.dims<["batch", "1", "seq", "past + seq"]>>, tensor<?x4x?x?xf32, #onnx.dims<["batch", "4", "seq", "past + seq"]>>, tensor<f32>) -> tensor<?x4x?x?xf32, #onnx.dims<["batch", "4", "seq", "past + seq"]>>
    %35 = "onnx.Add"(%34, %mask) {version = 18 : i64} : (tensor<?x4x?x?xf32, #onnx.dims<["batch", "4", "seq", "past + seq"]>>, tensor<?x1x?x?xf32, #onnx.dims<["batch", "1", "seq", "past + seq"]>>) -> tensor<?x4x?x?xf32, #onnx.dims<["batch", "4", "seq", "past + seq"]>>
    %36 = "onnx.Softmax"(%35) <{axis = 3 : i64}> {version = 18 : i64} : (tensor<?x4x?x?xf32, #onnx.dims<["batch", "4", "seq", "past + seq"]>>) -> tensor<?x4x?x?xf32, #onnx.dims<["batch", "4", "seq", "past + seq"]>>
    %37 = "onnx.Constant"() <{value = dense<2> : tensor<1xi64>}> {version = 18 : i64} : () -> tensor<1xi64>
    %38 = "onnx.Unsqueeze"(%v, %37) {version = 18 : i64} : (tensor<?x2x?x16xf32, #onnx.dims<["batch", "2", "past + seq", "16"]>>, tensor<1xi64>) -> tensor<?x2x1x?x16xf32, #onnx.dims<["batch", "2", "1", "past + seq", "16"]>>
    %39 = "onnx.dims_value"() <{value = ["batch", "2", "2", "past+seq", "16"]}> : () -> tensor<5xi64>
    %40 = "onnx.Expand"(%38, %39) {version = 18 : i64} : (tensor<?x2x1x?x16xf32, #onnx.dims<["batch", "2", "1", "past + seq", "16"]>>, tensor<5xi64>) -> tensor<?x2x2x?x16xf32, #onnx.dims<["batch", "2", "2", "past + seq", "16"]>>
    %41 = "onnx.dims_value"() <{value = ["batch", "4", "past+seq", "16"]}> : () -> tensor<4xi64>
    %42 = "onnx.Reshape"(%40, %41) {version = 18 : i64} : (tensor<?x2x2x?x16xf32, #onnx.dims<["batch", "2", "2", "past + seq", "16"]>>, tensor<4xi64>) -> tensor<?x4x?x16xf32, #onnx.dims<["batch", "4", "past + seq", "16"]>>
    %43 = "onnx.MatMul"(%36, %42) {version = 18 : i64} : (tensor<?x4x?x?xf32, #onnx.dims<["batch", "4", "seq", "past + seq"]>>, tensor<?x4x?x16xf32, #onnx.dims<["batch", "4", "past + seq", "16"]>>) -> tensor<?x4x?x16xf32, #onnx.dims<["batch", "4", "seq", "16"]>>
    %44 = "onnx.Transpose"(%5) <{perm = [0 : i64, 1 : i64, 3 : i64, 2 : i64]}> {version = 18 : i64} : (tensor<?x4x?x16xf32, #onnx.dims<["batch", "4", "past + seq", "16"]>>) -> tensor<?x4x16x?xf32, #onnx.dims<["batch", "4", "16", "past + seq"]>>
    %45 = "onnx.MatMul"(%q, %44) {version = 18 : i64} : (tensor<?x4x?x16xf32, #onnx.dims<["batch", "4", "seq", "16"]>>, tensor<?x4x16x?xf32, #onnx.dims<["batch", "4", "16", "past + seq"]>>) -> tensor<?x4x?x?xf32, #onnx.dims<["batch", "4", "seq", "past + seq"]>>
    %46 = "onnx.Softmax"(%45) <{axis = 2 : i64}> {version = 18 : i64} : (tensor<?x4x?x?xf32, #onnx.dims<["batch", "4", "seq", "past + seq"]>>) -> tensor<?x4x?x?xf32, #onnx.dims<["batch", "4", "seq", "past + seq"]>>
    %47 = "onnx.Constant"() <{value = dense<2> : tensor<1xi64>}> {version = 18 : i64} : () -> tensor<1xi64>
    %48 = "onnx.Unsqueeze"(%v, %47) {version = 18 : i64} : (tensor<?x2x?x16xf32, #onnx.dims<["batch", "2", "past + seq", "16"]>>, tensor<1xi64>) -> tensor<?x2x1x?x16xf32, #onnx.dims<["batch", "2", "1", "past + seq", "16"]>>
    %49 = "onnx.dims_value"() <{value = ["batch", "2", "2", "past+seq", "16"]}> : () -> tensor<5xi64>
    %50 = "onnx.Expand"(%48, %49) {version = 18 : i64} : (tensor<?x2x1x?x16xf32, #onnx.dims<["batch", "2", "1", "past + seq", "16"]>>, tensor<5xi64>) -> tensor<?x2x2x?x16xf32, #onnx.dims<["batch", "2", "2", "past + seq", "16"]>>
    %51 = "onnx.dims_value"() <{value = ["batch", "4", "past+seq", "16"]}> : () -> tensor<4xi64>
    %52 = "onnx.Reshape"(%50, %51) {version = 18 : i64} : (tensor<?x2x2x?x16xf32, #onnx.dims<["batch", "2", "2", "past + seq", "16"]>>, tensor<4xi64>) -> tensor<?x4x?x16xf32, #onnx.dims<["batch", "4", "past + seq", "16"]>>
    %53 = "onnx.MatMul"(%46, %52) {version = 18 : i64} : (tensor<?x4x?x?xf32, #onnx.dims<["batch", "4", "seq", "past + seq"]>>, tensor<?x4x?x16xf32, #onnx.dims<["batch", "4", "past + seq", "16"]>>) -> tensor<?x4x?x16xf32, #onnx.dims<["batch", "4", "seq", "16"]>>
    %54 = "onnx.Transpose"(%h) <{perm = [0 : i64, 2 : i64, 3 : i64, 1 : i64]}> {version = 18 : i64} : (tensor<?x?x4x16xf32, #onnx.dims<["batch", "seq", "4", "16"]>>) -> tensor<?x4x16x?xf32, #onnx.dims<["batch", "4", "16", "seq"]>>
    %55 = "onnx.MatMul"(%q, %54) {version = 18 : i64} : (tensor<?x4x?x16xf32, #onnx.dims<["batch", "4", "seq", "16"]>>, tensor<?x4x16x?xf32, #onnx.dims<["batch", "4", "16", "seq"]>>) -> tensor<?x4x?x?xf32, #onnx.dims<["batch", "4", "seq", "seq"]>>
    %56 = "onnx.Softmax"(%55) <{axis = -1 : i64}> {version = 18 : i64} : (tensor<?x4x?x?xf32, #onnx.dims<["batch", "4", "seq", "seq"]>>) -> tensor<?x4x?x?xf32, #onnx.dims<["batch", "4", "seq", "seq"]>>
    %57 = "onnx.MatMul"(%56, %q) {version = 18 : i64} : (tensor<?x4x?x?xf32, #onnx.dims<["batch", "4", "seq", "seq"]>>, tensor<?x4x?x16xf32, #onnx.dims<["batch", "4", "seq", "16"]>>) -> tensor<?x4x?x16xf32, #onnx.dims<["batch", "4", "seq", "16"]>>
    %58 = "onnx.Constant"() <{value = dense<5.000000e-01> : tensor<f32>}> {version = 18 : i64} : () -> tensor<f32>
    %59 = "onnx.Mul"(%q, %58) {version = 18 : i64} : (tensor<?x4x?x16xf32, #onnx.dims<["batch", "4", "seq", "16"]>>, tensor<f32>) -> tensor<?x4x?x16xf32, #onnx.dims<["batch", "4", "seq", "16"]>>
    %60 = "onnx.dims_value"() <{value = ["batch*4", "seq", "16"]}> : () -> tensor<3xi64>
    %61 = "onnx.Reshape"(%59, %60) {version = 18 : i64} : (tensor<?x4x?x16xf32, #onnx.dims<["batch", "4", "seq", "16"]>>, tensor<3xi64>) -> tensor<?x?x16xf32, #onnx.dims<["batch*4", "seq", "16"]>>
    %62 = "onnx.dims_value"() <{value = ["batch*4", "past+seq", "16"]}> : () -> tensor<3xi64>
    %63 = "onnx.Reshape"(%5, %62) {version = 18 : i64} : (tensor<?x4x?x16xf32, #onnx.dims<["batch", "4", "past + seq", "16"]>>, tensor<3xi64>) -> tensor<?x?x16xf32, #onnx.dims<["batch*4", "past + seq", "16"]>>
    %64 = "onnx.Constant"() <{value = dense<2> : tensor<1xi64>}> {version = 18 : i64} : () -> tensor<1xi64>
    %65 = "onnx.Unsqueeze"(%v, %64) {version = 18 : i64} : (tensor<?x2x?x16xf32, #onnx.dims<["batch", "2", "past + seq", "16"]>>, tensor<1xi64>) -> tensor<?x2x1x?x16xf32, #onnx.dims<["batch", "2", "1", "past + seq", "16"]>>
    %66 = "onnx.dims_value"() <{value = ["batch", "2", "2", "past+seq", "16"]}> : () -> tensor<5xi64>
    %67 = "onnx.Expand"(%65, %66) {version = 18 : i64} : (tensor<?x2x1x?x16xf32, #onnx.dims<["batch", "2", "1", "past + seq", "16"]>>, tensor<5xi64>) -> tensor<?x2x2x?x16xf32, #onnx.dims<["batch", "2", "2", "past + seq", "16"]>>
    %68 = "onnx.dims_value"() <{value = ["batch", "4", "past+seq", "16"]}> : () -> tensor<4xi64>
    %69 = "onnx.Reshape"(%67, %68) {version = 18 : i64} : (tensor<?x2x2x?x16xf32, #onnx.dims<["batch", "2", "2", "past + seq", "16"]>>, tensor<4xi64>) -> tensor<?x4x?x16xf32, #onnx.dims<["batch", "4", "past + seq", "16"]>>
    %70 = "onnx.dims_value"() <{value = ["batch*4", "past+seq", "16"]}> : () -> tensor<3xi64>
    %71 = "onnx.Reshape"(%69, %70) {version = 18 : i64} : (tensor<?x4x?x16xf32, #onnx.dims<["batch", "4", "past + seq", "16"]>>, tensor<3xi64>) -> tensor<?x?x16xf32, #onnx.dims<["batch*4", "past + seq", "16"]>>
    %72 = "onnx.Transpose"(%63) <{perm = [0 : i64, 2 : i64, 1 : i64]}> {version = 18 : i64} : (tensor<?x?x16xf32, #onnx.dims<["batch*4", "past + seq", "16"]>>) -> tensor<?x16x?xf32, #onnx.dims<["batch*4", "16", "past + seq"]>>
    %73 = "onnx.MatMul"(%61, %72) {version = 18 : i64} : (tensor<?x?x16xf32, #onnx.dims<["batch*4", "seq", "16"]>>, tensor<?x16x?xf32, #onnx.dims<["batch*4", "16", "past + seq"]>>) -> tensor<?x?x?xf32, #onnx.dims<["batch*4", "seq", "past + seq"]>>
    %74 = "onnx.dims_value"() <{value = ["batch", "4", "seq", "past+seq"]}> : () -> tensor<4xi64>
    %75 = "onnx.Reshape"(%73, %74) {version = 18 : i64} : (tensor<?x?x?xf32, #onnx.dims<["batch*4", "seq", "past + seq"]>>, tensor<4xi64>) -> tensor<?x4x?x?xf32, #onnx.dims<["batch", "4", "seq", "past + seq"]>>
    %76 = "onnx.Add"(%75, %mask) {version = 18 : i64} : (tensor<?x4x?x?xf32, #onnx.dims<["batch", "4", "seq", "past + seq"]>>, tensor<?x1x?x?xf32, #onnx.dims<["batch", "1", "seq", "past + seq"]>>) -> tensor<?x4x?x?xf32, #onnx.dims<["batch", "4", "seq", "past + seq"]>>
    %77 = "onnx.dims_value"() <{value = ["batch*4", "seq", "past+seq"]}> : () -> tensor<3xi64>
    %78 = "onnx.Reshape"(%76, %77) {version = 18 : i64} : (tensor<?x4x?x?xf32, #onnx.dims<["batch", "4", "seq", "past + seq"]>>, tensor<3xi64>) -> tensor<?x?x?xf32, #onnx.dims<["batch*4", "seq", "past + seq"]>>
    %79 = "onnx.Softmax"(%78) <{axis = -1 : i64}> {version = 18 : i64} : (tensor<?x?x?xf32, #onnx.dims<["batch*4", "seq", "past + seq"]>>) -> tensor<?x?x?xf32, #onnx.dims<["batch*4", "seq", "past + seq"]>>
    %80 = "onnx.MatMul"(%79, %71) {version = 18 : i64} : (tensor<?x?x?xf32, #onnx.dims<["batch*4", "seq", "past + seq"]>>, tensor<?x?x16xf32, #onnx.dims<["batch*4", "past + seq", "16"]>>) -> tensor<?x?x16xf32, #onnx.dims<["batch*4", "seq", "16"]>>
    func.return %27, %43, %53, %57, %80 : tensor<?x4x?x16xf32, #onnx.dims<["batch", "4", "seq", "16"]>>, tensor<?x4x?x16xf32, #onnx.dims<["batch", "4", "seq", "16"]>>, tensor<?x4x?x16xf32, #onnx.dims<["batch", "4", "seq", "16"]>>, tensor<?x4x?x16xf32, #onnx.dims<["batch", "4", "seq", "16"]>>, tensor<?x?x16xf32, #onnx.dims<["batch*4", "seq", "16"]>>
  }
}
// CHECK: "llm.attention"(%q, %k, %v, %mask) <{scale = 2.500000e-01 : f64, softcap = 0.000000e+00 : f64, causal = false, nan_to_zero = true
// CHECK: [[Z:%.*]] = "onnx.Constant"() <{value = dense<0.000000e+00> : tensor<f32>}>
// CHECK: [[C:%.*]] = "onnx.Where"(%{{.*}}, [[Z]], %{{.*}})
// CHECK: [[A:%.*]] = "onnx.Add"([[C]], %mask)
// CHECK: "llm.attention"(%q, %k, %v, [[A]]) <{scale = 2.500000e-01 : f64, softcap = 0.000000e+00 : f64, causal = false, nan_to_zero = false
// CHECK-NOT: llm.
// CHECK: "onnx.Softmax"
// CHECK: [[K:%.*]] = "onnx.Transpose"(%h) <{perm = [0 : i64, 2 : i64, 1 : i64, 3 : i64]}>
// CHECK-NEXT: "llm.attention"(%q, [[K]], %q) <{scale = 1.000000e+00 : f64
// CHECK-NOT: "onnx.Softmax"
// CHECK: [[Y:%.*]] = "llm.attention"(%q, %k, %v, %mask) <{scale = 5.000000e-01 : f64
// CHECK: [[Z:%.*]] = "onnx.Reshape"([[Y]],
// CHECK-NEXT: "func.return"({{.*}}, [[Z]])
