// RUN:
// Every operation prints as it is read.
builtin.module {
  "imc.weight"() <{sym_name = "w", type = tensor<4x4xf32>, tensors = ["w.0", "w.1"]}> : () -> ()
  func.func @main(%x : tensor<4xf32>, %s : tensor<i64>) -> tensor<4xf32> {
    %0, %1, %2 = "imc.repeat"(%x, %s, %x, %x) <{callee = @layer, count = 2 : i64, operandSegmentSizes = array<i32: 1, 1, 2>, resultSegmentSizes = array<i32: 1, 2>}> : (tensor<4xf32>, tensor<i64>, tensor<4xf32>, tensor<4xf32>) -> (tensor<4xf32>, tensor<4xf32>, tensor<4xf32>)
    func.return %0 : tensor<4xf32>
  }
  func.func @layer(%x : tensor<4xf32>, %s : tensor<i64>, %e : tensor<4xf32>) -> (tensor<4xf32>, tensor<4xf32>) {
    %w = "imc.use"() <{weight = @w}> : () -> tensor<4x4xf32>
    func.return %x, %e : tensor<4xf32>, tensor<4xf32>
  }
  "imc.buffer"() <{sym_name = "a", space = "mem", size = "max(past, 1)*16", kept = false, address = 64 : i64}> : () -> ()
  "imc.port"() <{function = "main", port = "x", output = false, view = #imc.view<"a", "0", "float32", ["seq", "4"], ["4", "1"]>}> : () -> ()
  "imc.state"() <{state = "keys", input = "k", output = "k'", axis = 2 : i64, past = "past"}> : () -> ()
  "imc.param"() <{sym_name = "unit", block = "layer_block", values = array<i64: 0, 1>}> : () -> ()
  "imc.block"() <{sym_name = "layer_block", entry = false, calls = 2 : i64}> ({
    "imc.loop"() <{counter = "i", trips = "ceildiv(seq, 8)", parallel = true}> ({
      "imc.signal"() <{engine = "v", token = 0 : i64}> : () -> ()
      "imc.wait"() <{engine = "v", token = 0 : i64}> : () -> ()
    }) : () -> ()
  }) : () -> ()
  "imc.block"() <{sym_name = "main_block", entry = true, calls = 1 : i64}> ({
    "imc.call"() <{callee = @layer_block, first = 0 : i64, rows = 2 : i64}> : () -> ()
  }) : () -> ()
}
// CHECK: "imc.weight"() <{sym_name = "w", type = tensor<4x4xf32>, tensors = ["w.0", "w.1"]}> : () -> ()
// CHECK-NEXT: "func.func"() <{sym_name = "main", function_type = (tensor<4xf32>, tensor<i64>) -> tensor<4xf32>}> ({
// CHECK-NEXT: ^bb0(%x: tensor<4xf32>, %s: tensor<i64>):
// CHECK-NEXT: %0, %1, %2 = "imc.repeat"(%x, %s, %x, %x) <{callee = @layer, count = 2 : i64, operandSegmentSizes = array<i32: 1, 1, 2>, resultSegmentSizes = array<i32: 1, 2>}> : (tensor<4xf32>, tensor<i64>, tensor<4xf32>, tensor<4xf32>) -> (tensor<4xf32>, tensor<4xf32>, tensor<4xf32>)
// CHECK-NEXT: "func.return"(%0) : (tensor<4xf32>) -> ()
// CHECK-NEXT: }) : () -> ()
// CHECK-NEXT: "func.func"() <{sym_name = "layer", function_type = (tensor<4xf32>, tensor<i64>, tensor<4xf32>) -> (tensor<4xf32>, tensor<4xf32>)}> ({
// CHECK-NEXT: ^bb0(%x: tensor<4xf32>, %s: tensor<i64>, %e: tensor<4xf32>):
// CHECK-NEXT: %w = "imc.use"() <{weight = @w}> : () -> tensor<4x4xf32>
// CHECK-NEXT: "func.return"(%x, %e) : (tensor<4xf32>, tensor<4xf32>) -> ()
// CHECK-NEXT: }) : () -> ()
// CHECK-NEXT: "imc.buffer"() <{sym_name = "a", space = "mem", size = "max(past, 1)*16", kept = false, address = 64 : i64}> : () -> ()
// CHECK-NEXT: "imc.port"() <{function = "main", port = "x", output = false, view = #imc.view<"a", "0", "float32", ["seq", "4"], ["4", "1"]>}> : () -> ()
// CHECK-NEXT: "imc.state"() <{state = "keys", input = "k", output = "k'", axis = 2 : i64, past = "past"}> : () -> ()
// CHECK-NEXT: "imc.param"() <{sym_name = "unit", block = "layer_block", values = array<i64: 0, 1>}> : () -> ()
// CHECK-NEXT: "imc.block"() <{sym_name = "layer_block", entry = false, calls = 2 : i64}> ({
// CHECK-NEXT: "imc.loop"() <{counter = "i", trips = "ceildiv(seq, 8)", parallel = true}> ({
// CHECK-NEXT: "imc.signal"() <{engine = "v", token = 0 : i64}> : () -> ()
// CHECK-NEXT: "imc.wait"() <{engine = "v", token = 0 : i64}> : () -> ()
// CHECK-NEXT: }) : () -> ()
// CHECK-NEXT: }) : () -> ()
// CHECK-NEXT: "imc.block"() <{sym_name = "main_block", entry = true, calls = 1 : i64}> ({
// CHECK-NEXT: "imc.call"() <{callee = @layer_block, first = 0 : i64, rows = 2 : i64}> : () -> ()
// CHECK-NEXT: }) : () -> ()
// -----
// Operands of each call come as many a call.
builtin.module {
  func.func @main(%x : tensor<4xf32>) {
    %0 = "imc.repeat"(%x, %x) <{callee = @layer, count = 2 : i64, operandSegmentSizes = array<i32: 1, 0, 1>, resultSegmentSizes = array<i32: 1, 0>}> : (tensor<4xf32>, tensor<4xf32>) -> tensor<4xf32>
    func.return
  }
}
// CHECK: error:
// CHECK: 1 operands and 0 results don't divide over 2 calls
// -----
// What is carried keeps its type.
builtin.module {
  func.func @main(%x : tensor<4xf32>) {
    %0 = "imc.repeat"(%x) <{callee = @layer, count = 2 : i64, operandSegmentSizes = array<i32: 1, 0, 0>, resultSegmentSizes = array<i32: 1, 0>}> : (tensor<4xf32>) -> tensor<5xf32>
    func.return
  }
}
// CHECK: error:
// CHECK: carried operands and results differ in type
// -----
// A view has a stride for each dimension,
builtin.module {
  "imc.port"() <{function = "main", port = "x", output = false, view = #imc.view<"a", "0", "float32", ["4"], ["4", "1"]>}> : () -> ()
}
// CHECK: error:
// CHECK: 1 dimensions but 2 strides
// -----
// and expressions for numbers.
builtin.module {
  "imc.port"() <{function = "main", port = "x", output = false, view = #imc.view<"a", "past +", "float32", ["4"], ["1"]>}> : () -> ()
}
// CHECK: error:
// CHECK: 'past +' is not an expression
// -----
// So do buffers,
builtin.module {
  "imc.buffer"() <{sym_name = "a", space = "mem", size = "4 4", kept = false}> : () -> ()
}
// CHECK: error:
// CHECK: '4 4' is not an expression
// -----
// states
builtin.module {
  "imc.state"() <{state = "keys", axis = 2 : i64, past = "past.x"}> : () -> ()
}
// CHECK: error:
// CHECK: 'past.x' is not an expression
// -----
// and loops.
builtin.module {
  "imc.block"() <{sym_name = "main", entry = true, calls = 1 : i64}> ({
    "imc.loop"() <{counter = "i", trips = "2.5", parallel = false}> ({
      "imc.signal"() <{engine = "v", token = 0 : i64}> : () -> ()
    }) : () -> ()
  }) : () -> ()
}
// CHECK: error:
// CHECK: '2.5' is not an expression
