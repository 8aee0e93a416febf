// RUN: raise-rotary
// All features turned; the first half turned by Split and Concat; halves the wrong way round stay.
builtin.module {
  func.func @main(%x: tensor<?x2x?x16xf32, #onnx.dims<["batch", "2", "seq", "16"]>>, %cos: tensor<?x1x?x16xf32, #onnx.dims<["batch", "1", "seq", "16"]>>, %sin: tensor<?x1x?x16xf32, #onnx.dims<["batch", "1", "seq", "16"]>>, %pc: tensor<?x1x?x8xf32, #onnx.dims<["batch", "1", "seq", "8"]>>, %ps: tensor<?x1x?x8xf32, #onnx.dims<["batch", "1", "seq", "8"]>>) -> (tensor<?x2x?x16xf32, #onnx.dims<["batch", "2", "seq", "16"]>>, tensor<?x2x?x16xf32, #onnx.dims<["batch", "2", "seq", "16"]>>, tensor<?x2x?x16xf32, #onnx.dims<["batch", "2", "seq", "16"]>>) {
    %0 = "onnx.Mul"(%x, %cos) {version = 18 : i64} : (tensor<?x2x?x16xf32, #onnx.dims<["batch", "2", "seq", "16"]>>, tensor<?x1x?x16xf32, #onnx.dims<["batch", "1", "seq", "16"]>>) -> tensor<?x2x?x16xf32, #onnx.dims<["batch", "2", "seq", "16"]>>
    %1 = "onnx.Constant"() <{value = dense<0> : tensor<1xi64>}> {version = 18 : i64} : () -> tensor<1xi64>
    %2 = "onnx.Constant"() <{value = dense<8> : tensor<1xi64>}> {version = 18 : i64} : () -> tensor<1xi64>
    %3 = "onnx.Constant"() <{value = dense<3> : tensor<1xi64>}> {version = 18 : i64} : () -> tensor<1xi64>
    %4 = "onnx.Constant"() <{value = dense<1> : tensor<1xi64>}> {version = 18 : i64} : () -> tensor<1xi64>
    %5 = "onnx.Slice"(%x, %1, %2, %3, %4) <{operandSegmentSizes = array<i32: 1, 1, 1, 1, 1>}> {version = 18 : i64} : (tensor<?x2x?x16xf32, #onnx.dims<["batch", "2", "seq", "16"]>>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>) -> tensor<?x2x?x8xf32, #onnx.dims<["batch", "2", "seq", "8"]>>
    %6 = "onnx.Constant"() <{value = dense<8> : tensor<1xi64>}> {version = 18 : i64} : () -> tensor<1xi64>
    %7 = "onnx.Constant"() <{value = dense<9223372036854775807> : tensor<1xi64>}> {version = 18 : i64} : () -> tensor<1xi64>
    %8 = "onnx.Constant"() <{value = dense<3> : tensor<1xi64>}> {version = 18 : i64} : () -> tensor<1xi64>
    %9 = "onnx.Constant"() <{value = dense<1> : tensor<1xi64>}> {version = 18 : i64} : () -> tensor<1xi64>
    %10 = "onnx.Slice"(%x, %6, %7, %8, %9) <{operandSegmentSizes = array<i32: 1, 1, 1, 1, 1>}> {version = 18 : i64} : (tensor<?x2x?x16xf32, #onnx.dims<["batch", "2", "seq", "16"]>>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>) -> tensor<?x2x?x8xf32, #onnx.dims<["batch", "2", "seq", "8"]>>
    %11 = "onnx.Neg"(%10) {version = 18 : i64} : (tensor<?x2x?x8xf32, #onnx.dims<["batch", "2", "seq", "8"]>>) -> tensor<?x2x?x8xf32, #onnx.dims<["batch", "2", "seq", "8"]>>
    %12 = "onnx.Concat"(%11, %5) <{axis = -1 : i64}> {version = 18 : i64} : (tensor<?x2x?x8xf32, #onnx.dims<["batch", "2", "seq", "8"]>>, tensor<?x2x?x8xf32, #onnx.dims<["batch", "2", "seq", "8"]>>) -> tensor<?x2x?x16xf32, #onnx.dims<["batch", "2", "seq", "16"]>>
    %13 = "onnx.Mul"(%12, %sin) {version = 18 : i64} : (tensor<?x2x?x16xf32, #onnx.dims<["batch", "2", "seq", "16"]>>, tensor<?x1x?x16xf32, #onnx.dims<["batch", "1", "seq", "16"]>>) -> tensor<?x2x?x16xf32, #onnx.dims<["batch", "2", "seq", "16"]>>
    %14 = "onnx.Add"(%0, %13) {version = 18 : i64} : (tensor<?x2x?x16xf32, #onnx.dims<["batch", "2", "seq", "16"]>>, tensor<?x2x?x16xf32, #onnx.dims<["batch", "2", "seq", "16"]>>) -> tensor<?x2x?x16xf32, #onnx.dims<["batch", "2", "seq", "16"]>>
    %15 = "onnx.Constant"() <{value = dense<8> : tensor<2xi64>}> {version = 18 : i64} : () -> tensor<2xi64>
    %16, %17 = "onnx.Split"(%x, %15) <{axis = 3 : i64}> {version = 18 : i64} : (tensor<?x2x?x16xf32, #onnx.dims<["batch", "2", "seq", "16"]>>, tensor<2xi64>) -> (tensor<?x2x?x8xf32, #onnx.dims<["batch", "2", "seq", "8"]>>, tensor<?x2x?x8xf32, #onnx.dims<["batch", "2", "seq", "8"]>>)
    %18 = "onnx.Constant"() <{value = dense<0> : tensor<1xi64>}> {version = 18 : i64} : () -> tensor<1xi64>
    %19 = "onnx.Constant"() <{value = dense<4> : tensor<1xi64>}> {version = 18 : i64} : () -> tensor<1xi64>
    %20 = "onnx.Constant"() <{value = dense<3> : tensor<1xi64>}> {version = 18 : i64} : () -> tensor<1xi64>
    %21 = "onnx.Constant"() <{value = dense<1> : tensor<1xi64>}> {version = 18 : i64} : () -> tensor<1xi64>
    %22 = "onnx.Slice"(%16, %18, %19, %20, %21) <{operandSegmentSizes = array<i32: 1, 1, 1, 1, 1>}> {version = 18 : i64} : (tensor<?x2x?x8xf32, #onnx.dims<["batch", "2", "seq", "8"]>>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>) -> tensor<?x2x?x4xf32, #onnx.dims<["batch", "2", "seq", "4"]>>
    %23 = "onnx.Constant"() <{value = dense<4> : tensor<1xi64>}> {version = 18 : i64} : () -> tensor<1xi64>
    %24 = "onnx.Constant"() <{value = dense<9223372036854775807> : tensor<1xi64>}> {version = 18 : i64} : () -> tensor<1xi64>
    %25 = "onnx.Constant"() <{value = dense<3> : tensor<1xi64>}> {version = 18 : i64} : () -> tensor<1xi64>
    %26 = "onnx.Constant"() <{value = dense<1> : tensor<1xi64>}> {version = 18 : i64} : () -> tensor<1xi64>
    %27 = "onnx.Slice"(%16, %23, %24, %25, %26) <{operandSegmentSizes = array<i32: 1, 1, 1, 1, 1>}> {version = 18 : i64} : (tensor<?x2x?x8xf32, #onnx.dims<["batch", "2", "seq", "8"]>>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>) -> tensor<?x2x?x4xf32, #onnx.dims<["batch", "2", "seq", "4"]>>
    %28 = "onnx.Neg"(%27) {version = 18 : i64} : (tensor<?x2x?x4xf32, #onnx.dims<["batch", "2", "seq", "4"]>>) -> tensor<?x2x?x4xf32, #onnx.dims<["batch", "2", "seq", "4"]>>
    %29 = "onnx.Concat"(%28, %22) <{axis = -1 : i64}> {version = 18 : i64} : (tensor<?x2x?x4xf32, #onnx.dims<["batch", "2", "seq", "4"]>>, tensor<?x2x?x4xf32, #onnx.dims<["batch", "2", "seq", "4"]>>) -> tensor<?x2x?x8xf32, #onnx.dims<["batch", "2", "seq", "8"]>>
    %30 = "onnx.Mul"(%29, %ps) {version = 18 : i64} : (tensor<?x2x?x8xf32, #onnx.dims<["batch", "2", "seq", "8"]>>, tensor<?x1x?x8xf32, #onnx.dims<["batch", "1", "seq", "8"]>>) -> tensor<?x2x?x8xf32, #onnx.dims<["batch", "2", "seq", "8"]>>
    %31 = "onnx.Mul"(%pc, %16) {version = 18 : i64} : (tensor<?x1x?x8xf32, #onnx.dims<["batch", "1", "seq", "8"]>>, tensor<?x2x?x8xf32, #onnx.dims<["batch", "2", "seq", "8"]>>) -> tensor<?x2x?x8xf32, #onnx.dims<["batch", "2", "seq", "8"]>>
    %32 = "onnx.Add"(%30, %31) {version = 18 : i64} : (tensor<?x2x?x8xf32, #onnx.dims<["batch", "2", "seq", "8"]>>, tensor<?x2x?x8xf32, #onnx.dims<["batch", "2", "seq", "8"]>>) -> tensor<?x2x?x8xf32, #onnx.dims<["batch", "2", "seq", "8"]>>
    %33 = "onnx.Concat"(%32, %17) <{axis = -1 : i64}> {version = 18 : i64} : (tensor<?x2x?x8xf32, #onnx.dims<["batch", "2", "seq", "8"]>>, tensor<?x2x?x8xf32, #onnx.dims<["batch", "2", "seq", "8"]>>) -> tensor<?x2x?x16xf32, #onnx.dims<["batch", "2", "seq", "16"]>>
    %34 = "onnx.Mul"(%x, %cos) {version = 18 : i64} : (tensor<?x2x?x16xf32, #onnx.dims<["batch", "2", "seq", "16"]>>, tensor<?x1x?x16xf32, #onnx.dims<["batch", "1", "seq", "16"]>>) -> tensor<?x2x?x16xf32, #onnx.dims<["batch", "2", "seq", "16"]>>
    %35 = "onnx.Constant"() <{value = dense<0> : tensor<1xi64>}> {version = 18 : i64} : () -> tensor<1xi64>
    %36 = "onnx.Constant"() <{value = dense<8> : tensor<1xi64>}> {version = 18 : i64} : () -> tensor<1xi64>
    %37 = "onnx.Constant"() <{value = dense<3> : tensor<1xi64>}> {version = 18 : i64} : () -> tensor<1xi64>
    %38 = "onnx.Constant"() <{value = dense<1> : tensor<1xi64>}> {version = 18 : i64} : () -> tensor<1xi64>
    %39 = "onnx.Slice"(%x, %35, %36, %37, %38) <{operandSegmentSizes = array<i32: 1, 1, 1, 1, 1>}> {version = 18 : i64} : (tensor<?x2x?x16xf32, #onnx.dims<["batch", "2", "seq", "16"]>>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>) -> tensor<?x2x?x8xf32, #onnx.dims<["batch", "2", "seq", "8"]>>
    %40 = "onnx.Constant"() <{value = dense<8> : tensor<1xi64>}> {version = 18 : i64} : () -> tensor<1xi64>
    %41 = "onnx.Constant"() <{value = dense<9223372036854775807> : tensor<1xi64>}> {version = 18 : i64} : () -> tensor<1xi64>
    %42 = "onnx.Constant"() <{value = dense<3> : tensor<1xi64>}> {version = 18 : i64} : () -> tensor<1xi64>
    %43 = "onnx.Constant"() <{value = dense<1> : tensor<1xi64>}> {version = 18 : i64} : () -> tensor<1xi64>
    %44 = "onnx.Slice"(%x, %40, %41, %42, %43) <{operandSegmentSizes = array<i32: 1, 1, 1, 1, 1>}> {version = 18 : i64} : (tensor<?x2x?x16xf32, #onnx.dims<["batch", "2", "seq", "16"]>>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>) -> tensor<?x2x?x8xf32, #onnx.dims<["batch", "2", "seq", "8"]>>
    %45 = "onnx.Neg"(%39) {version = 18 : i64} : (tensor<?x2x?x8xf32, #onnx.dims<["batch", "2", "seq", "8"]>>) -> tensor<?x2x?x8xf32, #onnx.dims<["batch", "2", "seq", "8"]>>
    %46 = "onnx.Concat"(%45, %44) <{axis = -1 : i64}> {version = 18 : i64} : (tensor<?x2x?x8xf32, #onnx.dims<["batch", "2", "seq", "8"]>>, tensor<?x2x?x8xf32, #onnx.dims<["batch", "2", "seq", "8"]>>) -> tensor<?x2x?x16xf32, #onnx.dims<["batch", "2", "seq", "16"]>>
    %47 = "onnx.Mul"(%46, %sin) {version = 18 : i64} : (tensor<?x2x?x16xf32, #onnx.dims<["batch", "2", "seq", "16"]>>, tensor<?x1x?x16xf32, #onnx.dims<["batch", "1", "seq", "16"]>>) -> tensor<?x2x?x16xf32, #onnx.dims<["batch", "2", "seq", "16"]>>
    %48 = "onnx.Add"(%34, %47) {version = 18 : i64} : (tensor<?x2x?x16xf32, #onnx.dims<["batch", "2", "seq", "16"]>>, tensor<?x2x?x16xf32, #onnx.dims<["batch", "2", "seq", "16"]>>) -> tensor<?x2x?x16xf32, #onnx.dims<["batch", "2", "seq", "16"]>>
    func.return %14, %33, %48 : tensor<?x2x?x16xf32, #onnx.dims<["batch", "2", "seq", "16"]>>, tensor<?x2x?x16xf32, #onnx.dims<["batch", "2", "seq", "16"]>>, tensor<?x2x?x16xf32, #onnx.dims<["batch", "2", "seq", "16"]>>
  }
}
// CHECK: "llm.rotary"(%x, %cos, %sin) <{interleaved = false}>
// CHECK: "llm.rotary"(%x, %pc, %ps) <{interleaved = false}>
// CHECK-NOT: llm.
// CHECK: "onnx.Neg"
