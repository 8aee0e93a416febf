// RUN: lower-to-instructions
// A repeat becomes a call of a block over two rows; its carried tensor has one buffer. Buffers have room for 16 tokens.
builtin.module {
  "imc.weight"() <{sym_name = "w", type = tensor<4xf32>, tensors = ["w.0", "w.1"]}> : () -> ()
  func.func @main(%x : tensor<?x4xf32, #onnx.dims<["seq", "4"]>>) -> tensor<?x4xf32, #onnx.dims<["seq", "4"]>> attributes {input_names = ["ids"], output_names = ["logits"]} {
    %0 = "imc.repeat"(%x) <{callee = @layer, count = 2 : i64, operandSegmentSizes = array<i32: 1, 0, 0>, resultSegmentSizes = array<i32: 1, 0>}> : (tensor<?x4xf32, #onnx.dims<["seq", "4"]>>) -> tensor<?x4xf32, #onnx.dims<["seq", "4"]>>
    %1 = "llm.activation"(%0) <{activation = "gelu"}> {engine = "v", nodes = ["last"], outputs = [["logits"]]} : (tensor<?x4xf32, #onnx.dims<["seq", "4"]>>) -> tensor<?x4xf32, #onnx.dims<["seq", "4"]>>
    func.return %1 : tensor<?x4xf32, #onnx.dims<["seq", "4"]>>
  }
  func.func @layer(%x : tensor<?x4xf32, #onnx.dims<["seq", "4"]>>) -> tensor<?x4xf32, #onnx.dims<["seq", "4"]>> {
    %w = "imc.use"() <{weight = @w}> : () -> tensor<4xf32>
    %0 = "onnx.Add"(%x, %w) {version = 18 : i64, engine = "v", nodes = ["add.0", "add.1"], outputs = [["sum.0", "sum.1"]]} : (tensor<?x4xf32, #onnx.dims<["seq", "4"]>>, tensor<4xf32>) -> tensor<?x4xf32, #onnx.dims<["seq", "4"]>>
    func.return %0 : tensor<?x4xf32, #onnx.dims<["seq", "4"]>>
  }
}
// CHECK-NOT: func.func
// CHECK: "imc.buffer"() <{sym_name = "ids", space = "io", size = "256", kept = true}>
// CHECK: "imc.buffer"() <{sym_name = "layer_carried", space = "mem", size = "256", kept = false}>
// CHECK: "imc.port"() <{function = "main", port = "ids", output = false, view = #imc.view<"ids", "0", "float32", ["seq", "4"], ["4", "1"]>}>
// CHECK: "imc.port"() <{function = "main", port = "logits", output = true,
// CHECK: "imc.block"() <{sym_name = "main", entry = true, calls = 1 : i64, values = [{operation = [[ACT:[0-9]+]] : i64, names = ["logits"], view = #imc.view<"logits", "0", "float32", ["seq", "4"], ["4", "1"]>}]}>
// CHECK-NEXT: "toyvec.copy"() <{dst = #imc.view<"layer_carried", {{.*}} src = #imc.view<"ids",
// CHECK-NEXT: "imc.call"() <{callee = @layer, first = 0 : i64, rows = 2 : i64}>
// CHECK-NEXT: "toyvec.act"() <{dst = #imc.view<"logits", {{.*}} src = #imc.view<"layer_carried", {{.*}} op = "gelu", scale = {{.*}} {engine = "v", nodes = ["last"], operation = [[ACT]] : i64}
// CHECK: "imc.block"() <{sym_name = "layer", entry = false, calls = 2 : i64, values = [{operation = 1 : i64, names = ["sum.0", "sum.1"], view = #imc.view<"layer_add",
// CHECK-NEXT: "toyvec.add"() <{dst = #imc.view<"layer_add", {{.*}} a = #imc.view<"layer_carried", {{.*}} b = #imc.view<"w",
// CHECK-NEXT: "toyvec.copy"() <{dst = #imc.view<"layer_carried", {{.*}} src = #imc.view<"layer_add",
