// RUN: raise-attention, raise-cache
// Two layers' caches leave the signatures of the layer and of the program.
builtin.module {
  "imc.weight"() <{sym_name = "w", type = tensor<64x64xf32>, tensors = ["w0", "w1"]}> : () -> ()
  func.func @layer0(%x: tensor<?x?x64xf32, #onnx.dims<["batch", "seq", "64"]>>, %mask: tensor<?x1x?x?xf32, #onnx.dims<["batch", "1", "seq", "past + seq"]>>, %pk: tensor<?x4x?x16xf32, #onnx.dims<["batch", "4", "past", "16"]>>, %pv: tensor<?x4x?x16xf32, #onnx.dims<["batch", "4", "past", "16"]>>) -> (tensor<?x?x64xf32, #onnx.dims<["batch", "seq", "64"]>>, tensor<?x4x?x16xf32, #onnx.dims<["batch", "4", "past + seq", "16"]>>, tensor<?x4x?x16xf32, #onnx.dims<["batch", "4", "past + seq", "16"]>>) {
    %0 = "imc.use"() <{weight = @w}> : () -> tensor<64x64xf32>
    %1 = "onnx.MatMul"(%x, %0) {version = 18 : i64} : (tensor<?x?x64xf32, #onnx.dims<["batch", "seq", "64"]>>, tensor<64x64xf32>) -> tensor<?x?x64xf32, #onnx.dims<["batch", "seq", "64"]>>
    %2 = "onnx.dims_value"() <{value = ["batch", "seq", "4", "16"]}> : () -> tensor<4xi64>
    %3 = "onnx.Reshape"(%1, %2) {version = 18 : i64} : (tensor<?x?x64xf32, #onnx.dims<["batch", "seq", "64"]>>, tensor<4xi64>) -> tensor<?x?x4x16xf32, #onnx.dims<["batch", "seq", "4", "16"]>>
    %4 = "onnx.Transpose"(%3) <{perm = [0 : i64, 2 : i64, 1 : i64, 3 : i64]}> {version = 18 : i64} : (tensor<?x?x4x16xf32, #onnx.dims<["batch", "seq", "4", "16"]>>) -> tensor<?x4x?x16xf32, #onnx.dims<["batch", "4", "seq", "16"]>>
    %5 = "onnx.Concat"(%pk, %4) <{axis = -2 : i64}> {version = 18 : i64} : (tensor<?x4x?x16xf32, #onnx.dims<["batch", "4", "past", "16"]>>, tensor<?x4x?x16xf32, #onnx.dims<["batch", "4", "seq", "16"]>>) -> tensor<?x4x?x16xf32, #onnx.dims<["batch", "4", "past + seq", "16"]>>
    %6 = "onnx.Concat"(%pv, %4) <{axis = 2 : i64}> {version = 18 : i64} : (tensor<?x4x?x16xf32, #onnx.dims<["batch", "4", "past", "16"]>>, tensor<?x4x?x16xf32, #onnx.dims<["batch", "4", "seq", "16"]>>) -> tensor<?x4x?x16xf32, #onnx.dims<["batch", "4", "past + seq", "16"]>>
    %7 = "onnx.Transpose"(%5) <{perm = [0 : i64, 1 : i64, 3 : i64, 2 : i64]}> {version = 18 : i64} : (tensor<?x4x?x16xf32, #onnx.dims<["batch", "4", "past + seq", "16"]>>) -> tensor<?x4x16x?xf32, #onnx.dims<["batch", "4", "16", "past + seq"]>>
    %8 = "onnx.MatMul"(%4, %7) {version = 18 : i64} : (tensor<?x4x?x16xf32, #onnx.dims<["batch", "4", "seq", "16"]>>, tensor<?x4x16x?xf32, #onnx.dims<["batch", "4", "16", "past + seq"]>>) -> tensor<?x4x?x?xf32, #onnx.dims<["batch", "4", "seq", "past + seq"]>>
    %9 = "onnx.Add"(%8, %mask) {version = 18 : i64} : (tensor<?x4x?x?xf32, #onnx.dims<["batch", "4", "seq", "past + seq"]>>, tensor<?x1x?x?xf32, #onnx.dims<["batch", "1", "seq", "past + seq"]>>) -> tensor<?x4x?x?xf32, #onnx.dims<["batch", "4", "seq", "past + seq"]>>
    %10 = "onnx.Softmax"(%9) <{axis = -1 : i64}> {version = 18 : i64} : (tensor<?x4x?x?xf32, #onnx.dims<["batch", "4", "seq", "past + seq"]>>) -> tensor<?x4x?x?xf32, #onnx.dims<["batch", "4", "seq", "past + seq"]>>
    %11 = "onnx.IsNaN"(%10) {version = 18 : i64} : (tensor<?x4x?x?xf32, #onnx.dims<["batch", "4", "seq", "past + seq"]>>) -> tensor<?x4x?x?xi1, #onnx.dims<["batch", "4", "seq", "past + seq"]>>
    %12 = "onnx.Constant"() <{value = dense<0.000000e+00> : tensor<f32>}> {version = 18 : i64} : () -> tensor<f32>
    %13 = "onnx.Where"(%11, %12, %10) {version = 18 : i64} : (tensor<?x4x?x?xi1, #onnx.dims<["batch", "4", "seq", "past + seq"]>>, tensor<f32>, tensor<?x4x?x?xf32, #onnx.dims<["batch", "4", "seq", "past + seq"]>>) -> tensor<?x4x?x?xf32, #onnx.dims<["batch", "4", "seq", "past + seq"]>>
    %14 = "onnx.MatMul"(%13, %6) {version = 18 : i64} : (tensor<?x4x?x?xf32, #onnx.dims<["batch", "4", "seq", "past + seq"]>>, tensor<?x4x?x16xf32, #onnx.dims<["batch", "4", "past + seq", "16"]>>) -> tensor<?x4x?x16xf32, #onnx.dims<["batch", "4", "seq", "16"]>>
    %15 = "onnx.Transpose"(%14) <{perm = [0 : i64, 2 : i64, 1 : i64, 3 : i64]}> {version = 18 : i64} : (tensor<?x4x?x16xf32, #onnx.dims<["batch", "4", "seq", "16"]>>) -> tensor<?x?x4x16xf32, #onnx.dims<["batch", "seq", "4", "16"]>>
    %16 = "onnx.dims_value"() <{value = ["batch", "seq", "64"]}> : () -> tensor<3xi64>
    %17 = "onnx.Reshape"(%15, %16) {version = 18 : i64} : (tensor<?x?x4x16xf32, #onnx.dims<["batch", "seq", "4", "16"]>>, tensor<3xi64>) -> tensor<?x?x64xf32, #onnx.dims<["batch", "seq", "64"]>>
    func.return %17, %5, %6 : tensor<?x?x64xf32, #onnx.dims<["batch", "seq", "64"]>>, tensor<?x4x?x16xf32, #onnx.dims<["batch", "4", "past + seq", "16"]>>, tensor<?x4x?x16xf32, #onnx.dims<["batch", "4", "past + seq", "16"]>>
  }
  func.func @main(%ids: tensor<?x?x64xf32, #onnx.dims<["batch", "seq", "64"]>>, %mask: tensor<?x1x?x?xf32, #onnx.dims<["batch", "1", "seq", "past + seq"]>>, %pk0: tensor<?x4x?x16xf32, #onnx.dims<["batch", "4", "past", "16"]>>, %pv0: tensor<?x4x?x16xf32, #onnx.dims<["batch", "4", "past", "16"]>>, %pk1: tensor<?x4x?x16xf32, #onnx.dims<["batch", "4", "past", "16"]>>, %pv1: tensor<?x4x?x16xf32, #onnx.dims<["batch", "4", "past", "16"]>>) -> (tensor<?x?x64xf32, #onnx.dims<["batch", "seq", "64"]>>, tensor<?x4x?x16xf32, #onnx.dims<["batch", "4", "past + seq", "16"]>>, tensor<?x4x?x16xf32, #onnx.dims<["batch", "4", "past + seq", "16"]>>, tensor<?x4x?x16xf32, #onnx.dims<["batch", "4", "past + seq", "16"]>>, tensor<?x4x?x16xf32, #onnx.dims<["batch", "4", "past + seq", "16"]>>) attributes {input_names = ["ids", "mask", "pk0", "pv0", "pk1", "pv1"], output_names = ["y", "ck0", "cv0", "ck1", "cv1"]} {
    %0, %1, %2, %3, %4 = "imc.repeat"(%ids, %mask, %pk0, %pk1, %pv0, %pv1) <{callee = @layer0, count = 2 : i64, operandSegmentSizes = array<i32: 1, 1, 4>, resultSegmentSizes = array<i32: 1, 4>}> : (tensor<?x?x64xf32, #onnx.dims<["batch", "seq", "64"]>>, tensor<?x1x?x?xf32, #onnx.dims<["batch", "1", "seq", "past + seq"]>>, tensor<?x4x?x16xf32, #onnx.dims<["batch", "4", "past", "16"]>>, tensor<?x4x?x16xf32, #onnx.dims<["batch", "4", "past", "16"]>>, tensor<?x4x?x16xf32, #onnx.dims<["batch", "4", "past", "16"]>>, tensor<?x4x?x16xf32, #onnx.dims<["batch", "4", "past", "16"]>>) -> (tensor<?x?x64xf32, #onnx.dims<["batch", "seq", "64"]>>, tensor<?x4x?x16xf32, #onnx.dims<["batch", "4", "past + seq", "16"]>>, tensor<?x4x?x16xf32, #onnx.dims<["batch", "4", "past + seq", "16"]>>, tensor<?x4x?x16xf32, #onnx.dims<["batch", "4", "past + seq", "16"]>>, tensor<?x4x?x16xf32, #onnx.dims<["batch", "4", "past + seq", "16"]>>)
    func.return %0, %1, %3, %2, %4 : tensor<?x?x64xf32, #onnx.dims<["batch", "seq", "64"]>>, tensor<?x4x?x16xf32, #onnx.dims<["batch", "4", "past + seq", "16"]>>, tensor<?x4x?x16xf32, #onnx.dims<["batch", "4", "past + seq", "16"]>>, tensor<?x4x?x16xf32, #onnx.dims<["batch", "4", "past + seq", "16"]>>, tensor<?x4x?x16xf32, #onnx.dims<["batch", "4", "past + seq", "16"]>>
  }
}
// CHECK: "llm.cache"() <{sym_name = "cache0", key_value_heads = 4 : i64, head_dim = 16 : i64, dtype = "float32", batch = "batch", past = "past", new = "seq", keys_in = ["pk0", "pk1"], keys_out = ["ck0", "ck1"], values_in = ["pv0", "pv1"], values_out = ["cv0", "cv1"]}>
// CHECK-NEXT: "func.func"() <{sym_name = "layer0"
// CHECK-NEXT: ^bb0(%x: {{[^%]*}}, %mask: {{[^%]*}}):
// CHECK-NOT: onnx.Concat
// CHECK: [[Y:%.*]] = "llm.attention"([[Q:%.*]], [[Q]], [[Q]], %mask) <{{{.*}}, cache = @cache0
// CHECK: "func.return"(%{{[^,]*}})
// CHECK: "func.func"() <{sym_name = "main"
// CHECK-NEXT: ^bb0(%ids: {{[^%]*}}, %mask: {{[^%]*}}):
// CHECK-NEXT: [[R:%.*]] = "imc.repeat"(%ids, %mask{{.*}}) <{callee = @layer0, count = 2 : i64
// CHECK-NEXT: "func.return"([[R]])
// CHECK: input_names = ["ids", "mask"], output_names = ["y"]
