// RUN:
// Nodes print as they are read: constants, values of dimensions, left-out operands, operators of other domains.
builtin.module {
  func.func @main(%x : tensor<?x4xf32, #onnx.dims<["past + seq", "4"]>>) {
    %0 = "onnx.Constant"() <{value = dense<[0, 2]> : tensor<2xi64>}> {version = 18 : i64} : () -> tensor<2xi64>
    %1 = "onnx.Constant"() <{value = #onnx.blob<"float32", [1 : i64], "000080ff">}> {version = 18 : i64} : () -> tensor<1xf32>
    %2 = "onnx.dims_value"() <{value = ["past + seq", "4"]}> : () -> tensor<2xi64>
    %3 = "onnx.Reshape"(%x, %2) {version = 18 : i64} : (tensor<?x4xf32, #onnx.dims<["past + seq", "4"]>>, tensor<2xi64>) -> tensor<?x4xf32, #onnx.dims<["past + seq", "4"]>>
    %4 = "onnx.Clip"(%3, %1) <{operandSegmentSizes = array<i32: 1, 0, 1>}> {version = 18 : i64} : (tensor<?x4xf32, #onnx.dims<["past + seq", "4"]>>, tensor<1xf32>) -> tensor<?x4xf32, #onnx.dims<["past + seq", "4"]>>
    %5 = "onnx.Custom"(%4, %1) <{domain = "com.example", op_type = "Mix", node_attributes = {amount = 3 : i64}, positions = [0 : i64, 2 : i64], result_positions = [0 : i64]}> {version = 1 : i64} : (tensor<?x4xf32, #onnx.dims<["past + seq", "4"]>>, tensor<1xf32>) -> tensor<?x4xf32, #onnx.dims<["past + seq", "4"]>>
    func.return
  }
}
// CHECK: "func.func"() <{sym_name = "main", function_type = (tensor<?x4xf32, #onnx.dims<["past + seq", "4"]>>) -> ()}> ({
// CHECK-NEXT: ^bb0(%x: tensor<?x4xf32, #onnx.dims<["past + seq", "4"]>>):
// CHECK-NEXT: %0 = "onnx.Constant"() <{value = dense<[0, 2]> : tensor<2xi64>}> {version = 18 : i64} : () -> tensor<2xi64>
// CHECK-NEXT: %1 = "onnx.Constant"() <{value = #onnx.blob<"float32", [1 : i64], "000080ff">}> {version = 18 : i64} : () -> tensor<1xf32>
// CHECK-NEXT: %2 = "onnx.dims_value"() <{value = ["past + seq", "4"]}> : () -> tensor<2xi64>
// CHECK-NEXT: %3 = "onnx.Reshape"(%x, %2) {version = 18 : i64} : (tensor<?x4xf32, #onnx.dims<["past + seq", "4"]>>, tensor<2xi64>) -> tensor<?x4xf32, #onnx.dims<["past + seq", "4"]>>
// CHECK-NEXT: %4 = "onnx.Clip"(%3, %1) <{operandSegmentSizes = array<i32: 1, 0, 1>}> {version = 18 : i64} : (tensor<?x4xf32, #onnx.dims<["past + seq", "4"]>>, tensor<1xf32>) -> tensor<?x4xf32, #onnx.dims<["past + seq", "4"]>>
// CHECK-NEXT: %5 = "onnx.Custom"(%4, %1) <{domain = "com.example", op_type = "Mix", node_attributes = {amount = 3 : i64}, positions = [0 : i64, 2 : i64], result_positions = [0 : i64]}> {version = 1 : i64} : (tensor<?x4xf32, #onnx.dims<["past + seq", "4"]>>, tensor<1xf32>) -> tensor<?x4xf32, #onnx.dims<["past + seq", "4"]>>
// CHECK-NEXT: "func.return"() : () -> ()
// CHECK-NEXT: }) : () -> ()
// -----
// Attributes have the kinds of the ONNX schema,
builtin.module {
  func.func @main(%x : tensor<4xf32>) {
    %0 = "onnx.Concat"(%x) <{axis = "first"}> {version = 18 : i64} : (tensor<4xf32>) -> tensor<4xf32>
    func.return
  }
}
// CHECK: error:
// CHECK: "first" should be of base attribute integer
// -----
// nodes its number of operands.
builtin.module {
  func.func @main(%x : tensor<4xf32>) {
    %0 = "onnx.Relu"(%x, %x) {version = 18 : i64} : (tensor<4xf32>, tensor<4xf32>) -> tensor<4xf32>
    func.return
  }
}
// CHECK: error:
// CHECK: Expected 1 operand
// -----
// Dimensions are expressions,
builtin.module {
  func.func @main(%x : tensor<?xf32, #onnx.dims<["seq +"]>>) {
    
    func.return
  }
}
// CHECK: error:
// CHECK: 'seq +' is not an expression
// -----
// as many as elements,
builtin.module {
  func.func @main() {
    %0 = "onnx.dims_value"() <{value = ["batch"]}> : () -> tensor<2xi64>
    func.return
  }
}
// CHECK: error:
// CHECK: 1 expressions for 2 elements
// -----
// of which each is one,
builtin.module {
  func.func @main() {
    %0 = "onnx.dims_value"() <{value = ["batch*"]}> : () -> tensor<1xi64>
    func.return
  }
}
// CHECK: error:
// CHECK: 'batch*' is not an expression
// -----
// in a tensor of known size.
builtin.module {
  func.func @main() {
    %0 = "onnx.dims_value"() <{value = ["batch"]}> : () -> tensor<?xi64, #onnx.dims<["n"]>>
    func.return
  }
}
// CHECK: error:
// CHECK: the result has a symbolic shape
// -----
// A blob has the bytes of its shape.
builtin.module {
  func.func @main() {
    %0 = "onnx.Constant"() <{value = #onnx.blob<"float32", [2 : i64], "000080ff">}> {version = 18 : i64} : () -> tensor<2xf32>
    func.return
  }
}
// CHECK: error:
// CHECK: cannot reshape
// -----
// A custom node has a position for each operand,
builtin.module {
  func.func @main(%x : tensor<4xf32>) {
    %0 = "onnx.Custom"(%x) <{domain = "com.example", op_type = "Mix", node_attributes = {}, positions = [], result_positions = [0 : i64]}> {version = 1 : i64} : (tensor<4xf32>) -> tensor<4xf32>
    func.return
  }
}
// CHECK: error:
// CHECK: 0 positions for 1 operands
// -----
// in rising order,
builtin.module {
  func.func @main(%x : tensor<4xf32>) {
    %0 = "onnx.Custom"(%x, %x) <{domain = "com.example", op_type = "Mix", node_attributes = {}, positions = [1 : i64, 0 : i64], result_positions = [0 : i64]}> {version = 1 : i64} : (tensor<4xf32>, tensor<4xf32>) -> tensor<4xf32>
    func.return
  }
}
// CHECK: error:
// CHECK: positions of operands must rise
// -----
// and for each result.
builtin.module {
  func.func @main(%x : tensor<4xf32>) {
    %0 = "onnx.Custom"(%x) <{domain = "com.example", op_type = "Mix", node_attributes = {}, positions = [0 : i64], result_positions = []}> {version = 1 : i64} : (tensor<4xf32>) -> tensor<4xf32>
    func.return
  }
}
// CHECK: error:
// CHECK: 0 positions for 1 results
