// RUN: raise-linear, drop-identities
// A product with a static matrix and its bias; a Gemm between reshapes; a product of two activations stays.
builtin.module {
  "imc.weight"() <{sym_name = "w", type = tensor<8x6xf32>, tensors = ["w"]}> : () -> ()
  "imc.weight"() <{sym_name = "t", type = tensor<4x6xf32>, tensors = ["t"]}> : () -> ()
  "imc.weight"() <{sym_name = "b", type = tensor<6xf32>, tensors = ["b"]}> : () -> ()
  "imc.weight"() <{sym_name = "c", type = tensor<4xf32>, tensors = ["c"]}> : () -> ()
  func.func @main(%x : tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>) -> (tensor<?x?x4xf32, #onnx.dims<["batch", "seq", "4"]>>, tensor<?x?x?xf32, #onnx.dims<["batch", "seq", "seq"]>>) {
    %w = "imc.use"() <{weight = @w}> : () -> tensor<8x6xf32>
    %t = "imc.use"() <{weight = @t}> : () -> tensor<4x6xf32>
    %b = "imc.use"() <{weight = @b}> : () -> tensor<6xf32>
    %c = "imc.use"() <{weight = @c}> : () -> tensor<4xf32>
    %0 = "onnx.MatMul"(%x, %w) {version = 18 : i64} : (tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>, tensor<8x6xf32>) -> tensor<?x?x6xf32, #onnx.dims<["batch", "seq", "6"]>>
    %1 = "onnx.Add"(%b, %0) {version = 18 : i64} : (tensor<6xf32>, tensor<?x?x6xf32, #onnx.dims<["batch", "seq", "6"]>>) -> tensor<?x?x6xf32, #onnx.dims<["batch", "seq", "6"]>>
    %2 = "onnx.dims_value"() <{value = ["batch*seq", "6"]}> : () -> tensor<2xi64>
    %3 = "onnx.Reshape"(%1, %2) {version = 18 : i64} : (tensor<?x?x6xf32, #onnx.dims<["batch", "seq", "6"]>>, tensor<2xi64>) -> tensor<?x6xf32, #onnx.dims<["batch*seq", "6"]>>
    %4 = "onnx.Gemm"(%3, %t, %c) <{alpha = 1.0 : f32, beta = 1.0 : f32, transB = 1 : i64}> {version = 18 : i64} : (tensor<?x6xf32, #onnx.dims<["batch*seq", "6"]>>, tensor<4x6xf32>, tensor<4xf32>) -> tensor<?x4xf32, #onnx.dims<["batch*seq", "4"]>>
    %5 = "onnx.dims_value"() <{value = ["batch", "seq", "4"]}> : () -> tensor<3xi64>
    %6 = "onnx.Reshape"(%4, %5) {version = 18 : i64} : (tensor<?x4xf32, #onnx.dims<["batch*seq", "4"]>>, tensor<3xi64>) -> tensor<?x?x4xf32, #onnx.dims<["batch", "seq", "4"]>>
    %7 = "onnx.Transpose"(%x) <{perm = [0 : i64, 2 : i64, 1 : i64]}> {version = 18 : i64} : (tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>) -> tensor<?x8x?xf32, #onnx.dims<["batch", "8", "seq"]>>
    %8 = "onnx.MatMul"(%x, %7) {version = 18 : i64} : (tensor<?x?x8xf32, #onnx.dims<["batch", "seq", "8"]>>, tensor<?x8x?xf32, #onnx.dims<["batch", "8", "seq"]>>) -> tensor<?x?x?xf32, #onnx.dims<["batch", "seq", "seq"]>>
    func.return %6, %8 : tensor<?x?x4xf32, #onnx.dims<["batch", "seq", "4"]>>, tensor<?x?x?xf32, #onnx.dims<["batch", "seq", "seq"]>>
  }
}
// CHECK: [[W:%.*]] = "imc.use"() <{weight = @w}>
// CHECK: [[T:%.*]] = "imc.use"() <{weight = @t}>
// CHECK: [[B:%.*]] = "imc.use"() <{weight = @b}>
// CHECK: [[C:%.*]] = "imc.use"() <{weight = @c}>
// CHECK-NEXT: [[Y:%.*]] = "llm.linear"(%{{.*}}, [[W]], [[B]]) <{transposed = false
// CHECK-NOT: Reshape
// CHECK: [[Z:%.*]] = "llm.linear"([[Y]], [[T]], [[C]]) <{transposed = true
// CHECK-SAME: -> tensor<?x?x4xf32, #onnx.dims<["batch", "seq", "4"]>>
// CHECK: [[D:%.*]] = "onnx.MatMul"
// CHECK: "func.return"([[Z]], [[D]])
