// RUN: insert-tokens
// The reader waits for the writer, and the next writer for the reader.
builtin.module {
  "imc.buffer"() <{sym_name = "x", space = "mem", size = "64", kept = true, address = 0 : i64}> : () -> ()
  "imc.buffer"() <{sym_name = "a", space = "mem", size = "64", kept = false, address = 64 : i64}> : () -> ()
  "imc.buffer"() <{sym_name = "b", space = "mem", size = "64", kept = false, address = 128 : i64}> : () -> ()
  "imc.block"() <{sym_name = "main", entry = true, calls = 1 : i64}> ({
    "toymat.mul"() <{dst = #imc.view<"a", "0", "float32", ["4"], ["1"]>, x = #imc.view<"x", "0", "float32", ["4"], ["1"]>, unit = "0"}> {engine = "m"} : () -> ()
    "toyvec.act"() <{dst = #imc.view<"b", "0", "float32", ["4"], ["1"]>, src = #imc.view<"a", "0", "float32", ["4"], ["1"]>, op = "silu", scale = 1.0 : f64}> {engine = "v"} : () -> ()
    "toymat.mul"() <{dst = #imc.view<"a", "0", "float32", ["4"], ["1"]>, x = #imc.view<"x", "0", "float32", ["4"], ["1"]>, unit = "0"}> {engine = "m"} : () -> ()
  }) : () -> ()
}
// CHECK: "imc.block"
// CHECK-NEXT: "toymat.mul"() <{dst = #imc.view<"a",
// CHECK-NEXT: "imc.signal"() <{engine = "m", token = 0 : i64}>
// CHECK-NEXT: "imc.wait"() <{engine = "v", token = 0 : i64}>
// CHECK-NEXT: "toyvec.act"() <{dst = #imc.view<"b",
// CHECK-NEXT: "imc.signal"() <{engine = "v", token = 1 : i64}>
// CHECK-NEXT: "imc.wait"() <{engine = "m", token = 1 : i64}>
// CHECK-NEXT: "toymat.mul"() <{dst = #imc.view<"a",
// -----
// Engines that touch different memory do not wait.
builtin.module {
  "imc.buffer"() <{sym_name = "x", space = "mem", size = "64", kept = true, address = 0 : i64}> : () -> ()
  "imc.buffer"() <{sym_name = "a", space = "mem", size = "64", kept = false, address = 64 : i64}> : () -> ()
  "imc.buffer"() <{sym_name = "b", space = "mem", size = "64", kept = false, address = 128 : i64}> : () -> ()
  "imc.block"() <{sym_name = "main", entry = true, calls = 1 : i64}> ({
    "toymat.mul"() <{dst = #imc.view<"a", "0", "float32", ["4"], ["1"]>, x = #imc.view<"x", "0", "float32", ["4"], ["1"]>, unit = "0"}> {engine = "m"} : () -> ()
    "toyvec.act"() <{dst = #imc.view<"b", "0", "float32", ["4"], ["1"]>, src = #imc.view<"x", "0", "float32", ["4"], ["1"]>, op = "silu", scale = 1.0 : f64}> {engine = "v"} : () -> ()
  }) : () -> ()
}
// CHECK: "imc.block"
// CHECK-NOT: imc.signal
// CHECK-NOT: imc.wait
