// RUN: raise-quantised
// Blocks of 4 bits packed in bytes become a matrix of 4-bit elements over the same bytes, the middle their zero points.
builtin.module {
  "imc.weight"() <{sym_name = "w", type = tensor<6x2x8xui8>, tensors = ["w"]}> : () -> ()
  "imc.weight"() <{sym_name = "s", type = tensor<12xf32>, tensors = ["s"]}> : () -> ()
  func.func @main(%x : tensor<?x32xf32, #onnx.dims<["seq", "32"]>>) -> (tensor<?x6xf32, #onnx.dims<["seq", "6"]>>) {
    %w = "imc.use"() <{weight = @w}> : () -> tensor<6x2x8xui8>
    %s = "imc.use"() <{weight = @s}> : () -> tensor<12xf32>
    %0 = "onnx.Custom"(%x, %w, %s) <{op_type = "MatMulNBits", domain = "com.microsoft", node_attributes = {K = 32 : i64, N = 6 : i64, bits = 4 : i64, block_size = 16 : i64}, positions = [0 : i64, 1 : i64, 2 : i64], result_positions = [0 : i64]}> {version = 1 : i64} : (tensor<?x32xf32, #onnx.dims<["seq", "32"]>>, tensor<6x2x8xui8>, tensor<12xf32>) -> tensor<?x6xf32, #onnx.dims<["seq", "6"]>>
    func.return %0 : tensor<?x6xf32, #onnx.dims<["seq", "6"]>>
  }
}
// CHECK: "imc.weight"() <{sym_name = "w.uint4.6x32", type = tensor<6x32xui4>, tensors = ["w.uint4.6x32"]}>
// CHECK: [[W:%.*]] = "imc.use"() <{weight = @w.uint4.6x32}>
// CHECK: [[Z:%.*]] = "onnx.Constant"() <{value = dense<8> : tensor<1x1xui8>}>
// CHECK: [[S:%.*]] = "onnx.Reshape"(%s
// CHECK-NEXT: "llm.linear"(%x, [[W]], [[S]], [[Z]]) <{transposed = true
// CHECK-NOT: MatMulNBits
// -----
// An integer product of dynamically quantised inputs, scaled back, is a product with the matrix and its scales.
builtin.module {
  "imc.weight"() <{sym_name = "w", type = tensor<8x6xi8>, tensors = ["w"]}> : () -> ()
  "imc.weight"() <{sym_name = "s", type = tensor<6xf32>, tensors = ["s"]}> : () -> ()
  "imc.weight"() <{sym_name = "z", type = tensor<6xi8>, tensors = ["z"]}> : () -> ()
  func.func @main(%x : tensor<?x8xf32, #onnx.dims<["seq", "8"]>>) -> (tensor<?x6xf32, #onnx.dims<["seq", "6"]>>) {
    %w = "imc.use"() <{weight = @w}> : () -> tensor<8x6xi8>
    %s = "imc.use"() <{weight = @s}> : () -> tensor<6xf32>
    %z = "imc.use"() <{weight = @z}> : () -> tensor<6xi8>
    %q, %qs, %qz = "onnx.DynamicQuantizeLinear"(%x) {version = 11 : i64} : (tensor<?x8xf32, #onnx.dims<["seq", "8"]>>) -> (tensor<?x8xui8, #onnx.dims<["seq", "8"]>>, tensor<f32>, tensor<ui8>)
    %0 = "onnx.MatMulInteger"(%q, %w, %qz, %z) <{operandSegmentSizes = array<i32: 1, 1, 1, 1>}> {version = 10 : i64} : (tensor<?x8xui8, #onnx.dims<["seq", "8"]>>, tensor<8x6xi8>, tensor<ui8>, tensor<6xi8>) -> tensor<?x6xi32, #onnx.dims<["seq", "6"]>>
    %1 = "onnx.Cast"(%0) <{to = 1 : i64}> {version = 18 : i64} : (tensor<?x6xi32, #onnx.dims<["seq", "6"]>>) -> tensor<?x6xf32, #onnx.dims<["seq", "6"]>>
    %2 = "onnx.Mul"(%qs, %s) {version = 18 : i64} : (tensor<f32>, tensor<6xf32>) -> tensor<6xf32>
    %3 = "onnx.Mul"(%1, %2) {version = 18 : i64} : (tensor<?x6xf32, #onnx.dims<["seq", "6"]>>, tensor<6xf32>) -> tensor<?x6xf32, #onnx.dims<["seq", "6"]>>
    func.return %3 : tensor<?x6xf32, #onnx.dims<["seq", "6"]>>
  }
}
// CHECK: [[Q:%.*]], [[QS:%.*]], [[QZ:%.*]] = "onnx.DynamicQuantizeLinear"(%x)
// CHECK: [[X:%.*]] = "onnx.DequantizeLinear"([[Q]], [[QS]], [[QZ]])
// CHECK: "llm.linear"([[X]], %w, {{%.*}}, {{%.*}}) <{transposed = false
// CHECK-NOT: MatMulInteger
