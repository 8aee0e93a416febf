// RUN: raise-norm
// Root-mean-square norm two ways, layer norm spelt out, both as operators; a norm over another axis stays.
builtin.module {
  "imc.weight"() <{sym_name = "w", type = tensor<8xf32>, tensors = ["w"]}> : () -> ()
  "imc.weight"() <{sym_name = "b", type = tensor<8xf32>, tensors = ["b"]}> : () -> ()
  func.func @main(%x: tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>) -> (tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>, tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>, tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>, tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>, tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>, tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>) {
    %0 = "imc.use"() <{weight = @w}> : () -> tensor<8xf32>
    %1 = "imc.use"() <{weight = @b}> : () -> tensor<8xf32>
    %2 = "onnx.Cast"(%x) <{to = 1 : i64}> {version = 18 : i64} : (tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>) -> tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>
    %3 = "onnx.Constant"() <{value = dense<2.000000e+00> : tensor<f32>}> {version = 18 : i64} : () -> tensor<f32>
    %4 = "onnx.Pow"(%2, %3) {version = 18 : i64} : (tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>, tensor<f32>) -> tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>
    %5 = "onnx.Constant"() <{value = dense<-1> : tensor<1xi64>}> {version = 18 : i64} : () -> tensor<1xi64>
    %6 = "onnx.ReduceMean"(%4, %5) {version = 18 : i64} : (tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>, tensor<1xi64>) -> tensor<?x?x1xf32, #onnx.dims<["batch", "seq", "1"]>>
    %7 = "onnx.Constant"() <{value = dense<1.000000e-06> : tensor<f32>}> {version = 18 : i64} : () -> tensor<f32>
    %8 = "onnx.Add"(%6, %7) {version = 18 : i64} : (tensor<?x?x1xf32, #onnx.dims<["batch", "seq", "1"]>>, tensor<f32>) -> tensor<?x?x1xf32, #onnx.dims<["batch", "seq", "1"]>>
    %9 = "onnx.Sqrt"(%8) {version = 18 : i64} : (tensor<?x?x1xf32, #onnx.dims<["batch", "seq", "1"]>>) -> tensor<?x?x1xf32, #onnx.dims<["batch", "seq", "1"]>>
    %10 = "onnx.Constant"() <{value = dense<1.000000e+00> : tensor<f32>}> {version = 18 : i64} : () -> tensor<f32>
    %11 = "onnx.Div"(%10, %9) {version = 18 : i64} : (tensor<f32>, tensor<?x?x1xf32, #onnx.dims<["batch", "seq", "1"]>>) -> tensor<?x?x1xf32, #onnx.dims<["batch", "seq", "1"]>>
    %12 = "onnx.Mul"(%2, %11) {version = 18 : i64} : (tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>, tensor<?x?x1xf32, #onnx.dims<["batch", "seq", "1"]>>) -> tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>
    %13 = "onnx.Mul"(%0, %12) {version = 18 : i64} : (tensor<8xf32>, tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>) -> tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>
    %14 = "onnx.Mul"(%x, %x) {version = 18 : i64} : (tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>, tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>) -> tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>
    %15 = "onnx.ReduceMean"(%14) <{axes = [-1 : i64]}> {version = 18 : i64} : (tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>) -> tensor<?x?x1xf32, #onnx.dims<["batch", "seq", "1"]>>
    %16 = "onnx.Constant"() <{value = dense<1.000000e-05> : tensor<f32>}> {version = 18 : i64} : () -> tensor<f32>
    %17 = "onnx.Add"(%16, %15) {version = 18 : i64} : (tensor<f32>, tensor<?x?x1xf32, #onnx.dims<["batch", "seq", "1"]>>) -> tensor<?x?x1xf32, #onnx.dims<["batch", "seq", "1"]>>
    %18 = "onnx.Sqrt"(%17) {version = 18 : i64} : (tensor<?x?x1xf32, #onnx.dims<["batch", "seq", "1"]>>) -> tensor<?x?x1xf32, #onnx.dims<["batch", "seq", "1"]>>
    %19 = "onnx.Reciprocal"(%18) {version = 18 : i64} : (tensor<?x?x1xf32, #onnx.dims<["batch", "seq", "1"]>>) -> tensor<?x?x1xf32, #onnx.dims<["batch", "seq", "1"]>>
    %20 = "onnx.Mul"(%19, %x) {version = 18 : i64} : (tensor<?x?x1xf32, #onnx.dims<["batch", "seq", "1"]>>, tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>) -> tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>
    %21 = "onnx.Mul"(%20, %0) {version = 18 : i64} : (tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>, tensor<8xf32>) -> tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>
    %22 = "onnx.Constant"() <{value = dense<2> : tensor<1xi64>}> {version = 18 : i64} : () -> tensor<1xi64>
    %23 = "onnx.ReduceMean"(%x, %22) {version = 18 : i64} : (tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>, tensor<1xi64>) -> tensor<?x?x1xf32, #onnx.dims<["batch", "seq", "1"]>>
    %24 = "onnx.Sub"(%x, %23) {version = 18 : i64} : (tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>, tensor<?x?x1xf32, #onnx.dims<["batch", "seq", "1"]>>) -> tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>
    %25 = "onnx.Constant"() <{value = dense<2.000000e+00> : tensor<f32>}> {version = 18 : i64} : () -> tensor<f32>
    %26 = "onnx.Pow"(%24, %25) {version = 18 : i64} : (tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>, tensor<f32>) -> tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>
    %27 = "onnx.Constant"() <{value = dense<-1> : tensor<1xi64>}> {version = 18 : i64} : () -> tensor<1xi64>
    %28 = "onnx.ReduceMean"(%26, %27) {version = 18 : i64} : (tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>, tensor<1xi64>) -> tensor<?x?x1xf32, #onnx.dims<["batch", "seq", "1"]>>
    %29 = "onnx.Constant"() <{value = dense<1.000000e-05> : tensor<f32>}> {version = 18 : i64} : () -> tensor<f32>
    %30 = "onnx.Add"(%28, %29) {version = 18 : i64} : (tensor<?x?x1xf32, #onnx.dims<["batch", "seq", "1"]>>, tensor<f32>) -> tensor<?x?x1xf32, #onnx.dims<["batch", "seq", "1"]>>
    %31 = "onnx.Sqrt"(%30) {version = 18 : i64} : (tensor<?x?x1xf32, #onnx.dims<["batch", "seq", "1"]>>) -> tensor<?x?x1xf32, #onnx.dims<["batch", "seq", "1"]>>
    %32 = "onnx.Div"(%24, %31) {version = 18 : i64} : (tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>, tensor<?x?x1xf32, #onnx.dims<["batch", "seq", "1"]>>) -> tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>
    %33 = "onnx.Mul"(%32, %0) {version = 18 : i64} : (tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>, tensor<8xf32>) -> tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>
    %34 = "onnx.Add"(%33, %1) {version = 18 : i64} : (tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>, tensor<8xf32>) -> tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>
    %35 = "onnx.LayerNormalization"(%x, %0, %1) <{axis = -1 : i64, epsilon = 1.000000e-03 : f64, resultSegmentSizes = array<i32: 1, 0, 0>}> {version = 18 : i64} : (tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>, tensor<8xf32>, tensor<8xf32>) -> tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>
    %36 = "onnx.RMSNormalization"(%x, %0) <{axis = 2 : i64, epsilon = 1.000000e-03 : f64}> {version = 18 : i64} : (tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>, tensor<8xf32>) -> tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>
    %37 = "onnx.Mul"(%x, %x) {version = 18 : i64} : (tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>, tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>) -> tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>
    %38 = "onnx.Constant"() <{value = dense<1> : tensor<1xi64>}> {version = 18 : i64} : () -> tensor<1xi64>
    %39 = "onnx.ReduceMean"(%37, %38) {version = 18 : i64} : (tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>, tensor<1xi64>) -> tensor<?x1x8xf32, #onnx.dims<["batch", "1", "8"]>>
    %40 = "onnx.Constant"() <{value = dense<1.000000e-05> : tensor<f32>}> {version = 18 : i64} : () -> tensor<f32>
    %41 = "onnx.Add"(%39, %40) {version = 18 : i64} : (tensor<?x1x8xf32, #onnx.dims<["batch", "1", "8"]>>, tensor<f32>) -> tensor<?x1x8xf32, #onnx.dims<["batch", "1", "8"]>>
    %42 = "onnx.Sqrt"(%41) {version = 18 : i64} : (tensor<?x1x8xf32, #onnx.dims<["batch", "1", "8"]>>) -> tensor<?x1x8xf32, #onnx.dims<["batch", "1", "8"]>>
    %43 = "onnx.Div"(%x, %42) {version = 18 : i64} : (tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>, tensor<?x1x8xf32, #onnx.dims<["batch", "1", "8"]>>) -> tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>
    %44 = "onnx.Mul"(%43, %0) {version = 18 : i64} : (tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>, tensor<8xf32>) -> tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>
    func.return %13, %21, %34, %35, %36, %44 : tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>, tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>, tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>, tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>, tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>, tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>
  }
}
// CHECK: [[W:%.*]] = "imc.use"() <{weight = @w}>
// CHECK-NEXT: [[B:%.*]] = "imc.use"() <{weight = @b}>
// CHECK-NEXT: "llm.rms_norm"({{.*}}, [[W]]) <{epsilon = {{9.99.*e-07|1.000000e-06}} : f64}>
// CHECK-NEXT: "llm.rms_norm"(%x, [[W]])
// CHECK-NEXT: "llm.layer_norm"(%x, [[W]], [[B]])
// CHECK-NEXT: "llm.layer_norm"(%x, [[W]], [[B]])
// CHECK-NEXT: "llm.rms_norm"(%x, [[W]])
// CHECK-NOT: llm.
// CHECK: "onnx.Div"
